//! The engine and its stores, from outside: one binary.

mod assets;
mod builder;
#[path = "../../../tests/support/cluster.rs"]
mod cluster;
mod engine;
mod hygiene;
mod mail;
mod notify;
mod operators;
#[path = "../../../tests/support/pooler.rs"]
mod pooler;
mod registry;
mod schedule;
mod secrets;
mod shape;
mod store;
mod timetables;
