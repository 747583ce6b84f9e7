//! Tables: their names, their columns.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::number;
use super::{BigQuery, Format};
use crate::field::{ColumnType, Field, Unit};
use crate::schema::Type;
use crate::{Error, Result, Schema};

/// What is known of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableInfo {
    /// `project.dataset.table`.
    pub table: String,
    /// How many rows it has.
    pub rows: u64,
    /// How many bytes they are.
    pub bytes: u64,
    /// Its columns, in order.
    pub columns: Vec<TableColumn>,
    /// The column that it is cut by; `_PARTITIONTIME` for the time of the load.
    pub partitioned_by: Option<String>,
    /// The columns that it is sorted by.
    pub clustered_by: Vec<String>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// BigQuery's name of its type: `INTEGER`, `DATETIME` ..
    pub kind: String,
    /// `NULLABLE`, `REQUIRED` or `REPEATED`.
    pub mode: String,
    /// BigQuery has a value for it where a row brings none.
    #[serde(default)]
    pub has_default: bool,
}

impl BigQuery {
    /// Creates a table with these columns, unless there is one of that name. It vanishes by itself after a time, if one is
    /// given.
    pub(crate) async fn create(&self, named: &Named, fields: &[Field], lifetime: Option<Duration>) -> Result<()> {
        let Named { project, dataset, .. } = named;
        let at = format!("{}/bigquery/v2/projects/{project}/datasets/{dataset}/tables", self.base);
        let mut body = json!({ "tableReference": named.reference(), "schema": { "fields": exact(fields)? } });
        if let Some(lifetime) = lifetime {
            body["expirationTime"] = json!((chrono::Utc::now() + lifetime).timestamp_millis().to_string());
        }
        let what = named.to_string();
        let reply = self.call(&what, &|| self.client.post(&at).json(&body)).await?;
        match reply.status {
            StatusCode::CONFLICT => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.refused(&what, &reply)),
        }
    }

    /// Deletes a table. There being none is as good.
    pub(crate) async fn drop_table(&self, named: &Named) -> Result<()> {
        let (at, what) = (self.address(named), named.to_string());
        let reply = self.call(&what, &|| self.client.delete(&at)).await?;
        match reply.status {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.refused(&what, &reply)),
        }
    }

    fn address(&self, named: &Named) -> String {
        let Named { project, dataset, table } = named;
        format!("{}/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}", self.base)
    }

    /// The columns of a table as BigQuery writes them; none: there is no such table.
    pub(crate) async fn schema(&self, named: &Named) -> Result<Vec<Value>> {
        let (at, what) = (self.address(named), named.to_string());
        let reply = self.call(&what, &|| self.client.get(&at)).await?;
        match reply.status {
            StatusCode::NOT_FOUND => Ok(Vec::new()),
            status if status.is_success() => Ok(reply.body["schema"]["fields"].as_array().cloned().unwrap_or_default()),
            _ => Err(self.refused(&what, &reply)),
        }
    }

    /// What is known of a table (`dataset.table`); `None` if there is none.
    ///
    /// # Errors
    /// The name makes no sense, or BigQuery refuses or cannot be reached.
    ///
    /// # Panics
    /// Without a tokio runtime.
    pub async fn table(&self, table: &str) -> Result<Option<TableInfo>> {
        let named = self.named(table)?;
        let at = self.address(&named);
        let reply = self.call(table, &|| self.client.get(&at)).await?;
        match reply.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(info(&named, &reply.body))),
            _ => Err(self.refused(table, &reply)),
        }
    }
}

fn info(named: &Named, body: &Value) -> TableInfo {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let partitioned = body.get("timePartitioning").or_else(|| body.get("rangePartitioning"));
    TableInfo {
        table: named.to_string(),
        // A view has none of its own.
        rows: number(&body["numRows"]).unwrap_or(0),
        bytes: number(&body["numBytes"]).unwrap_or(0),
        columns: list(&body["schema"]["fields"]).iter().map(column).collect(),
        partitioned_by: partitioned.map(|by| by["field"].as_str().unwrap_or("_PARTITIONTIME").to_owned()),
        clustered_by: list(&body["clustering"]["fields"]).iter().map(text).collect(),
    }
}

/// A column, of what BigQuery writes of it.
pub(crate) fn column(field: &Value) -> TableColumn {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mode = field["mode"].as_str().unwrap_or("NULLABLE").to_owned();
    let has_default = !field["defaultValueExpression"].is_null();
    TableColumn { name: text(&field["name"]), kind: text(&field["type"]), mode, has_default }
}

/// A table's whole name. The table may have a partition: `t$20210101`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Named {
    project: String,
    dataset: String,
    table: String,
}

impl Named {
    pub(crate) fn parse(text: &str, project: &str) -> Result<Self> {
        let invalid = || {
            Error::Invalid(format!("`{text}` names no table of BigQuery: use dataset.table, or dataset.table$20210101"))
        };
        // A project may have a domain before it: `example.com:project`.
        let mut parts = text.rsplitn(3, '.');
        let (table, dataset) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let project = parts.next().unwrap_or(project);
        let (name, partition) =
            table.split_once('$').map_or((table, None), |(name, partition)| (name, Some(partition)));
        let word =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '));
        let cut = partition.is_none_or(|partition| {
            !partition.is_empty() && (partition.bytes().all(|b| b.is_ascii_digit()) || partition.starts_with("__"))
        });
        if !word(dataset) || !word(name) || !cut || project.is_empty() || project.contains(['/', '?', '#']) {
            return Err(invalid());
        }
        Ok(Self { project: project.to_owned(), dataset: dataset.to_owned(), table: table.to_owned() })
    }

    pub(crate) fn has_partition(&self) -> bool {
        self.table.contains('$')
    }

    /// Another table beside it.
    pub(crate) fn beside(&self, table: impl Into<String>) -> Self {
        Self { table: table.into(), ..self.clone() }
    }

    /// The table itself.
    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// The name in GoogleSQL.
    pub(crate) fn sql(&self) -> String {
        format!("`{self}`")
    }

    pub(super) fn reference(&self) -> Value {
        json!({ "projectId": self.project, "datasetId": self.dataset, "tableId": self.table })
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.dataset, self.table)
    }
}

/// The columns as BigQuery writes them. A moment without a zone is its `DATETIME`:
/// <https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#type_conversions>.
/// Of a text file it reads them by itself: a UUID would be base64 to it, and an object is no `STRING`.
pub(super) fn fields(schema: &Schema, format: Format) -> Result<Vec<Value>> {
    schema.check()?;
    let field = |column: &crate::Column| {
        let kind = match (column.kind, format) {
            (Type::Uuid, Format::Csv | Format::JsonLines) => "STRING",
            (Type::Json, Format::Csv | Format::JsonLines) => "JSON",
            (kind, _) => kind_of(&kind.into(), &column.name)?,
        };
        Ok(json!({ "name": column.name, "type": kind, "mode": "NULLABLE" }))
    };
    schema.columns().iter().map(field).collect()
}

/// The columns of a Parquet file as BigQuery writes them.
pub(super) fn exact(fields: &[Field]) -> Result<Vec<Value>> {
    fields
        .iter()
        .map(|field| {
            let (kind, repeated) = match &field.kind {
                ColumnType::List(of) => (kind_of(of, &field.name)?, true),
                kind => (kind_of(kind, &field.name)?, false),
            };
            let mode = match (repeated, field.nullable) {
                (true, _) => "REPEATED",
                (false, true) => "NULLABLE",
                (false, false) => "REQUIRED",
            };
            Ok(json!({ "name": field.name, "type": kind, "mode": mode }))
        })
        .collect()
}

/// BigQuery's type for what a column of a Parquet file holds:
/// <https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#type_conversions>.
pub(crate) fn kind_of(kind: &ColumnType, column: &str) -> Result<&'static str> {
    let wrong = |what: String| {
        Err(Error::Invalid(format!("column `{column}` holds {kind}, and BigQuery {what}: make it another type")))
    };
    Ok(match kind {
        ColumnType::Bool => "BOOLEAN",
        ColumnType::Int8 | ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => "INTEGER",
        ColumnType::Uint8 | ColumnType::Uint16 | ColumnType::Uint32 => "INTEGER",
        ColumnType::Uint64 => return wrong("has whole numbers of 63 bits and a sign".into()),
        ColumnType::Float32 | ColumnType::Float64 => "FLOAT",
        ColumnType::Decimal { precision, scale } if *scale <= 9 && precision - scale <= 29 => "NUMERIC",
        ColumnType::Decimal { .. } => "BIGNUMERIC",
        // JSON in a Parquet file arrives as text.
        ColumnType::Text | ColumnType::Json => "STRING",
        ColumnType::Bytes | ColumnType::Uuid => "BYTES",
        ColumnType::Date => "DATE",
        ColumnType::Time(Unit::Nano) | ColumnType::Timestamp { unit: Unit::Nano, .. } => {
            return wrong("keeps microseconds".into());
        }
        ColumnType::Time(_) => "TIME",
        ColumnType::Timestamp { utc: true, .. } => "TIMESTAMP",
        ColumnType::Timestamp { utc: false, .. } => "DATETIME",
        ColumnType::List(_) => return wrong("has no list of lists".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_types_are_bigquerys_or_refused() {
        let of = |kind: ColumnType| exact(&[Field { name: "c".into(), kind, nullable: false }]).map(|f| f[0].clone());
        let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
        let list = ColumnType::List(Box::new(ColumnType::Int16));
        for (kind, name, mode) in [
            (decimal(38, 9), "NUMERIC", "REQUIRED"),
            (decimal(38, 8), "BIGNUMERIC", "REQUIRED"),
            (list.clone(), "INTEGER", "REPEATED"),
            (ColumnType::Timestamp { unit: Unit::Micro, utc: true }, "TIMESTAMP", "REQUIRED"),
        ] {
            assert_eq!(of(kind).unwrap(), json!({ "name": "c", "type": name, "mode": mode }));
        }
        let nano = ColumnType::Timestamp { unit: Unit::Nano, utc: true };
        for (kind, said) in [
            (nano, "keeps microseconds"),
            (ColumnType::Uint64, "63 bits"),
            (ColumnType::List(Box::new(list)), "list of lists"),
        ] {
            let error = of(kind).unwrap_err().to_string();
            assert!(error.contains("column `c`") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn stated_types_are_those_of_a_parquet_file_or_what_is_read_of_a_text() {
        let schema = Schema::new([
            ("a", Type::Bool),
            ("b", Type::Int),
            ("c", Type::Float),
            ("d", Type::Decimal(38, 9)),
            ("e", Type::Decimal(38, 10)),
            ("f", Type::Date),
            ("g", Type::Time),
            ("h", Type::Timestamp),
            ("i", Type::Timestamptz),
            ("j", Type::Uuid),
            ("k", Type::Json),
            ("l", Type::Text),
        ]);
        let types = |format| {
            let told = fields(&schema, format).unwrap();
            told.iter().map(|field| field["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let same = "BOOLEAN INTEGER FLOAT NUMERIC BIGNUMERIC DATE TIME DATETIME TIMESTAMP";
        assert_eq!(types(Format::Parquet), format!("{same} BYTES STRING STRING"));
        assert_eq!(types(Format::Csv), format!("{same} STRING JSON STRING"));
        assert_eq!(types(Format::JsonLines), types(Format::Csv));
        let error = fields(&Schema::new([("a", Type::Decimal(2, 3))]), Format::Csv).unwrap_err().to_string();
        assert!(error.starts_with("column `a`: `decimal(2,3)` is no type of a column"), "{error}");
    }

    #[test]
    fn names_have_two_or_three_parts_and_a_partition() {
        let whole = |text: &str| Named::parse(text, "p").map(|named| named.to_string());
        assert_eq!(whole("d.t").unwrap(), "p.d.t");
        assert_eq!(whole("example.com:q.d.t$20210101").unwrap(), "example.com:q.d.t$20210101");
        for text in ["t", "d.", ".t", "d.t$", "d.t$x", "d.t/../u", "a/b.d.t", ""] {
            assert!(whole(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_column_may_have_a_value_of_its_own() {
        let plain = json!({ "name": "c", "type": "STRING" });
        let filled = json!({ "name": "c", "type": "STRING", "defaultValueExpression": "'x'" });
        assert!(!column(&plain).has_default && column(&filled).has_default);
    }
}
