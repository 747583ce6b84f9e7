//! `cargo run --bin dags`: for now, the DAGs of this crate; the command line joins here.

// The linker leaves out a crate that nobody names, and its DAGs with it.
use dags as _;
use flow_runtime::registry::Registry;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Registry::collect() {
        Ok(registry) => {
            let ids: Vec<&str> = registry.dags().map(|d| d.dag_id.as_str()).collect();
            let written = writeln!(std::io::stdout(), "{}", ids.join("\n"));
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(2)
        }
    }
}
