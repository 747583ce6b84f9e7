//! What becomes of a run whose tasks print, crash, hang, and leave children behind.

mod assets;
mod backfill;
mod broken;
mod cleaned;
mod crash_calls;
mod crash_points;
mod crowd;
mod crowded;
mod full;
mod isolated;
mod migrated;
mod patient;
mod postgres;
mod prints;
mod promises;
mod restored;
mod set_up;
mod sleepers;
mod tells;
mod ten;
mod ticks;
mod waits;
mod why;

#[path = "../support/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "the suites share it, and each needs a part")]
#[path = "../support/program.rs"]
mod program;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_misbehave");

/// Pauses every DAG that has a schedule, but these: so that a scheduler of this test has nothing else to do.
fn rest_but(place: &program::Place, wake: &[&str]) {
    let dags = place.json(&["list"]);
    let scheduled = dags.as_array().expect("a list").iter().filter(|dag| !dag["timetable_summary"].is_null());
    let ids = scheduled.map(|dag| dag["dag_id"].as_str().expect("an id")).filter(|id| !wake.contains(id));
    place.ok(&std::iter::once("pause").chain(ids).collect::<Vec<_>>());
}
