//! The engine and its stores, from outside: one binary.

mod builder;
mod engine;
mod hygiene;
mod registry;
mod secrets;
mod shape;
mod store;
