//! Reading: one statement a question, on any of the reading connections.

use super::error::Failure;
use crate::store::{Epoch, InstanceRow, RunFilter, RunPk, StoreError, StoredRun, XComFilter, XComRow, XComValue};
use chrono::{DateTime, Utc};
use flow_core::{Dag, DagRun, DataInterval, RunStatus, RunType, TaskState};
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};
use std::sync::Arc;

type Result<T> = std::result::Result<T, Failure>;

const RUN: &str = "SELECT id, dag_id, run_id, run_type, state, logical_date, interval_start, interval_end, run_after, \
                   start_date, end_date, conf, dag_version, owner, epoch FROM dag_run";

const INSTANCE: &str =
    "SELECT task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label";

pub(super) async fn dag_version(pool: &SqlitePool, hash: &str) -> Result<Dag> {
    let row = sqlx::query("SELECT json FROM dag_version WHERE hash = ?").bind(hash).fetch_optional(pool).await?;
    let row = row.ok_or_else(|| StoreError::NoSuchDagVersion(hash.to_owned()))?;
    json(row.try_get(0)?, || format!("DAG version {hash}"))
}

pub(super) async fn run(pool: &SqlitePool, dag_id: &str, run_id: &str) -> Result<Option<StoredRun>> {
    let mut sql = QueryBuilder::<Sqlite>::new(RUN);
    sql.push(" WHERE dag_id = ").push_bind(dag_id).push(" AND run_id = ").push_bind(run_id);
    sql.build().fetch_optional(pool).await?.map(|row| stored_run(&row)).transpose()
}

pub(super) async fn runs(pool: &SqlitePool, filter: &RunFilter) -> Result<Vec<StoredRun>> {
    let mut sql = QueryBuilder::<Sqlite>::new(RUN);
    sql.push(" WHERE true");
    if let Some(dag_id) = &filter.dag_id {
        sql.push(" AND dag_id = ").push_bind(dag_id);
    }
    if let Some(run_id) = &filter.run_id {
        sql.push(" AND run_id = ").push_bind(run_id);
    }
    if !filter.states.is_empty() {
        sql.push(" AND state IN (");
        let mut states = sql.separated(", ");
        for state in &filter.states {
            states.push_bind(state.name());
        }
        sql.push(")");
    }
    sql.push(" ORDER BY run_after DESC, id DESC");
    if filter.limit > 0 {
        sql.push(" LIMIT ").push_bind(i64::from(filter.limit));
    }
    sql.build().fetch_all(pool).await?.iter().map(stored_run).collect()
}

pub(super) async fn instances(pool: &SqlitePool, run: RunPk) -> Result<Vec<InstanceRow>> {
    let mut sql = QueryBuilder::<Sqlite>::new(INSTANCE);
    sql.push(" FROM task_instance WHERE run = ").push_bind(run.0).push(" ORDER BY task_id, map_index");
    instance_rows(&sql.build().fetch_all(pool).await?)
}

pub(super) async fn tries(pool: &SqlitePool, run: RunPk, task_id: Option<&str>) -> Result<Vec<InstanceRow>> {
    let mut sql = QueryBuilder::<Sqlite>::new("");
    for (table, present) in [("task_instance_history", "0"), ("task_instance", "1")] {
        sql.push(if present == "1" { " UNION ALL " } else { "" }).push(INSTANCE);
        sql.push(format_args!(", {present} AS present FROM {table} WHERE run = ")).push_bind(run.0);
        if let Some(task_id) = task_id {
            sql.push(" AND task_id = ").push_bind(task_id);
        }
    }
    sql.push(" ORDER BY task_id, map_index, present, try_number");
    instance_rows(&sql.build().fetch_all(pool).await?)
}

pub(super) async fn xcoms(pool: &SqlitePool, run: RunPk, filter: XComFilter<'_>) -> Result<Vec<XComRow>> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT task_id, map_index, key, type_name, size, sha256, inline, timestamp FROM xcom WHERE run = ",
    );
    sql.push_bind(run.0);
    if let Some(task_id) = filter.task_id {
        sql.push(" AND task_id = ").push_bind(task_id);
    }
    if let Some(map_index) = filter.map_index {
        sql.push(" AND map_index = ").push_bind(map_index);
    }
    sql.push(" ORDER BY task_id, map_index, key");
    sql.build().fetch_all(pool).await?.iter().map(xcom_row).collect()
}

fn stored_run(row: &SqliteRow) -> Result<StoredRun> {
    let (dag_id, run_id): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    let which = || format!("run `{run_id}` of DAG `{dag_id}`");
    let run_type = word(row.try_get(3)?, RunType::from_name, which)?;
    let state = word(row.try_get(4)?, RunStatus::from_name, which)?;
    let conf = json(row.try_get(11)?, which)?;
    let data_interval = match (instant(row, 6)?, instant(row, 7)?) {
        (Some(start), Some(end)) => Some(DataInterval { start, end }),
        _ => None,
    };
    let run_after = instant(row, 8)?.ok_or_else(|| StoreError::Corrupt(format!("{} has no run_after", which())))?;
    Ok(StoredRun {
        pk: RunPk(row.try_get(0)?),
        dag_version: row.try_get(12)?,
        owner: row.try_get(13)?,
        epoch: Epoch(row.try_get(14)?),
        run: DagRun {
            run_type,
            state,
            logical_date: instant(row, 5)?,
            data_interval,
            run_after,
            start_date: instant(row, 9)?,
            end_date: instant(row, 10)?,
            conf,
            dag_id,
            run_id,
        },
    })
}

fn instance_rows(rows: &[SqliteRow]) -> Result<Vec<InstanceRow>> {
    let mut found: Vec<InstanceRow> = Vec::with_capacity(rows.len());
    for row in rows {
        // Sorted by task, so that all instances of a task share one copy of its name.
        let name: &str = row.try_get(0)?;
        let task_id = match found.last() {
            Some(last) if *last.task_id == *name => last.task_id.clone(),
            _ => Arc::from(name),
        };
        let which = || format!("an instance of task `{name}`");
        let (cause, report): (Option<&str>, Option<&str>) = (row.try_get(8)?, row.try_get(9)?);
        found.push(InstanceRow {
            map_index: row.try_get(1)?,
            state: word(row.try_get(2)?, TaskState::from_name, which)?,
            try_number: row.try_get(3)?,
            max_tries: row.try_get(4)?,
            due: instant(row, 5)?,
            start_date: instant(row, 6)?,
            end_date: instant(row, 7)?,
            cause: cause.map(|text| json(text, which)).transpose()?,
            report: report.map(|text| json(text, which)).transpose()?.unwrap_or_default(),
            label: row.try_get::<Option<&str>, _>(10)?.map(Into::into),
            task_id,
        });
    }
    Ok(found)
}

fn xcom_row(row: &SqliteRow) -> Result<XComRow> {
    let task_id: String = row.try_get(0)?;
    let which = || format!("a value of task `{task_id}`");
    let size: i64 = row.try_get(4)?;
    let size = u64::try_from(size).map_err(|_| StoreError::Corrupt(format!("{} has size {size}", which())))?;
    let timestamp = instant(row, 7)?.ok_or_else(|| StoreError::Corrupt(format!("{} has no timestamp", which())))?;
    Ok(XComRow {
        map_index: row.try_get(1)?,
        key: row.try_get(2)?,
        value: XComValue {
            type_name: Arc::from(row.try_get::<&str, _>(3)?),
            size,
            sha256: Arc::from(row.try_get::<&str, _>(5)?),
            inline: row.try_get::<Option<&str>, _>(6)?.map(Arc::from),
        },
        timestamp,
        task_id,
    })
}

fn instant(row: &SqliteRow, column: usize) -> Result<Option<DateTime<Utc>>> {
    let Some(micros) = row.try_get::<Option<i64>, _>(column)? else {
        return Ok(None);
    };
    let at = DateTime::from_timestamp_micros(micros);
    Ok(Some(at.ok_or_else(|| StoreError::Corrupt(format!("{micros} microseconds since 1970 are no date")))?))
}

fn word<T>(name: &str, of: impl Fn(&str) -> Option<T>, which: impl Fn() -> String) -> Result<T> {
    Ok(of(name).ok_or_else(|| StoreError::Corrupt(format!("{}: `{name}` is not a word this flow knows", which())))?)
}

fn json<T: DeserializeOwned>(text: &str, which: impl Fn() -> String) -> Result<T> {
    Ok(serde_json::from_str(text).map_err(|e| StoreError::Corrupt(format!("{}: {e}", which())))?)
}
