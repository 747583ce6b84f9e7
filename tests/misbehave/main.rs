//! What becomes of a run whose tasks print, crash, hang, and leave children behind.

mod backfill;
mod broken;
mod crowded;
mod isolated;
mod prints;
mod ticks;

#[allow(dead_code, reason = "the suites share it, and each needs a part")]
#[path = "../support/program.rs"]
mod program;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_misbehave");
