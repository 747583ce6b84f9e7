//! Ctrl-C: the first asks what runs to end, the second ends at once.

use super::observe::Watch;
use crate::executor::Stop;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Listens until it is aborted.
pub fn listen(stop: Stop, watch: Arc<Watch>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if next().await.is_none() {
            return;
        }
        watch.say("stopping: running tasks are asked to end; press Ctrl-C again to stop at once");
        stop.graceful.cancel();
        if next().await.is_some() {
            stop.at_once.cancel();
        }
    })
}

/// The next Ctrl-C or request to terminate; `None` if this process cannot hear one.
#[cfg(unix)]
async fn next() -> Option<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).ok()?;
    tokio::select! {
        heard = tokio::signal::ctrl_c() => heard.ok(),
        heard = terminate.recv() => heard,
    }
}

#[cfg(not(unix))]
async fn next() -> Option<()> {
    tokio::signal::ctrl_c().await.ok()
}
