//! A process ends that try alone which it belongs to; why is on record, and nothing of it is left.

use crate::program::Place;
use serde_json::Value;
use std::time::{Duration, Instant};

pub fn task<'t>(tasks: &'t Value, task_id: &str) -> &'t Value {
    let found = tasks.as_array().unwrap().iter().find(|t| t["task_id"] == task_id);
    found.unwrap_or_else(|| panic!("no task {task_id}: {tasks}"))
}

/// The processes with this word in their arguments.
pub fn with_mark(mark: &str) -> Vec<String> {
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = folders.filter_map(|f| std::fs::read(f.path().join("cmdline")).ok());
    let commands = commands.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    commands.filter(|c| c.starts_with("sh ") && c.contains(mark)).collect()
}

pub fn mark(name: &str) -> String {
    format!("mark-{name}-{}", std::process::id())
}

#[track_caller]
pub fn soon(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_way_to_end_is_recorded_and_touches_no_other_task() {
    let place = Place::new();
    let answer = place.dags(&["run", "ends", "--run-id", "one"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let tasks = place.json(&["tasks", "one"]);
    for (task_id, state, kind, said) in [
        ("aborts", "failed", "process", "its process was ended by SIGABRT (6)"),
        ("overflows", "failed", "process", "has overflowed its stack"),
        ("exits", "failed", "process", "its process exited with code 0 before the task returned"),
        ("killed", "failed", "process", "SIGKILL (9), as the system does when memory runs out"),
        ("panics", "failed", "panic", "no rain today"),
        ("gives_up", "failed", "error", "there is nothing to be done"),
        ("skips", "skipped", "skipped", "no data"),
    ] {
        let row = task(&tasks, task_id);
        let message = row["cause"]["message"].as_str().unwrap_or_default();
        assert!(row["state"] == state && row["cause"]["kind"] == kind && message.contains(said), "{task_id}: {row:#}");
        assert_eq!(row["try_number"], 1, "{task_id}");
    }
    assert!(task(&tasks, "panics")["cause"]["place"].as_str().unwrap().contains("isolated.rs:"));
    assert_eq!(task(&tasks, "beside")["state"], "success");
    assert_ne!(place.ok(&["xcom", "one", "beside"]).trim(), "", "its process lived on");
    let log = place.ok(&["logs", "one", "overflows"]);
    assert!(log.contains("has overflowed its stack") && log.contains("ended by SIGABRT"), "{log}");
}

#[test]
fn values_context_logs_and_progress_cross_the_socket() {
    let place = Place::new();
    let (events, code) = place.start(&["run", "values", "--run-id", "one"]).end();
    assert_eq!(code, Some(0), "{events:#?}");
    assert_eq!(place.json(&["xcom", "one", "works"])["value"], "sum 6");
    let log = events.iter().find(|e| e["event"] == "log").unwrap();
    assert_eq!(
        (&log["message"], &log["fields"]["given"], &log["level"]),
        (&"inside".into(), &3.into(), &"info".into())
    );
    let last = events.iter().rfind(|e| e["event"] == "progress").unwrap();
    assert_eq!((&last["done"], &last["total"]), (&2.into(), &2.into()));
    let log = place.ok(&["logs", "one", "works"]);
    assert!(log.contains("inside") && !log.contains("not asked for"), "{log}");
    // In memory the same.
    place.ok(&["test", "values"]);
}

#[test]
fn a_timeout_that_is_not_heeded_ends_by_force() {
    let place = Place::new().env("FLOW_GRACE", "200ms");
    let began = Instant::now();
    let answer = place.dags(&["run", "timeout", "--run-id", "one"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(120), "it slept on");
    let tasks = place.json(&["tasks", "one"]);
    let cause = &task(&tasks, "hangs")["cause"];
    assert_eq!(cause["kind"], "timeout", "{tasks:#}");
    assert!(cause["message"].as_str().unwrap().contains("timeout of 300ms"), "{cause}");
}

#[test]
fn children_end_with_their_try() {
    let (place, mark) = (Place::new(), mark("children"));
    place.ok(&["run", "children", "-p", &format!("mark={mark}")]);
    assert_eq!(with_mark(&mark), Vec::<String>::new());
}

#[test]
fn ctrl_c_reaches_an_isolated_task() {
    let place = Place::new();
    let mut run = place.start(&["run", "stops", "--run-id", "one"]);
    run.until("listens", "running");
    run.signal("INT");
    let (events, code) = run.end();
    assert_eq!(code, Some(3), "{events:#?}");
    let tasks = place.json(&["tasks", "one"]);
    assert_eq!(task(&tasks, "listens")["cause"]["kind"], "cancelled", "{tasks:#}");
}

#[test]
fn a_second_ctrl_c_and_a_kill_take_everything_along() {
    for how in ["twice", "kill"] {
        let (place, mark) = (Place::new(), mark(how));
        let mut run = place.start(&["run", "deaf", "-p", &format!("mark={mark}")]);
        run.until("leaves_children_and_stays", "running");
        soon("the children are there", || with_mark(&mark).len() == 2);
        if how == "twice" {
            run.signal("INT");
            std::thread::sleep(Duration::from_millis(100));
            run.signal("INT");
            assert_eq!(run.end().1, Some(3));
        } else {
            run.kill();
        }
        soon("nothing is left", || with_mark(&mark).is_empty());
    }
}
