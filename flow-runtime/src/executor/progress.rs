//! Progress on its way to whoever listens: at most ten reports in a second per try, and always the last one.

use crate::context::{Hears, Progress, Unit};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two reports of a try.
const PAUSE: Duration = Duration::from_millis(100);

/// Lets through what a listener can bear.
pub(super) struct Throttle {
    send: Box<Hears>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sent: Option<Instant>,
    held_back: Option<(u64, Option<u64>, Option<Unit>)>,
    closed: bool,
}

impl Throttle {
    /// What gets through goes to this function, which must be quick.
    pub(super) fn new(send: impl Fn(u64, Option<u64>, Option<Unit>) + Send + Sync + 'static) -> Arc<Throttle> {
        Arc::new(Throttle { send: Box::new(send), state: Mutex::default() })
    }

    /// What a body reports to.
    pub(super) fn progress(self: &Arc<Self>) -> Progress {
        let throttle = self.clone();
        Progress::with_units(move |done, total, unit| throttle.report(done, total, unit))
    }

    fn report(&self, done: u64, total: Option<u64>, unit: Option<Unit>) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        let now = Instant::now();
        if state.sent.is_some_and(|sent| now.duration_since(sent) < PAUSE) {
            state.held_back = Some((done, total, unit));
            return;
        }
        state.sent = Some(now);
        state.held_back = None;
        (self.send)(done, total, unit);
    }

    /// The try has ended: what was held back is sent, what comes later is dropped.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        if let Some((done, total, unit)) = state.held_back.take() {
            (self.send)(done, total, unit);
        }
    }
}
