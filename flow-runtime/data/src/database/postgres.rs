//! What every access to Postgres needs.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, query, query_scalar, raw_sql};

use super::drift::{self, Comparison, Drift, There};
use super::pgtype::PgType;
use super::table::{SOURCE_COLUMN, Table, literal, quote};
use super::{Shape, Summary, conversion};
use crate::redact::{redact, scrub};
use crate::{Error, Field, Result};

/// A connection's name in `pg_stat_activity`, unless the URL says another.
const APPLICATION: &str = "flow-data";

/// Turns what sqlx says into our words, without secrets.
pub(super) fn failed(url: &str) -> impl Fn(sqlx::Error) -> Error + '_ {
    move |error| {
        let (message, permanent) = match &error {
            sqlx::Error::Database(e) => {
                let mut message = e.message().to_owned();
                if let Some(e) = e.try_downcast_ref::<PgDatabaseError>() {
                    for more in [e.detail(), e.hint(), e.r#where()].into_iter().flatten() {
                        message.push_str("; ");
                        message.push_str(more);
                    }
                }
                // Bad data, a broken constraint, bad login, no such database or schema, bad SQL or no right to it.
                let class = e.code().map(|code| code.chars().take(2).collect::<String>()).unwrap_or_default();
                (message, matches!(class.as_str(), "0A" | "22" | "23" | "28" | "3D" | "3F" | "42"))
            }
            sqlx::Error::Configuration(_) => (error.to_string(), true),
            _ => (error.to_string(), false),
        };
        Error::Database { url: redact(url), message: scrub(&message, url), permanent }
    }
}

pub(super) async fn connect(url: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::from_str(url).map_err(failed(url))?;
    let options =
        if options.get_application_name().is_none() { options.application_name(APPLICATION) } else { options };
    options.connect().await.map_err(failed(url))
}

/// A connection for work that takes long: the server looks whether we are still there while it is at it. What it has
/// no notion of (it is older than 14, or not on Linux) it refuses, and notices our end later.
pub(super) async fn connect_to_work(url: &str) -> Result<PgConnection> {
    let mut conn = connect(url).await?;
    let _ = run(&mut conn, "SET client_connection_check_interval = 100").await;
    Ok(conn)
}

/// Runs a statement that takes nothing and gives nothing back but a number of rows.
pub(super) async fn run(conn: &mut PgConnection, sql: &str) -> sqlx::Result<u64> {
    Ok(raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?.rows_affected())
}

pub(super) async fn columns_of(conn: &mut PgConnection, table: &Table) -> sqlx::Result<Vec<There>> {
    let rows = query(
        "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, atthasdef OR attidentity <> '' \
         FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    )
    .bind(table.sql())
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let (name, kind) = (row.try_get(0)?, row.try_get(1)?);
            Ok(There { name, kind, not_null: row.try_get(2)?, filled: row.try_get(3)? })
        })
        .collect()
}

/// The table with the schema that it is in, or would be created in.
pub(super) async fn located(conn: &mut PgConnection, url: &str, table: &str) -> Result<Table> {
    let mut name = Table::parse(table, true)?;
    if name.schema.is_none() {
        let sql = "SELECT coalesce((SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.oid = to_regclass($1)), current_schema())::text";
        name.schema = query_scalar(sql).bind(name.sql()).fetch_one(conn).await.map_err(failed(url))?;
    }
    Ok(name)
}

/// Names are compared by the letter, and a column takes what loses nothing there.
pub(super) const HOW: Comparison = Comparison {
    same: |a, b| a == b,
    takes: |there, field| PgType::parse(there).is_some_and(|t| t.takes(&field.kind)),
    convert: false,
    conversion: conversion::postgres,
};

pub(super) async fn compare(url: &str, table: &str, fields: &[Field]) -> Result<Option<Drift>> {
    let mut conn = connect(url).await?;
    let name = located(&mut conn, url, table).await?;
    let there = columns_of(&mut conn, &name).await.map_err(failed(url))?;
    conn.close().await.map_err(failed(url))?;
    Ok((!there.is_empty()).then(|| drift::compare(table, fields, &there, &HOW)))
}

pub(super) async fn rows_of(url: &str, table: &str, of: Option<(&str, &str)>) -> Result<Option<u64>> {
    let mut conn = connect(url).await?;
    let name = located(&mut conn, url, table).await?;
    let there = columns_of(&mut conn, &name).await.map_err(failed(url))?;
    if there.is_empty() {
        return Ok(None);
    }
    let of = of.map_or(String::new(), |(column, value)| format!(" WHERE {} = {}", quote(column), literal(value)));
    let sql = format!("SELECT count(*) FROM {}{of}", name.sql());
    let rows: i64 = query_scalar(AssertSqlSafe(sql)).fetch_one(&mut conn).await.map_err(failed(url))?;
    conn.close().await.map_err(failed(url))?;
    Ok(Some(rows.max(0) as u64))
}

pub(super) async fn summarise(url: &str, table: &str, source: Option<&str>, first: u32) -> Result<Summary> {
    let name = Table::parse(table, true)?;
    let mut conn = connect(url).await?;
    let there = columns_of(&mut conn, &name).await.map_err(failed(url))?;
    if there.is_empty() {
        return Err(Error::columns(format!("table {table}"), "there is no such table"));
    }
    let shown: Vec<_> = there.iter().map(|t| format!("{}::text", quote(&t.name))).collect();
    let from = match source {
        Some(_) => format!("FROM {} WHERE {} = $1", name.sql(), quote(SOURCE_COLUMN)),
        None => format!("FROM {} WHERE $1::text IS NULL", name.sql()),
    };
    let count = query_scalar(AssertSqlSafe(format!("SELECT count(*) {from}"))).bind(source);
    let rows: i64 = count.fetch_one(&mut conn).await.map_err(failed(url))?;
    let sample = query(AssertSqlSafe(format!("SELECT {} {from} LIMIT {first}", shown.join(", ")))).bind(source);
    let sample = sample.fetch_all(&mut conn).await.map_err(failed(url))?;
    let first_rows = sample
        .iter()
        .map(|row| (0..there.len()).map(|n| row.try_get(n)).collect::<sqlx::Result<Vec<Option<String>>>>());
    let first_rows = first_rows.collect::<sqlx::Result<Vec<_>>>().map_err(failed(url))?;
    conn.close().await.map_err(failed(url))?;
    let columns = there.into_iter().map(|t| Shape { name: t.name, kind: t.kind }).collect();
    Ok(Summary {
        url: redact(url),
        table: table.to_owned(),
        source: source.map(str::to_owned),
        rows: rows.max(0) as u64,
        columns,
        first_rows,
    })
}
