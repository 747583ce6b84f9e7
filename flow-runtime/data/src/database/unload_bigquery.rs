//! Rows of BigQuery to a Parquet file. They become a binary COPY on the way, as those of SQLite do.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::bigquery::{check_question, named, there};
use super::encode::{binary, bytes, counted, dimension, null};
use super::pgtype::PgType;
use super::unload::{SIGNATURE, Sink, Ways, check_stated, kept};
use super::unload_sqlite::decimal;
use super::warehouse::{Select, UnloadOptions, Unloaded};
use crate::bigquery::{Pages, Row, Sent, as_json, column, micros, number};
use crate::cell::Cell;
use crate::error::shorten;
use crate::settled::leave;
use crate::{BigQuery, Error, Lake, Progress, Result, parse};

pub(super) async fn unload(
    url: &str,
    lake: &Lake,
    select: &Select,
    parquet: &Path,
    options: &UnloadOptions,
    progress: &dyn Progress,
) -> Result<Unloaded> {
    let client = BigQuery::open(url, lake)?;
    let (sql, place, table) = match select {
        Select::Table(table) => {
            let (named, place) = (named(&client, table)?, format!("table {table}"));
            let schema = client.schema(&named).await?;
            if schema.is_empty() {
                return Err(Error::columns(place, "there is no such table, or it has no columns"));
            }
            (format!("SELECT * FROM {}", named.sql()), place, schema)
        }
        Select::Query(query) => {
            check_question(query)?;
            (query.clone(), "the query".to_owned(), Vec::new())
        }
    };
    let mut pages = Query::new(client, sql).rows().await?;
    // A query may not tell what a table promises: that there is a value, and how many digits it has.
    for field in &mut pages.fields {
        let same = table.iter().find(|t| t["name"] == field["name"] && t["type"] == field["type"]);
        *field = same.unwrap_or(field).clone();
    }
    let schema = pages.fields.clone();
    let names: Vec<_> = schema.iter().map(|field| column(field).name).collect();
    check_stated(&place, names.iter().map(String::as_str), &options.fields)?;
    let (mut kinds, mut fields, mut builders) = (Vec::new(), Vec::new(), Vec::new());
    for field in &schema {
        let from = from(field);
        let mut column = there(column(field));
        // A list may be empty, and is there: https://cloud.google.com/bigquery/docs/arrays
        column.not_null |= field["mode"] == "REPEATED";
        let (field, builder) = kept(&place, &column, from.as_ref(), &options.fields, &WAYS)?;
        fields.push(field);
        builders.push(builder);
        kinds.extend(from);
    }
    let mut sink = Sink::start(parquet, fields, builders, place.clone(), options).await?;
    sink.total = Some(pages.total);
    sink.piece.extend_from_slice(SIGNATURE);
    // No flags, and nothing more in the header.
    sink.piece.extend_from_slice(&[0; 8]);
    let mut row = 0;
    'all: while let Some(rows) = pages.next().await? {
        for cells in &rows {
            row += 1;
            encode(&mut sink, &kinds, &schema, cells, row, &place)?;
            if !sink.took(progress).await {
                break 'all;
            }
        }
    }
    sink.piece.extend_from_slice(&(-1i16).to_be_bytes());
    sink.finish(progress).await?.commit().await
}

/// How a query makes something that fits a file.
const WAYS: Ways = Ways { text: "text: CAST(.. AS STRING), ST_ASTEXT(..)", digits: "NUMERIC" };

/// A query that runs, and is ended when nobody waits for it any more.
struct Query {
    client: BigQuery,
    sql: String,
    at_work: Mutex<Option<Sent>>,
}

impl Query {
    fn new(client: BigQuery, sql: String) -> Self {
        Self { client, sql, at_work: Mutex::default() }
    }

    async fn rows(self) -> Result<Pages> {
        let id = format!("flow-unload-{:016x}", fastrand::u64(..));
        let done = self.client.run(&id, &self.sql, &self.at_work).await?;
        *self.at_work.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.client.pages(&done).await
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        let Some(id) = self.at_work.get_mut().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let (client, sql) = (self.client.clone(), std::mem::take(&mut self.sql));
        leave(async move {
            let _ended = client.cancel(&id, &sql).await;
        });
    }
}

/// The type of Postgres whose values are the same: <https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types>.
/// `None`: there is none.
fn from(field: &Value) -> Option<PgType> {
    let digits = |name: &str| number(&field[name]).and_then(|n| u8::try_from(n).ok());
    let stated = digits("precision").map(|precision| (precision, digits("scale").unwrap_or(0)));
    let one = match field["type"].as_str().unwrap_or_default() {
        "INTEGER" | "INT64" => PgType::Int8,
        "FLOAT" | "FLOAT64" => PgType::Float8,
        "NUMERIC" => PgType::Numeric(Some(stated.unwrap_or((38, 9)))),
        "BIGNUMERIC" => PgType::Numeric(stated),
        "BOOLEAN" | "BOOL" => PgType::Bool,
        "STRING" => PgType::Text,
        "BYTES" => PgType::Bytea,
        "DATE" => PgType::Date,
        "DATETIME" => PgType::Timestamp,
        // One of picoseconds would be cut.
        "TIMESTAMP" if number(&field["timestampPrecision"]) != Some(12) => PgType::Timestamptz,
        "TIME" => PgType::Time,
        "JSON" | "RECORD" | "STRUCT" => PgType::Json,
        _ => return None,
    };
    Some(if field["mode"] == "REPEATED" { PgType::Array(Box::new(one)) } else { one })
}

/// Writes a row as a message of a binary COPY.
fn encode(sink: &mut Sink, kinds: &[PgType], schema: &[Value], row: &Row, number: u64, place: &str) -> Result<()> {
    let cells = &row.cells;
    if cells.len() != kinds.len() {
        let message = format!("row {number} has {} fields, of {} columns", cells.len(), kinds.len());
        return Err(Error::columns(place, message));
    }
    sink.piece.extend_from_slice(&i16::try_from(kinds.len()).unwrap_or(i16::MAX).to_be_bytes());
    for ((cell, kind), (field, kept)) in cells.iter().zip(kinds).zip(schema.iter().zip(&sink.fields)) {
        if value(&mut sink.piece, &cell.value, field, kind).is_none() {
            let text = cell.value.as_str().map_or_else(|| cell.value.to_string(), str::to_owned);
            let (name, wanted) = (&kept.name, &kept.kind);
            let message = format!("row {number}, column `{name}`: {} does not fit {wanted}", shorten(&text));
            return Err(Error::columns(place, message));
        }
    }
    Ok(())
}

/// Writes a value, or a list of them. `None`: it is none of this type.
fn value(out: &mut Vec<u8>, raw: &Value, field: &Value, kind: &PgType) -> Option<()> {
    if let PgType::Array(of) = kind {
        // An empty list may be told as none.
        let items = if raw.is_null() { &[] } else { raw.as_array()?.as_slice() };
        let length = i32::try_from(items.len()).ok()?;
        let write = |out: &mut Vec<u8>| {
            dimension(out, length, false, of);
            items.iter().try_for_each(|item| single(out, &item["v"], field, of)).ok_or("an element of its type")
        };
        return counted(out, write).ok();
    }
    single(out, raw, field, kind)
}

/// Writes a value: <https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults> has them as texts.
fn single(out: &mut Vec<u8>, raw: &Value, field: &Value, kind: &PgType) -> Option<()> {
    if raw.is_null() {
        null(out);
        return Some(());
    }
    if raw.is_object() {
        let mut one = field.clone();
        one["mode"] = "NULLABLE".into();
        let record = as_json(raw, &one).to_string();
        return if *kind == PgType::Json { bytes(out, record.as_bytes()).ok() } else { None };
    }
    let text = raw.as_str()?;
    let digits;
    let cell = match kind {
        PgType::Bool => Cell::Bool(text.parse().ok()?),
        PgType::Int8 => Cell::Int(text.parse().ok()?),
        PgType::Float8 => Cell::Float(text.parse().ok()?),
        PgType::Numeric(_) => {
            digits = number_of(text)?;
            Cell::Decimal(&digits.0, digits.1)
        }
        PgType::Date => Cell::Date(parse::date(text)?),
        PgType::Time => Cell::Time(parse::time(text.as_bytes())?),
        PgType::Timestamp => Cell::Timestamp(parse::timestamp(text)?, false),
        PgType::Timestamptz => Cell::Timestamp(micros(text)?, true),
        // Postgres has no zero byte in a text; a file may.
        PgType::Text | PgType::Json => return bytes(out, text.as_bytes()).ok(),
        PgType::Bytea => return bytes(out, &BASE64_STANDARD.decode(text).ok()?).ok(),
        _ => return None,
    };
    binary(out, cell, kind).ok()
}

/// The digits of a number, and how many of them come after the point. It may have an exponent.
fn number_of(text: &str) -> Option<(i128, u8)> {
    let Some((plain, exponent)) = text.split_once(['e', 'E']) else { return decimal(text) };
    let (digits, scale) = decimal(plain)?;
    let scale = i32::from(scale).checked_sub(exponent.parse().ok()?)?;
    if scale >= 0 {
        return Some((digits, u8::try_from(scale).ok()?));
    }
    Some((digits.checked_mul(10i128.checked_pow(scale.unsigned_abs())?)?, 0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_no_file_is_known_by_its_type() {
        let of = |field: Value| from(&field);
        assert_eq!(of(json!({ "type": "NUMERIC", "precision": "5" })), Some(PgType::Numeric(Some((5, 0)))));
        assert_eq!(of(json!({ "type": "BIGNUMERIC" })), Some(PgType::Numeric(None)));
        for kind in ["GEOGRAPHY", "INTERVAL", "RANGE", "what comes next"] {
            assert_eq!(of(json!({ "type": kind })), None, "{kind}");
        }
        assert_eq!(of(json!({ "type": "TIMESTAMP", "timestampPrecision": "12" })), None);
        assert_eq!(of(json!({ "type": "DATE", "mode": "REPEATED" })), Some(PgType::Array(Box::new(PgType::Date))));
    }

    #[test]
    fn numbers_may_have_an_exponent() {
        for (text, want) in [
            ("-12.50", Some((-1_250, 2))),
            ("1E-9", Some((1, 9))),
            ("-1.5e+3", Some((-1_500, 0))),
            ("1e39", None),
            ("1e-300", None),
            ("1e", None),
        ] {
            assert_eq!(number_of(text), want, "{text}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let fits = |kind: PgType, raw: Value| value(&mut Vec::new(), &raw, &json!({}), &kind).is_some();
        let list = |of| PgType::Array(Box::new(of));
        assert!(fits(list(PgType::Int8), json!([{ "v": "1" }])) && fits(list(PgType::Int8), Value::Null));
        for (kind, raw) in [
            (PgType::Int8, json!("1.5")),
            (PgType::Int8, json!(["1"])),
            (PgType::Text, json!({ "f": [] })),
            (PgType::Bytea, json!("no base64")),
            (PgType::Timestamptz, json!("2021-01-01 00:00:00 UTC")),
            (PgType::Time, json!("24:00:00")),
            (PgType::Date, json!("2021-02-30")),
            (list(PgType::Int8), json!("1")),
            (list(PgType::Int8), json!([{ "v": "one" }])),
        ] {
            assert!(!fits(kind.clone(), raw.clone()), "{kind:?} {raw}");
        }
    }
}
