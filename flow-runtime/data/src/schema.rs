//! What the columns of a table are called and hold: stated, not guessed.

use std::path::Path;

use polars::prelude::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::{CsvOptions, Result, parse};

/// What a column holds. Every type has a null; in a CSV file it is written as nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// `true` or `false` (also `t`, `f`, `1`, `0`, in any case). SQL: `boolean`.
    Bool,
    /// A whole number of 64 bits. SQL: `bigint`.
    Int,
    /// A number of 64 bits with a fraction, the nearest to what stands there; also `inf` and `NaN`. One that is beyond all of
    /// them, `1e400`, does not fit. SQL: `double precision`.
    Float,
    /// A day, `2021-01-31`. SQL: `date`.
    Date,
    /// A day and a time without a zone, in microseconds: `2021-01-31 08:05:00`, with `T` instead of the blank, with a
    /// fraction, or with an offset (`Z`, `+01:00`), which is then turned to UTC. A finer one than microseconds does not fit,
    /// unless it is zeros. SQL: `timestamp`.
    Timestamp,
    /// Any text. An empty text is written as `""`. SQL: `text`.
    Text,
}

impl Type {
    /// The type in an error's words.
    pub(crate) fn wanted(self) -> &'static str {
        match self {
            Self::Bool => "a truth value (true, false, t, f, 1, 0)",
            Self::Int => "a whole number of 64 bits",
            Self::Float => "a number",
            Self::Date => "a date such as 2021-01-31",
            Self::Timestamp => "a timestamp such as 2021-01-31 08:05:00",
            Self::Text => "text in UTF-8",
        }
    }

    /// The same of a text that is not of the type.
    pub(crate) fn wanted_of(self, text: &[u8]) -> &'static str {
        match self {
            Self::Float if parse::is_too_large(text.trim_ascii()) => {
                "a number that 64 bits hold (the greatest is 1.8e308)"
            }
            _ => self.wanted(),
        }
    }

    pub(crate) fn polars(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Date => DataType::Date,
            Self::Timestamp => DataType::Datetime(TimeUnit::Microseconds, None),
            Self::Text => DataType::String,
        }
    }
}

/// One column: its name, as in the file's header, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The name, compared letter by letter.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: Type,
}

/// An ordered list of columns. A file is matched to it by the names in its header: a column that is stated and missing
/// is an error; a column that is not stated is kept as text, after the stated ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Schema {
    columns: Vec<Column>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nulls: Vec<String>,
}

impl Schema {
    /// States columns by name and type. A name that comes twice keeps its first place and its last type.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, Type)>) -> Self {
        columns.into_iter().fold(Self::default(), |schema, (name, kind)| schema.with(name, kind))
    }

    /// The same schema with one column stated, or restated.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, kind: Type) -> Self {
        let name = name.into();
        match self.columns.iter_mut().find(|c| c.name == name) {
            Some(column) => column.kind = kind,
            None => self.columns.push(Column { name, kind }),
        }
        self
    }

    /// The same schema for files that write null as some text as well, `NA` or `\\N`, say. It holds for every column.
    #[must_use]
    pub fn with_null(mut self, text: impl Into<String>) -> Self {
        self.nulls.push(text.into());
        self
    }

    /// Guesses from the first rows of a CSV file (gzipped or not). At most 10,000 rows and some 4 MiB are looked at. The guess
    /// is cautious: a column gets a type only when every value in the sample is of it, at least one is there, and no
    /// number has a leading zero or plus (codes such as `007` stay text). Should a later row differ, the load says so; state
    /// that column with [`Schema::with`] then, or let [`ParquetOptions::widen`](crate::ParquetOptions::widen) look at the
    /// whole file. Blocks.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or is no CSV: it begins like JSON or like a web page, or its header is one column that
    /// another separator would make several of, and its rows too.
    pub fn infer(csv: impl AsRef<Path>) -> Result<Self> {
        Self::infer_with(csv, &CsvOptions::default())
    }

    /// [`Schema::infer`] for a CSV file that is written as the options say. A text that they name for null says nothing of a
    /// column's type, and is one of the schema's.
    ///
    /// ```
    /// # fn main() -> Result<(), flow_data::Error> {
    /// use flow_data::{CsvOptions, Schema, Type};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let csv = folder.path().join("counts.csv");
    /// std::fs::write(&csv, "n\nNA\n5\nNULL\n").unwrap();
    /// let mut options = CsvOptions::default();
    /// options.nulls = vec!["NA".into(), "NULL".into()];
    /// let schema = Schema::infer_with(&csv, &options)?;
    /// assert_eq!(schema, Schema::new([("n", Type::Int)]).with_null("NA").with_null("NULL"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Schema::infer`].
    pub fn infer_with(csv: impl AsRef<Path>, options: &CsvOptions) -> Result<Self> {
        crate::infer::infer_csv(csv.as_ref(), options)
    }

    /// [`Schema::infer`] for JSON lines. What JSON marks as a text is never guessed to be a number or a truth value; lists and objects are
    /// text, as they stand there. Of the options only the formats and the nulls matter.
    ///
    /// # Errors
    /// The file cannot be read, or no line among the first is an object with a key.
    pub fn infer_json(json: impl AsRef<Path>, options: &CsvOptions) -> Result<Self> {
        crate::infer::infer_json(json.as_ref(), options)
    }

    /// The texts that stand for null, besides nothing at all.
    pub fn nulls(&self) -> &[String] {
        &self.nulls
    }

    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The 18 columns of the yellow taxi trip files that New York's Taxi and Limousine Commission publishes as CSV.
    /// Counts and codes are whole numbers, amounts and distances have a fraction.
    pub fn yellow_tripdata() -> Self {
        use Type::{Float, Int, Text, Timestamp};
        Self::new([
            ("VendorID", Int),
            ("tpep_pickup_datetime", Timestamp),
            ("tpep_dropoff_datetime", Timestamp),
            ("passenger_count", Int),
            ("trip_distance", Float),
            ("RatecodeID", Int),
            ("store_and_fwd_flag", Text),
            ("PULocationID", Int),
            ("DOLocationID", Int),
            ("payment_type", Int),
            ("fare_amount", Float),
            ("extra", Float),
            ("mta_tax", Float),
            ("tip_amount", Float),
            ("tolls_amount", Float),
            ("improvement_surcharge", Float),
            ("total_amount", Float),
            ("congestion_surcharge", Float),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_survives_json() {
        let schema = Schema::new([("a", Type::Int), ("b", Type::Timestamp)]);
        let json = serde_json::to_string(&schema).unwrap();
        assert_eq!(json, r#"{"columns":[{"name":"a","type":"int"},{"name":"b","type":"timestamp"}]}"#);
        assert_eq!(serde_json::from_str::<Schema>(&json).unwrap(), schema);
    }

    #[test]
    fn a_column_restated_keeps_its_place() {
        let schema = Schema::new([("a", Type::Int), ("b", Type::Int)]).with("a", Type::Text).with("c", Type::Bool);
        let names: Vec<_> = schema.columns().iter().map(|c| (c.name.as_str(), c.kind)).collect();
        assert_eq!(names, [("a", Type::Text), ("b", Type::Int), ("c", Type::Bool)]);
    }

    #[test]
    fn yellow_files_have_eighteen_columns() {
        assert_eq!(Schema::yellow_tripdata().columns().len(), 18);
    }
}
