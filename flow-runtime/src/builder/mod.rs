//! Building DAGs: what the macros expand to, and what a person can write by hand.
//!
//! [`DagBuilder::build`] enters a builder for the time of a closure; inside it a task call (`download::node(url)`, or
//! `download(url)` in a `#[dag]`) adds a task and returns its [`Node`]. The builder is thread-local: a task call outside
//! of one panics, and a node that comes from another DAG is refused.
//!
//! ```
//! use flow_runtime::prelude::*;
//!
//! /// Greets.
//! #[task]
//! fn greet(name: String) -> String {
//!     format!("hello {name}")
//! }
//!
//! let dag = DagBuilder::new("by_hand")
//!     .schedule("@daily")
//!     .build(|dag| {
//!         let name = dag.param::<String>("name").doc("Whom to greet.").default("world").add();
//!         greet::node(name).retries(2);
//!     })
//!     .unwrap();
//! assert_eq!(dag.task("greet").unwrap().retry.retries, 2);
//! ```

mod arg;
mod dag_builder;
mod draft;
mod group;
mod mapped;
mod node;
mod notify;
mod order;
mod param;
mod params;
mod parts;
mod schedule;

pub use arg::{Arg, Call, Expand, Input};
pub use dag_builder::{DagBuilder, DagScope};
pub use group::{Group, GroupOutput, GroupScope, GroupSpec, add_group, add_mapped_group};
pub use mapped::{Each, IntoEach, each};
pub use node::{IntoDuration, Node, add_mapped_task, add_task};
pub use order::{IntoNodes, Nodes, chain, cross};
pub use param::{DefaultFor, Param, ParamBuilder};
pub use params::ParamStruct;
pub use parts::{IntoParts, parts};
pub use schedule::{IntoSchedule, OwnTimetable};

/// Why a DAG cannot be built; each problem is a sentence that names its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("DAG `{dag_id}` cannot be built:\n{}", .problems.iter().map(|p| format!("  - {p}")).collect::<Vec<_>>().join("\n"))]
pub struct DagError {
    /// The DAG.
    pub dag_id: String,
    /// What is wrong with it.
    pub problems: Vec<String>,
}
