//! Changes as the texts that a database takes: each table's rows as one JSON array of arrays.

use crate::store::{Epoch, InstanceRow, Result, RunCommit, RunPk, StoreError, XComWrite, to_micros};
use chrono::{DateTime, Utc};
use flow_core::{DagRun, Report};
use serde::Serialize;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The elements of a JSON array, without its brackets, so that the arrays of several callers join by a comma.
#[derive(Debug, Default, Clone)]
pub(in crate::store) struct Elements {
    text: String,
    len: usize,
}

impl Elements {
    fn push(&mut self, element: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string(element).map_err(|e| {
            StoreError::Backend(format!("a row of the metadata database cannot be written as JSON: {e}"))
        })?;
        self.append(&json, 1);
        Ok(())
    }

    fn append(&mut self, text: &str, len: usize) {
        if len == 0 {
            return;
        }
        if self.len > 0 {
            self.text.push(',');
        }
        self.text.push_str(text);
        self.len += len;
    }

    /// The array.
    pub(in crate::store) fn array(&self) -> String {
        let mut array = String::with_capacity(self.text.len() + 2);
        array.push('[');
        array.push_str(&self.text);
        array.push(']');
        array
    }
}

/// Changes of several runs that one row can apply: no run twice.
#[derive(Debug, Default, Clone)]
pub(in crate::store) struct Round {
    /// * claims: `[run, epoch, name of the commit]`; all is refused when an epoch is not the present one.
    /// * states: `[run, state, at]`.
    /// * archive: `[run, task_id, map_index]`.
    /// * instances: `[run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label]`.
    /// * xcoms: `[run, task_id, map_index, key, type_name, size, sha256, inline, timestamp]`.
    pub(in crate::store) columns: [Elements; 5],
}

impl Round {
    fn push(&mut self, commit: &RunCommit, name: i64) -> Result<()> {
        let run = commit.run.0;
        let [claims, states, archive, instances, xcoms] = &mut self.columns;
        claims.push(&(run, commit.epoch.0, name))?;
        if let Some((state, at)) = commit.status {
            states.push(&(run, state.name(), to_micros(at)))?;
        }
        for write in &commit.instances {
            if write.archive {
                archive.push(&(run, &write.row.task_id, write.row.map_index))?;
            }
            instances.push(&instance(run, &write.row))?;
        }
        for write in &commit.xcoms {
            xcoms.push(&xcom(run, write))?;
        }
        Ok(())
    }

    fn join(&mut self, other: &Round) {
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            mine.append(&theirs.text, theirs.len);
        }
    }

    fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.text.len()).sum()
    }
}

/// One caller's changes.
#[derive(Debug, Clone)]
pub(in crate::store) struct Batch {
    /// What it claims, in its order.
    pub(in crate::store) claims: Vec<(RunPk, Epoch)>,
    /// Nearly always one; more where the caller changes one run several times.
    pub(in crate::store) rounds: Vec<Round>,
}

impl Batch {
    pub(in crate::store) fn of(commits: &[RunCommit]) -> Result<Batch> {
        let mut batch = Batch { claims: Vec::with_capacity(commits.len()), rounds: vec![Round::default()] };
        let mut seen = HashSet::with_capacity(commits.len());
        let name = fresh_name();
        for commit in commits {
            if !seen.insert(commit.run) {
                batch.rounds.push(Round::default());
                seen.clear();
                seen.insert(commit.run);
            }
            batch.claims.push((commit.run, commit.epoch));
            if let Some(round) = batch.rounds.last_mut() {
                round.push(commit, name)?;
            }
        }
        Ok(batch)
    }

    /// All rounds, each as an array of its arrays.
    #[cfg(feature = "postgres")]
    pub(in crate::store) fn array(&self) -> String {
        let rounds = self.rounds.iter().map(|round| {
            let columns: Vec<String> = round.columns.iter().map(Elements::array).collect();
            format!("[{}]", columns.join(","))
        });
        format!("[{}]", rounds.collect::<Vec<_>>().join(","))
    }

    /// Size of its texts in bytes.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.rounds.iter().map(Round::bytes).sum()
    }

    /// Takes the other's changes in; both must be of one round, with no run in common.
    pub(in crate::store) fn join(&mut self, other: &Batch) {
        self.claims.extend_from_slice(&other.claims);
        if let (Some(mine), Some(theirs)) = (self.rounds.first_mut(), other.rounds.first()) {
            mine.join(theirs);
        }
    }
}

fn instance(run: i64, row: &InstanceRow) -> impl Serialize {
    let micros = |at: Option<DateTime<Utc>>| at.map(to_micros);
    (
        run,
        &row.task_id,
        row.map_index,
        row.state.name(),
        row.try_number,
        row.max_tries,
        micros(row.due),
        micros(row.start_date),
        micros(row.end_date),
        &row.cause,
        (row.report != Report::default()).then_some(&row.report),
        &row.label,
    )
}

fn xcom(run: i64, x: &XComWrite) -> impl Serialize {
    (
        run,
        &x.task_id,
        x.map_index,
        &x.key,
        &x.value.type_name,
        x.value.size,
        &x.value.sha256,
        &x.value.inline,
        to_micros(x.timestamp),
    )
}

/// A run to be made, as owned values.
#[derive(Debug)]
pub(in crate::store) struct NewRun {
    pub(in crate::store) run: DagRun,
    pub(in crate::store) conf: String,
    pub(in crate::store) dag_version: String,
    pub(in crate::store) owner: String,
    /// By which a store recognises what it has done already.
    #[cfg(feature = "postgres")]
    pub(in crate::store) name: i64,
}

impl NewRun {
    pub(in crate::store) fn of(run: &DagRun, dag_version: &str, owner: &str) -> Result<NewRun> {
        let conf = serde_json::to_string(&run.conf).map_err(|e| {
            StoreError::Backend(format!("the params of run `{}` cannot be written as JSON: {e}", run.run_id))
        })?;
        Ok(NewRun {
            run: run.clone(),
            conf,
            dag_version: dag_version.to_owned(),
            owner: owner.to_owned(),
            #[cfg(feature = "postgres")]
            name: fresh_name(),
        })
    }

    /// The error that its DAG has a run of its id, or about its logical date.
    pub(in crate::store) fn taken(&self, by_date: bool) -> StoreError {
        let dag_id = self.run.dag_id.clone();
        match self.run.logical_date {
            Some(logical_date) if by_date => StoreError::LogicalDateTaken { dag_id, logical_date },
            _ => StoreError::RunExists { dag_id, run_id: self.run.run_id.clone() },
        }
    }
}

/// A number that no other commit has, of this process or another.
fn fresh_name() -> i64 {
    static FIRST: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    FIRST.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)).cast_signed()
}
