//! The connection that writes.

use super::error;
use super::retry::{Patience, in_time};
use crate::store::sql::encode::{Batch, NewRun};
use crate::store::sql::rows;
use crate::store::sql::writer::Backend;
use crate::store::{Epoch, Result, RunPk, StoreError, to_micros};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::collections::HashMap;
use std::sync::Arc;

const PUT_DAG: &str = "INSERT INTO dag_version (hash, dag_id, json) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

const SET_PAUSED: &str = "INSERT INTO dag (dag_id, is_paused) VALUES ($1, $2) \
                          ON CONFLICT (dag_id) DO UPDATE SET is_paused = excluded.is_paused";

const CREATE_RUN: &str = "
    INSERT INTO dag_run
        (dag_id, run_id, run_type, state, logical_date, interval_start, interval_end, run_after, start_date, end_date,
         conf, dag_version, owner, epoch, latest_commit)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, $14) RETURNING id";

/// The run of an earlier attempt, whose answer was lost.
const CREATED_RUN: &str = "SELECT id FROM dag_run WHERE dag_id = $1 AND run_id = $2 AND latest_commit = $3";

const ACQUIRE_RUN: &str = "UPDATE dag_run SET epoch = epoch + 1, owner = $1 WHERE id = $2 RETURNING epoch";

const DELETE_RUN: &str = "DELETE FROM dag_run WHERE id = $1 AND epoch = $2 RETURNING id";

const EPOCHS: &str = "SELECT id, epoch FROM dag_run WHERE id = ANY ($1)";

pub(super) struct Writer {
    place: Arc<str>,
    options: PgConnectOptions,
    /// None after an error that left it in doubt; made anew for the next attempt.
    connection: Option<PgConnection>,
    patience: Patience,
}

/// Runs the body in a transaction of the writer's connection, again and again while that may help.
macro_rules! transact {
    ($writer:expr, |$transaction:ident| $body:expr) => {{
        let mut attempts = $writer.patience.attempts();
        loop {
            let answer = in_time(async {
                let mut $transaction = $writer.connected().await?.begin().await?;
                let answer = $body;
                $transaction.commit().await?;
                Ok(answer)
            })
            .await;
            match $writer.checked(answer) {
                Err(e) if attempts.again(&e).await => {}
                answer => break answer,
            }
        }
    }};
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
        let done = transact!(self, |transaction| {
            let query = sqlx::query(PUT_DAG).persistent(false).bind(hash).bind(dag_id).bind(json);
            query.execute(&mut *transaction).await?
        });
        done.map(drop).map_err(|e| self.explain(&e))
    }

    async fn set_paused(&mut self, dag_id: &str, paused: bool) -> Result<()> {
        let done = transact!(self, |transaction| {
            let query = sqlx::query(SET_PAUSED).persistent(false).bind(dag_id).bind(i64::from(paused));
            query.execute(&mut *transaction).await?
        });
        done.map(drop).map_err(|e| self.explain(&e))
    }

    async fn create_run(&mut self, new: &NewRun) -> Result<RunPk> {
        let run = &new.run;
        let created = transact!(self, |transaction| {
            let query = sqlx::query(CREATE_RUN)
                .persistent(false)
                .bind(&run.dag_id)
                .bind(&run.run_id)
                .bind(run.run_type.name())
                .bind(run.state.name())
                .bind(run.logical_date.map(to_micros))
                .bind(run.data_interval.map(|i| to_micros(i.start)))
                .bind(run.data_interval.map(|i| to_micros(i.end)))
                .bind(to_micros(run.run_after))
                .bind(run.start_date.map(to_micros))
                .bind(run.end_date.map(to_micros))
                .bind(&new.conf)
                .bind(&new.dag_version)
                .bind(&new.owner)
                .bind(new.name);
            query.fetch_one(&mut *transaction).await?.try_get(0)?
        });
        let e = match created {
            Ok(id) => return Ok(RunPk(id)),
            Err(e) => e,
        };
        match e.as_database_error() {
            Some(d) if d.is_unique_violation() => {
                let by_date = d.constraint() == Some("dag_run_by_logical_date");
                let found = transact!(self, |transaction| {
                    let query = sqlx::query(CREATED_RUN).persistent(false).bind(&run.dag_id).bind(&run.run_id);
                    query.bind(new.name).fetch_optional(&mut *transaction).await?
                });
                match found.and_then(|row| row.map(|row| row.try_get(0)).transpose()) {
                    Ok(Some(id)) => Ok(RunPk(id)),
                    Ok(None) => Err(new.taken(by_date)),
                    Err(e) => Err(self.explain(&e)),
                }
            }
            Some(d) if d.is_foreign_key_violation() => Err(StoreError::NoSuchDagVersion(new.dag_version.clone())),
            _ => Err(self.explain(&e)),
        }
    }

    /// An attempt whose answer was lost has raised the epoch as well; that harms nobody.
    async fn acquire_run(&mut self, run: RunPk, owner: &str) -> Result<Epoch> {
        let row = transact!(self, |transaction| {
            let query = sqlx::query(ACQUIRE_RUN).persistent(false).bind(owner).bind(run.0);
            query.fetch_optional(&mut *transaction).await?
        });
        match row.and_then(|row| row.map(|row| row.try_get(0)).transpose()) {
            Ok(Some(epoch)) => Ok(Epoch(epoch)),
            Ok(None) => Err(StoreError::NoSuchRun(run.0)),
            Err(e) => Err(self.explain(&e)),
        }
    }

    /// One whose answer was lost finds nothing to delete any more, and is told that there is no such run.
    async fn delete_run(&mut self, run: RunPk, epoch: Epoch) -> Result<bool> {
        let row = transact!(self, |transaction| {
            let query = sqlx::query(DELETE_RUN).persistent(false).bind(run.0).bind(epoch.0);
            query.fetch_optional(&mut *transaction).await?
        });
        row.map(|row| row.is_some()).map_err(|e| self.explain(&e))
    }

    /// One text without parameters: it goes to the server and comes back once, and is a transaction by itself.
    async fn commit(&mut self, batch: &Batch) -> sqlx::Result<()> {
        let sql = format!("SELECT flow_commit({})", literal(&batch.array()));
        let mut attempts = self.patience.attempts();
        loop {
            let answer =
                in_time(async { sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(self.connected().await?).await });
            let answer = answer.await;
            match self.checked(answer) {
                Err(e) if attempts.again(&e).await => {}
                answer => return answer.map(drop),
            }
        }
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
        let rows = transact!(self, |transaction| {
            sqlx::query(EPOCHS).persistent(false).bind(runs).fetch_all(&mut *transaction).await?
        });
        let rows = rows.map_err(|e| self.explain(&e))?;
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
fn literal(text: &str) -> String {
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
