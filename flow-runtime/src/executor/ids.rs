//! Names of tasks, shared by all rows that hold them.

use flow_core::{Dag, TaskIx};
use std::sync::Arc;

/// Ids and output types of the tasks of a DAG, by index.
#[derive(Debug)]
pub(super) struct Ids {
    tasks: Vec<(Arc<str>, Arc<str>)>,
}

impl Ids {
    pub(super) fn of(dag: &Dag) -> Ids {
        Ids { tasks: dag.tasks.iter().map(|t| (t.task_id.as_str().into(), t.output.as_str().into())).collect() }
    }

    pub(super) fn task(&self, task: TaskIx) -> Arc<str> {
        self.tasks[task as usize].0.clone()
    }

    pub(super) fn output_type(&self, task: TaskIx) -> Arc<str> {
        self.tasks[task as usize].1.clone()
    }
}
