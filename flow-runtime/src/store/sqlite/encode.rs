//! Changes as the texts that the [statements](super::statements) take: each table's rows as one JSON array of arrays.

use crate::store::{Epoch, InstanceRow, Result, RunCommit, RunPk, StoreError, XComWrite, to_micros};
use chrono::{DateTime, Utc};
use flow_core::{DagRun, Report};
use serde::Serialize;
use std::collections::HashSet;

/// The elements of a JSON array, without its brackets, so that the arrays of several callers join by a comma.
#[derive(Debug, Default, Clone)]
pub(super) struct Elements {
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
    pub(super) fn array(&self) -> String {
        let mut array = String::with_capacity(self.text.len() + 2);
        array.push('[');
        array.push_str(&self.text);
        array.push(']');
        array
    }
}

/// Changes of several runs that one row can apply: no run twice.
#[derive(Debug, Default, Clone)]
pub(super) struct Round {
    /// The arrays, in the order of the columns of [`COMMIT`](super::statements::COMMIT).
    pub(super) columns: [Elements; 5],
}

impl Round {
    fn push(&mut self, commit: &RunCommit) -> Result<()> {
        let run = commit.run.0;
        let [claims, states, archive, instances, xcoms] = &mut self.columns;
        claims.push(&(run, commit.epoch.0))?;
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
pub(super) struct Batch {
    /// What it claims, in its order.
    pub(super) claims: Vec<(RunPk, Epoch)>,
    /// Nearly always one; more where the caller changes one run several times.
    pub(super) rounds: Vec<Round>,
}

impl Batch {
    pub(super) fn of(commits: &[RunCommit]) -> Result<Batch> {
        let mut batch = Batch { claims: Vec::with_capacity(commits.len()), rounds: vec![Round::default()] };
        let mut seen = HashSet::with_capacity(commits.len());
        for commit in commits {
            if !seen.insert(commit.run) {
                batch.rounds.push(Round::default());
                seen.clear();
                seen.insert(commit.run);
            }
            batch.claims.push((commit.run, commit.epoch));
            if let Some(round) = batch.rounds.last_mut() {
                round.push(commit)?;
            }
        }
        Ok(batch)
    }

    /// Size of its texts in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rounds.iter().map(Round::bytes).sum()
    }

    /// Takes the other's changes in; both must be of one round, with no run in common.
    pub(super) fn join(&mut self, other: &Batch) {
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
pub(super) struct NewRun {
    pub(super) run: DagRun,
    pub(super) conf: String,
    pub(super) dag_version: String,
    pub(super) owner: String,
}

impl NewRun {
    pub(super) fn of(run: &DagRun, dag_version: &str, owner: &str) -> Result<NewRun> {
        let conf = serde_json::to_string(&run.conf).map_err(|e| {
            StoreError::Backend(format!("the params of run `{}` cannot be written as JSON: {e}", run.run_id))
        })?;
        Ok(NewRun { run: run.clone(), conf, dag_version: dag_version.to_owned(), owner: owner.to_owned() })
    }
}
