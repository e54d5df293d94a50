//! A service that the process must not go on without.
//!
//! Pingora lets a service that panics, or ends, go in silence. Here either is a [death](crate::vital), unless the process
//! was told to stop.

use std::{panic::AssertUnwindSafe, pin::pin, task::Poll};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use pingora_core::{
    server::{ListenFds, RuntimeOpts, ShutdownWatch},
    services::{ServiceReadyNotifier, ServiceWithDependents},
};
use tokio::{sync::watch, task::unconstrained};

use super::{server::BoxedService, sockets::Sockets};
use crate::vital;

/// Tells when every service of a process has started.
#[derive(Clone, Debug)]
pub struct Started(watch::Receiver<usize>);

/// Services that have not started yet.
#[derive(Debug)]
pub(super) struct Starting(watch::Sender<usize>);

pub(super) struct VitalService {
    inner: BoxedService,
    sockets: Sockets,
    starting: watch::Sender<usize>,
}

impl Starting {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(super) fn started(&self) -> Started {
        Started(self.0.subscribe())
    }

    /// Wraps a service. Its listeners take their sockets from `sockets`.
    pub(super) fn service(&self, inner: BoxedService, sockets: Sockets) -> BoxedService {
        self.0.send_modify(|waiting| *waiting += 1);
        Box::new(VitalService { inner, sockets, starting: self.0.clone() })
    }
}

impl Started {
    /// Resolves when all have started, and those with listeners listen.
    pub async fn all(&mut self) {
        // An error: the server is gone, and so is whoever waits.
        let _ = self.0.wait_for(|waiting| *waiting == 0).await;
    }
}

#[async_trait]
impl ServiceWithDependents for VitalService {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let name = self.inner.name().to_owned();
        if let (Some(table), Some(addresses)) = (&fds, self.inner.listen_addresses())
            && let Err(error) = self.sockets.give(&addresses, table)
        {
            return vital::died(format!("the service {name} cannot have its sockets: {error}"));
        }
        let running = self.inner.start_service(fds, shutdown.clone(), listeners_per_fd, ready);
        // Every socket is there already, so listeners do not wait for anything before they listen: the first time the service
        // has to wait, it has started. Unconstrained, so that it does not wait for its turn.
        let mut running = pin!(unconstrained(AssertUnwindSafe(running).catch_unwind()));
        let first = std::future::poll_fn(|context| Poll::Ready(running.as_mut().poll(context))).await;
        let ended = match first {
            Poll::Ready(ended) => ended,
            Poll::Pending => {
                self.starting.send_modify(|waiting| *waiting -= 1);
                running.await
            }
        };
        if let Some(how) = death(ended.is_err(), *shutdown.borrow()) {
            vital::died(format!("the service {name} has {how}"));
        }
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn threads(&self) -> Option<usize> {
        self.inner.threads()
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        self.inner.runtime_opts_override(global)
    }

    fn on_startup_delay(&self, waited: std::time::Duration) {
        self.inner.on_startup_delay(waited);
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.inner.listen_addresses()
    }
}

/// How a service has died, if its end is a death.
fn death(has_panicked: bool, was_told_to_stop: bool) -> Option<&'static str> {
    match (has_panicked, was_told_to_stop) {
        (true, _) => Some("panicked"),
        (false, false) => Some("ended"),
        (false, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::server;

    #[test]
    fn an_end_before_the_stop_is_a_death() {
        for (has_panicked, was_told_to_stop, how) in [
            (true, false, Some("panicked")),
            (true, true, Some("panicked")),
            (false, false, Some("ended")),
            (false, true, None),
        ] {
            assert_eq!(death(has_panicked, was_told_to_stop), how);
        }
    }

    #[tokio::test]
    async fn all_have_started_when_each_waits_for_something() {
        let starting = Starting::new();
        let (stop, stopped) = watch::channel(false);
        let notifier = || ServiceReadyNotifier::new(watch::Sender::new(false));
        let mut services: Vec<BoxedService> = (0..3)
            .map(|_| server::task("waits", |mut shutdown| async move { shutdown.requested().await }))
            .map(|task| starting.service(task, Sockets::default()))
            .collect();
        let mut started = starting.started();
        let mut running = Vec::new();
        for mut service in services.drain(..) {
            assert!(started.all().now_or_never().is_none());
            let stopped = stopped.clone();
            let (began, has_begun) = tokio::sync::oneshot::channel();
            running.push(tokio::spawn(async move {
                let mut run = pin!(service.start_service(None, stopped, 1, notifier()));
                let _ = std::future::poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await;
                began.send(()).unwrap();
                run.await;
            }));
            has_begun.await.unwrap();
        }
        started.all().await;
        stop.send(true).unwrap();
        for run in running {
            run.await.unwrap();
        }
    }
}
