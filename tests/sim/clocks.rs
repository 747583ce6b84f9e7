//! Clocks that are set back and ahead: each host has one of its own, and the database too.

use crate::ledger::tell;
use crate::rng::Rng;
use chrono::{DateTime, TimeDelta, Utc};
use flow_runtime::clock::{Clock, TokioClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// No clock is ever further from the right time, in milliseconds.
const FURTHEST: u64 = 3 * 3600 * 1000;

/// The clock of one host: that of the world, and how far it is from it.
#[derive(Debug, Clone)]
pub struct HostClock {
    right: TokioClock,
    /// Milliseconds.
    ahead: Arc<AtomicI64>,
}

impl HostClock {
    pub fn right(right: TokioClock) -> HostClock {
        HostClock { right, ahead: Arc::default() }
    }

    fn set(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

impl Clock for HostClock {
    fn now(&self) -> DateTime<Utc> {
        self.right.now() + TimeDelta::milliseconds(self.ahead.load(Ordering::Relaxed))
    }
}

/// Sets the clocks of these hosts now and then, until the end; then most of them are put right.
pub async fn jump(mut rng: Rng, right: TokioClock, end: DateTime<Utc>, hosts: &[(&str, HostClock)]) {
    while right.now() < end {
        tokio::time::sleep(Duration::from_millis(rng.below(300_000))).await;
        let (host, clock) = &hosts[rng.below(hosts.len() as u64) as usize];
        // By seconds, by minutes, by hours.
        let most = [10_000, 600_000, FURTHEST][rng.below(3) as usize];
        let ahead = rng.below(2 * most) as i64 - most as i64;
        clock.set(ahead);
        tell(format!("{} the clock of {host} is {ahead} ms ahead from here on", right.now().format("%T%.3f")));
    }
    for (host, clock) in hosts.iter().filter(|_| rng.chance(700)) {
        clock.set(0);
        tell(format!("{} the clock of {host} is put right", right.now().format("%T%.3f")));
    }
}
