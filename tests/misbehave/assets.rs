//! The scheduler, killed at any moment: every event of an asset starts exactly one run of each DAG that waits for it.

use crate::program::Place;
use crate::rest_but;
use crate::ticks::{Scheduler, runs, soon};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

fn place() -> Place {
    let place = Place::new();
    place.write("flow.toml", "[pools]\napi = 2\n");
    rest_but(&place, &["parts", "wholes", "pairs"]);
    place
}

/// How often each event was one that a run of the DAG was made for.
pub fn counted(place: &Place, dag: &str) -> BTreeMap<i64, usize> {
    let mut counts = BTreeMap::new();
    for run in ended(place, dag) {
        let run_id = run["dag_run_id"].as_str().unwrap();
        assert_eq!((run["run_type"].as_str(), &run["logical_date"]), (Some("asset_triggered"), &Value::Null));
        let value = place.json(&["xcom", run_id, "assemble", "--dag", dag]);
        let events = value["value"].as_array().unwrap();
        assert!(!events.is_empty(), "{run_id} was made for nothing");
        events.iter().for_each(|event| *counts.entry(event.as_i64().unwrap()).or_default() += 1);
    }
    counts
}

/// The runs that have ended.
fn ended(place: &Place, dag: &str) -> Vec<Value> {
    let mut runs = runs(place, dag);
    runs.retain(|run| run["state"] == "success");
    runs
}

pub fn events(place: &Place, asset: &str) -> Vec<i64> {
    let shown = place.json(&["assets", "show", asset, "--limit", "0"]);
    shown["asset_events"].as_array().unwrap().iter().map(|event| event["id"].as_i64().unwrap()).rev().collect()
}

/// No run is under way, and none is due.
pub fn is_settled(place: &Place) -> bool {
    let listed = place.json(&["list"]);
    let none_is_due = listed.as_array().unwrap().iter().all(|dag| dag["waiting"] != "what it waits for has come");
    none_is_due
        && ended(place, "parts").len() == 15
        && place.json(&["runs", "--state", "running", "--state", "queued", "--state", "interrupted"])
            == Value::Array(Vec::new())
}

/// Every life of the scheduler ends just before, or just after, the same write: that of the consumers, that of a run.
#[test]
fn one_that_dies_at_the_same_write_again_and_again_gets_there() {
    for crash_at in ["await_assets:1:after", "make_run:1:before", "make_run:1:after", "make_run:2:after"] {
        let place = place();
        for life in 0.. {
            assert!(life < 100, "{crash_at}: it does not get there");
            // One that never makes a run needs another after it.
            let cured = life > 3 && !matches!(crash_at, "make_run:1:after" | "make_run:2:after");
            let mut command = place.command(&["scheduler"]);
            if !cured {
                command.env("FLOW_CRASH_AT", crash_at);
            }
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
            let mut has_died = false;
            soon(crash_at, || {
                has_died = child.try_wait().expect("it can be asked").is_some();
                has_died || is_settled(&place)
            });
            if !has_died {
                child.kill().expect("it can be killed");
                child.wait().expect("it ends");
                assert!(life > 0, "{crash_at}: it never came");
                break;
            }
        }
        let parts = events(&place, "parts");
        assert_eq!(parts.len(), 15, "{crash_at}");
        assert_eq!(counted(&place, "wholes"), parts.iter().map(|id| (*id, 1)).collect(), "{crash_at}");
        assert!(counted(&place, "pairs").values().all(|count| *count == 1), "{crash_at}");
    }
}

#[test]
fn killed_again_and_again_every_event_starts_one_run() {
    let place = place();
    for wait in [250, 400, 150, 600, 350, 300] {
        let scheduler = Scheduler::start(&place);
        std::thread::sleep(Duration::from_millis(wait));
        assert_eq!(scheduler.end("KILL").1, None);
    }
    let scheduler = Scheduler::start(&place);
    soon("all parts are made and used", || is_settled(&place));
    assert_eq!(scheduler.end("INT").1, Some(0));

    let parts = events(&place, "parts");
    assert_eq!(parts.len(), 15, "each run has made one, whoever was killed when");
    assert_eq!(counted(&place, "wholes"), parts.iter().map(|id| (*id, 1)).collect());
    assert_eq!(events(&place, "whole").len(), ended(&place, "wholes").len() + ended(&place, "pairs").len());
    assert!(counted(&place, "pairs").values().all(|count| *count == 1));
}

#[test]
fn a_paused_dag_collects_what_comes_and_a_person_may_tell() {
    let place = place();
    place.ok(&["pause", "parts", "pairs", "wholes"]);
    // What came before the DAGs were seen for the first time does not count.
    place.ok(&["assets", "emit", "parts"]);
    let scheduler = Scheduler::start(&place);
    soon("the scheduler waits", || {
        place.json(&["assets", "emit", "parts", "--extra", r#"{"rows": 7}"#])["id"] != 0 && {
            let text = place.ok(&["list"]);
            text.contains("what it waits for has come (paused)")
        }
    });
    assert!(runs(&place, "wholes").is_empty());
    let next = place.dags(&["next", "pairs"]);
    assert!(next.err.contains("it waits for whole; parts has come, but the DAG is paused"), "{next:#?}");
    let why = place.ok(&["why", "pairs"]);
    assert!(why.contains("pairs waits for whole; parts has come\n"), "{why}");
    let why = place.ok(&["why", "wholes"]);
    assert!(why.contains("wholes has a run that is due, for what it waits for has come, and not made yet\n"), "{why}");
    place.ok(&["unpause", "wholes"]);
    soon("what was collected makes one run", || runs(&place, "wholes").iter().any(|run| run["state"] == "success"));
    assert_eq!(scheduler.end("INT").1, Some(0));
    let all = events(&place, "parts");
    let counted = counted(&place, "wholes");
    assert_eq!(runs(&place, "wholes").len(), 1);
    assert!(!counted.contains_key(&all[0]), "{counted:?} of {all:?}");
    assert_eq!(counted.keys().last(), all.last());

    let shown = place.ok(&["assets", "show", "parts"]);
    assert!(shown.contains("made by  parts.part") && shown.contains("starts   pairs, wholes"), "{shown}");
    assert!(shown.contains("a person"), "{shown}");
    let listed = place.ok(&["assets"]);
    assert!(listed.contains("parts") && listed.contains("wholes.assemble"), "{listed}");
    let unknown = place.dags(&["assets", "emit", "partz"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("did you mean `parts`?"), "{unknown:#?}");
    let wrong = place.dags(&["assets", "emit", "parts", "--extra", "[1]"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("--extra is not a JSON object"), "{wrong:#?}");
}

#[test]
fn what_comes_all_the_time_leaves_the_ticks_their_turn() {
    let place = Place::new();
    rest_but(&place, &["goods", "sales"]);
    let of = |run_type: &str| runs(&place, "sales").iter().filter(|run| run["run_type"] == run_type).count();
    let scheduler = Scheduler::start(&place);
    soon("there are runs of both sorts", || of("asset_triggered") > 2 && of("scheduled") > 2);
    assert_eq!(scheduler.end("INT").1, Some(0));
}

/// A run of the DAG `gone`, which waits for parts and is paused or not.
fn made_by_another_program(database: &Path, is_paused: bool) {
    use flow_runtime::core::{Dag, DagRun, RunStatus, RunType};
    use flow_runtime::store::{Durability, MetadataStore as _, SqliteStore};
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(database, Durability::Process).await.unwrap();
        let version = store.put_dag(&Dag::new("gone")).await.unwrap();
        let run = DagRun {
            dag_id: "gone".into(),
            run_id: "one".into(),
            run_type: RunType::Manual,
            state: RunStatus::Success,
            logical_date: None,
            data_interval: None,
            run_after: "2026-01-01T00:00:00Z".parse().unwrap(),
            start_date: None,
            end_date: None,
            conf: Default::default(),
        };
        store.create_run(&run, &version, "me").await.unwrap();
        store.await_assets(&[("gone".to_string(), ["parts".to_string()].into())].into()).await.unwrap();
        store.set_paused("gone", is_paused).await.unwrap();
        store.close().await;
    });
}

#[test]
fn what_comes_is_not_kept_for_a_dag_that_has_left_the_program_and_was_deleted() {
    use flow_runtime::store::{Durability, MetadataStore as _, SqliteStore};
    let place = place();
    let database = place.home().join("flow.db");
    // Is what comes kept for it, and is it paused?
    let stands = || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = SqliteStore::open(&database, Durability::Process).await.unwrap();
            store.put_asset_event("parts", "{}", "2026-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
            let is_kept = store.pending_assets().await.unwrap().iter().any(|pending| pending.dag_id == "gone");
            let is_paused = store.paused().await.unwrap().get("gone") == Some(&true);
            store.close().await;
            (is_kept, is_paused)
        })
    };
    made_by_another_program(&database, false);
    assert_eq!(stands(), (true, false));
    // This one has no such DAG either, but another might.
    let scheduler = Scheduler::start(&place);
    soon("the scheduler is there", || !place.json(&["why"]).to_string().contains("no scheduler works"));
    let deleted = place.dags(&["delete", "gone", "--yes"]);
    assert!(deleted.code == Some(0) && deleted.err.contains("may have gone: so it is paused"), "{deleted:?}");
    assert!(deleted.err.contains("delete gone --yes --gone`"), "{deleted:?}");
    assert_eq!(scheduler.end("INT").1, Some(0));
    assert_eq!(stands(), (true, true), "a scheduler that has it would miss what comes");
    let here = place.dags(&["delete", "parts", "--yes", "--gone"]);
    assert!(here.code == Some(2) && here.err.contains("this program has the DAG `parts`"), "{here:?}");
    place.ok(&["delete", "gone", "--yes", "--gone"]);
    assert_eq!(stands(), (false, false), "it waits for nothing any more, and nobody could take its pause away");
}

#[test]
fn without_a_scheduler_nobody_has_a_dag_that_has_left_the_program() {
    use flow_runtime::store::{Durability, MetadataStore as _, SqliteStore};
    let place = place();
    let database = place.home().join("flow.db");
    made_by_another_program(&database, true);
    place.ok(&["delete", "gone", "--yes"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&database, Durability::Process).await.unwrap();
        store.put_asset_event("parts", "{}", "2026-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
        assert!(store.pending_assets().await.unwrap().iter().all(|pending| pending.dag_id != "gone"));
        let paused = store.paused().await.unwrap();
        assert_eq!(paused.get("gone"), Some(&true), "it may be another program's, whose scheduler does not run now");
        store.close().await;
    });
}
