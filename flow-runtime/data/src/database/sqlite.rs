//! Loads into SQLite.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, query, query_scalar, query_with, raw_sql};

use super::drift::{self, Comparison, Drift, There};
use super::feed::Feed;
use super::insert::{InsertEncoder, insert};
use super::loading::Job;
use super::table::{SOURCE_COLUMN, Table, literal, quote};
use super::warehouse::{LOADS_TABLE, LoadReport, Mode};
use super::{Shape, Summary, affinity, conversion};
use crate::progress::{decided, undecided};
use crate::redact::redact;
use crate::{Error, Field, Result};

/// How long a load waits for another writer of the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);
/// After so many of its steps SQLite looks whether a statement is wanted: a fraction of a millisecond.
const LOOK_EVERY: i32 = 10_000;

pub(super) fn failed(url: &str) -> impl Fn(sqlx::Error) -> Error + '_ {
    move |error| {
        let permanent = match &error {
            // Busy, locked, out of memory, I/O and a full disk may pass.
            sqlx::Error::Database(_) => !matches!(code(&error), 5 | 6 | 7 | 10 | 13),
            sqlx::Error::Configuration(_) => true,
            _ => false,
        };
        let message = match &error {
            sqlx::Error::Database(e) => e.message().to_owned(),
            other => other.to_string(),
        };
        Error::Database { url: redact(url), message: redact(&message), permanent }
    }
}

/// SQLite's primary code is the low byte.
fn code(error: &sqlx::Error) -> u32 {
    let code = error.as_database_error().and_then(|e| e.code());
    code.and_then(|code| code.parse::<u32>().ok()).unwrap_or(0) & 0xff
}

fn is_busy(error: &sqlx::Error) -> bool {
    code(error) == 5
}

pub(super) async fn connect(url: &str) -> Result<SqliteConnection> {
    let options =
        SqliteConnectOptions::from_str(url).map_err(failed(url))?.create_if_missing(true).busy_timeout(BUSY_TIMEOUT);
    if let Some(folder) = options.get_filename().parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    options.connect().await.map_err(failed(url))
}

/// Ends what the connection's thread is at when this is dropped. Otherwise it would come to the end of its statement, however
/// long that takes, with nobody waiting.
pub(super) async fn while_wanted(conn: &mut SqliteConnection) -> sqlx::Result<Arc<()>> {
    let wanted = Arc::new(());
    let still = Arc::downgrade(&wanted);
    conn.lock_handle().await?.set_progress_handler(LOOK_EVERY, move || still.strong_count() > 0);
    Ok(wanted)
}

/// A connection to a file that is there.
pub(super) async fn connect_to_read(url: &str) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::from_str(url).map_err(failed(url))?.busy_timeout(BUSY_TIMEOUT);
    options.connect().await.map_err(failed(url))
}

async fn columns_of(conn: &mut SqliteConnection, table: &Table) -> sqlx::Result<Vec<Shape>> {
    let rows = query("SELECT name, type FROM pragma_table_info(?)").bind(&table.name).fetch_all(conn).await?;
    rows.iter().map(|row| Ok(Shape { name: row.try_get(0)?, kind: row.try_get(1)? })).collect()
}

async fn there(conn: &mut SqliteConnection, table: &Table) -> sqlx::Result<Vec<There>> {
    let sql = "SELECT name, type, \"notnull\", dflt_value IS NOT NULL OR (pk = 1 AND upper(type) = 'INTEGER') \
               FROM pragma_table_info(?)";
    let rows = query(sql).bind(&table.name).fetch_all(conn).await?;
    let column = |row: &sqlx::sqlite::SqliteRow| {
        let (name, kind) = (row.try_get(0)?, row.try_get(1)?);
        Ok(There { name, kind, not_null: row.try_get(2)?, filled: row.try_get(3)? })
    };
    rows.iter().map(column).collect()
}

/// Two names are one whatever the case of their letters; a column takes what it keeps as it is.
const HOW: Comparison = Comparison {
    same: |a, b| a.eq_ignore_ascii_case(b),
    takes: |there, field| affinity::takes(there, &field.kind),
    convert: false,
    conversion: conversion::sqlite,
};

pub(super) async fn compare(url: &str, table: &str, fields: &[Field]) -> Result<Option<Drift>> {
    let name = Table::parse(table, false)?;
    let mut conn = connect_to_read(url).await?;
    let there = there(&mut conn, &name).await.map_err(failed(url))?;
    conn.close().await.map_err(failed(url))?;
    Ok((!there.is_empty()).then(|| drift::compare(table, fields, &there, &HOW)))
}

async fn run(conn: &mut SqliteConnection, sql: String) -> sqlx::Result<u64> {
    Ok(raw_sql(AssertSqlSafe(sql)).execute(conn).await?.rows_affected())
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quote).collect::<Vec<_>>().join(", ")
}

/// What became of the rows.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    rows: u64,
    replaced: u64,
    updated: u64,
}

/// Rows that must be looked at wait here. It goes with the connection, whatever becomes of that.
const STAGING: &str = "temp._flow_data_staging";

pub(super) async fn load(mut job: Job<'_>) -> Result<LoadReport> {
    if job.batches.is_raw {
        return Err(Error::Invalid("SQLite reads no CSV text by itself; load the file parsed".into()));
    }
    let failed = failed(job.url);
    let name = Table::parse(job.table, false)?;
    let mut conn = connect(job.url).await?;
    let wanted = while_wanted(&mut conn).await.map_err(&failed)?;
    // Takes the write lock at once, so two loads take turns; all of this is one transaction.
    when_free(&mut conn, "BEGIN IMMEDIATE").await.map_err(&failed)?;
    let tx = &mut conn;
    if let Some(key) = &job.options.key
        && let Some(counts) = recorded(tx, &name, key).await.map_err(&failed)?
    {
        run(tx, "ROLLBACK".into()).await.map_err(&failed)?;
        conn.close().await.map_err(&failed)?;
        return Ok(job.report(counts.rows, counts.replaced, counts.updated, true));
    }
    let mut columns = there(tx, &name).await.map_err(&failed)?;
    let created = columns.is_empty();
    if created {
        let key = match &job.options.mode {
            Mode::Upsert(key) => format!(", PRIMARY KEY ({})", list(key.iter().map(String::as_str))),
            _ => String::new(),
        };
        let sql = format!("CREATE TABLE {} ({}{key})", name.sql(), definition(&job.fields));
        run(tx, sql).await.map_err(&failed)?;
        columns = there(tx, &name).await.map_err(&failed)?;
    }
    let how = Comparison { convert: job.options.convert, ..HOW };
    job.check_drift(&drift::compare(job.table, &job.fields, &columns, &how))?;
    let looked_at = matches!(job.options.mode, Mode::Upsert(_))
        || (matches!(job.options.mode, Mode::Partition { .. }) && job.fill.is_none());
    let counts = if looked_at { staged(tx, &mut job, &name).await? } else { direct(tx, &mut job, &name).await? };
    if let Some(key) = &job.options.key {
        record(tx, &name, key, counts).await.map_err(&failed)?;
    }
    when_free(tx, COMMIT).await.map_err(&failed)?;
    conn.close().await.map_err(&failed)?;
    drop(wanted);
    Ok(job.report(counts.rows, counts.replaced, counts.updated, false))
}

const COMMIT: &str = "COMMIT";

/// Runs what waits for others to end: for writers before, or for readers at the end of, a transaction. The connection's thread cannot
/// be told anything while it waits; so that is done here, and the thread waits for moments.
async fn when_free(conn: &mut SqliteConnection, statement: &str) -> sqlx::Result<()> {
    run(conn, "PRAGMA busy_timeout = 20".into()).await?;
    let since = Instant::now();
    loop {
        if statement == COMMIT {
            decided();
        }
        match run(conn, statement.into()).await {
            Err(error) if is_busy(&error) && since.elapsed() < BUSY_TIMEOUT => {
                // A transaction that could not be committed for now is as it was.
                undecided();
                tokio::task::yield_now().await;
            }
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    run(conn, format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis())).await.map(drop)
}

/// The definition of a table for these columns.
fn definition(fields: &[Field]) -> String {
    let column = |f: &Field| {
        let not_null = if f.nullable { "" } else { " NOT NULL" };
        format!("{} {}{not_null}", quote(&f.name), f.kind.sqlite())
    };
    fields.iter().map(column).collect::<Vec<_>>().join(", ")
}

async fn delete(tx: &mut SqliteConnection, job: &Job<'_>, name: &Table) -> sqlx::Result<u64> {
    match &job.options.mode {
        Mode::Replace => run(tx, format!("DELETE FROM {}", name.sql())).await,
        Mode::Partition { column, value } => {
            run(tx, format!("DELETE FROM {} WHERE {} = {}", name.sql(), quote(column), literal(value))).await
        }
        Mode::Append | Mode::Upsert(_) => Ok(0),
    }
}

async fn direct(tx: &mut SqliteConnection, job: &mut Job<'_>, name: &Table) -> Result<Counts> {
    let replaced = delete(tx, job, name).await.map_err(failed(job.url))?;
    let rows = insert_all(tx, job, &name.sql()).await?;
    Ok(Counts { rows, replaced, updated: 0 })
}

/// Inserts the file's rows, a statement for many of them.
async fn insert_all(tx: &mut SqliteConnection, job: &mut Job<'_>, into: &str) -> Result<u64> {
    let failed = failed(job.url);
    let fields = job.batches.fields.clone();
    let fill = job.fill.map(|value| (job.fields[fields.len()].name.as_str(), value));
    let encoder = InsertEncoder::new(fields.len(), job.options.memory);
    let most_rows = encoder.most_rows;
    let full: Arc<str> = insert(into, &fields, fill, most_rows).into();
    let total = job.batches.total;
    let mut feed = Feed::start(job.batches.take(), encoder);
    let mut rows = 0;
    while let Some((piece, position)) = feed.next().await? {
        let is_full = piece.rows == most_rows;
        let sql = if is_full { full.clone() } else { insert(into, &fields, fill, piece.rows).into() };
        // Of the others there may be many, none of which comes again.
        let statement = query_with(AssertSqlSafe(sql), piece.values).persistent(is_full);
        rows += statement.execute(&mut *tx).await.map_err(&failed)?.rows_affected();
        job.progress.report(position, Some(total));
    }
    job.check_rows(feed.rows(), rows)?;
    Ok(rows)
}

/// Gathers the rows in a table of this connection, looks at them, and brings them into the table.
async fn staged(tx: &mut SqliteConnection, job: &mut Job<'_>, name: &Table) -> Result<Counts> {
    let failed = failed(job.url);
    let table = name.sql();
    let columns = list(job.fields.iter().map(|f| f.name.as_str()));
    // In the types of the table, so that equal values compare as equal.
    let create = format!("CREATE TABLE {STAGING} AS SELECT {columns} FROM {table} WHERE false");
    run(tx, create).await.map_err(&failed)?;
    let rows = insert_all(tx, job, STAGING).await?;
    let insert = format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {STAGING} AS s");
    let mut counts = Counts { rows, ..Counts::default() };
    let arrived = match &job.options.mode {
        Mode::Partition { column, value } => {
            let other = format!("WHERE {} IS NOT {}", quote(column), literal(value));
            job.check_others(count(tx, &other).await.map_err(&failed)?, column, value)?;
            counts.replaced = delete(tx, job, name).await.map_err(&failed)?;
            run(tx, insert).await.map_err(&failed)?
        }
        Mode::Upsert(key) => {
            let keys = list(key.iter().map(String::as_str));
            let no_key: Vec<_> = key.iter().map(|k| format!("{} IS NULL", quote(k))).collect();
            let nulls = count(tx, &format!("WHERE {}", no_key.join(" OR "))).await.map_err(&failed)?;
            job.check_null_keys(nulls, key)?;
            job.check_twice(twice(tx, STAGING, key).await.map_err(&failed)?, key)?;
            run(tx, format!("CREATE UNIQUE INDEX temp._flow_data_key ON _flow_data_staging ({keys})"))
                .await
                .map_err(&failed)?;
            let same: Vec<_> = key.iter().map(|k| format!("t.{k} = s.{k}", k = quote(k))).collect();
            let same = same.join(" AND ");
            let others = job.fields.iter().filter(|f| !key.contains(&f.name)).map(|f| quote(&f.name));
            let mut set: Vec<_> = others.map(|n| format!("{n} = s.{n}")).collect();
            if set.is_empty() {
                // A table that is all key has nothing to set; its rows count as updated all the same.
                set.push(format!("{k} = s.{k}", k = quote(&key[0])));
            }
            let update = format!("UPDATE {table} AS t SET {} FROM {STAGING} AS s WHERE {same}", set.join(", "));
            counts.updated = run(tx, update).await.map_err(&failed)?;
            let new = format!("{insert} WHERE NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {same})");
            let arrived = counts.updated + run(tx, new).await.map_err(&failed)?;
            if arrived > rows {
                let of = format!("{table} WHERE ({keys}) IN (SELECT {keys} FROM {STAGING})");
                let doubled = twice(tx, &of, key).await.map_err(&failed)?;
                job.check_upserted(rows, arrived, doubled, key)?;
            }
            arrived
        }
        Mode::Append | Mode::Replace => run(tx, insert).await.map_err(&failed)?,
    };
    job.check_rows(rows, arrived)?;
    run(tx, format!("DROP TABLE {STAGING}")).await.map_err(&failed)?;
    Ok(counts)
}

/// A key that comes more than once, as it is shown.
async fn twice(tx: &mut SqliteConnection, from: &str, key: &[String]) -> sqlx::Result<Option<String>> {
    let shown: Vec<_> = key.iter().map(|k| format!("CAST({} AS TEXT)", quote(k))).collect();
    let (shown, keys) = (shown.join(" || ',' || "), list(key.iter().map(String::as_str)));
    let sql = format!("SELECT '(' || {shown} || ')' FROM {from} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1");
    query_scalar(AssertSqlSafe(sql)).fetch_optional(tx).await
}

async fn count(tx: &mut SqliteConnection, clause: &str) -> sqlx::Result<u64> {
    let sql = format!("SELECT count(*) FROM {STAGING} {clause}");
    let count: i64 = query_scalar(AssertSqlSafe(sql)).fetch_one(tx).await?;
    Ok(count.max(0) as u64)
}

/// What an earlier load of this key did.
async fn recorded(tx: &mut SqliteConnection, name: &Table, key: &str) -> sqlx::Result<Option<Counts>> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?";
    let there: i64 = query_scalar(sql).bind(LOADS_TABLE).fetch_one(&mut *tx).await?;
    if there == 0 {
        return Ok(None);
    }
    let sql = format!("SELECT rows, replaced, updated FROM {LOADS_TABLE} WHERE table_name = lower(?) AND key = ?");
    let row = query(AssertSqlSafe(sql)).bind(&name.name).bind(key).fetch_optional(tx).await?;
    let Some(row) = row else { return Ok(None) };
    let number = |n| row.try_get::<i64, _>(n).map(|n| n.max(0) as u64);
    Ok(Some(Counts { rows: number(0)?, replaced: number(1)?, updated: number(2)? }))
}

async fn record(tx: &mut SqliteConnection, name: &Table, key: &str, counts: Counts) -> sqlx::Result<()> {
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {LOADS_TABLE} (table_name TEXT NOT NULL, key TEXT NOT NULL, rows INTEGER NOT NULL, \
         replaced INTEGER NOT NULL, updated INTEGER NOT NULL, loaded_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, \
         PRIMARY KEY (table_name, key))"
    );
    run(tx, create).await?;
    let sql =
        format!("INSERT INTO {LOADS_TABLE} (table_name, key, rows, replaced, updated) VALUES (lower(?), ?, ?, ?, ?)");
    query(AssertSqlSafe(sql))
        .bind(&name.name)
        .bind(key)
        .bind(counts.rows as i64)
        .bind(counts.replaced as i64)
        .bind(counts.updated as i64)
        .execute(tx)
        .await
        .map(drop)
}

pub(super) async fn rows_of(url: &str, table: &str, of: Option<(&str, &str)>) -> Result<Option<u64>> {
    let name = Table::parse(table, false)?;
    let file = SqliteConnectOptions::from_str(url).map_err(failed(url))?;
    // One in memory is made by whoever opens it.
    if !url.contains(":memory:") && !file.get_filename().exists() {
        return Ok(None);
    }
    let mut conn = connect_to_read(url).await?;
    let columns = columns_of(&mut conn, &name).await.map_err(failed(url))?;
    if columns.is_empty() {
        return Ok(None);
    }
    // SQLite would take a name that it does not know for a text.
    if let Some((column, _)) = of.filter(|(column, _)| !columns.iter().any(|c| c.name.eq_ignore_ascii_case(column))) {
        return Err(Error::columns(format!("table {table}"), format!("there is no column `{column}`")));
    }
    let of = of.map_or(String::new(), |(column, value)| format!(" WHERE {} = {}", quote(column), literal(value)));
    let sql = format!("SELECT count(*) FROM {}{of}", name.sql());
    let rows: i64 = query_scalar(AssertSqlSafe(sql)).fetch_one(&mut conn).await.map_err(failed(url))?;
    conn.close().await.map_err(failed(url))?;
    Ok(Some(rows.max(0) as u64))
}

pub(super) async fn summarise(url: &str, table: &str, source: Option<&str>, first: u32) -> Result<Summary> {
    let name = Table::parse(table, false)?;
    let mut conn = connect_to_read(url).await?;
    let columns = columns_of(&mut conn, &name).await.map_err(failed(url))?;
    if columns.is_empty() {
        return Err(Error::columns(format!("table {table}"), "there is no such table"));
    }
    let shown: Vec<_> = columns.iter().map(|c| format!("CAST({} AS TEXT)", quote(&c.name))).collect();
    let from = match source {
        Some(_) => format!("FROM {} WHERE {} = ?", name.sql(), quote(SOURCE_COLUMN)),
        None => format!("FROM {} WHERE ? IS NULL", name.sql()),
    };
    let count = query_scalar(AssertSqlSafe(format!("SELECT count(*) {from}"))).bind(source);
    let rows: i64 = count.fetch_one(&mut conn).await.map_err(failed(url))?;
    let sample = query(AssertSqlSafe(format!("SELECT {} {from} LIMIT {first}", shown.join(", ")))).bind(source);
    let sample = sample.fetch_all(&mut conn).await.map_err(failed(url))?;
    let first_rows = sample
        .iter()
        .map(|row| (0..columns.len()).map(|n| row.try_get(n)).collect::<sqlx::Result<Vec<Option<String>>>>());
    let first_rows = first_rows.collect::<sqlx::Result<Vec<_>>>().map_err(failed(url))?;
    conn.close().await.map_err(failed(url))?;
    Ok(Summary {
        url: redact(url),
        table: table.to_owned(),
        source: source.map(str::to_owned),
        rows: rows.max(0) as u64,
        columns,
        first_rows,
    })
}
