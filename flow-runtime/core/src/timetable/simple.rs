//! Timetables without ticks.

use super::{NextRun, Restriction, Timetable};
use crate::dag_run::DataInterval;
use chrono::{DateTime, TimeDelta, Utc};

/// No run but those that somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Never;

impl Timetable for Never {
    fn next(&self, _: Option<DataInterval>, _: &Restriction, _: DateTime<Utc>) -> Option<NextRun> {
        None
    }
}

/// One run, at the start date, else at once; whatever catchup says, as in Airflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once;

impl Timetable for Once {
    fn next(&self, last: Option<DataInterval>, restriction: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
        let instant = restriction.earliest.unwrap_or(now);
        if last.is_some() { None } else { restriction.admit(instant, NextRun::at(instant)) }
    }
}

/// The next run when the one before has ended, about the time since that one. Whoever asks sees to it that the one
/// before has ended: one run at a time.
///
/// Unlike Airflow's, no interval is empty, so that no two runs have the same logical date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Continuous;

/// What is stored of a date.
const RESOLUTION: TimeDelta = TimeDelta::microseconds(1);

impl Timetable for Continuous {
    fn next(&self, last: Option<DataInterval>, restriction: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
        let start = last.map(|last| last.end).or(restriction.earliest).unwrap_or(now);
        let end = now.max(start.checked_add_signed(RESOLUTION)?);
        restriction.admit(end, NextRun::over(start, end))
    }

    fn foresees(&self) -> bool {
        false
    }
}
