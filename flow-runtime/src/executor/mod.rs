//! The engine that runs a DAG inside this process: a thin shell around the decisions of `flow-core`.
//!
//! One loop per run ([`run_loop`]) gathers what happened, asks the planner what follows, commits that to the store in
//! one transaction, and only then starts the bodies ([`try_runner`]) and tells the observer. So a try is durable before
//! its body starts, and its end shares a commit with the start of what follows.
//!
//! A body that blocks runs on a thread that nothing can stop: when its try times out or is stopped, its token fires, the
//! try ends, and the thread is left to itself; whatever it returns or logs later changes nothing. Who needs more than that
//! gives its tries processes of their own ([`isolated`]).

mod begin;
mod clean;
mod edit;
mod error;
mod gather;
mod ids;
mod inputs;
mod isolated;
mod lease;
mod lists;
mod obstacles;
mod outcome;
mod outputs;
mod panic;
mod progress;
mod queue;
mod readers;
mod report;
mod resume;
mod rows;
mod run_loop;
mod scope;
mod settings;
mod slots;
mod step;
mod try_runner;
mod values;

pub use clean::Swept;
pub use edit::Edited;
pub use error::EngineError;
pub use isolated::serve;
pub use lease::is_held;
pub use obstacles::obstacles;
pub use resume::run_state;
pub use settings::EngineSettings;
pub use values::{read_value, value_path};

use crate::clock::{Clock, SystemClock};
use crate::context::Context;
use crate::registry::Bodies;
use crate::run_event::Observer;
use crate::store::{InstanceRow, MetadataStore, RunPk, StoredRun};
use crate::value::{Erased, Inputs};
pub(crate) use begin::Begun;
use chrono::{DateTime, Utc};
use flow_core::{Dag, DagRun, DataInterval, NextRun, RunType, Selection};
use serde_json::{Map, Value};
use slots::Slots;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs DAGs in this process. A clone is the same engine.
#[derive(Clone)]
pub struct Engine {
    store: Arc<dyn MetadataStore>,
    bodies: Arc<Bodies>,
    settings: Arc<EngineSettings>,
    clock: Arc<dyn Clock>,
    replacements: Arc<BTreeMap<String, Replacement>>,
    slots: Arc<Slots>,
}

/// Stands in for the body of a task in a test.
pub(crate) type Replacement = Arc<dyn Fn(Inputs, Context) -> anyhow::Result<Erased> + Send + Sync>;

/// What run to make.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// Its id; by default its type and the present instant.
    pub run_id: Option<String>,
    /// Who asks for it.
    pub run_type: RunType,
    /// The instant it is about; a manual run may have none, and is then about the instant it is made.
    pub logical_date: Option<DateTime<Utc>>,
    /// The span of time it is about; by default the logical date alone.
    pub data_interval: Option<DataInterval>,
    /// When it may start, by which runs are ordered; by default the present instant.
    pub run_after: Option<DateTime<Utc>>,
    /// The params that were given; the engine checks them and adds the defaults.
    pub params: Map<String, Value>,
}

impl RunRequest {
    /// The run that a timetable names.
    pub fn of(run_type: RunType, run: NextRun, params: Map<String, Value>) -> RunRequest {
        RunRequest {
            run_id: Some(run_type.run_id(run.run_after)),
            run_type,
            logical_date: Some(run.logical_date),
            data_interval: Some(run.data_interval),
            run_after: Some(run.run_after),
            params,
        }
    }
}

impl Default for RunRequest {
    /// A manual run about no instant, with no param given.
    fn default() -> Self {
        RunRequest {
            run_id: None,
            run_type: RunType::Manual,
            logical_date: None,
            data_interval: None,
            run_after: None,
            params: Map::new(),
        }
    }
}

/// What of a run that goes on is to run again.
#[derive(Debug, Clone, Default)]
pub enum Again {
    /// Nothing: a run that has ended stays as it is.
    Nothing,
    /// Of a run that has failed what failed, with all its retries.
    #[default]
    Failed,
    /// These instances, whatever became of them, also of a run that has succeeded. Their tasks are those of the version of the
    /// DAG that the run was made from.
    These(Selection),
}

/// How a run is stopped from outside. A stopped run can be resumed.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Starts no more tries, tells those that run, and gives them [`EngineSettings::grace`].
    pub graceful: CancellationToken,
    /// Drops what runs and returns.
    pub at_once: CancellationToken,
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// Its record.
    pub run: DagRun,
    /// Its number in the store.
    pub pk: RunPk,
    /// It was stopped before its end, and can be resumed; its state is still running.
    pub interrupted: bool,
    /// Its task instances, by task id, then map index. (Their values are the store's to tell, for there may be many.)
    pub instances: Vec<InstanceRow>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that keeps its records in `store` and finds the tasks' functions in `bodies`.
    ///
    /// It puts a panic hook in front of the present one (once per process), which keeps silent about tasks that panic.
    pub fn new(store: Arc<dyn MetadataStore>, bodies: Bodies, settings: EngineSettings) -> Engine {
        panic::install_hook();
        settings.global_params.values().for_each(crate::secret::conceal_passwords);
        Engine {
            store,
            bodies: Arc::new(bodies),
            slots: Arc::new(Slots::of(&settings)),
            settings: Arc::new(settings),
            clock: Arc::new(SystemClock),
            replacements: Arc::default(),
        }
    }

    /// The same engine with another clock, for tests.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Engine {
        self.clock = clock;
        self
    }

    /// The same engine with other functions behind these tasks, for tests.
    pub(crate) fn with_replacements(mut self, replacements: BTreeMap<String, Replacement>) -> Engine {
        self.replacements = Arc::new(replacements);
        self
    }

    /// Where it keeps its records.
    pub(crate) fn store(&self) -> &Arc<dyn MetadataStore> {
        &self.store
    }

    /// What time it goes by.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Does a process that lives work on this run?
    pub(crate) fn is_held(&self, dag_id: &str, run_id: &str) -> bool {
        self.settings.locks && is_held(&self.settings.home, dag_id, run_id)
    }

    /// Sees to it that there is one of this kind on this home folder, until what is returned is dropped.
    pub(crate) fn alone(&self, kind: &str) -> Result<Option<lease::Lease>, EngineError> {
        self.settings.locks.then(|| lease::Lease::of_kind(&self.settings.home, kind)).transpose()
    }

    /// Makes a run and brings it to its end. Dropping the future leaves the run behind as a crash would.
    ///
    /// # Errors
    /// Params that are missing or wrong, a DAG that this program cannot run, a run id that is taken, a store that
    /// fails. A task that fails is no error: the report says so.
    pub async fn run(
        &self,
        dag: Arc<Dag>,
        request: RunRequest,
        observer: Observer,
        stop: Stop,
    ) -> Result<RunReport, EngineError> {
        let run = self.begin(dag, request).await?;
        self.drive(run, observer, stop).await
    }

    /// Makes a run, to be driven by [`Engine::drive`].
    pub(crate) async fn begin(&self, dag: Arc<Dag>, request: RunRequest) -> Result<Begun, EngineError> {
        begin::begin(self, dag, request).await
    }

    /// Brings a run to its end.
    pub(crate) async fn drive(&self, run: Begun, observer: Observer, stop: Stop) -> Result<RunReport, EngineError> {
        run_loop::drive(self, run, observer, stop).await
    }

    /// Goes on with a run that was interrupted, whose process died, or that failed. `given` must hold its secret
    /// params, which are not stored; all others are taken from the run.
    ///
    /// What has succeeded is not run again. A try that was under way when its process died counts, and is followed by
    /// the next if the task has retries left; without retries its task fails, for it may have done its work already.
    /// `again` says what of it is to run again besides.
    ///
    /// # Errors
    /// As for [`Engine::run`]; also a run that has ended and of which nothing is to run again, one that another process works on,
    /// and one whose DAG has changed since. The run is then as it was.
    pub async fn resume(
        &self,
        dag: Arc<Dag>,
        run: StoredRun,
        given: Map<String, Value>,
        again: Again,
        observer: Observer,
        stop: Stop,
    ) -> Result<RunReport, EngineError> {
        let run = resume::resume(self, dag, run, given, again).await?;
        self.drive(run, observer, stop).await
    }
}
