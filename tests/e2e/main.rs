//! The real `dags` binary, as a person uses it: what it prints, what it leaves behind, what it says to a mistake, and what
//! is there after it was killed.

mod commands;
mod crash;
mod mistakes;
mod params;
mod program;
mod secrets;
mod taxi;

#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/server.rs"]
mod server;
