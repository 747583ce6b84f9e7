//! A connection that brings next to nothing is worse than a broken one: nobody notices.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// A connection that brings fewer bytes than this, unless somebody says otherwise ..
pub(crate) const LEAST_BYTES: u64 = 64 << 10;
/// .. in this time is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// So many bytes have to come within so long a time, again and again.
pub(crate) struct Pace {
    least: u64,
    patience: Duration,
    since: Instant,
    came: u64,
}

impl Pace {
    pub(crate) fn new(least: u64, patience: Duration) -> Self {
        Self { least, patience, since: Instant::now(), came: 0 }
    }

    /// Waits for the next piece; `None` when it is too late for it.
    pub(crate) async fn wait<T>(&self, piece: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.since + self.patience, piece).await.ok()
    }

    /// A piece of this size has come.
    pub(crate) fn came(&mut self, bytes: usize) {
        self.came += bytes as u64;
        if self.came >= self.least {
            (self.since, self.came) = (Instant::now(), 0);
        }
    }

    pub(crate) fn words(&self) -> String {
        format!("the connection is too slow: fewer than {} bytes in {} s", self.least, self.patience.as_secs_f32())
    }
}
