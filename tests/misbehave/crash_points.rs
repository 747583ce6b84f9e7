//! The scheduler dies at a call of its store, and again, and again: nothing is lost, doubled or stuck.

use crate::postgres;
use crate::program::Place;
use crate::rest_but;
use crate::ticks::{Scheduler, runs, soon};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// In which everything happens.
const DAG: &str = "crash_points";

fn place() -> Place {
    let place = Place::new();
    place.write("flow.toml", "[pools]\napi = 2\n");
    rest_but(&place, &[DAG]);
    place
}

/// The same on a Postgres database of its own; `None` where there is no server.
fn place_on_postgres() -> Option<Place> {
    let place = postgres::machine(&postgres::database()?);
    rest_but(&place, &[DAG]);
    Some(place)
}

/// Lets a scheduler live until it dies of itself (true), or both runs of the DAG are over (false).
pub fn live(place: &Place, dag: &str, crash_at: Option<&str>) -> bool {
    let mut command = place.command(&["scheduler", "--json"]);
    if let Some(crash_at) = crash_at {
        command.env("FLOW_CRASH_AT", crash_at);
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let began = Instant::now();
    loop {
        if child.try_wait().expect("it can be asked").is_some() {
            return true;
        }
        let asked = Instant::now();
        if is_done(place, dag) {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
            return false;
        }
        if began.elapsed() > Duration::from_secs(60) {
            // A test that fails leaves none behind.
            child.kill().expect("it can be killed");
            panic!("{crash_at:?}: it is stuck: {:#}", place.json(&["runs"]));
        }
        // Whoever asks all the time takes the time of those who work.
        std::thread::sleep(asked.elapsed().max(Duration::from_millis(20)));
    }
}

fn is_done(place: &Place, dag: &str) -> bool {
    let runs = runs(place, dag);
    runs.len() == 2 && runs.iter().all(|run| run["state"] == "success" || run["state"] == "failed")
}

/// Unless it was removed, the instance has had one success, and every try of it is on record.
#[track_caller]
pub fn won(task: &Value, about: &str) {
    if task["state"] == "removed" {
        return;
    }
    let tries = task["tries"].as_array().unwrap();
    let won = tries.iter().filter(|one| one["state"] == "success").count();
    assert!(task["state"] == "success" && won == 1, "{about}: {task:#}");
    let numbers: Vec<u64> = tries.iter().filter_map(|one| one["try_number"].as_u64()).collect();
    let all: Vec<u64> = (1..=task["try_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, all, "{about}: every try is on record: {task:#}");
}

/// Each tick once, with the right sum; no try twice, no step twice, and of each instance one success.
fn check(place: &Place, crash_at: &str) {
    let runs = runs(place, DAG);
    let mut ids: Vec<&str> = runs.iter().map(|run| run["dag_run_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["scheduled__2026-01-01T00:00:00+00:00", "scheduled__2026-01-01T00:00:01+00:00"], "{crash_at}");
    for id in ids {
        assert_eq!(place.json(&["xcom", id, "sum", "--dag", DAG])["value"], 5, "{crash_at}");
        let tasks = place.json(&["tasks", id, "--dag", DAG]);
        tasks.as_array().unwrap().iter().for_each(|task| won(task, crash_at));
    }
    let mut count: BTreeMap<&str, u32> = BTreeMap::new();
    let ledger = std::fs::read_to_string(place.home().join("ledger")).unwrap();
    ledger.lines().for_each(|line| *count.entry(line).or_default() += 1);
    for (line, times) in count {
        let most = match line.rsplit(' ').next().unwrap() {
            // The body of a try begins anew when it wakes: after its sleep, and after its event.
            "begins" => 3,
            "looks" => 1000,
            _ => 1,
        };
        assert!(times <= most, "{crash_at}: {times} times {line}\n{ledger}");
    }
    // A step whose record was not written is done again, by another try; one that was is not.
    let steps = ledger.lines().filter(|line| line.ends_with(" two")).count();
    assert!(steps >= 2, "{ledger}");
}

/// Every life ends at the same point of its own, and each gets a little further. (One that dies at its second commit gets
/// nowhere: the first records what the last life has lost, the second begins the next tries.)
#[test]
fn a_scheduler_that_dies_again_and_again_gets_there() {
    let mut lives = BTreeMap::new();
    for crash_at in ["commit:3:after", "commit:4:before", "commit:5:after", "make_run:1:after"] {
        let place = place();
        let mut deaths = 0;
        while live(&place, DAG, Some(crash_at)) {
            deaths += 1;
            assert!(deaths < 200, "{crash_at}: it does not get there");
        }
        check(&place, crash_at);
        lives.insert(crash_at, deaths);
    }
    // How many commits there are depends on what ends at the same time.
    assert!(lives["commit:3:after"] > 5 && lives["make_run:1:after"] == 2, "it has died: {lives:?}");
}

/// One death at every single write of a whole life, each in a home of its own. Number 11.
#[test]
fn one_death_at_every_write() {
    for call in ["put_dag", "put_build", "make_run", "commit", "put_event"] {
        for when in ["before", "after"] {
            for number in 1.. {
                let (place, crash_at) = (place(), format!("{call}:{number}:{when}"));
                if !live(&place, DAG, Some(&crash_at)) {
                    assert!(number > 1, "{crash_at}: it never came");
                    break;
                }
                assert!(!live(&place, DAG, None), "{crash_at}");
                check(&place, &crash_at);
            }
        }
    }
}

/// The pause that a DAG has earned is not lost with the scheduler that was about to write it, or to hear that it is written: also
/// where a person has said before that the DAG goes on.
#[test]
fn a_dag_that_keeps_failing_is_paused_whoever_dies() {
    // The fourth commit is the end of the second run.
    for (crash_at, is_let_go_on) in [("commit:4:before", false), ("commit:4:after", false), ("commit:4:after", true)] {
        let place = Place::new();
        rest_but(&place, &["keeps_failing"]);
        if is_let_go_on {
            place.ok(&["unpause", "keeps_failing"]);
        }
        let mut command = place.command(&["scheduler"]);
        command.env("FLOW_CRASH_AT", crash_at).stdout(Stdio::null()).stderr(Stdio::null());
        assert_eq!(command.status().expect("it starts").code(), None, "{crash_at}: it dies");
        let scheduler = Scheduler::start(&place);
        soon("it is paused", || {
            let dags = place.json(&["list"]);
            let own = dags.as_array().unwrap().iter().find(|dag| dag["dag_id"] == "keeps_failing").unwrap();
            own["is_paused"] == true
        });
        // It may hardly have begun.
        drop(scheduler.end("KILL"));
        let runs = place.json(&["runs", "keeps_failing", "--limit", "0"]);
        let failed = runs.as_array().unwrap().iter().filter(|run| run["state"] == "failed").count();
        assert_eq!(failed, 2, "{crash_at}, {is_let_go_on}: {runs:#}");
        assert_eq!(runs.as_array().unwrap().len(), 2, "{crash_at}, {is_let_go_on}: {runs:#}");
    }
}

/// One death at a write of a whole life on Postgres; `false` if it never came.
fn one_death_on_postgres(crash_at: &str) -> bool {
    let Some(place) = place_on_postgres() else { return false };
    let died = live(&place, DAG, Some(crash_at));
    if died {
        assert!(!live(&place, DAG, None), "{crash_at}");
    }
    check(&place, crash_at);
    died
}

/// The same on Postgres, where a run is free again when its lease ends: one death at each kind of write, or with
/// `CRASH_POINTS=all` at every single one.
#[test]
fn one_death_at_each_kind_of_write_on_postgres() {
    if postgres::database().is_none() {
        return;
    }
    let all = std::env::var("CRASH_POINTS").is_ok_and(|which| which == "all");
    let at_every = |call: &str, when: &str| {
        // The second commit records the first end of a try, and begins what follows.
        let sample = if call == "commit" { 2 } else { 1 };
        let mut numbers = if all { 1..=u32::MAX } else { sample..=sample };
        let came = numbers.by_ref().take_while(|number| one_death_on_postgres(&format!("{call}:{number}:{when}")));
        assert!(came.count() > 0, "{call} {when}: it never came");
    };
    // They wait for leases most of the time.
    std::thread::scope(|scope| {
        for call in ["put_dag", "make_run", "commit", "put_event"] {
            scope.spawn(move || ["before", "after"].into_iter().for_each(|when| at_every(call, when)));
        }
    });
}

/// One life dies in the middle of its runs, the next as it takes them up.
fn dies_twice(place: &Place, crash_at: &str) {
    assert!(live(place, DAG, Some("commit:3:after")), "{crash_at}: the first one lived");
    assert!(live(place, DAG, Some(crash_at)), "{crash_at}: it never came");
    assert!(!live(place, DAG, None), "{crash_at}");
    check(place, crash_at);
}

#[test]
fn a_death_while_the_runs_of_a_dead_one_are_taken_up() {
    for crash_at in ["acquire_run:1:before", "acquire_run:1:after"] {
        dies_twice(&place(), crash_at);
    }
    std::thread::scope(|scope| {
        for crash_at in ["take_run:1:before", "take_run:1:after"] {
            scope.spawn(move || place_on_postgres().map(|place| dies_twice(&place, crash_at)));
        }
    });
}
