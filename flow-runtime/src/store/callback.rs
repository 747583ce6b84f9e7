//! What must be told outside: an outbox. A row is written by the commit of what it tells of, and settled once it was told.

use super::{RunPk, Term};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something that must be told to somebody outside: owed from the commit on that it is part of.
#[derive(Debug, Clone, PartialEq)]
pub struct CallbackWrite {
    /// The task; empty for the run itself.
    pub task_id: Arc<str>,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// The try; 0 for the run itself.
    pub try_number: u32,
    /// What happened: `failure`, `retry`, `success`, ..
    pub event: Arc<str>,
    /// JSON text: who is to be told, and how.
    pub notifier: Arc<str>,
    /// JSON text of an object: what is to be told.
    pub payload: Arc<str>,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
}

/// Something that must be told outside, as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct CallbackRow {
    /// Its number; later ones have larger numbers.
    pub id: i64,
    /// The run.
    pub run: RunPk,
    /// What is to be told, and to whom.
    pub callback: CallbackWrite,
    /// Was it told?
    pub state: CallbackState,
    /// How often that was tried.
    pub attempts: u32,
    /// It is not tried before this instant.
    pub due: DateTime<Utc>,
    /// Why the latest attempt failed.
    pub error: Option<String>,
}

/// What becomes of a pending callback; see [`MetadataStore::settle_callback`](super::MetadataStore::settle_callback).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackChange {
    /// Its number.
    pub id: i64,
    /// How often it was tried before: who takes it raises that, so that of two takers one gets it, and whoever was given up meanwhile
    /// has no say.
    pub tried: u32,
    /// Its state now.
    pub state: CallbackState,
    /// How often it was tried now.
    pub attempts: u32,
    /// It is not tried before this has ended; as long as it has not, whoever has taken it is let alone.
    pub due: Term,
    /// Why the latest attempt failed.
    pub error: Option<String>,
}

/// Was it told?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackState {
    /// Not yet.
    Pending,
    /// Yes.
    Success,
    /// No, and it is not tried any more.
    Failed,
}

impl CallbackState {
    /// `pending`, `success`, `failed`.
    pub const fn name(self) -> &'static str {
        match self {
            CallbackState::Pending => "pending",
            CallbackState::Success => "success",
            CallbackState::Failed => "failed",
        }
    }

    /// The state with this name, if there is one.
    pub fn from_name(name: &str) -> Option<CallbackState> {
        [CallbackState::Pending, CallbackState::Success, CallbackState::Failed].into_iter().find(|s| s.name() == name)
    }
}

/// Which callbacks to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallbackFilter {
    /// Of this run alone.
    pub run: Option<RunPk>,
    /// Those alone that are pending, and due now; this is the present instant as at [`Term::now`].
    pub due_at: Option<DateTime<Utc>>,
    /// With larger numbers than this.
    pub after: i64,
    /// At most this many, the oldest first; 0 means all.
    pub limit: u32,
}
