//! What data pipelines do, as plain functions: fetch a file, give it types, put it where it belongs.
//!
//! The crate knows nothing of flow. A task of a pipeline calls it; so may any other program.
//!
//! ```text
//! download ──> csv, json ────┬──> parquetize ──┬──> Lake: upload, head, list, copy (gs://, s3://, az://, a folder)
//!                 Schema ────┤                 │              │
//!                            │                 │              └──> BigQuery: load, query, table
//!                            └─────────────────┴──> Warehouse::load ──> summarise, ask (Postgres, SQLite, BigQuery)
//!                                                   Warehouse::unload ──> Parquet (Postgres, SQLite, BigQuery)
//! ```
//!
//! What holds for all of it:
//!
//! * **Whole or not at all.** A file, an object and the rows of a load appear at once, when they are complete. What was
//!   interrupted leaves a `.part` file at most, and a later call continues or replaces it. Doing a thing twice has
//!   the effect of doing it once: an upload knows its object by the SHA-256, a load its job by the id or its name.
//! * **Types are stated.** A [`Schema`] says what a column of a CSV file holds, [`Field`]s say it of a Parquet file, to the
//!   bit. A value that is something else, or that a database cannot hold, is an error which names file, row, column and
//!   text, unless [`ParquetOptions::misfit`] says otherwise; it never becomes null in silence. Blank is null.
//! * **A table that does not fit is told before anything is loaded**: [`Drift`] is a list of what differs.
//! * **Memory is bounded**, whatever the size of a file: everything moves in batches through short queues.
//! * **Secrets stay out of sight**: every URL in an error or a report has gone through [`redact()`].
//! * What was done is told by a `tracing` event: rows, bytes, place.
//! * [`Error::is_permanent`] says whether trying again can help.
//!
//! Functions that talk to a network or a database are `async` and need a tokio runtime; dropping their future cancels
//! them, and so does their [`Progress`]. What a cancelled one leaves to be cleaned up, [`settled()`] waits for. [`parquetize`], [`parquetize_json`], [`Schema::infer`] and [`read_parquet_schema`] compute and block: call them from a thread that
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

mod batches;
mod bigquery;
mod cell;
mod columns;
mod csv;
mod database;
mod download;
mod error;
mod field;
mod files;
mod frame;
mod google;
mod http;
mod infer;
mod json;
mod keyed;
mod kind;
mod lake;
mod machine;
mod misfit;
mod pace;
mod parquet;
mod parse;
mod progress;
mod quarantine;
mod records;
mod redact;
mod retry;
mod schema;
mod settled;
mod source;
mod tls;

pub use bigquery::{BigQuery, Format, LoadJob, LoadOptions, LoadSource, Partition, TableColumn, TableInfo, Write};
pub use csv::CsvOptions;
pub use database::{
    Answer, Difference, Drift, Input, LOADS_TABLE, LoadReport, Loaded, Mode, SOURCE_COLUMN, Select, Shape, Summary,
    TableLoadOptions, UnloadOptions, Unloaded, Warehouse, ask, execute, load_csv, load_parquet, summarise,
};
pub use download::{
    Compression, Download, DownloadOptions, download, download_into, download_to, download_with, is_still, version,
    version_in,
};
pub use error::{Error, Result};
pub use field::{ColumnType, Field, Unit};
pub use files::sha256;
#[cfg(feature = "lazy")]
pub use frame::query::{run_query, scan_frame, write_query};
pub use frame::{FrameFile, frame_path, read_frame, write_frame};
pub use http::{Reply, Request, request};
pub use keyed::keyed_hash;
pub use lake::{Cleaned, Fetched, Lake, Object, Uploaded, Version, When, fetch, key, upload};
pub use misfit::{Misfit, Tolerance};
pub use parquet::{ParquetFile, ParquetOptions, parquetize, parquetize_json, read_parquet_fields, read_parquet_schema};
pub use progress::Progress;
pub use redact::redact;
pub use schema::{Column, Schema, Type};
pub use settled::settled;

/// The library behind [`write_frame`], in the version that its tables are of.
pub use polars;
