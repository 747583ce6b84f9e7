//! The record of one run of a DAG.

use crate::state::RunStatus;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// Half-open span of time that a run is about: `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataInterval {
    /// First instant in it.
    pub start: DateTime<Utc>,
    /// First instant after it.
    pub end: DateTime<Utc>,
}

/// Who made a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunType {
    /// A person or a program asked for it.
    Manual,
    /// The timetable was due.
    Scheduled,
    /// A backfill asked for it.
    Backfill,
    /// New data made it due.
    AssetTriggered,
}

impl RunType {
    /// Airflow's name, which also begins the ids of such runs: `manual`, `scheduled`, `backfill`, `asset_triggered`.
    pub const fn name(self) -> &'static str {
        match self {
            RunType::Manual => "manual",
            RunType::Scheduled => "scheduled",
            RunType::Backfill => "backfill",
            RunType::AssetTriggered => "asset_triggered",
        }
    }

    /// The type with this name, if there is one.
    pub fn from_name(name: &str) -> Option<RunType> {
        use RunType::*;
        [Manual, Scheduled, Backfill, AssetTriggered].into_iter().find(|t| t.name() == name)
    }

    /// Do runs of it come by themselves, because the DAG is scheduled?
    pub const fn is_scheduled(self) -> bool {
        matches!(self, RunType::Scheduled | RunType::AssetTriggered)
    }

    /// The id of a run of this type at this instant, as Airflow writes it: `manual__2026-01-31T09:30:20.123456+00:00`.
    pub fn run_id(self, at: DateTime<Utc>) -> String {
        let micros = at.timestamp_subsec_micros();
        let text =
            if micros == 0 { at.format("%Y-%m-%dT%H:%M:%S+00:00") } else { at.format("%Y-%m-%dT%H:%M:%S%.6f+00:00") };
        format!("{}__{text}", self.name())
    }
}

impl fmt::Display for RunType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One run of a DAG, as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DagRun {
    /// The DAG.
    pub dag_id: String,
    /// Its id, unique in the DAG.
    pub run_id: String,
    /// Who made it.
    pub run_type: RunType,
    /// Its state.
    pub state: RunStatus,
    /// The instant it is about; a manual run may have none.
    pub logical_date: Option<DateTime<Utc>>,
    /// The span of time it is about.
    pub data_interval: Option<DataInterval>,
    /// It may start from this instant on: a timetable's runs follow each other by it.
    pub run_after: DateTime<Utc>,
    /// When its first task could start.
    pub start_date: Option<DateTime<Utc>>,
    /// When it ended.
    pub end_date: Option<DateTime<Utc>>,
    /// Its params, complete and checked; a secret one holds [`SECRET_MARK`] here.
    pub conf: Map<String, Value>,
}

/// What stands in the record of a run in place of a secret param.
pub const SECRET_MARK: &str = "***";
