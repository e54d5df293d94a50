//! The programs that are measured, each a process of its own with a folder of its own, and the demo upstream behind them.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Result, procfs};

/// The client key every server is asked with; only picgate looks at it.
pub(crate) const KEY: &str = "sk-bench-0123456789abcdef";

/// Which program, and how it is set.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Picgate { durability: &'static str },
    Nginx,
    Floor,
}

/// What all scenarios share: the upstreams.
pub(crate) struct World {
    pub(crate) demo: Server,
    sink: Server,
    /// Holds the folders of all servers till the end: ext4 takes long to make files where many were just removed.
    folder: TempDir,
}

/// A running server. It ends with the value.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    process: Child,
    dir: PathBuf,
}

// === impl World ===

impl World {
    pub(crate) fn start() -> Result<Self> {
        // Beside the build and not in /tmp, which may be memory: what a sync costs only a disk can tell.
        let folder = tempfile::Builder::new().prefix("load-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let upstream = |program: PathBuf, args: &[&str]| {
            let (addr, dir) = (free_addr()?, new_folder(&folder)?);
            let mut command = Command::new(program);
            command.args(args).arg(addr.port().to_string());
            Server::start(command, addr, dir)
        };
        Ok(Self {
            demo: upstream(picgate(), &["demo-upstream", "--no-inspect", "--port"])?,
            sink: upstream(env::current_exe()?, &["sink"])?,
            folder,
        })
    }

    /// Starts one more server in front of the demo upstream.
    pub(crate) fn serve(&self, kind: Kind) -> Result<Server> {
        let (addr, dir) = (free_addr()?, new_folder(&self.folder)?);
        let demo = self.demo.addr;
        let command = match kind {
            Kind::Picgate { durability } => picgate_command(&dir, addr, (demo, self.sink.addr), durability)?,
            Kind::Nginx => nginx_command(&dir, addr, demo)?,
            Kind::Floor => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["floor", &addr.port().to_string(), &demo.to_string()]).arg(&dir);
                command
            }
        };
        Server::start(command, addr, dir)
    }
}

// === impl Server ===

impl Server {
    /// Starts the process and waits until it listens.
    fn start(mut command: Command, addr: SocketAddr, dir: PathBuf) -> Result<Self> {
        let log = dir.join("log");
        let file = fs::File::create(&log)?;
        // No server writes an access log.
        command.env("RUST_LOG", "warn");
        command.current_dir(&dir).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut server = Self { addr, process, dir };
        let patience = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(addr).is_err() {
            let ended = server.process.try_wait()?;
            if ended.is_some() || Instant::now() > patience {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let what = ended.map_or("does not listen".to_owned(), |status| format!("ended at once ({status})"));
                return Err(format!("{} {what}: {}", command.get_program().display(), said.trim()).into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    pub(crate) fn cpu(&self) -> Option<Duration> {
        procfs::cpu(self.process.id())
    }

    pub(crate) fn peak_memory(&self) -> Option<u64> {
        procfs::peak_memory(self.process.id())
    }

    /// Puts a picture where nginx serves it.
    pub(crate) fn publish(&self, path: &str, picture: &[u8]) -> Result<()> {
        let file = self.dir.join("www").join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap_or(&self.dir))?;
        Ok(fs::write(file, picture)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(Some(_))) {
            return;
        }
        // nginx's workers outlive a master that is killed, so it is asked first.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let patience = Instant::now() + Duration::from_secs(3);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The release binary Cargo built beside this bench, or another one to compare with.
fn picgate() -> PathBuf {
    env::var_os("PICGATE_BENCH_BIN").map_or_else(|| env!("CARGO_BIN_EXE_picgate").into(), PathBuf::from)
}

fn picgate_command(
    dir: &Path,
    addr: SocketAddr,
    (demo, sink): (SocketAddr, SocketAddr),
    durability: &str,
) -> Result<Command> {
    let metrics = free_addr()?;
    let config = format!(
        r#"version: 1
threads: 2
grace_period_seconds: 0
graceful_shutdown_timeout_seconds: 1

picgate:
  listen:
    - addr: {addr}
  metrics: {{ addr: {metrics} }}
  public_base_url: http://{addr}
  data_dir: ./data
  admin: {{ enabled: false }}
  keys:
    - {{ name: bench, key: {KEY}, images: url }}
  upstreams:
    - {{ name: demo, kind: openai, base_url: "http://{demo}/v1", api_key: sk-demo }}
    - {{ name: sink, kind: openai, base_url: "http://{sink}/v1", api_key: sk-sink }}
  models:
    - {{ name: sink, targets: [ {{ upstream: sink }} ] }}
    - {{ name: "*", targets: [ {{ upstream: demo }} ] }}
  fetch: {{ allow: ["127.0.0.0/8"] }}
  store: {{ durability: {durability}, min_free: 0 }}
"#
    );
    let path = dir.join("picgate.yaml");
    fs::write(&path, config)?;
    let mut command = Command::new(picgate());
    command.arg("run").arg("-c").arg(path);
    Ok(command)
}

/// As many workers as picgate has threads, no access log, connections to the upstream kept.
fn nginx_command(dir: &Path, addr: SocketAddr, demo: SocketAddr) -> Result<Command> {
    let path = dir.join("nginx.conf");
    let dir = dir.display();
    // As root its workers would change to a user who may not read our folder.
    let user = if procfs::is_root() { "user root root;" } else { "" };
    let config = format!(
        r"{user} daemon off; worker_processes 2; pid {dir}/nginx.pid; error_log {dir}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 64m;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  types {{ image/png png; }}
  upstream demo {{ server {demo}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen {addr};
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    location /v1/ {{ proxy_pass http://demo; }}
    location /unbuffered/ {{ proxy_pass http://demo/; proxy_buffering off; }}
    location /images/ {{ root {dir}/www; sendfile on; tcp_nopush on; }}
  }}
}}
"
    );
    fs::write(&path, config)?;
    // Debian keeps it where only root's PATH leads.
    let sbin = Path::new("/usr/sbin/nginx");
    let mut command = if sbin.exists() { Command::new(sbin) } else { Command::new("nginx") };
    command.arg("-c").arg(path);
    Ok(command)
}

/// Whether nginx can be compared with at all.
pub(crate) fn has_nginx() -> bool {
    let runs = |program| Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    runs("/usr/sbin/nginx") || runs("nginx")
}

fn free_addr() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A folder of its own for one server.
fn new_folder(of: &TempDir) -> Result<PathBuf> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let dir = of.path().join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir(&dir)?;
    Ok(dir)
}
