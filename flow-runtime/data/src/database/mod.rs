//! Loads into Postgres and SQLite, chosen by URL, with the effect of exactly once.
//!
//! Every row carries the key of its source in [`SOURCE_COLUMN`]. A load deletes the rows of its source and writes them anew
//! in one transaction, under a lock: whatever crashes, and however often it is tried, each source is there once.

mod copy;
mod feed;
mod insert;
mod postgres;
mod sqlite;
mod table;

use std::path::Path;

use serde::{Deserialize, Serialize};

use self::feed::Batches;
pub use self::table::SOURCE_COLUMN;
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

enum Kind {
    Postgres,
    Sqlite,
}

fn kind(url: &str) -> Result<Kind> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => Ok(Kind::Postgres),
        Some("sqlite") => Ok(Kind::Sqlite),
        _ => Err(Error::Invalid(format!(
            "`{}` is no database: use postgres://user@host/name or sqlite://path",
            redact(url)
        ))),
    }
}

/// Loads a CSV file, plain or gzipped, into a table. The file's columns are matched and checked as in
/// [`parquetize`](crate::parquetize); the types are the database's equivalents.
///
/// * `database`: `postgres://user:password@host/name`, `sqlite://path` or `sqlite:path`. A missing SQLite file is created.
/// * `table`: `name`, or `schema.name` in Postgres. A missing table is created; one that is there must have all the columns
///   and `_source`; Postgres converts where its types differ.
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
    let kind = kind(database)?;
    let batches = Batches::csv(csv.as_ref(), schema).await?;
    load(kind, database, table, source, batches, progress).await
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
    let kind = kind(database)?;
    let batches = Batches::parquet(parquet.as_ref()).await?;
    load(kind, database, table, source, batches, progress).await
}

async fn load(
    kind: Kind,
    database: &str,
    table: &str,
    source: &str,
    batches: Batches,
    progress: &dyn Progress,
) -> Result<Loaded> {
    table::check_source(source)?;
    table::check_columns(batches.columns())?;
    let loaded = match kind {
        Kind::Postgres => postgres::load(database, table, source, batches, progress).await?,
        Kind::Sqlite => sqlite::load(database, table, source, batches, progress).await?,
    };
    tracing::info!(rows = loaded.rows, replaced = loaded.replaced, "loaded into `{table}` of {}", loaded.url);
    Ok(loaded)
}

/// Counts a table's rows, of one source or of all, and shows its columns and first rows.
///
/// # Errors
/// There is no such table, or the database refuses or cannot be reached.
///
/// # Panics
/// Without a tokio runtime.
pub async fn summarise(database: &str, table: &str, source: Option<&str>) -> Result<Summary> {
    match kind(database)? {
        Kind::Postgres => postgres::summarise(database, table, source, FIRST_ROWS).await,
        Kind::Sqlite => sqlite::summarise(database, table, source, FIRST_ROWS).await,
    }
}
