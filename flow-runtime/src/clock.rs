//! The one place that asks what time it is.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Somebody who knows the time. Whoever waits does so with tokio's timers; the clock says only until when.
pub trait Clock: Send + Sync + 'static {
    /// The present instant, in whole microseconds (stores keep no more).
    fn now(&self) -> DateTime<Utc>;

    /// How long until this instant; zero if it has passed.
    fn until(&self, at: DateTime<Utc>) -> Duration {
        (at - self.now()).to_std().unwrap_or_default()
    }

    /// Nothing at all happens before this instant: may it be now? A clock that goes by itself says no, and its users
    /// wait; one of a test jumps there and says yes.
    fn skip_to(&self, _at: DateTime<Utc>) -> bool {
        false
    }

    /// Does [`Clock::skip_to`] say yes?
    fn leaves_out_waiting(&self) -> bool {
        false
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

/// The computer's clock, started at another instant, which leaves out the time in which nothing happens: an hour until a
/// retry takes no time. What runs takes as long as it takes.
#[derive(Debug)]
pub struct SkippingClock {
    start: DateTime<Utc>,
    origin: std::time::Instant,
    /// Microseconds that were left out.
    skipped: AtomicI64,
}

impl SkippingClock {
    /// A clock that shows `start` now.
    pub fn starting_at(start: DateTime<Utc>) -> SkippingClock {
        SkippingClock { start: start.trunc_subsecs(6), origin: std::time::Instant::now(), skipped: AtomicI64::new(0) }
    }
}

impl Clock for SkippingClock {
    fn now(&self) -> DateTime<Utc> {
        let skipped = TimeDelta::microseconds(self.skipped.load(Ordering::Relaxed));
        (self.start + self.origin.elapsed() + skipped).trunc_subsecs(6)
    }

    fn leaves_out_waiting(&self) -> bool {
        true
    }

    fn skip_to(&self, at: DateTime<Utc>) -> bool {
        // Rounded up, so that the clock is there and not a hair before.
        let ahead = (at - self.now()).num_microseconds().unwrap_or(0).saturating_add(1);
        self.skipped.fetch_add(ahead.max(0), Ordering::Relaxed);
        true
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipping_clock_goes_on_and_jumps() {
        let start = DateTime::UNIX_EPOCH;
        let clock = SkippingClock::starting_at(start);
        assert!(clock.now() >= start);
        assert!(clock.skip_to(start + TimeDelta::days(30)));
        let later = clock.now();
        assert!(later >= start + TimeDelta::days(30), "{later}");
        // The past stays where it is.
        assert!(clock.skip_to(start));
        assert!(clock.now() >= later && clock.now() < later + TimeDelta::days(1));
    }
}
