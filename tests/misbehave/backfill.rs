//! Dates that are filled in afterwards: each once, killed or not.

use crate::program::Place;
use crate::rest_but;
use crate::ticks::{Scheduler, soon};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn place() -> Place {
    let place = Place::new();
    place.write("flow.toml", "[pools]\napi = 2\n");
    place
}

/// The states of the days' runs.
fn states(place: &Place) -> BTreeMap<String, String> {
    let runs = place.json(&["runs", "days", "--limit", "0"]);
    let text = |run: &Value, field: &str| run[field].as_str().unwrap().to_string();
    runs.as_array().unwrap().iter().map(|run| (text(run, "logical_date")[..10].into(), text(run, "state"))).collect()
}

const MARCH: [&str; 6] = ["backfill", "days", "--from", "2026-03-01", "--to", "2026-03-10"];

fn march<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&MARCH, more].concat()
}

#[test]
fn what_is_missing_is_made_and_what_failed_runs_again_if_one_asks() {
    let place = place();
    let dry = place.json(&march(&["--dry-run", "--backwards"]));
    assert_eq!((dry.as_array().unwrap().len(), &dry[0]["action"]), (10, &json!("make")));
    assert!(dry[0]["logical_date"].as_str().unwrap().starts_with("2026-03-10"));
    assert!(states(&place).is_empty(), "nothing was run");

    let first = place.dags(&march(&[]));
    assert_eq!(first.code, Some(1), "{first:?}");
    assert!(first.err.contains("5 succeeded, 5 failed") && first.err.contains("--reprocess failed"), "{first:?}");
    assert_eq!(states(&place).len(), 10);
    let again = place.dags(&march(&[]));
    assert!(again.code == Some(0) && again.err.contains("0 of 10 dates to run"), "{again:?}");

    place.write("there", "");
    let retried = place.dags(&march(&["--reprocess", "failed"]));
    assert!(retried.code == Some(0) && retried.err.contains("5 of 10 dates to run"), "{retried:?}");
    assert!(states(&place).values().all(|state| state == "success"));
    let all = place.dags(&march(&["--reprocess", "completed", "--max-active-runs", "2"]));
    assert!(all.code == Some(0) && all.err.contains("10 succeeded, 0 failed"), "{all:?}");
    let runs = place.json(&["runs", "days", "--limit", "0"]);
    let runs = runs.as_array().unwrap();
    assert!(runs.len() == 10 && runs.iter().all(|run| run["run_type"] == "backfill"), "{runs:#?}");
}

#[test]
fn killed_half_way_the_same_command_goes_on() {
    let place = place();
    place.write("there", "");
    let year = ["backfill", "days", "--from", "2025-01-01", "--to", "2025-03-31", "--max-active-runs", "2"];
    for _ in 0..3 {
        let mut running = place.start(&year);
        running.until("needs_a_file", "success");
        running.kill();
    }
    let (events, code) = place.start(&year).end();
    // A try without retries that was lost has failed; that is for a person to decide.
    assert!(matches!(code, Some(0 | 1)), "{events:#?}");
    let failed = place.dags(&[&year[..], &["--reprocess", "failed"]].concat());
    assert_eq!(failed.code, Some(0), "{failed:?}");
    let states = states(&place);
    assert!(states.len() == 90 && states.values().all(|state| state == "success"), "{states:?}");
}

#[test]
fn what_cannot_be_filled_in_is_said() {
    let place = place();
    for (words, said) in [
        (&["backfill", "prints", "--from", "2026-01-01", "--to", "2026-01-02"], "has no schedule that tells dates"),
        (&["backfill", "again_and_again", "--from", "2026-01-01", "--to", "2026-01-02"], "has no schedule that tells"),
        (&["backfill", "days", "--from", "2026-01-02", "--to", "2026-01-01"], "--to lies before --from"),
        (&["backfill", "days", "--from", "tomorrow", "--to", "2026-01-01"], "--from: `tomorrow` is not a date"),
        (&["backfill", "days", "--from", "2999-01-01", "--to", "2999-01-03"], "3 dates that were still ahead"),
        (
            &["backfill", "days", "--from", "2019-12-01", "--to", "2019-12-31"],
            "31 dates before the start_date of the DAG",
        ),
        (&["backfill", "pooled", "--from", "2026-02-01", "--to", "2026-02-01"], "1 date after the end_date of the DAG"),
        (
            &["backfill", "days", "--from", "2026-01-01T01:00", "--to", "2026-01-01T02:00"],
            "the nearest are 2026-01-01 00:00:00 and 2026-01-02 00:00:00",
        ),
    ] {
        let answer = place.dags(words);
        assert!(answer.code == Some(2) && answer.err.contains(said), "{words:?}: {answer:?}");
    }
    assert_eq!(backfills(&place), [], "nothing of that is kept");
}

#[test]
fn dates_that_the_schedule_would_not_have_had_are_left_out() {
    let place = place();
    let early = place.dags(&["backfill", "days", "--from", "2019-12-25", "--to", "2020-01-03", "--detach"]);
    assert_eq!(early.code, Some(0), "{early:?}");
    assert!(early.err.contains("left out: 7 dates before the start_date of the DAG, 2020-01-01"), "{early:?}");
    assert!(early.err.contains("3 of 3 dates to run"), "{early:?}");
    let shown = place.dags(&["backfill", "show", "1"]);
    assert!(shown.err.contains("3 of 3 dates left") && shown.err.contains("left out: 7 dates"), "{shown:?}");
    let endless = ["backfill", "days", "--from", "2026-01-01", "--to", "9999-01-01", "--dry-run"];
    let last = place.json(&endless).as_array().unwrap().last().unwrap()["logical_date"].clone();
    assert!(last.as_str().unwrap().starts_with("20"), "none of a thousand years ahead: {last}");
    let said = place.dags(&endless).err;
    assert!(said.contains("left out: more than 10000 dates that were still ahead when it was asked for"), "{said}");
}

#[test]
fn a_dag_is_deleted_with_all_its_runs_and_rests_then() {
    let place = place();
    place.ok(&["backfill", "days", "--from", "2026-01-01", "--to", "2026-01-01"]);
    place.ok(&["run", "prints", "--run-id", "other"]);
    let dry = place.dags(&["delete", "days"]);
    assert!(dry.code == Some(0) && dry.err.contains("1 run would be deleted"), "{dry:?}");
    assert_eq!(place.json(&["runs"]).as_array().unwrap().len(), 2);
    let deleted = place.dags(&["delete", "days", "--yes"]);
    assert!(deleted.code == Some(0) && deleted.err.contains("1 run deleted"), "{deleted:?}");
    let left = place.json(&["runs"]);
    assert!(left.as_array().unwrap().len() == 1 && left[0]["dag_id"] == "prints", "{left:#}");
    let days = place.json(&["list"]).as_array().unwrap().iter().find(|dag| dag["dag_id"] == "days").cloned();
    assert_eq!(days.unwrap()["is_paused"], true);
    let none = place.dags(&["delete", "days", "--yes"]);
    assert_eq!(none.code, Some(2), "{none:?}");
}

/// The numbers and states of the backfills, the newest first.
fn backfills(place: &Place) -> Vec<(i64, String)> {
    let rows = place.json(&["backfill", "list"]);
    let row = |row: &Value| (row["id"].as_i64().unwrap(), row["state"].as_str().unwrap().to_string());
    rows.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn a_backfill_is_one_through_kills_and_done_in_the_end() {
    let place = place();
    place.write("there", "");
    let february = ["backfill", "days", "--from", "2025-02-01", "--to", "2025-02-28", "--max-active-runs", "2"];
    let mut running = place.start(&february);
    running.until("needs_a_file", "success");
    running.kill();
    assert_eq!(backfills(&place), [(1, "running".into())]);
    let (_, code) = place.start(&february).end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    assert_eq!(backfills(&place), [(1, "done".into())]);
    let shown = place.json(&["backfill", "show", "1"]);
    let dates = shown["dates"].as_array().unwrap();
    assert!(
        dates.len() == 28 && dates.iter().all(|date| date["is_left"] == false && !date["state"].is_null()),
        "{shown:#}"
    );
    // What is over is asked for anew.
    place.ok(&[&february[..], &["--reprocess", "completed"]].concat());
    assert_eq!(backfills(&place), [(2, "done".into()), (1, "done".into())]);
}

#[test]
fn what_was_run_again_before_a_kill_is_not_run_once_more() {
    let place = place();
    place.write("there", "");
    place.ok(&march(&[]));
    let again = march(&["--reprocess", "completed", "--max-active-runs", "1"]);
    let mut running = place.start(&again);
    running.until("needs_a_file", "success");
    running.kill();
    let rest = place.dags(&again);
    assert!(matches!(rest.code, Some(0 | 1)), "{rest:?}");
    assert!(!rest.err.contains("10 of 10 dates to run"), "{rest:?}");
    for run in place.json(&["runs", "days", "--limit", "0"]).as_array().unwrap() {
        let tasks = place.json(&["tasks", run["dag_run_id"].as_str().unwrap()]);
        let tries = tasks[0]["tries"].as_array().unwrap().len();
        assert_eq!(tries, 2, "once for the first backfill, once for the second: {tasks:#}");
    }
}

#[test]
fn a_backfill_is_left_to_the_scheduler_paused_gone_on_with_and_cancelled() {
    let place = place();
    place.write("there", "");
    rest_but(&place, &["days"]);
    let year = ["backfill", "days", "--from", "2024-01-01", "--to", "2024-12-31", "--max-active-runs", "1", "--detach"];
    let detached = place.dags(&year);
    assert!(detached.code == Some(0) && detached.err.contains("backfill 1: 366 of 366 dates to run"), "{detached:?}");
    assert!(states(&place).is_empty(), "nothing is run here");

    place.ok(&["backfill", "pause", "1"]);
    let why = place.ok(&["why", "days"]);
    assert!(why.contains("has a backfill that is paused: `backfill unpause 1` goes on with it"), "{why}");
    let same = place.dags(&year[..8]);
    assert!(same.code == Some(2) && same.err.contains("backfill 1, which asks for the same, is paused"), "{same:?}");
    let twice = place.dags(&["backfill", "pause", "1"]);
    assert!(twice.code == Some(2) && twice.err.contains("backfill 1 is paused"), "{twice:?}");

    place.ok(&["backfill", "unpause", "1"]);
    let of = |place: &Place| {
        let runs = place.json(&["runs", "days", "--limit", "0"]);
        let runs = runs.as_array().unwrap().iter().filter(|run| run["run_type"] == "backfill");
        runs.map(|run| run["state"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let scheduler = Scheduler::start(&place);
    soon("three dates are run", || of(&place).iter().filter(|state| *state == "success").count() >= 3);
    place.ok(&["backfill", "pause", "1"]);
    soon("what is under way has ended", || of(&place).iter().all(|state| state == "success"));
    // It asks before each: from here on it begins none.
    let begun = of(&place).len();
    place.ok(&["backfill", "unpause", "1"]);
    soon("it goes on", || of(&place).len() > begun);
    place.ok(&["backfill", "cancel", "1"]);
    soon("what is under way has ended", || of(&place).iter().all(|state| state == "success" || state == "failed"));
    // One that had been made and not begun.
    assert!(of(&place).iter().filter(|state| *state == "failed").count() <= 1, "{:?}", of(&place));
    let ended = of(&place).len();
    assert!(ended < 366 && backfills(&place) == [(1, "cancelled".into())], "{ended}");
    for (words, said) in [
        (["backfill", "unpause", "1"], "backfill 1 is cancelled"),
        (["backfill", "cancel", "7"], "there is no backfill 7"),
    ] {
        let answer = place.dags(&words);
        assert!(answer.code == Some(2) && answer.err.contains(said), "{answer:?}");
    }
    assert_eq!(scheduler.end("INT").1, Some(0));
}

#[test]
fn a_scheduler_goes_on_with_what_a_killed_command_and_a_killed_scheduler_have_left() {
    let place = place();
    place.write("there", "");
    rest_but(&place, &["days"]);
    let mut running = place.start(&march(&["--max-active-runs", "1"]));
    running.until("needs_a_file", "success");
    running.kill();
    let scheduler = Scheduler::start(&place);
    let is_left = |place: &Place| {
        let shown = place.json(&["backfill", "show", "1"]);
        shown["dates"].as_array().unwrap().iter().filter(|date| date["is_left"] == true).count()
    };
    soon("some more dates are run", || is_left(&place) < 7);
    assert_eq!(scheduler.end("KILL").1, None);
    let scheduler = Scheduler::start(&place);
    soon("it is done", || backfills(&place) == [(1, "done".into())]);
    assert_eq!(scheduler.end("INT").1, Some(0));
    assert_eq!(is_left(&place), 0);
    let runs = place.json(&["runs", "days", "--limit", "0"]);
    let backfilled = runs.as_array().unwrap().iter().filter(|run| run["run_type"] == "backfill");
    assert_eq!(backfilled.count(), 10, "each date once");
}

/// One death at every single write of a backfill, each in a home of its own; then the same command to its end.
#[test]
fn one_death_at_every_write_of_a_backfill() {
    let three = ["backfill", "days", "--from", "2025-02-01", "--to", "2025-02-03", "--max-active-runs", "1"];
    for call in ["put_backfill", "hold_backfill", "settle_backfill", "make_run", "commit"] {
        for when in ["before", "after"] {
            for number in 1.. {
                let (place, crash_at) = (place(), format!("{call}:{number}:{when}"));
                place.write("there", "");
                let died =
                    place.command(&three).env("FLOW_CRASH_AT", &crash_at).output().unwrap().status.code().is_none();
                if !died {
                    assert!(number > 1, "{crash_at}: it never came");
                    break;
                }
                let rest = place.dags(&three);
                // A try without retries that was lost has failed.
                assert!(matches!(rest.code, Some(0 | 1)), "{crash_at}: {rest:?}");
                let rows = backfills(&place);
                // One that died behind the last write has left nothing to do: the same was asked for anew.
                let ended_before = crash_at == "settle_backfill:1:after";
                assert_eq!(rows.len(), if ended_before { 2 } else { 1 }, "{crash_at}");
                assert!(rows.iter().all(|(_, state)| state == "done"), "{crash_at}: {rows:?}");
                let states = states(&place);
                assert!(states.len() == 3 && states.values().all(|s| s == "success" || s == "failed"), "{crash_at}");
                assert!(states.values().filter(|state| *state == "failed").count() <= 1, "{crash_at}: {states:?}");
            }
        }
    }
}

#[test]
fn a_dag_that_is_paused_has_no_runs_of_a_backfill_by_the_scheduler() {
    let place = place();
    rest_but(&place, &["twenty_seconds"]);
    let args = ["backfill", "days", "--from", "2024-01-01", "--to", "2024-12-31", "--max-active-runs", "1", "--detach"];
    place.ok(&args);
    let scheduler = Scheduler::start(&place);
    soon("the schedule runs", || !place.json(&["runs", "twenty_seconds"]).as_array().unwrap().is_empty());
    assert_eq!(scheduler.end("INT").1, Some(0));
    assert!(states(&place).is_empty());
}

#[test]
fn who_deletes_a_dag_ends_its_backfills() {
    let place = place();
    place.write("there", "");
    place.ok(&["backfill", "days", "--from", "2026-01-01", "--to", "2026-01-01"]);
    place.ok(&["backfill", "days", "--from", "2025-01-01", "--to", "2025-01-31", "--detach"]);
    place.ok(&["delete", "days", "--yes"]);
    assert_eq!(backfills(&place), [(2, "cancelled".into()), (1, "done".into())]);
}

/// Asks for a backfill whose runs do not end, three at one time.
fn fill_up(place: &Place) {
    rest_but(place, &["filled_up"]);
    let minute = ["--from", "2020-01-01T00:00:00", "--to", "2020-01-01T00:00:59", "--max-active-runs", "3"];
    place.ok(&[&["backfill", "filled_up", "--detach"], &minute[..]].concat());
}

/// How many runs of this kind its DAG has in this state.
fn filled_up(place: &Place, run_type: &str, state: &str) -> usize {
    let runs = place.json(&["runs", "filled_up", "--limit", "0"]);
    let is = |run: &&Value| run["run_type"] == run_type && run["state"] == state;
    runs.as_array().unwrap().iter().filter(is).count()
}

#[test]
fn a_backfill_that_is_full_leaves_the_runs_of_the_schedule_their_places() {
    let place = place();
    fill_up(&place);
    let of = |run_type: &str, state: &str| filled_up(&place, run_type, state);
    // A scheduler that has just made them, and one that found them there.
    let mut there = 0;
    for _ in 0..2 {
        let scheduler = Scheduler::start(&place);
        soon("it is full", || of("backfill", "running") == 3);
        let works = format!("process {} works on it\n", scheduler.process());
        let full = "filled_up has as many unfinished runs of backfill 1 as it may (its --max-active-runs is 3): the next is \
                    made when one of these has ended: backfill__";
        soon("why says so", || {
            let why = place.ok(&["why", "filled_up"]);
            why.contains(" dates left of backfill 1: ") && why.contains(&works) && why.contains(full)
        });
        soon("ticks are run all the same", || of("scheduled", "success") >= there + 2);
        there = of("scheduled", "success");
        assert_eq!(scheduler.end("KILL").1, None);
    }
    assert_eq!(of("backfill", "success"), 0);
}

#[test]
fn who_cancels_a_backfill_may_end_its_runs_at_once() {
    let place = place();
    fill_up(&place);
    let of = |run_type: &str, state: &str| filled_up(&place, run_type, state);
    let scheduler = Scheduler::start(&place);
    soon("it is full", || of("backfill", "running") == 3);
    let told = place.dags(&["backfill", "cancel", "1"]);
    assert!(told.code == Some(0) && told.err.contains("0 runs that waited to begin failed"), "{told:?}");
    assert_eq!(of("backfill", "running"), 3, "those go on");
    let told = place.dags(&["backfill", "cancel", "1", "--now"]);
    assert!(told.code == Some(0) && told.err.contains("3 runs under way failed"), "{told:?}");
    assert_eq!((of("backfill", "failed"), of("backfill", "running")), (3, 0), "{told:?}");
    let there = of("scheduled", "success");
    soon("ticks are run all the same", || of("scheduled", "success") > there);
    assert_eq!((scheduler.end("INT").1, of("backfill", "failed")), (Some(0), 3), "none begins");
}

#[test]
fn a_run_that_another_backfill_wants_as_well_is_left_to_that() {
    let place = place();
    let three = ["backfill", "days", "--from", "2025-02-01", "--to", "2025-02-03"];
    // It dies when it has made its first run, and not begun it.
    let died = place.command(&three).env("FLOW_CRASH_AT", "make_run:1:after").output().unwrap();
    assert_eq!(died.status.code(), None, "{died:?}");
    place.ok(&["backfill", "days", "--from", "2025-01-01", "--to", "2025-02-01", "--detach"]);
    let first = || states(&place).remove("2025-02-01").unwrap();
    for (id, now, waited, state) in [("2", "--now", "0 runs", "queued"), ("1", "", "1 run", "failed")] {
        let words = ["backfill", "cancel", id, now];
        let told = place.dags(&words[..if now.is_empty() { 3 } else { 4 }]);
        let said = format!("no more of its runs begin; {waited} that waited to begin failed");
        assert!(told.code == Some(0) && told.err.contains(&said), "{told:?}");
        assert_eq!(first(), state, "{told:?}");
    }
    assert_eq!(backfills(&place), [(2, "cancelled".into()), (1, "cancelled".into())]);
}

#[test]
fn why_says_of_a_backfill_who_works_on_it_and_what_holds_it_back() {
    let place = place();
    rest_but(&place, &["days", "pooled"]);
    place.ok(&march(&["--detach"]));
    let said = |dag: &str| {
        let answer = place.json(&["why", dag]);
        let reasons = answer.as_array().unwrap().iter().filter(|one| one["reason"]["backfill"] == 1);
        reasons.map(|one| one["why"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let left = "has 10 dates left of backfill 1: nobody works on it";
    assert_eq!(
        said("days"),
        [format!("{left} until a scheduler does, or the command that asked for it is given once more")]
    );
    place.ok(&["pause", "days"]);
    let asleep = format!("{left} while the DAG is paused, unless the command that asked for it is given once more");
    assert_eq!(said("days"), [asleep.as_str()]);
    let scheduler = Scheduler::start(&place);
    soon("a scheduler is there", || !place.ok(&["why", "pooled"]).contains("no scheduler"));
    assert_eq!(said("days"), [asleep]);
    let reason = &place.json(&["why", "days"])[2]["reason"];
    let parts =
        json!({"reason": "backfill", "backfill": 1, "left": 10, "holder": null, "paused": true, "scheduler": true});
    assert_eq!(reason, &parts);
    assert_eq!(scheduler.end("INT").1, Some(0));
    place.ok(&["backfill", "pause", "1"]);
    assert_eq!(said("days"), ["has a backfill that is paused: `backfill unpause 1` goes on with it (10 dates left)"]);
    // By a command, which a paused DAG does not keep from it.
    place.ok(&["pause", "filled_up"]);
    let minute = ["--from", "2020-01-01T00:00:00", "--to", "2020-01-01T00:00:59", "--max-active-runs", "1"];
    let mut running = place.start(&[&["backfill", "filled_up"], &minute[..]].concat());
    running.until("stays_in_the_past", "running");
    let (pid, why) = (running.child.id(), place.ok(&["why", "filled_up"]));
    running.kill();
    assert!(why.contains("filled_up has 60 dates left of backfill 2: "), "{why}");
    assert!(why.contains(&format!("process {pid} works on it\n")), "{why}");
    assert!(
        why.contains("(its --max-active-runs is 1): the next is made when one of these has ended: backfill__"),
        "{why}"
    );
}

#[test]
fn why_says_of_a_backfill_of_which_no_run_can_be_made_what_it_lacks() {
    let place = place();
    rest_but(&place, &["pooled"]);
    place.ok(&["backfill", "pooled", "--from", "2026-01-01", "--to", "2026-01-02", "--detach"]);
    place.write("flow.toml", "");
    let lacks = "has backfill 1, which cannot go on by the program and the settings of this command: task `takes_a_slot`: there \
                 is no pool `api` among default_pool";
    for _ in 0..2 {
        let why = place.ok(&["why", "pooled"]);
        assert!(why.contains(&format!("pooled {lacks}")) && !why.contains("left of backfill"), "{why}");
        // Nor does a scheduler begin one.
        let scheduler = Scheduler::start(&place);
        soon("it is there", || !place.ok(&["why", "pooled"]).contains("no scheduler"));
        assert_eq!(scheduler.end("INT").1, Some(0));
    }
    assert_eq!(place.json(&["runs", "pooled"]), json!([]));
}
