//! The runs of a timetable, one after the other.

use super::{NextRun, Restriction, Timetable};
use crate::dag_run::DataInterval;
use chrono::{DateTime, Utc};
use std::iter::successors;

/// The runs after `last`, as they will come when each is made as soon as it is due. Without an end date there is no
/// end to them: take as many as you need.
pub fn upcoming(
    timetable: &dyn Timetable,
    last: Option<DataInterval>,
    restriction: Restriction,
    now: DateTime<Utc>,
) -> impl Iterator<Item = NextRun> {
    let most = if timetable.foresees() { usize::MAX } else { 1 };
    successors(timetable.next(last, &restriction, now), move |run| {
        following(timetable, run, &restriction, now.max(run.run_after))
    })
    .take(most)
}

/// The runs about the time from `start` to `end`, both in, whatever was run before: for a backfill.
pub fn runs_between(
    timetable: &dyn Timetable,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> impl Iterator<Item = NextRun> {
    let restriction = Restriction { earliest: Some(start), latest: Some(end), catchup: true };
    let first = if start <= end { timetable.next(None, &restriction, end) } else { None };
    successors(first, move |run| following(timetable, run, &restriction, end))
}

/// The run after one, which must be later: a timetable that stands still has no more.
fn following(timetable: &dyn Timetable, run: &NextRun, bounds: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
    timetable.next(Some(run.data_interval), bounds, now).filter(|next| next.logical_date > run.logical_date)
}
