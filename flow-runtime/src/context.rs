//! What a task may know about the try it is in.

use crate::clock::{Clock, SystemClock};
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use flow_core::DataInterval;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The try a task is in: ids, dates, params, cancellation and progress. A task asks for it by an argument
/// `ctx: &Context`; a test makes one with [`Context::test`].
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

/// All that a [`Context`] holds; the executor fills it in.
#[derive(Clone)]
pub struct ContextParts {
    /// The DAG.
    pub dag_id: String,
    /// The run.
    pub run_id: String,
    /// The task.
    pub task_id: String,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// Number of this try, from 1.
    pub try_number: u32,
    /// Number of tries there may be.
    pub tries: u32,
    /// The instant the run is about.
    pub logical_date: Option<DateTime<Utc>>,
    /// The span of time the run is about.
    pub data_interval: Option<DataInterval>,
    /// The run's params and the project's global ones, secrets left out.
    pub params: Arc<Map<String, Value>>,
    /// The home folder.
    pub home: PathBuf,
    /// When the run began.
    pub run_start: DateTime<Utc>,
    /// Who knows the time.
    pub clock: Arc<dyn Clock>,
    /// Fires when the try should end.
    pub cancel: CancellationToken,
    /// Where progress goes.
    pub progress: Progress,
}

struct Inner {
    parts: ContextParts,
}

impl Context {
    /// A context for a unit test: DAG `test`, run `test`, a home folder of its own under the system's temporary
    /// folder (which nothing removes), no params.
    pub fn test() -> Context {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("flow-test-{}-{number}", std::process::id()));
        Context::new(ContextParts {
            dag_id: "test".into(),
            run_id: "test".into(),
            task_id: "test".into(),
            map_index: flow_core::UNMAPPED,
            try_number: 1,
            tries: 1,
            logical_date: None,
            data_interval: None,
            params: Arc::default(),
            home,
            run_start: SystemClock.now(),
            clock: Arc::new(SystemClock),
            cancel: CancellationToken::new(),
            progress: Progress::silent(),
        })
    }

    /// A context of these parts.
    pub fn new(parts: ContextParts) -> Context {
        Context { inner: Arc::new(Inner { parts }) }
    }

    /// The same context with these params (for a unit test).
    pub fn with_params(&self, params: Map<String, Value>) -> Context {
        Context::new(ContextParts { params: Arc::new(params), ..self.inner.parts.clone() })
    }

    /// The same context with this home folder (for a unit test).
    pub fn with_home(&self, home: impl Into<PathBuf>) -> Context {
        Context::new(ContextParts { home: home.into(), ..self.inner.parts.clone() })
    }

    /// Id of the DAG.
    pub fn dag_id(&self) -> &str {
        &self.inner.parts.dag_id
    }

    /// Id of the run.
    pub fn run_id(&self) -> &str {
        &self.inner.parts.run_id
    }

    /// Id of the task.
    pub fn task_id(&self) -> &str {
        &self.inner.parts.task_id
    }

    /// Place of the instance in a mapped list, from 0; `None` for a task that is not mapped.
    pub fn map_index(&self) -> Option<u32> {
        u32::try_from(self.inner.parts.map_index).ok()
    }

    /// Number of this try, from 1.
    pub fn try_number(&self) -> u32 {
        self.inner.parts.try_number
    }

    /// Number of tries there may be: retries and the first.
    pub fn tries(&self) -> u32 {
        self.inner.parts.tries
    }

    /// The instant the run is about; a manual run may have none.
    pub fn logical_date(&self) -> Option<DateTime<Utc>> {
        self.inner.parts.logical_date
    }

    /// The span of time the run is about.
    pub fn data_interval(&self) -> Option<DataInterval> {
        self.inner.parts.data_interval
    }

    /// The present instant.
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.parts.clock.now()
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        (self.now() - self.inner.parts.run_start).to_std().unwrap_or_default()
    }

    /// A param of the run, or a global one of the project (`[params]` in flow.toml), by name. A secret is not among
    /// them: take it as an argument.
    ///
    /// # Errors
    /// If there is no such param, or it is not a `T`.
    pub fn param<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        let params = &self.inner.parts.params;
        let value = params.get(name).with_context(|| {
            let known: Vec<&str> = params.keys().map(String::as_str).collect();
            format!(
                "there is no param `{name}` in this run; there are: {}",
                if known.is_empty() { "none".into() } else { known.join(", ") }
            )
        })?;
        T::deserialize(value)
            .with_context(|| format!("param `{name}` is not a `{}`", crate::value::short_type_name::<T>()))
    }

    /// The run's params and the project's global ones; secrets are left out.
    pub fn params(&self) -> &Map<String, Value> {
        &self.inner.parts.params
    }

    /// The home folder (`.flow` unless set otherwise): the place for downloads, the lake, the warehouse.
    pub fn home(&self) -> &Path {
        &self.inner.parts.home
    }

    /// A place that people give as a URL or a path: a relative path is one inside the home folder, also behind `sqlite://`;
    /// all else stays as it is.
    ///
    /// ```
    /// let ctx = flow_runtime::Context::test().with_home("/home/ada/.flow");
    /// assert_eq!(ctx.in_home("lake"), "/home/ada/.flow/lake");
    /// assert_eq!(ctx.in_home("sqlite://warehouse.db"), "sqlite:///home/ada/.flow/warehouse.db");
    /// assert_eq!(ctx.in_home("gs://bucket/lake"), "gs://bucket/lake");
    /// assert_eq!(ctx.in_home("/srv/lake"), "/srv/lake");
    /// ```
    pub fn in_home(&self, place: &str) -> String {
        let (scheme, path) = match place.strip_prefix("sqlite://").or_else(|| place.strip_prefix("sqlite:")) {
            Some(path) => ("sqlite://", path),
            None => ("", place),
        };
        if path.contains("://") || path.starts_with(":memory:") || Path::new(path).is_absolute() {
            return place.to_string();
        }
        format!("{scheme}{}", self.home().join(path).display())
    }

    /// Fires when the try should end: it took too long, somebody cancelled it, or the program is asked to stop. A
    /// blocking body should look at [`Context::is_cancelled`] now and then, for nothing can stop its thread.
    pub fn cancel(&self) -> &CancellationToken {
        &self.inner.parts.cancel
    }

    /// Should the try end?
    pub fn is_cancelled(&self) -> bool {
        self.inner.parts.cancel.is_cancelled()
    }

    /// Where to tell how far the work is.
    pub fn progress(&self) -> &Progress {
        &self.inner.parts.progress
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let p = &self.inner.parts;
        write!(f, "Context({}/{}/{}[{}] try {})", p.dag_id, p.run_id, p.task_id, p.map_index, p.try_number)
    }
}

/// How far a try is: a number of units done, of a total if it is known.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(u64, Option<u64>) + Send + Sync>);

impl Progress {
    /// Every report goes to this function, which must be quick and must not block.
    pub fn new(report: impl Fn(u64, Option<u64>) + Send + Sync + 'static) -> Progress {
        Progress(Arc::new(report))
    }

    /// Nobody listens.
    pub fn silent() -> Progress {
        Progress::new(|_, _| {})
    }

    /// `done` units (bytes, rows, files) of `total`, if it is known. Cheap enough for every chunk of a download.
    pub fn set(&self, done: u64, total: Option<u64>) {
        (self.0)(done, total);
    }
}

/// flow-data tells a task's context how far it is, and hears from it that it should stop.
#[cfg(feature = "data")]
impl flow_data::Progress for Context {
    fn report(&self, done: u64, total: Option<u64>) {
        self.progress().set(done, total);
    }

    fn cancelled(&self) -> bool {
        self.is_cancelled()
    }
}
