//! Parquet to typed columns, some rows at a time.

use std::fs::File;
use std::path::{Path, PathBuf};

use polars::io::parquet::read::ParallelStrategy;
use polars::prelude::{
    self as pl, DataFrame, DataType, IntoColumn, ParquetReader, SchemaExt, SerReader, TimeUnit,
};

use crate::csv::Batch;
use crate::schema::{Column, Schema, Type};
use crate::{Error, Result};

/// How many rows are in memory at once.
const BATCH_ROWS: usize = 1 << 18;

/// The columns of a Parquet file, in the types that this crate knows: all whole numbers are [`Type::Int`], all moments
/// [`Type::Timestamp`]. Reads the file's footer only. Blocks.
///
/// # Errors
/// The file cannot be read, is no Parquet file, or has a column of a type that fits none (a list, say).
pub fn read_parquet_schema(parquet: impl AsRef<Path>) -> Result<Schema> {
    let batches = ParquetBatches::open(parquet.as_ref())?;
    Ok(Schema::new(
        batches.columns.into_iter().map(|c| (c.name, c.kind)),
    ))
}

/// A Parquet file as typed batches.
pub(crate) struct ParquetBatches {
    /// What each batch holds, in order.
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: u64,
    path: PathBuf,
    /// Where each batch begins and how many rows it has.
    slices: std::vec::IntoIter<(usize, usize)>,
}

impl ParquetBatches {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |e: pl::PolarsError| {
            Error::format(path, format!("this cannot be read as Parquet: {e}"))
        };
        let file = File::open(path).map_err(Error::io(path))?;
        let mut reader = ParquetReader::new(file);
        let metadata = reader.get_metadata().map_err(failed)?.clone();
        let schema = pl::Schema::from_arrow_schema(reader.schema().map_err(failed)?.as_ref());
        let mut columns = Vec::new();
        for (name, dtype) in schema.iter() {
            let kind = kind_of(dtype).ok_or_else(|| {
                Error::columns(
                    path.display().to_string(),
                    format!("column `{name}` holds {dtype}, which fits no column of a table"),
                )
            })?;
            columns.push(Column {
                name: name.to_string(),
                kind,
            });
        }
        let mut slices = Vec::new();
        let mut start = 0;
        for group in &metadata.row_groups {
            let end = start + group.num_rows();
            while start < end {
                let rows = BATCH_ROWS.min(end - start);
                slices.push((start, rows));
                start += rows;
            }
        }
        Ok(Self {
            columns,
            rows: start as u64,
            path: path.to_owned(),
            slices: slices.into_iter(),
        })
    }

    fn read(&self, start: usize, rows: usize) -> Result<Batch> {
        let failed = |e: pl::PolarsError| Error::format(&self.path, e.to_string());
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let frame = ParquetReader::new(file)
            .with_slice(Some((start, rows)))
            .read_parallel(ParallelStrategy::Columns)
            .finish()
            .map_err(failed)?;
        if frame.height() != rows || frame.width() != self.columns.len() {
            return Err(Error::format(
                &self.path,
                "the file changed while it was read",
            ));
        }
        let columns = frame
            .columns()
            .iter()
            .zip(&self.columns)
            .map(|(column, stated)| normal(column, stated.kind));
        let columns = columns
            .collect::<pl::PolarsResult<Vec<_>>>()
            .map_err(failed)?;
        let frame = DataFrame::new(rows, columns).map_err(failed)?;
        Ok(Batch {
            frame,
            position: (start + rows) as u64,
        })
    }
}

impl Iterator for ParquetBatches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let (start, rows) = self.slices.next()?;
        Some(self.read(start, rows))
    }
}

fn kind_of(dtype: &DataType) -> Option<Type> {
    Some(match dtype {
        DataType::Boolean => Type::Bool,
        dtype if dtype.is_integer() => Type::Int,
        dtype if dtype.is_float() => Type::Float,
        DataType::Date => Type::Date,
        DataType::Datetime(_, _) => Type::Timestamp,
        DataType::String | DataType::Categorical(_, _) | DataType::Null => Type::Text,
        _ => return None,
    })
}

/// The column in the one form of its type. A number that does not fit is an error.
fn normal(column: &pl::Column, kind: Type) -> pl::PolarsResult<pl::Column> {
    let zone = match column.dtype() {
        DataType::Datetime(_, zone) => zone.clone(),
        _ => None,
    };
    if kind == Type::Timestamp {
        // Moments with a zone are kept in UTC; that is what is delivered.
        let micros = column.strict_cast(&DataType::Datetime(TimeUnit::Microseconds, zone))?;
        let physical = micros
            .as_materialized_series()
            .datetime()?
            .physical()
            .clone();
        return Ok(pl::IntoSeries::into_series(physical)
            .into_datetime(TimeUnit::Microseconds, None)
            .into_column());
    }
    column.strict_cast(&kind.polars())
}
