//! What the scheduler made of a DAG in a test.

use super::Notified;
use crate::asset::AssetEvent;
use crate::store::{
    AssetEventFilter, CallbackFilter, CauseKind, InstanceRow, MemoryStore, MetadataStore, RETURN_VALUE, RunFilter,
    RunOrder, StoreError, XComFilter, XComRow,
};
use chrono::{DateTime, Utc};
use flow_core::{DagRun, RunStatus, TaskState};
use serde::de::DeserializeOwned;

/// The runs that the schedules made, the oldest first.
#[derive(Debug, Clone)]
pub struct ScheduleReport {
    runs: Vec<Ran>,
    asset_events: Vec<AssetEvent>,
    notes: Vec<String>,
}

/// One of them, and all that is on record of it.
#[derive(Debug, Clone)]
struct Ran {
    run: DagRun,
    rows: Vec<InstanceRow>,
    values: Vec<XComRow>,
    notified: Vec<Notified>,
}

impl Ran {
    fn rows<'r>(&'r self, task_id: &'r str) -> impl Iterator<Item = &'r InstanceRow> {
        self.rows.iter().filter(move |row| *row.task_id == *task_id && row.state != TaskState::Removed)
    }
}

impl ScheduleReport {
    pub(super) async fn read(store: &MemoryStore, notes: Vec<String>) -> Result<ScheduleReport, String> {
        let told = |error: StoreError| error.to_string();
        let mut runs = Vec::new();
        let filter = RunFilter { order: RunOrder::Due, ..RunFilter::default() };
        for stored in store.runs(&filter).await.map_err(told)?.into_iter().rev() {
            let rows = store.instances(stored.pk).await.map_err(told)?;
            let values = store.xcoms(stored.pk, XComFilter::default()).await.map_err(told)?;
            let owed = CallbackFilter { run: Some(stored.pk), ..CallbackFilter::default() };
            let owed = store.callbacks(owed).await.map_err(told)?;
            let notified = owed.into_iter().map(Notified::of).collect::<Result<_, _>>()?;
            runs.push(Ran { run: stored.run, rows, values, notified });
        }
        let asset_events = store.asset_events(&AssetEventFilter::default()).await.map_err(told)?;
        Ok(ScheduleReport { runs, asset_events, notes })
    }

    /// The runs of one DAG alone, where there are several.
    pub fn of(&self, dag_id: &str) -> ScheduleReport {
        let runs = self.runs.iter().filter(|ran| ran.run.dag_id == dag_id).cloned().collect();
        ScheduleReport { runs, ..self.clone() }
    }

    /// The events of assets, in order, whoever made them.
    pub fn asset_events(&self) -> &[AssetEvent] {
        &self.asset_events
    }

    /// The runs.
    pub fn runs(&self) -> impl ExactSizeIterator<Item = &DagRun> {
        self.runs.iter().map(|ran| &ran.run)
    }

    /// What each of them is about.
    pub fn logical_dates(&self) -> Vec<DateTime<Utc>> {
        self.runs().filter_map(|run| run.logical_date).collect()
    }

    /// The report itself, if every run has succeeded, and the scheduler had nothing to say.
    ///
    /// # Panics
    /// If one has not: the message names it, what failed of it and why, and what the scheduler had to say. If it has said that there
    /// is no run where one was due.
    #[track_caller]
    pub fn succeeded(self) -> ScheduleReport {
        if let Some(ran) = self.runs.iter().find(|ran| ran.run.state != RunStatus::Success) {
            let causes = ran.rows.iter().filter(|row| row.state == TaskState::Failed);
            let causes = causes.map(|row| format!("\n  {}: {}", row.task_id, said(row)));
            let notes = self.notes.iter().map(|note| format!("\n  {note}"));
            panic!("run {} is {}{}", ran.run.run_id, ran.run.state, causes.chain(notes).collect::<String>());
        }
        assert!(self.notes.is_empty(), "the runs that there are succeeded, but:\n  {}", self.notes.join("\n  "));
        self
    }

    /// The states of a task, run by run (of a mapped one: of its instances in map-index order), where it was in a run.
    pub fn states(&self, task_id: &str) -> Vec<TaskState> {
        self.runs.iter().flat_map(|ran| ran.rows(task_id)).map(|row| row.state).collect()
    }

    /// How many tries it had, run by run; 0 where it never began. Of a mapped task the sum over its instances.
    pub fn tries(&self, task_id: &str) -> Vec<u32> {
        self.runs.iter().map(|ran| ran.rows(task_id).map(|row| row.try_number).sum()).collect()
    }

    /// Why its latest try ended as it did, run by run; empty where there is nothing to say. Of a mapped task, the first of its
    /// instances that has something to say.
    pub fn causes(&self, task_id: &str) -> Vec<String> {
        let first = |ran: &Ran| ran.rows(task_id).map(said).find(|said| !said.is_empty()).unwrap_or_default();
        self.runs.iter().map(first).collect()
    }

    /// What the runs would have told somebody outside, run by run in order. In a test nobody is told.
    pub fn notified(&self) -> impl Iterator<Item = &Notified> {
        self.runs.iter().flat_map(|ran| &ran.notified)
    }

    /// What the scheduler had to say to people: that it has paused a DAG which keeps failing, say.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// In how many of them a task (of a mapped one: an instance at least) has not run, since its cache had what it
    /// gives.
    pub fn reused(&self, task_id: &str) -> usize {
        let is_reused = |row: &InstanceRow| row.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Cached);
        self.runs.iter().filter(|ran| ran.rows(task_id).any(is_reused)).count()
    }

    /// What a task returned, run by run, where it returned something.
    ///
    /// # Panics
    /// If that is no `T`.
    #[track_caller]
    pub fn values<T: DeserializeOwned>(&self, task_id: &str) -> Vec<T> {
        let of_task = self.runs.iter().flat_map(|ran| &ran.values);
        let texts =
            of_task.filter(|v| v.task_id == task_id && v.key == RETURN_VALUE).filter_map(|v| v.value.inline.clone());
        let read = |text: std::sync::Arc<str>| match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) => panic!("what `{task_id}` returned is no {}: {error}", std::any::type_name::<T>()),
        };
        texts.map(read).collect()
    }
}

/// Why its latest try ended as it did.
fn said(row: &InstanceRow) -> String {
    row.cause.as_ref().map_or(String::new(), |cause| cause.message.clone())
}
