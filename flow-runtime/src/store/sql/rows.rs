//! Rows as what they mean, whichever database they come from.

use super::Failure;
use super::encode::NewRun;
use crate::store::{
    AssetEventRow, BackfillRow, BackfillSpec, BackfillState, BuildRow, CacheRow, CallbackRow, CallbackState,
    CallbackWrite, Epoch, HeldRun, InstanceRow, MadeBy, OrderRow, PendingAsset, Reprocess, RunPk, SlotRefusal,
    StoreError, StoredRun, XComRow, XComValue,
};
use crate::value::files;
use chrono::{DateTime, Utc};
use flow_core::{DagRun, DataInterval, RunStatus, RunType, TaskState};
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

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

/// A row of [`questions::builds`](super::questions::builds).
pub(in crate::store) fn build(row: &impl Columns) -> Result<BuildRow> {
    Ok(BuildRow { build: text(row, 0)?.to_owned(), first_seen: there(instant(row, 1)?, 1)? })
}

/// A row of [`questions::backfills`](super::questions::backfills).
pub(in crate::store) fn backfill(row: &impl Columns) -> Result<BackfillRow> {
    let id = integer(row, 0)?;
    let which = || format!("backfill {id}");
    Ok(BackfillRow {
        id,
        spec: BackfillSpec {
            dag_id: text(row, 1)?.to_owned(),
            from: there(instant(row, 2)?, 2)?,
            to: there(instant(row, 3)?, 3)?,
            reprocess: word(text(row, 4)?, Reprocess::from_name, which)?,
            backwards: integer::<i64>(row, 5)? != 0,
            max_active_runs: integer(row, 6)?,
            conf: json(text(row, 7)?, which)?,
        },
        state: word(text(row, 8)?, BackfillState::from_name, which)?,
        created: there(instant(row, 9)?, 9)?,
        ended: instant(row, 10)?,
        owner: row.text(11)?.map(str::to_owned),
    })
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
        ending: row.text(15)?.map(|text| json(text, which)).transpose()?,
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
            event: row.text(11)?.map(Into::into),
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

/// A row of [`questions::cached`](super::questions::cached).
pub(in crate::store) fn cached(row: &impl Columns) -> Result<CacheRow> {
    let (dag_id, run_id, task_id) = (text(row, 0)?.to_owned(), text(row, 1)?.to_owned(), text(row, 2)?.to_owned());
    let timeless = || StoreError::Corrupt(format!("an output that run `{run_id}` left for later has no timestamp"));
    let timestamp = instant(row, 8)?.ok_or_else(timeless)?;
    Ok(CacheRow {
        map_index: integer(row, 3)?,
        value: XComValue {
            type_name: text(row, 4)?.into(),
            size: integer(row, 5)?,
            sha256: text(row, 6)?.into(),
            inline: row.text(7)?.map(Arc::from),
        },
        timestamp,
        dag_id,
        run_id,
        task_id,
    })
}

/// A row of [`questions::steps`](super::questions::steps) or [`questions::events`](super::questions::events): a name, and
/// its JSON text.
pub(in crate::store) fn named(row: &impl Columns) -> Result<(String, Arc<str>)> {
    Ok((text(row, 0)?.to_owned(), text(row, 1)?.into()))
}

/// A row of [`questions::asset_events`](super::questions::asset_events).
pub(in crate::store) fn asset_event(row: &impl Columns) -> Result<AssetEventRow> {
    let id = integer(row, 0)?;
    let which = || format!("the asset event {id}");
    let made_by = match (row.text(2)?, row.text(3)?, row.text(4)?) {
        (Some(dag_id), Some(run_id), Some(task_id)) => Some(MadeBy {
            dag_id: dag_id.to_owned(),
            run_id: run_id.to_owned(),
            task_id: task_id.to_owned(),
            map_index: integer(row, 5)?,
            try_number: integer(row, 6)?,
        }),
        _ => None,
    };
    Ok(AssetEventRow {
        id,
        asset: text(row, 1)?.to_owned(),
        made_by,
        extra: json(text(row, 7)?, which)?,
        timestamp: instant(row, 8)?.ok_or_else(|| StoreError::Corrupt(format!("{} has no timestamp", which())))?,
    })
}

/// A row of [`questions::pending_assets`](super::questions::pending_assets).
pub(in crate::store) fn pending_asset(row: &impl Columns) -> Result<PendingAsset> {
    Ok(PendingAsset {
        dag_id: text(row, 0)?.to_owned(),
        asset: text(row, 1)?.to_owned(),
        events: integer(row, 2)?,
        latest: integer(row, 3)?,
    })
}

/// A row of [`questions::callbacks`](super::questions::callbacks).
pub(in crate::store) fn callback(row: &impl Columns) -> Result<CallbackRow> {
    let id = integer(row, 0)?;
    let which = || format!("the callback {id}");
    let at = |column| {
        let found = instant(row, column)?;
        Ok::<_, Failure>(found.ok_or_else(|| StoreError::Corrupt(format!("{} lacks an instant", which())))?)
    };
    Ok(CallbackRow {
        id,
        run: RunPk(integer(row, 1)?),
        callback: CallbackWrite {
            task_id: text(row, 2)?.into(),
            map_index: integer(row, 3)?,
            try_number: integer(row, 4)?,
            event: text(row, 5)?.into(),
            notifier: text(row, 6)?.into(),
            payload: text(row, 7)?.into(),
            timestamp: at(8)?,
        },
        state: word(text(row, 9)?, CallbackState::from_name, which)?,
        attempts: integer(row, 10)?,
        due: at(11)?,
        error: row.text(12)?.map(str::to_owned),
    })
}

/// A row of [`questions::orders`](super::questions::orders).
pub(in crate::store) fn order(row: &impl Columns) -> Result<OrderRow> {
    let id = integer(row, 0)?;
    let event = json(text(row, 2)?, || format!("the order {id}"))?;
    Ok(OrderRow { id, run: RunPk(integer(row, 1)?), event })
}

/// A row of [`questions::spilled`](super::questions::spilled).
pub(in crate::store) fn hashes(row: &impl Columns) -> Result<Vec<String>> {
    let named = row.text(1)?.into_iter().flat_map(files).map(str::to_owned);
    Ok(row.text(0)?.map(str::to_owned).into_iter().chain(named).collect())
}

/// A row of [`questions::paused`](super::questions::paused).
pub(in crate::store) fn paused(row: &impl Columns) -> Result<(String, bool)> {
    Ok((text(row, 0)?.to_owned(), integer::<i64>(row, 1)? != 0))
}

/// Rows of a number of a run and its epoch.
pub(in crate::store) fn epochs(rows: &[impl Columns]) -> Result<HashMap<i64, i64>> {
    rows.iter().map(|row| Ok((integer(row, 0)?, integer(row, 1)?))).collect()
}

/// A row of [`questions::held`](super::questions::held).
pub(in crate::store) fn held(row: &impl Columns) -> Result<HeldRun> {
    let until = instant(row, 2)?.ok_or_else(|| StoreError::Corrupt("a lease has no end".to_owned()))?;
    Ok(HeldRun { run: RunPk(integer(row, 0)?), owner: row.text(1)?.unwrap_or_default().to_owned(), until })
}

/// A row of [`questions::held_backfills`](super::questions::held_backfills).
pub(in crate::store) fn held_backfill(row: &impl Columns) -> Result<(i64, String)> {
    Ok((integer(row, 0)?, row.text(1)?.unwrap_or_default().to_owned()))
}

/// What came of making a run: one row of its number, or of the term that does not hold.
pub(in crate::store) fn made(rows: &[impl Columns], new: &NewRun) -> Result<RunPk> {
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    match row.integer(0)? {
        Some(id) => Ok(RunPk(id)),
        None => Err(new.refused(text(row, 1)?).into()),
    }
}

/// What came of taking a run: one row of its epoch, or of who holds it and until when; none if there is no such run.
pub(in crate::store) fn taken(rows: &[impl Columns], run: RunPk) -> Result<Epoch> {
    let row = rows.first().ok_or(StoreError::NoSuchRun(run.0))?;
    match row.integer(0)? {
        Some(epoch) => Ok(Epoch(epoch)),
        None => {
            let until = instant(row, 2)?.ok_or(sqlx::Error::RowNotFound)?;
            let owner = row.text(1)?.unwrap_or("another process").to_owned();
            Err(StoreError::Held { run: run.0, owner, until }.into())
        }
    }
}

/// When something was started.
pub(in crate::store) fn start(row: &impl Columns) -> Result<DateTime<Utc>> {
    there(instant(row, 0)?, 0)
}

/// Who may not start yet.
pub(in crate::store) fn refusal(row: &impl Columns) -> Result<SlotRefusal> {
    let limit = row.text(1)?.ok_or(sqlx::Error::RowNotFound)?.to_owned();
    let again = Duration::from_micros(u64::try_from(integer::<i64>(row, 2)?).unwrap_or_default());
    Ok(SlotRefusal { place: usize::try_from(integer::<i64>(row, 0)?).unwrap_or_default(), limit, again })
}

/// One row of a number.
#[cfg(feature = "postgres")]
pub(in crate::store) fn number(rows: &[impl Columns]) -> Result<i64> {
    integer(rows.first().ok_or(sqlx::Error::RowNotFound)?, 0)
}

/// Rows of numbers of runs.
pub(in crate::store) fn numbers(rows: &[impl Columns]) -> Result<BTreeSet<RunPk>> {
    rows.iter().map(|row| Ok(RunPk(integer(row, 0)?))).collect()
}
