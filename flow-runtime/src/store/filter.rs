//! Which runs are asked for.

use chrono::{DateTime, Utc};
use flow_core::{RunStatus, RunType};

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this DAG alone.
    pub dag_id: Option<String>,
    /// With this run id alone (several DAGs may have one of the same id).
    pub run_id: Option<String>,
    /// In one of these states; empty means any.
    pub states: Vec<RunStatus>,
    /// About this instant alone.
    pub logical_date: Option<DateTime<Utc>>,
    /// Made by one of these; empty means any.
    pub run_types: Vec<RunType>,
    /// In which order.
    pub order: RunOrder,
    /// At most this many, the first in that order; 0 means all.
    pub limit: u32,
}

/// In which order runs are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunOrder {
    /// The one that was made last comes first, whatever it is about: what a person means by the latest.
    #[default]
    Made,
    /// By `run_after`, the latest first, whenever they were made; of the same instant the one that was made last comes first.
    Due,
}
