//! Builds of programs, by the versions of DAGs that they have made runs of.

use chrono::{DateTime, Utc};

/// A build that has made runs of a version of a DAG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRow {
    /// Its id, in hexadecimal.
    pub build: String,
    /// When it made the first of them.
    pub first_seen: DateTime<Utc>,
}
