//! A run from its stored rows.

use super::{Instance, RunState};
use crate::dag::{Dag, TaskIx};
use crate::event::{InstanceKey, Report, UNMAPPED};
use crate::state::{RunStatus, TaskState};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

/// One instance as a store keeps it: what its latest [`Transition`](crate::Transition) said, and the report of its
/// latest successful try.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredInstance {
    /// The instance.
    pub key: InstanceKey,
    /// Its state.
    pub state: TaskState,
    /// Number of its latest try.
    pub try_number: u32,
    /// It may be tried again while `try_number <= max_tries`.
    pub max_tries: u32,
    /// When it is due again.
    pub due: Option<DateTime<Utc>>,
    /// What its successful try reported; not looked at in any other state.
    pub report: Report,
}

impl RunState {
    /// A run from its stored rows, in any order; it plans what the run plans that they came from.
    ///
    /// Instances without a row are as a new run has them. Rows of tasks that the DAG does not have are left out, and so
    /// is the row of a placeholder once there are rows of mapped instances. A plan names every instance it makes, so
    /// that the rows say how far a mapped task was expanded.
    pub fn restore(
        dag: &Dag,
        status: RunStatus,
        instances: impl IntoIterator<Item = StoredInstance>,
        param_lengths: &BTreeMap<String, u32>,
    ) -> RunState {
        let mut run = RunState::empty(dag, param_lengths);
        run.status = status;
        // The DAG may have changed since: all is looked at again. A run that is not running is looked at when it starts.
        run.unsettled = status == RunStatus::Running;
        let rows: Vec<StoredInstance> = instances.into_iter().collect();
        let mut highest: Vec<Option<i32>> = vec![None; run.tasks.len()];
        for row in &rows {
            if let Some(highest) = highest.get_mut(row.key.task as usize) {
                *highest = (*highest).max(Some(row.key.map_index.max(UNMAPPED)));
            }
        }
        for (t, highest) in highest.into_iter().enumerate() {
            let mapped = run.graph.nodes[t].mapped;
            let fixed = run.static_length(t as TaskIx).filter(|&n| n > 0);
            let stored = match highest {
                Some(i) if i >= 0 && mapped => Some((i as u32 + 1).max(fixed.unwrap_or(0))),
                Some(_) => None,
                None => fixed,
            };
            run.fill(dag, t as TaskIx, stored);
        }
        for row in &rows {
            let Some(slot) = run.slot(row.key) else {
                continue;
            };
            // A retry that says not when is due at once: nothing else would ever wake it.
            let due = match row.state {
                TaskState::UpForRetry => row.due.or(Some(DateTime::UNIX_EPOCH)),
                _ => row.due,
            };
            let instance = Instance { state: row.state, try_number: row.try_number, max_tries: row.max_tries, due };
            run.tasks[row.key.task as usize].instances[slot] = instance;
            if let Some(due) = due.filter(|_| row.state.is_waiting()) {
                run.dues.insert((due, row.key));
            }
            if row.state == TaskState::Success {
                run.report(row.key, Some(&row.report));
            }
        }
        run.count_all();
        run
    }
}
