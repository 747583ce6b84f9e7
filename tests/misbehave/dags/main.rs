//! DAGs whose tasks do what no task should.

mod assets;
mod broken;
mod crash_points;
mod crowded;
mod isolated;
mod patient;
mod prints;
mod set_up;
mod tells;
mod ten;
mod ticks;
mod waits;

fn main() -> std::process::ExitCode {
    flow_runtime::cli::main()
}
