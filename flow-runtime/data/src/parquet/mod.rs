//! Parquet files: written from CSV, read in batches.

mod gather;
mod group;
mod layout;
mod read;
mod unfit;
mod weight;
mod write;

pub(crate) use layout::{arrow, described, paged};
pub(crate) use read::{BATCH_BYTES, Footer, ParquetBatches, read_footer};
pub use read::{read_parquet_fields, read_parquet_schema};
pub use write::{ParquetFile, ParquetOptions, parquetize, parquetize_json};
