//! A store in a Postgres database, for many processes on many machines.
//!
//! One connection writes, owned by one background task; a pool of others reads. A commit is one call of a function in the
//! database, so that it costs one way there and back. No prepared statement outlives its transaction, so that a pooler
//! that hands out connections by the transaction (PgBouncer) may stand between.
//!
//! What passes by itself (a lost connection, a restart, a deadlock, a serialization failure, a statement timeout) is tried
//! again for a while before it becomes an error. A commit carries a name of its own: tried again after its answer was lost, it
//! is not applied twice.

mod error;
mod open;
mod retry;
mod writer;

use super::sql::encode::{Batch, NewRun};
use super::sql::questions::{self, Question};
use super::sql::writer::Writes;
use super::sql::{Failure, rows};
use super::{
    Epoch, InstanceRow, MetadataStore, Result, RunCommit, RunFilter, RunPk, StoreError, StoredRun, XComFilter, XComRow,
    fingerprint,
};
use flow_core::{Dag, DagRun};
use futures::StreamExt as _;
use retry::Patience;
use sqlx::PgPool;
use sqlx::postgres::PgRow;
use std::sync::Arc;
use std::time::Duration;

/// How long what passes by itself is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections that read.
const READERS: u32 = 4;

/// A [`MetadataStore`] in a Postgres database.
///
/// It lives on the tokio runtime in which it was opened. Dropping it lets the writer finish what was handed to it;
/// [`MetadataStore::close`] waits for that.
#[derive(Debug)]
pub struct PostgresStore {
    writes: Writes,
    readers: PgPool,
    patience: Patience,
    /// Where the database is, without a password.
    place: Arc<str>,
}

impl PostgresStore {
    /// Opens the database at this URL (`postgres://user:password@host/database`, with the parameters of libpq), and brings
    /// an older schema up to date. Its tables are made in the first schema of the search path.
    ///
    /// # Errors
    /// [`StoreError::Backend`] with a sentence, which never holds the password: when the URL is none, the server
    /// cannot be reached, it refuses, the database is in another encoding than UTF-8, or was written by a newer flow.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(url: &str) -> Result<PostgresStore> {
        PostgresStore::open_patiently(url, PATIENCE).await
    }

    /// [`PostgresStore::open`] with another patience with what passes by itself.
    ///
    /// # Errors
    /// As those of [`PostgresStore::open`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open_patiently(url: &str, patience: Duration) -> Result<PostgresStore> {
        let opened = open::open(url, Patience(patience)).await?;
        let writes = Writes::to(opened.writer, opened.place.to_string());
        Ok(PostgresStore { writes, readers: opened.readers, patience: Patience(patience), place: opened.place })
    }

    /// Every row of the answer as what it means, read in a transaction of its own.
    async fn ask<T: Send>(
        &self,
        question: Question,
        mut read: impl FnMut(&PgRow) -> std::result::Result<T, Failure> + Send,
    ) -> Result<Vec<T>> {
        let mut attempts = self.patience.attempts();
        loop {
            match self.ask_once(question.clone(), &mut read).await {
                Err(Failure::Sqlx(e)) if attempts.again(&e).await => {}
                answer => return answer.map_err(|failure| failure.told(|e| error::explain(&self.place, e))),
            }
        }
    }

    async fn ask_once<T: Send>(
        &self,
        question: Question,
        read: &mut (impl FnMut(&PgRow) -> std::result::Result<T, Failure> + Send),
    ) -> std::result::Result<Vec<T>, Failure> {
        let mut transaction = self.readers.begin().await?;
        let mut found = Vec::new();
        let mut rows = questions::bound!(question).persistent(false).fetch(&mut *transaction);
        while let Some(row) = rows.next().await {
            found.push(read(&row?)?);
        }
        drop(rows);
        transaction.commit().await?;
        Ok(found)
    }
}

#[async_trait::async_trait]
impl MetadataStore for PostgresStore {
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
