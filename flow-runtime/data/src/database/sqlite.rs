//! Loads into SQLite.

use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, query, query_scalar, query_with};

use super::feed::{Batches, Feed};
use super::insert::{InsertEncoder, insert};
use super::table::{self, SOURCE_COLUMN, Table, quote};
use super::{Loaded, Shape, Summary};
use crate::redact::redact;
use crate::schema::Column;
use crate::{Error, Progress, Result};

/// How long a load waits for another writer of the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

fn failed(url: &str) -> impl Fn(sqlx::Error) -> Error + '_ {
    move |error| {
        let permanent = match &error {
            // Busy, locked, out of memory, I/O and a full disk may pass; SQLite's primary code is the low byte.
            sqlx::Error::Database(e) => {
                let code = e.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0) & 0xff;
                !matches!(code, 5 | 6 | 7 | 10 | 13)
            }
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

async fn connect(url: &str) -> Result<SqliteConnection> {
    let options =
        SqliteConnectOptions::from_str(url).map_err(failed(url))?.create_if_missing(true).busy_timeout(BUSY_TIMEOUT);
    if let Some(folder) = options.get_filename().parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    options.connect().await.map_err(failed(url))
}

async fn columns_of(conn: &mut SqliteConnection, table: &Table) -> sqlx::Result<Vec<Shape>> {
    let rows = query("SELECT name, type FROM pragma_table_info(?)").bind(&table.name).fetch_all(conn).await?;
    rows.iter().map(|row| Ok(Shape { name: row.try_get(0)?, kind: row.try_get(1)? })).collect()
}

fn create(table: &Table, columns: &[Column]) -> String {
    let fields: String = columns.iter().map(|c| format!("{} {}, ", quote(&c.name), c.kind.sqlite())).collect();
    format!("CREATE TABLE IF NOT EXISTS {} ({fields}{} TEXT NOT NULL)", table.sql(), quote(SOURCE_COLUMN))
}

pub(super) async fn load(
    url: &str,
    table: &str,
    source: &str,
    batches: Batches,
    progress: &dyn Progress,
) -> Result<Loaded> {
    let name = Table::parse(table, false)?;
    let columns = batches.columns().to_vec();
    let total = batches.total();
    let mut conn = connect(url).await?;
    // Takes the write lock at once, so two loads take turns; all of this is one transaction.
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed(url))?;
    query(AssertSqlSafe(create(&name, &columns))).execute(&mut *tx).await.map_err(failed(url))?;
    let there: Vec<_> = columns_of(&mut tx, &name).await.map_err(failed(url))?.into_iter().map(|t| t.name).collect();
    table::check_table(table, &columns, &there, |a, b| a.eq_ignore_ascii_case(b))?;
    let delete = format!("DELETE FROM {} WHERE {} = ?", name.sql(), quote(SOURCE_COLUMN));
    let replaced =
        query(AssertSqlSafe(delete)).bind(source).execute(&mut *tx).await.map_err(failed(url))?.rows_affected();

    let encoder = InsertEncoder::new(columns.len());
    let full: std::sync::Arc<str> = insert(&name, &columns, source, encoder.most_rows).into();
    let most_rows = encoder.most_rows;
    let mut feed = Feed::start(batches, encoder);
    let mut rows = 0;
    while let Some((piece, position)) = feed.next().await? {
        let sql =
            if piece.rows == most_rows { full.clone() } else { insert(&name, &columns, source, piece.rows).into() };
        rows +=
            query_with(AssertSqlSafe(sql), piece.values).execute(&mut *tx).await.map_err(failed(url))?.rows_affected();
        progress.report(position, Some(total));
    }
    if rows != feed.rows {
        let message = format!("{} rows were sent and {rows} arrived", feed.rows);
        return Err(Error::Database { url: redact(url), message, permanent: false });
    }
    tx.commit().await.map_err(failed(url))?;
    conn.close().await.map_err(failed(url))?;
    Ok(Loaded { url: redact(url), table: table.to_owned(), source: source.to_owned(), rows, replaced })
}

pub(super) async fn summarise(url: &str, table: &str, source: Option<&str>, first: u32) -> Result<Summary> {
    let name = Table::parse(table, false)?;
    let options = SqliteConnectOptions::from_str(url).map_err(failed(url))?.busy_timeout(BUSY_TIMEOUT);
    let mut conn = options.connect().await.map_err(failed(url))?;
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
