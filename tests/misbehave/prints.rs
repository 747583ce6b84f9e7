//! What tasks print is no result; in a process of their own it is in their log.

use crate::program::Place;

#[test]
fn stdout_holds_nothing_but_json() {
    let place = Place::new();
    let answer = place.dags(&["run", "prints", "--json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    for line in answer.out.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    for said in ["printed to stdout", "printed to stderr", "printed by a child"] {
        assert!(answer.err.contains(said), "{said}: {answer:?}");
    }
    let test = place.dags(&["test", "prints"]);
    assert!(test.err.contains("printed to stdout") && !test.out.contains("printed"), "{test:?}");
}

#[test]
fn an_isolated_task_prints_into_its_log_without_secrets() {
    let place = Place::new().env("FLOW_PARAM_PASSWORD", "hunter2hunter2");
    let answer = place.dags(&["run", "prints_apart", "--run-id", "one"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let log = place.ok(&["logs", "one", "noisy"]);
    for said in ["printed to stdout", "printed to stderr", "printed by a child", "the password is ***"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    for text in [log, answer.out, answer.err] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_secret_is_taken_out_of_what_is_printed_line_by_line() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----";
    for dag in ["prints", "prints_apart"] {
        let place = Place::new().env("FLOW_PARAM_PASSWORD", key);
        for words in [vec!["run", dag, "--run-id", "one"], vec!["test", dag]] {
            let answer = place.dags(&words);
            assert!(answer.code == Some(0), "{answer:?}");
            let log = if words[0] == "run" { place.ok(&["logs", "one", "noisy"]) } else { String::new() };
            for text in [answer.out, answer.err, log] {
                assert!(!text.contains("MIIEvQ") && !text.contains("hkiG9w"), "{dag}: {text}");
            }
        }
    }
}
