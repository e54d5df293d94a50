//! `picgate upgrade`: another process takes the place of the running one, or nothing changes.

use std::{
    io::{self, BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Failure, check, pid_file};

/// The new process says on stdout that it waits for the sockets.
pub(super) const READY: &str = "ready";
/// The new process says on stdout that it serves.
pub(super) const SERVING: &str = "serving";
/// Longest wait for either word.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn upgrade(path: &Path) -> Result<(), Failure> {
    let (_, settings) = check::whole(path)?;
    let running = pid_file::running(&settings.pid_file()).map_err(Failure::broken)?;
    let mut new = Successor::start(path).map_err(|error| Failure::broken(format!("starting a process: {error}")))?;
    let done = new.relieve(running);
    if done.is_err() {
        let _ = new.child.kill();
    }
    let id = new.child.id();
    match (done, new.end_of_log()) {
        (Ok(()), _) => {
            println!("process {id} serves now; process {} answers what it has and ends", running.as_raw_nonzero());
            Ok(())
        }
        (Err(why), code) => Err(Failure {
            message: format!("picgate: {why}; process {} goes on as before", running.as_raw_nonzero()),
            code: code.unwrap_or(1),
        }),
    }
}

/// The new process, as it starts.
struct Successor {
    child: Child,
    said: Receiver<String>,
    log: JoinHandle<()>,
    has_served: bool,
}

impl Successor {
    fn start(config: &Path) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg("--upgrade").arg("--report").arg("-c").arg(config);
        // Of its own group, so that Ctrl-C here does not end it later.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let (tell, said) = channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        thread::spawn(move || {
            for line in stdout.map(BufReader::new).into_iter().flat_map(|stdout| stdout.lines().map_while(Result::ok)) {
                let _ = tell.send(line);
            }
        });
        // What it logs is shown until it serves. Then it writes to where the old process writes.
        let log = thread::spawn(move || {
            if let Some(mut stderr) = stderr {
                let _ = io::copy(&mut stderr, &mut io::stderr());
            }
        });
        Ok(Self { child, said, log, has_served: false })
    }

    fn relieve(&mut self, running: Pid) -> Result<(), String> {
        self.wait_for(READY).map_err(|why| format!("the new process did not start: {why}"))?;
        let number = running.as_raw_nonzero();
        kill_process(running, Signal::QUIT)
            .map_err(|error| format!("process {number} cannot be sent QUIT: {error}"))?;
        self.wait_for(SERVING).map_err(|why| {
            format!("the new process did not get the sockets: {why} (see the log of process {number})")
        })?;
        self.has_served = true;
        Ok(())
    }

    fn wait_for(&self, word: &str) -> Result<(), String> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(said) if said == word => return Ok(()),
                // A first key, for example.
                Ok(said) => println!("{said}"),
                Err(Disconnected) => return Err("it has ended".to_owned()),
                Err(Timeout) => return Err(format!("it said nothing for {PATIENCE:?}")),
            }
        }
    }

    /// Waits until all of its log is shown. The code that it has ended with, if it has not served.
    fn end_of_log(mut self) -> Option<u8> {
        let _ = self.log.join();
        if self.has_served {
            return None;
        }
        let code = self.child.wait().ok()?.code()?;
        u8::try_from(code).ok().filter(|code| *code != 0)
    }
}
