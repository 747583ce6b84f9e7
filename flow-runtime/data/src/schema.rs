//! What the columns of a table are called and hold: stated, not guessed.

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use crate::kind::Type;
use crate::{CsvOptions, Error, Result};

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
///
/// In JSON: `{"columns": [{"name": "fare", "type": "decimal(12,2)"}], "nulls": ["NA"]}`; the types by their [names](Type).
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
    /// number has a leading zero or plus (codes such as `007` stay text). It is one of [`Type::Int`], [`Type::Float`],
    /// [`Type::Date`], [`Type::Timestamp`] and [`Type::Bool`], or text: how many digits a decimal has, or that a text is a
    /// UUID, no sample tells. Moments of which some have a zone and some have none stay text. Should a later row differ, the
    /// load says so, but for a moment with an offset where the sample has none: it is turned to UTC, beside others whose zone
    /// nobody knows. State that column with [`Schema::with`] then, or let
    /// [`ParquetOptions::widen`](crate::ParquetOptions::widen) look at the whole file. Blocks.
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
    /// text, as they stand there. Of the options only the encoding, the formats and the nulls matter.
    ///
    /// # Errors
    /// The file cannot be read, or no line among the first is an object with a key.
    pub fn infer_json(json: impl AsRef<Path>, options: &CsvOptions) -> Result<Self> {
        crate::infer::infer_json(json.as_ref(), options)
    }

    /// Refuses a type that there cannot be.
    pub(crate) fn check(&self) -> Result<()> {
        self.columns.iter().try_for_each(|column| {
            column.kind.check().map_err(|error| Error::Invalid(format!("column `{}`: {error}", column.name)))
        })
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
        let schema = Schema::new([("a", Type::Int), ("b", Type::Timestamp), ("c", Type::Decimal(12, 2))]);
        let json = serde_json::to_string(&schema).unwrap();
        let columns =
            r#"{"name":"a","type":"int"},{"name":"b","type":"timestamp"},{"name":"c","type":"decimal(12,2)"}"#;
        assert_eq!(json, format!(r#"{{"columns":[{columns}]}}"#));
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
