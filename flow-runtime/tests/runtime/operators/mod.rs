//! The stock operators and sensors, in runs of the engine.

mod decisions;
mod files;
mod objects;
mod other_dags;
mod pipeline;
mod query;
#[path = "../../../../tests/support/server.rs"]
mod server;
mod shell;
mod sources;
mod tables;
mod uploads;
mod web;
