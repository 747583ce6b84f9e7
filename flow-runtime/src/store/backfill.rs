//! Backfills: the runs of a stretch of time that somebody has asked for, until the last of them has ended.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What to do about a date that has a run already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reprocess {
    /// Nothing, if it has ended.
    #[default]
    None,
    /// What failed runs again.
    Failed,
    /// All of it runs again, however it ended.
    Completed,
}

impl Reprocess {
    /// `none`, `failed`, `completed`.
    pub const fn name(self) -> &'static str {
        match self {
            Reprocess::None => "none",
            Reprocess::Failed => "failed",
            Reprocess::Completed => "completed",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Reprocess> {
        [Reprocess::None, Reprocess::Failed, Reprocess::Completed].into_iter().find(|one| one.name() == name)
    }
}

/// How far a backfill is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillState {
    /// Its runs are made, by whoever works on it.
    Running,
    /// No more of its runs are made for now; those under way go on.
    Paused,
    /// No more of its runs are made.
    Cancelled,
    /// Every date has its run.
    Done,
}

impl BackfillState {
    /// `running`, `paused`, `cancelled`, `done`.
    pub const fn name(self) -> &'static str {
        match self {
            BackfillState::Running => "running",
            BackfillState::Paused => "paused",
            BackfillState::Cancelled => "cancelled",
            BackfillState::Done => "done",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<BackfillState> {
        use BackfillState::{Cancelled, Done, Paused, Running};
        [Running, Paused, Cancelled, Done].into_iter().find(|one| one.name() == name)
    }

    /// Is it neither done nor cancelled?
    pub const fn is_open(self) -> bool {
        matches!(self, BackfillState::Running | BackfillState::Paused)
    }
}

/// What a backfill asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillSpec {
    /// The DAG.
    pub dag_id: String,
    /// The first instant.
    pub from: DateTime<Utc>,
    /// The last instant, which is in.
    pub to: DateTime<Utc>,
    /// What to do about dates that have a run.
    pub reprocess: Reprocess,
    /// The latest date first.
    pub backwards: bool,
    /// Most of its runs at one time; they are not among those that the DAG itself limits.
    pub max_active_runs: u32,
    /// The params of its runs, without secrets.
    pub conf: Map<String, Value>,
}

/// A backfill as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillRow {
    /// Its number. They rise.
    pub id: i64,
    /// What it asks for.
    pub spec: BackfillSpec,
    /// How far it is.
    pub state: BackfillState,
    /// When it was asked for. A run that has ended since then is not run again for it.
    pub created: DateTime<Utc>,
    /// When it was done, or cancelled.
    pub ended: Option<DateTime<Utc>>,
    /// Who had it last for a while, for people.
    pub owner: Option<String>,
}

/// A change of the state of a backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillChange {
    /// Which one.
    pub id: i64,
    /// The state that it is in, else nothing is changed.
    pub from: BackfillState,
    /// The state that it comes to.
    pub to: BackfillState,
    /// When.
    pub at: DateTime<Utc>,
}
