//! The engine and its stores, from outside: one binary.

mod builder;
#[path = "../../../tests/support/cluster.rs"]
mod cluster;
mod engine;
mod hygiene;
#[path = "../../../tests/support/pooler.rs"]
mod pooler;
mod registry;
mod schedule;
mod secrets;
mod shape;
mod store;
