//! What passes by itself is tried again.

use super::error;
use std::time::{Duration, Instant};

/// How long what passes by itself is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience(pub(super) Duration);

/// The wait before the second attempt; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(20);

const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl Patience {
    /// Of something that is about to be attempted.
    pub(super) fn attempts(self) -> Attempts {
        Attempts { until: Instant::now() + self.0, wait: FIRST_WAIT }
    }
}

/// Attempts at one thing.
pub(super) struct Attempts {
    until: Instant,
    wait: Duration,
}

impl Attempts {
    /// After this error: waits, and says whether to try again.
    pub(super) async fn again(&mut self, e: &sqlx::Error) -> bool {
        if !error::passes(e) || Instant::now() + self.wait > self.until {
            return false;
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        true
    }
}
