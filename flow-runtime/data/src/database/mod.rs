//! Loads into Postgres, SQLite and BigQuery, chosen by URL, with the effect of exactly once.
//!
//! A load is one transaction under a lock: whatever crashes, and however often it is tried, its rows are there once.
//! [`load_csv`] and [`load_parquet`] are the short form: every row carries the key of its source in [`SOURCE_COLUMN`],
//! and a load replaces the rows of its source.

mod affinity;
mod bigquery;
mod bq_load;
mod conversion;
mod copy;
mod decode;
mod direct;
mod drift;
mod encode;
mod feed;
mod insert;
mod loading;
mod made;
mod pg_load;
mod pgtype;
mod postgres;
mod sqlite;
mod staging;
mod statement;
mod table;
mod text;
mod unload;
mod unload_bigquery;
mod unload_sqlite;
mod warehouse;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::drift::{Difference, Drift};
pub(crate) use self::feed::blocking;
pub use self::statement::Answer;
pub use self::table::SOURCE_COLUMN;
pub use self::warehouse::{
    Input, LOADS_TABLE, LoadReport, Mode, Select, TableLoadOptions, UnloadOptions, Unloaded, Warehouse,
};
use crate::redact::redact;
use crate::schema::Schema;
use crate::{Error, Progress, Result};

/// How many rows a [`Summary`] shows.
const FIRST_ROWS: u32 = 5;

/// What a load did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The database, its password redacted.
    pub url: String,
    /// The table, as it was given.
    pub table: String,
    /// The key of the source.
    pub source: String,
    /// How many rows of this source are in the table now.
    pub rows: u64,
    /// How many rows of an earlier load of this source were replaced.
    pub replaced: u64,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The name.
    pub name: String,
    /// The type, in the database's words.
    #[serde(rename = "type")]
    pub kind: String,
}

/// What is in a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The database, its password redacted.
    pub url: String,
    /// The table, as it was given.
    pub table: String,
    /// The source that was asked for, or `None` for all.
    pub source: Option<String>,
    /// How many rows.
    pub rows: u64,
    /// The columns in the table's order.
    pub columns: Vec<Shape>,
    /// At most five rows, each value as text, null as `None`. Which rows these are is the database's choice.
    pub first_rows: Vec<Vec<Option<String>>>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Postgres,
    Sqlite,
    BigQuery,
}

fn kind(url: &str) -> Result<Kind> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => Ok(Kind::Postgres),
        Some("sqlite") => Ok(Kind::Sqlite),
        Some("bigquery") => Ok(Kind::BigQuery),
        _ => Err(Error::Invalid(format!(
            "`{}` is no database: use postgres://user@host/name, sqlite://path or bigquery://project/dataset",
            redact(url)
        ))),
    }
}

/// Loads a CSV file, plain or gzipped, into a table. The file's columns are matched and checked as in
/// [`parquetize`](crate::parquetize); the types are the database's equivalents.
///
/// * `database`: as for [`Warehouse::open`]. A missing SQLite file is created.
/// * `table`: `name`, or `schema.name` in Postgres. A missing table is created; one that is there must have all the columns
///   and `_source`; the database converts where its types differ.
/// * `source`: the key of these rows, the URL or month they come from, say. Rows of an earlier load with the same key are
///   replaced in the same transaction; rows of other keys stay. Two loads of one key take turns. Finding the rows to replace
///   reads the whole table, unless an index on `_source` has been made.
/// * `progress` counts bytes of the CSV file on disk, of its size.
///
/// Postgres is fed by COPY, SQLite by statements of many rows. Memory is bounded. Dropping the future leaves the table
/// as it was.
///
/// # Errors
/// As [`parquetize`](crate::parquetize); the table lacks a column; the database refuses or cannot be reached.
///
/// # Panics
/// Without a tokio runtime.
pub async fn load_csv(
    database: &str,
    table: &str,
    csv: impl AsRef<Path>,
    schema: &Schema,
    source: &str,
    progress: &dyn Progress,
) -> Result<Loaded> {
    load(database, table, source, &Input::csv(csv, schema), progress).await
}

/// Loads a Parquet file into a table, as [`load_csv`] does; the columns and types are the file's own.
/// `progress` counts rows.
///
/// # Errors
/// The file cannot be read or has a column that fits no table; otherwise as [`load_csv`].
///
/// # Panics
/// Without a tokio runtime.
pub async fn load_parquet(
    database: &str,
    table: &str,
    parquet: impl AsRef<Path>,
    source: &str,
    progress: &dyn Progress,
) -> Result<Loaded> {
    load(database, table, source, &Input::parquet(parquet), progress).await
}

async fn load(database: &str, table: &str, source: &str, file: &Input, progress: &dyn Progress) -> Result<Loaded> {
    let warehouse = Warehouse::open(database)?;
    table::check_source(source)?;
    let mode = Mode::Partition { column: SOURCE_COLUMN.into(), value: source.into() };
    let options = TableLoadOptions { mode, convert: true, ..TableLoadOptions::default() };
    let loaded = warehouse.load_if(file, table, &options, progress, table::check_no_source).await?;
    let LoadReport { url, table, rows, replaced, .. } = loaded;
    Ok(Loaded { url, table, source: source.to_owned(), rows, replaced })
}

/// [`Warehouse::summarise`] with what the environment says.
///
/// # Errors
/// As [`Warehouse::summarise`].
///
/// # Panics
/// Without a tokio runtime.
pub async fn summarise(database: &str, table: &str, source: Option<&str>) -> Result<Summary> {
    Warehouse::open(database)?.summarise(table, source).await
}

/// [`Warehouse::execute`] with what the environment says.
///
/// # Errors
/// As [`Warehouse::execute`].
///
/// # Panics
/// Without a tokio runtime.
pub async fn execute(database: &str, statement: &str) -> Result<Answer> {
    Warehouse::open(database)?.execute(statement).await
}

/// [`Warehouse::ask`] with what the environment says.
///
/// # Errors
/// As [`Warehouse::ask`].
///
/// # Panics
/// Without a tokio runtime.
pub async fn ask(database: &str, query: &str) -> Result<Answer> {
    Warehouse::open(database)?.ask(query).await
}
