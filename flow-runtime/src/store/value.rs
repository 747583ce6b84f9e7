//! What tasks give: their values, and the steps that they have finished.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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

/// A step of a task that a try has finished; see [`Context::step`](crate::Context::step).
#[derive(Debug, Clone, PartialEq)]
pub struct StepWrite {
    /// The task.
    pub task_id: Arc<str>,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// The try.
    pub try_number: u32,
    /// The name of the step, of which an instance has one.
    pub name: Arc<str>,
    /// JSON text of what it gave.
    pub value: Arc<str>,
    /// When.
    pub timestamp: DateTime<Utc>,
}
