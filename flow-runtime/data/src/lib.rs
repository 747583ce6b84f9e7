//! What data pipelines do, as plain functions: fetch a file, give it types, put it where it belongs.
//!
//! The crate knows nothing of flow. A task of a pipeline calls it; so may any other program.
//!
//! ```text
//! download ──> csv, csv.gz ──┬──> parquetize ──> upload (gs://, s3://, az://, a folder)
//!                 Schema ────┤
//!                            └──> load_csv, load_parquet ──> summarise (Postgres, SQLite)
//! ```
//!
//! What holds for all of it:
//!
//! * **Whole or not at all.** A file, an object and the rows of a load appear at once, when they are complete. What was
//!   interrupted leaves a `.part` file at most, and a later call continues or replaces it. Doing a thing twice has
//!   the effect of doing it once.
//! * **Types are stated.** A [`Schema`] says what a column holds. A value that is something else is an error which
//!   names file, row, column and text; it never becomes null in silence. Blank is null.
//! * **Memory is bounded**, whatever the size of a file: everything moves in batches through short queues.
//! * **Secrets stay out of sight**: every URL in an error or a report has gone through [`redact()`].
//! * What was done is told by a `tracing` event: rows, bytes, place.
//! * [`Error::is_permanent`] says whether trying again can help.
//!
//! Functions that talk to a network or a database are `async` and need a tokio runtime; dropping their future cancels
//! them. [`parquetize`], [`Schema::infer`] and [`read_parquet_schema`] compute and block: call them from a thread that
//! may block (`tokio::task::spawn_blocking`), never on an async thread.
//!
//! ```
//! # fn main() -> Result<(), flow_data::Error> {
//! use flow_data::{ParquetOptions, Schema, Type, parquetize};
//!
//! # let temporary = tempfile::tempdir().unwrap();
//! # let folder = temporary.path();
//! let csv = folder.join("trips.csv");
//! std::fs::write(&csv, "id,picked_up,fare\n1,2021-01-01 00:30:10,8\n2,2021-01-01 00:51:20,\n").unwrap();
//!
//! let schema = Schema::new([("id", Type::Int), ("picked_up", Type::Timestamp), ("fare", Type::Float)]);
//! let file = parquetize(&csv, folder.join("trips.parquet"), &schema, &ParquetOptions::default(), &())?;
//! assert_eq!(file.rows, 2);
//! # Ok(()) }
//! ```

mod cell;
mod csv;
mod database;
mod download;
mod error;
mod files;
mod infer;
mod lake;
mod parquet;
mod parse;
mod progress;
mod redact;
mod schema;
mod tls;

pub use database::{Loaded, SOURCE_COLUMN, Shape, Summary, load_csv, load_parquet, summarise};
pub use download::{Download, download, download_to};
pub use error::{Error, Result};
pub use lake::{Fetched, Lake, Uploaded, fetch, upload};
pub use parquet::{ParquetFile, ParquetOptions, parquetize, read_parquet_schema};
pub use progress::Progress;
pub use redact::redact;
pub use schema::{Column, Schema, Type};
