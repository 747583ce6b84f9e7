//! The steps of a timetable: where the ticks lie around an instant.

use super::TimetableError;
use chrono::{DateTime, TimeDelta, Utc};
use std::fmt::Debug;
use std::time::Duration;

/// Ticks along time. `None` stands for no tick at all on that side.
pub trait Steps: Debug + Send + Sync {
    /// The first tick strictly after an instant.
    fn after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>>;

    /// The last tick strictly before an instant.
    fn before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>>;

    /// The instant itself if it is a tick, else the first tick after it.
    fn at_or_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>>;

    /// The instant itself if it is a tick, else the last tick before it.
    fn at_or_before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>>;

    /// Where the latest interval that has ended by `now` begins.
    fn start_of_latest_interval(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>>;
}

/// Fixed steps of elapsed time. Any instant is a tick: the steps go on from wherever one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every {
    step: TimeDelta,
    micros: i64,
}

impl Every {
    /// Steps of this length, from a microsecond (what is stored of a date) to a thousand years.
    pub fn new(step: Duration) -> Result<Every, TimetableError> {
        const LONGEST: i64 = 1_000 * 366 * 86_400 * 1_000_000;
        match i64::try_from(step.as_micros()) {
            Ok(micros @ 1..=LONGEST) => Ok(Every { step: TimeDelta::microseconds(micros), micros }),
            _ => Err(TimetableError::Step(step)),
        }
    }
}

impl Steps for Every {
    fn after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        instant.checked_add_signed(self.step)
    }

    fn before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        instant.checked_sub_signed(self.step)
    }

    fn at_or_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        Some(instant)
    }

    fn at_or_before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        Some(instant)
    }

    /// On the grid of the steps from 1970 on, as in Airflow.
    fn start_of_latest_interval(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let micros = now.timestamp_micros();
        DateTime::from_timestamp_micros(micros - micros.rem_euclid(self.micros) - self.micros)
    }
}
