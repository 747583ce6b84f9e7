//! What happened, in one sentence, from what is told.

use serde_json::{Map, Value};

/// What happened, in one sentence for people: `taxi: load failed (try 3 of 3): no space left (run manual__..)`.
pub fn sentence(payload: &Map<String, Value>) -> String {
    let text = |field: &str| text(payload, field);
    let by = match text("deadline") {
        "" => String::new(),
        at => format!(", {at}"),
    };
    let cause = cause(payload).map_or(by, |message| format!(": {message}"));
    format!("{}{cause} (run {})", headline(payload), text("dag_run_id"))
}

/// The beginning of that: `taxi: load failed (try 3 of 3)`.
pub(super) fn headline(payload: &Map<String, Value>) -> String {
    let tries = tries(payload).map_or(String::new(), |(one, of)| format!(" (try {one} of {of})"));
    format!("{}: {} {}{tries}", text(payload, "dag_id"), who(payload), what(payload))
}

/// Of whom it tells: `load`, `load[4] (month=2021-05)`, `the run`.
pub(super) fn who(payload: &Map<String, Value>) -> String {
    match (payload.get("task_id").and_then(Value::as_str), number(payload, "map_index")) {
        (None, _) => "the run".to_string(),
        (Some(task), Some(index)) if index >= 0 => match text(payload, "label") {
            "" => format!("{task}[{index}]"),
            label => format!("{task}[{index}] ({label})"),
        },
        (Some(task), _) => task.to_string(),
    }
}

/// What has happened to it: `failed`.
pub(super) fn what(payload: &Map<String, Value>) -> &str {
    match text(payload, "event") {
        "failure" => "failed",
        "retry" => "failed, and is tried again",
        "success" => "succeeded",
        "skipped" => "was skipped",
        "deadline" => "is not done by its deadline",
        other => other,
    }
}

/// Which try of how many, where there may be several.
pub(super) fn tries(payload: &Map<String, Value>) -> Option<(i64, i64)> {
    number(payload, "try_number").zip(number(payload, "tries")).filter(|(_, of)| *of > 1)
}

/// Why.
pub(super) fn cause(payload: &Map<String, Value>) -> Option<&str> {
    payload.get("cause").and_then(|cause| cause.get("message")).and_then(Value::as_str)
}

/// A field that is a text; empty if there is none.
pub(super) fn text<'p>(payload: &'p Map<String, Value>, field: &str) -> &'p str {
    payload.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn number(payload: &Map<String, Value>, field: &str) -> Option<i64> {
    payload.get(field).and_then(Value::as_i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_told_reads_as_a_sentence() {
        for (payload, said) in [
            (
                json!({"event": "failure", "dag_id": "taxi", "dag_run_id": "r", "task_id": "load", "map_index": -1,
                       "try_number": 3, "tries": 3, "cause": {"kind": "error", "message": "no space left"}}),
                "taxi: load failed (try 3 of 3): no space left (run r)",
            ),
            (
                json!({"event": "retry", "dag_id": "taxi", "dag_run_id": "r", "task_id": "load", "map_index": 4,
                       "label": "month=2021-05", "try_number": 1, "tries": 2}),
                "taxi: load[4] (month=2021-05) failed, and is tried again (try 1 of 2) (run r)",
            ),
            (json!({"event": "success", "dag_id": "taxi", "dag_run_id": "r"}), "taxi: the run succeeded (run r)"),
            (
                json!({"event": "deadline", "dag_id": "taxi", "dag_run_id": "r", "deadline": "2026-01-01T02:00:00Z"}),
                "taxi: the run is not done by its deadline, 2026-01-01T02:00:00Z (run r)",
            ),
        ] {
            assert_eq!(sentence(payload.as_object().unwrap()), said);
        }
    }
}
