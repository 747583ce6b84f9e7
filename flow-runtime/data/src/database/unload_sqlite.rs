//! Rows of SQLite to a Parquet file. They become a binary COPY on the way, so that what is behind it is the same as for Postgres.

use std::path::Path;

use futures::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row, TypeInfo, ValueRef, query, query_scalar, raw_sql};

use super::decode::Builder;
use super::encode::{binary, shown};
use super::pgtype::PgType;
use super::sqlite::{connect_to_read, failed, while_wanted};
use super::table::{Table, literal, quote};
use super::unload::{SIGNATURE, Sink, check_stated};
use super::warehouse::{Select, UnloadOptions, Unloaded};
use crate::cell::Cell;
use crate::field::Field;
use crate::schema::Type;
use crate::{Error, Progress, Result, parse};

/// Names the query to the database, for as long as the connection lasts.
const VIEW: &str = "_flow_data_unload";

pub(super) async fn unload(
    url: &str,
    select: &Select,
    parquet: &Path,
    options: &UnloadOptions,
    progress: &dyn Progress,
) -> Result<Unloaded> {
    let failed = failed(url);
    let mut conn = connect_to_read(url).await?;
    let wanted = while_wanted(&mut conn).await.map_err(&failed)?;
    let (source, place) = match select {
        Select::Table(table) => (Table::parse(table, false)?.name, format!("table {table}")),
        Select::Query(text) => {
            let text = text.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
            let sql = format!("CREATE TEMP VIEW {VIEW} AS {text}");
            raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.map_err(&failed)?;
            (VIEW.to_owned(), "the query".to_owned())
        }
    };
    // Its types, and its rows, as of one moment.
    let mut tx = conn.begin().await.map_err(&failed)?;
    let columns = columns(&mut tx, url, &source, &place, &options.fields).await?;
    let (mut fields, mut builders, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for (field, kind, builder) in columns {
        fields.push(field);
        kinds.push(kind);
        builders.push(builder);
    }
    let names: Vec<_> = fields.iter().map(|f| quote(&f.name)).collect();
    let sql = format!("SELECT {} FROM {}", names.join(", "), quote(&source));
    let mut sink = Sink::start(parquet, fields, builders, place.clone(), options).await?;
    sink.piece.extend_from_slice(SIGNATURE);
    // No flags, and nothing more in the header.
    sink.piece.extend_from_slice(&[0; 8]);
    let mut rows = query(AssertSqlSafe(sql)).fetch(&mut *tx);
    let mut number = 0u64;
    while let Some(row) = rows.try_next().await.map_err(&failed)? {
        number += 1;
        encode(&mut sink, &kinds, &row, number, &place).map_err(|e| e.unwrap_or_else(&failed))?;
        if !sink.took(progress).await {
            break;
        }
    }
    drop(rows);
    sink.piece.extend_from_slice(&(-1i16).to_be_bytes());
    let written = sink.finish(progress).await?;
    tx.rollback().await.map_err(&failed)?;
    conn.close().await.map_err(&failed)?;
    drop(wanted);
    written.commit().await
}

/// What each column is kept as: what is stated, what its type in the table says, or what all its values are.
async fn columns(
    conn: &mut SqliteConnection,
    url: &str,
    source: &str,
    place: &str,
    stated: &[Field],
) -> Result<Vec<(Field, PgType, Builder)>> {
    let failed = failed(url);
    // Generated columns are columns, too: https://www.sqlite.org/pragma.html#pragma_table_xinfo
    let sql = format!("SELECT name, type, \"notnull\" FROM pragma_table_xinfo({}) WHERE hidden <> 1", literal(source));
    let there = query(AssertSqlSafe(sql)).fetch_all(&mut *conn).await.map_err(&failed)?;
    let there: sqlx::Result<Vec<(String, String, bool)>> =
        there.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect();
    let there = there.map_err(&failed)?;
    if there.is_empty() {
        return Err(Error::columns(place, "there is no such table, or it has no columns"));
    }
    check_stated(place, there.iter().map(|(name, ..)| name.as_str()), stated)?;
    let mut all = Vec::new();
    for (name, declared, not_null) in there {
        let stated = stated.iter().find(|f| f.name == name);
        let from = match stated {
            // What is narrower is seen by the builder.
            Some(field) if field.kind.coarse() == Some(Type::Int) => Some(PgType::Int8),
            Some(field) => PgType::parse(&field.kind.postgres()),
            None => match declared_as(&declared) {
                // A query calls what has no type a BLOB, too.
                Some(PgType::Bytea) if source == VIEW => {
                    match held(&mut *conn, source, &name).await.map_err(&failed)? {
                        Some(Held::Nothing) => Some(PgType::Bytea),
                        held => held.map(Held::kind),
                    }
                }
                Some(known) => Some(known),
                None => held(&mut *conn, source, &name).await.map_err(&failed)?.map(Held::kind),
            },
        };
        let kind = stated.map(|field| field.kind.clone()).or_else(|| from.as_ref()?.kind());
        let (Some(from), Some(kind)) = (from, kind) else {
            let declared = if declared.is_empty() { "of no type".into() } else { format!("declared {declared}") };
            let message = format!("column `{name}` is {declared} and holds several kinds: state one in the options");
            return Err(Error::columns(place, message));
        };
        let Some(builder) = Builder::new(&from, &kind) else {
            return Err(Error::columns(place, format!("column `{name}` cannot be kept as {kind}")));
        };
        let nullable = stated.map_or(!not_null, |field| field.nullable);
        all.push((Field { name, kind, nullable }, from, builder));
    }
    Ok(all)
}

/// The types that our own tables have, and those of everybody's that are as plain. `None`: it says nothing.
fn declared_as(declared: &str) -> Option<PgType> {
    let declared = declared.to_ascii_uppercase();
    Some(match declared.split('(').next().unwrap_or_default().trim() {
        "BOOLEAN" | "BOOL" => PgType::Bool,
        "DATE" => PgType::Date,
        "TIME" => PgType::Time,
        "TIMESTAMP" | "DATETIME" => PgType::Timestamp,
        "BLOB" => PgType::Bytea,
        // https://www.sqlite.org/datatype3.html#determination_of_column_affinity
        kind if kind.contains("INT") => PgType::Int8,
        kind if kind.contains("CHAR") || kind.contains("CLOB") || kind.contains("TEXT") => PgType::Text,
        kind if kind.contains("REAL") || kind.contains("FLOA") || kind.contains("DOUB") => PgType::Float8,
        _ => return None,
    })
}

/// What a column holds whose declaration says nothing.
enum Held {
    Nothing,
    All(PgType),
}

impl Held {
    fn kind(self) -> PgType {
        match self {
            Self::Nothing => PgType::Text,
            Self::All(kind) => kind,
        }
    }
}

/// Looks at all of it. `None`: values of several kinds.
async fn held(conn: &mut SqliteConnection, source: &str, name: &str) -> sqlx::Result<Option<Held>> {
    let name = quote(name);
    let sql = format!("SELECT DISTINCT typeof({name}) FROM {} WHERE {name} IS NOT NULL ORDER BY 1", quote(source));
    let kinds: Vec<String> = query_scalar(AssertSqlSafe(sql)).fetch_all(conn).await?;
    Ok(Some(match kinds.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Held::Nothing,
        ["integer"] => Held::All(PgType::Int8),
        ["real"] | ["integer", "real"] => Held::All(PgType::Float8),
        ["text"] => Held::All(PgType::Text),
        ["blob"] => Held::All(PgType::Bytea),
        _ => return Ok(None),
    }))
}

/// Writes a row as a message of a binary COPY. `Err(Err(..))` is the database's error.
fn encode(
    sink: &mut Sink,
    kinds: &[PgType],
    row: &SqliteRow,
    number: u64,
    place: &str,
) -> std::result::Result<(), std::result::Result<Error, sqlx::Error>> {
    let count = i16::try_from(kinds.len()).unwrap_or(i16::MAX);
    sink.piece.extend_from_slice(&count.to_be_bytes());
    for (n, kind) in kinds.iter().enumerate() {
        let (text, bytes, digits, uuid);
        let value = row.try_get_raw(n).map_err(Err)?;
        let held = if value.is_null() { "NULL".to_owned() } else { value.type_info().name().to_owned() };
        let cell = match held.as_str() {
            "NULL" => Some(Cell::Null),
            "INTEGER" => {
                let int: i64 = row.try_get_unchecked(n).map_err(Err)?;
                match kind {
                    PgType::Bool => matches!(int, 0 | 1).then_some(Cell::Bool(int == 1)),
                    PgType::Float4 => (int as f32 as i128 == i128::from(int)).then_some(Cell::Float32(int as f32)),
                    PgType::Float8 => (int as f64 as i128 == i128::from(int)).then_some(Cell::Float(int as f64)),
                    _ => Some(Cell::Int(int)),
                }
            }
            "REAL" => {
                let float: f64 = row.try_get_unchecked(n).map_err(Err)?;
                let exact = f64::from(float as f32).to_bits() == float.to_bits();
                match kind {
                    PgType::Float4 => exact.then_some(Cell::Float32(float as f32)),
                    _ => Some(Cell::Float(float)),
                }
            }
            "BLOB" => {
                bytes = row.try_get_unchecked::<Vec<u8>, _>(n).map_err(Err)?;
                Some(Cell::Bytes(&bytes))
            }
            _ => {
                text = row.try_get_unchecked::<String, _>(n).map_err(Err)?;
                match kind {
                    PgType::Date => parse::date(&text).map(Cell::Date),
                    PgType::Timestamp if has_zone(&text) => None,
                    PgType::Timestamp => parse::timestamp(&text).map(|micros| Cell::Timestamp(micros, false)),
                    PgType::Timestamptz => parse::timestamp(&text).map(|micros| Cell::Timestamp(micros, true)),
                    PgType::Uuid => {
                        uuid = parse::uuid(text.as_bytes());
                        uuid.as_ref().map(|uuid| Cell::Uuid(uuid))
                    }
                    PgType::Time => parse::time(text.as_bytes()).map(Cell::Time),
                    PgType::Numeric(_) => {
                        digits = decimal(&text);
                        digits.as_ref().map(|(digits, scale)| Cell::Decimal(digits, *scale))
                    }
                    _ => Some(Cell::Text(&text)),
                }
            }
        };
        let before = sink.piece.len();
        let fits = cell.is_some_and(|cell| is_of(cell, kind) && binary(&mut sink.piece, cell, kind).is_ok());
        if !fits {
            sink.piece.truncate(before);
            let shown = cell.map_or_else(|| row.try_get_unchecked::<String, _>(n).unwrap_or_default(), shown);
            let field = &sink.fields[n];
            let message =
                format!("row {number}, column `{}`: {shown} ({held}) does not fit {}", field.name, field.kind);
            return Err(Ok(Error::columns(place, message)));
        }
    }
    Ok(())
}

/// A column of SQLite may hold anything; the encoder trusts the types of a file.
fn is_of(cell: Cell<'_>, kind: &PgType) -> bool {
    match cell {
        Cell::Null => true,
        Cell::Bool(_) => *kind == PgType::Bool,
        Cell::Int(_) => matches!(kind, PgType::Int8 | PgType::Numeric(_)),
        Cell::Decimal(..) => matches!(kind, PgType::Numeric(_)),
        Cell::Float32(_) => *kind == PgType::Float4,
        Cell::Float(_) => *kind == PgType::Float8,
        Cell::Date(_) => *kind == PgType::Date,
        Cell::Time(_) => *kind == PgType::Time,
        Cell::Timestamp(_, utc) => *kind == if utc { PgType::Timestamptz } else { PgType::Timestamp },
        Cell::Uuid(_) => *kind == PgType::Uuid,
        Cell::Bytes(_) => *kind == PgType::Bytea,
        Cell::Text(_) => matches!(kind, PgType::Text | PgType::Varchar | PgType::Json | PgType::Jsonb),
        _ => false,
    }
}

/// Does a moment say in which zone it is? It would be lost.
fn has_zone(text: &str) -> bool {
    text.get(10..).is_some_and(|time| time.contains(['Z', 'z', '+', '-']))
}

/// The digits of a decimal number, and how many of them come after the point.
pub(super) fn decimal(text: &str) -> Option<(i128, u8)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.trim_start_matches('-').is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((format!("{whole}{fraction}").parse().ok()?, u8::try_from(fraction.len()).ok()?))
}
