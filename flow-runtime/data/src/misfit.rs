//! What becomes of what does not fit.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What becomes of a value that is not of its column's type, and of a row that has too few or too many fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Misfit {
    /// The file is refused, with row, column and text.
    #[default]
    Fail,
    /// The value is null. A field that is missing is null, one too many is dropped; a line that is no JSON object is a row of
    /// nulls.
    Null,
    /// The row goes, as it was, to a CSV file of its own beside the target.
    Quarantine,
}

/// How many bad rows are put up with, unless [`Misfit::Fail`] puts up with none. Beyond, the file is refused.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Tolerance {
    /// So many rows; any number unless said.
    pub rows: Option<u64>,
    /// So many of a hundred rows; any share unless said. It is looked at when the whole file has been read.
    pub percent: Option<f64>,
}

/// A row that was kept out.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) row: u64,
    /// The first column that was wrong, or nothing if the row as a whole was.
    pub(crate) column: String,
    pub(crate) reason: String,
    /// The row as it stands in the file.
    pub(crate) record: Vec<u8>,
}

/// What was found wrong with some rows.
#[derive(Debug, Default)]
pub(crate) struct Misfits {
    /// Rows that something is wrong with.
    pub(crate) rows: u64,
    /// Values that became null, or were dropped.
    pub(crate) values: u64,
    /// The first of them, as an error.
    pub(crate) first: Option<Error>,
    /// The rows that were kept out.
    pub(crate) rejected: Vec<Rejected>,
}

impl Misfits {
    /// Adds the counts of what was found further on.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.values += other.values;
        self.first = self.first.take().or(other.first);
    }

    /// Refuses more bad rows than are put up with. `of` is the number of all rows, once it is known.
    pub(crate) fn check(&self, file: &Path, tolerance: Tolerance, of: Option<u64>) -> Result<()> {
        let refused = |limit: String| {
            let first = self.first.as_ref().map_or(String::new(), |error| format!("; the first: {error}"));
            let of = of.map_or(String::new(), |of| format!(" of {of}"));
            Err(Error::format(file, format!("{}{of} rows do not fit, {limit} are put up with{first}", self.rows)))
        };
        if let Some(most) = tolerance.rows.filter(|most| self.rows > *most) {
            return refused(format!("{most}"));
        }
        match (tolerance.percent, of) {
            (Some(most), Some(of)) if self.rows as f64 > of as f64 * most / 100.0 => refused(format!("{most} %")),
            _ => Ok(()),
        }
    }
}
