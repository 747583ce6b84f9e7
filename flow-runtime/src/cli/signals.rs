//! Ctrl-C: the first asks what runs to end, the second ends at once.

use super::observe::Watch;
use crate::executor::Stop;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Listens until it is aborted.
pub fn listen(stop: Stop, watch: Arc<Watch>) -> JoinHandle<()> {
    tokio::spawn(async move {
        // Made once: a signal between two waits is kept for the second.
        let Some(mut signals) = Signals::new() else { return };
        signals.next().await;
        watch.say("stopping: running tasks are asked to end; press Ctrl-C again to stop at once");
        watch.stopping();
        stop.graceful.cancel();
        signals.next().await;
        stop.at_once.cancel();
    })
}

/// Ctrl-C, and requests to terminate.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// `None` if this process cannot hear them.
    fn new() -> Option<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Some(Signals {
            interrupt: signal(SignalKind::interrupt()).ok()?,
            terminate: signal(SignalKind::terminate()).ok()?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Option<Signals> {
        Some(Signals)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
