//! Rows as what they mean, whichever database they come from.

use super::Failure;
use crate::store::{Epoch, InstanceRow, RunPk, StoreError, StoredRun, XComRow, XComValue};
use chrono::{DateTime, Utc};
use flow_core::{DagRun, DataInterval, RunStatus, RunType, TaskState};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::Arc;

type Result<T> = std::result::Result<T, Failure>;

/// A row of a database, whose columns are texts and integers.
pub(in crate::store) trait Columns {
    /// The text in this column, if it is not NULL.
    fn text(&self, column: usize) -> sqlx::Result<Option<&str>>;

    /// The integer in this column, if it is not NULL.
    fn integer(&self, column: usize) -> sqlx::Result<Option<i64>>;
}

macro_rules! columns_of {
    ($row:ty) => {
        impl Columns for $row {
            fn text(&self, column: usize) -> sqlx::Result<Option<&str>> {
                sqlx::Row::try_get(self, column)
            }

            fn integer(&self, column: usize) -> sqlx::Result<Option<i64>> {
                sqlx::Row::try_get(self, column)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
columns_of!(sqlx::sqlite::SqliteRow);
#[cfg(feature = "postgres")]
columns_of!(sqlx::postgres::PgRow);

/// What must be there.
fn there<T>(value: Option<T>, column: usize) -> Result<T> {
    Ok(value.ok_or_else(|| StoreError::Corrupt(format!("column {column} of a row is empty")))?)
}

fn text(row: &impl Columns, column: usize) -> Result<&str> {
    there(row.text(column)?, column)
}

/// The integer of this column.
pub(in crate::store) fn integer<T: TryFrom<i64>>(row: &impl Columns, column: usize) -> Result<T> {
    let number = there(row.integer(column)?, column)?;
    Ok(T::try_from(number).map_err(|_| StoreError::Corrupt(format!("column {column} of a row cannot be {number}")))?)
}

fn instant(row: &impl Columns, column: usize) -> Result<Option<DateTime<Utc>>> {
    let Some(micros) = row.integer(column)? else {
        return Ok(None);
    };
    let at = DateTime::from_timestamp_micros(micros);
    Ok(Some(at.ok_or_else(|| StoreError::Corrupt(format!("{micros} microseconds since 1970 are no date")))?))
}

fn word<T>(name: &str, of: impl Fn(&str) -> Option<T>, which: impl Fn() -> String) -> Result<T> {
    Ok(of(name).ok_or_else(|| StoreError::Corrupt(format!("{}: `{name}` is not a word this flow knows", which())))?)
}

/// What this JSON text says.
pub(in crate::store) fn json<T: DeserializeOwned>(text: &str, which: impl Fn() -> String) -> Result<T> {
    Ok(serde_json::from_str(text).map_err(|e| StoreError::Corrupt(format!("{}: {e}", which())))?)
}

/// A row of [`questions::DAG_VERSION`](super::questions::dag_version).
pub(in crate::store) fn dag(row: &impl Columns, hash: &str) -> Result<flow_core::Dag> {
    json(text(row, 0)?, || format!("DAG version {hash}"))
}

/// A row of [`questions::run`](super::questions::run) and [`questions::runs`](super::questions::runs).
pub(in crate::store) fn stored_run(row: &impl Columns) -> Result<StoredRun> {
    let (dag_id, run_id) = (text(row, 1)?.to_owned(), text(row, 2)?.to_owned());
    let which = || format!("run `{run_id}` of DAG `{dag_id}`");
    let run_type = word(text(row, 3)?, RunType::from_name, which)?;
    let state = word(text(row, 4)?, RunStatus::from_name, which)?;
    let conf = json(text(row, 11)?, which)?;
    let data_interval = match (instant(row, 6)?, instant(row, 7)?) {
        (Some(start), Some(end)) => Some(DataInterval { start, end }),
        _ => None,
    };
    let run_after = instant(row, 8)?.ok_or_else(|| StoreError::Corrupt(format!("{} has no run_after", which())))?;
    Ok(StoredRun {
        pk: RunPk(integer(row, 0)?),
        dag_version: text(row, 12)?.to_owned(),
        owner: row.text(13)?.map(str::to_owned),
        epoch: Epoch(integer(row, 14)?),
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

/// What makes instances of the rows of [`questions::instances`](super::questions::instances) and
/// [`questions::tries`](super::questions::tries): they come sorted by task, and all of a task share one copy of its name.
pub(in crate::store) fn instances<R: Columns>() -> impl FnMut(&R) -> Result<InstanceRow> {
    let mut known: Arc<str> = Arc::from("");
    move |row| {
        let name = text(row, 0)?;
        if *known != *name {
            known = Arc::from(name);
        }
        let which = || format!("an instance of task `{name}`");
        Ok(InstanceRow {
            task_id: known.clone(),
            map_index: integer(row, 1)?,
            state: word(text(row, 2)?, TaskState::from_name, which)?,
            try_number: integer(row, 3)?,
            max_tries: integer(row, 4)?,
            due: instant(row, 5)?,
            start_date: instant(row, 6)?,
            end_date: instant(row, 7)?,
            cause: row.text(8)?.map(|text| json(text, which)).transpose()?,
            report: row.text(9)?.map(|text| json(text, which)).transpose()?.unwrap_or_default(),
            label: row.text(10)?.map(Into::into),
        })
    }
}

/// A row of [`questions::xcoms`](super::questions::xcoms).
pub(in crate::store) fn xcom(row: &impl Columns) -> Result<XComRow> {
    let task_id = text(row, 0)?.to_owned();
    let timestamp =
        instant(row, 7)?.ok_or_else(|| StoreError::Corrupt(format!("a value of task `{task_id}` has no timestamp")))?;
    Ok(XComRow {
        map_index: integer(row, 1)?,
        key: text(row, 2)?.to_owned(),
        value: XComValue {
            type_name: text(row, 3)?.into(),
            size: integer(row, 4)?,
            sha256: text(row, 5)?.into(),
            inline: row.text(6)?.map(Arc::from),
        },
        timestamp,
        task_id,
    })
}

/// A row of [`questions::spilled`](super::questions::spilled).
pub(in crate::store) fn hash(row: &impl Columns) -> Result<String> {
    Ok(text(row, 0)?.to_owned())
}

/// A row of [`questions::paused`](super::questions::paused).
pub(in crate::store) fn paused(row: &impl Columns) -> Result<(String, bool)> {
    Ok((text(row, 0)?.to_owned(), integer::<i64>(row, 1)? != 0))
}

/// Rows of a number of a run and its epoch.
pub(in crate::store) fn epochs(rows: &[impl Columns]) -> Result<HashMap<i64, i64>> {
    rows.iter().map(|row| Ok((integer(row, 0)?, integer(row, 1)?))).collect()
}
