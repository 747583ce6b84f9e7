//! What holds whoever asks, and whoever is killed: one run of an id, each date once, no more slots than there are.

use crate::postgres::{chance, database, machine, most_at_once};
use crate::program::Place;
use crate::rest_but;
use crate::ticks::{Scheduler, runs, soon, text};
use flow_runtime::chrono::{DateTime, Utc};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

fn place(slots: u32) -> Place {
    let place = Place::new();
    place.write("flow.toml", &format!("[pools]\napi = {slots}\n"));
    place
}

fn one_id_is_one_run(place: &Place) {
    // The metadata database is made by the first, and not by all.
    place.ok(&["run", "prints", "--run-id", "before"]);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..30).map(|_| scope.spawn(|| place.dags(&["run", "prints", "--run-id", "one"]))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let made = answers.iter().filter(|answer| answer.code == Some(0)).count();
    assert_eq!(made, 1, "{answers:#?}");
    for refused in answers.iter().filter(|answer| answer.code != Some(0)) {
        let said = refused.err.contains("already has a run `one`") || refused.err.contains("is being worked on");
        assert!(refused.code == Some(2) && said, "{refused:#?}");
    }
    let all = runs(place, "prints");
    assert!(all.len() == 2 && all.iter().all(|run| run["state"] == "success"), "{all:#?}");
    let tasks = place.json(&["tasks", "one"]);
    assert!(tasks.as_array().unwrap().iter().all(|task| task["tries"].as_array().unwrap().len() == 1), "{tasks:#}");
}

#[test]
fn many_who_ask_for_one_id_get_one_run() {
    one_id_is_one_run(&place(2));
}

#[test]
fn many_who_ask_for_one_id_get_one_run_in_postgres() {
    let Some(database) = database() else { return };
    one_id_is_one_run(&machine(&database));
}

#[test]
fn a_backfill_of_a_hundred_dates_killed_five_times_has_each_once_and_in_order() {
    let place = place(2);
    place.write("there", "");
    let dates = ["backfill", "days", "--from", "2025-01-01", "--to", "2025-04-10", "--max-active-runs", "2"];
    let mut waits = Vec::new();
    for _ in 0..5 {
        let running = place.start(&dates);
        waits.push(60 + chance(400));
        std::thread::sleep(Duration::from_millis(waits[waits.len() - 1]));
        running.kill();
    }
    let rest = place.dags(&dates);
    // A try without retries that was lost has failed: what is lost is at most what was under way.
    assert!(matches!(rest.code, Some(0 | 1)), "{waits:?}: {rest:?}");
    let all = runs(&place, "days");
    let logical: Vec<&str> = all.iter().map(|run| text(run, "logical_date")).collect();
    assert_eq!(logical.iter().collect::<BTreeSet<_>>().len(), 100, "{waits:?}: each date once");
    assert!(logical.len() == 100 && logical.is_sorted(), "{waits:?}: in their order: {logical:?}");
    assert!(most_at_once(&all) <= 2, "{waits:?}: {all:#?}");
    let failed = all.iter().filter(|run| run["state"] == "failed").count();
    assert!(failed <= 10 && all.iter().all(|run| run["state"] == "failed" || run["state"] == "success"), "{waits:?}");
    for run in &all {
        let tasks = place.json(&["tasks", text(run, "dag_run_id")]);
        assert_eq!(tasks[0]["tries"].as_array().unwrap().len(), 1, "{waits:?}: {tasks:#}");
    }
    assert_eq!(place.json(&["backfill", "list"])[0]["state"], "done");
}

#[test]
fn a_pool_of_three_is_three_whoever_is_killed() {
    let place = place(3);
    rest_but(&place, &["pooled"]);
    place.ok(&["backfill", "pooled", "--from", "2026-01-01", "--to", "2026-01-04", "--detach"]);
    let (mut waits, mut kills) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let scheduler = Scheduler::start(&place);
        waits.push(250 + chance(500));
        std::thread::sleep(Duration::from_millis(waits[waits.len() - 1]));
        assert_eq!(scheduler.end("KILL").1, None);
        kills.push(Utc::now());
    }
    let scheduler = Scheduler::start(&place);
    let ended = || runs(&place, "pooled").iter().filter(|run| run["state"] == "success").count();
    soon(&format!("all is run after {waits:?}"), || ended() == 4);
    assert_eq!(scheduler.end("INT").1, Some(0));

    let runs = runs(&place, "pooled");
    let tasks: Vec<Value> = runs.iter().map(|run| place.json(&["tasks", text(run, "dag_run_id")])).collect();
    let tasks: Vec<&Value> = tasks.iter().flat_map(|tasks| tasks.as_array().unwrap()).collect();
    assert_eq!(tasks.len(), 200);
    let tries: Vec<&Value> = tasks.iter().flat_map(|task| task["tries"].as_array().unwrap()).collect();
    let won =
        |task: &&&Value| task["tries"].as_array().unwrap().iter().filter(|one| one["state"] == "success").count() == 1;
    assert_eq!(tasks.iter().filter(won).count(), 200, "{waits:?}: one success each");
    let lost = tries.iter().filter(|one| one["state"] != "success").count();
    assert!(lost <= 12, "{waits:?}: no more is lost than was in flight: {lost}");
    let at = |one: &Value, field| text(one, field).parse::<DateTime<Utc>>().expect("every try has begun and ended");
    // One that was lost ended with its process; what is recorded is when somebody came to know.
    let span = |one: &&Value| {
        let (start, end) = (at(one, "start_date"), at(one, "end_date"));
        let killed = kills.iter().find(|killed| start <= **killed).filter(|_| one["state"] != "success");
        (start, killed.map_or(end, |killed| end.min(*killed)))
    };
    let spans: Vec<_> = tries.iter().map(span).collect();
    let active = |now| spans.iter().filter(|(start, end)| *start <= now && now < *end).count();
    let most = spans.iter().map(|(start, _)| active(*start)).max();
    assert_eq!(most, Some(3), "{waits:?}: all three are taken, and never more");
}

#[test]
fn a_scheduler_that_is_told_to_end_loses_nothing() {
    let place = place(2);
    rest_but(&place, &["twenty_seconds"]);
    let all = || runs(&place, "twenty_seconds");
    let ended = || all().iter().filter(|run| run["state"] == "success").count();
    let mut before = 0;
    for more in [2, 3, 4] {
        let scheduler = Scheduler::start(&place);
        soon("some have run", || ended() >= before + more);
        let (events, code) = scheduler.end("TERM");
        assert_eq!(code, Some(0), "{events:#?}");
        before = ended();
    }
    let scheduler = Scheduler::start(&place);
    soon("all ticks are run", || ended() == 21);
    assert_eq!(scheduler.end("TERM").1, Some(0));
    assert_eq!(all().len(), 21);
    for run in all() {
        let tasks = place.json(&["tasks", text(&run, "dag_run_id")]);
        for task in tasks.as_array().unwrap() {
            let tries = task["tries"].as_array().unwrap();
            let won = tries.iter().filter(|one| one["state"] == "success").count();
            assert!(won == 1 && tries.iter().all(|one| one["state"] != "failed"), "{task:#}");
        }
    }
}
