//! A real S3 service: SeaweedFS, as `scripts/bootstrap test` installs it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use picgate::{
    archive::{Bucket, Limits},
    config::{Archive, Redirect, Secret},
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::process::{client, free_port};

pub const ACCESS_KEY: &str = "picgate-test-key-id";
pub const SECRET_KEY: &str = "picgate-test-secret-0123456789";
/// The bucket that is there. Tests share it, each under a prefix of its own.
pub const BUCKET: &str = "pics";

/// It is up after three seconds on an idle machine.
const LIMIT: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(50);
/// Runs a program, and kills it when this process ends, however it does: then stdin ends. SeaweedFS may take minutes over
/// a TERM. `$1`: a folder to remove afterwards, or nothing.
const UNTIL_STDIN_ENDS: &str =
    r#"dir=$1; shift; "$@" >"$0" 2>&1 & pid=$!; cat; kill -9 $pid; wait $pid; rm -rf "$dir""#;

/// A server with one bucket. It is killed when dropped, and its files are removed.
#[derive(Debug)]
pub struct Seaweed {
    dir: PathBuf,
    ports: [u16; 8],
    running: Option<Child>,
    _own: Option<TempDir>,
}

static SHARED: OnceCell<Seaweed> = OnceCell::const_new();

impl Seaweed {
    /// The server all tests of this run share, started for the first of them.
    pub async fn shared() -> &'static Self {
        SHARED
            .get_or_init(|| async {
                // Statics are not dropped: whoever kills it removes the folder.
                let dir = tempfile::tempdir().unwrap().keep();
                Self::begin(dir, None).await
            })
            .await
    }

    /// A server of one's own, to be stopped and started.
    pub async fn own() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::begin(dir.path().to_owned(), Some(dir)).await
    }

    async fn begin(dir: PathBuf, own: Option<TempDir>) -> Self {
        let identity = format!(
            r#"{{"identities":[{{"name":"picgate","actions":["Admin","Read","Write","List","Tagging"],
                "credentials":[{{"accessKey":"{ACCESS_KEY}","secretKey":"{SECRET_KEY}"}}]}}]}}"#
        );
        std::fs::write(dir.join("s3.json"), identity).unwrap();
        std::fs::create_dir(dir.join("data")).unwrap();
        let mut server = Self { dir, ports: std::array::from_fn(|_| free_port()), running: None, _own: own };
        server.start().await;
        server
    }

    /// Kills it: connections break, and new ones are refused.
    pub fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        drop(running.stdin.take());
        running.wait().unwrap();
    }

    /// Starts it with what it held, at the address it had.
    pub async fn start(&mut self) {
        assert!(self.running.is_none());
        let shared = self._own.is_none();
        let [master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc] = self.ports;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/weed");
        assert!(program.exists(), "{} is missing: run scripts/bootstrap test first", program.display());
        let mut command = Command::new("sh");
        command.args(["-c", UNTIL_STDIN_ENDS]).arg(self.dir.join("log"));
        command.arg(if shared { self.dir.as_path() } else { Path::new("") });
        command.arg(program).arg("server").arg(format!("-dir={}", self.dir.join("data").display()));
        command.arg(format!("-s3.config={}", self.dir.join("s3.json").display()));
        for (option, port) in [
            ("master.port", master),
            ("master.port.grpc", master_grpc),
            ("volume.port", volume),
            ("volume.port.grpc", volume_grpc),
            ("filer.port", filer),
            ("filer.port.grpc", filer_grpc),
            ("s3.port", s3),
            ("s3.port.grpc", s3_grpc),
            ("s3.port.iceberg", 0),
            ("s3.port.lance", 0),
        ] {
            command.arg(format!("-{option}={port}"));
        }
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-s3.iam=false"]);
        command.args(["-master.volumeSizeLimitMB=64", "-volume.max=0"]);
        // Alone it waits for nobody; with ten seconds a second start takes twenty.
        command.arg("-master.electionTimeout=1s");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.running = Some(child.unwrap());
        self.ready().await;
    }

    /// Waits until an object can be put.
    async fn ready(&mut self) {
        let (since, client, [.., filer, _, _, _]) = (Instant::now(), client(), self.ports);
        let bucket = self.bucket("ready/");
        let id = picgate::picture::PictureId::of(b"ready");
        loop {
            // A folder of the filer is a bucket.
            let made = client.post(format!("http://127.0.0.1:{filer}/buckets/{BUCKET}/")).send().await;
            if made.is_ok() && bucket.put_record(id, "{}").await.is_ok() {
                return;
            }
            let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(since.elapsed() < LIMIT, "SeaweedFS does not start: {}", log());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Where its S3 service listens.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[6]))
    }

    /// The settings of this bucket under a prefix.
    pub fn archive(&self, prefix: &str) -> Archive {
        archive_at(self.addr(), prefix)
    }

    pub fn bucket(&self, prefix: &str) -> Bucket {
        Bucket::new(&self.archive(prefix)).unwrap()
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The settings of the bucket behind an address.
pub fn archive_at(addr: SocketAddr, prefix: &str) -> Archive {
    Archive {
        endpoint: format!("http://{addr}").parse().unwrap(),
        bucket: BUCKET.to_owned(),
        region: "auto".to_owned(),
        access_key_id: Secret::new(ACCESS_KEY),
        secret_access_key: Secret::new(SECRET_KEY),
        prefix: prefix.to_owned(),
        redirect: Redirect::Off,
    }
}

/// Limits for tests of silence: short, but long beside what a busy machine takes to send a few bytes. Where a server has
/// to answer, the usual ones are right.
pub fn impatient() -> Limits {
    Limits { idle: Duration::from_secs(3), ..Limits::default() }
}
