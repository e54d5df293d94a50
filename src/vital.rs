//! Parts that the process must not go on without: listeners, background tasks, the index's thread.
//!
//! A gateway that has lost one looks alive and is not: nobody restarts it. Whoever runs such a part reports its death here,
//! and the program that runs the gateway waits for [`death`] and ends with an error.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
    thread::{Builder, JoinHandle},
};

use tokio::sync::watch;

/// The first death of this process. There is one process, so there is one of these.
static DEATH: LazyLock<watch::Sender<Option<String>>> = LazyLock::new(|| watch::Sender::new(None));

/// Reports that a part has died. `what` is a sentence without its full stop. The first report counts.
pub fn died(what: String) {
    log::error!("{what}");
    DEATH.send_if_modified(|death| {
        let is_first = death.is_none();
        if is_first {
            *death = Some(what);
        }
        is_first
    });
}

/// What has died first, if anything has.
pub fn cause() -> Option<String> {
    DEATH.borrow().clone()
}

/// Resolves with what has died first.
pub async fn death() -> String {
    let mut death = DEATH.subscribe();
    match death.wait_for(Option::is_some).await.map(|what| what.clone()) {
        Ok(Some(what)) => what,
        // Neither happens: the sender is never dropped, and the value is there.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Starts a thread whose panic is the death of a part.
///
/// # Errors
/// When the system gives no more threads.
pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let shown = name.to_owned();
    Builder::new().name(name.to_owned()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            died(format!("the thread {shown} has panicked"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_panic_of_a_thread_is_a_death_and_its_end_is_none() {
        thread("well", || {}).unwrap().join().unwrap();
        assert_eq!(cause(), None);
        thread("ill", || panic!("a test's panic")).unwrap().join().unwrap();
        assert_eq!(death().await, "the thread ill has panicked");
        died("another part has died".to_owned());
        assert_eq!(cause().as_deref(), Some("the thread ill has panicked"), "the first counts");
    }
}
