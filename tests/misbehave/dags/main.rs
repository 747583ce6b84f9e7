//! DAGs whose tasks do what no task should.

mod broken;
mod crowded;
mod isolated;
mod prints;
mod ticks;

fn main() -> std::process::ExitCode {
    flow_runtime::cli::main()
}
