//! A store in the memory of this process, for tests and for runs that need no record. It is the reference: what the
//! contract means is what this does.

use super::{
    Epoch, InstanceRow, MetadataStore, Result, RunCommit, RunFilter, RunPk, StoreError, StoredRun, XComFilter, XComRow,
    apply_status, cut, fingerprint,
};
use chrono::{DateTime, Utc};
use flow_core::{Dag, DagRun};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A [`MetadataStore`] in memory; everything in it ends with it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    dags: HashMap<String, Dag>,
    paused: BTreeMap<String, bool>,
    /// Run number `n` is at `n - 1`.
    runs: Vec<Run>,
    by_id: HashMap<(String, String), usize>,
    /// Places of runs that were deleted.
    deleted: BTreeSet<usize>,
}

#[derive(Debug)]
struct Run {
    stored: StoredRun,
    instances: BTreeMap<(Arc<str>, i32), InstanceRow>,
    history: BTreeMap<(Arc<str>, i32, u32), InstanceRow>,
    xcoms: BTreeMap<(Arc<str>, i32, Arc<str>), XComRow>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }
}

impl Tables {
    fn place(&self, run: RunPk) -> Option<usize> {
        usize::try_from(run.0).ok()?.checked_sub(1).filter(|i| *i < self.runs.len() && !self.deleted.contains(i))
    }

    /// All runs that there are.
    fn all(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().enumerate().filter(|(place, _)| !self.deleted.contains(place)).map(|(_, run)| run)
    }

    fn get(&self, run: RunPk) -> Option<&Run> {
        self.place(run).map(|i| &self.runs[i])
    }
}

impl Run {
    fn apply(&mut self, commit: &RunCommit) {
        if let Some((status, at)) = commit.status {
            apply_status(&mut self.stored.run, status, cut(at));
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
    }
}

fn cut_option(at: &mut Option<DateTime<Utc>>) {
    *at = at.map(cut);
}

#[async_trait::async_trait]
impl MetadataStore for MemoryStore {
    async fn put_dag(&self, dag: &Dag) -> Result<String> {
        let (hash, _) = fingerprint(dag)?;
        self.tables.lock().dags.entry(hash.clone()).or_insert_with(|| dag.clone());
        Ok(hash)
    }

    async fn dag_version(&self, hash: &str) -> Result<Dag> {
        self.tables.lock().dags.get(hash).cloned().ok_or_else(|| StoreError::NoSuchDagVersion(hash.to_owned()))
    }

    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<()> {
        self.tables.lock().paused.insert(dag_id.to_owned(), paused);
        Ok(())
    }

    async fn paused(&self) -> Result<BTreeMap<String, bool>> {
        Ok(self.tables.lock().paused.clone())
    }

    async fn create_run(&self, run: &DagRun, dag_version: &str, owner: &str) -> Result<(RunPk, Epoch)> {
        let mut tables = self.tables.lock();
        let id = (run.dag_id.clone(), run.run_id.clone());
        if tables.by_id.contains_key(&id) {
            return Err(StoreError::RunExists { dag_id: id.0, run_id: id.1 });
        }
        let taken = |at: DateTime<Utc>| {
            let of_dag = tables.all().map(|r| &r.stored.run).filter(|r| r.dag_id == run.dag_id);
            of_dag.filter_map(|r| r.logical_date).any(|other| other == cut(at))
        };
        if let Some(logical_date) = run.logical_date.filter(|at| taken(*at)) {
            return Err(StoreError::LogicalDateTaken { dag_id: id.0, logical_date });
        }
        if !tables.dags.contains_key(dag_version) {
            return Err(StoreError::NoSuchDagVersion(dag_version.to_owned()));
        }
        let mut run = run.clone();
        run.run_after = cut(run.run_after);
        for at in [&mut run.logical_date, &mut run.start_date, &mut run.end_date] {
            cut_option(at);
        }
        if let Some(interval) = &mut run.data_interval {
            interval.start = cut(interval.start);
            interval.end = cut(interval.end);
        }
        let (pk, epoch) = (RunPk(tables.runs.len() as i64 + 1), Epoch(1));
        let place = tables.runs.len();
        tables.by_id.insert(id, place);
        tables.runs.push(Run {
            stored: StoredRun { pk, run, dag_version: dag_version.to_owned(), owner: Some(owner.to_owned()), epoch },
            instances: BTreeMap::new(),
            history: BTreeMap::new(),
            xcoms: BTreeMap::new(),
        });
        Ok((pk, epoch))
    }

    async fn acquire_run(&self, run: RunPk, owner: &str) -> Result<Epoch> {
        let mut tables = self.tables.lock();
        let place = tables.place(run).ok_or(StoreError::NoSuchRun(run.0))?;
        let stored = &mut tables.runs[place].stored;
        stored.epoch.0 += 1;
        stored.owner = Some(owner.to_owned());
        Ok(stored.epoch)
    }

    async fn delete_run(&self, run: RunPk, epoch: Epoch) -> Result<()> {
        let mut tables = self.tables.lock();
        let place = tables.place(run).ok_or(StoreError::NoSuchRun(run.0))?;
        let gone = &mut tables.runs[place];
        if gone.stored.epoch != epoch {
            return Err(StoreError::Fenced { run: run.0, given: epoch.0, present: gone.stored.epoch.0 });
        }
        (gone.instances, gone.history, gone.xcoms) = Default::default();
        let id = (gone.stored.run.dag_id.clone(), gone.stored.run.run_id.clone());
        tables.by_id.remove(&id);
        tables.deleted.insert(place);
        Ok(())
    }

    async fn spilled(&self) -> Result<BTreeSet<String>> {
        let tables = self.tables.lock();
        let values = tables.all().flat_map(|run| run.xcoms.values()).map(|xcom| &xcom.value);
        Ok(values.filter(|value| value.inline.is_none()).map(|value| value.sha256.to_string()).collect())
    }

    async fn commit(&self, commits: &[RunCommit]) -> Result<()> {
        let mut tables = self.tables.lock();
        let mut places = Vec::with_capacity(commits.len());
        for commit in commits {
            let place = tables.place(commit.run).ok_or(StoreError::NoSuchRun(commit.run.0))?;
            let present = tables.runs[place].stored.epoch;
            if present != commit.epoch {
                return Err(StoreError::Fenced { run: commit.run.0, given: commit.epoch.0, present: present.0 });
            }
            places.push(place);
        }
        for (commit, place) in commits.iter().zip(places) {
            tables.runs[place].apply(commit);
        }
        Ok(())
    }

    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<StoredRun>> {
        let tables = self.tables.lock();
        let place = tables.by_id.get(&(dag_id.to_owned(), run_id.to_owned()));
        Ok(place.map(|&i| tables.runs[i].stored.clone()))
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<StoredRun>> {
        let tables = self.tables.lock();
        let mut found: Vec<&StoredRun> = (tables.all().map(|r| &r.stored))
            .filter(|s| filter.dag_id.as_ref().is_none_or(|id| *id == s.run.dag_id))
            .filter(|s| filter.run_id.as_ref().is_none_or(|id| *id == s.run.run_id))
            .filter(|s| filter.states.is_empty() || filter.states.contains(&s.run.state))
            .filter(|s| filter.run_types.is_empty() || filter.run_types.contains(&s.run.run_type))
            .collect();
        found.sort_by_key(|s| Reverse((s.run.run_after, s.pk)));
        let limit = if filter.limit == 0 { usize::MAX } else { filter.limit as usize };
        Ok(found.into_iter().take(limit).cloned().collect())
    }

    async fn instances(&self, run: RunPk) -> Result<Vec<InstanceRow>> {
        let tables = self.tables.lock();
        Ok(tables.get(run).map(|r| r.instances.values().cloned().collect()).unwrap_or_default())
    }

    async fn tries(&self, run: RunPk, task_id: Option<&str>) -> Result<Vec<InstanceRow>> {
        let tables = self.tables.lock();
        let Some(run) = tables.get(run) else {
            return Ok(Vec::new());
        };
        let mut tries = Vec::with_capacity(run.instances.len() + run.history.len());
        for (key, present) in run.instances.iter().filter(|(key, _)| task_id.is_none_or(|id| id == &*key.0)) {
            let (first, last) = ((key.0.clone(), key.1, 0), (key.0.clone(), key.1, u32::MAX));
            tries.extend(run.history.range(first..=last).map(|(_, row)| row.clone()));
            tries.push(present.clone());
        }
        Ok(tries)
    }

    async fn xcoms(&self, run: RunPk, filter: XComFilter<'_>) -> Result<Vec<XComRow>> {
        let tables = self.tables.lock();
        let Some(run) = tables.get(run) else {
            return Ok(Vec::new());
        };
        let wanted = |x: &&XComRow| {
            filter.task_id.is_none_or(|id| id == x.task_id) && filter.map_index.is_none_or(|index| index == x.map_index)
        };
        Ok(run.xcoms.values().filter(wanted).cloned().collect())
    }

    async fn close(&self) {}
}
