//! Events of assets, and the DAGs that wait for them.
//!
//! A DAG is known to wait from [`MetadataStore::await_assets`](super::MetadataStore::await_assets) on. Every event that comes
//! later is *pending* for it, in the event's own transaction, until a run is made for it; and that run and the end of the
//! waiting are one transaction as well. So no event is lost, and none counts twice for a DAG.

use super::RunPk;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An asset that a try has made anew.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetEventWrite {
    /// The asset.
    pub asset: Arc<str>,
    /// The task.
    pub task_id: Arc<str>,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// The try.
    pub try_number: u32,
    /// JSON text of an object: what the task tells about what it made.
    pub extra: Arc<str>,
    /// When.
    pub timestamp: DateTime<Utc>,
}

/// An event of an asset, as it stands in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssetEventRow {
    /// Its number; later ones have larger numbers.
    pub id: i64,
    /// The asset.
    pub asset: String,
    /// The try that made it; `None` if a person told of it.
    pub made_by: Option<MadeBy>,
    /// What is known about it.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// When.
    pub timestamp: DateTime<Utc>,
}

/// The try that made an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    /// The DAG.
    pub dag_id: String,
    /// The run.
    pub run_id: String,
    /// The task.
    pub task_id: String,
    /// Its place in a mapped list; -1 for none.
    pub map_index: i32,
    /// The try.
    pub try_number: u32,
}

/// Which events of assets to list.
#[derive(Debug, Clone, Default)]
pub struct AssetEventFilter {
    /// Of this asset alone.
    pub asset: Option<String>,
    /// With larger numbers than this.
    pub after: i64,
    /// Those alone that this run was made for.
    pub run: Option<RunPk>,
    /// The newest first; else the oldest.
    pub newest_first: bool,
    /// At most this many; 0 means all.
    pub limit: u32,
}

/// What a DAG has not had a run of yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingAsset {
    /// The DAG that waits.
    pub dag_id: String,
    /// The asset that has come.
    pub asset: String,
    /// How many events of it.
    pub events: u64,
    /// The number of the latest.
    pub latest: i64,
}
