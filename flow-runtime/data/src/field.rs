//! What a column of a Parquet file or of a table holds, to the bit. A [`Type`] is what a CSV file can state; this is finer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::schema::{Column, Type};

/// How fine a time or a moment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Thousandths of a second.
    Milli,
    /// Millionths of a second: what Postgres and SQLite keep.
    Micro,
    /// Billionths of a second.
    Nano,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Milli => "ms",
            Self::Micro => "us",
            Self::Nano => "ns",
        })
    }
}

/// The exact type of a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ColumnType {
    /// Postgres `boolean`, SQLite `BOOLEAN` (0 and 1).
    Bool,
    /// Postgres `smallint`, SQLite `INTEGER`, as all whole numbers.
    Int8,
    /// Postgres `smallint`.
    Int16,
    /// Postgres `integer`.
    Int32,
    /// Postgres `bigint`.
    Int64,
    /// Postgres `smallint`.
    Uint8,
    /// Postgres `integer`.
    Uint16,
    /// Postgres `bigint`.
    Uint32,
    /// Postgres `numeric(20)`. SQLite `INTEGER`: a number beyond 63 bits is refused there.
    Uint64,
    /// Postgres `real`, SQLite `REAL`.
    Float32,
    /// Postgres `double precision`, SQLite `REAL`. SQLite cannot hold "not a number"; it is refused there.
    Float64,
    /// So many digits, of which `scale` come after the point. Postgres `numeric(precision, scale)`, SQLite `TEXT`, which
    /// keeps every digit.
    Decimal {
        /// All digits, at most 38.
        precision: u8,
        /// The digits after the point.
        scale: u8,
    },
    /// Postgres and SQLite `text`. Postgres refuses a zero byte in it.
    Text,
    /// Text that is JSON. Postgres `json`, which keeps it as it is; SQLite `TEXT`.
    Json,
    /// Postgres `bytea`, SQLite `BLOB`.
    Bytes,
    /// Postgres `uuid`, SQLite `TEXT`.
    Uuid,
    /// A day. Postgres `date`, SQLite `DATE` (as text).
    Date,
    /// A time of day. Postgres `time`, SQLite `TIME` (as text).
    Time(Unit),
    /// A day and a time. Postgres `timestamp` or `timestamptz`, SQLite `TIMESTAMP` (as text).
    Timestamp {
        /// How fine it is.
        unit: Unit,
        /// True for a moment (in UTC), false for what a clock on the wall showed.
        utc: bool,
    },
    /// A list. Postgres: an array; SQLite: JSON; BigQuery: a repeated column, which is empty where the list is null. A list of
    /// lists fits none of them.
    List(Box<ColumnType>),
}

impl ColumnType {
    /// What a table of Postgres is created with.
    pub(crate) fn postgres(&self) -> String {
        match self {
            Self::Bool => "boolean".into(),
            Self::Int8 | Self::Int16 | Self::Uint8 => "smallint".into(),
            Self::Int32 | Self::Uint16 => "integer".into(),
            Self::Int64 | Self::Uint32 => "bigint".into(),
            Self::Uint64 => "numeric(20,0)".into(),
            Self::Float32 => "real".into(),
            Self::Float64 => "double precision".into(),
            Self::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
            Self::Text => "text".into(),
            Self::Json => "json".into(),
            Self::Bytes => "bytea".into(),
            Self::Uuid => "uuid".into(),
            Self::Date => "date".into(),
            Self::Time(_) => "time without time zone".into(),
            Self::Timestamp { utc: false, .. } => "timestamp without time zone".into(),
            Self::Timestamp { utc: true, .. } => "timestamp with time zone".into(),
            Self::List(of) => format!("{}[]", of.postgres()),
        }
    }

    /// What a table of SQLite is created with.
    pub(crate) fn sqlite(&self) -> &'static str {
        match self {
            Self::Bool => "BOOLEAN",
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => "INTEGER",
            Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64 => "INTEGER",
            Self::Float32 | Self::Float64 => "REAL",
            Self::Bytes => "BLOB",
            Self::Date => "DATE",
            Self::Time(_) => "TIME",
            Self::Timestamp { .. } => "TIMESTAMP",
            Self::Decimal { .. } | Self::Text | Self::Json | Self::Uuid | Self::List(_) => "TEXT",
        }
    }

    /// The coarser type, for those that have one.
    pub(crate) fn coarse(&self) -> Option<Type> {
        Some(match self {
            Self::Bool => Type::Bool,
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => Type::Int,
            Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64 => Type::Int,
            Self::Float32 | Self::Float64 => Type::Float,
            Self::Decimal { precision, scale } => Type::Decimal(*precision, *scale),
            Self::Date => Type::Date,
            Self::Time(_) => Type::Time,
            Self::Timestamp { utc: false, .. } => Type::Timestamp,
            Self::Timestamp { utc: true, .. } => Type::Timestamptz,
            Self::Uuid => Type::Uuid,
            Self::Json => Type::Json,
            Self::Text => Type::Text,
            Self::Bytes | Self::List(_) => return None,
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Time(unit) => write!(f, "time[{unit}]"),
            Self::Timestamp { unit, utc: false } => write!(f, "timestamp[{unit}]"),
            Self::Timestamp { unit, utc: true } => write!(f, "timestamp[{unit}, utc]"),
            Self::List(of) => write!(f, "list<{of}>"),
            Self::Bool => f.write_str("bool"),
            Self::Int8 => f.write_str("int8"),
            Self::Int16 => f.write_str("int16"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::Uint8 => f.write_str("uint8"),
            Self::Uint16 => f.write_str("uint16"),
            Self::Uint32 => f.write_str("uint32"),
            Self::Uint64 => f.write_str("uint64"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::Text => f.write_str("text"),
            Self::Json => f.write_str("json"),
            Self::Bytes => f.write_str("bytes"),
            Self::Uuid => f.write_str("uuid"),
            Self::Date => f.write_str("date"),
        }
    }
}

impl From<Type> for ColumnType {
    fn from(kind: Type) -> Self {
        match kind {
            Type::Bool => Self::Bool,
            Type::Int => Self::Int64,
            Type::Float => Self::Float64,
            Type::Decimal(precision, scale) => Self::Decimal { precision, scale },
            Type::Date => Self::Date,
            Type::Time => Self::Time(Unit::Micro),
            Type::Timestamp => Self::Timestamp { unit: Unit::Micro, utc: false },
            Type::Timestamptz => Self::Timestamp { unit: Unit::Micro, utc: true },
            Type::Uuid => Self::Uuid,
            Type::Json => Self::Json,
            Type::Text => Self::Text,
        }
    }
}

/// A column: its name, its exact type, and whether a value may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The name, compared letter by letter.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// True when a value may be null.
    pub nullable: bool,
}

impl Field {
    /// A column whose values may be null.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        Self { name: name.into(), kind, nullable: true }
    }
}

impl From<&Column> for Field {
    fn from(column: &Column) -> Self {
        Self::new(&column.name, column.kind.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_short_names_and_survive_json() {
        let list = ColumnType::List(Box::new(ColumnType::Decimal { precision: 12, scale: 2 }));
        let moment = ColumnType::Timestamp { unit: Unit::Nano, utc: true };
        assert_eq!((list.to_string(), moment.to_string()), ("list<decimal(12,2)>".into(), "timestamp[ns, utc]".into()));
        assert_eq!(list.postgres(), "numeric(12,2)[]");
        for kind in [list, moment, ColumnType::Time(Unit::Micro), ColumnType::Uuid] {
            let field = Field::new("a", kind);
            let json = serde_json::to_string(&field).unwrap();
            assert_eq!(serde_json::from_str::<Field>(&json).unwrap(), field);
        }
    }
}
