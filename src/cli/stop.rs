//! What ends the process: TERM, INT, and QUIT once a successor serves.

use std::{io, path::PathBuf, thread};

use rustix::process::Pid;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::gateway::{handover, server::Stop, sockets::Sockets};

/// The signals that stop the process. They end nothing by themselves once this is there.
#[derive(Debug)]
pub(super) struct Signals {
    quit: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Receives them from now on: before a client can be answered, so that none is cut off.
    pub(super) fn listen() -> io::Result<Self> {
        // Any runtime of the process passes them on later; none is running yet.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _entered = runtime.enter();
        // HUP has a receiver of its own, which comes a moment later; until then it must not end the process.
        let _ = signal(SignalKind::hangup())?;
        Ok(Self {
            quit: signal(SignalKind::quit())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves when the process is to stop. On QUIT the sockets are handed to the successor that waits at `upgrade_sock`; if
    /// there is none, or it fails, this process goes on.
    pub(super) async fn stop(mut self, sockets: Sockets, upgrade_sock: PathBuf) -> Stop {
        loop {
            let relieved = async {
                if self.quit.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
                log::info!("QUIT: handing the listening sockets over");
                hand_over(sockets.clone(), upgrade_sock.clone()).await
            };
            let relieved = tokio::select! {
                _ = self.term.recv() => return Stop::Gracefully,
                _ = self.int.recv() => return Stop::AtOnce,
                relieved = relieved => relieved,
            };
            match relieved {
                Ok(successor) => {
                    log::info!("QUIT: process {} serves now", successor.as_raw_nonzero());
                    return Stop::Gracefully;
                }
                Err(why) => log::error!("QUIT: no hand-over, this process goes on: {why}"),
            }
        }
    }
}

/// On a thread that nobody waits for at the end of the process.
async fn hand_over(sockets: Sockets, upgrade_sock: PathBuf) -> Result<Pid, String> {
    let (tell, done) = oneshot::channel();
    let work = move || drop(tell.send(handover::hand_over(&upgrade_sock, &sockets)));
    thread::Builder::new().name("hand-over".to_owned()).spawn(work).map_err(|error| error.to_string())?;
    done.await.unwrap_or_else(|_| Err("it was cut off".to_owned()))
}
