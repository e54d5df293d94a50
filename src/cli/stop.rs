//! What ends the process: TERM, INT, and QUIT once a successor serves.

use std::{io, path::PathBuf, thread};

use rustix::process::Pid;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::gateway::{handover, server::Stop, sockets::Sockets};

/// Waits for signals. On QUIT the sockets are handed to the successor that waits at `upgrade_sock`; if there is none, or it
/// fails, this process goes on.
pub(super) async fn on_signals(sockets: Sockets, upgrade_sock: PathBuf) -> Stop {
    match signals(sockets, upgrade_sock).await {
        Ok(stop) => stop,
        Err(error) => {
            crate::vital::died(format!("signals cannot be received: {error}"));
            Stop::Gracefully
        }
    }
}

async fn signals(sockets: Sockets, upgrade_sock: PathBuf) -> io::Result<Stop> {
    let mut quit = signal(SignalKind::quit())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    loop {
        let relieved = async {
            quit.recv().await;
            log::info!("QUIT: handing the listening sockets over");
            hand_over(sockets.clone(), upgrade_sock.clone()).await
        };
        let relieved = tokio::select! {
            _ = term.recv() => return Ok(Stop::Gracefully),
            _ = int.recv() => return Ok(Stop::AtOnce),
            relieved = relieved => relieved,
        };
        match relieved {
            Ok(successor) => {
                log::info!("QUIT: process {} serves now", successor.as_raw_nonzero());
                return Ok(Stop::Gracefully);
            }
            Err(why) => log::error!("QUIT: no hand-over, this process goes on: {why}"),
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
