//! The connection that writes.

use super::{error, open, statements};
use crate::store::slots::REMEMBERED;
use crate::store::sql::encode::{
    self, Awaited, Batch, NewAssetEvent, NewBackfill, NewBuild, NewEvent, NewOrder, NewRun, NewSlots,
};
use crate::store::sql::rows;
use crate::store::sql::writer::Backend;
use crate::store::{BackfillChange, CallbackChange, Epoch, Result, RunPk, SlotRefusal, StoreError, Term, to_micros};
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Query = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

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

    /// The number in the one row that came back.
    fn number(&self, rows: &[SqliteRow]) -> Result<i64> {
        let row = rows.first().ok_or_else(|| self.explain(&sqlx::Error::RowNotFound))?;
        rows::integer(row, 0).map_err(|failure| failure.told(|e| self.explain(e)))
    }

    /// Sends one text, which is a transaction.
    async fn transact(&mut self, query: Query) -> sqlx::Result<Vec<SqliteRow>> {
        self.written.fetch_add(1, Ordering::Relaxed);
        self.send(query).await
    }

    /// Sends one text; after an error the connection has no open transaction, or is opened anew.
    async fn send(&mut self, query: Query) -> sqlx::Result<Vec<SqliteRow>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(open::connect(&self.options).await?),
        };
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

impl Backend for Writer {
    type Error = sqlx::Error;

    async fn put_dag(&mut self, hash: &str, dag_id: &str, json: &str) -> Result<()> {
        let query =
            sqlx::query(statements::PUT_DAG).bind(hash.to_owned()).bind(dag_id.to_owned()).bind(json.to_owned());
        self.transact(query).await.map(drop).map_err(|e| self.explain(&e))
    }

    async fn put_build(&mut self, new: &NewBuild) -> Result<()> {
        let query = sqlx::query(statements::PUT_BUILD)
            .bind(new.dag_version.clone())
            .bind(new.build.clone())
            .bind(to_micros(new.timestamp));
        self.transact(query).await.map(drop).map_err(|e| match e.as_database_error() {
            Some(d) if d.is_foreign_key_violation() => StoreError::NoSuchDagVersion(new.dag_version.clone()),
            _ => self.explain(&e),
        })
    }

    async fn put_backfill(&mut self, new: &NewBackfill) -> Result<i64> {
        let spec = &new.spec;
        let query = sqlx::query(statements::PUT_BACKFILL)
            .bind(spec.dag_id.clone())
            .bind(to_micros(spec.from))
            .bind(to_micros(spec.to))
            .bind(spec.reprocess.name())
            .bind(i64::from(spec.backwards))
            .bind(i64::from(spec.max_active_runs))
            .bind(new.conf.clone())
            .bind(to_micros(new.created));
        let rows = self.transact(query).await.map_err(|e| self.explain(&e))?;
        self.number(&rows)
    }

    async fn settle_backfill(&mut self, change: BackfillChange) -> Result<bool> {
        let query = sqlx::query(statements::SETTLE_BACKFILL)
            .bind(change.to.name())
            .bind((!change.to.is_open()).then_some(to_micros(change.at)))
            .bind(change.id)
            .bind(change.from.name());
        self.transact(query).await.map(|rows| !rows.is_empty()).map_err(|e| self.explain(&e))
    }

    async fn hold_backfill(&mut self, id: i64, owner: &str, term: Term) -> Result<bool> {
        let query = sqlx::query(statements::HOLD_BACKFILL)
            .bind(owner.to_owned())
            .bind(to_micros(term.until()))
            .bind(id)
            .bind(to_micros(term.now))
            .bind(owner.to_owned());
        self.transact(query).await.map(|rows| !rows.is_empty()).map_err(|e| self.explain(&e))
    }

    async fn set_paused(&mut self, dag_id: &str, paused: bool) -> Result<()> {
        let query = sqlx::query(statements::SET_PAUSED).bind(dag_id.to_owned()).bind(i64::from(paused));
        self.transact(query).await.map(drop).map_err(|e| self.explain(&e))
    }

    async fn put_event(&mut self, event: &NewEvent) -> Result<bool> {
        let query = sqlx::query(statements::PUT_EVENT)
            .bind(event.name.clone())
            .bind(event.payload.clone())
            .bind(to_micros(event.timestamp));
        self.transact(query).await.map(|rows| !rows.is_empty()).map_err(|e| self.explain(&e))
    }

    async fn put_asset_event(&mut self, event: &NewAssetEvent) -> Result<i64> {
        let query = sqlx::query(statements::PUT_ASSET_EVENT)
            .bind(event.asset.clone())
            .bind(event.extra.clone())
            .bind(to_micros(event.timestamp));
        let rows = self.transact(query).await.map_err(|e| self.explain(&e))?;
        self.number(&rows)
    }

    async fn await_assets(&mut self, awaited: &Awaited) -> Result<()> {
        let (dags, pairs) = (&awaited.dags, &awaited.pairs);
        let values = [dags, pairs, dags, pairs, pairs];
        let query =
            values.into_iter().fold(sqlx::query(statements::AWAIT_ASSETS), |query, text| query.bind(text.clone()));
        self.transact(query).await.map(drop).map_err(|e| self.explain(&e))
    }

    async fn settle_callback(&mut self, change: &CallbackChange) -> Result<bool> {
        let query = sqlx::query(statements::SETTLE_CALLBACK)
            .bind(change.state.name())
            .bind(i64::from(change.attempts))
            .bind(to_micros(change.due.until()))
            .bind(change.error.clone())
            .bind(change.id)
            .bind(i64::from(change.tried));
        self.transact(query).await.map(|rows| !rows.is_empty()).map_err(|e| self.explain(&e))
    }

    async fn forget_asset_events(&mut self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64> {
        let dag_id = dag_id.map(str::to_owned);
        let query =
            sqlx::query(statements::FORGET_ASSET_EVENTS).bind(to_micros(before)).bind(dag_id.clone()).bind(dag_id);
        self.transact(query).await.map(|rows| rows.len() as u64).map_err(|e| self.explain(&e))
    }

    async fn forget_cached(&mut self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64> {
        let query = sqlx::query(statements::FORGET_CACHED).bind(to_micros(before)).bind(dag_id.map(str::to_owned));
        self.transact(query).await.map(|rows| rows.len() as u64).map_err(|e| self.explain(&e))
    }

    async fn put_order(&mut self, order: &NewOrder) -> Result<i64> {
        let query = sqlx::query(statements::PUT_ORDER)
            .bind(order.run.0)
            .bind(order.event.clone())
            .bind(to_micros(order.timestamp));
        match self.transact(query).await {
            Ok(rows) => self.number(&rows),
            Err(e) if e.as_database_error().is_some_and(|d| d.is_foreign_key_violation()) => {
                Err(StoreError::NoSuchRun(order.run.0))
            }
            Err(e) => Err(self.explain(&e)),
        }
    }

    async fn create_run(&mut self, new: &NewRun) -> Result<RunPk> {
        let run = &new.run;
        let (any, after) = (new.after.is_none(), new.after.flatten().map(|run| run.0));
        let query = sqlx::query(statements::MAKE_RUN)
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
            .bind(new.conf.clone())
            .bind(new.dag_version.clone())
            .bind(new.owner.clone())
            .bind(new.lease.map(|term| to_micros(term.until())))
            .bind(any)
            .bind(after)
            .bind(run.dag_id.clone())
            .bind(run.dag_id.clone())
            .bind(new.seen.clone())
            .bind(new.seen.clone())
            .bind(new.backfill)
            .bind(new.backfill)
            .bind(new.owner.clone())
            .bind(run.dag_id.clone())
            .bind(new.not_counted.clone())
            .bind(new.max_active.map(i64::from))
            .bind(any)
            .bind(after)
            .bind(run.dag_id.clone())
            .bind(run.dag_id.clone())
            .bind(new.seen.clone())
            .bind(new.seen.clone())
            .bind(new.backfill)
            .bind(new.backfill)
            .bind(new.owner.clone())
            .bind(new.seen.clone())
            .bind(run.run_id.clone())
            .bind(run.dag_id.clone())
            .bind(run.dag_id.clone());
        match self.transact(query).await {
            Ok(rows) => rows::made(&rows, new).map_err(|failure| failure.told(|e| self.explain(e))),
            Err(e) => Err(match e.as_database_error() {
                Some(d) if d.is_unique_violation() => new.taken(d.message().contains("logical_date")),
                Some(d) if d.is_foreign_key_violation() => StoreError::NoSuchDagVersion(new.dag_version.clone()),
                _ => self.explain(&e),
            }),
        }
    }

    async fn acquire_run(&mut self, run: RunPk, owner: &str) -> Result<Epoch> {
        let query = sqlx::query(statements::ACQUIRE_RUN).bind(owner.to_owned()).bind(run.0);
        let rows = self.transact(query).await.map_err(|e| self.explain(&e))?;
        if rows.is_empty() { Err(StoreError::NoSuchRun(run.0)) } else { self.number(&rows).map(Epoch) }
    }

    async fn take_run(&mut self, run: RunPk, owner: &str, term: Term) -> Result<Epoch> {
        let query = sqlx::query(statements::TAKE_RUN)
            .bind(owner.to_owned())
            .bind(to_micros(term.until()))
            .bind(run.0)
            .bind(to_micros(term.now))
            .bind(run.0);
        let rows = self.transact(query).await.map_err(|e| self.explain(&e))?;
        rows::taken(&rows, run).map_err(|failure| failure.told(|e| self.explain(e)))
    }

    async fn renew(&mut self, held: &[(RunPk, Epoch)], term: Term) -> Result<BTreeSet<RunPk>> {
        let query = sqlx::query(statements::RENEW)
            .bind(to_micros(term.until()))
            .bind(encode::claims(held))
            .bind(to_micros(term.now));
        let rows = self.transact(query).await.map_err(|e| self.explain(&e))?;
        rows::numbers(&rows).map_err(|failure| failure.told(|e| self.explain(e)))
    }

    async fn release(&mut self, run: RunPk, epoch: Epoch) -> Result<()> {
        let query = sqlx::query(statements::RELEASE).bind(run.0).bind(epoch.0);
        self.transact(query).await.map(drop).map_err(|e| self.explain(&e))
    }

    /// Two texts: as long as another process writes this one waits, and only then it is known what time it is. Starts that were taken
    /// as those of the time before would be forgotten too early.
    async fn take_slots(&mut self, slots: &NewSlots) -> Result<Vec<SlotRefusal>> {
        self.send(sqlx::query("BEGIN IMMEDIATE")).await.map_err(|e| self.explain(&e))?;
        let now = slots.now();
        let query = sqlx::query(statements::TAKE_SLOTS)
            .bind(now)
            .bind(now)
            .bind(slots.asks.clone())
            .bind(now)
            .bind(now)
            .bind(now)
            .bind(REMEMBERED.as_micros() as i64)
            .bind(slots.asks.clone());
        let rows = self.transact(query).await.map_err(|e| self.explain(&e))?;
        rows.iter().map(rows::refusal).collect::<std::result::Result<_, _>>().map_err(|f| f.told(|e| self.explain(e)))
    }

    async fn delete_run(&mut self, run: RunPk, epoch: Epoch) -> Result<bool> {
        let query = sqlx::query(statements::DELETE_RUN).bind(run.0).bind(epoch.0);
        self.transact(query).await.map(|rows| !rows.is_empty()).map_err(|e| self.explain(&e))
    }

    /// The whole transaction of a batch.
    async fn commit(&mut self, batch: &Batch) -> sqlx::Result<Vec<RunPk>> {
        let mut query = match batch.rounds.len() {
            1 => sqlx::query(statements::COMMIT),
            // Rare, and never the same text twice: not worth a place in the cache. The text holds no values.
            rounds => sqlx::query(AssertSqlSafe(statements::commit_of(rounds))).persistent(false),
        };
        for column in batch.rounds.iter().flat_map(|round| &round.columns) {
            query = query.bind(column.array());
        }
        self.transact(query).await?;
        if !batch.may_pause {
            return Ok(Vec::new());
        }
        let Ok(rows) = self.transact(sqlx::query(statements::HAS_PAUSED)).await else {
            // The commit is done: nobody is told what it has paused, and the table goes with the connection.
            self.connection = None;
            return Ok(Vec::new());
        };
        rows.iter().map(|row| Ok(RunPk(row.try_get(0)?))).collect()
    }

    fn is_about_content(error: &sqlx::Error) -> bool {
        error::is_about_content(error)
    }

    fn is_fenced(error: &sqlx::Error) -> bool {
        error::is_fenced(error)
    }

    fn explain(&self, error: &sqlx::Error) -> StoreError {
        error::explain(&self.path, error)
    }

    async fn epochs(&mut self, runs: &[i64]) -> Result<HashMap<i64, i64>> {
        let runs = serde_json::to_string(runs).map_err(|e| StoreError::Backend(e.to_string()))?;
        let found = self.transact(sqlx::query(statements::EPOCHS).bind(runs)).await.map_err(|e| self.explain(&e))?;
        rows::epochs(&found).map_err(|failure| failure.told(|e| self.explain(e)))
    }

    async fn close(self) {
        if let Some(connection) = self.connection {
            // Everything is committed; what closing could still do, opening does too.
            let _ = sqlx::Connection::close(connection).await;
        }
    }
}
