//! Runs at the end of each interval between two ticks: what a schedule meant before Airflow 3.

use super::{Cron, Every, NextRun, Restriction, Steps, Timetable};
use crate::dag_run::DataInterval;
use chrono::{DateTime, Utc};
use std::iter::successors;

/// A run for each interval between two ticks: its logical date is the start, and it is due at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataIntervals<S> {
    steps: S,
}

/// A run for each interval of a cron expression: Airflow's `CronDataIntervalTimetable`.
pub type CronDataInterval = DataIntervals<Cron>;

/// A run for each interval of a fixed length: Airflow's `DeltaDataIntervalTimetable`. Without catchup and without a
/// run before, the intervals lie on the grid of their length from 1970 on.
pub type DeltaDataInterval = DataIntervals<Every>;

impl<S: Steps> DataIntervals<S> {
    /// Runs for the intervals between the ticks of `steps`.
    pub fn new(steps: S) -> DataIntervals<S> {
        DataIntervals { steps }
    }

    fn start(&self, last: Option<DataInterval>, bounds: &Restriction, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut earliest = match bounds.earliest {
            Some(earliest) => Some(self.steps.at_or_after(earliest)?),
            None => None,
        };
        if !bounds.catchup {
            earliest = earliest.max(self.steps.start_of_latest_interval(now));
        }
        let Some(last) = last else { return earliest };
        // The next interval begins where the last one ended, unless that is no interval of this schedule: it was
        // another one then, and a tick of this one has to be found.
        let unchanged = self.steps.after(last.start) == Some(last.end);
        let aligned = if unchanged { Some(last.end) } else { self.steps.at_or_before(last.end) };
        // Of a coarser schedule, it may lie before the last run; no two have one logical date.
        successors(earliest.max(aligned), |&start| self.steps.after(start)).find(|&start| start > last.start)
    }
}

impl<S: Steps> Timetable for DataIntervals<S> {
    fn next(&self, last: Option<DataInterval>, restriction: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
        let start = self.start(last, restriction, now)?;
        restriction.admit(start, NextRun::over(start, self.steps.after(start)?))
    }

    /// The latest interval that has ended by `run_after`.
    fn manual_interval(&self, run_after: DateTime<Utc>) -> DataInterval {
        let end = self.steps.at_or_before(run_after).unwrap_or(run_after);
        DataInterval { start: self.steps.before(end).unwrap_or(end), end }
    }
}
