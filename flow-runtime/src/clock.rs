//! The one place that asks what time it is.

use chrono::{DateTime, SubsecRound, Utc};
use std::fmt;
use std::time::Duration;

/// Somebody who knows the time. Whoever waits does so with tokio's timers; the clock says only until when.
pub trait Clock: Send + Sync + 'static {
    /// The present instant, in whole microseconds (stores keep no more).
    fn now(&self) -> DateTime<Utc>;

    /// How long until this instant; zero if it has passed.
    fn until(&self, at: DateTime<Utc>) -> Duration {
        (at - self.now()).to_std().unwrap_or_default()
    }
}

impl fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// The computer's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}

/// A clock that goes with tokio's timers: it stands still while tokio's time is paused, and moves when that is advanced.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start: DateTime<Utc>,
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that shows `start` now.
    pub fn starting_at(start: DateTime<Utc>) -> TokioClock {
        TokioClock { start: start.trunc_subsecs(6), origin: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> DateTime<Utc> {
        (self.start + self.origin.elapsed()).trunc_subsecs(6)
    }
}
