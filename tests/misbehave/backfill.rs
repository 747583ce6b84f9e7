//! Dates that are filled in afterwards: each once, killed or not.

use crate::program::Place;
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
    ] {
        let answer = place.dags(words);
        assert!(answer.code == Some(2) && answer.err.contains(said), "{words:?}: {answer:?}");
    }
}
