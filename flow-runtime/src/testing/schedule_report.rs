//! What the scheduler made of a DAG in a test.

use crate::store::{MemoryStore, MetadataStore, RETURN_VALUE, Result, RunFilter, XComFilter, XComRow};
use chrono::{DateTime, Utc};
use flow_core::{DagRun, RunStatus};
use serde::de::DeserializeOwned;

/// The runs that a schedule made, the oldest first.
#[derive(Debug)]
pub struct ScheduleReport {
    runs: Vec<(DagRun, Vec<XComRow>)>,
}

impl ScheduleReport {
    pub(super) async fn of(store: &MemoryStore) -> Result<ScheduleReport> {
        let mut runs = Vec::new();
        for stored in store.runs(&RunFilter::default()).await?.into_iter().rev() {
            runs.push((stored.run, store.xcoms(stored.pk, XComFilter::default()).await?));
        }
        Ok(ScheduleReport { runs })
    }

    /// The runs.
    pub fn runs(&self) -> impl ExactSizeIterator<Item = &DagRun> {
        self.runs.iter().map(|(run, _)| run)
    }

    /// What each of them is about.
    pub fn logical_dates(&self) -> Vec<DateTime<Utc>> {
        self.runs().filter_map(|run| run.logical_date).collect()
    }

    /// The report itself, if every run has succeeded.
    ///
    /// # Panics
    /// If one has not: the message names it.
    #[track_caller]
    pub fn succeeded(self) -> ScheduleReport {
        if let Some(run) = self.runs().find(|run| run.state != RunStatus::Success) {
            panic!("run {} is {}", run.run_id, run.state);
        }
        self
    }

    /// What a task returned, run by run, where it returned something.
    ///
    /// # Panics
    /// If that is no `T`.
    #[track_caller]
    pub fn values<T: DeserializeOwned>(&self, task_id: &str) -> Vec<T> {
        let of_task = self.runs.iter().flat_map(|(_, values)| values);
        let texts =
            of_task.filter(|v| v.task_id == task_id && v.key == RETURN_VALUE).filter_map(|v| v.value.inline.clone());
        let read = |text: std::sync::Arc<str>| match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(error) => panic!("what `{task_id}` returned is no {}: {error}", std::any::type_name::<T>()),
        };
        texts.map(read).collect()
    }
}
