//! What was made by a setup, when a person or the clock ends its run.

use crate::program::Place;
use std::time::{Duration, Instant};

/// A place where these tasks end at once.
fn place(quick: &[&str]) -> Place {
    let place = Place::new();
    std::fs::create_dir_all(place.home()).unwrap();
    quick.iter().for_each(|task| let_go(&place, task));
    place
}

fn let_go(place: &Place, task: &str) {
    std::fs::write(place.home().join(task), "").unwrap();
}

fn states(place: &Place, run: &str) -> Vec<String> {
    let tasks = place.json(&["tasks", run]);
    let state = |task: &serde_json::Value| task["state"].as_str().unwrap_or("none").to_string();
    tasks.as_array().unwrap().iter().map(state).collect()
}

/// Waits until the latest run is in this state.
fn until_run(place: &Place, state: &str) {
    let began = Instant::now();
    while place.json(&["runs"])[0]["state"] != state {
        assert!(began.elapsed() < Duration::from_secs(60), "{:#}", place.json(&["runs"]));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_run_that_is_cancelled_when_its_work_is_done_takes_away_what_is_set_up() {
    for dag in ["set_up", "set_up_strictly"] {
        let place = place(&["opens", "uses"]);
        let mut run = place.start(&["run", dag, "--run-id", "one"]);
        run.until("closes", "running");
        let said = place.dags(&["cancel", "one"]);
        assert!(said.code == Some(0) && said.err.contains("teardowns of what is set up are left to run"), "{said:?}");
        assert_eq!(states(&place, "one"), ["success", "success", "running"]);
        let why = place.ok(&["why", "one"]);
        let ending =
            "the run is being ended (somebody marked it as failed): it is failed when what is set up is taken away\n";
        assert_eq!(why, ending);
        let_go(&place, "closes");
        assert_eq!(run.end().1, Some(1));
        assert_eq!(states(&place, "one"), ["success"; 3]);
        let why = place.dags(&["why", "one"]);
        assert_eq!(why.err, "nothing of it waits: the run is failed (somebody marked it as failed)\n");
        assert_eq!(place.json(&["runs"])[0]["state"], "failed");
        let again = place.dags(&["cancel", "one"]);
        assert!(again.code == Some(2) && again.err.contains("in state failed: `mark one success` gives"), "{again:?}");
    }
}

#[test]
fn what_is_set_up_is_taken_away_although_the_work_is_marked() {
    for (state, code) in [("success", 0), ("failed", 1)] {
        let place = place(&["opens", "closes"]);
        let mut run = place.start(&["run", "set_up", "--run-id", "one"]);
        run.until("uses", "running");
        place.ok(&["mark", "one", state, "uses"]);
        assert_eq!(run.end().1, Some(code));
        let tasks = place.json(&["tasks", "one"]);
        assert_eq!(states(&place, "one"), ["success", state, "success"]);
        assert_eq!((&tasks[2]["try_number"], &tasks[2]["cause"]), (&1.into(), &serde_json::Value::Null));
    }
}

#[test]
fn who_cancels_twice_ends_what_takes_away_too() {
    let place = place(&["opens"]);
    let mut run = place.start(&["run", "set_up", "--run-id", "one"]);
    run.until("uses", "running");
    place.ok(&["cancel", "one"]);
    run.until("closes", "running");
    assert_eq!(states(&place, "one"), ["success", "failed", "running"]);
    let said = place.dags(&["cancel", "one"]);
    assert!(said.code == Some(0) && !said.err.contains("teardowns"), "{said:?}");
    assert_eq!(run.end().1, Some(1));
    assert_eq!(states(&place, "one"), ["success", "failed", "failed"]);
}

#[test]
fn a_run_that_takes_too_long_takes_away_what_is_set_up_whatever_it_has_done() {
    let place = place(&["opens", "uses"]);
    let mut run = place.start(&["run", "set_up_in_time", "--run-id", "one"]);
    run.until("closes", "running");
    let began = Instant::now();
    let late = "the run is being ended (the run took longer than its dagrun_timeout of 5s): it is failed";
    while !place.ok(&["why", "one"]).starts_with(late) {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", place.ok(&["why", "one"]));
        std::thread::sleep(Duration::from_millis(50));
    }
    // Whoever goes on with it finds it late again, and lets it take away all the same.
    run.kill();
    let_go(&place, "closes");
    assert_eq!(place.dags(&["run", "--resume", "one"]).code, Some(1));
    assert_eq!(states(&place, "one"), ["success"; 3]);
    assert_eq!(place.json(&["runs"])[0]["state"], "failed");
}

#[test]
fn tasks_that_are_cleared_one_after_the_other_begin_nothing_before_somebody_goes_on() {
    let place = place(&["opens", "closes"]);
    let mut run = place.start(&["run", "set_up", "--run-id", "one"]);
    run.until("uses", "running");
    place.ok(&["mark", "one", "success"]);
    run.end();
    until_run(&place, "success");
    let start = place.json(&["runs"])[0]["start_date"].clone();
    for _ in 0..2 {
        place.ok(&["clear", "one", "uses", "--yes"]);
        let run = &place.json(&["runs"])[0];
        assert_eq!((run["state"].as_str(), &run["start_date"]), (Some("queued"), &start));
    }
    assert_eq!(states(&place, "one"), ["none"; 3]);
}
