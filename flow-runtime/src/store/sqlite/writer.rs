//! The one who writes: a task that owns the writing connection.
//!
//! Callers hand it jobs and wait for the answer; a caller that goes away half-way changes nothing for the others, because
//! the transaction is not the caller's. Commits that wait at the same time become one transaction (group commit); a
//! commit that comes alone is not made to wait for company.

use super::encode::{Batch, NewRun};
use super::error::{self, Failure};
use super::{open, statements};
use crate::store::{Epoch, Result, RunPk, StoreError, to_micros};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Most callers in one transaction.
const GROUP_CALLERS: usize = 256;

/// A transaction takes no further caller once its texts have this many bytes.
const GROUP_BYTES: usize = 4 << 20;

type Reply<T> = oneshot::Sender<Result<T>>;
type Query = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// What the writer can be asked for.
#[derive(Debug)]
pub(super) enum Job {
    PutDag { hash: String, dag_id: String, json: String, reply: Reply<()> },
    CreateRun { new: Box<NewRun>, reply: Reply<RunPk> },
    AcquireRun { run: RunPk, owner: String, reply: Reply<Epoch> },
    Commit { batch: Batch, reply: Reply<()> },
    Close { reply: Reply<()> },
}

/// Commits that become one transaction.
struct Group {
    members: Vec<(Batch, Reply<()>)>,
    runs: HashSet<RunPk>,
    bytes: usize,
}

impl Group {
    fn new(batch: Batch, reply: Reply<()>) -> Group {
        let mut group = Group { members: Vec::new(), runs: HashSet::new(), bytes: 0 };
        group.push(batch, reply);
        group
    }

    fn push(&mut self, batch: Batch, reply: Reply<()>) {
        self.runs.extend(batch.claims.iter().map(|&(run, _)| run));
        self.bytes += batch.bytes();
        self.members.push((batch, reply));
    }

    /// A run that is in the group already must wait, so that its changes stay in order.
    fn takes(&self, batch: &Batch) -> bool {
        batch.rounds.len() == 1 && batch.claims.iter().all(|(run, _)| !self.runs.contains(run))
    }

    fn has_room(&self) -> bool {
        self.members.len() < GROUP_CALLERS
            && self.bytes < GROUP_BYTES
            && self.members.iter().all(|(batch, _)| batch.rounds.len() == 1)
    }
}

pub(super) struct Writer {
    path: Arc<PathBuf>,
    options: SqliteConnectOptions,
    /// None after an error that left it in doubt; opened again for the next job.
    connection: Option<SqliteConnection>,
    /// Number of transactions so far.
    written: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn new(path: Arc<PathBuf>, options: SqliteConnectOptions, connection: SqliteConnection) -> Writer {
        Writer { path, options, connection: Some(connection), written: Arc::default() }
    }

    pub(super) fn written(&self) -> Arc<AtomicU64> {
        self.written.clone()
    }

    /// Works until nobody can ask for anything any more.
    pub(super) async fn serve(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut put_back = None;
        let closed = loop {
            let job = match put_back.take() {
                Some(job) => job,
                None => match jobs.recv().await {
                    Some(job) => job,
                    None => break None,
                },
            };
            // An answer that nobody waits for any more is dropped.
            match job {
                Job::PutDag { hash, dag_id, json, reply } => drop(reply.send(self.put_dag(hash, dag_id, json).await)),
                Job::CreateRun { new, reply } => drop(reply.send(self.create_run(*new).await)),
                Job::AcquireRun { run, owner, reply } => drop(reply.send(self.acquire_run(run, owner).await)),
                Job::Commit { batch, reply } => {
                    let mut group = Group::new(batch, reply);
                    while group.has_room() {
                        match jobs.try_recv() {
                            Ok(Job::Commit { batch, reply }) if group.takes(&batch) => group.push(batch, reply),
                            Ok(other) => {
                                put_back = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(group).await;
                }
                Job::Close { reply } => break Some(reply),
            }
        };
        if let Some(connection) = self.connection.take() {
            // Everything is committed; what closing could still do, opening does too.
            let _ = sqlx::Connection::close(connection).await;
        }
        if let Some(reply) = closed {
            drop(reply.send(Ok(())));
        }
    }

    async fn put_dag(&mut self, hash: String, dag_id: String, json: String) -> Result<()> {
        let query = sqlx::query(statements::PUT_DAG).bind(hash).bind(dag_id).bind(json);
        self.transact(query).await.map(drop).map_err(|e| error::explain(&self.path, &e))
    }

    async fn create_run(&mut self, new: NewRun) -> Result<RunPk> {
        let run = &new.run;
        let query = sqlx::query(statements::CREATE_RUN)
            .bind(run.dag_id.clone())
            .bind(run.run_id.clone())
            .bind(run.run_type.name())
            .bind(run.state.name())
            .bind(run.logical_date.map(to_micros))
            .bind(run.data_interval.map(|i| to_micros(i.start)))
            .bind(run.data_interval.map(|i| to_micros(i.end)))
            .bind(to_micros(run.run_after))
            .bind(run.start_date.map(to_micros))
            .bind(run.end_date.map(to_micros))
            .bind(new.conf)
            .bind(new.dag_version.clone())
            .bind(new.owner);
        match self.transact(query).await {
            Ok(rows) => self.number(&rows).map(RunPk),
            Err(e) => Err(match (e.as_database_error(), new.run.logical_date) {
                (Some(d), Some(logical_date)) if d.is_unique_violation() && d.message().contains("logical_date") => {
                    StoreError::LogicalDateTaken { dag_id: new.run.dag_id, logical_date }
                }
                (Some(d), _) if d.is_unique_violation() => {
                    StoreError::RunExists { dag_id: new.run.dag_id, run_id: new.run.run_id }
                }
                (Some(d), _) if d.is_foreign_key_violation() => StoreError::NoSuchDagVersion(new.dag_version),
                _ => error::explain(&self.path, &e),
            }),
        }
    }

    async fn acquire_run(&mut self, run: RunPk, owner: String) -> Result<Epoch> {
        let query = sqlx::query(statements::ACQUIRE_RUN).bind(owner).bind(run.0);
        let rows = self.transact(query).await.map_err(|e| error::explain(&self.path, &e))?;
        if rows.is_empty() { Err(StoreError::NoSuchRun(run.0)) } else { self.number(&rows).map(Epoch) }
    }

    /// The number in the one row that came back.
    fn number(&self, rows: &[SqliteRow]) -> Result<i64> {
        let row = rows.first().ok_or(sqlx::Error::RowNotFound);
        row.and_then(|row| row.try_get(0)).map_err(|e| error::explain(&self.path, &e))
    }

    async fn commit(&mut self, group: Group) {
        let mut members = group.members;
        if members.len() > 1 {
            let mut joint = members[0].0.clone();
            members[1..].iter().for_each(|(batch, _)| joint.join(batch));
            match self.transact(commit_query(&joint)).await {
                Ok(_) => {
                    members.into_iter().for_each(|(_, reply)| drop(reply.send(Ok(()))));
                    return;
                }
                // One member spoils it for all: below, each for itself.
                Err(e) if error::is_about_content(&e) => {}
                // The file does not work: each for itself would only wait as long again.
                Err(e) => {
                    let told = error::explain(&self.path, &e);
                    members.into_iter().for_each(|(_, reply)| drop(reply.send(Err(told.clone()))));
                    return;
                }
            }
        }
        for (batch, reply) in members.drain(..) {
            // Nobody listens to an answer whose caller has gone; the commit is done all the same.
            let _ = reply.send(self.commit_one(&batch).await);
        }
    }

    async fn commit_one(&mut self, batch: &Batch) -> Result<()> {
        match self.transact(commit_query(batch)).await {
            Ok(_) => Ok(()),
            Err(e) if error::is_fenced(&e) => Err(match self.culprit(batch).await {
                Ok(fenced) => fenced,
                Err(failure) => failure.explain(&self.path),
            }),
            Err(e) => Err(error::explain(&self.path, &e)),
        }
    }

    /// The first claim of a refused batch that does not hold.
    async fn culprit(&mut self, batch: &Batch) -> std::result::Result<StoreError, Failure> {
        let runs: Vec<i64> = batch.claims.iter().map(|(run, _)| run.0).collect();
        let runs = serde_json::to_string(&runs).map_err(|e| StoreError::Backend(e.to_string()))?;
        let rows = self.transact(sqlx::query(statements::EPOCHS).bind(runs)).await?;
        let mut present = HashMap::with_capacity(rows.len());
        for row in rows {
            present.insert(row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?);
        }
        for &(RunPk(run), Epoch(given)) in &batch.claims {
            match present.get(&run) {
                None => return Ok(StoreError::NoSuchRun(run)),
                Some(&present) if present != given => {
                    return Ok(StoreError::Fenced { run, given, present });
                }
                Some(_) => {}
            }
        }
        // An epoch only rises, so that a claim that failed cannot hold a moment later.
        Ok(StoreError::Corrupt("an epoch of a run went back while a commit was under way".to_owned()))
    }

    /// Sends one text; after an error the connection has no open transaction, or is opened anew.
    async fn transact(&mut self, query: Query) -> sqlx::Result<Vec<SqliteRow>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(open::connect(&self.options).await?),
        };
        self.written.fetch_add(1, Ordering::Relaxed);
        // Not fetch_one: it would stop at the first row, before the COMMIT.
        let result = query.fetch_all(&mut *connection).await;
        if result.is_err() {
            const NO_TRANSACTION_IS_ACTIVE: i32 = 1;
            match sqlx::query("ROLLBACK").execute(connection).await {
                Ok(_) => {}
                Err(e) if error::code(&e) == Some(NO_TRANSACTION_IS_ACTIVE) => {}
                Err(_) => self.connection = None,
            }
        }
        result
    }
}

/// The whole transaction of a batch.
fn commit_query(batch: &Batch) -> Query {
    let mut query = match batch.rounds.len() {
        1 => sqlx::query(statements::COMMIT),
        // Rare, and never the same text twice: not worth a place in the cache. The text holds no values.
        rounds => sqlx::query(AssertSqlSafe(statements::commit_of(rounds))).persistent(false),
    };
    for column in batch.rounds.iter().flat_map(|round| &round.columns) {
        query = query.bind(column.array());
    }
    query
}
