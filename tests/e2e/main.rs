//! The real `dags` binary, as a person uses it: what it prints, what it leaves behind, what it says to a mistake, and what
//! is there after it was killed.

mod cancelled;
mod commands;
mod crash;
mod edit;
mod mistakes;
mod months;
mod params;
mod secrets;
mod sessions;
mod sqlite;
mod taxi;
mod years;

#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/server.rs"]
mod server;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_dags");
