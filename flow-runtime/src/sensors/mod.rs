//! Tasks that wait, and need not be written: `sensors::file_exists("in/trips.csv")` inside a `#[dag]`.
//!
//! Those that look for something are plain `#[sensor]` functions, with all options of one ([`docs`](crate::sensor)): they hold no
//! slot between two looks. Those that wait for an instant ([`at`], [`after`], [`time_of_day`]) look at nothing: they are
//! deferred until it has come.
//!
//! None has a name that arguments often have, like `file`: the compiler tells of a wrong edge by the argument's name, and tells
//! a path instead where a type of that name is about.

mod glob;
mod other_dags;
mod paths;
#[cfg(feature = "data")]
mod remote;
mod times;

pub use other_dags::{OtherDag, other_dag, other_dag_with, other_task};
pub use paths::{file_exists, files_matching};
#[cfg(feature = "data")]
pub use remote::{http, http_with, new_objects, object_exists, objects_since, partition_present, row_count, sql};
pub use times::{after, at, time_of_day};
