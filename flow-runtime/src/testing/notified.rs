//! What a run of a test would have told.

use crate::run_event::label;
use crate::store::CallbackRow;
use flow_core::{Notifier, Occasion, UNMAPPED};
use serde_json::{Map, Value};
use std::fmt;

/// Something that a run of a test would have told; printed, `failure of load to ops`.
#[derive(Debug, Clone, PartialEq)]
pub struct Notified {
    /// What happened.
    pub occasion: Occasion,
    /// Whom it would have told.
    pub to: Notifier,
    /// The task; `None` for the run itself.
    pub task_id: Option<String>,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// The try; 0 for the run itself.
    pub try_number: u32,
    /// What it would have told, as a webhook gets it.
    pub payload: Map<String, Value>,
}

impl Notified {
    pub(super) fn of(row: CallbackRow) -> Result<Notified, String> {
        let callback = row.callback;
        let unreadable = |e: serde_json::Error| format!("what was to be told cannot be read: {e}");
        Ok(Notified {
            occasion: Occasion::from_name(&callback.event)
                .ok_or(format!("there is no occasion `{}`", callback.event))?,
            to: serde_json::from_str(&callback.notifier).map_err(unreadable)?,
            task_id: Some(callback.task_id.to_string()).filter(|task| !task.is_empty()),
            map_index: callback.map_index,
            try_number: callback.try_number,
            payload: serde_json::from_str(&callback.payload).map_err(unreadable)?,
        })
    }

    /// What happened, in one sentence: what Slack would show.
    pub fn sentence(&self) -> String {
        crate::notify::sentence(&self.payload)
    }
}

impl fmt::Display for Notified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task_id {
            Some(task) if self.map_index != UNMAPPED => {
                write!(f, "{} of {}", self.occasion, label(task, self.map_index))?
            }
            Some(task) => write!(f, "{} of {task}", self.occasion)?,
            None => write!(f, "{} of the run", self.occasion)?,
        }
        write!(f, " to {}", self.to)
    }
}
