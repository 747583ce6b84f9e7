//! `cargo run --bin dags`: the default DAG once; with `--help`: everything else.

// The linker leaves out a crate that nobody names, and its DAGs with it.
use dags as _;

fn main() -> std::process::ExitCode {
    flow_runtime::cli::main()
}
