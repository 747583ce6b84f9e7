//! What must be told outside is told, whoever is killed when.

use crate::program::Place;
use crate::rest_but;
use crate::ticks::Scheduler;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a receiver has heard: of each key, the payloads.
type Heard = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;

/// A receiver on this machine. Every fourth request it refuses, so that there are retries too.
fn receiver() -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let heard = Heard::default();
    let hears = heard.clone();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { continue };
            let hears = hears.clone();
            // Each on its own: a process that is killed half-way leaves one that hears nothing.
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("the same stream"));
                let (mut key, mut length, mut line) = (String::new(), 0, String::new());
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    let lower = line.trim().to_lowercase();
                    if let Some(given) = lower.strip_prefix("idempotency-key: ") {
                        key = given.into();
                    } else if let Some(given) = lower.strip_prefix("content-length: ") {
                        length = given.parse().unwrap_or(0);
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                if key.is_empty() || reader.read_exact(&mut body).is_err() {
                    return;
                }
                let refused = number % 4 == 3;
                if !refused {
                    let payload = serde_json::from_slice(&body).expect("JSON");
                    hears.lock().expect("no panic").entry(key).or_default().push(payload);
                }
                let answer = if refused { "503 Not Now" } else { "200 OK" };
                let _ = write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            });
        }
    });
    (url, heard)
}

fn place(url: &str) -> Place {
    let place = Place::new().env("FLOW_NOTIFIER_HOOK_URL", url);
    place.write("flow.toml", "[pools]\napi = 2\n[notifiers]\nhook = { kind = \"webhook\", timeout = \"1s\" }\n");
    place
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_string()
}

#[test]
fn killed_again_and_again_everything_is_told() {
    let (url, heard) = receiver();
    let place = place(&url);
    rest_but(&place, &["ten_seconds"]);
    for wait in [500, 300, 700, 250, 900, 400, 600] {
        let scheduler = Scheduler::start(&place);
        std::thread::sleep(Duration::from_millis(wait));
        drop(scheduler.end("KILL"));
    }
    let scheduler = Scheduler::start(&place);
    let began = Instant::now();
    let owed = || place.json(&["callbacks", "--limit", "0"]).as_array().expect("a list").clone();
    let runs = || place.json(&["runs", "ten_seconds", "--limit", "0"]).as_array().expect("a list").clone();
    while runs().len() < 10
        || runs().iter().any(|run| run["state"] != "failed")
        || owed().iter().any(|row| row["state"] == "pending")
    {
        assert!(began.elapsed() < Duration::from_secs(120), "it does not end: {:#?}", owed());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(scheduler.end("INT").1, Some(0));

    let (owed, heard) = (owed(), heard.lock().expect("no panic").clone());
    // Exactly one for each event that the record tells of.
    let mut told: Vec<(String, String, u64, String)> = owed
        .iter()
        .map(|row| {
            let try_number = row["try_number"].as_u64().unwrap_or_default();
            (text(row, "dag_run_id"), text(row, "task_id"), try_number, text(row, "event"))
        })
        .collect();
    told.sort();
    let mut happened = Vec::new();
    for run in runs() {
        let run_id = text(&run, "dag_run_id");
        happened.push((run_id.clone(), String::new(), 0, "failure".to_string()));
        let tasks = place.json(&["tasks", &run_id, "--dag", "ten_seconds"]);
        for task in tasks.as_array().expect("tasks") {
            for one in task["tries"].as_array().expect("tries") {
                let event = match one["state"].as_str() {
                    Some("success") => "success",
                    Some("failed") => "failure",
                    Some("upstream_failed" | "removed") => continue,
                    // It may have been due again, and scheduled, before the next one began.
                    _ => "retry",
                };
                let number = one["try_number"].as_u64().expect("a number");
                happened.push((run_id.clone(), text(task, "task_id"), number, event.to_string()));
            }
        }
    }
    happened.sort();
    assert_eq!(told, happened);
    // And each was heard, under its key.
    for row in &owed {
        assert_eq!(row["state"], "success", "{row:#}");
        let payloads = heard.get(&text(row, "key")).unwrap_or_else(|| panic!("not heard: {row:#}"));
        assert!(payloads.iter().all(|payload| *payload == row["payload"]), "{row:#}");
    }
    assert_eq!(heard.len(), owed.len(), "nothing else was heard");
}

#[test]
fn killed_around_a_telling_it_is_told_again_under_the_same_key() {
    // The first two change nothing for the receiver, the third has told and not noted it.
    let points =
        ["settle_callback:1:before", "settle_callback:1:after", "settle_callback:2:before", "settle_callback:2:after"];
    std::thread::scope(|scope| {
        for point in points {
            scope.spawn(move || killed_at(point));
        }
    });
}

fn killed_at(point: &str) {
    let (url, heard) = receiver();
    let place = place(&url);
    rest_but(&place, &[]);
    let died = place.command(&["run", "once_told", "--run-id", "mine"]).env("FLOW_CRASH_AT", point).output();
    assert_eq!(died.expect("it starts").status.code(), None, "{point}: it was killed");
    let scheduler = Scheduler::start(&place);
    let began = Instant::now();
    let owed = || place.json(&["callbacks", "mine"]).as_array().expect("a list").clone();
    let is_over = || place.json(&["runs", "once_told"])[0]["state"] == "failed";
    while !is_over() || owed().iter().any(|row| row["state"] == "pending") {
        assert!(began.elapsed() < Duration::from_secs(120), "{point}: it does not end: {:#?}", owed());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(scheduler.end("INT").1, Some(0));
    let heard = heard.lock().expect("no panic").clone();
    let hooks: Vec<Value> = owed().into_iter().filter(|row| row["notifier"]["named"] == "hook").collect();
    assert!(hooks.iter().all(|row| row["state"] == "success" && heard.contains_key(&text(row, "key"))), "{hooks:#?}");
    assert_eq!(heard.len(), hooks.len(), "{point}: {heard:#?}");
}

#[test]
fn a_run_tells_at_its_end_and_is_not_held_up_by_nobody() {
    let (url, heard) = receiver();
    let place = place(&url);
    let run = place.dags(&["run", "once_told", "--run-id", "mine"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.err.contains("once_told: the run failed: in_vain failed: in vain, after 2 tries (run mine)"),
        "{run:?}"
    );
    let rows = place.json(&["callbacks", "mine"]);
    let short = |row: &Value| format!("{} {}", text(row, "event"), text(row, "task_id"));
    let mut all: Vec<String> = rows.as_array().unwrap().iter().map(short).collect();
    all.sort();
    assert_eq!(all, ["failure ", "failure ", "failure in_vain", "retry tried", "success tried"]);
    assert_eq!(heard.lock().unwrap().len(), 4, "{rows:#}");
    let shown = place.dags(&["callbacks", "mine"]);
    assert!(shown.out.contains("failure of in_vain") && shown.out.contains("told"), "{shown:?}");

    let test = place.dags(&["test", "once_told"]);
    assert!(test.err.contains("would tell hook: once_told: tried failed, and is tried again (try 1 of 6)"), "{test:?}");
    assert_eq!(heard.lock().unwrap().len(), 4, "a test tells nobody");

    // Nobody listens there.
    let place = self::place("http://127.0.0.1:9/hook");
    let run = place.dags(&["run", "once_told", "--run-id", "mine"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.err.contains("4 notifications not told yet") && run.err.contains("callbacks mine"), "{run:?}");
    let none = place.dags(&["callbacks", "mine", "--state", "failed"]);
    assert!(none.err.contains("nothing of what was to be told is failed; all of it: `"), "{none:?}");
    let pending = place.json(&["callbacks", "--state", "pending"]);
    assert!(pending.as_array().unwrap().iter().all(|row| text(row, "error").contains("refused")), "{pending:#}");
}

#[test]
fn a_name_that_flow_toml_does_not_have_is_told_by_check_and_at_start() {
    let place = Place::new();
    place.write("flow.toml", "[pools]\napi = 2\n");
    let said = "`[notifiers]` of flow.toml has no `hook`; it names none: asked for by on_failure, and 5 more";
    let check = place.dags(&["check"]);
    assert!(check.code == Some(2) && check.out.contains(said), "{check:?}");
    let run = place.dags(&["run", "once_told"]);
    assert!(run.code == Some(2) && run.err.contains(said), "{run:?}");
}
