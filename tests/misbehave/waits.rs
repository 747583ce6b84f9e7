//! What a process of its own asks of the engine; events from outside; commands whose engine dies.

use crate::isolated::{mark, soon, task, with_mark};
use crate::program::Place;
use crate::ticks;

fn ledger(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.home().join("ledger")).unwrap();
    text.lines().map(String::from).collect()
}

fn times(place: &Place, word: &str) -> usize {
    ledger(place).iter().filter(|line| *line == word).count()
}

#[test]
fn steps_events_and_looks_cross_the_socket() {
    let place = Place::new();
    let mut run = place.start(&["run", "asking", "--run-id", "one"]);
    run.until("asks", "deferred");
    // Another process tells, beside the one that runs.
    let said = place.json(&["emit", "approved one", "\"Ada\""]);
    assert_eq!(said["new"], true);
    assert_eq!(place.json(&["emit", "approved one", "\"Eve\""])["new"], false);
    let (events, code) = run.end();
    assert_eq!(code, Some(0), "{events:#?}");
    for (task_id, value) in [
        ("asks", serde_json::json!("7: thanks, Ada")),
        ("steps", 2.into()),
        ("tells", true.into()),
        ("hears", serde_json::json!([3, 3])),
        ("looks", "found".into()),
        ("sleeps", true.into()),
    ] {
        assert_eq!(place.json(&["xcom", "one", task_id])["value"], value, "{task_id}");
    }
    for (word, wanted) in [("number", 1), ("waits", 2), ("thanks", 1), ("one", 1), ("look", 3)] {
        assert_eq!(times(&place, word), wanted, "{word}: {:?}", ledger(&place));
    }
    assert_eq!(task(&place.json(&["tasks", "one"]), "asks")["try_number"], 1);
}

#[test]
fn who_waits_for_an_event_says_so_and_goes_on_after_a_crash() {
    let place = Place::new();
    let mut run = place.start(&["run", "asking", "--run-id", "two"]);
    run.until("asks", "deferred");
    run.kill();
    let why = place.json(&["tasks", "two"]);
    let why = task(&why, "asks")["why"].as_str().unwrap().to_string();
    assert!(why.contains("approved two"), "{why}");
    place.ok(&["emit", "approved two", "\"Bob\""]);
    // For the one who hears it: the one who would tell it may have been under way, and has no second try.
    place.ok(&["emit", "told two", "[3, 3]"]);
    // Tries that were under way have no retries left, and their tasks may have failed; this one waited in its row alone.
    place.dags(&["run", "--resume", "two"]);
    assert_eq!(place.json(&["xcom", "two", "asks"])["value"], "7: thanks, Bob");
    assert_eq!((times(&place, "number"), times(&place, "thanks")), (1, 1));
}

#[test]
fn what_is_told_of_an_event_is_json() {
    let place = Place::new();
    let answer = place.dags(&["emit", "go", "{by: hunter2}"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    assert!(answer.err.contains("is not JSON (line 1, column 2)") && !answer.err.contains("hunter2"), "{answer:?}");
    assert!(place.ok(&["emit", "go"]).contains("the event `go` has happened"));
    assert!(place.ok(&["emit", "go", "-7"]).contains("happens once"));
}

#[test]
fn a_command_whose_engine_is_killed_is_ended_by_whoever_takes_the_run_up() {
    for (word, code) in [("resume", Some(1)), ("clear", Some(0))] {
        let (place, mark) = (Place::new(), mark(&format!("command-{word}")));
        let mut run = place.start(&["run", "commands", "--run-id", "one", "-p", &format!("mark={mark}")]);
        run.until("bash", "running");
        soon("its processes are there", || with_mark(&mark).len() == 2);
        run.kill();
        // Nobody is there who could end them. (One that becomes another program is not to be read for a moment.)
        soon("its processes are there still", || with_mark(&mark).len() == 2);
        let args: &[&str] =
            if word == "clear" { &["clear", "one", "bash", "--yes"] } else { &["run", "--resume", "one"] };
        let answer = place.dags(args);
        // Gone on with, it fails, for it has no retries.
        assert_eq!(answer.code, code, "{answer:?}");
        assert_eq!(answer.err.contains("resuming once more runs it anew"), word == "resume", "{answer:?}");
        soon("nothing is left", || with_mark(&mark).is_empty());
    }
}

#[test]
fn a_second_ctrl_c_ends_a_command_too() {
    let (place, mark) = (Place::new(), mark("command-twice"));
    let mut run = place.start(&["run", "commands", "-p", &format!("mark={mark}")]);
    run.until("bash", "running");
    soon("its processes are there", || with_mark(&mark).len() == 2);
    run.signal("INT");
    run.signal("INT");
    assert_eq!(run.end().1, Some(3));
    soon("nothing is left", || with_mark(&mark).is_empty());
}

#[test]
fn a_scheduler_beside_it_runs_what_a_task_asks_for() {
    let place = ticks::place();
    let mut run = place.start(&["run", "needs_help", "--run-id", "one"]);
    run.until("asks_for_help", "up_for_reschedule");
    let asked = place.json(&["runs", "helps"]);
    assert_eq!((asked.as_array().unwrap().len(), &asked[0]["state"]), (1, &"queued".into()), "{asked:#}");
    let scheduler = ticks::Scheduler::start(&place);
    let (events, code) = run.end();
    assert_eq!(code, Some(0), "{events:#?}");
    let asked = place.json(&["runs", "helps"]);
    assert_eq!((asked.as_array().unwrap().len(), &asked[0]["state"]), (1, &"success".into()), "{asked:#}");
    let run_id = asked[0]["dag_run_id"].as_str().unwrap();
    assert_eq!(place.json(&["xcom", run_id, "doubles"])["value"], 42);
    assert_eq!(place.json(&["xcom", "one", "asks_for_help"])["value"], run_id);
    assert_eq!(scheduler.end("INT").1, Some(0));
}
