//! The dates of a stretch of time: those that a schedule would have had runs of by then, and those that it would not.

use super::backfill::BackfillError;
use crate::store::BackfillSpec;
use crate::timetable;
use chrono::{DateTime, TimeDelta, Utc};
use flow_core::{Dag, NextRun, Schedule, Timetable};
use std::fmt;

/// So far dates that are left out are counted: there may be no end to them.
const MOST: usize = 10_000;

/// A stretch of time, as the schedule of a DAG sees it at an instant.
#[derive(Debug)]
pub struct Stretch {
    timetable: Box<dyn Timetable>,
    /// What was asked for, both in.
    asked: (DateTime<Utc>, DateTime<Utc>),
    start_date: Option<DateTime<Utc>>,
    end_date: Option<DateTime<Utc>>,
    by: DateTime<Utc>,
}

impl Stretch {
    /// The dates of a backfill that was asked for at this instant.
    ///
    /// # Errors
    /// A DAG whose schedule tells no dates ahead, or is none.
    pub fn of(dag: &Dag, spec: &BackfillSpec, by: DateTime<Utc>) -> Result<Stretch, BackfillError> {
        let timetable = timetable::of(dag)?;
        if !dag.schedule.as_ref().is_some_and(Schedule::tells_times) || !timetable.foresees() {
            return Err(BackfillError::NoDates(dag.dag_id.clone()));
        }
        let (asked, start_date, end_date) = ((spec.from, spec.to), dag.start_date, dag.end_date);
        Ok(Stretch { timetable, asked, start_date, end_date, by })
    }

    /// The runs of it, the earliest first: from the start date of the DAG to its end date, and those that may start by then.
    pub fn runs(&self) -> impl Iterator<Item = NextRun> {
        let (from, to) = self.bounds();
        timetable::runs_between(&*self.timetable, from, to).take_while(|run| run.run_after <= self.by)
    }

    /// What was asked for, between the start date and the end date.
    fn bounds(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let (from, to) = self.asked;
        (self.start_date.map_or(from, |start| start.max(from)), self.end_date.map_or(to, |end| end.min(to)))
    }

    /// How many dates it has that get no run.
    pub fn left_out(&self) -> LeftOut {
        let count = |from, to| timetable::runs_between(&*self.timetable, from, to);
        let ((first, last), (from, to)) = (self.asked, self.bounds());
        let before = self.start_date.filter(|start| first < *start).map(|start| {
            let last = last.min(start - TimeDelta::microseconds(1));
            (count(first, last).take(MOST + 1).count(), start)
        });
        let after = self.end_date.filter(|end| *end < last).map(|end| {
            let first = first.max(end + TimeDelta::microseconds(1));
            (count(first, last).take(MOST + 1).count(), end)
        });
        let ahead = count(from, to).skip_while(|run| run.run_after <= self.by).take(MOST + 1).count();
        let some = |dates: &(usize, DateTime<Utc>)| dates.0 > 0;
        LeftOut { before: before.filter(some), after: after.filter(some), ahead }
    }

    /// The last date before it and the first one after it that the schedule has.
    pub fn nearest(&self) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let step = TimeDelta::microseconds(1);
        let (from, to) = (self.asked.0.checked_sub_signed(step), self.asked.1.checked_add_signed(step));
        let earliest = self.start_date.unwrap_or(DateTime::<Utc>::MIN_UTC);
        let latest = self.end_date.unwrap_or(DateTime::<Utc>::MAX_UTC);
        // Only the way ahead can be asked for: so from further and further back.
        let before = from.map(|from| from.min(latest)).and_then(|from| {
            [1, 40, 400, 4_000, 40_000].into_iter().find_map(|days| {
                let back = from.checked_sub_signed(TimeDelta::days(days))?.max(earliest);
                timetable::runs_between(&*self.timetable, back, from).last()
            })
        });
        let after = to.and_then(|to| timetable::runs_between(&*self.timetable, to.max(earliest), latest).next());
        (before.map(|run| run.logical_date), after.map(|run| run.logical_date))
    }
}

/// How many dates of a stretch of time get no run; prints as part of a sentence, and as nothing where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// Before the start date, which is this.
    pub before: Option<(usize, DateTime<Utc>)>,
    /// After the end date, which is this.
    pub after: Option<(usize, DateTime<Utc>)>,
    /// Their time was not over when they were asked for.
    pub ahead: usize,
}

impl LeftOut {
    /// Is there none?
    pub fn is_none(&self) -> bool {
        self.before.is_none() && self.after.is_none() && self.ahead == 0
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dates = |n: usize| match n {
            1 => "1 date".to_owned(),
            n if n > MOST => format!("more than {MOST} dates"),
            n => format!("{n} dates"),
        };
        let at = |date: DateTime<Utc>| date.format("%Y-%m-%d %H:%M:%S");
        let parts = [
            self.before.map(|(n, start)| format!("{} before the start_date of the DAG, {}", dates(n), at(start))),
            self.after.map(|(n, end)| format!("{} after the end_date of the DAG, {}", dates(n), at(end))),
            (self.ahead > 0).then(|| format!("{} that were still ahead when it was asked for", dates(self.ahead))),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Reprocess;

    fn at(text: &str) -> DateTime<Utc> {
        flow_core::parse::date(text).unwrap()
    }

    fn stretch(schedule: &str, from: &str, to: &str) -> Stretch {
        let mut dag = Dag::new("d");
        dag.schedule = Some(Schedule::parse(schedule).unwrap());
        dag.start_date = Some(at("2026-01-10"));
        dag.end_date = Some(at("2027-01-10"));
        let spec = BackfillSpec {
            dag_id: "d".into(),
            from: at(from),
            to: at(to),
            reprocess: Reprocess::None,
            backwards: false,
            max_active_runs: 1,
            conf: serde_json::Map::new(),
        };
        Stretch::of(&dag, &spec, at("2026-03-05T12:00")).unwrap()
    }

    fn days(stretch: &Stretch) -> Vec<String> {
        stretch.runs().map(|run| run.logical_date.format("%m-%d").to_string()).collect()
    }

    #[test]
    fn dates_that_a_schedule_would_not_have_had_by_then_are_left_out() {
        let all = stretch("0 0 1 * *", "2025-11-01", "2027-03-01");
        assert_eq!(days(&all), ["02-01", "03-01"]);
        assert_eq!(
            all.left_out(),
            LeftOut { before: Some((3, at("2026-01-10"))), after: Some((2, at("2027-01-10"))), ahead: 10 }
        );
        let said = all.left_out().to_string();
        assert!(
            said.starts_with("3 dates before the start_date of the DAG, 2026-01-10 00:00:00; 2 dates after"),
            "{said}"
        );
        let inside = stretch("@daily", "2026-03-01", "2026-03-05");
        assert!(days(&inside).len() == 5 && inside.left_out().is_none() && inside.left_out().to_string().is_empty());
        // The date after its end date is one that is ahead as well: it is told once.
        let far = stretch("* * * * * *", "2026-03-05T11:59:59", "9999-01-01");
        assert_eq!((days(&far).len(), far.left_out().ahead), (2, MOST + 1));
        assert!(far.left_out().to_string().contains("more than 10000 dates that were still ahead"));
    }

    #[test]
    fn where_there_is_none_the_nearest_are_known() {
        let none = stretch("0 0 1 * *", "2026-02-02", "2026-02-20");
        assert!(days(&none).is_empty() && none.left_out().is_none());
        assert_eq!(none.nearest(), (Some(at("2026-02-01")), Some(at("2026-03-01"))));
        let first = stretch("@yearly", "2026-02-01", "2026-02-02");
        assert_eq!(first.nearest(), (None, Some(at("2027-01-01"))), "none before its start date");
        let late = stretch("@daily", "2028-02-01", "2028-02-02");
        assert_eq!(late.nearest(), (Some(at("2027-01-10")), None));
    }
}
