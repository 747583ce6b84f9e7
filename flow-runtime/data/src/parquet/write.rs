//! CSV to Parquet.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use polars::prelude::{self as pl, DataFrame};
use serde::{Deserialize, Serialize};

use super::group::GroupWriter;
use crate::csv::CsvBatches;
use crate::files::Part;
use crate::schema::{Column, Schema};
use crate::{Error, Progress, Result};

/// A row group is written when it has this size in memory, however few its rows.
const MAX_GROUP_BYTES: usize = 64 << 20;

/// How a Parquet file is laid out. It is always compressed with zstd and carries statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParquetOptions {
    /// The most rows in one row group; 131,072 unless said. A group is ended earlier when it takes 64 MiB of memory.
    pub row_group_rows: usize,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self { row_group_rows: 1 << 17 }
    }
}

/// A Parquet file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParquetFile {
    /// Where it is.
    pub path: PathBuf,
    /// How many rows it has.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its columns in order.
    pub columns: Vec<Column>,
}

/// Turns a CSV file, plain or gzipped, into a Parquet file. The columns come in the order of the schema; columns of the file
/// that the schema does not state follow as text. Values are checked as [`Type`](crate::Type) says; blank is null.
///
/// `progress` counts bytes of the CSV file on disk, of its size. The memory in use does not grow with the file.
/// The Parquet file appears whole, replacing an earlier one; two writers of one file take turns. Blocks, and computes on
/// several threads: never call it on an async thread.
///
/// # Errors
/// A stated column is missing, a value is not of its type, a record has too few or too many fields, the file cannot be
/// read or written, or `progress` cancelled.
pub fn parquetize(
    csv: impl AsRef<Path>,
    parquet: impl AsRef<Path>,
    schema: &Schema,
    options: &ParquetOptions,
    progress: &dyn Progress,
) -> Result<ParquetFile> {
    let path = parquet.as_ref();
    let batches = CsvBatches::open(csv.as_ref(), schema)?;
    let columns = batches.columns.clone();
    let total = batches.bytes;
    let part = Part::create(path, progress)?;
    let mut writer = Writer::new(&part, &columns, options.row_group_rows.max(1))?;
    for batch in batches {
        let batch = batch?;
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        writer.push(batch.frame)?;
        progress.report(batch.position, Some(total));
    }
    let (rows, bytes) = writer.finish()?;
    part.commit()?;
    tracing::info!(rows, bytes, "wrote {}", path.display());
    Ok(ParquetFile { path: path.to_owned(), rows, bytes, columns })
}

struct Writer<'a> {
    part: &'a Part,
    writer: GroupWriter<BufWriter<&'a File>>,
    group_rows: usize,
    waiting: DataFrame,
    rows: u64,
}

impl<'a> Writer<'a> {
    fn new(part: &'a Part, columns: &[Column], group_rows: usize) -> Result<Self> {
        let fields = columns.iter().map(|c| pl::Field::new(c.name.as_str().into(), c.kind.polars()));
        let schema = pl::Schema::from_iter(fields);
        let out = BufWriter::with_capacity(1 << 20, &part.file);
        let writer = GroupWriter::new(out, columns).map_err(|e| failed(part, &e))?;
        Ok(Self { part, writer, group_rows, waiting: DataFrame::empty_with_schema(&schema), rows: 0 })
    }

    fn push(&mut self, frame: DataFrame) -> Result<()> {
        self.rows += frame.height() as u64;
        let part = self.part;
        self.waiting.vstack_mut_owned(frame).map_err(|e| failed(part, &e))?;
        while self.waiting.height() >= self.group_rows {
            let rest = self.waiting.slice(self.group_rows as i64, usize::MAX);
            let group = std::mem::replace(&mut self.waiting, rest).head(Some(self.group_rows));
            self.write(group)?;
        }
        if self.waiting.estimated_size() >= MAX_GROUP_BYTES {
            let rest = self.waiting.clear();
            let group = std::mem::replace(&mut self.waiting, rest);
            self.write(group)?;
        }
        Ok(())
    }

    fn write(&mut self, group: DataFrame) -> Result<()> {
        if group.height() == 0 {
            return Ok(());
        }
        self.writer.write(&group).map_err(|e| failed(self.part, &e))
    }

    /// Writes what waits and the footer. Returns rows and bytes.
    fn finish(mut self) -> Result<(u64, u64)> {
        let group = std::mem::take(&mut self.waiting);
        self.write(group)?;
        let bytes = self.writer.finish().map_err(|e| failed(self.part, &e))?;
        let written = self.part.file.metadata().map_err(Error::io(self.part.path()))?.len();
        if written != bytes {
            return Err(Error::format(self.part.path(), format!("{written} of {bytes} bytes were written")));
        }
        Ok((self.rows, bytes))
    }
}

fn failed(part: &Part, error: &pl::PolarsError) -> Error {
    Error::format(part.path(), error.to_string())
}
