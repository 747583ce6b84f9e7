//! What an executor tells while a run goes on: the command line shows it, `--json` prints it.

use crate::store::Cause;
use chrono::{DateTime, Utc};
use flow_core::{RunStatus, TaskState};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Something that happened in a run; printed as one JSON line by `--json`, under Airflow's field names.
/// No field ever holds a secret.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run began, or went on.
    RunStarted {
        /// The DAG.
        dag_id: String,
        /// The run.
        dag_run_id: String,
        /// True when an interrupted run goes on.
        resumed: bool,
        /// When.
        timestamp: DateTime<Utc>,
    },
    /// A task instance has a new state (already durable).
    TaskState {
        /// The task.
        task_id: Arc<str>,
        /// Its place in a mapped list; -1 for none.
        map_index: i32,
        /// The new state.
        state: TaskState,
        /// Number of its latest try; 0 before the first.
        try_number: u32,
        /// Number of tries there may be.
        tries: u32,
        /// How long the try took, in seconds, when one ended.
        duration: Option<f64>,
        /// When it is due again.
        due: Option<DateTime<Utc>>,
        /// Why the try ended as it did.
        cause: Option<Cause>,
        /// Why it was never tried, as a sentence without its subject: when it was skipped, or its upstream failed.
        why: Option<String>,
        /// Of a mapped instance, what it is about.
        label: Option<Arc<str>>,
        /// The JSON text of the value it returned, if it is small: at most 1,000 bytes. In JSON the value itself.
        #[serde(serialize_with = "as_json")]
        value: Option<Arc<str>>,
        /// When.
        timestamp: DateTime<Utc>,
    },
    /// A task told how far it is. At most a few in a second per try.
    Progress {
        /// The task.
        task_id: Arc<str>,
        /// Its place in a mapped list; -1 for none.
        map_index: i32,
        /// Units done.
        done: u64,
        /// Units there are.
        total: Option<u64>,
    },
    /// A task logged something at info or above.
    Log {
        /// The task.
        task_id: Arc<str>,
        /// Its place in a mapped list; -1 for none.
        map_index: i32,
        /// Number of the try.
        try_number: u32,
        /// `info`, `warning`, `error`.
        level: &'static str,
        /// By what: the module, or `flow.progress`.
        logger: String,
        /// The text.
        message: String,
        /// Its fields.
        fields: Map<String, Value>,
        /// When.
        timestamp: DateTime<Utc>,
    },
    /// The failure of the run has paused its DAG (already durable).
    DagPaused {
        /// The DAG.
        dag_id: String,
        /// The run.
        dag_run_id: String,
        /// So many scheduled runs in a row had to fail for it.
        failures: u32,
        /// When.
        timestamp: DateTime<Utc>,
    },
    /// The run ended, or was left behind to be resumed.
    RunEnded {
        /// The DAG.
        dag_id: String,
        /// The run.
        dag_run_id: String,
        /// Its state: success or failed; running when it was interrupted and can be resumed.
        state: RunStatus,
        /// How long it took, in seconds.
        duration: f64,
        /// When.
        timestamp: DateTime<Utc>,
    },
}

/// What a person is told of a DAG that was paused since so many of its runs have failed.
pub(crate) fn paused(dag_id: &str, failures: u32) -> String {
    let runs = if failures == 1 { "scheduled run has".into() } else { format!("{failures} scheduled runs have") };
    format!("DAG `{dag_id}` is paused: its last {runs} failed (max_consecutive_failed_dag_runs)")
}

/// A text that is JSON, as what it says.
fn as_json<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    let raw = text.as_deref().and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    raw.serialize(serializer)
}

/// Somebody who is told. Called in order, from one task; must be quick.
pub type Observer = Arc<dyn Fn(&RunEvent) + Send + Sync>;

/// `download`, or `download[3]` for an instance of a mapped task.
pub fn label(task_id: &str, map_index: i32) -> String {
    if map_index < 0 { task_id.to_string() } else { format!("{task_id}[{map_index}]") }
}
