//! Eleven DAGs of different schedules, left alone with `standalone`, which is killed five times: each tick is run once.

use crate::postgres::{database, machine};
use crate::program::Place;
use crate::rest_but;
use crate::ticks::{Scheduler, place, runs, soon, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Those whose schedule is over, and how many ticks it had.
const OVER: [(&str, usize); 8] = [
    ("twenty_seconds", 21),
    ("once", 1),
    ("sevenths", 18),
    ("five_minutes", 13),
    ("nights", 7),
    ("dates", 3),
    ("hours", 12),
    ("parts", 15),
];
/// Those that go on as long as somebody looks after them.
const LIVE: [&str; 3] = ["each_second", "again_and_again", "wholes"];

/// How many seconds it is left alone in all; nightly says more.
fn seconds() -> u64 {
    std::env::var("STANDALONE_SECONDS").map_or(5, |text| text.parse().expect("seconds"))
}

fn ends_well(place: &Place, dag: &str) -> bool {
    runs(place, dag).iter().all(|run| run["state"] == "success")
}

/// No date has two runs, and each task of a run that has ended has succeeded once.
fn each_once(place: &Place, dag: &str) -> Vec<Value> {
    let all = runs(place, dag);
    let dates: Vec<&str> = all.iter().filter_map(|run| run["logical_date"].as_str()).collect();
    assert_eq!(dates.iter().collect::<BTreeSet<_>>().len(), dates.len(), "{dag}: {all:#?}");
    for run in all.iter().filter(|run| run["end_date"].is_string()) {
        assert_eq!(run["state"], "success", "{dag}: {run:#}");
        let tasks = place.json(&["tasks", text(run, "dag_run_id"), "--dag", dag]);
        for task in tasks.as_array().unwrap() {
            let won = task["tries"].as_array().unwrap().iter().filter(|one| one["state"] == "success").count();
            assert_eq!(won, 1, "{dag}: {task:#}");
        }
    }
    all
}

fn left_alone(place: &Place) {
    let awake: Vec<&str> = OVER.iter().map(|(dag, _)| *dag).chain(LIVE).collect();
    place.ok(&[&["unpause"], &awake[..]].concat());
    rest_but(place, &awake);
    let all = Duration::from_secs(seconds());
    // Five parts that are no multiples of each other, so that each kill finds another moment.
    for part in [7, 19, 11, 29, 13] {
        let scheduler = Scheduler::start_as(place, "standalone");
        std::thread::sleep(all * part / 79);
        assert_eq!(scheduler.end("KILL").1, None);
    }
    let scheduler = Scheduler::start_as(place, "standalone");
    soon("all that is over is run", || {
        OVER.iter().all(|(dag, ticks)| runs(place, dag).len() == *ticks && ends_well(place, dag))
    });
    assert_eq!(scheduler.end("INT").1, Some(0));

    for (dag, ticks) in OVER {
        assert_eq!(each_once(place, dag).len(), ticks, "{dag}");
    }
    for dag in LIVE {
        let found = each_once(place, dag);
        assert!(found.len() > 1, "{dag} has run {} times", found.len());
    }
}

#[test]
fn schedules_of_all_kinds_killed_five_times_in_sqlite() {
    left_alone(&place());
}

#[test]
fn schedules_of_all_kinds_killed_five_times_in_postgres() {
    let Some(database) = database() else { return };
    left_alone(&machine(&database));
}
