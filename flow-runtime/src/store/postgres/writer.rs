//! The connection that writes.

use super::retry::Patience;
use super::{error, leases};
use crate::store::sql::encode::{
    Awaited, Batch, NewAssetEvent, NewBackfill, NewBuild, NewEvent, NewOrder, NewRun, NewSlots, fresh_name,
};
use crate::store::sql::rows;
use crate::store::sql::writer::Backend;
use crate::store::{BackfillChange, CallbackChange, Epoch, Result, RunPk, SlotRefusal, StoreError, Term, to_micros};
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection, PgConnection, Row as _};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub(super) struct Writer {
    place: Arc<str>,
    options: PgConnectOptions,
    /// None after an error that left it in doubt; made anew for the next attempt.
    connection: Option<PgConnection>,
    patience: Patience,
}

impl Writer {
    pub(super) fn new(
        place: Arc<str>,
        options: PgConnectOptions,
        connection: PgConnection,
        patience: Patience,
    ) -> Writer {
        Writer { place, options, connection: Some(connection), patience }
    }

    async fn connected(&mut self) -> sqlx::Result<&mut PgConnection> {
        Ok(match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(PgConnection::connect_with(&self.options).await?),
        })
    }

    /// Asks by one text without parameters, again and again while that may help. It goes to the server and comes back once, and
    /// is a transaction by itself: whoever is stopped half-way leaves no lock behind that others would wait for.
    async fn call(&mut self, sql: &str) -> sqlx::Result<Vec<PgRow>> {
        let mut attempts = self.patience.attempts();
        loop {
            let answer = match self.connected().await {
                Ok(connection) => leases::ask(connection, sql).await,
                Err(e) => Err(e),
            };
            match self.checked(answer) {
                Err(e) if attempts.again(&e).await => {}
                answer => return answer,
            }
        }
    }

    /// Lets go of a connection that has become useless.
    fn checked<T>(&mut self, answer: sqlx::Result<T>) -> sqlx::Result<T> {
        if answer.as_ref().is_err_and(error::loses_connection) {
            self.connection = None;
        }
        answer
    }
}

impl Backend for Writer {
    type Error = sqlx::Error;

    async fn put_dag(&mut self, hash: &str, dag_id: &str, json: &str) -> Result<()> {
        let (hash, dag_id, json) = (literal(hash), literal(dag_id), literal(json));
        let sql = format!(
            "INSERT INTO dag_version (hash, dag_id, json) VALUES ({hash}, {dag_id}, {json}) ON CONFLICT DO NOTHING"
        );
        self.call(&sql).await.map(drop).map_err(|e| self.explain(&e))
    }

    async fn put_build(&mut self, new: &NewBuild) -> Result<()> {
        let (version, build, at) = (literal(&new.dag_version), literal(&new.build), to_micros(new.timestamp));
        let sql = format!(
            "INSERT INTO dag_build (dag_version, build, timestamp) VALUES ({version}, {build}, {at}) ON CONFLICT DO NOTHING"
        );
        self.call(&sql).await.map(drop).map_err(|e| match e.as_database_error() {
            Some(d) if d.is_foreign_key_violation() => StoreError::NoSuchDagVersion(new.dag_version.clone()),
            _ => self.explain(&e),
        })
    }

    /// One whose answer was lost is there twice: what the first has run, the second does not run again.
    async fn put_backfill(&mut self, new: &NewBackfill) -> Result<i64> {
        let spec = &new.spec;
        let sql = format!(
            "INSERT INTO backfill (dag_id, first_date, last_date, reprocess, backwards, max_active_runs, conf, state, created) \
             VALUES ({}, {}, {}, {}, {}, {}, {}, 'running', {}) RETURNING id",
            literal(&spec.dag_id),
            to_micros(spec.from),
            to_micros(spec.to),
            literal(spec.reprocess.name()),
            i64::from(spec.backwards),
            spec.max_active_runs,
            literal(&new.conf),
            to_micros(new.created)
        );
        let rows = self.call(&sql).await.map_err(|e| self.explain(&e))?;
        rows::number(&rows).map_err(|failure| failure.told(|e| self.explain(e)))
    }

    /// One whose answer was lost finds it in the other state, and is told that somebody has changed it: it was itself.
    async fn settle_backfill(&mut self, change: BackfillChange) -> Result<bool> {
        let ended = if change.to.is_open() { "NULL".to_owned() } else { to_micros(change.at).to_string() };
        let (to, from, id) = (literal(change.to.name()), literal(change.from.name()), change.id);
        let sql =
            format!("UPDATE backfill SET state = {to}, ended = {ended} WHERE id = {id} AND state = {from} RETURNING 1");
        self.call(&sql).await.map(|rows| !rows.is_empty()).map_err(|e| self.explain(&e))
    }

    async fn hold_backfill(&mut self, id: i64, owner: &str, term: Term) -> Result<bool> {
        let (owner, length) = (literal(owner), leases::micros(term.length));
        let sql = format!(
            "UPDATE backfill SET owner = {owner}, lease_until = flow_now() + {length} WHERE id = {id} AND state = 'running' \
             AND (lease_until IS NULL OR lease_until <= flow_now() OR owner = {owner}) RETURNING 1"
        );
        self.call(&sql).await.map(|rows| !rows.is_empty()).map_err(|e| self.explain(&e))
    }

    async fn set_paused(&mut self, dag_id: &str, paused: bool) -> Result<()> {
        let sql = format!(
            "INSERT INTO dag (dag_id, is_paused) VALUES ({}, {}) ON CONFLICT (dag_id) DO UPDATE SET is_paused = excluded.is_paused; NOTIFY flow_runs",
            literal(dag_id),
            i64::from(paused)
        );
        self.call(&sql).await.map(drop).map_err(|e| self.explain(&e))
    }

    /// One whose answer was lost finds its own event, and is told that it was there.
    async fn put_event(&mut self, event: &NewEvent) -> Result<bool> {
        let (name, payload, at) = (literal(&event.name), literal(&event.payload), to_micros(event.timestamp));
        let sql = format!(
            "INSERT INTO event (name, payload, timestamp) VALUES ({name}, {payload}, {at}) ON CONFLICT DO NOTHING RETURNING 1"
        );
        self.call(&sql).await.map(|rows| !rows.is_empty()).map_err(|e| self.explain(&e))
    }

    /// One whose answer was lost is noted twice: an event of a person, who may tell of one as often as he likes.
    async fn put_asset_event(&mut self, event: &NewAssetEvent) -> Result<i64> {
        let (asset, extra, at) = (literal(&event.asset), literal(&event.extra), to_micros(event.timestamp));
        let sql =
            format!("INSERT INTO asset_event (asset, extra, timestamp) VALUES ({asset}, {extra}, {at}) RETURNING id");
        let rows = self.call(&sql).await.map_err(|e| self.explain(&e))?;
        rows::number(&rows).map_err(|failure| failure.told(|e| self.explain(e)))
    }

    async fn await_assets(&mut self, awaited: &Awaited) -> Result<()> {
        let sql = format!("SELECT flow_await_assets({}, {})", literal(&awaited.dags), literal(&awaited.pairs));
        self.call(&sql).await.map(drop).map_err(|e| self.explain(&e))
    }

    /// One whose answer was lost finds that somebody has changed it, and is told so: it was itself. Who takes a callback then leaves it
    /// until it is due again.
    async fn settle_callback(&mut self, change: &CallbackChange) -> Result<bool> {
        let error = change.error.as_deref().map_or("NULL".to_owned(), literal);
        let (state, attempts, wait) =
            (literal(change.state.name()), change.attempts, leases::micros(change.due.length));
        let sql = format!(
            "UPDATE callback SET state = {state}, attempts = {attempts}, due = flow_now() + {wait}, error = {error} \
             WHERE id = {} AND attempts = {} AND state = 'pending' RETURNING 1",
            change.id, change.tried
        );
        self.call(&sql).await.map(|rows| !rows.is_empty()).map_err(|e| self.explain(&e))
    }

    /// One whose answer was lost finds nothing any more, and counts none.
    async fn forget_asset_events(&mut self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64> {
        let of_dag = dag_id.map_or(String::new(), |id| format!(" AND dag_id = {}", literal(id)));
        let sql = format!(
            "DELETE FROM asset_event AS a WHERE timestamp < {}{of_dag} \
             AND EXISTS (SELECT 1 FROM asset_event AS later WHERE later.asset = a.asset AND later.id > a.id) \
             AND NOT EXISTS (SELECT 1 FROM asset_pending WHERE event = a.id) \
             AND NOT EXISTS (SELECT 1 FROM dag_run_asset_event WHERE event = a.id) RETURNING 1",
            to_micros(before)
        );
        self.call(&sql).await.map(|rows| rows.len() as u64).map_err(|e| self.explain(&e))
    }

    /// One whose answer was lost finds nothing any more, and counts none.
    async fn forget_cached(&mut self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64> {
        let of_dag = dag_id.map_or(String::new(), |id| format!(" AND dag_id = {}", literal(id)));
        let sql = format!("DELETE FROM task_cache WHERE timestamp < {}{of_dag} RETURNING 1", to_micros(before));
        self.call(&sql).await.map(|rows| rows.len() as u64).map_err(|e| self.explain(&e))
    }

    /// One whose answer was lost is there twice, which says the same.
    async fn put_order(&mut self, order: &NewOrder) -> Result<i64> {
        let (run, event, at) = (order.run.0, literal(&order.event), to_micros(order.timestamp));
        let sql = format!("INSERT INTO run_order (run, event, timestamp) VALUES ({run}, {event}, {at}) RETURNING id");
        match self.call(&sql).await {
            Ok(rows) => rows::number(&rows).map_err(|failure| failure.told(|e| self.explain(e))),
            Err(e) if e.as_database_error().is_some_and(|d| d.is_foreign_key_violation()) => {
                Err(StoreError::NoSuchRun(order.run.0))
            }
            Err(e) => Err(self.explain(&e)),
        }
    }

    async fn create_run(&mut self, new: &NewRun) -> Result<RunPk> {
        match self.call(&leases::make_run(new)?).await {
            Ok(rows) => rows::made(&rows, new).map_err(|failure| failure.told(|e| self.explain(e))),
            Err(e) => Err(match e.as_database_error() {
                Some(d) if d.is_unique_violation() => new.taken(d.constraint() == Some("dag_run_by_logical_date")),
                Some(d) if d.is_foreign_key_violation() => StoreError::NoSuchDagVersion(new.dag_version.clone()),
                _ => self.explain(&e),
            }),
        }
    }

    async fn take_run(&mut self, run: RunPk, owner: &str, term: Term) -> Result<Epoch> {
        let rows = self.call(&leases::take_run(run, owner, term, fresh_name())).await.map_err(|e| self.explain(&e))?;
        rows::taken(&rows, run).map_err(|failure| failure.told(|e| self.explain(e)))
    }

    async fn renew(&mut self, held: &[(RunPk, Epoch)], term: Term) -> Result<BTreeSet<RunPk>> {
        let rows = self.call(&leases::renew(held, term)).await.map_err(|e| self.explain(&e))?;
        rows::numbers(&rows).map_err(|failure| failure.told(|e| self.explain(e)))
    }

    async fn release(&mut self, run: RunPk, epoch: Epoch) -> Result<()> {
        self.call(&leases::release(run, epoch)).await.map(drop).map_err(|e| self.explain(&e))
    }

    async fn take_slots(&mut self, slots: &NewSlots) -> Result<Vec<SlotRefusal>> {
        let rows = self.call(&leases::take_slots(slots)).await.map_err(|e| self.explain(&e))?;
        rows.iter().map(rows::refusal).collect::<std::result::Result<_, _>>().map_err(|f| f.told(|e| self.explain(e)))
    }

    /// An attempt whose answer was lost has raised the epoch as well; that harms nobody.
    async fn acquire_run(&mut self, run: RunPk, owner: &str) -> Result<Epoch> {
        let (owner, id) = (literal(owner), run.0);
        let sql = format!(
            "UPDATE dag_run SET epoch = epoch + 1, owner = {owner}, lease_until = NULL WHERE id = {id} \
             RETURNING epoch, NULL, NULL::BIGINT"
        );
        let rows = self.call(&sql).await.map_err(|e| self.explain(&e))?;
        rows::taken(&rows, run).map_err(|failure| failure.told(|e| self.explain(e)))
    }

    /// One whose answer was lost finds nothing to delete any more, and is told that there is no such run.
    async fn delete_run(&mut self, run: RunPk, epoch: Epoch) -> Result<bool> {
        let sql = format!("DELETE FROM dag_run WHERE id = {} AND epoch = {} RETURNING id", run.0, epoch.0);
        self.call(&sql).await.map(|rows| !rows.is_empty()).map_err(|e| self.explain(&e))
    }

    /// One whose answer was lost is done once, and finds nothing that it has paused.
    async fn commit(&mut self, batch: &Batch) -> sqlx::Result<Vec<RunPk>> {
        let rows = self.call(&format!("SELECT flow_commit({})", literal(&batch.array()))).await?;
        rows.iter().map(|row| Ok(RunPk(row.try_get(0)?))).collect()
    }

    fn is_about_content(error: &sqlx::Error) -> bool {
        error::is_about_content(error)
    }

    fn is_fenced(error: &sqlx::Error) -> bool {
        error::is_fenced(error)
    }

    fn explain(&self, error: &sqlx::Error) -> StoreError {
        error::explain(&self.place, error)
    }

    async fn epochs(&mut self, runs: &[i64]) -> Result<HashMap<i64, i64>> {
        let ids: Vec<String> = runs.iter().map(i64::to_string).collect();
        let sql = format!("SELECT id, epoch FROM dag_run WHERE id = ANY ('{{{}}}'::BIGINT[])", ids.join(","));
        let rows = self.call(&sql).await.map_err(|e| self.explain(&e))?;
        rows::epochs(&rows).map_err(|failure| failure.told(|e| self.explain(e)))
    }

    async fn close(self) {
        if let Some(connection) = self.connection {
            // Everything is committed.
            let _ = connection.close().await;
        }
    }
}

/// The text as a literal, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + text.len() / 8 + 3);
    quoted.push_str("E'");
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_holds_any_text() {
        assert_eq!(literal(r#"it's a \n and "ü""#), r#"E'it''s a \\n and "ü"'"#);
    }
}
