//! Typed DAGs of plain Rust functions: flow runs, retries, records and shows them.

pub mod builder;
pub mod context;
pub mod error;
pub mod registry;
pub mod run_event;
pub mod secret;
pub mod store;
pub mod value;

pub use context::{Context, Progress};
pub use error::{Result, TaskError};
pub use secret::Secret;
