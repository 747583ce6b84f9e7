//! A connection that brings next to nothing is worse than a broken one: nobody notices.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// So many bytes have to come within so long a time, again and again.
pub(super) struct Pace {
    least: u64,
    patience: Duration,
    since: Instant,
    came: u64,
}

impl Pace {
    pub(super) fn new(least: u64, patience: Duration) -> Self {
        Self { least, patience, since: Instant::now(), came: 0 }
    }

    /// Waits for the next piece; `None` when it is too late for it.
    pub(super) async fn wait<T>(&self, piece: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.since + self.patience, piece).await.ok()
    }

    /// A piece of this size has come.
    pub(super) fn came(&mut self, bytes: usize) {
        self.came += bytes as u64;
        if self.came >= self.least {
            (self.since, self.came) = (Instant::now(), 0);
        }
    }

    pub(super) fn words(&self) -> String {
        format!("the connection is too slow: fewer than {} bytes in {} s", self.least, self.patience.as_secs_f32())
    }
}
