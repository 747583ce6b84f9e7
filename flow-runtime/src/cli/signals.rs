//! Ctrl-C: the first asks what runs to end, the second ends at once. Once nothing runs any more, each ends at once.

use super::observe::Watch;
use super::session::Bodies;
use crate::executor::Stop;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Listens while something runs. Dropped, it lets go of the view, and goes on to listen for one that ends at once what is waited for
/// still: notifications, and what cancelled tries clean up.
pub struct Listening<'b> {
    asking: Option<JoinHandle<()>>,
    bodies: &'b Bodies,
}

/// Listens for those that stop what runs on these threads.
pub fn listen(bodies: &Bodies, watch: Arc<Watch>) -> Listening<'_> {
    Listening { asking: Some(ask(bodies.stop(), watch)), bodies }
}

impl Listening<'_> {
    /// Nothing runs any more.
    pub async fn end(mut self) {
        let asking = self.asking.take();
        drop(self);
        if let Some(asking) = asking {
            // It holds the view, and is gone when this returns.
            asking.abort();
            drop(asking.await);
        }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        // Before the other is deaf, so that none is lost; and where it is heard to the end, also between two runtimes.
        at_once(self.bodies);
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

fn at_once(bodies: &Bodies) {
    let Some(threads) = bodies.handle() else { return };
    let (stop, _here) = (bodies.stop(), threads.enter());
    let Some(mut signals) = Signals::new() else { return };
    threads.spawn(async move {
        signals.next().await;
        stop.at_once.cancel();
    });
}

fn ask(stop: Stop, watch: Arc<Watch>) -> JoinHandle<()> {
    // Made once: a signal between two waits is kept for the second. And made here: from the task, which begins some time later, a
    // signal might come before anybody listens, and end the process.
    let signals = Signals::new();
    tokio::spawn(async move {
        let Some(mut signals) = signals else { return };
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::cli::output::{Captured, Output};

    /// One thread: the task has not begun when the signal comes.
    #[tokio::test]
    async fn a_signal_is_heard_from_the_moment_on_that_somebody_is_told_to_listen() {
        let (stop, said) = (Stop::default(), Captured::default());
        let out = Arc::new(Output::captured(false, &Captured::default(), &said));
        let asking = ask(stop.clone(), Arc::new(Watch::Json(out)));
        let own = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", "TERM", &own]).status().unwrap().success());
        stop.graceful.cancelled().await;
        asking.abort();
    }
}
