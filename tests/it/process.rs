//! Programs in processes of their own.

use std::{
    io::Read,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::StatusCode;

/// Nothing here takes so long unless it is broken.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at something that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(10);

/// A running program. It is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Arc<Said>,
    stderr: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    text: Mutex<String>,
    ended: AtomicBool,
    more: Condvar,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self::try_start(command).unwrap_or_else(|| panic!("{command:?} cannot be started"))
    }

    /// `None`: there is no such program.
    pub fn try_start(command: &mut Command) -> Option<Self> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        let stdout = Said::listen(child.stdout.take().unwrap());
        let stderr = Said::listen(child.stderr.take().unwrap());
        Some(Self { child, stdout, stderr })
    }

    /// Waits until stdout holds `text`. `false`: it ended without saying so.
    pub fn says_or_ends(&self, text: &str) -> bool {
        self.stdout.wait_for(text).is_ok()
    }

    /// Waits until stdout holds `text`; returns all of it.
    #[track_caller]
    pub fn says(&self, text: &str) -> String {
        self.stdout.wait_for(text).unwrap_or_else(|said| panic!("no {text:?} in {said:?}; {}", self.stderr()))
    }

    pub fn stdout(&self) -> String {
        self.stdout.text.lock().unwrap().clone()
    }

    /// Waits until stderr holds `text`; returns all of it.
    #[track_caller]
    pub fn logs(&self, text: &str) -> String {
        self.logs_times(text, 1)
    }

    /// Waits until stderr holds `text` so many times.
    #[track_caller]
    pub fn logs_times(&self, text: &str, times: usize) -> String {
        let said = self.stderr.wait_until(|all| all.matches(text).count() >= times);
        said.unwrap_or_else(|said| panic!("no {text:?} in {said:?}"))
    }

    pub fn stderr(&self) -> String {
        self.stderr.text.lock().unwrap().clone()
    }

    /// Waits until this URL is answered with 200.
    pub async fn answers(&mut self, url: &str) {
        let (since, client) = (Instant::now(), client());
        loop {
            if client.get(url).send().await.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}, {}", self.stderr());
            assert!(since.elapsed() < LIMIT, "{url} is not answered: {}", self.stderr());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends a signal (`TERM`).
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it has had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
        peak.parse::<u64>().unwrap() << 10
    }

    /// The memory it has now, in bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let now = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")).unwrap();
        now.parse::<u64>().unwrap() << 10
    }

    /// Waits until it takes no more memory.
    pub async fn memory_settles(&self) {
        let (mut most, mut same) = (0, 0);
        while same < 20 {
            tokio::time::sleep(LOOK).await;
            let now = self.memory();
            same = if now > most { 0 } else { same + 1 };
            most = most.max(now);
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended; returns its exit code, or `None` when a signal ended it.
    pub async fn exit(&mut self) -> Option<i32> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(since.elapsed() < LIMIT, "it does not end: {}", self.stderr());
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    fn listen(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let said = Arc::new(Self::default());
        let listener = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(len @ 1..) = from.read(&mut piece) {
                listener.text.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..len]));
                listener.more.notify_all();
            }
            let _text = listener.text.lock().unwrap();
            listener.ended.store(true, Ordering::Relaxed);
            listener.more.notify_all();
        });
        said
    }

    fn wait_for(&self, wanted: &str) -> Result<String, String> {
        self.wait_until(|text| text.contains(wanted))
    }

    fn wait_until(&self, wanted: impl Fn(&str) -> bool) -> Result<String, String> {
        let text = self.text.lock().unwrap();
        let (text, _) = self
            .more
            .wait_timeout_while(text, LIMIT, |text| !wanted(text) && !self.ended.load(Ordering::Relaxed))
            .unwrap();
        if wanted(&text) { Ok(text.clone()) } else { Err(text.clone()) }
    }
}

/// The `picgate` command.
pub fn picgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picgate"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("PICGATE_KEY");
    command
}

/// Runs a command to its end: exit code, stdout, stderr.
pub async fn run(mut command: Command) -> (Option<i32>, String, String) {
    let shown = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output()).await.unwrap();
    let Output { status, stdout, stderr } = output.unwrap_or_else(|error| panic!("{shown}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A client that goes through no proxy.
pub fn client() -> reqwest::Client {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub async fn get(url: impl reqwest::IntoUrl) -> reqwest::Response {
    client().get(url).send().await.unwrap()
}

/// A port of 127.0.0.1 for a process that is started later.
///
/// The kernel gives none of these ports to connections, and no other test gets this one, in this process or another, until
/// this process ends: the UDP port of the same number is held so long.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<std::net::UdpSocket>> = Mutex::new(Vec::new());
    let mut random = [0; 2];
    loop {
        getrandom::fill(&mut random).unwrap();
        let at = ("127.0.0.1", 10_000 + u16::from_le_bytes(random) % 20_000);
        if let Ok(held) = std::net::UdpSocket::bind(at)
            && std::net::TcpListener::bind(at).is_ok()
        {
            HELD.lock().unwrap().push(held);
            return at.1;
        }
    }
}
