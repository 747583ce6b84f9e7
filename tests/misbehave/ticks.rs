//! The scheduler, killed at any moment: every tick is run once.

use crate::program::Place;
use crate::rest_but;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Runs of a DAG, the oldest first.
pub fn runs(place: &Place, dag: &str) -> Vec<Value> {
    let mut runs = place.json(&["runs", dag, "--limit", "0"]).as_array().unwrap().clone();
    runs.reverse();
    runs
}

#[track_caller]
pub fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn text<'v>(run: &'v Value, field: &str) -> &'v str {
    run[field].as_str().unwrap_or_default()
}

/// A scheduler under way, whose events are read as they come.
pub struct Scheduler {
    pid: String,
    /// Says when it hears signals.
    listens: Receiver<()>,
    reader: Option<JoinHandle<(Vec<Value>, Option<i32>)>>,
}

impl Scheduler {
    pub fn start(place: &Place) -> Scheduler {
        Scheduler::start_as(place, "scheduler")
    }

    /// By this command.
    pub fn start_as(place: &Place, command: &str) -> Scheduler {
        let mut running = place.start(&[command]);
        let (started, listens) = channel();
        let pid = running.child.id().to_string();
        let reader = std::thread::spawn(move || {
            while let Some(event) = running.next() {
                if event["event"] == "scheduler_started" {
                    let _ = started.send(());
                }
            }
            drop(started);
            running.end()
        });
        Scheduler { pid, listens, reader: Some(reader) }
    }

    /// Its events and its exit code, once it has got this signal; one that it can hear, not before it listens.
    pub fn end(mut self, signal: &str) -> (Vec<Value>, Option<i32>) {
        if signal != "KILL" {
            self.listens.recv().expect("it starts");
        }
        let reader = self.reader.take().unwrap();
        assert!(self.signal(signal));
        reader.join().unwrap()
    }

    pub fn process(&self) -> u32 {
        self.pid.parse().expect("a number")
    }

    pub fn signal(&self, signal: &str) -> bool {
        Command::new("kill").args(["-s", signal, &self.pid]).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Scheduler {
    /// A test that fails leaves none behind.
    fn drop(&mut self) {
        if self.reader.is_some() {
            self.signal("KILL");
        }
    }
}

pub fn place() -> Place {
    let place = Place::new();
    place.write("flow.toml", "[pools]\napi = 2\n");
    rest_but(&place, &["twenty_seconds", "again_and_again", "each_second", "once", "with_url"]);
    place
}

#[test]
fn killed_again_and_again_every_tick_is_run_once() {
    let place = place();
    place.ok(&["pause", "again_and_again", "each_second"]);
    for wait in [250, 400, 100, 600, 350] {
        let scheduler = Scheduler::start(&place);
        std::thread::sleep(Duration::from_millis(wait));
        assert_eq!(scheduler.end("KILL").1, None);
    }
    let scheduler = Scheduler::start(&place);
    let all = || runs(&place, "twenty_seconds");
    soon("all ticks are run", || all().len() == 21 && all().iter().all(|run| run["state"] == "success"));
    soon("and the one run", || runs(&place, "once").iter().all(|run| run["state"] == "success"));
    assert_eq!(scheduler.end("INT").1, Some(0));

    let dates: BTreeSet<String> = all().iter().map(|run| text(run, "logical_date").to_string()).collect();
    assert_eq!(dates.len(), 21, "each of them once: {dates:?}");
    assert_eq!((runs(&place, "once").len(), runs(&place, "again_and_again").len()), (1, 0));
    for run in all() {
        let run_id = text(&run, "dag_run_id").to_string();
        assert_eq!(text(&run, "run_type"), "scheduled");
        let date = text(&run, "logical_date").replace('Z', "+00:00");
        assert_eq!(run_id, format!("scheduled__{date}"));
        let tasks = place.json(&["tasks", &run_id, "--dag", "twenty_seconds"]);
        let won = |task: &Value| {
            let tries = task["tries"].as_array().unwrap();
            tries.iter().filter(|one| one["state"] == "success").count()
        };
        assert!(tasks.as_array().unwrap().iter().all(|task| won(task) == 1), "{tasks:#}");
    }
}

#[test]
fn no_more_runs_at_once_than_may_be_and_one_after_the_other() {
    let place = place();
    let scheduler = Scheduler::start(&place);
    soon("some have run", || runs(&place, "twenty_seconds").len() == 21 && runs(&place, "again_and_again").len() > 3);
    place.ok(&["pause", "again_and_again", "each_second"]);
    let (events, code) = scheduler.end("INT");
    assert_eq!(code, Some(0));
    for (dag, most) in [("twenty_seconds", 3), ("again_and_again", 1)] {
        let mut now = 0;
        for event in events.iter().filter(|event| event["dag_id"] == dag) {
            now += match text(event, "event") {
                "run_started" => 1,
                "run_ended" => -1,
                _ => 0,
            };
            assert!(now <= most, "{dag}: {event}");
        }
    }
    let intervals: Vec<(String, String)> = runs(&place, "again_and_again")
        .iter()
        .map(|run| (text(run, "data_interval_start").to_string(), text(run, "data_interval_end").to_string()))
        .collect();
    assert!(
        intervals.windows(2).all(|two| two[0].1 == two[1].0),
        "each goes on where the last one ended: {intervals:?}"
    );
}

#[test]
fn one_scheduler_at_a_time_and_a_pause_holds() {
    let place = place();
    place.ok(&["pause", "twenty_seconds", "again_and_again", "each_second", "once", "with_url"]);
    let first = Scheduler::start(&place);
    soon("it holds the place", || place.home().join("locks/scheduler.lock").exists());
    let second = place.dags(&["scheduler"]);
    assert!(second.code == Some(2) && second.err.contains("a scheduler works on"), "{second:?}");
    let next = place.dags(&["next", "twenty_seconds", "-n", "2"]);
    assert!(next.out.contains("2026-01-01 00:00:00") && next.err.contains("it is paused"), "{next:?}");
    assert_eq!(place.json(&["runs"]), serde_json::json!([]));
    place.ok(&["unpause", "once"]);
    soon("it runs", || runs(&place, "once").iter().any(|run| run["state"] == "success"));
    assert_eq!(first.end("INT").1, Some(0));
    assert_eq!(place.json(&["runs"]).as_array().unwrap().len(), 1);
}

#[test]
fn what_a_person_cleared_is_run_by_the_scheduler() {
    let place = place();
    place.ok(&["pause", "twenty_seconds", "again_and_again", "each_second", "once", "with_url"]);
    place.ok(&["run", "prints", "--run-id", "mine"]);
    let scheduler = Scheduler::start(&place);
    soon("the scheduler is there", || !place.json(&["why"]).to_string().contains("no scheduler works"));
    let cleared = place.dags(&["clear", "mine", "--yes"]);
    assert!(cleared.err.contains("the scheduler takes it up") && !cleared.err.contains("--resume"), "{cleared:?}");
    let tries = || place.json(&["tasks", "mine"])[0]["try_number"].clone();
    soon("it runs again", || tries() == 2 && runs(&place, "prints")[0]["state"] == "success");
    assert_eq!(scheduler.end("INT").1, Some(0));
}

#[test]
fn no_tick_is_passed_over_while_nothing_can_be_written() {
    let place = place();
    place.ok(&["pause", "again_and_again", "each_second", "once", "with_url"]);
    let locks = place.home().join("locks");
    let scheduler = Scheduler::start(&place);
    soon("some have run", || !runs(&place, "twenty_seconds").is_empty());
    // What is under way keeps its locks; nothing new can be locked.
    std::fs::rename(&locks, place.home().join("away")).unwrap();
    std::fs::write(&locks, "in the way").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    std::fs::remove_file(&locks).unwrap();
    std::fs::rename(place.home().join("away"), &locks).unwrap();
    let all = || runs(&place, "twenty_seconds");
    soon("all ticks are run", || all().len() == 21 && all().iter().all(|run| run["state"] == "success"));
    assert_eq!(scheduler.end("INT").1, Some(0));
}

#[test]
fn a_password_in_a_plain_param_is_there_again_after_a_crash() {
    let place = place();
    place.write(
        "flow.toml",
        "[pools]\napi = 2\n[dags.with_url.params]\nurl = \"postgres://ada:top-secret-9@db.example/trips\"\n",
    );
    place.ok(&["pause", "twenty_seconds", "again_and_again", "each_second", "once"]);
    let scheduler = Scheduler::start(&place);
    soon("it runs", || runs(&place, "with_url").iter().any(|run| run["state"] == "running"));
    scheduler.end("KILL");
    let scheduler = Scheduler::start(&place);
    soon("it goes on", || runs(&place, "with_url").iter().all(|run| run["state"] == "success"));
    let (events, code) = scheduler.end("INT");
    assert!(code == Some(0) && !format!("{events:?}").contains("top-secret-9"), "{events:?}");
    let value = place.json(&["xcom", "latest", "slowly", "--dag", "with_url"])["value"].clone();
    assert_eq!(value, "db.example/trips");
}
