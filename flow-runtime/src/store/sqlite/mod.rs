//! A store in one SQLite file.
//!
//! One connection writes, owned by one background task; a few others read. The file is in WAL mode: nobody
//! who reads waits for the writer, and several processes may use the file at the same time.

mod error;
mod floor;
mod open;
mod statements;
mod writer;

use super::sql::encode::{Batch, NewRun};
use super::sql::questions::{self, Question};
use super::sql::writer::Writes;
use super::sql::{Failure, rows};
use super::{
    Durability, Epoch, InstanceRow, MetadataStore, Result, RunCommit, RunFilter, RunPk, StoreError, StoredRun,
    XComFilter, XComRow, fingerprint,
};
pub use floor::bare_commits;
use flow_core::{Dag, DagRun};
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

    /// Every row of the answer as what it means. A row of SQLite's is large, and is let go of at once.
    async fn ask<T: Send>(
        &self,
        question: Question,
        mut read: impl FnMut(&SqliteRow) -> std::result::Result<T, Failure> + Send,
    ) -> Result<Vec<T>> {
        let mut rows = questions::bound!(question).fetch(&self.readers);
        let mut found = Vec::new();
        while let Some(row) = rows.next().await {
            found.push(self.told(row.map_err(Failure::from).and_then(|row| read(&row)))?);
        }
        Ok(found)
    }

    fn told<T>(&self, read: std::result::Result<T, Failure>) -> Result<T> {
        read.map_err(|failure| failure.told(|e| error::explain(&self.path, e)))
    }
}

#[async_trait::async_trait]
impl MetadataStore for SqliteStore {
    async fn put_dag(&self, dag: &Dag) -> Result<String> {
        let (hash, json) = fingerprint(dag)?;
        self.writes.put_dag(hash.clone(), dag.dag_id.clone(), json).await?;
        Ok(hash)
    }

    async fn dag_version(&self, hash: &str) -> Result<Dag> {
        let mut found = self.ask(questions::dag_version(hash), |row| rows::dag(row, hash)).await?;
        found.pop().ok_or_else(|| StoreError::NoSuchDagVersion(hash.to_owned()))
    }

    async fn create_run(&self, run: &DagRun, dag_version: &str, owner: &str) -> Result<(RunPk, Epoch)> {
        let pk = self.writes.create_run(NewRun::of(run, dag_version, owner)?).await?;
        Ok((pk, Epoch(1)))
    }

    async fn acquire_run(&self, run: RunPk, owner: &str) -> Result<Epoch> {
        self.writes.acquire_run(run, owner).await
    }

    async fn commit(&self, commits: &[RunCommit]) -> Result<()> {
        if commits.is_empty() {
            return Ok(());
        }
        // Encoded here, on the caller's thread: the one writer only joins texts.
        self.writes.commit(Batch::of(commits)?).await
    }

    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<StoredRun>> {
        Ok(self.ask(questions::run(dag_id, run_id), rows::stored_run).await?.pop())
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<StoredRun>> {
        self.ask(questions::runs(filter), rows::stored_run).await
    }

    async fn instances(&self, run: RunPk) -> Result<Vec<InstanceRow>> {
        self.ask(questions::instances(run), rows::instances()).await
    }

    async fn tries(&self, run: RunPk, task_id: Option<&str>) -> Result<Vec<InstanceRow>> {
        self.ask(questions::tries(run, task_id), rows::instances()).await
    }

    async fn xcoms(&self, run: RunPk, filter: XComFilter<'_>) -> Result<Vec<XComRow>> {
        self.ask(questions::xcoms(run, filter), rows::xcom).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writes.close().await;
    }
}
