//! Making and taking runs, renewing and ending leases: each one text without parameters, which goes to the server and comes back
//! once and is a transaction by itself. So a process that is stopped half-way leaves no lock behind that others wait for.

use super::error;
use super::retry::in_time;
use super::writer::literal;
use crate::store::slots;
use crate::store::sql::encode::{NewRun, NewSlots, claims};
use crate::store::sql::rows;
use crate::store::{Epoch, Renewer, Result, RunPk, StoreError, Term, to_micros};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The present instant by the database's clock, in microseconds.
pub(super) const NOW: &str = "flow_now()";

pub(super) fn make_run(new: &NewRun) -> Result<String> {
    let run = &new.run;
    let json = serde_json::json!({
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "run_type": run.run_type.name(),
        "state": run.state.name(),
        "logical_date": run.logical_date.map(to_micros),
        "interval_start": run.data_interval.map(|i| to_micros(i.start)),
        "interval_end": run.data_interval.map(|i| to_micros(i.end)),
        "run_after": to_micros(run.run_after),
        "start_date": run.start_date.map(to_micros),
        "end_date": run.end_date.map(to_micros),
        "conf": new.conf,
        "dag_version": new.dag_version,
        "owner": new.owner,
        "lease": new.lease.map(|term| micros(term.length)),
        "max_active": new.max_active,
        "backfill": new.backfill,
        "not_counted": serde_json::from_str::<Vec<String>>(&new.not_counted)
            .map_err(|e| StoreError::Corrupt(format!("the ids of runs that do not count: {e}")))?,
        "seen": serde_json::from_str::<Vec<i64>>(&new.seen)
            .map_err(|e| StoreError::Corrupt(format!("the numbers of events: {e}")))?,
        "chained": new.after.is_some(),
        "after": new.after.flatten().map(|run| run.0),
    });
    Ok(format!("SELECT id, refused FROM flow_make_run({}, {})", literal(&json.to_string()), new.name))
}

pub(super) fn take_run(run: RunPk, owner: &str, term: Term, name: i64) -> String {
    let (run, owner, length) = (run.0, literal(owner), micros(term.length));
    format!("SELECT * FROM flow_take_run({run}, {owner}, {length}, {name})")
}

pub(super) fn renew(held: &[(RunPk, Epoch)], term: Term) -> String {
    format!("SELECT * FROM flow_renew('{}', {})", claims(held), micros(term.length))
}

pub(super) fn release(run: RunPk, epoch: Epoch) -> String {
    format!("SELECT flow_release({}, {})", run.0, epoch.0)
}

pub(super) fn take_slots(slots: &NewSlots) -> String {
    let (asks, asker) = (literal(&slots.asks), literal(&slots.asker));
    let [again, ticket, remembered] = [slots::AGAIN, slots::TICKET, slots::REMEMBERED].map(micros);
    format!("SELECT * FROM flow_take_slots({asks}, {asker}, {again}, {ticket}, {remembered})")
}

/// The length in microseconds; one that a sum of instants could not hold is cut.
pub(super) fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

/// Asks this, once.
pub(super) async fn ask(connection: &mut PgConnection, sql: &str) -> sqlx::Result<Vec<PgRow>> {
    in_time(sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection)).await
}

/// Renews leases by a connection of its own, made where it is first asked.
pub(super) struct OwnRenewer {
    pub(super) options: PgConnectOptions,
    pub(super) place: Arc<str>,
    /// None before the first question, after an error, and while one is asked: a caller that goes away leaves none that is
    /// in doubt.
    pub(super) connection: Option<PgConnection>,
}

impl OwnRenewer {
    async fn ask(&mut self, sql: String) -> Result<Vec<PgRow>> {
        let asked = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => PgConnection::connect_with(&self.options).await?,
            };
            let rows = ask(&mut connection, &sql).await?;
            self.connection = Some(connection);
            Ok(rows)
        };
        asked.await.map_err(|e| error::explain(&self.place, &e))
    }
}

#[async_trait::async_trait]
impl Renewer for OwnRenewer {
    async fn renew(&mut self, held: &[(RunPk, Epoch)], term: Term) -> Result<BTreeSet<RunPk>> {
        if held.is_empty() {
            return Ok(BTreeSet::new());
        }
        let found = self.ask(renew(held, term)).await?;
        rows::numbers(&found).map_err(|failure| failure.told(|e| error::explain(&self.place, e)))
    }

    async fn release(&mut self, run: RunPk, epoch: Epoch) -> Result<()> {
        self.ask(release(run, epoch)).await.map(drop)
    }
}
