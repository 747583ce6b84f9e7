//! Parquet files: written from CSV, read in batches.

mod group;
mod read;
mod write;

pub(crate) use read::ParquetBatches;
pub use read::read_parquet_schema;
pub use write::{ParquetFile, ParquetOptions, parquetize};
