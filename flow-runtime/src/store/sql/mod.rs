//! What the stores in a database have in common: how changes are written down, how they are gathered, what is asked and what
//! the rows of an answer mean.

pub(super) mod encode;
pub(super) mod questions;
pub(super) mod rows;
pub(super) mod writer;

use super::{
    Epoch, InstanceRow, MetadataStore, Result, RunCommit, RunFilter, RunPk, StoreError, StoredRun, XComFilter, XComRow,
    fingerprint,
};
use encode::{Batch, NewRun};
use flow_core::{Dag, DagRun};
use questions::Question;
use rows::Columns;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use writer::Writes;

/// An error inside a store, before it is told to anybody.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database's.
    Sqlx(sqlx::Error),
    /// The store's own.
    Store(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(e: sqlx::Error) -> Failure {
        Failure::Sqlx(e)
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Failure {
        Failure::Store(e)
    }
}

impl Failure {
    /// As it is told to the caller; `explain` puts the database's into a sentence.
    pub(super) fn told(self, explain: impl FnOnce(&sqlx::Error) -> StoreError) -> StoreError {
        match self {
            Failure::Store(e) => e,
            Failure::Sqlx(e) => explain(&e),
        }
    }
}

/// A store in a database: what is asked is the same for each.
pub(super) trait Database: Send + Sync + 'static {
    /// A row of its answers.
    type Row: Columns;

    /// The one who writes.
    fn writes(&self) -> &Writes;

    /// Every row of the answer as what it means.
    fn ask<T: Send>(
        &self,
        question: Question,
        read: impl FnMut(&Self::Row) -> std::result::Result<T, Failure> + Send,
    ) -> impl Future<Output = Result<Vec<T>>> + Send;

    /// Closes the connections that read.
    fn close_readers(&self) -> impl Future<Output = ()> + Send;
}

#[async_trait::async_trait]
impl<D: Database> MetadataStore for D {
    async fn put_dag(&self, dag: &Dag) -> Result<String> {
        let (hash, json) = fingerprint(dag)?;
        self.writes().put_dag(hash.clone(), dag.dag_id.clone(), json).await?;
        Ok(hash)
    }

    async fn dag_version(&self, hash: &str) -> Result<Dag> {
        let mut found = self.ask(questions::dag_version(hash), |row| rows::dag(row, hash)).await?;
        found.pop().ok_or_else(|| StoreError::NoSuchDagVersion(hash.to_owned()))
    }

    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<()> {
        self.writes().set_paused(dag_id, paused).await
    }

    async fn paused(&self) -> Result<BTreeMap<String, bool>> {
        Ok(self.ask(questions::paused(), rows::paused).await?.into_iter().collect())
    }

    async fn create_run(&self, run: &DagRun, dag_version: &str, owner: &str) -> Result<(RunPk, Epoch)> {
        let pk = self.writes().create_run(NewRun::of(run, dag_version, owner)?).await?;
        Ok((pk, Epoch(1)))
    }

    async fn acquire_run(&self, run: RunPk, owner: &str) -> Result<Epoch> {
        self.writes().acquire_run(run, owner).await
    }

    async fn delete_run(&self, run: RunPk, epoch: Epoch) -> Result<()> {
        self.writes().delete_run(run, epoch).await
    }

    async fn spilled(&self) -> Result<BTreeSet<String>> {
        Ok(self.ask(questions::spilled(), rows::hash).await?.into_iter().collect())
    }

    async fn commit(&self, commits: &[RunCommit]) -> Result<()> {
        if commits.is_empty() {
            return Ok(());
        }
        // Encoded here, on the caller's thread: the one writer only joins texts.
        self.writes().commit(Batch::of(commits)?).await
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
        self.close_readers().await;
        self.writes().close().await;
    }
}
