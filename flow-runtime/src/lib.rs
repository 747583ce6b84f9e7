//! Typed DAGs of plain Rust functions: flow runs, retries, records and shows them.

// Generated code says `::flow_runtime`, here too.
extern crate self as flow_runtime;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod ask;
pub mod asset;
pub mod builder;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
#[cfg(feature = "cli")]
pub mod config;
pub mod connection;
pub mod context;
pub mod error;
pub mod executor;
#[cfg(feature = "data")]
pub mod frame;
#[cfg(feature = "cli")]
pub mod graph;
#[cfg(unix)]
mod lines;
mod made;
pub mod notify;
#[cfg(feature = "macros")]
pub mod operators;
#[cfg(any(feature = "cli", feature = "email"))]
mod quote;
pub mod registry;
pub mod run_event;
pub mod scheduler;
pub mod secret;
#[cfg(feature = "macros")]
pub mod sensors;
pub mod store;
#[cfg(feature = "cli")]
mod suggest;
#[cfg(all(feature = "macros", feature = "data"))]
pub mod tasks;
pub mod telemetry;
pub mod testing;
pub mod timetable;
pub mod value;

pub use ask::Host;
pub use asset::Asset;
pub use automod;
pub use builder::{DagBuilder, Node, Param};
pub use chrono;
pub use context::{Context, Progress, Unit};
pub use error::{Result, TaskError, Trigger};
pub use flow_core as core;
pub use flow_core::Notifier;
#[cfg(feature = "data")]
pub use flow_data as data;
#[cfg(feature = "macros")]
pub use flow_macros::{dag, params, sensor, task, task_group, value};
#[cfg(feature = "data")]
pub use frame::Frame;
pub use made::{LONGEST_EXTRA, Made};
pub use secret::Secret;

/// All that a file with DAGs needs: `use flow_runtime::prelude::*;`.
pub mod prelude {
    pub use crate::asset::{Asset, assets};
    pub use crate::builder::{DagBuilder, Node, Param, chain, cross, each};
    pub use crate::context::Context;
    pub use crate::error::{Result, TaskError, Trigger};
    #[cfg(feature = "data")]
    pub use crate::frame::Frame;
    pub use crate::secret::Secret;
    pub use ::anyhow::{self, Context as _, anyhow, bail, ensure};
    pub use ::tokio;
    pub use ::tracing::{self, debug, error, info, warn};
    pub use flow_core::Notifier;
    pub use flow_core::dag::Isolation;
    pub use flow_core::sensor::SensorMode;
    pub use flow_core::trigger_rule::TriggerRule;
    #[cfg(feature = "macros")]
    pub use flow_macros::{dag, params, sensor, task, task_group, value};
}
