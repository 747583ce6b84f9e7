//! The crate from outside: a hostile web server, object stores, SQLite, and a Postgres of its own.

mod cancelled;
mod cluster;
mod download;
mod files;
mod lake;
mod parquet;
mod postgres;
mod server;
mod sqlite;
mod store;
