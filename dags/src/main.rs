//! `cargo run --bin dags`: the command line over every DAG of this crate.

// The linker leaves out a crate that nobody names, and its DAGs with it.
use dags as _;

fn main() -> std::process::ExitCode {
    flow_runtime::cli::main()
}
