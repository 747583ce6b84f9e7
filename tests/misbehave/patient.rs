//! What is told of waiting, of queues, and in which colours.

use crate::program::Place;

#[test]
fn a_test_does_not_wait_for_an_hour_and_says_so() {
    let place = Place::new();
    let test = place.dags(&["test", "patient"]);
    assert_eq!(test.code, Some(0), "{test:?}");
    assert!(test.err.contains("a test waits for nothing: ") && test.err.contains(" were left out"), "{test:?}");
    // One that waits for nothing says nothing.
    let test = place.dags(&["test", "prints"]);
    assert!(test.code == Some(0) && !test.err.contains("left out"), "{test:?}");
}

#[test]
fn a_queue_is_told_to_have_no_effect_yet() {
    let place = Place::new();
    // Other DAGs here have problems.
    let check = place.dags(&["check", "--json"]);
    let notes = serde_json::from_str::<serde_json::Value>(&check.out).expect("JSON")["notes"].to_string();
    assert!(notes.contains("DAG `patient` names the queue `gpu`: queues matter once workers take tasks"), "{notes}");
    assert!(!notes.contains("`prints`"), "{notes}");
}

#[test]
fn a_file_of_log_lines_has_no_colours_but_on_demand() {
    let place = Place::new();
    let quiet = place.dags(&["run", "warned"]);
    assert!(
        quiet.code == Some(0) && quiet.err.contains("said by a thread") && !quiet.err.contains('\u{1b}'),
        "{quiet:?}"
    );
    let loud = place.env("CLICOLOR_FORCE", "1").dags(&["run", "warned"]);
    let said = loud.err.lines().find(|line| line.contains("said by a thread")).unwrap_or_default();
    assert!(loud.code == Some(0) && said.contains("\u{1b}["), "{loud:?}");
}
