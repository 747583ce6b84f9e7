//! The crate from outside: a hostile web server, object stores, SQLite, and a Postgres of its own.
//!
//! What the moving of data has to survive has numbers, which stand at the tests:
//!
//! * 39: a kill during a download: no half file is seen, the next try goes on or begins anew, the checksum is right.
//! * 40: a kill while Parquet is written: no reader ever sees half a file.
//! * 41: a kill during an upload in parts: the object is the old one or the new one, no parts are left after the cleaning.
//! * 42: a kill after a load job was submitted to BigQuery: the next try finds that job, the rows are there once.
//! * 43: a kill during a load into a table, at a hundred random instants: rows and checksum are right, no staging table is left.
//! * 44: a server answers 429 or 500, resets, drips, or keeps no length: it is asked a bounded number of times, at growing and
//!   random distances, and what failed says why.
//! * 45: what is upstream changed (a column more, another name, another type): the load stops before it begins, and tells all
//!   that differs.

mod bigquery;
mod bq_modes;
mod bq_unload;
mod bq_warehouse;
mod cancelled;
#[path = "../../../../tests/support/cluster.rs"]
mod cluster;
mod download;
mod dropped;
mod files;
mod fitting;
mod found;
mod google;
mod google_storage;
mod heard;
mod inferred;
mod json;
mod killed;
mod lake;
mod machine;
mod misfit;
mod parquet;
mod patience;
mod pg_unload;
mod postgres;
mod proxied;
mod random;
#[path = "../../../../tests/support/server.rs"]
mod server;
mod sqlite;
mod stated;
mod store;
mod tables;
mod types;
mod warehouse;
