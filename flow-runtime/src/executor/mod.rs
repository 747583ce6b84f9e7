//! The engine that runs a DAG inside this process: a thin shell around the decisions of `flow-core`.
//!
//! One loop per run ([`run_loop`]) gathers what happened, asks the planner what follows, commits that to the store in
//! one transaction, and only then starts the bodies ([`try_runner`]) and tells the observer. So a try is durable before
//! its body starts, and its end shares a commit with the start of what follows.
//!
//! A body that blocks runs on a thread that nothing can stop: when its try times out or is stopped, its token fires, the
//! try ends, and the thread is left to itself; whatever it returns or logs later changes nothing. Who needs more than that
//! gives its tries processes of their own ([`isolated`]).

mod awaited;
mod begin;
mod bell;
mod build;
mod cached;
mod clean;
mod commands;
mod edit;
mod error;
mod gather;
mod hold;
mod host;
mod ids;
mod inputs;
mod isolated;
mod keeper;
mod keys;
mod lease;
mod lists;
mod obstacles;
mod orders;
mod outcome;
mod outputs;
mod owed;
mod panic;
mod past;
mod progress;
mod queue;
mod readers;
mod report;
mod resume;
mod rows;
mod run_loop;
mod scope;
mod settings;
mod settled;
mod slots;
mod step;
mod stored_keys;
mod try_runner;
mod values;
mod version;

pub use build::{build_id, short};
pub use cached::CacheUse;
pub use clean::Swept;
pub use edit::Edited;
pub use error::EngineError;
pub use hold::Holders;
pub(crate) use hold::OnlyIf;
#[cfg(unix)]
pub(crate) use isolated::offspring;
pub use isolated::serve;
pub(crate) use lease::Lease;
pub use lease::{is_held, is_kind_held};
pub use obstacles::obstacles;
pub use orders::Changed;
pub use past::History;
pub use resume::run_state;
#[cfg(feature = "cli")]
pub(crate) use resume::runs_again;
pub use rows::explain;
pub use settings::EngineSettings;
#[cfg(feature = "cli")]
pub(crate) use settled::{end_offspring, settle};
pub use stored_keys::StoredKeys;
pub use values::{read_value, value_path};

use crate::clock::{Clock, SystemClock};
use crate::context::Context;
use crate::registry::Bodies;
use crate::run_event::Observer;
use crate::store::{Ending, InstanceRow, MetadataStore, RunPk, StoreError, StoredRun};
use crate::value::{Erased, Inputs};
pub(crate) use begin::Begun;
use bell::Bell;
use chrono::{DateTime, Utc};
use flow_core::{Dag, DagRun, DataInterval, NextRun, RunType, Selection};
use keeper::Keeper;
use orders::OrderBook;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use slots::Slots;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
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
    /// Rung when a task has made an asset.
    assets_made: Arc<Notify>,
    /// Renews leases, where runs are held by them.
    keeper: Option<Arc<Keeper>>,
    /// Told when an event has happened in this process.
    told: Bell,
    /// Told when somebody outside is to be told something.
    owes: Arc<watch::Sender<()>>,
    /// The DAGs of which tasks may ask for runs.
    dags: Arc<BTreeMap<String, Askable>>,
    orders: Arc<OrderBook>,
    /// The versions of which the store knows that this build makes runs.
    noted: Arc<Mutex<BTreeSet<String>>>,
}

/// A DAG of which tasks may ask for a run: with the params that its runs have unless those who ask say others, or why that
/// cannot be known.
pub type Askable = (Arc<Dag>, Result<Map<String, Value>, String>);

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
    /// When it may start; by default the present instant.
    pub run_after: Option<DateTime<Utc>>,
    /// The params that were given; the engine checks them and adds the defaults.
    pub params: Map<String, Value>,
    /// Numbers of events of assets that are pending for its DAG: it is made for all that are. None for a run that is made for
    /// another reason.
    pub events: Vec<i64>,
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
            events: Vec::new(),
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
            events: Vec::new(),
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

impl Stop {
    /// What is dropped returns within this time, where the store answers.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Does this; but once it is to stop at once and does not, for the store does not answer, it is left as it is.
    pub(crate) async fn unless_hung<T>(
        &self,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let hung = async {
            self.at_once.cancelled().await;
            tokio::time::sleep(Stop::PATIENCE).await;
        };
        tokio::select! {
            biased;
            done = work => done,
            () = hung => Err(EngineError::Io(
                "it was to stop at once, and the metadata store does not answer: the run is left as the store has it".into(),
            )),
        }
    }
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
    /// Its failure has paused its DAG, as the last of so many.
    pub has_paused: Option<u32>,
    /// Its task instances, by task id, then map index. (Their values are the store's to tell, for there may be many.)
    pub instances: Vec<InstanceRow>,
    /// How it was ended, where something was set up then: it may have done all its work before.
    pub ending: Option<Ending>,
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
        settings.notifiers.values().for_each(crate::notify::Channel::conceal);
        settings.connections.conceal();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Engine {
            keeper: Keeper::of(&settings, &store, &clock),
            store,
            bodies: Arc::new(bodies),
            slots: Arc::new(Slots::of(&settings)),
            settings: Arc::new(settings),
            clock,
            replacements: Arc::default(),
            assets_made: Arc::default(),
            told: Bell::default(),
            owes: Arc::new(watch::Sender::new(())),
            dags: Arc::default(),
            orders: Arc::default(),
            noted: Arc::default(),
        }
    }

    /// The same engine, whose tasks may ask for runs of these DAGs.
    pub fn with_dags(mut self, dags: impl IntoIterator<Item = Askable>) -> Engine {
        self.dags = Arc::new(dags.into_iter().map(|askable| (askable.0.dag_id.clone(), askable)).collect());
        self
    }

    /// The same engine with another clock, for tests.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Engine {
        self.keeper = Keeper::of(&self.settings, &self.store, &clock);
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

    /// Waits until a task of a run here has made an asset, since the last time.
    pub(crate) async fn an_asset_is_made(&self) {
        self.assets_made.notified().await;
    }

    /// What an operator has set.
    pub(crate) fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// Hears when somebody outside is to be told something.
    pub(crate) fn owing(&self) -> watch::Receiver<()> {
        self.owes.subscribe()
    }

    /// What time it goes by.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Who works on which run.
    pub(crate) async fn holders(&self) -> Result<Holders, StoreError> {
        Ok(match self.keeper {
            Some(_) => Holders::of_leases(&*self.store, self.clock.now()).await?,
            None if self.settings.locks => Holders::Locks(self.settings.home.clone()),
            None => Holders::Nobody,
        })
    }

    /// Notes that an event has happened, with a JSON text about it, and wakes whoever waits for it in this process; those of
    /// other processes look every few seconds. Says whether it is new.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn emit(&self, event: &str, payload: &str) -> Result<bool, StoreError> {
        let is_new = self.store.put_event(event, payload, self.clock.now()).await?;
        if is_new {
            self.told.ring();
        }
        Ok(is_new)
    }

    /// Are runs held by locks?
    fn locks(&self) -> bool {
        self.settings.locks && self.keeper.is_none()
    }

    /// Sees to it that there is one of this kind on this home folder, until what is returned is dropped; where runs are held
    /// by leases there may be several.
    pub(crate) fn alone(&self, kind: &str) -> Result<Option<Lease>, EngineError> {
        self.locks().then(|| Lease::of_kind(&self.settings.home, kind)).transpose()
    }

    /// Who this process is, in the store and for people.
    fn owner(&self) -> String {
        self.settings.name.clone().unwrap_or_else(lease::owner)
    }

    /// Takes a backfill that runs, or keeps it; `lock` is the same each time. Says whether this process has it.
    pub(crate) async fn hold_backfill(&self, id: i64, lock: &mut Option<Lease>) -> Result<bool, EngineError> {
        hold::backfill(self, id, lock).await
    }

    /// Gives a backfill back at once.
    pub(crate) async fn release_backfill(&self, id: i64, lock: Option<Lease>) -> Result<(), StoreError> {
        drop(lock);
        if self.keeper.is_some() {
            let term = crate::store::Term { length: Duration::ZERO, now: self.clock.now() };
            self.store.hold_backfill(id, &self.owner(), term).await?;
        }
        Ok(())
    }

    /// Makes a run and brings it to its end. Dropping the future leaves the run behind as a crash would.
    ///
    /// # Errors
    /// Params that are missing or wrong, a DAG that this program cannot run, a run id that is taken, a store that
    /// fails, a lease that was lost. A task that fails is no error: the report says so.
    pub async fn run(
        &self,
        dag: Arc<Dag>,
        request: RunRequest,
        observer: Observer,
        stop: Stop,
    ) -> Result<RunReport, EngineError> {
        self.run_if(dag, request, OnlyIf::default(), observer, stop).await
    }

    /// Makes a run, if this holds, and brings it to its end.
    pub(crate) async fn run_if(
        &self,
        dag: Arc<Dag>,
        request: RunRequest,
        only_if: OnlyIf,
        observer: Observer,
        stop: Stop,
    ) -> Result<RunReport, EngineError> {
        let until = stop.clone();
        let run = async {
            let run = self.begin(dag, request, only_if).await?;
            run_loop::drive(self, run, observer, stop).await
        };
        until.unless_hung(run).await
    }

    /// Makes a run, to be driven by [`Engine::drive`], if this holds.
    pub(crate) async fn begin(
        &self,
        dag: Arc<Dag>,
        request: RunRequest,
        only_if: OnlyIf,
    ) -> Result<Begun, EngineError> {
        begin::begin(self, dag, request, only_if).await
    }

    /// Brings a run to its end.
    pub(crate) async fn drive(&self, run: Begun, observer: Observer, stop: Stop) -> Result<RunReport, EngineError> {
        let until = stop.clone();
        until.unless_hung(run_loop::drive(self, run, observer, stop)).await
    }

    /// Why [`Engine::resume`] would refuse to go on with what is unfinished of a run that nobody works on; `run` is its record, what
    /// it was made from, and its instances.
    #[cfg(feature = "cli")]
    pub(crate) async fn refusal(
        &self,
        dag: &Dag,
        run: (&StoredRun, &Dag, &[InstanceRow]),
        given: Map<String, Value>,
    ) -> Result<Option<EngineError>, StoreError> {
        resume::refusal(self, dag, run, given).await
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
        let until = stop.clone();
        let run = async {
            let run = resume::resume(self, dag, run, given, again).await?;
            run_loop::drive(self, run, observer, stop).await
        };
        until.unless_hung(run).await
    }
}
