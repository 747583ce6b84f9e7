//! The metadata store: the truth about runs, tries and values.
//!
//! [`MetadataStore`] is the seam. [`memory`] keeps everything in this process, `sqlite` in one file, `postgres` in a database of
//! many machines; all pass the suite in [`conformance`], and a further store joins by one line there.
//!
//! Whoever works on a run holds its **epoch**: [`MetadataStore::take_run`] and [`MetadataStore::acquire_run`] raise it, and a
//! commit under any other epoch is refused as a whole ([`StoreError::Fenced`]). So a process that was taken for dead and
//! wakes up can change nothing. A run may also be held by a **lease**, until an instant: see [`Term`].
//!
//! Instants are kept to the microsecond; what is finer is cut off (towards the past).

mod asset;
mod backfill;
mod build;
mod cache;
mod callback;
pub mod conformance;
mod durability;
pub mod faulty;
mod filter;
mod lease;
pub mod memory;
mod order;
#[cfg(feature = "postgres")]
pub mod postgres;
mod schema;
mod slots;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod value;

pub use asset::{AssetEventFilter, AssetEventRow, AssetEventWrite, MadeBy, PendingAsset};
pub use backfill::{BackfillChange, BackfillRow, BackfillSpec, BackfillState, Reprocess};
pub use build::BuildRow;
pub use cache::{CacheRow, CacheWrite};
pub use callback::{CallbackChange, CallbackFilter, CallbackRow, CallbackState, CallbackWrite};
pub use durability::Durability;
pub use filter::{RunFilter, RunOrder};
pub use lease::{HeldRun, Renewer, Term, Terms};
pub use memory::MemoryStore;
pub use order::OrderRow;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use schema::Schema;
pub use slots::{SlotAsk, SlotClaim, SlotRefusal};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use value::{RETURN_VALUE, StepWrite, XComFilter, XComRow, XComValue, XComWrite};

use chrono::{DateTime, Utc};
use flow_core::event::Report;
use flow_core::{Dag, DagRun, Event, RunStatus, TaskState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// Number of a run inside its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunPk(pub i64);

/// How often a run has changed hands; the fencing token of its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub i64);

/// A run as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// Its number.
    pub pk: RunPk,
    /// The record.
    pub run: DagRun,
    /// Hash of the DAG it was made from; see [`MetadataStore::dag_version`].
    pub dag_version: String,
    /// Who holds it (host, process, start), or nobody; for people, not for decisions.
    pub owner: Option<String>,
    /// Its present epoch.
    pub epoch: Epoch,
    /// How it ends when what is set up is taken away, if somebody has ended it, or it took too long; how it has ended, if it did so.
    pub ending: Option<Ending>,
}

/// How a run is being ended, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Its state when what is set up is taken away.
    pub state: RunStatus,
    /// Why; of the sort [`CauseKind::Marked`] if a person has said so.
    pub cause: Cause,
}

/// Everything that one batch of events changed in one run. Applied whole or not at all.
#[derive(Debug, Clone)]
pub struct RunCommit {
    /// The run.
    pub run: RunPk,
    /// The committer's token.
    pub epoch: Epoch,
    /// A person has ordered a part of it. No other commit may move what has ended, or do more at once than one can; see
    /// [`TaskState::may_pass_to`] and [`RunStatus::may_pass_to`]. (An instance that has no row yet is in no state.)
    pub is_order: bool,
    /// The run's new state, if it changed. `Running` after any other state sets `start_date` (a run that was cleared
    /// begins anew), a finished state sets `end_date`, an unfinished one after a finished one takes `end_date` away.
    pub status: Option<(RunStatus, DateTime<Utc>)>,
    /// How the run is being ended; that is kept, or taken away, with a state alone (which may be the one that it has).
    pub ending: Option<Ending>,
    /// If the run has failed by this, and it is one of at least so many scheduled runs of its DAG (also those for assets) that have
    /// failed in a row, no later one having ended well, the DAG is paused.
    pub pause_at: Option<u32>,
    /// Rows of task instances, in full, each instance at most once. All archiving comes before all writing.
    pub instances: Vec<InstanceWrite>,
    /// Values of tries that ended.
    pub xcoms: Vec<XComWrite>,
    /// Instances whose steps are forgotten, by task and map index: they were cleared, and begin anew.
    pub forgotten: Vec<(Arc<str>, i32)>,
    /// Steps that tries have finished. One of a try that is not running (any more) is left out, and so is one that is there.
    pub steps: Vec<StepWrite>,
    /// Assets that tries have made anew, in their order. Of a try and an asset only the first counts.
    pub asset_events: Vec<AssetEventWrite>,
    /// What is to be told outside.
    pub callbacks: Vec<CallbackWrite>,
    /// Numbers of orders for this run that are carried out by this commit, or come to nothing: they are removed.
    pub settled: Vec<i64>,
    /// Outputs that later runs may take over. Of one key the last counts.
    pub cached: Vec<CacheWrite>,
}

impl RunCommit {
    /// A commit that changes nothing yet.
    pub fn new(run: RunPk, epoch: Epoch) -> RunCommit {
        RunCommit {
            run,
            epoch,
            is_order: false,
            status: None,
            ending: None,
            pause_at: None,
            instances: Vec::new(),
            xcoms: Vec::new(),
            forgotten: Vec::new(),
            steps: Vec::new(),
            asset_events: Vec::new(),
            callbacks: Vec::new(),
            settled: Vec::new(),
            cached: Vec::new(),
        }
    }

    /// Does it change nothing?
    pub fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.instances.is_empty()
            && self.xcoms.is_empty()
            && self.forgotten.is_empty()
            && self.steps.is_empty()
            && self.asset_events.is_empty()
            && self.callbacks.is_empty()
            && self.settled.is_empty()
            && self.cached.is_empty()
    }
}

/// The row of a task instance: what it is now, and its latest try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRow {
    /// The task.
    pub task_id: Arc<str>,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// Its state.
    pub state: TaskState,
    /// Number of its latest try; 0 before the first.
    pub try_number: u32,
    /// It may be tried again while `try_number <= max_tries`.
    pub max_tries: u32,
    /// When it is due again.
    pub due: Option<DateTime<Utc>>,
    /// When its latest try began.
    pub start_date: Option<DateTime<Utc>>,
    /// When its latest try ended (or when it was decided not to run it).
    pub end_date: Option<DateTime<Utc>>,
    /// Why its latest try ended as it did, when there is something to say.
    pub cause: Option<Cause>,
    /// What the planner must know about its value.
    pub report: Report,
    /// Of a mapped instance, what it is about, for people: `month=2021-01`. Known once a try of it has ended.
    pub label: Option<Arc<str>>,
    /// The event that it waits for while it is deferred; `None` if it waits for an instant alone.
    pub event: Option<Arc<str>>,
}

/// A row to be written.
#[derive(Debug, Clone)]
pub struct InstanceWrite {
    /// The row, in full; it replaces the present one.
    pub row: InstanceRow,
    /// The row begins a new try (or clears an ended one): the present row, if it has a try number above 0, is copied
    /// to the history first. The history keeps the first copy of a try: archived once more (an instance that was
    /// cleared, and begins its next try later), the later copy is dropped.
    pub archive: bool,
}

/// Why a try ended as it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The sort.
    pub kind: CauseKind,
    /// One sentence or more, for people; secrets are already taken out.
    pub message: String,
    /// File and line of a panic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// The sort of a [`Cause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// The body returned an error.
    Error,
    /// The body panicked.
    Panic,
    /// The try took longer than its timeout.
    Timeout,
    /// The process that it had for itself ended before it did: an exit, a signal.
    Process,
    /// The process of its run died, or was not heard of any more.
    Lost,
    /// It was stopped by a person or by the end of its run.
    Cancelled,
    /// A person gave it its state.
    Marked,
    /// The body asked to be skipped.
    Skipped,
    /// Its arguments could not be made (a value could not be read or decoded).
    Input,
    /// Its return value could not be kept.
    Output,
    /// It did not run: its output is that of an earlier run, which was made from the same.
    Cached,
}

/// What can go wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The DAG has a run of this id already.
    #[error(
        "DAG `{dag_id}` already has a run `{run_id}`: choose another run id, or go on with it by `--resume {run_id}`"
    )]
    RunExists {
        /// The DAG.
        dag_id: String,
        /// The run.
        run_id: String,
    },
    /// The DAG has a run about this instant already.
    #[error(
        "DAG `{dag_id}` already has a run about {logical_date}, and there is one for each logical date: choose another, \
         leave it out, or run that one again"
    )]
    LogicalDateTaken {
        /// The DAG.
        dag_id: String,
        /// The instant.
        logical_date: DateTime<Utc>,
    },
    /// The events that were to be those of a run are no longer pending.
    #[error("what DAG `{dag_id}` was to run for is pending no more: another run has it already")]
    EventsTaken {
        /// The DAG.
        dag_id: String,
    },
    /// There is no such run.
    #[error("there is no such run in the store (number {0})")]
    NoSuchRun(i64),
    /// There is no such version of a DAG.
    #[error("there is no DAG with hash `{0}` in the store")]
    NoSuchDagVersion(String),
    /// Somebody else has taken the run over.
    #[error("run {run} was taken over by another process (epoch {given} is no longer valid, it is {present} now)")]
    Fenced {
        /// Number of the run.
        run: i64,
        /// The epoch that was given.
        given: i64,
        /// The present epoch.
        present: i64,
    },
    /// A commit that no person has ordered would bring an instance, or the run, where it cannot come by itself.
    #[error("{0}, which nobody has ordered: nothing of that is written (this is a fault of flow)")]
    IllegalMove(String),
    /// Somebody else holds the run, and the lease has not ended.
    #[error("the run is held by {owner} until {until}: wait for it, or stop it first")]
    Held {
        /// Number of the run.
        run: i64,
        /// Who holds it.
        owner: String,
        /// When its lease ends, if it is not renewed.
        until: DateTime<Utc>,
    },
    /// A run was to be made for a backfill that was stopped, or taken by another process, since it was decided.
    #[error("backfill {0} was stopped, or taken by another process: no run is made for it here")]
    BackfillLost(i64),
    /// The DAG has as many unfinished runs as it may have.
    #[error("DAG `{dag_id}` already has {most} unfinished runs, as many as it may have: wait for one of them")]
    TooManyActive {
        /// The DAG.
        dag_id: String,
        /// How many it may have.
        most: u32,
    },
    /// A timetable's run of the DAG was made, or deleted, since the latest was asked for.
    #[error(
        "the scheduled runs of DAG `{dag_id}` have changed since it was decided to make the next: ask for the latest again"
    )]
    Overtaken {
        /// The DAG.
        dag_id: String,
    },
    /// The store holds something that cannot be read.
    #[error("the metadata store holds something that cannot be read: {0}")]
    Corrupt(String),
    /// The database itself; the text says which one, what is wrong and what to try.
    #[error("{0}")]
    Backend(String),
}

/// A store's answer.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The seam between the engine and a database. Every method is one transaction.
///
/// A caller may drop the future of any method: what it asked for is then done whole or not at all, and nobody else's
/// call is touched.
#[async_trait::async_trait]
pub trait MetadataStore: Send + Sync + 'static {
    /// Keeps this DAG under the SHA-256 of its JSON (64 lower-case hexadecimal digits) and returns that hash; the same
    /// DAG twice is kept once.
    async fn put_dag(&self, dag: &Dag) -> Result<String>;

    /// The DAG with this hash.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDagVersion`].
    async fn dag_version(&self, hash: &str) -> Result<Dag>;

    /// Notes that this build of a program makes runs of this version of a DAG; noted before, that instant stays.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDagVersion`].
    async fn put_build(&self, dag_version: &str, build: &str, timestamp: DateTime<Utc>) -> Result<()>;

    /// The builds that have made runs of this version of a DAG, in the order in which they were first seen.
    async fn builds(&self, dag_version: &str) -> Result<Vec<BuildRow>>;

    /// Says that a DAG is paused, and makes no runs by itself, or that it is not.
    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<()>;

    /// What was said last of each DAG that somebody has spoken of: is it paused?
    async fn paused(&self) -> Result<BTreeMap<String, bool>>;

    /// Keeps a backfill, as one that runs; gives its number.
    async fn put_backfill(&self, spec: &BackfillSpec, created: DateTime<Utc>) -> Result<i64>;

    /// Backfills (those alone that are neither done nor cancelled, or all of them), the newest first.
    async fn backfills(&self, open: bool) -> Result<Vec<BackfillRow>>;

    /// Brings a backfill from one state to another. Says whether it did: one in another state stays as it is.
    async fn settle_backfill(&self, change: &BackfillChange) -> Result<bool>;

    /// Takes a backfill that runs for a while, or keeps it longer: of several owners one has it at a time. Says whether this one
    /// has it. A term of no length gives it back.
    async fn hold_backfill(&self, id: i64, owner: &str, term: Term) -> Result<bool>;

    /// The backfills that are taken for a while that has not ended, by number, and who has each. `now` is as [`Term::now`].
    async fn held_backfills(&self, now: DateTime<Utc>) -> Result<BTreeMap<i64, String>>;

    /// What an instance has finished of its work: JSON texts by the names of its steps.
    async fn steps(&self, run: RunPk, task_id: &str, map_index: i32) -> Result<BTreeMap<String, Arc<str>>>;

    /// Notes that an event has happened, with a JSON text about it. It happens once: where it is there already, nothing is
    /// changed. Says whether it is new.
    async fn put_event(&self, name: &str, payload: &str, timestamp: DateTime<Utc>) -> Result<bool>;

    /// Those of these events that have happened, with the JSON text of each.
    async fn events(&self, names: &[&str]) -> Result<BTreeMap<String, Arc<str>>>;

    /// Events of assets. They outlive the runs that made them.
    async fn asset_events(&self, filter: &AssetEventFilter) -> Result<Vec<AssetEventRow>>;

    /// The latest event of each asset, by the name of the asset.
    async fn latest_asset_events(&self) -> Result<Vec<AssetEventRow>>;

    /// Notes an event of an asset that no task has made; gives its number. `extra` is the JSON text of an object.
    async fn put_asset_event(&self, asset: &str, extra: &str, timestamp: DateTime<Utc>) -> Result<i64>;

    /// Says which assets each of these DAGs waits for. What comes from now on is pending for it; what is pending of an asset
    /// that it waits for no more is forgotten. DAGs that are not named wait as before.
    async fn await_assets(&self, dags: &BTreeMap<String, BTreeSet<String>>) -> Result<()>;

    /// Forgets events (of the tasks of this DAG, or all) from before an instant, and says how many: those that nobody needs any
    /// more. The latest event of an asset stays, and what is pending, or what a run was made for that is there still.
    async fn forget_asset_events(&self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64>;

    /// What has come and is pending, by DAG and asset.
    async fn pending_assets(&self) -> Result<Vec<PendingAsset>>;

    /// What was, or is, to be told outside, the oldest first.
    async fn callbacks(&self, filter: CallbackFilter) -> Result<Vec<CallbackRow>>;

    /// Changes a callback that is pending and was tried exactly as often as is said: somebody takes it for a while, or tells how
    /// that went. Says whether it did: where it was changed by another meanwhile, or is gone, nothing is.
    async fn settle_callback(&self, change: &CallbackChange) -> Result<bool>;

    /// Leaves an order for whoever works on a run: it is carried out, and settled, in one commit. Returns its number.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRun`].
    async fn put_order(&self, run: RunPk, event: &Event, timestamp: DateTime<Utc>) -> Result<i64>;

    /// All orders that are not settled, the oldest first.
    async fn orders(&self) -> Result<Vec<OrderRow>>;

    /// [`MetadataStore::make_run`] for `owner`, without a lease and whatever else there is.
    ///
    /// # Errors
    /// As those of [`MetadataStore::make_run`].
    async fn create_run(&self, run: &DagRun, dag_version: &str, owner: &str) -> Result<(RunPk, Epoch)> {
        self.make_run(run, dag_version, &Terms { owner, ..Terms::default() }).await
    }

    /// Makes a run on these terms, at epoch 1. Numbers of runs rise and are never given twice.
    ///
    /// # Errors
    /// [`StoreError::Overtaken`], [`StoreError::EventsTaken`], [`StoreError::TooManyActive`] and [`StoreError::BackfillLost`] if the terms do not hold;
    /// [`StoreError::RunExists`] if the DAG has a run of this id, [`StoreError::LogicalDateTaken`] if it has one about the same
    /// instant; [`StoreError::NoSuchDagVersion`].
    async fn make_run(&self, run: &DagRun, dag_version: &str, terms: &Terms<'_>) -> Result<(RunPk, Epoch)>;

    /// Takes a run over by force: raises its epoch by one, so that whoever held it before can change nothing any more, and
    /// ends its lease. For those who know by other means (a file lock) that nobody works on it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRun`].
    async fn acquire_run(&self, run: RunPk, owner: &str) -> Result<Epoch>;

    /// Takes a run that is free, or whose lease has ended, and raises its epoch by one. Of several who try it at the same
    /// time one succeeds.
    ///
    /// # Errors
    /// [`StoreError::Held`] with who holds it, also when that is this owner; [`StoreError::NoSuchRun`].
    async fn take_run(&self, run: RunPk, owner: &str, term: Term) -> Result<Epoch>;

    /// Renews the leases of these runs by one statement, and returns the runs whose leases it has renewed. One that has ended,
    /// or whose run has another epoch by now, is not renewed.
    async fn renew(&self, held: &[(RunPk, Epoch)], term: Term) -> Result<BTreeSet<RunPk>>;

    /// Ends the lease of a run at once, if it has this epoch; does nothing else.
    async fn release(&self, run: RunPk, epoch: Epoch) -> Result<()>;

    /// Are limits that bound what is in flight in every process counted here? Where all processes work on one machine, and hold
    /// their runs by locks, each counts for itself. What is started in a span of time every store counts.
    fn shares_slots(&self) -> bool {
        false
    }

    /// Takes parts in limits that several processes share, for instances of a run that are about to start; gives those that
    /// may not. An instance that has its parts keeps them when it asks once more. They are free again with the commit that writes it as
    /// in flight no more, when somebody else takes the run, and while no lease holds it.
    ///
    /// One that [does not share slots](MetadataStore::shares_slots) counts starts alone, and each that is asked for, whoever asks and
    /// how often. Starts outlive whoever made them. One that seems to be in the future (a clock was set back) counts as one of now.
    async fn take_slots(&self, claim: &SlotClaim<'_>) -> Result<Vec<SlotRefusal>>;

    /// The latest starts under a limit of starts in a span of time, by its [name](flow_core::admit::Share::name), the latest first.
    async fn starts(&self, limit: &str, most: u32) -> Result<Vec<DateTime<Utc>>>;

    /// The runs whose leases have not ended, by number. `now` is as [`Term::now`].
    async fn held(&self, now: DateTime<Utc>) -> Result<Vec<HeldRun>>;

    /// Renews leases without the threads that this store was opened on, which others may block; `None` where only the store
    /// itself can.
    fn own_renewer(&self) -> Option<Box<dyn Renewer>> {
        None
    }

    /// Deletes a run with all its instances, tries and values. Its number is never given again.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if the epoch is not the present one, [`StoreError::NoSuchRun`].
    async fn delete_run(&self, run: RunPk, epoch: Epoch) -> Result<()>;

    /// The output that is kept under this key; see [`CacheWrite::key`].
    async fn cached(&self, key: &str) -> Result<Option<CacheRow>>;

    /// Forgets the outputs for later runs (of this DAG, or of all) that were made before an instant, and says how many.
    async fn forget_cached(&self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64>;

    /// SHA-256 of all values that lie outside of the store, and of all files that others name, of any run or kept for later ones.
    async fn spilled(&self) -> Result<BTreeSet<String>>;

    /// Applies all of these changes, of several runs, or none, in their order. When this returns, they survive a crash.
    /// May be called by many tasks at the same time; a store gathers what waits into one transaction, and one
    /// caller's error is not another's.
    ///
    /// Gives the runs whose failures have, by this, paused their DAGs (see [`RunCommit::pause_at`]); one that was paused already is
    /// not paused again. Where an answer was lost on its way, and the store was asked once more, there are none.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if the epoch of one of them is not the present one, [`StoreError::NoSuchRun`]: then
    /// nothing at all was applied.
    async fn commit(&self, commits: &[RunCommit]) -> Result<Vec<RunPk>>;

    /// The run of this DAG with this id.
    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<StoredRun>>;

    /// Of the runs of this DAG that are about an instant before this one, the one about the latest.
    async fn run_before(&self, dag_id: &str, logical_date: DateTime<Utc>) -> Result<Option<StoredRun>>;

    /// Runs, in the order that the filter names.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<StoredRun>>;

    /// All task instances of a run, by task id, then map index; none for an unknown run.
    async fn instances(&self, run: RunPk) -> Result<Vec<InstanceRow>>;

    /// All tries of all instances (or of one task): by task id, map index, then the history by try number, then the
    /// present row, whatever its try number (0 if it never began; that of an archived try if it was cleared).
    async fn tries(&self, run: RunPk, task_id: Option<&str>) -> Result<Vec<InstanceRow>>;

    /// Values of a run, by task id, map index, key.
    async fn xcoms(&self, run: RunPk, filter: XComFilter<'_>) -> Result<Vec<XComRow>>;

    /// Tells, as a hint, that somebody may have made a run that nobody works on, given one back, or paused a DAG. Hints may be lost,
    /// and come for nothing; `None` where there are none. Only who looks for himself knows.
    fn listen(&self) -> Option<watch::Receiver<()>> {
        None
    }

    /// Waits until everything that was handed to this store is written, and lets go of what it holds; whoever asks it
    /// for something later gets an error. (The last one to close a SQLite file folds its write-ahead log into it, so
    /// that the one file is the whole database.)
    async fn close(&self);
}

/// Whoever can renew leases of this store, on its own if possible.
pub fn renewer(store: &Arc<dyn MetadataStore>) -> Box<dyn Renewer> {
    store.own_renewer().unwrap_or_else(|| Box::new(lease::ThroughStore(store.clone())))
}

/// Microseconds since 1970 in UTC: the form in which the stores keep an instant.
fn to_micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// The instant, cut to the microsecond.
fn cut(at: DateTime<Utc>) -> DateTime<Utc> {
    // Every instant chrono can express is in range.
    DateTime::from_timestamp_micros(to_micros(at)).unwrap_or(at)
}

/// The version under which [`MetadataStore::put_dag`] keeps a DAG.
#[cfg(feature = "cli")]
pub(crate) fn version(dag: &Dag) -> Result<String> {
    Ok(fingerprint(dag)?.0)
}

/// A DAG's JSON and its SHA-256 in hexadecimal.
fn fingerprint(dag: &Dag) -> Result<(String, String)> {
    use std::fmt::Write;
    let json = serde_json::to_string(dag)
        .map_err(|e| StoreError::Backend(format!("DAG `{}` cannot be written as JSON: {e}", dag.dag_id)))?;
    let mut hash = String::with_capacity(64);
    for byte in <sha2::Sha256 as sha2::Digest>::digest(json.as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    Ok((hash, json))
}

/// Dates and state of a run after it moved to `status` at `at`; see [`RunCommit::status`].
fn apply_status(run: &mut DagRun, status: RunStatus, at: DateTime<Utc>) {
    if status == RunStatus::Running && (run.state != RunStatus::Running || run.start_date.is_none()) {
        run.start_date = Some(at);
    }
    run.state = status;
    run.end_date = status.is_finished().then_some(at);
}
