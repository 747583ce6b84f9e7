//! A statement of a person's own, and its rows as JSON.

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Column as _, Connection, Either, Row, TypeInfo, ValueRef, raw_sql};

use super::{Kind, bigquery, postgres, sqlite};
use crate::redact::redact;
use crate::{Error, Lake, Result};

/// The most rows that an answer may have.
const MOST_ROWS: usize = 10_000;
/// The most bytes that the values of an answer may have.
const MOST_BYTES: usize = 16 << 20;

/// What a database answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The columns of the last statement, in its order.
    pub columns: Vec<String>,
    /// The rows of the last statement: numbers, booleans, JSON and null as such, all else as the text that the database
    /// has for it (so no digit of a `numeric` is lost); bytes as `\x` and hexadecimal digits.
    pub rows: Vec<Vec<Value>>,
    /// How many rows all statements have written, as the database counts: Postgres counts those that a `SELECT` gives, too.
    pub affected: u64,
}

impl Answer {
    /// The rows as objects, by column; of two columns of one name the later counts.
    pub fn records(&self) -> Vec<Map<String, Value>> {
        let record = |row: &Vec<Value>| self.columns.iter().cloned().zip(row.iter().cloned()).collect();
        self.rows.iter().map(record).collect()
    }

    /// The first value of the first row.
    pub fn first(&self) -> Option<&Value> {
        self.rows.first()?.first()
    }
}

pub(super) async fn execute(database: &str, kind: Kind, lake: &Lake, statement: &str) -> Result<Answer> {
    let answer = match kind {
        Kind::BigQuery => bigquery::execute(database, lake, statement).await?,
        Kind::Postgres => {
            let mut conn = postgres::connect(database).await?;
            let failed = postgres::failed(database);
            let mut tx = conn.begin().await.map_err(&failed)?;
            let answer = in_postgres(&mut tx, database, statement).await?;
            tx.commit().await.map_err(&failed)?;
            conn.close().await.map_err(&failed)?;
            answer
        }
        Kind::Sqlite => {
            let mut conn = sqlite::connect(database).await?;
            let failed = sqlite::failed(database);
            let wanted = sqlite::while_wanted(&mut conn).await.map_err(&failed)?;
            let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(&failed)?;
            let answer = in_sqlite(&mut tx, database, statement).await?;
            tx.commit().await.map_err(&failed)?;
            conn.close().await.map_err(&failed)?;
            drop(wanted);
            answer
        }
    };
    tracing::info!(rows = answer.rows.len(), affected = answer.affected, "asked {}", redact(database));
    Ok(answer)
}

/// The same, and takes back whatever was written.
pub(super) async fn ask(database: &str, kind: Kind, lake: &Lake, query: &str) -> Result<Answer> {
    match kind {
        Kind::BigQuery => bigquery::ask(database, lake, query).await,
        Kind::Postgres => {
            let mut conn = postgres::connect(database).await?;
            let failed = postgres::failed(database);
            let mut tx = conn.begin_with("BEGIN READ ONLY").await.map_err(&failed)?;
            let answer = in_postgres(&mut tx, database, query).await?;
            tx.rollback().await.map_err(&failed)?;
            conn.close().await.map_err(&failed)?;
            Ok(answer)
        }
        Kind::Sqlite => {
            let mut conn = sqlite::connect_to_read(database).await?;
            let failed = sqlite::failed(database);
            let wanted = sqlite::while_wanted(&mut conn).await.map_err(&failed)?;
            let mut tx = conn.begin().await.map_err(&failed)?;
            let answer = in_sqlite(&mut tx, database, query).await?;
            tx.rollback().await.map_err(&failed)?;
            conn.close().await.map_err(&failed)?;
            drop(wanted);
            Ok(answer)
        }
    }
}

async fn in_postgres(conn: &mut sqlx::PgConnection, url: &str, statement: &str) -> Result<Answer> {
    let failed = postgres::failed(url);
    let mut all = Gathered::default();
    let mut answers = raw_sql(AssertSqlSafe(statement.to_owned())).fetch_many(conn);
    while let Some(next) = answers.try_next().await.map_err(&failed)? {
        match next {
            Either::Left(done) => all.end(done.rows_affected()),
            Either::Right(row) => {
                let names = row.columns().iter().map(|c| c.name().to_owned());
                let values = (0..row.len()).map(|n| postgres_value(&row, n)).collect::<sqlx::Result<_>>();
                all.row(names, values.map_err(&failed)?)?;
            }
        }
    }
    Ok(all.answer)
}

async fn in_sqlite(conn: &mut sqlx::SqliteConnection, url: &str, statement: &str) -> Result<Answer> {
    let failed = sqlite::failed(url);
    let mut all = Gathered::default();
    let mut answers = raw_sql(AssertSqlSafe(statement.to_owned())).fetch_many(conn);
    while let Some(next) = answers.try_next().await.map_err(&failed)? {
        match next {
            Either::Left(done) => all.end(done.rows_affected()),
            Either::Right(row) => {
                let names = row.columns().iter().map(|c| c.name().to_owned());
                let values = (0..row.len()).map(|n| sqlite_value(&row, n)).collect::<sqlx::Result<_>>();
                all.row(names, values.map_err(&failed)?)?;
            }
        }
    }
    Ok(all.answer)
}

/// An answer that grows.
#[derive(Default)]
struct Gathered {
    answer: Answer,
    bytes: usize,
    /// The rows there are belong to a statement that has ended.
    ended: bool,
}

impl Gathered {
    fn end(&mut self, affected: u64) {
        if self.ended {
            (self.answer.columns, self.answer.rows) = Default::default();
        }
        self.ended = true;
        self.answer.affected += affected;
    }

    fn row(&mut self, names: impl Iterator<Item = String>, values: Vec<Value>) -> Result<()> {
        if self.ended {
            (self.answer.columns, self.answer.rows, self.bytes, self.ended) = Default::default();
        }
        let answer = &mut self.answer;
        if answer.columns.is_empty() {
            answer.columns = names.collect();
        }
        self.bytes += values.iter().map(size).sum::<usize>();
        if answer.rows.len() == MOST_ROWS || self.bytes > MOST_BYTES {
            return Err(Error::Invalid(format!(
                "the statement gives more than {MOST_ROWS} rows or {} MiB: narrow it, or let the database write them to a \
                 table",
                MOST_BYTES >> 20
            )));
        }
        answer.rows.push(values);
        Ok(())
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(_) | Value::Object(_) => value.to_string().len(),
        _ => 8,
    }
}

/// A value of a statement that was sent as it is: all of them come as text.
fn postgres_value(row: &PgRow, n: usize) -> sqlx::Result<Value> {
    let raw = row.try_get_raw(n)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    let text = raw.as_str().map_err(sqlx::Error::Decode)?;
    let own = || Value::from(text);
    Ok(match kind.as_str() {
        "BOOL" => Value::Bool(text == "t"),
        "INT2" | "INT4" | "INT8" | "OID" => text.parse::<i64>().map_or_else(|_| own(), Value::from),
        "FLOAT4" | "FLOAT8" => text.parse().map_or_else(|_| own(), |number| float(number, text)),
        "JSON" | "JSONB" => serde_json::from_str(text).unwrap_or_else(|_| own()),
        _ => own(),
    })
}

fn sqlite_value(row: &SqliteRow, n: usize) -> sqlx::Result<Value> {
    let raw = row.try_get_raw(n)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    // That of the value, not of the column: SQLite keeps anything anywhere.
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "REAL" => {
            let number: f64 = row.try_get_unchecked(n)?;
            float(number, &number.to_string())
        }
        "BLOB" => {
            let bytes: Vec<u8> = row.try_get_unchecked(n)?;
            Value::String(bytes.iter().fold("\\x".into(), |text, byte| format!("{text}{byte:02x}")))
        }
        "TEXT" => Value::String(row.try_get_unchecked(n)?),
        _ => Value::from(row.try_get_unchecked::<i64, _>(n)?),
    })
}

/// JSON has no infinity, and no "not a number".
fn float(number: f64, text: &str) -> Value {
    Number::from_f64(number).map_or_else(|| Value::from(text), Value::Number)
}
