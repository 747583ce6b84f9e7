//! The crate from outside: a hostile web server, object stores, SQLite, and a Postgres of its own.

mod cancelled;
#[path = "../../../../tests/support/cluster.rs"]
mod cluster;
mod download;
mod files;
mod lake;
mod parquet;
mod postgres;
#[path = "../../../../tests/support/server.rs"]
mod server;
mod sqlite;
mod store;
