//! Runs at the ticks: what a schedule means since Airflow 3.

use super::{Cron, Every, NextRun, Restriction, Steps, Timetable, TimetableError};
use crate::dag_run::DataInterval;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// A run at each tick, due at it. Its data interval ends there, and is empty unless a length is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger<S> {
    steps: S,
    length: TimeDelta,
    first_run: FirstRun,
}

/// A run at each tick of a cron expression: Airflow's `CronTriggerTimetable`, and the default for a cron expression.
pub type CronTrigger = Trigger<Cron>;

/// A run at fixed steps from the run before: Airflow's `DeltaTriggerTimetable`, and the default for `every 10m`.
///
/// The first is at the start date, else now. Without catchup one that is overdue is due now, and the steps go on from
/// there.
pub type DeltaTrigger = Trigger<Every>;

/// Which tick comes first for a DAG that has neither run nor a start date: Airflow's `run_immediately`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstRun {
    /// The latest one if it is no longer ago than a tenth of the time between two, or five minutes; else the next one.
    #[default]
    Recent,
    /// The latest one.
    Latest,
    /// The latest one if it is no longer ago than this; else the next one.
    Within(Duration),
}

impl<S: Steps> Trigger<S> {
    /// Runs at the ticks of `steps`.
    pub fn new(steps: S) -> Trigger<S> {
        Trigger { steps, length: TimeDelta::zero(), first_run: FirstRun::default() }
    }

    /// The data interval of a run is this long, and ends with its tick.
    pub fn interval(self, length: Duration) -> Trigger<S> {
        Trigger { length: TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX), ..self }
    }

    /// What comes first for a DAG that has neither run nor a start date.
    pub fn first_run(self, first_run: FirstRun) -> Trigger<S> {
        Trigger { first_run, ..self }
    }

    /// The tick with which a DAG begins that has neither run nor a start date.
    fn first(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let Some(latest) = self.steps.at_or_before(now) else { return self.steps.at_or_after(now) };
        if self.first_run == FirstRun::Latest {
            return Some(latest);
        }
        let Some(next) = self.steps.at_or_after(now) else { return Some(latest) };
        let grace = match self.first_run {
            FirstRun::Within(grace) => TimeDelta::from_std(grace).unwrap_or(TimeDelta::MAX),
            _ => ((next - latest) / 10).max(TimeDelta::minutes(5)),
        };
        Some(if now - latest <= grace { latest } else { next })
    }

    fn tick(&self, last: Option<DataInterval>, bounds: &Restriction, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let following = match (last, bounds.earliest) {
            (Some(last), _) => self.steps.after(last.end)?,
            (None, Some(earliest)) => self.steps.at_or_after(earliest)?,
            (None, None) => self.first(now)?,
        };
        if bounds.catchup {
            return Some(following);
        }
        let from_start = match bounds.earliest {
            Some(earliest) => self.steps.at_or_after(earliest)?,
            None => following,
        };
        // Of those that are due, only the latest.
        self.steps.at_or_before(now).max(Some(following.max(from_start)))
    }
}

impl<S: Steps> Timetable for Trigger<S> {
    fn next(&self, last: Option<DataInterval>, restriction: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
        let tick = self.tick(last, restriction, now)?;
        restriction.admit(tick, NextRun::over(tick.checked_sub_signed(self.length)?, tick))
    }

    fn manual_interval(&self, run_after: DateTime<Utc>) -> DataInterval {
        DataInterval { start: run_after.checked_sub_signed(self.length).unwrap_or(run_after), end: run_after }
    }
}

/// A run at each tick of any of several cron expressions: Airflow's `MultipleCronTriggerTimetable`. Ticks that fall
/// together are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipleCronTrigger {
    triggers: Vec<CronTrigger>,
}

impl MultipleCronTrigger {
    /// Of at least one.
    pub fn new(triggers: Vec<CronTrigger>) -> Result<MultipleCronTrigger, TimetableError> {
        if triggers.is_empty() { Err(TimetableError::NoCron) } else { Ok(MultipleCronTrigger { triggers }) }
    }
}

impl Timetable for MultipleCronTrigger {
    fn next(&self, last: Option<DataInterval>, restriction: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
        let runs = self.triggers.iter().filter_map(|trigger| trigger.next(last, restriction, now));
        if restriction.catchup {
            return runs.min_by_key(|run| run.logical_date);
        }
        // The latest of those that are due, else the earliest of those that are not.
        let (due, ahead): (Vec<NextRun>, Vec<NextRun>) = runs.partition(|run| run.logical_date <= now);
        let latest = due.into_iter().max_by_key(|run| run.logical_date);
        latest.or_else(|| ahead.into_iter().min_by_key(|run| run.logical_date))
    }

    fn manual_interval(&self, run_after: DateTime<Utc>) -> DataInterval {
        let intervals = self.triggers.iter().map(|trigger| trigger.manual_interval(run_after));
        let longest = intervals.min_by_key(|interval| interval.start);
        longest.unwrap_or(DataInterval { start: run_after, end: run_after })
    }
}
