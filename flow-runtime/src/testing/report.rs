//! How a run of a test went, and what can be asked about it.

use super::Notified;
use crate::asset::AssetEvent;
use crate::executor::RunReport;
use crate::run_event::{RunEvent, label};
use crate::store::{InstanceRow, RETURN_VALUE, XComRow};
use flow_core::{Dag, RunStatus, TaskState};
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// How a run went. Every question about a task that the DAG does not have is a panic that names those it has.
pub struct TestReport {
    dag: Arc<Dag>,
    ended: RunReport,
    /// Of each instance the JSON text, if it returned something.
    values: HashMap<(String, i32), Arc<str>>,
    notified: Vec<Notified>,
    events: Vec<RunEvent>,
    asset_events: Vec<AssetEvent>,
    home: PathBuf,
    /// Thrown away with the report.
    _folder: TempDir,
}

impl TestReport {
    pub(super) fn new(
        dag: Arc<Dag>,
        ended: RunReport,
        (values, notified): (Vec<XComRow>, Vec<Notified>),
        (events, asset_events): (Vec<RunEvent>, Vec<AssetEvent>),
        (home, folder): (PathBuf, TempDir),
    ) -> TestReport {
        let returned = values.into_iter().filter(|v| v.key == RETURN_VALUE);
        let values = returned.filter_map(|v| Some(((v.task_id, v.map_index), v.value.inline?))).collect();
        TestReport { dag, ended, values, notified, events, asset_events, home, _folder: folder }
    }

    /// The state of the run.
    pub fn status(&self) -> RunStatus {
        self.ended.run.state
    }

    /// The report itself, if the run has succeeded.
    ///
    /// # Panics
    /// If it has not: the message shows every task and why it failed.
    #[track_caller]
    pub fn succeeded(self) -> TestReport {
        self.is(RunStatus::Success)
    }

    /// The report itself, if the run has failed.
    ///
    /// # Panics
    /// If it has not: the message shows every task.
    #[track_caller]
    pub fn failed(self) -> TestReport {
        self.is(RunStatus::Failed)
    }

    #[track_caller]
    fn is(self, status: RunStatus) -> TestReport {
        assert!(self.status() == status, "the run should end in state {status}, and did not:\n{self}");
        self
    }

    /// The state of a task; of a mapped one, [`TestReport::states`].
    ///
    /// # Panics
    /// If the task is mapped.
    #[track_caller]
    pub fn state(&self, task_id: &str) -> TaskState {
        self.one(task_id).map_or(TaskState::None, |row| row.state)
    }

    /// The states of all instances of a task, in map-index order.
    #[track_caller]
    pub fn states(&self, task_id: &str) -> Vec<TaskState> {
        self.rows(task_id).iter().map(|row| row.state).collect()
    }

    /// What each instance of a mapped task is about: `month=2021-01`; empty for one that never ran, or is not mapped.
    #[track_caller]
    pub fn labels(&self, task_id: &str) -> Vec<String> {
        self.rows(task_id).iter().map(|row| row.label.as_deref().unwrap_or_default().to_string()).collect()
    }

    /// How many tries a task has had; 0 if it never began. Of a mapped task the sum over its instances.
    #[track_caller]
    pub fn tries(&self, task_id: &str) -> u32 {
        self.rows(task_id).iter().map(|row| row.try_number).sum()
    }

    /// Why the latest try of a task ended as it did; empty if there is nothing to say. Of a mapped task, the first of
    /// its instances that has something to say.
    #[track_caller]
    pub fn cause(&self, task_id: &str) -> String {
        let rows = self.rows(task_id);
        rows.iter().find_map(|row| row.cause.as_ref()).map_or(String::new(), |cause| cause.message.clone())
    }

    /// What a task has returned.
    ///
    /// # Panics
    /// If it returned nothing, or not a `T`, or is mapped.
    #[track_caller]
    pub fn value<T: DeserializeOwned>(&self, task_id: &str) -> T {
        let row = self.one(task_id);
        let succeeded = row.is_some_and(|row| row.state == TaskState::Success);
        assert!(succeeded, "task `{task_id}` has no value, for it did not succeed:\n{self}");
        self.decode(task_id, flow_core::UNMAPPED)
    }

    /// What the instances of a mapped task have returned that succeeded, in map-index order.
    ///
    /// # Panics
    /// If one of them did not return a `T`.
    #[track_caller]
    pub fn values<T: DeserializeOwned>(&self, task_id: &str) -> Vec<T> {
        let rows = self.rows(task_id);
        let succeeded = rows.iter().filter(|row| row.state == TaskState::Success);
        succeeded.map(|row| self.decode(task_id, row.map_index)).collect()
    }

    /// The labels of all instances (`task`, or `task[3]`) in the order in which they began first.
    pub fn order(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let began = self.events.iter().filter_map(|event| match event {
            RunEvent::TaskState { task_id, map_index, state: TaskState::Running, .. } => Some((task_id, *map_index)),
            _ => None,
        });
        began.filter(|instance| seen.insert(*instance)).map(|(task_id, map_index)| label(task_id, map_index)).collect()
    }

    /// Everything that happened, in order.
    pub fn events(&self) -> &[RunEvent] {
        &self.events
    }

    /// The events of assets that its tasks are, in order.
    pub fn asset_events(&self) -> &[AssetEvent] {
        &self.asset_events
    }

    /// What it would have told somebody outside, in order. In a test nobody is told.
    pub fn notified(&self) -> &[Notified] {
        &self.notified
    }

    /// How long the run took by its own clock: the waiting that was left out counts.
    pub fn took(&self) -> Duration {
        let run = &self.ended.run;
        let took = run.start_date.zip(run.end_date).and_then(|(start, end)| (end - start).to_std().ok());
        took.unwrap_or_default()
    }

    /// The home folder of the run; there until the report is dropped.
    pub fn home(&self) -> &Path {
        &self.home
    }

    #[track_caller]
    fn rows(&self, task_id: &str) -> Vec<&InstanceRow> {
        let known = self.dag.task(task_id).is_some();
        let ids = || self.dag.tasks.iter().map(|t| t.task_id.as_str()).collect::<Vec<_>>().join(", ");
        assert!(known, "DAG `{}` has no task `{task_id}`; there are: {}", self.dag.dag_id, ids());
        let of_task = |row: &&InstanceRow| *row.task_id == *task_id && row.state != TaskState::Removed;
        self.ended.instances.iter().filter(of_task).collect()
    }

    #[track_caller]
    fn one(&self, task_id: &str) -> Option<&InstanceRow> {
        let rows = self.rows(task_id);
        let mapped = rows.iter().any(|row| row.map_index >= 0);
        assert!(!mapped, "task `{task_id}` is mapped: ask for its `states` or `values`");
        rows.first().copied()
    }

    #[track_caller]
    fn decode<T: DeserializeOwned>(&self, task_id: &str, map_index: i32) -> T {
        // Nothing is not stored.
        let text = self.values.get(&(task_id.to_string(), map_index)).map_or("null", |text| text);
        let decode = || serde_json::from_str(text);
        match crate::value::at_home_blocking(self.home.as_path().into(), decode) {
            Ok(value) => value,
            Err(error) => {
                panic!("what task `{task_id}` returned is not a `{}`: {error}", crate::value::short_type_name::<T>())
            }
        }
    }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "run of `{}`: {}", self.dag.dag_id, self.status())?;
        for row in self.ended.instances.iter().filter(|row| row.state != TaskState::Removed) {
            write!(f, "  {}: {}", label(&row.task_id, row.map_index), row.state)?;
            match &row.cause {
                Some(cause) => writeln!(f, ", try {}: {}", row.try_number, cause.message)?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
