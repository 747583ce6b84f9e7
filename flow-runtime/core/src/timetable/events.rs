//! Runs at dates that the author lists.

use super::{NextRun, Restriction, Timetable};
use crate::dag_run::DataInterval;
use chrono::{DateTime, Utc};

/// A run at each of these dates: Airflow's `EventsTimetable`.
///
/// Without catchup, a date that has passed counts only if it is the latest that has, and the DAG has a start date or a
/// run before it. (Airflow's forgets a date as soon as it has passed, also one that came while nobody looked.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Ascending, each once.
    dates: Vec<DateTime<Utc>>,
    restrict_to_events: bool,
}

impl Events {
    /// In any order.
    pub fn new(dates: impl IntoIterator<Item = DateTime<Utc>>) -> Events {
        let mut dates: Vec<DateTime<Utc>> = dates.into_iter().collect();
        dates.sort_unstable();
        dates.dedup();
        Events { dates, restrict_to_events: false }
    }

    /// Runs that somebody asks for are about the latest date that has passed (else about the first), not about the
    /// time when they were asked for.
    pub fn restrict_to_events(self) -> Events {
        Events { restrict_to_events: true, ..self }
    }

    /// The dates up to an instant, which is in.
    fn until(&self, instant: DateTime<Utc>) -> &[DateTime<Utc>] {
        &self.dates[..self.dates.partition_point(|&date| date <= instant)]
    }
}

impl Timetable for Events {
    fn next(&self, last: Option<DataInterval>, restriction: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
        let is_new = |date: DateTime<Utc>| last.is_none_or(|last| date > last.end);
        let is_in = |date: DateTime<Utc>| restriction.earliest.is_none_or(|earliest| date >= earliest);
        let knows_its_past = last.is_some() || restriction.earliest.is_some();
        let latest_due = self.until(now).last().copied().filter(|_| !restriction.catchup);
        let from = match latest_due {
            Some(latest) if knows_its_past => Some(latest),
            Some(_) => Some(now),
            None => None,
        };
        let ahead = self.dates.iter().copied().filter(|&date| from.is_none_or(|from| date >= from));
        let date = ahead.into_iter().find(|&date| is_new(date) && is_in(date))?;
        restriction.admit(date, NextRun::at(date))
    }

    fn manual_interval(&self, run_after: DateTime<Utc>) -> DataInterval {
        let event = self.until(run_after).last().or(self.dates.first()).filter(|_| self.restrict_to_events);
        let instant = event.copied().unwrap_or(run_after);
        DataInterval { start: instant, end: instant }
    }
}
