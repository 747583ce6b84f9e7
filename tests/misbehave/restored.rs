//! A database that was put back to an older copy: what is lost is due again, and nothing is stuck, doubled or damaged.

use crate::program::Place;
use crate::ticks::{Scheduler, place, runs, soon, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{copy, remove_file};

/// Puts a copy in the place of the database, as docs/run.md says.
fn put_back(place: &Place, backup: &str) {
    for name in ["flow.db", "flow.db-wal", "flow.db-shm"] {
        match remove_file(place.home().join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{name}: {error}"),
            _ => {}
        }
    }
    copy(place.folder.path().join(backup), place.home().join("flow.db")).unwrap();
}

/// Is a run under way in this copy?
fn is_in_the_middle(place: &Place, backup: &str) -> bool {
    use flow_runtime::core::RunStatus;
    use flow_runtime::store::{Durability, MetadataStore as _, RunFilter, SqliteStore};
    // Of the copy itself nothing is changed.
    let looked_at = place.folder.path().join("looked_at.db");
    copy(place.folder.path().join(backup), &looked_at).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = SqliteStore::open(&looked_at, Durability::Process).await.unwrap();
        let states = vec![RunStatus::Queued, RunStatus::Running];
        let open = store.runs(&RunFilter { states, ..RunFilter::default() }).await.unwrap();
        store.close().await;
        !open.is_empty()
    })
}

fn ids(runs: &[Value]) -> BTreeSet<String> {
    runs.iter().map(|run| text(run, "dag_run_id").to_owned()).collect()
}

#[test]
fn a_snapshot_of_a_running_scheduler_is_gone_on_from() {
    let place = place();
    place.ok(&["pause", "again_and_again", "each_second", "once", "with_url"]);
    let all = || runs(&place, "twenty_seconds");
    let ended = || all().iter().filter(|run| run["state"] == "success").count();
    let scheduler = Scheduler::start(&place);
    soon("some have run, and some run", || ended() >= 3);
    // Between two runs, nothing is under way.
    let is_good = |snapshot: &String| {
        assert!(ended() < 15, "no snapshot is in the middle of a run");
        place.ok(&["db", "backup", snapshot]);
        is_in_the_middle(&place, snapshot)
    };
    let snapshot = (1..).map(|n| format!("snapshot{n}.db")).find(is_good).unwrap();
    let there = ended();
    soon("more have run", || ended() >= there + 4);
    // Made, ended and marked since the snapshot: nothing of that is known any more.
    place.ok(&["run", "prints", "--run-id", "mine"]);
    assert_eq!(scheduler.end("KILL").1, None);
    let lost = ids(&all());

    put_back(&place, &snapshot);
    assert_eq!(place.json(&["db", "check"])["is_current"], true);
    let kept = all();
    assert!(kept.len() < lost.len() && ids(&kept).is_subset(&lost), "{} of {}", kept.len(), lost.len());
    assert!(kept.iter().any(|run| run["state"] != "success"), "some were under way: {kept:#?}");
    assert_eq!(runs(&place, "prints"), [] as [Value; 0]);

    let scheduler = Scheduler::start(&place);
    soon("all ticks are run", || all().len() == 21 && ended() == 21);
    let (events, code) = scheduler.end("INT");
    assert_eq!(code, Some(0), "{events:#?}");
    let told: Vec<&Value> = events.iter().filter(|event| event["event"] == "note").collect();
    assert!(told.is_empty(), "there is nothing to complain about: {told:#?}");
    assert_eq!(ids(&all()).len(), 21, "each of them once");
    for run in all() {
        let id = text(&run, "dag_run_id");
        let tasks = place.json(&["tasks", id, "--dag", "twenty_seconds"]);
        for task in tasks.as_array().unwrap() {
            let won = |one: &&Value| one["state"] == "success";
            assert_eq!(task["tries"].as_array().unwrap().iter().filter(won).count(), 1, "{task:#}");
        }
        let value = place.json(&["xcom", id, "second", "--dag", "twenty_seconds"]);
        assert_eq!(value["value"], 25, "{value:#}");
    }
    // What a run was named that is lost, another may be named.
    place.ok(&["run", "prints", "--run-id", "mine"]);
    place.ok(&["clear", "mine", "--yes"]);
    assert_eq!(place.json(&["db", "check"])["is_current"], true);
}
