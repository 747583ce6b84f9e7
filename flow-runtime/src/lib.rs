//! Typed DAGs of plain Rust functions: flow runs, retries, records and shows them.

// Generated code says `::flow_runtime`, here too.
extern crate self as flow_runtime;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod builder;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
#[cfg(feature = "cli")]
pub mod config;
pub mod context;
pub mod error;
pub mod executor;
#[cfg(feature = "cli")]
pub mod graph;
#[cfg(unix)]
mod lines;
pub mod registry;
pub mod run_event;
pub mod scheduler;
pub mod secret;
pub mod store;
#[cfg(feature = "cli")]
mod suggest;
pub mod telemetry;
pub mod testing;
pub mod value;

pub use automod;
pub use builder::{DagBuilder, Node, Param};
pub use context::{Context, Progress};
pub use error::{Result, TaskError};
pub use flow_core as core;
#[cfg(feature = "data")]
pub use flow_data as data;
#[cfg(feature = "macros")]
pub use flow_macros::{dag, params, task, task_group, value};
pub use secret::Secret;

/// All that a file with DAGs needs: `use flow_runtime::prelude::*;`.
pub mod prelude {
    pub use crate::builder::{DagBuilder, Node, Param, chain, cross, each};
    pub use crate::context::Context;
    pub use crate::error::{Result, TaskError};
    pub use crate::secret::Secret;
    pub use ::anyhow::{self, Context as _, anyhow, bail, ensure};
    pub use ::tokio;
    pub use ::tracing::{self, debug, error, info, warn};
    pub use flow_core::dag::Isolation;
    pub use flow_core::trigger_rule::TriggerRule;
    #[cfg(feature = "macros")]
    pub use flow_macros::{dag, params, task, task_group, value};
}
