//! Loads into Postgres.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, query, query_scalar, raw_sql};

use super::copy::{CopyEncoder, Form};
use super::feed::{Batches, Feed};
use super::table::{self, SOURCE_COLUMN, Table, quote};
use super::{Loaded, Shape, Summary};
use crate::redact::{redact, scrub};
use crate::schema::{Column, Type};
use crate::{Error, Progress, Result};

/// A connection's name in `pg_stat_activity`, unless the URL says another.
const APPLICATION: &str = "flow-data";

/// Turns what sqlx says into our words, without secrets.
fn failed(url: &str) -> impl Fn(sqlx::Error) -> Error + '_ {
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

async fn connect(url: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::from_str(url).map_err(failed(url))?;
    let options =
        if options.get_application_name().is_none() { options.application_name(APPLICATION) } else { options };
    options.connect().await.map_err(failed(url))
}

/// One column of a table as the database has it.
struct There {
    name: String,
    kind: String,
}

async fn columns_of(conn: &mut PgConnection, table: &Table) -> sqlx::Result<Vec<There>> {
    let rows = query(
        "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute \
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    )
    .bind(table.sql())
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| Ok(There { name: row.try_get(0)?, kind: row.try_get(1)? })).collect()
}

/// Creates the table if it is missing. A lock keeps two from creating it at once.
async fn create(conn: &mut PgConnection, table: &Table, columns: &[Column]) -> sqlx::Result<()> {
    let fields: Vec<_> = columns.iter().map(|c| format!("{} {}", quote(&c.name), c.kind.postgres())).collect();
    let comma = if fields.is_empty() { "" } else { ", " };
    let fields = format!("{}{comma}{} text NOT NULL", fields.join(", "), quote(SOURCE_COLUMN));
    let sql = format!("CREATE TABLE IF NOT EXISTS {} ({fields})", table.sql());
    let mut tx = conn.begin().await?;
    query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("flow-data create {}", table.sql()))
        .execute(&mut *tx)
        .await?;
    raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    tx.commit().await
}

/// Binary COPY converts nothing: every column must have the very type that is sent.
fn form_for(columns: &[Column], there: &[There]) -> Form {
    let fits = |name: &str, kind: Type| {
        there.iter().any(|t| {
            t.name == name && (t.kind == kind.postgres() || (kind == Type::Text && t.kind == "character varying"))
        })
    };
    let all = columns.iter().all(|c| fits(&c.name, c.kind)) && fits(SOURCE_COLUMN, Type::Text);
    if all { Form::Binary } else { Form::Csv }
}

pub(super) async fn load(
    url: &str,
    table: &str,
    source: &str,
    batches: Batches,
    progress: &dyn Progress,
) -> Result<Loaded> {
    let name = Table::parse(table, true)?;
    let columns = batches.columns().to_vec();
    let total = batches.total();
    let mut conn = connect(url).await?;
    let mut there = columns_of(&mut conn, &name).await.map_err(failed(url))?;
    if there.is_empty() {
        create(&mut conn, &name, &columns).await.map_err(failed(url))?;
        there = columns_of(&mut conn, &name).await.map_err(failed(url))?;
    }
    let names: Vec<_> = there.iter().map(|t| t.name.clone()).collect();
    table::check_table(table, &columns, &names, |a, b| a == b)?;
    let form = form_for(&columns, &there);

    let mut tx = conn.begin().await.map_err(failed(url))?;
    // Two loads of one source take turns until their transactions end; loads of other sources are not held up.
    query("SELECT pg_advisory_xact_lock(hashtextextended('flow-data load ' || to_regclass($1)::oid::text || ' ' || $2, 0))")
        .bind(name.sql())
        .bind(source)
        .execute(&mut *tx)
        .await
        .map_err(failed(url))?;
    let delete = format!("DELETE FROM {} WHERE {} = $1", name.sql(), quote(SOURCE_COLUMN));
    let replaced =
        query(AssertSqlSafe(delete)).bind(source).execute(&mut *tx).await.map_err(failed(url))?.rows_affected();

    let list: Vec<_> = columns.iter().map(|c| quote(&c.name)).chain([quote(SOURCE_COLUMN)]).collect();
    let sql = format!("COPY {} ({}) FROM STDIN {}", name.sql(), list.join(", "), form.sql());
    let mut feed = Feed::start(batches, CopyEncoder::new(form, source));
    let mut copy = tx.copy_in_raw(&sql).await.map_err(failed(url))?;
    loop {
        match feed.next().await {
            Ok(Some((piece, position))) => {
                copy.send(piece).await.map_err(failed(url))?;
                progress.report(position, Some(total));
            }
            Ok(None) => break,
            Err(error) => {
                // The file's fault matters more than what the database says to the abort.
                let _ = copy.abort(error.to_string()).await;
                return Err(error);
            }
        }
    }
    let rows = copy.finish().await.map_err(failed(url))?;
    if rows != feed.rows {
        let message = format!("{} rows were sent and {rows} arrived", feed.rows);
        return Err(Error::Database { url: redact(url), message, permanent: false });
    }
    tx.commit().await.map_err(failed(url))?;
    conn.close().await.map_err(failed(url))?;
    Ok(Loaded { url: redact(url), table: table.to_owned(), source: source.to_owned(), rows, replaced })
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
