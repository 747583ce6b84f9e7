//! What a task may know about the try it is in.

pub(crate) mod durable;

use crate::ask::Host;
use crate::asset::{Asset, AssetEvent};
use crate::clock::{Clock, SystemClock};
use crate::connection::{Connections, Place};
use crate::made::{Made, Notes};
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use flow_core::DataInterval;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Most events of assets that a task is shown.
pub const MOST_TRIGGERING_EVENTS: u32 = 10_000;

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
    /// About how many bytes of data the body should keep in memory.
    pub memory: Option<u64>,
    /// The places that have a name.
    pub connections: Arc<Connections>,
    /// When the run began.
    pub run_start: DateTime<Utc>,
    /// When the try began; of one that was deferred, or looks for something, when it began first.
    pub began: DateTime<Utc>,
    /// Who knows the time.
    pub clock: Arc<dyn Clock>,
    /// Fires when the try should end.
    pub cancel: CancellationToken,
    /// Where progress goes.
    pub progress: Progress,
    /// The events of assets that the run was made for, the oldest first.
    pub triggering_events: Arc<[AssetEvent]>,
    /// The engine behind it.
    pub host: Host,
}

struct Inner {
    parts: ContextParts,
    notes: Notes,
    journal: durable::Journal,
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
            memory: None,
            connections: Arc::default(),
            run_start: SystemClock.now(),
            began: SystemClock.now(),
            clock: Arc::new(SystemClock),
            cancel: CancellationToken::new(),
            progress: Progress::silent(),
            triggering_events: Arc::default(),
            host: Host::alone(),
        })
    }

    /// A context of these parts.
    pub fn new(parts: ContextParts) -> Context {
        Context::with_notes(parts, Notes::default())
    }

    /// The same, where what it tells about assets goes to these notes.
    pub(crate) fn with_notes(parts: ContextParts, notes: Notes) -> Context {
        Context { inner: Arc::new(Inner { parts, journal: durable::Journal::default(), notes }) }
    }

    /// The same context with these params (for a unit test).
    pub fn with_params(&self, params: Map<String, Value>) -> Context {
        self.with(ContextParts { params: Arc::new(params), ..self.inner.parts.clone() })
    }

    /// The same context about this instant (for a unit test).
    pub fn with_logical_date(&self, logical_date: DateTime<Utc>) -> Context {
        self.with(ContextParts { logical_date: Some(logical_date), ..self.inner.parts.clone() })
    }

    /// The same context with this home folder (for a unit test).
    pub fn with_home(&self, home: impl Into<PathBuf>) -> Context {
        self.with(ContextParts { home: home.into(), ..self.inner.parts.clone() })
    }

    /// The same context with this budget of memory, in bytes (for a unit test).
    pub fn with_memory(&self, bytes: u64) -> Context {
        self.with(ContextParts { memory: Some(bytes), ..self.inner.parts.clone() })
    }

    /// The same context with these places that have a name (for a unit test).
    pub fn with_connections(&self, connections: impl Into<Arc<Connections>>) -> Context {
        self.with(ContextParts { connections: connections.into(), ..self.inner.parts.clone() })
    }

    /// The same context of a run that was made for these events (for a unit test).
    pub fn with_triggering_events(&self, events: impl Into<Arc<[AssetEvent]>>) -> Context {
        self.with(ContextParts { triggering_events: events.into(), ..self.inner.parts.clone() })
    }

    fn with(&self, parts: ContextParts) -> Context {
        Context::with_notes(parts, self.inner.notes.clone())
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

    /// When the try began; of one that has slept or waited since, when it began first.
    pub fn began(&self) -> DateTime<Utc> {
        self.inner.parts.began
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

    /// About how many bytes of data a body should keep in memory at one time: `task_memory` of flow.toml. The tasks of
    /// [`tasks`](crate::tasks) heed it; one of your own may. `None`: nobody said so.
    pub fn memory(&self) -> Option<u64> {
        self.inner.parts.memory
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

    /// The place that people give as a URL, as a path inside the home folder ([`Context::in_home`]), or by the name of a
    /// connection: `conn:lake/raw`. A URL that lies below that of a connection has its options.
    ///
    /// ```
    /// use flow_runtime::connection::{Connections, Place};
    ///
    /// let lake = Place::new("s3://lake").option("aws_region", "eu-central-1");
    /// let known: Connections = [("lake".to_string(), lake)].into_iter().collect();
    /// let ctx = flow_runtime::Context::test().with_home("/home/ada/.flow").with_connections(known);
    /// assert_eq!(ctx.place("conn:lake/raw")?.url(), "s3://lake/raw");
    /// assert_eq!(ctx.place("sqlite://warehouse.db")?.url(), "sqlite:///home/ada/.flow/warehouse.db");
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no connection of this name.
    pub fn place(&self, text: &str) -> anyhow::Result<Place> {
        let place = self.inner.parts.connections.place(text)?;
        let url = self.in_home(place.url());
        Ok(place.with_url(url))
    }

    /// Fires when the try should end: it took too long, somebody cancelled it, or the program is asked to stop. A
    /// blocking body should look at [`Context::is_cancelled`] now and then, for nothing can stop its thread.
    pub fn cancel(&self) -> &CancellationToken {
        &self.inner.parts.cancel
    }

    /// Does a part of the work, or gives it up as soon as the try should end. What is given up is dropped, so that it must leave nothing
    /// half done then, as everything in `flow_runtime::data` does; what that cleans up is waited for.
    ///
    /// ```
    /// # use flow_runtime::prelude::*;
    /// #[task]
    /// async fn nap(ctx: &Context, seconds: u64) -> Result<u64> {
    ///     let nap = tokio::time::sleep(std::time::Duration::from_secs(seconds));
    ///     ctx.until_cancelled(async { nap.await; anyhow::Ok(seconds) }).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let ctx = Context::test();
    /// ctx.cancel().cancel();
    /// assert!(nap(&ctx, 3600).await.unwrap_err().to_string().contains("told to end"));
    /// # }
    /// ```
    ///
    /// # Errors
    /// The work's own; that the try was told to end.
    pub async fn until_cancelled<T, E: Into<anyhow::Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> anyhow::Result<T> {
        if let Some(outcome) = self.cancel().run_until_cancelled(work).await {
            return outcome.map_err(Into::into);
        }
        // What others clean up is waited for, too; not for long.
        #[cfg(feature = "data")]
        let _settled = tokio::time::timeout(Duration::from_secs(5), flow_data::settled()).await;
        anyhow::bail!("it was told to end, and what it was at is given up")
    }

    /// Should the try end?
    pub fn is_cancelled(&self) -> bool {
        self.inner.parts.cancel.is_cancelled()
    }

    /// Tells something about an asset that the task makes, one of its outlets: `ctx.made(&TRIPS).rows(n)`. It is kept with the
    /// event that the success of the task is.
    pub fn made(&self, asset: &Asset) -> Made<'_> {
        Made::new(asset, &self.inner.notes)
    }

    /// What was told about an asset (for a unit test).
    pub fn told_about(&self, asset: &Asset) -> Option<Map<String, Value>> {
        self.inner.notes.about(asset)
    }

    /// The events of assets that the run was made for, the oldest first: all that came since the run before, or the latest
    /// [`MOST_TRIGGERING_EVENTS`] of them. None in a run that was made otherwise.
    pub fn triggering_events(&self) -> &[AssetEvent] {
        &self.inner.parts.triggering_events
    }

    /// Where to tell how far the work is.
    pub fn progress(&self) -> &Progress {
        &self.inner.parts.progress
    }

    /// For a function of `flow_runtime::data`, which is given the context itself or this: what it counts, bytes or rows, stands at
    /// each, and then in the log of the try.
    ///
    /// ```
    /// # use flow_runtime::prelude::*;
    /// use flow_runtime::{Unit, data};
    ///
    /// #[task]
    /// async fn keep(ctx: &Context, file: String, lake: String) -> Result<data::Uploaded> {
    ///     Ok(data::upload(file, &lake, &ctx.counting(Unit::Bytes)).await?)
    /// }
    /// ```
    #[cfg(feature = "data")]
    pub fn counting(&self, unit: Unit) -> impl flow_data::Progress {
        Counting { ctx: self, unit }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let p = &self.inner.parts;
        write!(f, "Context({}/{}/{}[{}] try {})", p.dag_id, p.run_id, p.task_id, p.map_index, p.try_number)
    }
}

/// What progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// Of a file, or on the wire.
    Bytes,
    /// Of a table.
    Rows,
}

/// Who hears how much is done, of how much, and what is counted.
pub(crate) type Hears = dyn Fn(u64, Option<u64>, Option<Unit>) + Send + Sync;

/// How far a try is: a number of units done, of a total if it is known. On a terminal it is a bar; a try of more than five seconds has
/// it in its log too, a line every ten seconds at most.
#[derive(Clone)]
pub struct Progress {
    report: Arc<Hears>,
    unit: Option<Unit>,
}

impl Progress {
    /// Every report goes to this function, which must be quick and must not block.
    pub fn new(report: impl Fn(u64, Option<u64>) + Send + Sync + 'static) -> Progress {
        Progress::with_units(move |done, total, _| report(done, total))
    }

    /// The same, which hears what is counted.
    pub(crate) fn with_units(report: impl Fn(u64, Option<u64>, Option<Unit>) + Send + Sync + 'static) -> Progress {
        Progress { report: Arc::new(report), unit: None }
    }

    /// The same, which counts these from here on.
    #[must_use]
    pub fn counting(&self, unit: Unit) -> Progress {
        Progress { unit: Some(unit), ..self.clone() }
    }

    /// Nobody listens.
    pub fn silent() -> Progress {
        Progress::new(|_, _| {})
    }

    /// `done` units (bytes, rows, files) of `total`, if it is known. Cheap enough for every chunk of a download.
    pub fn set(&self, done: u64, total: Option<u64>) {
        self.tell(done, total, self.unit);
    }

    pub(crate) fn tell(&self, done: u64, total: Option<u64>, unit: Option<Unit>) {
        (self.report)(done, total, unit);
    }
}

/// flow-data tells a task's context how far it is, and hears from it that it should stop.
#[cfg(feature = "data")]
impl flow_data::Progress for Context {
    fn report(&self, done: u64, total: Option<u64>) {
        self.progress().set(done, total);
    }

    fn fetched(&self, done: u64, total: Option<u64>) {
        self.progress().tell(done, total, Some(Unit::Bytes));
    }

    fn cancelled(&self) -> bool {
        self.is_cancelled()
    }
}

/// A context as the progress of a function whose unit is known.
#[cfg(feature = "data")]
struct Counting<'a> {
    ctx: &'a Context,
    unit: Unit,
}

#[cfg(feature = "data")]
impl flow_data::Progress for Counting<'_> {
    fn report(&self, done: u64, total: Option<u64>) {
        self.ctx.progress().tell(done, total, Some(self.unit));
    }

    fn fetched(&self, done: u64, total: Option<u64>) {
        self.ctx.progress().tell(done, total, Some(Unit::Bytes));
    }

    fn cancelled(&self) -> bool {
        self.ctx.is_cancelled()
    }
}
