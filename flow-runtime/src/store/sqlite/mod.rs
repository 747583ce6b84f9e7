//! A store in one SQLite file.
//!
//! One connection writes, owned by one background task; a few others read. The file is in WAL mode: nobody
//! who reads waits for the writer, and several processes may use the file at the same time.

mod care;
mod error;
mod floor;
mod open;
mod statements;
mod writer;

use super::sql::questions::{self, Question};
use super::sql::writer::Writes;
use super::sql::{Database, Failure};
use super::{Durability, Result};
pub use floor::bare_commits;
use futures::StreamExt as _;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteRow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long to wait for another process that holds the file before an error is returned.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that read. More would help only where more than this many processors do nothing but list runs.
const READERS: u32 = 4;

/// A [`MetadataStore`] in one SQLite file.
///
/// It lives on the tokio runtime in which it was opened. Dropping it lets the writer finish what was handed to it;
/// [`MetadataStore::close`] waits for that.
#[derive(Debug)]
pub struct SqliteStore {
    path: Arc<PathBuf>,
    writes: Writes,
    readers: SqlitePool,
    written: Arc<AtomicU64>,
}

impl SqliteStore {
    /// Opens this file; makes it, and its folder, where there is none, and brings an older schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Backend`] with a sentence when the file or folder cannot be opened or written, is held by
    /// another process for more than 30 seconds, is not a database of flow, or was written by a newer flow.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(path: &Path, durability: Durability) -> Result<SqliteStore> {
        SqliteStore::open_patiently(path, durability, BUSY_TIMEOUT).await
    }

    /// [`SqliteStore::open`] with another patience for locks.
    async fn open_patiently(path: &Path, durability: Durability, busy_timeout: Duration) -> Result<SqliteStore> {
        let opened = open::open(path, durability, busy_timeout).await?;
        let written = opened.writer.written();
        let writes = Writes::to(opened.writer, opened.path.display().to_string());
        Ok(SqliteStore { path: opened.path, writes, readers: opened.readers, written })
    }

    /// The file, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of transactions so far: what a durable run costs is told in these.
    pub fn transactions(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

impl Database for SqliteStore {
    type Row = SqliteRow;

    const NOW: Option<&'static str> = None;

    fn writes(&self) -> &Writes {
        &self.writes
    }

    /// A row of SQLite's is large, and is let go of at once.
    async fn ask<T: Send>(
        &self,
        question: Question,
        mut read: impl FnMut(&SqliteRow) -> std::result::Result<T, Failure> + Send,
    ) -> Result<Vec<T>> {
        let told = |failure: Failure| failure.told(|e| error::explain(&self.path, e));
        let mut rows = questions::bound!(question).fetch(&self.readers);
        let mut found = Vec::new();
        while let Some(row) = rows.next().await {
            found.push(row.map_err(Failure::from).and_then(|row| read(&row)).map_err(told)?);
        }
        Ok(found)
    }

    async fn close_readers(&self) {
        self.readers.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MetadataStore, RunFilter, RunOrder};
    use flow_core::{RunStatus, RunType};
    use sqlx::{AssertSqlSafe, Row};

    /// What reads a few of many runs looks at no others: the latest of all or of a DAG, those that are unfinished, the latest tick.
    #[tokio::test]
    async fn many_runs_make_no_question_slow() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("flow.db"), Durability::Process).await.unwrap();
        let of_dag = || RunFilter { dag_id: Some("taxi".into()), limit: 1, ..RunFilter::default() };
        let due = RunFilter { order: RunOrder::Due, ..RunFilter::default() };
        let open = RunFilter { states: vec![RunStatus::Running, RunStatus::Queued], ..due.clone() };
        let tick = RunFilter { run_types: vec![RunType::Scheduled], order: RunOrder::Due, ..of_dag() };
        for (filter, plan) in [
            (RunFilter { limit: 1, ..RunFilter::default() }, "SCAN dag_run"),
            (of_dag(), "SEARCH dag_run USING INDEX dag_run_by_made (dag_id=?)"),
            (open, "SCAN dag_run USING INDEX dag_run_unfinished; USE TEMP B-TREE FOR ORDER BY"),
            (tick, "SEARCH dag_run USING INDEX dag_run_by_type (dag_id=? AND run_type=?)"),
        ] {
            let (sql, binds) = questions::runs(&filter).parts();
            let mut query = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql.0)));
            for bind in binds {
                query = match bind {
                    questions::Bind::Text(text) => query.bind(text),
                    questions::Bind::Integer(number) => query.bind(number),
                };
            }
            let rows = query.fetch_all(&store.readers).await.unwrap();
            let said: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            assert_eq!(said.join("; "), plan, "{filter:?}");
        }
        store.close().await;
    }
}
