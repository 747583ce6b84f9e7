//! A store in one SQLite file.
//!
//! One connection writes, owned by one background task ([`writer`]); a few others read. The file is in WAL mode: nobody
//! who reads waits for the writer, and several processes may use the file at the same time.

mod encode;
mod error;
mod floor;
mod open;
mod read;
mod statements;
mod writer;

use super::{
    Durability, Epoch, InstanceRow, MetadataStore, Result, RunCommit, RunFilter, RunPk, StoreError, StoredRun,
    XComFilter, XComRow, fingerprint,
};
use error::Failure;
pub use floor::bare_commits;
use flow_core::{Dag, DagRun};
use sqlx::SqlitePool;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::Job;

/// How long to wait for another process that holds the file before an error is returned.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that read. More would help only where more than this many processors do nothing but list runs.
const READERS: u32 = 4;

/// Writes that may wait for the writer; further callers wait for a place.
const WAITING_WRITES: usize = 256;

/// A [`MetadataStore`] in one SQLite file.
///
/// It lives on the tokio runtime in which it was opened. Dropping it lets the writer finish what was handed to it;
/// [`MetadataStore::close`] waits for that.
#[derive(Debug)]
pub struct SqliteStore {
    path: Arc<PathBuf>,
    jobs: mpsc::Sender<Job>,
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
        let (jobs, queue) = mpsc::channel(WAITING_WRITES);
        let written = opened.writer.written();
        tokio::spawn(opened.writer.serve(queue));
        Ok(SqliteStore { path: opened.path, jobs, readers: opened.readers, written })
    }

    /// The file, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of transactions so far: what a durable run costs is told in these.
    pub fn transactions(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Hands a job to the writer and waits for its answer.
    async fn write<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T>>) -> Job) -> Result<T> {
        let gone = || StoreError::Backend(format!("the metadata database {} was closed", self.path.display()));
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    fn explain(&self, failure: Failure) -> StoreError {
        failure.explain(&self.path)
    }
}

#[async_trait::async_trait]
impl MetadataStore for SqliteStore {
    async fn put_dag(&self, dag: &Dag) -> Result<String> {
        let (hash, json) = fingerprint(dag)?;
        let dag_id = dag.dag_id.clone();
        let kept = hash.clone();
        self.write(|reply| Job::PutDag { hash, dag_id, json, reply }).await?;
        Ok(kept)
    }

    async fn dag_version(&self, hash: &str) -> Result<Dag> {
        read::dag_version(&self.readers, hash).await.map_err(|e| self.explain(e))
    }

    async fn create_run(&self, run: &DagRun, dag_version: &str, owner: &str) -> Result<(RunPk, Epoch)> {
        let new = encode::NewRun::of(run, dag_version, owner)?;
        let pk = self.write(|reply| Job::CreateRun { new: Box::new(new), reply }).await?;
        Ok((pk, Epoch(1)))
    }

    async fn acquire_run(&self, run: RunPk, owner: &str) -> Result<Epoch> {
        let owner = owner.to_owned();
        self.write(|reply| Job::AcquireRun { run, owner, reply }).await
    }

    async fn commit(&self, commits: &[RunCommit]) -> Result<()> {
        if commits.is_empty() {
            return Ok(());
        }
        // Encoded here, on the caller's thread: the one writer only joins texts.
        let batch = encode::Batch::of(commits)?;
        self.write(|reply| Job::Commit { batch, reply }).await
    }

    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<StoredRun>> {
        read::run(&self.readers, dag_id, run_id).await.map_err(|e| self.explain(e))
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<StoredRun>> {
        read::runs(&self.readers, filter).await.map_err(|e| self.explain(e))
    }

    async fn instances(&self, run: RunPk) -> Result<Vec<InstanceRow>> {
        read::instances(&self.readers, run).await.map_err(|e| self.explain(e))
    }

    async fn tries(&self, run: RunPk, task_id: Option<&str>) -> Result<Vec<InstanceRow>> {
        read::tries(&self.readers, run, task_id).await.map_err(|e| self.explain(e))
    }

    async fn xcoms(&self, run: RunPk, filter: XComFilter<'_>) -> Result<Vec<XComRow>> {
        read::xcoms(&self.readers, run, filter).await.map_err(|e| self.explain(e))
    }

    async fn close(&self) {
        self.readers.close().await;
        // An error says that it is closed already.
        drop(self.write(|reply| Job::Close { reply }).await);
    }
}
