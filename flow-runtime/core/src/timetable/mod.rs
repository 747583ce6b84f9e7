//! **When is the next run due?** A timetable turns a [`Schedule`] with its time zone into runs, as Airflow 3 does.
//!
//! | schedule | timetable | a run |
//! |---|---|---|
//! | none | [`Never`] | only when somebody asks |
//! | `@once` | [`Once`] | at the start date, else at once |
//! | `@continuous` | [`Continuous`] | when the one before has ended, about the time since that one |
//! | cron | [`CronTrigger`] | at each tick; its logical date is the tick, its data interval is empty |
//! | several of cron | [`MultipleCronTrigger`] | the same at each tick of any |
//! | `every 10m` | [`DeltaTrigger`] | the same at fixed steps from the run before |
//! | dates | [`Events`] | at each of them |
//! | assets alone | [`Never`] | made by what has come, not by time |
//!
//! With `data_intervals`, a schedule of one cron expression or of steps means what it meant before Airflow 3
//! ([`CronDataInterval`], [`DeltaDataInterval`]): a run at the *end* of each interval, whose logical date is its start.
//! A timetable of an author's own implements [`Timetable`]; a DAG, which is data, knows it by name.
//!
//! **An answer is kept until its run is made.** What is next may depend on `now`: without catchup, a fixed step that is
//! overdue is due now, and a list of dates without a start date looks only ahead. So a scheduler asks when a run was
//! made (or the DAG has changed), keeps the answer as Airflow keeps `next_dagrun`, and makes the run once its
//! `run_after` has come.

mod cron;
mod data_interval;
mod events;
mod expression;
mod field;
mod runs;
mod simple;
mod steps;
mod trigger;

pub use cron::{Cron, zone};
pub use data_interval::{CronDataInterval, DataIntervals, DeltaDataInterval};
pub use events::Events;
pub use expression::CronExpression;
pub use runs::{runs_between, upcoming};
pub use simple::{Continuous, Never, Once};
pub use steps::{Every, Steps};
pub use trigger::{CronTrigger, DeltaTrigger, FirstRun, MultipleCronTrigger, Trigger};

use crate::dag::Dag;
use crate::dag_run::DataInterval;
use crate::parse;
use crate::schedule::{Schedule, ScheduleKind};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Which runs a DAG owes by itself. The same question always gets the same answer: time is an argument.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a timetable",
    label = "this takes a value that implements `Timetable` (and `Debug`, `Send` and `Sync`)"
)]
pub trait Timetable: Debug + Send + Sync {
    /// The run after `last`, the data interval of the latest run that a timetable made; `None` when there will be none.
    ///
    /// It may lie ahead: it is due from its `run_after` on.
    fn next(&self, last: Option<DataInterval>, restriction: &Restriction, now: DateTime<Utc>) -> Option<NextRun>;

    /// The data interval of a run that somebody asked for, which may start at `run_after`.
    fn manual_interval(&self, run_after: DateTime<Utc>) -> DataInterval {
        DataInterval { start: run_after, end: run_after }
    }

    /// Can a run be named before the one before it has ended? If not, [`upcoming`] names only the next.
    fn foresees(&self) -> bool {
        true
    }
}

/// What bounds the runs of a timetable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restriction {
    /// No run is about anything before this instant: the DAG's start date. (As in Airflow, catchup goes on from the
    /// last run all the same where the start date was moved beyond it; but data intervals wait for it.)
    pub earliest: Option<DateTime<Utc>>,
    /// No run is about anything after this instant: the DAG's end date, which is in.
    pub latest: Option<DateTime<Utc>>,
    /// Make every run since the last one (or since `earliest`); else only the latest that is due.
    pub catchup: bool,
}

impl Restriction {
    /// What the author of a DAG wrote.
    pub fn of(dag: &Dag) -> Restriction {
        Restriction { earliest: dag.start_date, latest: dag.end_date, catchup: dag.catchup }
    }

    /// The run, unless the decisive instant of it is after the end date.
    fn admit(&self, decisive: DateTime<Utc>, run: NextRun) -> Option<NextRun> {
        self.latest.is_none_or(|latest| decisive <= latest).then_some(run)
    }
}

/// A run that should exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRun {
    /// The instant it is about: the start of its data interval.
    pub logical_date: DateTime<Utc>,
    /// The span of time it is about.
    pub data_interval: DataInterval,
    /// It may start from this instant on.
    pub run_after: DateTime<Utc>,
}

impl NextRun {
    /// About the span from `start` to `end`, and due at its end.
    pub fn over(start: DateTime<Utc>, end: DateTime<Utc>) -> NextRun {
        NextRun { logical_date: start, data_interval: DataInterval { start, end }, run_after: end }
    }

    /// About one instant, and due at it.
    pub fn at(instant: DateTime<Utc>) -> NextRun {
        NextRun::over(instant, instant)
    }
}

/// Why a DAG has no timetable; prints as one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimetableError {
    /// The name of a time zone that the tz database does not have.
    #[error("`{0}` is not a time zone: write a name of the tz database, like `Europe/Berlin` or `UTC`")]
    Zone(String),
    /// Not a cron expression.
    #[error("`{text}` is not a cron expression: {why}")]
    Cron {
        /// What was written.
        text: String,
        /// Why it is none.
        why: String,
    },
    /// A step that leads nowhere, or beyond all dates.
    #[error("a timetable cannot go in steps of {0:?}: a step is at least one microsecond and at most a thousand years")]
    Step(std::time::Duration),
    /// Several expressions were to be given, and there is none.
    #[error("a timetable of several cron expressions needs at least one")]
    NoCron,
    /// Not a date.
    #[error("{0}")]
    Date(String),
    /// A cron expression that names a date which no year has.
    #[error(
        "`{0}` never comes: no year of the next {years} has such a date (a 30th of February, say)",
        years = expression::MOST_YEARS
    )]
    NeverComes(String),
    /// A schedule without intervals, which was to run at the end of each.
    #[error(
        "`{0}` has no data intervals: they lie between the ticks of one cron expression, or between the steps of \
         `every 10m`; take `data_intervals` away"
    )]
    NoIntervals(String),
    /// The name of a timetable of somebody's own, which is not known here.
    #[error("this program has no timetable `{0}`: link the crate that it is in, or give the DAG another schedule")]
    Unknown(String),
}

/// Finds the timetables of authors' own, by name.
pub type Find<'f> = &'f dyn Fn(&str) -> Option<Box<dyn Timetable>>;

/// The timetable of a DAG: of its schedule, in its time zone. One of an author's own is not known here: a program finds
/// its own by [`of_with`].
pub fn of(dag: &Dag) -> Result<Box<dyn Timetable>, TimetableError> {
    of_with(dag, &|_| None)
}

/// The same, where `own` knows the timetables of authors' own.
pub fn of_with(dag: &Dag, own: Find<'_>) -> Result<Box<dyn Timetable>, TimetableError> {
    let timezone = dag.timezone.as_deref();
    match &dag.schedule {
        None => Ok(Box::new(Never)),
        Some(schedule) if dag.data_intervals => with_intervals(schedule, timezone),
        Some(schedule) => of_schedule_with(schedule, timezone, own),
    }
}

/// Does every cron expression of a DAG's schedule name some time? One that names none would wait for ever, and say nothing.
///
/// # Errors
/// The first that names none: [`TimetableError::NeverComes`].
pub fn comes(dag: &Dag) -> Result<(), TimetableError> {
    fn texts(schedule: &Schedule) -> &[String] {
        match schedule.kind() {
            ScheduleKind::Cron(text) => std::slice::from_ref(text),
            ScheduleKind::Crons(texts) => texts,
            ScheduleKind::AssetsOr(_, times) => texts(times),
            _ => &[],
        }
    }
    // Any date will do: whatever comes at all does so again within as many years as are looked at.
    let some_day = DateTime::<Utc>::UNIX_EPOCH.naive_utc();
    let never = |text: &&String| CronExpression::parse(text).is_ok_and(|cron| cron.after(some_day).is_none());
    match dag.schedule.as_ref().map(texts).unwrap_or_default().iter().find(never) {
        Some(text) => Err(TimetableError::NeverComes(text.clone())),
        None => Ok(()),
    }
}

/// The timetable of a schedule in a time zone, by its name in the tz database; UTC when none is given. Only cron
/// expressions and dates are told by the clock on a wall.
pub fn of_schedule(schedule: &Schedule, timezone: Option<&str>) -> Result<Box<dyn Timetable>, TimetableError> {
    of_schedule_with(schedule, timezone, &|_| None)
}

fn of_schedule_with(
    schedule: &Schedule,
    timezone: Option<&str>,
    own: Find<'_>,
) -> Result<Box<dyn Timetable>, TimetableError> {
    let cron = |text: &String| Ok(CronTrigger::new(Cron::parse(text, timezone)?));
    Ok(match schedule.kind() {
        ScheduleKind::Once => Box::new(Once),
        ScheduleKind::Continuous => Box::new(Continuous),
        ScheduleKind::Cron(text) => Box::new(cron(text)?),
        ScheduleKind::Crons(texts) => {
            Box::new(MultipleCronTrigger::new(texts.iter().map(cron).collect::<Result<_, TimetableError>>()?)?)
        }
        ScheduleKind::Every(step) => Box::new(DeltaTrigger::new(Every::new(*step)?)),
        ScheduleKind::Dates(texts) => {
            let zone = zone(timezone)?;
            let date = |text: &String| parse::date_in(text, zone).map_err(TimetableError::Date);
            Box::new(Events::new(texts.iter().map(date).collect::<Result<Vec<_>, _>>()?))
        }
        ScheduleKind::Custom(name) => own(name).ok_or_else(|| TimetableError::Unknown(name.clone()))?,
        ScheduleKind::Assets(_) => Box::new(Never),
        ScheduleKind::AssetsOr(_, times) => of_schedule_with(times, timezone, own)?,
    })
}

/// As before Airflow 3: a run at the end of each interval.
fn with_intervals(schedule: &Schedule, timezone: Option<&str>) -> Result<Box<dyn Timetable>, TimetableError> {
    Ok(match schedule.kind() {
        ScheduleKind::Cron(text) => Box::new(CronDataInterval::new(Cron::parse(text, timezone)?)),
        ScheduleKind::Every(step) => Box::new(DeltaDataInterval::new(Every::new(*step)?)),
        ScheduleKind::AssetsOr(_, times) => with_intervals(times, timezone)?,
        _ => return Err(TimetableError::NoIntervals(schedule.to_string())),
    })
}

#[cfg(test)]
mod tests;
