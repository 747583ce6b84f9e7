//! Tasks that need not be written: `operators::bash("make report")` inside a `#[dag]`.
//!
//! Each is a plain `#[task]` function, like those of an author: its options are set in the same way, a test replaces it
//! by its name, and where it does not fit, the types behind it ([`Bash`], [`TriggerDag`], ..) serve in a task of one's own.

pub(crate) mod dates;
mod flow;
pub(crate) mod other_run;
#[cfg(feature = "data")]
mod query;
mod shell;
#[cfg(feature = "data")]
mod web;

pub use dates::{Weekday, day_of_week, is_between, is_time_between, is_weekend};
pub(crate) use flow::LATEST_ONLY;
pub use flow::{empty, latest_only};
#[cfg(feature = "data")]
pub use flow_data::Answer;
pub use other_run::{TriggerDag, trigger_dag, trigger_dag_with};
#[cfg(feature = "data")]
pub use query::{Connection, sql};
pub use shell::{Bash, bash, bash_with, bash_with_secret};
#[cfg(feature = "data")]
pub use web::{Http, HttpReply, http, http_get, http_with_secret};
