//! What passes by itself is tried again.

use super::error;
use std::future::Future;
use std::io::{Error, ErrorKind};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long what passes by itself is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience(pub(super) Duration);

/// The wait before the second attempt; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(20);

const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Longest time of one attempt: an answer that has not come by then is lost, and so is the connection.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(60);

impl Patience {
    /// Of something that is about to be attempted.
    pub(super) fn attempts(self) -> Attempts {
        Attempts { patience: self.0, until: None, wait: FIRST_WAIT }
    }
}

/// Attempts at one thing.
pub(super) struct Attempts {
    patience: Duration,
    /// Patience is counted from the first failure, so that there is a second attempt however long the first took.
    until: Option<Instant>,
    wait: Duration,
}

impl Attempts {
    /// After this error: waits, and says whether to try again.
    pub(super) async fn again(&mut self, e: &sqlx::Error) -> bool {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + self.patience);
        if !error::passes(e) || now + self.wait > until {
            return false;
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        true
    }
}

/// One attempt, which takes no longer than it may.
pub(super) async fn in_time<T, E: From<sqlx::Error>>(attempt: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match timeout(LONGEST_ATTEMPT, attempt).await {
        Ok(answer) => answer,
        Err(_) => {
            let text = format!("it has not answered for {} seconds", LONGEST_ATTEMPT.as_secs());
            Err(sqlx::Error::Io(Error::new(ErrorKind::TimedOut, text)).into())
        }
    }
}
