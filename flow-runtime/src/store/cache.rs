//! Outputs that later runs may take over: what a task gave, under the hash of all that it was made from.

use super::XComValue;
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// An output to be kept for later runs. It replaces one of the same key, and outlives its run.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheWrite {
    /// SHA-256 of all that it was made from, hexadecimal.
    pub key: Arc<str>,
    /// The task.
    pub task_id: Arc<str>,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// The output.
    pub value: XComValue,
    /// When it was made, by the writer's clock.
    pub timestamp: DateTime<Utc>,
}

/// An output of an earlier run, as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheRow {
    /// The DAG that it is from.
    pub dag_id: String,
    /// The run that it is from; it may have been deleted meanwhile.
    pub run_id: String,
    /// The task that made it.
    pub task_id: String,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// The output.
    pub value: XComValue,
    /// When it was made.
    pub timestamp: DateTime<Utc>,
}
