//! The metadata store: the truth about runs, tries and values.
//!
//! [`MetadataStore`] is the seam. [`memory`] keeps everything in this process, `sqlite` in one file, `postgres` in a database of
//! many machines; all pass the suite in [`conformance`], and a further store joins by one line there.
//!
//! Whoever works on a run holds its **epoch**: [`MetadataStore::acquire_run`] raises it, and a commit under any other
//! epoch is refused as a whole ([`StoreError::Fenced`]). So a process that was taken for dead and wakes up can change
//! nothing.
//!
//! Instants are kept to the microsecond; what is finer is cut off (towards the past).

pub mod conformance;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use chrono::{DateTime, Utc};
use flow_core::event::Report;
use flow_core::{Dag, DagRun, RunStatus, RunType, TaskState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a commit survives once it has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process. A power cut may take the latest commits away, but never a part of one.
    #[default]
    Process,
    /// A power cut, too: every commit waits for the disk.
    Power,
}

impl Durability {
    /// The durability of this name: `process`, `power`.
    pub fn from_name(name: &str) -> Option<Durability> {
        match name {
            "process" => Some(Durability::Process),
            "power" => Some(Durability::Power),
            _ => None,
        }
    }
}

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
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this DAG alone.
    pub dag_id: Option<String>,
    /// With this run id alone (several DAGs may have one of the same id).
    pub run_id: Option<String>,
    /// In one of these states; empty means any.
    pub states: Vec<RunStatus>,
    /// Made by one of these; empty means any.
    pub run_types: Vec<RunType>,
    /// At most this many, the newest (by `run_after`, then number) first; 0 means all.
    pub limit: u32,
}

/// Everything that one batch of events changed in one run. Applied whole or not at all.
#[derive(Debug, Clone)]
pub struct RunCommit {
    /// The run.
    pub run: RunPk,
    /// The committer's token.
    pub epoch: Epoch,
    /// The run's new state, if it changed. The first `Running` sets `start_date` if it is unset, a finished state sets
    /// `end_date`, an unfinished one after a finished one takes `end_date` away.
    pub status: Option<(RunStatus, DateTime<Utc>)>,
    /// Rows of task instances, in full, each instance at most once. All archiving comes before all writing.
    pub instances: Vec<InstanceWrite>,
    /// Values of tries that ended.
    pub xcoms: Vec<XComWrite>,
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
}

/// A value to be kept; it replaces one of the same task, map index and key.
#[derive(Debug, Clone, PartialEq)]
pub struct XComWrite {
    /// The task.
    pub task_id: Arc<str>,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// The key; [`RETURN_VALUE`] for what a task returned.
    pub key: Arc<str>,
    /// The value.
    pub value: XComValue,
    /// When it was made, by the writer's clock (a store has none).
    pub timestamp: DateTime<Utc>,
}

/// The key of what a task returned.
pub const RETURN_VALUE: &str = "return_value";

/// A value, or where it lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct XComValue {
    /// Rust type of the value, as the author wrote it.
    pub type_name: Arc<str>,
    /// Its encoded size in bytes; at most `i64::MAX`.
    pub size: u64,
    /// SHA-256 of the encoded value, hexadecimal.
    pub sha256: Arc<str>,
    /// The JSON text, when it is small; else it lies in the XCom folder under its hash.
    pub inline: Option<Arc<str>>,
}

/// A value as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct XComRow {
    /// The task.
    pub task_id: String,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// The key.
    pub key: String,
    /// The value.
    pub value: XComValue,
    /// When it was made.
    pub timestamp: DateTime<Utc>,
}

/// Which values to list; all of a run unless more is said.
#[derive(Debug, Clone, Copy, Default)]
pub struct XComFilter<'a> {
    /// Of this task alone.
    pub task_id: Option<&'a str>,
    /// Of this instance alone; -1 for those of tasks that are not mapped.
    pub map_index: Option<i32>,
}

impl<'a> XComFilter<'a> {
    /// Those of this task.
    pub fn of_task(task_id: &'a str) -> XComFilter<'a> {
        XComFilter { task_id: Some(task_id), map_index: None }
    }
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

    /// Says that a DAG is paused, and makes no runs by itself, or that it is not.
    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<()>;

    /// What was said last of each DAG that somebody has spoken of: is it paused?
    async fn paused(&self) -> Result<BTreeMap<String, bool>>;

    /// Makes a run, owned by `owner`, at epoch 1. Numbers of runs rise and are never given twice.
    ///
    /// # Errors
    /// [`StoreError::RunExists`] if the DAG has a run of this id, [`StoreError::LogicalDateTaken`] if it has one about the
    /// same instant; [`StoreError::NoSuchDagVersion`].
    async fn create_run(&self, run: &DagRun, dag_version: &str, owner: &str) -> Result<(RunPk, Epoch)>;

    /// Takes a run over: raises its epoch by one, so that whoever held it before can change nothing any more.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRun`].
    async fn acquire_run(&self, run: RunPk, owner: &str) -> Result<Epoch>;

    /// Deletes a run with all its instances, tries and values. Its number is never given again.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if the epoch is not the present one, [`StoreError::NoSuchRun`].
    async fn delete_run(&self, run: RunPk, epoch: Epoch) -> Result<()>;

    /// SHA-256 of all values that lie outside of the store, of any run.
    async fn spilled(&self) -> Result<BTreeSet<String>>;

    /// Applies all of these changes, of several runs, or none, in their order. When this returns, they survive a crash.
    /// May be called by many tasks at the same time; a store gathers what waits into one transaction, and one
    /// caller's error is not another's.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if the epoch of one of them is not the present one, [`StoreError::NoSuchRun`]: then
    /// nothing at all was applied.
    async fn commit(&self, commits: &[RunCommit]) -> Result<()>;

    /// The run of this DAG with this id.
    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<StoredRun>>;

    /// Runs, newest first.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<StoredRun>>;

    /// All task instances of a run, by task id, then map index; none for an unknown run.
    async fn instances(&self, run: RunPk) -> Result<Vec<InstanceRow>>;

    /// All tries of all instances (or of one task): by task id, map index, then the history by try number, then the
    /// present row, whatever its try number (0 if it never began; that of an archived try if it was cleared).
    async fn tries(&self, run: RunPk, task_id: Option<&str>) -> Result<Vec<InstanceRow>>;

    /// Values of a run, by task id, map index, key.
    async fn xcoms(&self, run: RunPk, filter: XComFilter<'_>) -> Result<Vec<XComRow>>;

    /// Waits until everything that was handed to this store is written, and lets go of what it holds; whoever asks it
    /// for something later gets an error. (The last one to close a SQLite file folds its write-ahead log into it, so
    /// that the one file is the whole database.)
    async fn close(&self);
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
    run.state = status;
    if status == RunStatus::Running && run.start_date.is_none() {
        run.start_date = Some(at);
    }
    run.end_date = status.is_finished().then_some(at);
}
