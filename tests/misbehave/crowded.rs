//! Why a task that may run does not: which limit it is, and who holds it.

use crate::program::{Place, Running};
use flow_runtime::chrono::{DateTime, Utc};
use serde_json::Value;

#[test]
fn the_limit_that_holds_a_task_back_is_named() {
    for (dag, why) in [
        ("one_at_a_time", "its run has as many tasks in flight as it may (max_active_tasks of one_at_a_time is 1)"),
        ("few_slots", "needs 2 of the 2 slots of the pool api, 1 of them free: stays is in flight"),
    ] {
        let place = Place::new();
        place.write("flow.toml", "[pools]\napi = 2\n");
        let mut run = place.start(&["run", dag, "--run-id", "one"]);
        run.until("stays", "running");
        let tasks = place.json(&["tasks", "one"]);
        let behind = tasks.as_array().unwrap().iter().find(|task| task["task_id"] == "behind").unwrap();
        assert_eq!((behind["state"].as_str(), behind["why"].as_str()), (Some("scheduled"), Some(why)), "{tasks:#}");
        run.signal("INT");
        assert_eq!(run.end().1, Some(3));
    }
}

/// The span of the rate in `few_calls`, in seconds, less what may pass between the step that a start is written with and the moment at
/// which it is counted.
const SPAN: f64 = 8.0 - 2.0;

/// When tries began, in seconds, the earliest first.
fn starts(tasks: &[Value]) -> Vec<f64> {
    let began = tasks.iter().filter_map(|task| task["start_date"].as_str());
    let began = began.map(|at| at.parse::<DateTime<Utc>>().expect("an instant"));
    let mut starts: Vec<f64> = began.map(|at| at.timestamp_micros() as f64 / 1e6).collect();
    starts.sort_by(f64::total_cmp);
    starts
}

fn tasks(place: &Place, run_id: &str) -> Vec<Value> {
    place.json(&["tasks", run_id]).as_array().expect("a list").clone()
}

/// Waits until so many have succeeded.
#[track_caller]
fn succeed(run: &mut Running, most: usize) {
    let mut left = most;
    while left > 0 {
        let event = run.next().expect("it goes on");
        left -= usize::from(event["event"] == "task_state" && event["state"] == "success");
    }
}

#[test]
fn a_process_that_was_killed_leaves_its_starts_behind() {
    let place = Place::new();
    let mut run = place.start(&["run", "few_calls", "--run-id", "one"]);
    succeed(&mut run, 2);
    run.kill();
    let before = starts(&tasks(&place, "one"));
    assert_eq!(before.len(), 2, "the third waits");
    place.ok(&["run", "--resume", "one"]);
    let after = starts(&tasks(&place, "one"));
    assert_eq!((after.len(), &after[..2]), (3, &before[..]));
    assert!(after[2] - after[0] > SPAN, "{after:?}");
}

#[test]
fn processes_on_one_file_share_a_rate() {
    let place = Place::new();
    let mut one = place.start(&["run", "few_calls", "--run-id", "one"]);
    let two = place.start(&["run", "few_calls", "--run-id", "two"]);
    // One of them is first, or each starts one; all six get there.
    succeed(&mut one, 3);
    assert_eq!((one.end().1, two.end().1), (Some(0), Some(0)));
    let after = starts(&[tasks(&place, "one"), tasks(&place, "two")].concat());
    assert_eq!(after.len(), 6);
    for later in 2..6 {
        assert!(after[later] - after[later - 2] > SPAN, "{after:?}");
    }
}
