//! How long until the next try.

use super::{Verdict, check, number, text};
use flow_core::backoff::{Seed, retry_delay};
use flow_core::dag::RetryPolicy;
use flow_core::parse;
use serde_json::Value;
use std::time::Duration;

#[test]
fn vectors_backoff() {
    check("backoff.jsonl", |line| {
        let seconds = |value: &Value| value.as_f64().map(Duration::from_secs_f64);
        let policy = RetryPolicy {
            retries: 0,
            delay: seconds(&line["retry_delay"]).expect("a delay"),
            backoff: line["stored_multiplier"].as_f64().expect("a number"),
            max_delay: seconds(&line["max_retry_delay"]),
        };
        let seed = Seed {
            dag_id: text(&line["dag_id"]),
            task_id: text(&line["task_id"]),
            logical_date: line["logical_date"].as_str().map(|d| parse::date(d).expect("a date")),
        };
        let found = retry_delay(&policy, seed, number(&line["try_number"]));
        Verdict::of(Some(found) == seconds(&line["delay"]), || format!("{found:?}"))
    });
}
