//! What the store in memory holds, and how a commit changes it.

use crate::store::slots::Slots;
use crate::store::{
    AssetEventRow, AssetEventWrite, BackfillRow, BackfillState, CacheRow, CallbackRow, CallbackWrite, Epoch,
    InstanceRow, MadeBy, OrderRow, Result, RunCommit, RunPk, StoreError, StoredRun, Terms, XComRow, apply_status, cut,
};
use chrono::{DateTime, Utc};
use flow_core::{Dag, RunStatus, RunType, TaskState};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) dags: HashMap<String, Dag>,
    /// By version and build.
    pub(super) builds: BTreeMap<(String, String), DateTime<Utc>>,
    /// Each with the end of its lease. Number `n` is at `n - 1`.
    pub(super) backfills: Vec<(BackfillRow, Option<DateTime<Utc>>)>,
    pub(super) paused: BTreeMap<String, bool>,
    /// Run number `n` is at `n - 1`.
    pub(super) runs: Vec<Run>,
    pub(super) by_id: HashMap<(String, String), usize>,
    /// Places of runs that were deleted.
    pub(super) deleted: BTreeSet<usize>,
    pub(super) events: BTreeMap<String, Arc<str>>,
    pub(super) asset_events: Vec<AssetEventRow>,
    pub(super) latest_asset_event: i64,
    /// Whose events there are: place of the run, asset, task, map index, try.
    pub(super) made: HashSet<(usize, String, String, i32, u32)>,
    /// Assets with the DAGs that wait for them.
    pub(super) consumers: BTreeSet<(String, String)>,
    /// DAG, asset, event.
    pub(super) pending: BTreeSet<(String, String, i64)>,
    /// How many there have been.
    pub(super) callbacks: i64,
    pub(super) orders: Vec<OrderRow>,
    pub(super) latest_order: i64,
    pub(super) cached: BTreeMap<Arc<str>, CacheRow>,
    pub(super) slots: Slots,
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) stored: StoredRun,
    /// When its lease ends.
    pub(super) until: Option<DateTime<Utc>>,
    pub(super) instances: BTreeMap<(Arc<str>, i32), InstanceRow>,
    pub(super) history: BTreeMap<(Arc<str>, i32, u32), InstanceRow>,
    pub(super) xcoms: BTreeMap<(Arc<str>, i32, Arc<str>), XComRow>,
    pub(super) steps: BTreeMap<(Arc<str>, i32, Arc<str>), Arc<str>>,
    pub(super) callbacks: Vec<CallbackRow>,
    /// The events of assets that it was made for.
    pub(super) made_for: BTreeSet<i64>,
}

impl Tables {
    pub(super) fn place(&self, run: RunPk) -> Option<usize> {
        usize::try_from(run.0).ok()?.checked_sub(1).filter(|i| *i < self.runs.len() && !self.deleted.contains(i))
    }

    /// All runs that there are.
    pub(super) fn all(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().enumerate().filter(|(place, _)| !self.deleted.contains(place)).map(|(_, run)| run)
    }

    pub(super) fn get(&self, run: RunPk) -> Option<&Run> {
        self.place(run).map(|i| &self.runs[i])
    }

    /// Keeps an event, for whoever waits for its asset as well; gives its number.
    pub(super) fn put_asset_event(&mut self, event: AssetEventRow) -> i64 {
        self.latest_asset_event += 1;
        let id = self.latest_asset_event;
        let waiting = self.consumers.iter().filter(|(asset, _)| *asset == event.asset);
        self.pending.extend(waiting.map(|(asset, dag_id)| (dag_id.clone(), asset.clone(), id)));
        self.asset_events.push(AssetEventRow { id, ..event });
        id
    }

    /// The events that are pending for a DAG.
    pub(super) fn pending_for(&self, dag_id: &str) -> BTreeSet<i64> {
        let own = self.pending.iter().filter(|(of, ..)| of == dag_id);
        own.map(|(.., event)| *event).collect()
    }

    /// Refuses to make a run of this DAG if the terms do not hold.
    pub(super) fn check(&self, dag_id: &str, terms: &Terms<'_>) -> Result<()> {
        let of_dag = || self.all().map(|run| &run.stored).filter(|stored| stored.run.dag_id == dag_id);
        if let Some(after) = terms.after {
            let scheduled = of_dag().filter(|stored| stored.run.run_type == RunType::Scheduled);
            let latest = scheduled.max_by_key(|stored| (stored.run.run_after, stored.pk)).map(|stored| stored.pk);
            if latest != after {
                return Err(StoreError::Overtaken { dag_id: dag_id.to_owned() });
            }
        }
        if !terms.seen.is_empty() {
            let pending = self.pending_for(dag_id);
            if !terms.seen.iter().all(|event| pending.contains(event)) {
                return Err(StoreError::EventsTaken { dag_id: dag_id.to_owned() });
            }
        }
        if let Some(id) = terms.backfill {
            let is_its = |row: &BackfillRow| {
                row.id == id && row.state == BackfillState::Running && row.owner.as_deref() == Some(terms.owner)
            };
            if !self.backfills.iter().any(|(row, _)| is_its(row)) {
                return Err(StoreError::BackfillLost(id));
            }
        }
        if let Some(most) = terms.max_active {
            let counts = |stored: &&StoredRun| {
                !stored.run.state.is_finished() && !terms.not_counted.contains(&stored.run.run_id)
            };
            if of_dag().filter(counts).count() >= most as usize {
                return Err(StoreError::TooManyActive { dag_id: dag_id.to_owned(), most });
            }
        }
        Ok(())
    }
}

impl Tables {
    /// Refuses commits that would bring something where it cannot come by itself, and that nobody has ordered.
    pub(super) fn check_moves(&self, commits: &[RunCommit], places: &[usize]) -> Result<()> {
        // What the commits before have changed, of the same call.
        let (mut runs, mut instances) = (BTreeMap::new(), BTreeMap::new());
        for (commit, &place) in commits.iter().zip(places) {
            let run = &self.runs[place];
            if let Some((to, _)) = commit.status {
                let from = runs.insert(place, to).unwrap_or(run.stored.run.state);
                if !commit.is_order && !from.may_pass_to(to) {
                    return Err(illegal(format_args!("run {}", commit.run.0), from.name(), to.name()));
                }
            }
            for row in commit.instances.iter().map(|write| &write.row) {
                let key = (row.task_id.clone(), row.map_index);
                let there = run.instances.get(&key).map(|row| row.state);
                let Some(from) = instances.insert((place, key), row.state).or(there) else { continue };
                if !commit.is_order && !from.may_pass_to(row.state) {
                    let what = format_args!("instance {}[{}] of run {}", row.task_id, row.map_index, commit.run.0);
                    return Err(illegal(what, from.name(), row.state.name()));
                }
            }
        }
        Ok(())
    }
}

impl Tables {
    /// Pauses the DAG of a run that has failed as one of so many in a row; says whether it was not paused before.
    pub(super) fn pauses_by_failing(&mut self, place: usize, most: u32) -> bool {
        let (run, dag_id) = (self.runs[place].stored.pk, self.runs[place].stored.run.dag_id.clone());
        let of_dag = self.all().map(|run| &run.stored).filter(|stored| stored.run.dag_id == dag_id);
        let ended = of_dag.filter(|stored| stored.run.run_type.is_scheduled() && stored.run.state.is_finished());
        let mut ended: Vec<_> = ended.map(|stored| (stored.run.run_after, stored.pk, stored.run.state)).collect();
        ended.sort_unstable_by_key(|(at, pk, _)| std::cmp::Reverse((*at, *pk)));
        let failed: Vec<_> = ended.iter().take_while(|(.., state)| *state == RunStatus::Failed).collect();
        let is_one_of_them = failed.iter().any(|(_, pk, _)| *pk == run);
        is_one_of_them && failed.len() >= most as usize && self.paused.insert(dag_id, true) != Some(true)
    }
}

impl Run {
    /// Gives it to this owner.
    pub(super) fn take(&mut self, owner: &str, until: Option<DateTime<Utc>>) -> Epoch {
        self.stored.epoch.0 += 1;
        self.stored.owner = Some(owner.to_owned());
        self.until = until;
        self.stored.epoch
    }

    pub(super) fn apply(&mut self, commit: &RunCommit) {
        if let Some((status, at)) = commit.status {
            apply_status(&mut self.stored.run, status, cut(at));
            self.stored.ending.clone_from(&commit.ending);
        }
        for write in commit.instances.iter().filter(|w| w.archive) {
            let key = (write.row.task_id.clone(), write.row.map_index);
            if let Some(present) = self.instances.get(&key).filter(|present| present.try_number > 0) {
                self.history.entry((key.0, key.1, present.try_number)).or_insert_with(|| present.clone());
            }
        }
        for write in &commit.instances {
            let mut row = write.row.clone();
            cut_option(&mut row.due);
            cut_option(&mut row.start_date);
            cut_option(&mut row.end_date);
            self.instances.insert((row.task_id.clone(), row.map_index), row);
        }
        for xcom in &commit.xcoms {
            let row = XComRow {
                task_id: xcom.task_id.to_string(),
                map_index: xcom.map_index,
                key: xcom.key.to_string(),
                value: xcom.value.clone(),
                timestamp: cut(xcom.timestamp),
            };
            self.xcoms.insert((xcom.task_id.clone(), xcom.map_index, xcom.key.clone()), row);
        }
        for (task_id, map_index) in &commit.forgotten {
            self.steps.retain(|(task, index, _), _| (task, index) != (task_id, map_index));
        }
        for step in &commit.steps {
            let instance = self.instances.get(&(step.task_id.clone(), step.map_index));
            if instance.is_some_and(|i| i.state == TaskState::Running && i.try_number == step.try_number) {
                let key = (step.task_id.clone(), step.map_index, step.name.clone());
                self.steps.entry(key).or_insert_with(|| step.value.clone());
            }
        }
    }

    /// The events of assets that a commit makes; their numbers are given later.
    pub(super) fn asset_events(&self, commit: &RunCommit) -> Result<Vec<AssetEventRow>> {
        let row = |made: &AssetEventWrite| {
            let extra = serde_json::from_str(&made.extra);
            Ok(AssetEventRow {
                id: 0,
                asset: made.asset.to_string(),
                made_by: Some(MadeBy {
                    dag_id: self.stored.run.dag_id.clone(),
                    run_id: self.stored.run.run_id.clone(),
                    task_id: made.task_id.to_string(),
                    map_index: made.map_index,
                    try_number: made.try_number,
                }),
                extra: extra.map_err(|e| StoreError::Corrupt(format!("asset `{}`: {e}", made.asset)))?,
                timestamp: cut(made.timestamp),
            })
        };
        commit.asset_events.iter().map(row).collect()
    }
}

/// The error that an instance, or a run, cannot come from one state to another.
fn illegal(what: std::fmt::Arguments<'_>, from: &str, to: &str) -> StoreError {
    StoreError::IllegalMove(format!("{what} would go from {from} to {to}"))
}

/// Do they tell the same to the same? What exactly is told is another matter.
pub(super) fn is_the_same(one: &CallbackWrite, other: &CallbackWrite) -> bool {
    let of = |c: &CallbackWrite| {
        (c.task_id.clone(), c.map_index, c.try_number, c.event.clone(), c.notifier.clone(), c.timestamp)
    };
    of(one) == of(other)
}

pub(super) fn cut_option(at: &mut Option<DateTime<Utc>>) {
    *at = at.map(cut);
}
