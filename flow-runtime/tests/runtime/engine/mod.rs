//! Runs driven by the engine itself: what is recorded, what is passed on, and what a crash leaves behind.

mod cached;
mod callbacks;
mod ends;
mod frames;
#[cfg(feature = "lazy")]
mod lazy_frames;
mod leases;
mod limits;
mod logs;
mod order;
mod orders;
mod past;
mod pauses;
mod resume;
mod set_up;
mod shared;
mod stop;
mod transfers;
mod values;
mod waits;

use flow_runtime::Context;
use flow_runtime::core::{Dag, TaskState};
use flow_runtime::executor::{Again, Engine, EngineError, EngineSettings, RunReport, RunRequest, Stop};
use flow_runtime::registry::Bodies;
use flow_runtime::run_event::{Observer, RunEvent};
use flow_runtime::store::{Durability, InstanceRow, MetadataStore, SqliteStore, StoredRun, XComFilter, XComRow};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tempfile::TempDir;

/// What the tasks of each run have noted, by the id of the run.
static LEDGER: LazyLock<Mutex<HashMap<String, Vec<String>>>> = LazyLock::new(Mutex::default);

/// Notes something about the run that the task is in.
pub fn note(ctx: &Context, what: impl Into<String>) {
    note_in(ctx.run_id(), what);
}

/// The same under another name.
pub fn note_in(name: &str, what: impl Into<String>) {
    LEDGER.lock().entry(name.into()).or_default().push(what.into());
}

/// What was noted.
pub fn noted(run_id: &str) -> Vec<String> {
    LEDGER.lock().get(run_id).cloned().unwrap_or_default()
}

/// How a run went, with its values.
#[derive(Debug)]
pub struct Ran {
    pub report: RunReport,
    pub values: Vec<XComRow>,
}

impl std::ops::Deref for Ran {
    type Target = RunReport;

    fn deref(&self) -> &RunReport {
        &self.report
    }
}

/// A home folder with a SQLite store and an engine over it.
pub struct World {
    pub home: TempDir,
    pub store: Arc<dyn MetadataStore>,
    pub settings: EngineSettings,
    pub events: Arc<Mutex<Vec<RunEvent>>>,
    pub stop: Stop,
}

impl World {
    pub async fn new() -> World {
        flow_runtime::telemetry::init();
        let home = tempfile::tempdir().expect("a temporary folder");
        let store = SqliteStore::open(&home.path().join("flow.db"), Durability::Process).await.expect("a store");
        let settings = EngineSettings { grace: Duration::from_secs(5), ..EngineSettings::new(home.path()) };
        World { home, store: Arc::new(store), settings, events: Arc::default(), stop: Stop::default() }
    }

    pub fn engine(&self) -> Engine {
        Engine::new(self.store.clone(), Bodies::collect(), self.settings.clone())
    }

    pub fn observer(&self) -> Observer {
        let events = self.events.clone();
        Arc::new(move |event| events.lock().push(event.clone()))
    }

    pub async fn try_run(&self, dag: Dag, run_id: &str, params: Value) -> Result<Ran, EngineError> {
        let request = RunRequest { run_id: Some(run_id.into()), params: object(params), ..RunRequest::default() };
        let report = self.engine().run(Arc::new(dag), request, self.observer(), self.stop.clone()).await?;
        Ok(self.with_values(report).await)
    }

    pub async fn with_values(&self, report: RunReport) -> Ran {
        let values = self.store.xcoms(report.pk, XComFilter::default()).await.expect("values");
        Ran { report, values }
    }

    pub async fn run(&self, dag: Dag, run_id: &str) -> Ran {
        self.try_run(dag, run_id, Value::Null).await.expect("it can be run")
    }

    pub async fn stored(&self, dag: &Dag, run_id: &str) -> StoredRun {
        self.store.run(&dag.dag_id, run_id).await.expect("the store").expect("the run")
    }

    pub async fn try_resume(&self, dag: Dag, run_id: &str) -> Result<Ran, EngineError> {
        let stored = self.stored(&dag, run_id).await;
        let engine = self.engine();
        let resumed =
            engine.resume(Arc::new(dag), stored, Map::new(), Again::Failed, self.observer(), self.stop.clone());
        Ok(self.with_values(resumed.await?).await)
    }

    pub async fn resume(&self, dag: Dag, run_id: &str) -> Ran {
        self.try_resume(dag, run_id).await.expect("it can go on")
    }
}

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// The row of a task.
pub fn row<'r>(report: &'r RunReport, task_id: &str) -> &'r InstanceRow {
    let found = report.instances.iter().find(|row| &*row.task_id == task_id);
    found.unwrap_or_else(|| panic!("no row of `{task_id}` in {:?}", report.instances))
}

/// `task state` of each row.
pub fn states(report: &RunReport) -> Vec<(String, TaskState)> {
    report.instances.iter().map(|row| (row.task_id.to_string(), row.state)).collect()
}

/// What a task returned.
pub fn value(report: &Ran, task_id: &str) -> Value {
    let found = report.values.iter().find(|v| v.task_id == task_id).expect("a value");
    serde_json::from_str(found.value.inline.as_deref().expect("kept in its row")).expect("JSON")
}

/// Waits until the condition holds; the test's own time limit is generous, for a slow machine.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to pass within 20 s: {what}");
}
