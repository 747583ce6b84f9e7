//! What `clean` must leave, so that nothing is done again.

use crate::postgres::{database, machine};
use crate::program::Place;
use crate::rest_but;
use crate::ticks::{Scheduler, runs, soon, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

fn place() -> Place {
    let place = Place::new();
    place.write("flow.toml", "[pools]\napi = 2\n");
    place
}

fn all_well(place: &Place, dag: &str, at_least: usize) -> bool {
    let runs = runs(place, dag);
    runs.len() >= at_least && runs.iter().all(|run| run["state"] == "success")
}

/// A scheduler that has looked at everything since it was started.
fn looks(place: &Place) {
    let chain = || runs(place, "again_and_again").len();
    let before = chain();
    place.ok(&["unpause", "again_and_again"]);
    let scheduler = Scheduler::start(place);
    soon("some more of the chain are run", || chain() >= before + 3);
    place.ok(&["pause", "again_and_again"]);
    assert_eq!(scheduler.end("INT").1, Some(0));
}

fn ticks_that_were_cleaned_are_over(place: &Place) {
    rest_but(place, &["twenty_seconds", "once", "again_and_again"]);
    let scheduler = Scheduler::start(place);
    soon("all is run", || all_well(place, "twenty_seconds", 21) && all_well(place, "once", 1));
    place.ok(&["pause", "again_and_again"]);
    // Whatever the pause has found under way goes on when it is over.
    assert_eq!(scheduler.end("INT").1, Some(0));
    let dry = place.dags(&["clean", "--before", "0s", "--dry-run"]);
    let cleaned = place.dags(&["clean", "--before", "0s"]);
    for said in [&dry.err, &cleaned.err] {
        for run in ["twenty_seconds scheduled__2026-01-01T00:00:20+00:00", "once scheduled__"] {
            assert!(said.contains(&format!("kept: {run}")), "{said}");
        }
        assert!(said.contains("the latest of its schedule, from which the scheduler goes on"), "{said}");
    }
    let left = |dag: &str| runs(place, dag).iter().map(|run| text(run, "dag_run_id").to_string()).collect::<Vec<_>>();
    assert_eq!(left("twenty_seconds"), ["scheduled__2026-01-01T00:00:20+00:00"]);
    let (once, chain) = (left("once"), left("again_and_again"));
    assert!(once.len() == 1 && !chain.is_empty(), "{once:?} {chain:?}");

    looks(place);
    assert_eq!((left("twenty_seconds").len(), left("once")), (1, once), "nothing was run again");
    let intervals: Vec<(String, String)> = runs(place, "again_and_again")
        .iter()
        .map(|run| (text(run, "data_interval_start").to_string(), text(run, "data_interval_end").to_string()))
        .collect();
    assert!(intervals.windows(2).all(|two| two[0].1 == two[1].0), "the chain goes on where it was: {intervals:?}");
}

#[test]
fn ticks_that_were_cleaned_are_over_in_sqlite() {
    ticks_that_were_cleaned_are_over(&place());
}

#[test]
fn ticks_that_were_cleaned_are_over_in_postgres() {
    let Some(database) = database() else { return };
    ticks_that_were_cleaned_are_over(&machine(&database));
}

#[test]
fn dates_that_the_schedule_has_yet_to_come_to_are_not_run_twice() {
    let place = place();
    rest_but(&place, &["twenty_seconds"]);
    place.ok(&["backfill", "twenty_seconds", "--from", "2026-01-01", "--to", "2026-01-01T00:00:09"]);
    let next = place.dags(&["next", "twenty_seconds", "-n", "1"]);
    assert!(next.out.contains("2026-01-01 00:00:10") && !next.out.contains("00:00:11"), "{next:?}");
    assert!(next.err.contains("left out: 10 dates have a run already"), "{next:?}");
    let why = place.ok(&["why", "twenty_seconds"]);
    assert!(why.contains("due since 2026-01-01 00:00:10"), "{why}");
    let none = place.dags(&["next", "twenty_seconds", "-n", "0"]);
    assert_eq!(none.code, Some(2), "{none:?}");

    place.ok(&["backfill", "twenty_seconds", "--from", "2026-01-01", "--to", "2026-01-01T00:00:20"]);
    let next = place.dags(&["next", "twenty_seconds"]);
    assert!(next.err.contains("twenty_seconds (* * * * * *) will not run any more"), "{next:?}");
    let why = place.ok(&["why", "twenty_seconds"]);
    assert!(why.contains("will not run any more") && !why.contains("due since"), "{why}");

    let cleaned = place.dags(&["clean", "--before", "0s"]);
    let said = "kept: 21 runs of twenty_seconds, each of a date that the schedule has yet to come to";
    assert!(cleaned.err.contains(said), "{cleaned:?}");
    looks(&place);
    let runs = runs(&place, "twenty_seconds");
    assert!(runs.len() == 21 && runs.iter().all(|run| run["run_type"] == "backfill"), "{runs:#?}");
}

#[test]
fn a_backfill_that_is_not_over_keeps_its_record() {
    let place = place();
    place.write("there", "");
    let march = ["backfill", "days", "--from", "2025-03-01", "--to", "2025-03-31", "--max-active-runs", "1"];
    let mut running = place.start(&march);
    (0..5).for_each(|_| running.until("needs_a_file", "success"));
    running.kill();
    // Of no backfill, and so cleaned.
    place.ok(&["run", "days", "--logical-date", "2025-05-01"]);
    let well = |place: &Place| -> BTreeMap<String, Value> {
        let runs = runs(place, "days").into_iter().filter(|run| run["state"] == "success");
        runs.map(|run| (text(&run, "logical_date").to_string(), run["start_date"].clone())).collect()
    };
    let before = well(&place);
    let cleaned = place.dags(&["clean", "--before", "0s"]);
    assert!(cleaned.err.contains("of a date of a backfill that is not over, and would run it again"), "{cleaned:?}");
    assert!(cleaned.err.contains("1 run deleted"), "{cleaned:?}");
    place.ok(&["backfill", "pause", "1"]);
    assert!(place.dags(&["clean", "--before", "0s"]).err.contains("0 runs deleted"), "also while it is paused");
    place.ok(&["backfill", "unpause", "1"]);
    // A try without retries that was lost has failed.
    let rest = place.dags(&march);
    assert!(matches!(rest.code, Some(0 | 1)) && rest.err.contains("of 31 dates to run"), "{rest:?}");
    let after = well(&place);
    assert!(
        before.len() >= 5
            && before
                .iter()
                .filter(|(date, _)| !date.starts_with("2025-05"))
                .all(|(date, began)| after.get(date) == Some(began))
    );
    // What is over is cleaned as any other.
    let cleaned = place.dags(&["clean", "--before", "0s"]);
    assert!(cleaned.err.contains("31 runs deleted") && !cleaned.err.contains("kept"), "{cleaned:?}");
}

#[test]
fn the_run_before_stays_as_long_as_somebody_waits_for_it() {
    let place = place();
    let first = place.dags(&["run", "days_in_line", "--logical-date", "2026-03-01"]);
    assert_eq!(first.code, Some(1), "{first:?}");
    let later = place.start(&["run", "days_in_line", "--logical-date", "2026-03-02", "--run-id", "later"]);
    soon("it waits for the first", || place.dags(&["why", "later"]).out.contains("in the run before"));
    let cleaned = place.dags(&["clean", "--before", "0s"]);
    assert!(cleaned.err.contains("the run before for tasks that wait for it (depends_on_past)"), "{cleaned:?}");
    assert!(place.ok(&["why", "later"]).contains("in the run before"), "it waits as before");
    later.kill();
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn one_run_is_deleted_and_none_begins_with_the_log_of_another() {
    let place = Place::new();
    for run in ["one", "two", "one_more"] {
        place.ok(&["run", "values", "--run-id", run]);
    }
    let told = place.dags(&["delete", "values", "--run", "one"]);
    assert!(told.err.contains("delete values --run one --yes` does it") && !told.out.contains("two"), "{told:?}");
    // Whoever is killed between the record and the folder leaves the folder.
    let logs = place.home().join("logs/dag_id=values/run_id=one");
    let aside = place.home().join("aside");
    copy(&logs, &aside);
    let deleted = place.dags(&["delete", "values", "--run", "one", "--yes"]);
    assert!(deleted.err.contains("1 run deleted") && !deleted.err.contains("paused"), "{deleted:?}");
    let left = runs(&place, "values");
    assert!(left.len() == 2 && left.iter().all(|run| run["dag_run_id"] != "one") && !logs.exists(), "{left:?}");
    for part in ["one", "latest", "tw"] {
        let refused = place.dags(&["delete", "values", "--run", part, "--yes"]);
        assert!(refused.code == Some(2) && refused.err.contains("not the whole id"), "{refused:?}");
    }
    assert_eq!(runs(&place, "values").len(), 2);
    copy(&aside, &logs);
    place.ok(&["run", "values", "--run-id", "one"]);
    let log = place.ok(&["logs", "one", "works"]);
    assert_eq!(log.matches("inside").count(), 1, "{log}");
}
