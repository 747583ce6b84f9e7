//! The engine and its stores, from outside: one binary.

mod engine;
mod secrets;
mod store;
