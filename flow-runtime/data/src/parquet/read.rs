//! Parquet to typed columns, some rows at a time.

use std::fs::File;
use std::path::{Path, PathBuf};

use polars::io::parquet::read::ParallelStrategy;
use polars::prelude::{self as pl, DataFrame, DataType, IntoColumn, ParquetReader, SerReader, TimeUnit};
use polars_arrow::datatypes::ArrowDataType;

use crate::csv::Batch;
use crate::schema::{Column, Schema, Type};
use crate::{Error, Result};

/// How many rows are in memory at once.
const BATCH_ROWS: usize = 1 << 18;

/// The columns of a Parquet file, in the types that this crate knows: all whole numbers are [`Type::Int`], all moments
/// [`Type::Timestamp`]. Reads the file's footer only. Blocks.
///
/// # Errors
/// The file cannot be read, is no Parquet file, or has a column of a type that fits none (a list, a decimal, whole numbers of 8 or 16
/// bits).
pub fn read_parquet_schema(parquet: impl AsRef<Path>) -> Result<Schema> {
    let batches = ParquetBatches::open(parquet.as_ref())?;
    Ok(Schema::new(batches.columns.into_iter().map(|c| (c.name, c.kind))))
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
        let failed = |e: pl::PolarsError| Error::format(path, format!("this cannot be read as Parquet: {e}"));
        let file = File::open(path).map_err(Error::io(path))?;
        let mut reader = ParquetReader::new(file);
        let metadata = reader.get_metadata().map_err(failed)?.clone();
        let schema = reader.schema().map_err(failed)?;
        let mut columns = Vec::new();
        for (name, field) in schema.iter() {
            let kind = kind_of(&field.dtype).ok_or_else(|| {
                let message = format!("column `{name}` holds {:?}, which is not supported", field.dtype);
                Error::columns(path.display().to_string(), message)
            })?;
            columns.push(Column { name: name.to_string(), kind });
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
        Ok(Self { columns, rows: start as u64, path: path.to_owned(), slices: slices.into_iter() })
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
            return Err(Error::format(&self.path, "the file changed while it was read"));
        }
        let columns = frame.columns().iter().zip(&self.columns).map(|(column, stated)| normal(column, stated.kind));
        let columns = columns.collect::<pl::PolarsResult<Vec<_>>>().map_err(failed)?;
        let frame = DataFrame::new(rows, columns).map_err(failed)?;
        Ok(Batch { frame, position: (start + rows) as u64 })
    }
}

impl Iterator for ParquetBatches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let (start, rows) = self.slices.next()?;
        Some(self.read(start, rows))
    }
}

/// Decided by the file's own types: polars panics at those that it was not built for.
fn kind_of(dtype: &ArrowDataType) -> Option<Type> {
    use ArrowDataType as A;
    Some(match dtype {
        A::Boolean => Type::Bool,
        A::Int32 | A::Int64 | A::UInt32 | A::UInt64 => Type::Int,
        A::Float32 | A::Float64 => Type::Float,
        A::Date32 => Type::Date,
        A::Timestamp(_, _) => Type::Timestamp,
        A::Utf8 | A::LargeUtf8 | A::Utf8View | A::Null => Type::Text,
        A::Dictionary(_, values, _) if kind_of(values) == Some(Type::Text) => Type::Text,
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
        let physical = micros.as_materialized_series().datetime()?.physical().clone();
        return Ok(pl::IntoSeries::into_series(physical).into_datetime(TimeUnit::Microseconds, None).into_column());
    }
    column.strict_cast(&kind.polars())
}
