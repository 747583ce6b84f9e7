//! The program is killed, or told to stop, in the middle; then it goes on.

use crate::program::{Place, begun};
use crate::server::{Reply, Server, file};
use std::fmt::Write as _;
use std::sync::{Arc, Barrier};
use std::time::Duration;

const TASKS: [&str; 5] = ["download", "parquetize", "upload", "load", "summary"];
const ROWS: u32 = 20_000;

/// A CSV file that keeps every task busy for a while.
fn big(place: &Place) -> String {
    let mut csv = String::from("id,name,amount\n");
    for n in 0..ROWS {
        writeln!(csv, "{n},name {},{}.25", n % 97, n % 1000).unwrap();
    }
    place.write("big.csv", &csv);
    format!("url=file://{}/big.csv", place.folder.path().display())
}

fn exact(place: &Place) {
    let counted = place.sql("warehouse.db", "SELECT count(*), count(DISTINCT id), sum(id) FROM trips");
    let sum = u64::from(ROWS) * u64::from(ROWS - 1) / 2;
    assert_eq!(counted, [[ROWS.to_string(), ROWS.to_string(), sum.to_string()]]);
}

#[test]
fn kill_9_in_each_task_then_go_on() {
    for (killed_in, task) in TASKS.iter().enumerate() {
        let place = Place::new();
        let url = big(&place);
        let mut run = place.start(&["run", "taxi", "--run-id", "r", "-p", &url, "-p", "columns=infer"]);
        run.until(task, "running");
        run.kill();
        // What is there says that it was interrupted, and where.
        assert_eq!(place.json(&["runs"])[0]["interrupted"], true);
        let left = place.json(&["tasks", "r"]);
        let row = left.as_array().unwrap().iter().find(|t| t["task_id"] == *task).unwrap();
        if row["state"] == "running" {
            assert_eq!(row["why"], "its process ended while it ran", "{row}");
        }
        let hint = place.dags(&["runs"]);
        assert!(hint.out.contains("interrupted"), "{hint:?}");

        let (events, code) = place.start(&["run", "--resume", "r"]).end();
        assert_eq!(code, Some(0), "killed in {task}: {events:#?}");
        // Nothing that had finished begins again; what was under way is tried once more.
        let again = begun(&events);
        assert!(
            again.iter().map(String::as_str).eq(TASKS[killed_in..].iter().copied())
                || again.iter().map(String::as_str).eq(TASKS[killed_in + 1..].iter().copied()),
            "killed in {task}: {again:?}"
        );
        exact(&place);
        let tries = place.json(&["tasks", "r"]);
        for row in tries.as_array().unwrap() {
            let most = if row["task_id"] == *task { 2 } else { 1 };
            assert!(row["state"] == "success" && row["try_number"].as_u64() <= Some(most), "killed in {task}: {row}");
        }
        let parts: Vec<_> = walk(&place.home()).into_iter().filter(|name| name.contains(".part")).collect();
        assert!(parts.is_empty(), "killed in {task}: {parts:?}");
        let broken = place.dags(&["run", "--resume", "r"]);
        assert!(broken.err.contains("has succeeded"), "{broken:?}");
    }
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_new_run_mentions_the_one_that_was_interrupted() {
    let place = Place::new();
    let url = big(&place);
    let mut run = place.start(&["run", "taxi", "--run-id", "left-behind", "-p", &url, "-p", "columns=infer"]);
    run.until("parquetize", "running");
    run.kill();
    let next = place.dags(&["run", "taxi", "--run-id", "next"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(
        next.err.contains("run left-behind of taxi was interrupted") && next.err.contains("run --resume left-behind"),
        "{next:?}"
    );
    let tasks = place.dags(&["tasks", "left-behind"]);
    assert!(tasks.out.contains("its process ended while it ran") && tasks.out.contains("waits for"), "{tasks:?}");
}

#[test]
fn ctrl_c_stops_gracefully_and_leaves_a_run_to_be_resumed() {
    let place = Place::new();
    // A server that says nothing more after half of the file, until it is asked again.
    let content = "id\n".to_string() + &(0..ROWS).map(|n| format!("{n}\n")).collect::<String>();
    let held = Arc::new(Barrier::new(2));
    let (holds, length) = (held.clone(), content.len());
    let server = Server::start(move |request| {
        let reply = file(request, content.as_bytes(), "\"v1\"");
        let holds = holds.clone();
        let wait: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            holds.wait();
        });
        // The first request only asks what there is.
        if request.number == 1 { Reply { then: Some(wait), ..reply.cut(length / 2) } } else { reply }
    });
    let url = format!("url={}", server.at("/ids.csv"));
    let mut run = place.start(&["run", "taxi", "--run-id", "r", "-p", &url, "-p", "columns=infer"]);
    run.until("download", "running");
    while server.requests().len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    run.signal("INT");
    let (events, code) = run.end();
    held.wait();
    let ended = events.last().unwrap();
    assert_eq!((code, &ended["event"], &ended["state"]), (Some(3), &"run_ended".into(), &"running".into()));

    let (events, code) = place.start(&["run", "--resume", "r"]).end();
    assert_eq!((code, begun(&events).len()), (Some(0), 5), "{events:#?}");
    assert_eq!(place.sql("warehouse.db", "SELECT count(*) FROM trips"), [[ROWS.to_string()]]);
    let tries = place.json(&["tasks", "r"]);
    let row = tries.as_array().unwrap().iter().find(|t| t["task_id"] == "download").unwrap();
    // Three retries were there, and three are left: the stopped try does not count.
    assert_eq!((&row["try_number"], &row["max_tries"]), (&2.into(), &4.into()), "{row}");
}

#[test]
fn two_processes_never_work_on_one_run() {
    let place = Place::new();
    let url = big(&place);
    let mut run = place.start(&["run", "taxi", "--run-id", "r", "-p", &url, "-p", "columns=infer"]);
    run.until("download", "running");
    let other = place.dags(&["run", "--resume", "r"]);
    let pid = run.child.id().to_string();
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(other.err.contains("is being worked on") && other.err.contains(&pid), "{other:?}");
    assert_eq!(run.end().1, Some(0));
    exact(&place);
}

/// Another run of the same file comes between a kill and the resume, and puts the same object in the place of the first.
#[test]
fn a_run_goes_on_although_another_has_put_the_same_object_there() {
    let place = Place::new();
    let mut killed = place.start(&["run", "taxi", "--run-id", "one"]);
    killed.until("upload", "success");
    killed.kill();
    place.ok(&["run", "taxi", "--run-id", "two"]);
    place.ok(&["run", "--resume", "one"]);
    assert_eq!(place.sql("warehouse.db", "SELECT count(*) FROM trips"), [["2000"]]);
}
