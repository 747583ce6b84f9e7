//! The commands, one after the other, as the README tells them.

use crate::program::Place;

const TASKS: [&str; 5] = ["download", "parquetize", "upload", "load", "summary"];

#[test]
fn the_first_minutes_of_a_newcomer() {
    let place = Place::new();
    let first = place.dags(&[]);
    assert_eq!(first.code, Some(0), "{first:?}");
    for task in TASKS {
        assert!(first.out.contains(&format!("{task:<10}  ✔ success")), "{task}: {}", first.out);
    }
    assert!(first.err.contains("Try next:") && first.err.contains("dags show taxi"), "{}", first.err);
    assert_eq!(place.sql("warehouse.db", "SELECT count(*) FROM trips"), [["2000"]]);

    let list = place.ok(&["list"]);
    assert!(list.contains("taxi *") && list.contains("taxi_postgres"), "{list}");
    let show = place.ok(&["show", "taxi"]);
    assert!(show.contains("csv: Download    <- download") && show.contains("lake: String"), "{show}");
    let runs = place.ok(&["runs"]);
    assert!(runs.lines().count() == 2 && runs.contains("taxi  success"), "{runs}");
    let tasks = place.ok(&["tasks", "latest"]);
    assert!(TASKS.iter().all(|t| tasks.contains(t)), "{tasks}");
    let version = |of: &str| of.lines().find(|line| line.starts_with("version ")).map(String::from);
    assert!(version(&tasks).is_some_and(|line| line.contains(", build ") && line.contains(" since 20")), "{tasks}");
    assert_eq!(version(&tasks), version(&place.ok(&["show", "taxi"])));
    let logs = place.ok(&["logs", "latest", "load"]);
    assert!(logs.contains("INFO  loaded into `trips`") && logs.contains("rows=2000"), "{logs}");
    let value = place.ok(&["xcom", "latest", "summary"]);
    assert!(value.contains("\"rows\": 2000"), "{value}");
    let check = place.ok(&["check"]);
    assert!(check.contains("4 DAGs checked: nothing is wrong"), "{check}");
}

#[test]
fn json_speaks_with_airflows_words() {
    let place = Place::new();
    let (events, code) = place.start(&["run", "taxi", "--run-id", "one"]).end();
    assert_eq!(code, Some(0));
    assert_eq!(events.first().unwrap()["event"], "run_started");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["state"], &last["dag_run_id"]),
        (&"run_ended".into(), &"success".into(), &"one".into())
    );
    assert!(events.iter().any(|e| e["event"] == "log" && e["task_id"] == "download"));

    let list = place.json(&["list"]);
    assert_eq!((&list[0]["dag_id"], &list[0]["is_default"]), (&"taxi".into(), &true.into()));
    let shown = place.json(&["show"]);
    let edge = shown["edges"].as_array().unwrap().iter().find(|e| e["from"] == "parquetize").unwrap();
    assert_eq!((&edge["output_type"], &edge["argument"]), (&"ParquetFile".into(), &"file".into()));
    let runs = place.json(&["runs", "taxi", "--state", "success"]);
    assert_eq!((&runs[0]["dag_version"], shown["builds"].as_array().unwrap().len()), (&shown["dag_version"], 1));
    assert_eq!((&runs[0]["dag_run_id"], &runs[0]["state"]), (&"one".into(), &"success".into()));
    let tasks = place.json(&["tasks", "one"]);
    let download = tasks.as_array().unwrap().iter().find(|t| t["task_id"] == "download").unwrap();
    assert_eq!(
        (&download["try_number"], &download["max_tries"], &download["pool"]),
        (&1.into(), &3.into(), &"default_pool".into())
    );
    let logs = place.json(&["logs", "one", "load"]);
    assert_eq!(logs[0]["rows"], 2000);
    let xcom = place.json(&["xcom", "one", "summary"]);
    assert_eq!((&xcom["key"], &xcom["value"]["rows"]), (&"return_value".into(), &2000.into()));
    assert_eq!(place.json(&["check"])["problems"], serde_json::json!([]));
}

#[test]
fn a_dag_is_drawn_for_a_readme() {
    let drawn = Place::new().ok(&["show", "taxi", "--format", "mermaid"]);
    assert!(drawn.starts_with("flowchart LR\n") && drawn.contains("-->|\"ParquetFile → file\"|"), "{drawn}");
}

#[test]
fn a_test_leaves_nothing_behind() {
    let place = Place::new();
    let answer = place.dags(&["test", "taxi"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.out.contains("success"), "{answer:?}");
    let left: Vec<_> = std::fs::read_dir(place.folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_second_run_downloads_nothing_and_doubles_no_row() {
    let place = Place::new();
    place.ok(&["run"]);
    place.ok(&["run", "taxi"]);
    let tasks = place.json(&["tasks", "latest"]);
    let download = tasks.as_array().unwrap().iter().find(|t| t["task_id"] == "download").unwrap();
    assert_eq!(download["cause"]["kind"], "cached");
    assert_eq!(place.sql("warehouse.db", "SELECT count(*) FROM trips"), [["2000"]]);
    assert_eq!(place.json(&["runs"]).as_array().unwrap().len(), 2);
}

#[test]
fn new_writes_a_dag_file_beside_the_others() {
    let place = Place::new();
    std::fs::create_dir_all(place.folder.path().join("dags/src")).unwrap();
    place.write("dags/src/lib.rs", "flow_runtime::automod::dir!(pub \"src\");\n");
    let said = place.ok(&["new", "sales"]);
    assert!(said.contains("wrote dags/src/sales.rs"), "{said}");
    let text = std::fs::read_to_string(place.folder.path().join("dags/src/sales.rs")).unwrap();
    assert!(text.contains("pub fn sales("), "{text}");
    let said = place.ok(&["new", "--project", "my-flows"]);
    assert!(said.contains("wrote the project `my-flows`"), "{said}");
    assert!(place.folder.path().join("my-flows/src/hello.rs").exists());
}

#[test]
fn a_log_is_followed_to_the_end_of_its_try() {
    let place = Place::new();
    place.ok(&["run", "taxi", "--run-id", "done"]);
    let followed = place.ok(&["logs", "done", "load", "-f"]);
    assert!(followed.contains("loaded into `trips`"), "{followed}");
}

#[test]
fn a_reader_that_goes_away_stops_no_run() {
    let place = Place::new();
    let mut run = place.start(&["run", "taxi", "--run-id", "piped"]);
    run.next().expect("one event");
    assert_eq!(run.hang_up(), Some(0));
    assert_eq!(place.json(&["runs"])[0]["state"], "success");
}
