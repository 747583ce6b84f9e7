//! When a DAG runs by itself.

use serde::{Deserialize, Serialize};

/// When a DAG runs by itself, as the author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schedule(String);
