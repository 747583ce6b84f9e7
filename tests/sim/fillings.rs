//! What must hold of backfills: each date has its run, once; never more at one time than was said; none begins for one that was
//! stopped.

use crate::laws::Seen;
use crate::wishes::Wishes;
use chrono::{DateTime, TimeDelta, Utc};
use flow_runtime::core::{NextRun, RunStatus, RunType};
use flow_runtime::store::{BackfillRow, BackfillState, Reprocess, StoredRun};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of the backfills of a world.
#[derive(Debug)]
pub struct Fillings {
    /// The dates that each DAG has, whoever makes their runs.
    pub dates: BTreeMap<String, Vec<NextRun>>,
    /// So long after a backfill was stopped whoever has looked before may still begin a run for it.
    lag: TimeDelta,
    /// Clocks differ: what was before and what after a backfill was asked for is another for each.
    jumps: bool,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// When those were stopped that do not run.
    stopped: BTreeMap<i64, DateTime<Utc>>,
    /// The runs that were let run again, by backfill.
    again: BTreeSet<(i64, i64)>,
}

impl Fillings {
    pub fn new(dates: BTreeMap<String, Vec<NextRun>>, lag: TimeDelta, jumps: bool) -> Fillings {
        Fillings { dates, lag, jumps, table: Mutex::default() }
    }

    /// The dates of a backfill: those of its DAG that were over when it was asked for.
    fn dates_of(&self, row: &BackfillRow) -> impl Iterator<Item = DateTime<Utc>> {
        let (from, to, by) = (row.spec.from, row.spec.to, row.created);
        let all = self.dates.get(&row.spec.dag_id).into_iter().flatten();
        let own = all.filter(move |run| from <= run.logical_date && run.logical_date <= to && run.run_after <= by);
        own.map(|run| run.logical_date)
    }

    /// Those that may be the reason for something about this run, now or a moment ago.
    fn reasons<'s>(&self, table: &Table, now: &'s Seen, run: &StoredRun, at: DateTime<Utc>) -> Vec<&'s BackfillRow> {
        let may = |row: &&BackfillRow| {
            let runs = table.stopped.get(&row.id).is_none_or(|stopped| at <= *stopped + self.lag);
            let is_own = row.spec.dag_id == run.run.dag_id;
            runs && is_own && self.dates_of(row).any(|date| Some(date) == run.run.logical_date)
        };
        now.backfills.iter().filter(may).collect()
    }

    /// Is a run that has ended let run again for a backfill? Each lets it once.
    pub fn take_again(&self, now: &Seen, old: &StoredRun, at: DateTime<Utc>) -> bool {
        let mut table = self.table.lock();
        let reasons = self.reasons(&table, now, old, at);
        let is_one = |row: &&BackfillRow| {
            let is_wanted = match row.spec.reprocess {
                Reprocess::None => false,
                Reprocess::Failed => old.run.state == RunStatus::Failed,
                Reprocess::Completed => true,
            };
            let ended_before = self.jumps || old.run.end_date.is_some_and(|end| end < row.created);
            // When it has ended is told by the clock of whoever worked on it: while that is behind, it seems to be from before.
            let is_first = self.jumps || !table.again.contains(&(row.id, old.pk.0));
            is_wanted && ended_before && is_first
        };
        let Some(id) = reasons.into_iter().find(is_one).map(|row| row.id) else { return false };
        table.again.insert((id, old.pk.0));
        true
    }

    /// What follows from what was there before?
    pub fn step(&self, before: &Seen, now: &Seen, wishes: &Wishes, at: DateTime<Utc>) -> Result<(), String> {
        let mut table = self.table.lock();
        for row in &now.backfills {
            let old = before.backfills.iter().find(|old| old.id == row.id).map(|old| old.state);
            match (old, row.state) {
                (Some(old), new) if old == new => {}
                (Some(old), new) if !old.is_open() => {
                    return Err(format!("backfill {} is {}, and was {}", row.id, new.name(), old.name()));
                }
                (_, BackfillState::Running) => drop(table.stopped.remove(&row.id)),
                (_, new) => {
                    table.stopped.entry(row.id).or_insert(at);
                    if new == BackfillState::Done {
                        self.is_done(row, now, wishes)?;
                    }
                }
            }
        }
        for run in now.runs.values().filter(|run| !before.runs.contains_key(&run.pk.0)) {
            if run.run.run_type != RunType::Backfill {
                continue;
            }
            let (reasons, id) = (self.reasons(&table, now, run, at), &run.run.run_id);
            if reasons.is_empty() {
                return Err(format!("{id} of {} begins, and no backfill that runs asks for it", run.run.dag_id));
            }
            let count = |row: &BackfillRow| (self.at_one_time(&table, row, now, wishes), row.spec.max_active_runs);
            let many: Vec<(u32, u32)> = reasons.into_iter().map(count).collect();
            if many.iter().all(|(active, most)| active > most) {
                return Err(format!("with {id}, so many runs are active of backfills, and may be: {many:?}"));
            }
        }
        Ok(())
    }

    /// How many of its runs are unfinished, without those that a person has let run again.
    fn at_one_time(&self, table: &Table, row: &BackfillRow, now: &Seen, wishes: &Wishes) -> u32 {
        let dates: BTreeSet<DateTime<Utc>> = self.dates_of(row).collect();
        let is_own = |run: &&StoredRun| {
            let is_new = run.run.run_type == RunType::Backfill && !wishes.was_cleared(run.pk.0);
            let counts = is_new || table.again.contains(&(row.id, run.pk.0));
            let is_of_dag =
                run.run.dag_id == row.spec.dag_id && run.run.logical_date.is_some_and(|at| dates.contains(&at));
            counts && is_of_dag && !run.run.state.is_finished()
        };
        now.runs.values().filter(is_own).count() as u32
    }

    /// One that is done has a run of each of its dates, and those have ended since it was asked for, as far as it has asked for that.
    fn is_done(&self, row: &BackfillRow, now: &Seen, wishes: &Wishes) -> Result<(), String> {
        for date in self.dates_of(row).filter(|date| !wishes.date_was_deleted(&row.spec.dag_id, *date)) {
            let is_its = |run: &&StoredRun| run.run.dag_id == row.spec.dag_id && run.run.logical_date == Some(date);
            let Some(run) = now.runs.values().find(is_its) else {
                return Err(format!("backfill {} is done, and there is no run of {date}", row.id));
            };
            let id = &run.run.run_id;
            if wishes.was_cleared(run.pk.0) {
                continue;
            }
            let Some(end) = run.run.end_date.filter(|_| run.run.state.is_finished()) else {
                return Err(format!("backfill {} is done, and {id} is {}", row.id, run.run.state));
            };
            let has_to_be_new = match row.spec.reprocess {
                Reprocess::None => false,
                Reprocess::Failed => run.run.state == RunStatus::Failed,
                Reprocess::Completed => true,
            };
            if has_to_be_new && end < row.created && !self.jumps {
                return Err(format!("backfill {} is done, and {id} has not run for it", row.id));
            }
        }
        Ok(())
    }

    /// At the end of the world all of them have ended, and no date has two runs.
    pub fn end(&self, now: &Seen, wishes: &Wishes) -> Result<(), String> {
        if let Some(row) = now.backfills.iter().find(|row| row.state.is_open()) {
            return Err(format!("at the end backfill {} is {}: {row:?}", row.id, row.state.name()));
        }
        for row in now.backfills.iter().filter(|row| row.state == BackfillState::Done) {
            self.is_done(row, now, wishes)?;
        }
        let mut seen = BTreeSet::new();
        for run in now.runs.values().filter(|run| run.run.logical_date.is_some()) {
            if !seen.insert((&run.run.dag_id, run.run.logical_date)) {
                return Err(format!("{} of {} is not the only run of its date", run.run.run_id, run.run.dag_id));
            }
        }
        Ok(())
    }

    /// Each date of a DAG that catches up has a run, whoever made it; and any DAG has runs of its dates alone.
    pub fn has_its_dates(&self, dag_id: &str, catchup: bool, now: &Seen, wishes: &Wishes) -> Result<(), String> {
        let of_dag = now.runs.values().filter(|run| run.run.dag_id == dag_id && run.run.run_type != RunType::Manual);
        let have: BTreeSet<DateTime<Utc>> = of_dag.filter_map(|run| run.run.logical_date).collect();
        let all: BTreeSet<DateTime<Utc>> = self.dates[dag_id].iter().map(|run| run.logical_date).collect();
        let is_missed =
            |date: &&DateTime<Utc>| catchup && !have.contains(*date) && !wishes.date_was_deleted(dag_id, **date);
        if let Some(date) = all.iter().find(is_missed) {
            return Err(format!("{dag_id} has no run of {date}"));
        }
        match have.difference(&all).next() {
            Some(date) => Err(format!("{dag_id} has a run of {date}, and that is none of its dates")),
            None => Ok(()),
        }
    }
}
