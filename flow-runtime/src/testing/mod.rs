//! Whole runs inside `cargo test`: in memory, with tasks replaced where the world would be needed, and without waiting.
//!
//! ```
//! use flow_runtime::prelude::*;
//!
//! #[task(retries = 2, retry_delay = "1h")]
//! async fn fetch(url: String) -> Result<Vec<u32>> {
//!     bail!("{url} is out of reach of a test")
//! }
//!
//! #[task]
//! fn total(numbers: &[u32]) -> u32 {
//!     numbers.iter().sum()
//! }
//!
//! #[dag]
//! fn sums(url: String) {
//!     total(fetch(url));
//! }
//!
//! # fn main() {
//! let run = sums::test()
//!     .param("url", "https://example.com/numbers")
//!     .replace("fetch", |call| {
//!         ensure!(call.context().try_number() > 1, "not yet"); // fails once ..
//!         Ok(vec![1, 2, 3])
//!     })
//!     .run_blocking()
//!     .succeeded();
//! assert_eq!(run.value::<u32>("total"), 6);
//! assert_eq!(run.tries("fetch"), 2); // .. and the hour until the next try takes no time
//! # }
//! ```

mod assets;
mod notified;
mod report;
mod schedule_report;

pub use notified::Notified;
pub use report::TestReport;
pub use schedule_report::ScheduleReport;

use crate::builder::IntoDuration;
use crate::clock::{Clock, SkippingClock, SystemClock};
use crate::connection::Place;
use crate::context::Context;
use crate::executor::{CacheUse, Engine, EngineSettings, Replacement, RunRequest, Stop};
use crate::registry::{self, Bodies};
use crate::run_event::Observer;
use crate::scheduler::{Listener, ScheduledDag, Scheduler, Told};
use crate::store::{CallbackFilter, MemoryStore, MetadataStore, XComFilter};
use crate::telemetry;
use crate::timetable;
use crate::value::{Erased, Inputs, TaskArgument, Value};
use chrono::{DateTime, Utc};
use flow_core::{Dag, RunType};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Map;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// A run in memory that is being set up; `taxi::test()` makes one.
///
/// Retries follow at once by a clock that leaves out the time in which nothing runs. Timeouts are real time.
#[must_use = "nothing runs before `.run_blocking()` or `.run().await`"]
pub struct TestRun {
    dag: Arc<Dag>,
    request: RunRequest,
    settings: EngineSettings,
    start: DateTime<Utc>,
    replacements: BTreeMap<String, Replacement>,
    home: Option<PathBuf>,
    /// Other DAGs that the scheduler looks after, with their params.
    others: Vec<ScheduledDag>,
    /// Names of assets that have come when the test begins, with the JSON text about each.
    come: Vec<(String, String)>,
    /// Events that have happened before it begins.
    happened: Vec<(String, String)>,
}

/// One call of a replaced task: what its body would have got.
#[derive(Debug)]
pub struct Call {
    names: Arc<[String]>,
    inputs: Inputs,
    context: Context,
}

impl Call {
    /// An argument, by the name it has in the replaced function.
    ///
    /// # Panics
    /// If there is none of that name, or it is not a `T`.
    #[track_caller]
    pub fn arg<T: TaskArgument + Clone>(&self, name: &str) -> T {
        let Some(index) = self.names.iter().position(|n| n == name) else {
            panic!("the task has no argument `{name}`; there are: {}", self.names.join(", "));
        };
        match self.inputs.shared::<T>(index, name) {
            Ok(value) => Arc::unwrap_or_clone(value),
            Err(error) => panic!("{error:#}"),
        }
    }

    /// The try it is in.
    pub fn context(&self) -> &Context {
        &self.context
    }
}

impl TestRun {
    /// Of this DAG; its tasks' functions must be linked into the test, as they are where it is built.
    pub fn new(dag: Dag) -> TestRun {
        TestRun {
            dag: Arc::new(dag),
            request: RunRequest::default(),
            // Its store begins with nothing, so all that can be reused is of this very test.
            settings: EngineSettings { cache: CacheUse::Reuse, ..EngineSettings::in_memory(PathBuf::new()) },
            start: SystemClock.now(),
            replacements: BTreeMap::new(),
            home: None,
            others: Vec::new(),
            come: Vec::new(),
            happened: Vec::new(),
        }
    }

    /// Names the run.
    pub fn run_id(mut self, run_id: impl Into<String>) -> Self {
        self.request.run_id = Some(run_id.into());
        self
    }

    /// Makes an event happen before the run begins, for tasks that [wait for it](Context::wait_for). (One that does not happen
    /// in a test is not waited for: it is an error.)
    ///
    /// # Panics
    /// If the payload cannot be written as JSON.
    #[track_caller]
    pub fn event(mut self, name: &str, payload: impl Serialize) -> Self {
        self.happened.push((name.into(), json(name, payload).to_string()));
        self
    }

    /// Sets a param.
    ///
    /// # Panics
    /// If the value cannot be written as JSON.
    #[track_caller]
    pub fn param(mut self, name: &str, value: impl Serialize) -> Self {
        self.request.params.insert(name.into(), json(name, value));
        self
    }

    /// Sets what `[params]` of flow.toml would: a value that tasks find by [`Context::param`].
    ///
    /// # Panics
    /// If the value cannot be written as JSON.
    #[track_caller]
    pub fn global_param(mut self, name: &str, value: impl Serialize) -> Self {
        self.settings.global_params.insert(name.into(), json(name, value));
        self
    }

    /// The instant the run is about: `"2021-01-01"`, or RFC 3339.
    ///
    /// # Panics
    /// If that is no date.
    #[track_caller]
    pub fn logical_date(mut self, date: &str) -> Self {
        self.request.logical_date = Some(instant(date));
        self
    }

    /// What the clock shows when the run begins; by default the present.
    ///
    /// # Panics
    /// If that is no date.
    #[track_caller]
    pub fn starts_at(mut self, date: &str) -> Self {
        self.start = instant(date);
        self
    }

    /// The home folder, instead of one that is thrown away with the report.
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Sets what `[connections]` of flow.toml would: the place that `conn:NAME` stands for.
    pub fn connection(mut self, name: &str, place: Place) -> Self {
        Arc::make_mut(&mut self.settings.connections).insert(name, place);
        self
    }

    /// Slots of a pool; every pool that the DAG names is there anyway, with room for 128.
    pub fn pool(mut self, pool: &str, slots: u32) -> Self {
        self.settings.pools.insert(pool.into(), slots);
        self
    }

    /// Most tries at one time.
    pub fn parallelism(mut self, tries: usize) -> Self {
        self.settings.parallelism = tries;
        self
    }

    /// How long a try that is told to end may go on.
    ///
    /// # Panics
    /// If that is no length of time.
    #[track_caller]
    pub fn grace(mut self, time: impl IntoDuration) -> Self {
        match time.into_duration() {
            Ok(time) => self.settings.grace = time,
            Err(sentence) => panic!("{sentence}"),
        }
        self
    }

    /// Puts another function in the place of a task's own. It is called once per try, and may block.
    ///
    /// # Panics
    /// If the DAG has no such task.
    #[track_caller]
    pub fn replace<T: Value>(
        mut self,
        task_id: &str,
        body: impl Fn(&Call) -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> Self {
        let Some(task) = self.dag.task(task_id) else {
            let known: Vec<&str> = self.dag.tasks.iter().map(|t| t.task_id.as_str()).collect();
            panic!("DAG `{}` has no task `{task_id}`; there are: {}", self.dag.dag_id, known.join(", "));
        };
        let names: Arc<[String]> = task.inputs.iter().map(|i| i.name.clone()).collect();
        let call = move |inputs, context| {
            let call = Call { names: names.clone(), inputs, context };
            body(&call).and_then(Erased::new)
        };
        self.replacements.insert(task_id.into(), Arc::new(call));
        self
    }

    /// Makes a task give this value without running.
    ///
    /// # Panics
    /// If the DAG has no such task.
    #[track_caller]
    pub fn returns<T: Value + Clone>(self, task_id: &str, value: T) -> Self {
        self.replace(task_id, move |_| Ok(value.clone()))
    }

    /// Runs it to its end, on threads of its own.
    ///
    /// # Panics
    /// If it cannot be run at all: a param is missing or wrong. Also inside an async function: `.run().await` is for
    /// those.
    #[track_caller]
    pub fn run_blocking(self) -> TestReport {
        let inside = tokio::runtime::Handle::try_current().is_ok();
        assert!(!inside, "`run_blocking` cannot wait inside an async function: write `.run().await`");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads for the run");
        let report = runtime.block_on(self.drive());
        // The thread of a try that was given up may go on for ever.
        runtime.shutdown_background();
        match report {
            Ok(report) => report,
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs it to its end, on the runtime of an `#[tokio::test]`.
    ///
    /// # Panics
    /// If it cannot be run at all: a param is missing or wrong.
    pub async fn run(self) -> TestReport {
        match self.drive().await {
            Ok(report) => report,
            Err(error) => panic!("{error}"),
        }
    }

    /// Lets the scheduler run it from one instant to another, both in, without waiting for them: a month of schedules takes
    /// as long as its tasks do. A retry that waits for longer than the time to the next tick makes that tick late.
    ///
    /// # Panics
    /// If one of them is no date, or it cannot be run at all: a param is missing or wrong, the schedule is none. Also inside an
    /// async function: `.scheduled(..).await` is for those.
    #[track_caller]
    pub fn scheduled_blocking(self, from: &str, until: &str) -> ScheduleReport {
        let inside = tokio::runtime::Handle::try_current().is_ok();
        assert!(!inside, "`scheduled_blocking` cannot wait inside an async function: write `.scheduled(..).await`");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads for the runs");
        let report = runtime.block_on(self.schedule(instant(from), instant(until)));
        runtime.shutdown_background();
        match report {
            Ok(report) => report,
            Err(error) => panic!("{error}"),
        }
    }

    /// The same, on the runtime of an `#[tokio::test]`.
    ///
    /// # Panics
    /// As [`TestRun::scheduled_blocking`].
    pub async fn scheduled(self, from: &str, until: &str) -> ScheduleReport {
        match self.schedule(instant(from), instant(until)).await {
            Ok(report) => report,
            Err(error) => panic!("{error}"),
        }
    }

    async fn schedule(self, from: DateTime<Utc>, until: DateTime<Utc>) -> Result<ScheduleReport, String> {
        let foresees = timetable::of(&self.dag).map_err(|e| e.to_string())?.foresees();
        if !foresees {
            return Err(format!(
                "the next run of `{}` is due when the one before has ended: there is no end to them",
                self.dag.dag_id
            ));
        }
        let mut dags = vec![ScheduledDag { dag: self.dag.clone(), params: Ok(self.request.params.clone()) }];
        dags.extend(self.others.iter().cloned());
        let come = self.come.clone();
        let happened = self.happened.clone();
        let TestEngine { engine, store, folder: _folder, .. } = TestRun { start: from, ..self }.engine()?;
        happen(&engine, &happened).await?;
        let notes = Arc::new(Mutex::new(Vec::new()));
        let heard = notes.clone();
        let listener: Listener = Arc::new(move |told| {
            if let Told::Note(text) = told {
                heard.lock().push(text.clone());
            }
        });
        let ids: Vec<String> = dags.iter().map(|dag| dag.dag.dag_id.clone()).collect();
        assets::emit(&store, dags.iter().map(|dag| &*dag.dag), &come, from).await?;
        let scheduler = Scheduler::new(engine, dags, false, listener, Stop::default()).map_err(|e| e.to_string())?;
        scheduler.run_until(Some(until)).await.map_err(|e| e.to_string())?;
        let notes = std::mem::take(&mut *notes.lock());
        let report = ScheduleReport::read(&store, notes).await?;
        // It, or one beside it, could not be run at all.
        let has_none = |dag: &str| report.of(dag).runs().len() == 0;
        let of = |note: &&String| ids.iter().any(|id| has_none(id) && note.contains(&format!("`{id}`")));
        match report.notes().iter().find(of) {
            Some(note) => Err(note.clone()),
            None => Ok(report),
        }
    }

    fn engine(mut self) -> Result<TestEngine, String> {
        telemetry::init();
        let folder = tempfile::tempdir().map_err(|e| format!("no home folder for the run could be made: {e}"))?;
        self.settings.home = self.home.unwrap_or_else(|| folder.path().into());
        let dags: Vec<&Dag> = self.others.iter().map(|other| &*other.dag).chain([&*self.dag]).collect();
        for task in dags.iter().flat_map(|dag| &dag.tasks) {
            // Whether a pool is declared is a matter of the place where the DAG runs, not of the DAG.
            self.settings.pools.entry(task.pool.clone()).or_insert(128.max(task.pool_slots));
        }
        let home = self.settings.home.clone();
        let clock: Arc<dyn Clock> = Arc::new(SkippingClock::starting_at(self.start));
        if let Some((key, places)) = dags.into_iter().find_map(twice) {
            return Err(format!("two tasks of this program are called `{key}`, at {places}: which of them is meant?"));
        }
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::new(store.clone(), Bodies::collect(), self.settings)
            .with_clock(clock)
            .with_replacements(self.replacements);
        Ok(TestEngine { engine, store, home, folder })
    }

    async fn drive(self) -> Result<TestReport, String> {
        let (dag, mut request, come, now) = (self.dag.clone(), self.request.clone(), self.come.clone(), self.start);
        let happened = self.happened.clone();
        let TestEngine { engine, store, home, folder } = self.engine()?;
        request.events = assets::emit(&store, [&*dag], &come, now).await?;
        if !request.events.is_empty() {
            request.run_type = RunType::AssetTriggered;
        }
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        let observer: Observer = Arc::new(move |event| seen.lock().push(event.clone()));
        happen(&engine, &happened).await?;
        let ended = engine.run(dag.clone(), request, observer, Stop::default()).await;
        let ended = ended.map_err(|e| e.to_string())?;
        let values = store.xcoms(ended.pk, XComFilter::default()).await.map_err(|e| e.to_string())?;
        let owed = CallbackFilter { run: Some(ended.pk), ..CallbackFilter::default() };
        let owed = store.callbacks(owed).await.map_err(|e| e.to_string())?;
        let notified = owed.into_iter().map(Notified::of).collect::<Result<_, _>>()?;
        let events = std::mem::take(&mut *events.lock());
        let made = assets::made_by(&store, &ended.run).await.map_err(|e| e.to_string())?;
        Ok(TestReport::new(dag, ended, (values, notified), (events, made), (home, folder)))
    }
}

async fn happen(engine: &Engine, events: &[(String, String)]) -> Result<(), String> {
    for (name, payload) in events {
        engine.emit(name, payload).await.map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// What a test runs on.
struct TestEngine {
    engine: Engine,
    store: Arc<MemoryStore>,
    home: PathBuf,
    /// Thrown away at the end.
    folder: TempDir,
}

/// The key of a body of the DAG that two functions have. (Functions inside of functions may: their module is the same.)
fn twice(dag: &Dag) -> Option<(String, String)> {
    let bodies: BTreeSet<&str> = dag.tasks.iter().map(|task| task.body.as_str()).collect();
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for spec in registry::task_specs().filter(|spec| bodies.contains(spec.body)) {
        places.entry(spec.body).or_default().push(spec.place().to_string());
    }
    let (key, places) = places.into_iter().find(|(_, places)| places.len() > 1)?;
    Some((key.to_string(), places.join(" and ")))
}

impl std::fmt::Debug for TestRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestRun").field("dag_id", &self.dag.dag_id).finish_non_exhaustive()
    }
}

#[track_caller]
fn json(name: &str, value: impl Serialize) -> serde_json::Value {
    match serde_json::to_value(value) {
        Ok(value) => value,
        Err(error) => panic!("the value of `{name}` cannot be written as JSON: {error}"),
    }
}

#[track_caller]
fn instant(date: &str) -> DateTime<Utc> {
    match flow_core::parse::date(date) {
        Ok(date) => date,
        Err(sentence) => panic!("{sentence}"),
    }
}

/// An object of these pairs: `params([("url", json!("..")), ..])`, for [`Context::with_params`].
pub fn params<const N: usize>(pairs: [(&str, serde_json::Value); N]) -> Map<String, serde_json::Value> {
    pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}
