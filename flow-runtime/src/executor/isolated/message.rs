//! What parent and child say to each other: one JSON object a line.

use crate::ask::{Answer, Ask};
use crate::asset::AssetEvent;
use crate::connection::Connections;
use crate::context::Unit;
use crate::made::Told;
use crate::store::Cause;
use chrono::{DateTime, Utc};
use flow_core::{DataInterval, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;

/// A try, as the child needs it. It holds secrets: it is never logged or stored.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    /// Key of the function.
    pub(super) body: String,
    /// Its arguments, in order.
    pub(super) inputs: Vec<Box<RawValue>>,
    pub(super) dag_id: String,
    pub(super) run_id: String,
    pub(super) task_id: Arc<str>,
    pub(super) map_index: i32,
    pub(super) try_number: u32,
    pub(super) tries: u32,
    pub(super) logical_date: Option<DateTime<Utc>>,
    pub(super) data_interval: Option<DataInterval>,
    pub(super) params: Arc<Map<String, Value>>,
    pub(super) home: PathBuf,
    pub(super) memory: Option<u64>,
    pub(super) connections: Arc<Connections>,
    pub(super) run_start: DateTime<Utc>,
    pub(super) triggering_events: Arc<[AssetEvent]>,
    pub(super) began: DateTime<Utc>,
    /// Which of its events it files.
    pub(super) log: String,
}

/// What else the parent may say.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// The try should end.
    Cancel,
    /// The answer to the question of this number, or why there is none.
    Answer(u64, Result<Answer, String>),
}

/// What the child says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// It logged something.
    Log { level: String, logger: String, message: String, fields: Map<String, Value> },
    /// It told how far it is.
    Progress(u64, Option<u64>, Option<Unit>),
    /// It asks the engine something; the number comes back with the answer.
    Ask(u64, Ask),
    /// It has ended; the last word.
    End(End),
}

/// How the body ended.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// It returned this, and told that about assets.
    Value { json: Box<RawValue>, told: Told },
    /// What the sensor waits for is not there yet.
    NotYet,
    /// It returned an error or panicked.
    Other { outcome: Outcome, cause: Option<Cause>, event: Option<Arc<str>> },
}
