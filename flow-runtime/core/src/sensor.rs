//! Sensors: tasks that wait for something in the world by looking for it again and again.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a sensor looks. Names and meaning are Airflow's, but for the default of the mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SensorPolicy {
    /// Time from the end of one look to the next. Default 60 seconds.
    pub poke_interval: Duration,
    /// Each further wait is this many times the one before; 0 means that all are the same. Default 0.
    #[serde(default)]
    pub backoff: f64,
    /// Longest wait between two looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<Duration>,
    /// Longest time from the first look of a try to the last. Default 7 days.
    pub timeout: Duration,
    /// What it does between two looks.
    #[serde(default)]
    pub mode: SensorMode,
    /// Whoever waits in vain is skipped; else the task fails, without a further try.
    #[serde(default)]
    pub soft_fail: bool,
}

/// What a sensor does between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SensorMode {
    /// It gives its slot back. The default: it costs a row and no slot, and is there again after a crash.
    #[default]
    Reschedule,
    /// It keeps its slot and sleeps: for intervals so short that a commit for each is too much.
    Poke,
}

/// What follows from a look that found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The next look, at this instant.
    Again(DateTime<Utc>),
    /// There is none: it has waited as long as it may.
    TooLong,
}

impl Default for SensorPolicy {
    fn default() -> Self {
        SensorPolicy {
            poke_interval: Duration::from_secs(60),
            backoff: 0.0,
            max_interval: None,
            timeout: Duration::from_secs(7 * 24 * 3600),
            mode: SensorMode::default(),
            soft_fail: false,
        }
    }
}

impl SensorPolicy {
    /// The last instant at which a sensor may look that began at `first`.
    pub fn deadline(&self, first: DateTime<Utc>) -> DateTime<Utc> {
        later(first, self.timeout)
    }

    /// What follows from a look at `now` that found nothing, of a sensor that began to look at `first`. The last look is at
    /// the deadline, however long the interval.
    pub fn after(&self, first: DateTime<Utc>, now: DateTime<Utc>) -> Look {
        let deadline = self.deadline(first);
        if now >= deadline {
            return Look::TooLong;
        }
        let waited = (now - first).to_std().unwrap_or_default();
        Look::Again(later(now, self.wait_after(waited)).min(deadline))
    }

    /// The next wait, of a sensor that has waited for so long. Nobody counts its looks: as many waits lie behind it as fit
    /// into that time, so it goes on where it was in whatever process it is.
    fn wait_after(&self, waited: Duration) -> Duration {
        /// Beyond so many doublings no wait is of this world.
        const MOST: u32 = 64;
        let longest = self.max_interval.unwrap_or(Duration::MAX);
        let mut wait = self.poke_interval.min(longest);
        if self.backoff <= 1.0 || wait.is_zero() {
            return wait;
        }
        let mut behind = wait;
        for _ in 0..MOST {
            if behind > waited || wait >= longest {
                break;
            }
            wait = Duration::try_from_secs_f64(wait.as_secs_f64() * self.backoff).unwrap_or(longest).min(longest);
            behind = behind.saturating_add(wait);
        }
        wait
    }
}

fn later(at: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    let by = TimeDelta::from_std(by).ok();
    by.and_then(|by| at.checked_add_signed(by)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn looks(policy: &SensorPolicy, most: usize) -> Vec<i64> {
        let mut now = at(0);
        let mut found = vec![0];
        while let Look::Again(next) = policy.after(at(0), now) {
            now = next;
            found.push(now.timestamp());
            if found.len() == most {
                break;
            }
        }
        found
    }

    #[test]
    fn it_looks_at_steps_and_for_the_last_time_at_its_deadline() {
        let policy = SensorPolicy { timeout: Duration::from_secs(150), ..SensorPolicy::default() };
        assert_eq!(looks(&policy, 9), [0, 60, 120, 150]);
        assert_eq!(policy.after(at(0), at(151)), Look::TooLong);
        // A clock that went back.
        assert_eq!(policy.after(at(0), at(-5)), Look::Again(at(55)));
    }

    #[test]
    fn its_waits_grow_to_the_longest() {
        let policy = SensorPolicy {
            poke_interval: Duration::from_secs(1),
            backoff: 2.0,
            max_interval: Some(Duration::from_secs(10)),
            ..SensorPolicy::default()
        };
        assert_eq!(looks(&policy, 8), [0, 1, 3, 7, 15, 25, 35, 45]);
        let boundless = SensorPolicy { backoff: 1e300, max_interval: None, ..policy };
        assert_eq!(looks(&boundless, 8), [0, 1, 7 * 24 * 3600]);
    }

    #[test]
    fn without_an_interval_it_looks_again_at_once() {
        let policy = SensorPolicy { poke_interval: Duration::ZERO, backoff: 2.0, ..SensorPolicy::default() };
        assert_eq!(policy.after(at(0), at(5)), Look::Again(at(5)));
    }
}
