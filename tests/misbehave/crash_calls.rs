//! Death at the calls that come with leases, with limits of several processes, and with what a person wants: nothing is lost, doubled
//! or stuck. (Number 11.)

use crate::crash_points::{live, won};
use crate::postgres::{database, machine};
use crate::program::Place;
use crate::rest_but;
use crate::ticks::{runs, soon, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;

/// On a file, and where there is a server on Postgres, too.
fn places() -> impl Iterator<Item = Place> {
    // A lease that is not over before a command has come to its work.
    std::iter::once(Place::new()).chain(database().map(|database| machine(&database).env("FLOW_LEASE", "5s")))
}

/// A command that dies at this call.
#[track_caller]
fn dies(place: &Place, args: &[&str], crash_at: &str) {
    let mut command = place.command(args);
    command.env("FLOW_CRASH_AT", crash_at).stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(command.status().expect("it starts").signal(), Some(9), "{crash_at}: it never came");
}

/// What tasks have noted.
fn ledger(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.home().join("ledger")).unwrap_or_default();
    text.lines().map(String::from).collect()
}

fn instances(place: &Place, run: &str, dag: &str) -> Vec<Value> {
    place.json(&["tasks", run, "--dag", dag]).as_array().unwrap().clone()
}

/// One death where leases are renewed or given back, or slots are taken that several processes share.
fn one_death_of_a_holder(crash_at: &str) {
    let Some(database) = database() else { return };
    let place = machine(&database);
    rest_but(&place, &["shared_slots"]);
    assert!(live(&place, "shared_slots", Some(crash_at)), "{crash_at}: it never came");
    assert!(!live(&place, "shared_slots", None), "{crash_at}");
    let runs = runs(&place, "shared_slots");
    let dates: BTreeSet<&str> = runs.iter().map(|run| text(run, "logical_date")).collect();
    assert_eq!((runs.len(), dates.len()), (2, 2), "{crash_at}: {runs:#?}");
    for run in &runs {
        let id = text(run, "dag_run_id");
        // The last task takes both slots of the pool: none is kept by who has died.
        assert_eq!(place.json(&["xcom", id, "sum", "--dag", "shared_slots"])["value"], 5, "{crash_at}");
        instances(&place, id, "shared_slots").iter().for_each(|task| won(task, crash_at));
    }
    let ledger = ledger(&place);
    assert_eq!(ledger.iter().collect::<BTreeSet<_>>().len(), ledger.len(), "{crash_at}: no try twice: {ledger:#?}");
    soon("what has ended is held by nobody", || {
        crate::ticks::runs(&place, "shared_slots").iter().all(|run| run["held_by"].is_null())
    });
}

#[test]
fn a_death_at_a_renewal_a_release_or_where_slots_are_taken() {
    // They wait for leases most of the time.
    std::thread::scope(|scope| {
        for call in ["renew:1", "release:1", "take_slots:1", "take_slots:2"] {
            for when in ["before", "after"] {
                scope.spawn(move || one_death_of_a_holder(&format!("{call}:{when}")));
            }
        }
    });
}

/// A person who dies as the order is left: it is there or not, and carried out once.
fn an_order_left_by_one_who_dies(place: &Place, when: &str, the_worker_dies: bool) {
    let about = format!("put_order {when}, the worker dies: {the_worker_dies}");
    let mut run = place.start(&["run", "held_up", "--run-id", "one"]);
    run.until("waits_to_go", "running");
    soon("it has begun", || !ledger(place).is_empty());
    if the_worker_dies {
        // So that it does not come to it before.
        run.signal("STOP");
    }
    let clear = ["clear", "one", "waits_to_go", "--yes"];
    dies(place, &clear, &format!("put_order:1:{when}"));
    let try_number = || {
        instances(place, "one", "held_up")
            .iter()
            .find_map(|task| (task["task_id"] == "waits_to_go").then(|| task["try_number"].as_u64().unwrap()))
    };
    let go = || std::fs::write(place.home().join("go"), "").unwrap();
    let code = if the_worker_dies {
        run.kill();
        soon(&about, || place.json(&["runs", "--state", "interrupted"]).as_array().unwrap().len() == 1);
        go();
        place.dags(&["run", "--resume", "one"]).code
    } else {
        if when == "after" {
            soon(&about, || try_number() == Some(2));
        }
        go();
        run.end().1
    };
    assert_eq!(code, Some(0), "{about}");
    let tasks = instances(place, "one", "held_up");
    tasks.iter().for_each(|task| won(task, &about));
    // The one that was lost, or cleared, and the one after it.
    let tries = if when == "after" || the_worker_dies { 2 } else { 1 };
    assert_eq!(try_number(), Some(tries), "{about}: {tasks:#?}");
    let begun = ledger(place).iter().filter(|line| line.ends_with(" begins")).count() as u64;
    assert_eq!(begun, tries, "{about}: {:#?}", ledger(place));
    assert_eq!(place.json(&["xcom", "one", "sum"])["value"], 6);

    // Nothing is left that would be carried out later.
    place.ok(&["clear", "one", "sum", "--yes"]);
    place.ok(&["run", "--resume", "one"]);
    assert_eq!(try_number(), Some(tries), "{about}");
    assert_eq!(instances(place, "one", "held_up").iter().filter(|task| task["try_number"] == 2).count() as u64, tries);
}

#[test]
fn a_death_as_an_order_is_left() {
    std::thread::scope(|scope| {
        for (when, the_worker_dies) in [("before", false), ("after", false), ("before", true), ("after", true)] {
            for place in places() {
                scope.spawn(move || an_order_left_by_one_who_dies(&place, when, the_worker_dies));
            }
        }
    });
}

/// The logs of a run that has one task and one try.
fn log(place: &Place, run: &str) -> PathBuf {
    place.home().join(format!("logs/dag_id=in_two_lines/run_id={run}/task_id=says_two_things/attempt=1.log"))
}

/// One who deletes runs dies: each is whole or gone, the next deletes the rest, and nothing of their record comes back.
fn a_deletion_by_one_who_dies(place: &Place, when: &str) {
    place.ok(&["run", "in_two_lines", "--run-id", "one"]);
    place.ok(&["run", "in_two_lines", "--run-id", "two"]);
    let delete = ["clean", "--before", "2999-01-01", "--dag", "in_two_lines"];
    dies(place, &delete, &format!("delete_run:1:{when}"));
    let left = runs(place, "in_two_lines");
    assert_eq!(left.len(), if when == "before" { 2 } else { 1 }, "{when}: {left:#?}");
    for run in &left {
        let id = text(run, "dag_run_id");
        assert_eq!(instances(place, id, "in_two_lines").len(), 1, "{when}: it is whole");
        assert_eq!(std::fs::read_to_string(log(place, id)).unwrap().lines().count(), 2, "{when}: {id}");
    }
    // Where the one who died has a lease, the next waits until that is over.
    soon("the rest is deleted", || {
        place.ok(&delete);
        runs(place, "in_two_lines").is_empty()
    });
    for run in ["one", "two"] {
        place.ok(&["run", "in_two_lines", "--run-id", run]);
        let tasks = instances(place, run, "in_two_lines");
        assert!(tasks.len() == 1 && tasks[0]["tries"].as_array().unwrap().len() == 1, "{when}: {tasks:#?}");
    }
}

#[test]
fn a_death_as_runs_are_deleted() {
    for when in ["before", "after"] {
        places().for_each(|place| a_deletion_by_one_who_dies(&place, when));
    }
}
