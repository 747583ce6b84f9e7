//! What the scheduler made of a DAG in a test.

use crate::asset::AssetEvent;
use crate::store::{
    AssetEventFilter, CauseKind, MemoryStore, MetadataStore, RETURN_VALUE, Result, RunFilter, RunOrder, XComFilter,
    XComRow,
};
use chrono::{DateTime, Utc};
use flow_core::{DagRun, RunStatus};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

/// The runs that the schedules made, the oldest first.
#[derive(Debug, Clone)]
pub struct ScheduleReport {
    runs: Vec<(DagRun, Vec<XComRow>)>,
    /// By DAG, run and task.
    reused: BTreeSet<(String, String, String)>,
    asset_events: Vec<AssetEvent>,
}

impl ScheduleReport {
    pub(super) async fn read(store: &MemoryStore) -> Result<ScheduleReport> {
        let (mut runs, mut reused) = (Vec::new(), BTreeSet::new());
        let filter = RunFilter { order: RunOrder::Due, ..RunFilter::default() };
        for stored in store.runs(&filter).await?.into_iter().rev() {
            for row in store.instances(stored.pk).await? {
                if row.cause.is_some_and(|cause| cause.kind == CauseKind::Cached) {
                    let run = &stored.run;
                    reused.insert((run.dag_id.clone(), run.run_id.clone(), row.task_id.to_string()));
                }
            }
            runs.push((stored.run, store.xcoms(stored.pk, XComFilter::default()).await?));
        }
        Ok(ScheduleReport { runs, reused, asset_events: store.asset_events(&AssetEventFilter::default()).await? })
    }

    /// The runs of one DAG alone, where there are several.
    pub fn of(&self, dag_id: &str) -> ScheduleReport {
        let runs = self.runs.iter().filter(|(run, _)| run.dag_id == dag_id).cloned().collect();
        ScheduleReport { runs, ..self.clone() }
    }

    /// The events of assets, in order, whoever made them.
    pub fn asset_events(&self) -> &[AssetEvent] {
        &self.asset_events
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

    /// In how many of them a task (of a mapped one: an instance at least) has not run, since its cache had what it
    /// gives.
    pub fn reused(&self, task_id: &str) -> usize {
        let of = |run: &DagRun| (run.dag_id.clone(), run.run_id.clone(), task_id.to_owned());
        self.runs().filter(|run| self.reused.contains(&of(run))).count()
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
