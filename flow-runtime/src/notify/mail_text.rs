//! What a mail says.

use super::subject::{Part, Subject};
use super::words;
use crate::quote::quoted;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Longest subject, in characters.
const LONGEST: usize = 200;

/// The subject of a mail; one line, of bounded length.
pub(super) fn subject(subject: &Subject, payload: &Map<String, Value>) -> String {
    let mut line = String::new();
    for part in &subject.0 {
        match part {
            Part::Text(text) => line.push_str(text),
            Part::Place("who") => line.push_str(&words::who(payload)),
            Part::Place("what") => line.push_str(words::what(payload)),
            Part::Place(name) => match payload.get(*name) {
                Some(Value::String(text)) => line.push_str(text),
                // Writing to a String cannot fail.
                Some(value) => drop(write!(line, "{value}")),
                None => {}
            },
        }
    }
    // A line break would begin another header.
    let line = line.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

/// The text of a mail; `program` is how this program is called.
pub(super) fn body(payload: &Map<String, Value>, program: &str) -> String {
    let text = |field: &str| words::text(payload, field);
    let mut body = format!("{}.\n", words::headline(payload));
    // Writing to a String cannot fail.
    if let Some(cause) = words::cause(payload) {
        let _ = write!(body, "\n{}\n", cause.trim_end());
    }
    body.push('\n');
    let tries = words::tries(payload).map(|(one, of)| format!("{one} of {of}"));
    let task = payload.contains_key("task_id").then(|| words::who(payload));
    let interval = match (text("data_interval_start"), text("data_interval_end")) {
        (start, end) if start != end => format!("{start} to {end}"),
        _ => String::new(),
    };
    for (what, value) in [
        ("DAG", text("dag_id")),
        ("Run", text("dag_run_id")),
        ("About", text("logical_date")),
        ("Interval", &interval),
        ("Task", task.as_deref().unwrap_or_default()),
        ("Try", tries.as_deref().unwrap_or_default()),
        ("Began", text("start_date")),
        ("Ended", text("end_date")),
        ("Again", text("due")),
        ("Deadline", text("deadline")),
    ] {
        if !value.is_empty() {
            let _ = writeln!(body, "{what:<9} {value}");
        }
    }
    body.push_str("\nTo look further:\n");
    for words in commands(payload) {
        let words = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let _ = writeln!(body, "  {program} {words}");
    }
    body
}

/// What shows more of it.
fn commands(payload: &Map<String, Value>) -> Vec<Vec<String>> {
    let text = |field: &str| words::text(payload, field);
    let about = |command: &str, more: &[&str]| {
        let words = [command, text("dag_run_id")].into_iter().chain(more.iter().copied());
        words.chain(["--dag", text("dag_id")]).map(String::from).collect::<Vec<_>>()
    };
    let tasks = about("tasks", &[]);
    match payload.get("task_id").and_then(Value::as_str) {
        Some(task) => {
            let index = words::number(payload, "map_index").filter(|index| *index >= 0).map(|index| index.to_string());
            let try_number = words::number(payload, "try_number").map(|number| number.to_string());
            let mut more = vec![task];
            more.extend(index.iter().flat_map(|index| ["--map-index", index.as_str()]));
            more.extend(try_number.iter().flat_map(|number| ["--try", number.as_str()]));
            vec![about("logs", &more), tasks]
        }
        None if text("event") == "deadline" => vec![about("why", &[]), tasks],
        None => vec![tasks],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn payload() -> Map<String, Value> {
        let payload = json!({"event": "failure", "dag_id": "taxi", "dag_run_id": "r", "task_id": "load", "map_index": 4,
            "label": "month=2021-05\r\nBcc: eve@example.com", "try_number": 1, "state": "failed"});
        payload.as_object().unwrap().clone()
    }

    #[test]
    fn places_are_filled_in_and_a_line_stays_one() {
        for (written, line) in [
            ("[flow] {dag_id} {state}, try {try_number}{tries}", "[flow] taxi failed, try 1"),
            ("{who}", "load[4] (month=2021-05 Bcc: eve@example.com)"),
            ("{dag_run_id}: {event} of {task_id}", "r: failure of load"),
            ("plain", "plain"),
        ] {
            assert_eq!(subject(&Subject::parse(written).unwrap(), &payload()), line);
        }
        let usual = "taxi: load[4] (month=2021-05 Bcc: eve@example.com) failed";
        assert_eq!(subject(&Subject::default(), &payload()), usual);
        let long = subject(&Subject::parse(&"ü".repeat(1000)).unwrap(), &payload());
        assert_eq!(long, format!("{}..", "ü".repeat(LONGEST)));
    }

    #[test]
    fn a_mail_about_a_try_says_what_a_person_needs() {
        let payload = json!({"event": "failure", "dag_id": "taxi", "dag_run_id": "scheduled__2026-01-01T00:00:00+00:00",
            "logical_date": "2026-01-01T00:00:00Z", "data_interval_start": "2026-01-01T00:00:00Z",
            "data_interval_end": "2026-01-02T00:00:00Z", "task_id": "load", "map_index": 4, "label": "month=2021-05",
            "try_number": 3, "tries": 3, "cause": {"kind": "error", "message": "no space left\n  on /data\n"},
            "start_date": "2026-01-02T00:00:01Z", "end_date": "2026-01-02T00:00:05Z"});
        let said = "\
taxi: load[4] (month=2021-05) failed (try 3 of 3).

no space left
  on /data

DAG       taxi
Run       scheduled__2026-01-01T00:00:00+00:00
About     2026-01-01T00:00:00Z
Interval  2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z
Task      load[4] (month=2021-05)
Try       3 of 3
Began     2026-01-02T00:00:01Z
Ended     2026-01-02T00:00:05Z

To look further:
  dags logs scheduled__2026-01-01T00:00:00+00:00 load --map-index 4 --try 3 --dag taxi
  dags tasks scheduled__2026-01-01T00:00:00+00:00 --dag taxi
";
        assert_eq!(body(payload.as_object().unwrap(), "dags"), said);
    }

    #[test]
    fn a_mail_about_a_run_that_is_late_says_how_to_ask_why() {
        let payload = json!({"event": "deadline", "dag_id": "taxi", "dag_run_id": "of today",
            "deadline": "2026-01-01T02:00:00Z", "start_date": "2026-01-01T00:00:00Z"});
        let said = "\
taxi: the run is not done by its deadline.

DAG       taxi
Run       of today
Began     2026-01-01T00:00:00Z
Deadline  2026-01-01T02:00:00Z

To look further:
  dags why 'of today' --dag taxi
  dags tasks 'of today' --dag taxi
";
        assert_eq!(body(payload.as_object().unwrap(), "dags"), said);
    }
}
