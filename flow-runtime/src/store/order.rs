//! Orders: what a person wants of a run that a process works on.

use super::RunPk;
use flow_core::Event;

/// What somebody wants of a run that a process works on.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderRow {
    /// Its number; later ones have larger numbers.
    pub id: i64,
    /// The run.
    pub run: RunPk,
    /// What the planner is to be told. Its tasks are those of the version of the DAG that the run was made from.
    pub event: Event,
}
