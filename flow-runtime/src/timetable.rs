//! When DAGs run by themselves: all of [`flow_core::timetable`], and the timetables of a program's own.
//!
//! `#[dag(schedule = custom(WorkingDays))]` takes any expression that gives a [`Timetable`]. A DAG is data and keeps only its
//! name, the module and the expression; [`of`] finds it again.

pub use flow_core::timetable::*;

use chrono::{DateTime, Utc};
use flow_core::dag::Dag;
use flow_core::dag_run::DataInterval;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A timetable of an author's own: what `custom(..)` registers.
#[derive(Debug, Clone, Copy)]
pub struct TimetableEntry {
    /// The name by which DAGs keep it; unique in a program.
    pub name: &'static str,
    /// Makes it.
    pub make: fn() -> Box<dyn Timetable>,
}

inventory::collect!(TimetableEntry);

/// What a [`TimetableEntry`] makes.
#[doc(hidden)]
pub fn boxed(timetable: impl Timetable + 'static) -> Box<dyn Timetable> {
    Box::new(timetable)
}

/// The timetable of a DAG, also one that is this program's own.
///
/// # Errors
/// A time zone or an own timetable that there is not.
pub fn of(dag: &Dag) -> Result<Box<dyn Timetable>, TimetableError> {
    of_with(dag, &own)
}

/// The timetable that is registered under this name.
fn own(name: &str) -> Option<Box<dyn Timetable>> {
    let entry = inventory::iter::<TimetableEntry>.into_iter().find(|entry| entry.name == name)?;
    let made = catch_unwind(entry.make).ok()?;
    Some(Box::new(Own { name: entry.name, timetable: made }))
}

/// An author's timetable, of which nothing is believed: it may panic, and it may stand still.
#[derive(Debug)]
struct Own {
    name: &'static str,
    timetable: Box<dyn Timetable>,
}

impl Timetable for Own {
    fn next(&self, last: Option<DataInterval>, restriction: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
        let Ok(next) = catch_unwind(AssertUnwindSafe(|| self.timetable.next(last, restriction, now))) else {
            tracing::error!(timetable = self.name, "the timetable panicked: there will be no run by it");
            return None;
        };
        // A run that does not lead on would be named again and again.
        let leads_on = |next: &NextRun| last.is_none_or(|last| next.data_interval.end > last.end);
        if next.as_ref().is_some_and(|next| !leads_on(next)) {
            tracing::error!(
                timetable = self.name,
                "the timetable named a run whose data interval ends no later than that of the run before: there will be no run by it"
            );
        }
        next.filter(leads_on)
    }

    fn manual_interval(&self, run_after: DateTime<Utc>) -> DataInterval {
        let asked = catch_unwind(AssertUnwindSafe(|| self.timetable.manual_interval(run_after)));
        asked.unwrap_or(DataInterval { start: run_after, end: run_after })
    }

    fn foresees(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.timetable.foresees())).unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_core::Schedule;

    #[derive(Debug)]
    struct StandsStill;

    impl Timetable for StandsStill {
        fn next(&self, last: Option<DataInterval>, _: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
            assert!(last.is_none_or(|last| last.end != DateTime::UNIX_EPOCH), "the beginning of time");
            Some(last.map_or(NextRun::at(now), |last| NextRun::at(last.end)))
        }
    }

    inventory::submit! {
        TimetableEntry { name: "tests::StandsStill", make: || Box::new(StandsStill) }
    }

    #[test]
    fn a_timetable_that_panics_or_stands_still_has_no_more_runs() {
        let mut dag = Dag::new("d");
        dag.schedule = Some(Schedule::custom("tests::StandsStill").expect("a name"));
        let (own, bounds, now) = (of(&dag).expect("registered"), Restriction::of(&dag), DateTime::UNIX_EPOCH);
        let first = own.next(None, &bounds, now + chrono::TimeDelta::days(1)).expect("the first");
        assert_eq!(own.next(Some(first.data_interval), &bounds, now), None);
        assert_eq!(own.next(Some(DataInterval { start: now, end: now }), &bounds, now), None);
        dag.schedule = Some(Schedule::custom("tests::Nothing").expect("a name"));
        assert_eq!(of(&dag).map(drop).expect_err("none"), TimetableError::Unknown("tests::Nothing".into()));
    }
}
