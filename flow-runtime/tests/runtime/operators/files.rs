//! Files and instants that are waited for.

use crate::engine::{World, until, value};
use chrono::{DateTime, Utc};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::prelude::*;
use flow_runtime::run_event::RunEvent;
use flow_runtime::sensors;
use serde_json::json;

#[task]
fn name(path: String) -> String {
    path.rsplit('/').next().unwrap_or_default().to_string()
}

#[dag]
fn arrivals(done: String, pattern: String) {
    let there = sensors::file_exists(done).poke_interval("10ms");
    let all = sensors::files_matching(pattern).poke_interval("10ms").after(there);
    name::expand(each(all));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_waited_for_and_mapped_over() {
    let world = World::new().await;
    let at = |name: &str| world.home.path().join(name);
    let params = json!({"done": at("done"), "pattern": at("in/*.csv")});
    let run = world.try_run(arrivals::dag(), "files", params);
    let writing = async {
        until("it has looked in vain", || {
            let events = world.events.lock();
            events.iter().any(|e| matches!(e, RunEvent::TaskState { state: TaskState::UpForReschedule, .. }))
        })
        .await;
        std::fs::create_dir(at("in")).unwrap();
        ["b.csv", "a.csv", "c.txt"].into_iter().for_each(|name| std::fs::write(at("in").join(name), "").unwrap());
        std::fs::write(at("done"), "").unwrap();
    };
    let (ran, ()) = tokio::join!(run, writing);
    let ran = ran.unwrap();
    assert_eq!(ran.run.state, RunStatus::Success);
    let names = ran.values.iter().filter(|xcom| xcom.task_id == "name").map(|xcom| xcom.value.inline.clone().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["\"a.csv\"".into(), "\"b.csv\"".into()]);
    assert_eq!(value(&ran, "file_exists"), json!(at("done")));
}

#[dag]
fn instants() {
    sensors::at("2026-03-05T06:00+01:00");
    sensors::after("1h 30m");
    sensors::time_of_day("18:00", "Europe/Berlin");
    sensors::time_of_day("08:00", "Europe/Berlin").id("has_passed");
    sensors::time_of_day("02:30", "Europe/Berlin").id("skipped_by_the_clocks");
}

#[test]
fn instants_come_without_looking() {
    let run = instants::test().starts_at("2026-03-01T12:00").logical_date("2026-03-02").run_blocking().succeeded();
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    assert_eq!(run.value::<DateTime<Utc>>("at"), at("2026-03-05T05:00:00Z"));
    assert_eq!(run.value::<DateTime<Utc>>("after"), at("2026-03-02T01:30:00Z"));
    assert_eq!(run.value::<DateTime<Utc>>("time_of_day"), at("2026-03-01T17:00:00Z"));
    assert_eq!(run.value::<DateTime<Utc>>("has_passed"), at("2026-03-01T07:00:00Z"));
    assert_eq!((run.took().as_secs_f64() / 3600.0).round(), 3.0 * 24.0 + 17.0, "until the last of them");
    assert_eq!(run.tries("at"), 1);
}

#[dag]
fn wrong() {
    sensors::at("tomorrow").id("a");
    sensors::after("soon").id("b");
    sensors::time_of_day("25:00", "UTC").id("c");
    sensors::time_of_day("06:00", "Europe/Bonn").id("d");
}

#[test]
fn what_is_no_time_is_refused_in_words() {
    let run = wrong::test().run_blocking().failed();
    for (task, said) in [
        ("a", "tomorrow"),
        ("b", "soon"),
        ("c", "`25:00` is no time of day"),
        ("d", "`Europe/Bonn` is not a time zone"),
    ] {
        assert!(run.cause(task).contains(said), "{task}: {}", run.cause(task));
    }
}
