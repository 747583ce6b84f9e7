//! A person runs a part of a DAG, lets tasks run again, and says how they count.

use crate::program::{Place, begun};
use crate::server::Server;
use serde_json::Value;

fn states(place: &Place, run: &str) -> Vec<(String, String, u64)> {
    let tasks = place.json(&["tasks", run]);
    let text = |v: &Value| v.as_str().unwrap_or("none").to_string();
    let row = |t: &Value| (text(&t["task_id"]), text(&t["state"]), t["try_number"].as_u64().unwrap());
    tasks.as_array().unwrap().iter().map(row).collect()
}

fn row(task: &str, state: &str, tries: u64) -> (String, String, u64) {
    (task.into(), state.into(), tries)
}

#[test]
fn some_tasks_alone_and_what_they_lack() {
    let place = Place::new();
    let (events, code) = place.start(&["run", "taxi", "--run-id", "part", "--only", "download", "parquetize"]).end();
    assert_eq!((code, begun(&events)), (Some(0), vec!["download".to_string(), "parquetize".to_string()]));
    assert_eq!(states(&place, "part"), [row("download", "success", 1), row("parquetize", "success", 1)]);

    let lacking = place.dags(&["run", "taxi", "--only", "load"]);
    assert_eq!(lacking.code, Some(2), "{lacking:?}");
    assert!(lacking.err.contains("task `load` needs the output of `upload` for its argument `object`"), "{lacking:?}");
    let strange = place.dags(&["run", "taxi", "--only", "laod"]);
    assert!(strange.code == Some(2) && strange.err.contains("did you mean `load`?"), "{strange:?}");
    assert_eq!(place.json(&["runs"]).as_array().unwrap().len(), 1, "no other run was made");
}

#[test]
fn a_part_that_failed_goes_on_as_a_part() {
    let place = Place::new();
    let bad = ["run", "taxi", "--run-id", "part", "-p", "url=file:///nothing.csv", "--only", "download"];
    assert_eq!(place.dags(&bad).code, Some(1));
    let again = place.dags(&["run", "--resume", "part"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert_eq!(states(&place, "part"), [row("download", "failed", 2)]);
}

#[test]
fn what_is_cleared_runs_again_with_what_is_below_it() {
    let place = Place::new();
    place.ok(&["run", "taxi", "--run-id", "one"]);
    let all: Vec<_> =
        ["download", "parquetize", "upload", "load", "summary"].map(|task| row(task, "success", 1)).into();
    let dry = place.dags(&["clear", "one", "upload", "--downstream"]);
    assert!(dry.out.contains("upload") && dry.out.contains("summary") && !dry.out.contains("download"), "{dry:?}");
    assert!(dry.err.contains("3 task instances would be cleared; `--yes` does it"), "{dry:?}");
    assert_eq!(states(&place, "one"), all, "nothing has changed");

    let cleared = place.dags(&["clear", "one", "upload", "--downstream", "--yes"]);
    assert_eq!(cleared.code, Some(0), "{cleared:?}");
    assert!(cleared.err.contains("3 task instances cleared") && cleared.err.contains("run --resume one"));
    assert_eq!(place.json(&["runs"])[0]["state"], "queued");
    // What is to run again has had one try, and none has begun since.
    let tasks = place.ok(&["tasks", "one"]);
    let upload: Vec<&str> = tasks.lines().filter(|line| line.starts_with("upload ")).collect();
    assert!(upload.len() == 2 && upload[0].contains("1/") && !upload[1].contains('/'), "{tasks}");
    assert_eq!(place.json(&["tasks", "one"])[2]["tries"].as_array().unwrap().len(), 1);
    assert_eq!(place.dags(&["xcom", "one", "upload"]).code, Some(2), "what is to run again has no value");
    let first = place.json(&["runs"])[0]["start_date"].clone();
    let (events, code) = place.start(&["run", "--resume", "one"]).end();
    assert_eq!((code, begun(&events)), (Some(0), ["upload", "load", "summary"].map(String::from).into()));
    assert_ne!(place.json(&["runs"])[0]["start_date"], first, "the time between is no part of it");
    let tries: Vec<u64> = states(&place, "one").into_iter().map(|(_, _, tries)| tries).collect();
    assert_eq!(tries, [1, 1, 2, 2, 2]);
    // The first tries are on record.
    let upload = place.json(&["tasks", "one"])[2].clone();
    assert_eq!(upload["tries"].as_array().unwrap().len(), 2, "{upload:#}");

    let (events, code) = place.start(&["run", "--resume", "one", "--only", "load"]).end();
    assert_eq!((code, begun(&events)), (Some(0), vec!["load".to_string()]));
}

#[test]
fn the_same_tasks_of_the_runs_before_and_after_are_cleared_too() {
    let place = Place::new();
    for day in ["01", "02", "03"] {
        let date = format!("2026-03-{day}");
        place.ok(&["run", "taxi", "--run-id", &format!("day-{day}"), "--logical-date", &date]);
    }
    place.ok(&["run", "taxi", "--run-id", "dateless"]);
    let cleared_of = |args: &[&str]| -> Vec<String> {
        let told = place.json(&[&["clear", "day-02", "load"], args].concat());
        let row = |t: &Value| format!("{} {}", t["dag_run_id"].as_str().unwrap(), t["task_id"].as_str().unwrap());
        told.as_array().unwrap().iter().map(row).collect()
    };
    assert_eq!(cleared_of(&["--past"]), ["day-01 load", "day-02 load"]);
    assert_eq!(cleared_of(&["--future"]), ["day-02 load", "day-03 load"]);
    assert_eq!(cleared_of(&["--past", "--future"]), ["day-01 load", "day-02 load", "day-03 load"]);
    let told = place.dags(&["clear", "day-02", "load", "-d", "--past", "--dry-run"]);
    assert!(told.out.starts_with("RUN ") && told.out.contains("day-01") && told.out.contains("summary"), "{told:?}");
    assert!(told.err.contains("4 task instances of 2 runs would be cleared; `--yes` does it"), "{told:?}");
    assert!(place.json(&["runs"]).as_array().unwrap().iter().all(|run| run["state"] == "success"), "nothing was done");

    let cleared = place.dags(&["clear", "day-02", "load", "--past", "--yes"]);
    assert!(cleared.err.contains("2 task instances of 2 runs cleared"), "{cleared:?}");
    assert!(cleared.err.contains("run --resume day-01`, and so with 1 more"), "{cleared:?}");
    let runs = place.json(&["runs"]);
    let state = |id: &str| runs.as_array().unwrap().iter().find(|r| r["dag_run_id"] == id).unwrap()["state"].clone();
    let states = ["day-01", "day-02", "day-03", "dateless"].map(state);
    assert_eq!(states, ["queued", "queued", "success", "success"]);
    // Of those that failed in earlier runs there is none.
    let none = place.dags(&["clear", "day-03", "--only-failed", "--past", "--yes"]);
    assert!(none.code == Some(0) && none.err.contains("0 task instances would be cleared\n"), "{none:?}");
    let dateless = place.dags(&["clear", "dateless", "--past"]);
    assert!(dateless.code == Some(2) && dateless.err.contains("`dateless` has no logical date"), "{dateless:?}");
    assert_eq!(place.dags(&["clear", "day-03", "--dry-run", "--yes"]).code, Some(2), "which of the two?");
}

#[test]
fn what_is_marked_counts_as_said() {
    let place = Place::new();
    let bad = ["run", "taxi", "--run-id", "one", "-p", "url=file:///nothing.csv"];
    assert_eq!(place.dags(&bad).code, Some(1));
    let marked = place.dags(&["mark", "one", "skipped", "parquetize"]);
    assert_eq!(marked.code, Some(0), "{marked:?}");
    let tasks = place.ok(&["tasks", "one"]);
    assert!(tasks.contains("somebody marked it as skipped"), "{tasks}");
    place.ok(&["mark", "one", "success"]);
    assert_eq!(place.json(&["runs"])[0]["state"], "success");
    // What was cut off stays so, and it is said how it is run after all, and what it lacks then.
    assert_eq!(place.dags(&["run", "taxi", "--run-id", "two", "-p", "url=file:///nothing.csv"]).code, Some(1));
    let marked = place.dags(&["mark", "two", "success", "download"]);
    assert!(marked.err.contains("clear two parquetize -d` tells"), "{marked:?}");
    let tasks = place.ok(&["tasks", "two"]);
    assert!(tasks.contains("somebody marked it as success") && tasks.contains("a clear lets it"), "{tasks}");
    let xcom = place.dags(&["xcom", "two", "download"]);
    assert!(xcom.err.contains("has no value: somebody marked it as success"), "{xcom:?}");
    place.ok(&["clear", "two", "parquetize", "--yes"]);
    assert_eq!(place.dags(&["run", "--resume", "two"]).code, Some(1));
    let tasks = place.ok(&["tasks", "two"]);
    assert!(tasks.contains("marked as success gives null"), "{tasks}");
    let strange = place.dags(&["mark", "one", "running"]);
    assert!(strange.code == Some(2) && strange.err.contains("success, failed or skipped"), "{strange:?}");
}

#[test]
fn a_run_that_somebody_works_on_is_changed_by_him() {
    // It never answers.
    let server = Server::start(|_| {
        loop {
            std::thread::park();
        }
    });
    let place = Place::new();
    let mut run = place.start(&["run", "taxi", "--run-id", "one", "-p", &format!("url={}", server.at("/trips.csv"))]);
    run.until("download", "running");
    // The new try has begun before the old one is out of the way: nobody waits for a body that hears of its end.
    let cleared = place.dags(&["clear", "one", "download", "--yes"]);
    assert_eq!(cleared.code, Some(0), "{cleared:?}");
    assert!(cleared.err.contains("carried out by the process that works on the run"), "{cleared:?}");
    run.until("download", "running");
    assert_eq!(states(&place, "one")[0], row("download", "running", 2));
    let cancelled = place.dags(&["cancel", "one"]);
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    assert_eq!(run.end().1, Some(1));
    assert_eq!(place.json(&["runs"])[0]["state"], "failed");
    let tasks = place.json(&["tasks", "one"]);
    assert_eq!(tasks[0]["cause"]["message"], "somebody ended its run, as failed", "{:#}", tasks[0]);
    // Nobody works on it any more.
    assert_eq!(place.dags(&["clear", "one", "download", "--yes"]).code, Some(0));
}

#[test]
fn a_run_that_has_ended_is_not_cancelled() {
    let place = Place::new();
    place.ok(&["run", "taxi", "--run-id", "one"]);
    let before = place.json(&["runs"]);
    let cancelled = place.dags(&["cancel", "one"]);
    assert!(
        cancelled.code == Some(2) && cancelled.err.contains("`one` has ended already, in state success"),
        "{cancelled:?}"
    );
    assert_eq!(place.json(&["runs"]), before);
}

#[test]
fn what_is_refused_changes_nothing() {
    let place = Place::new();
    place.ok(&["run", "taxi", "--run-id", "one"]);
    let refused = place.dags(&["run", "--resume", "one", "--only", "load", "-p", "table=other"]);
    assert!(refused.code == Some(2) && refused.err.contains("cannot be changed"), "{refused:?}");
    assert_eq!(place.json(&["runs"])[0]["state"], "success");
    assert!(states(&place, "one").iter().all(|(_, state, _)| state == "success"));
    for command in ["clear one download --map-index 7", "mark one failed download --map-index 7"] {
        let words: Vec<&str> = command.split(' ').collect();
        let refused = place.dags(&words);
        assert!(refused.code == Some(2) && refused.err.contains("is not mapped"), "{refused:?}");
    }
}

#[test]
fn a_failed_run_whose_tasks_are_all_well_says_what_to_do() {
    let place = Place::new();
    place.ok(&["run", "taxi", "--run-id", "one"]);
    place.ok(&["mark", "one", "failed"]);
    let refused = place.dags(&["run", "--resume", "one"]);
    assert!(refused.code == Some(2) && refused.err.contains("`mark one success`"), "{refused:?}");
    place.ok(&["mark", "one", "success"]);
    assert_eq!(place.json(&["runs"])[0]["state"], "success");
    for (state, task) in [("failed", "summary"), ("success", "summary")] {
        place.ok(&["mark", "one", state, task]);
        assert_eq!(place.json(&["runs"])[0]["state"], state, "its last task says how it ended");
    }
}

#[test]
fn an_element_of_a_mapped_group_goes_its_own_way() {
    let place = Place::new();
    place.ok(&["run", "taxi_months", "--run-id", "one", "-p", "to=2021-03", "-p", "trips=10"]);
    let below = place.json(&["clear", "one", "month.locate", "--map-index", "1", "-d", "--dry-run"]);
    let keys = |json: &Value| -> Vec<String> {
        let key = |t: &Value| format!("{}[{}]", t["task_id"].as_str().unwrap(), t["map_index"]);
        json.as_array().unwrap().iter().map(key).collect()
    };
    let mut one = keys(&below);
    one.sort();
    let month = ["download", "load", "locate", "parquetize", "upload"].map(|task| format!("month.{task}[1]"));
    assert_eq!(one, [&month[..], &["total[-1]".to_string()]].concat());
    let mut group = keys(&place.json(&["clear", "one", "month", "--map-index", "1", "--yes"]));
    group.sort();
    assert_eq!(group, month);
    place.ok(&["run", "--resume", "one"]);
}

#[test]
fn what_has_ended_long_ago_is_deleted_with_its_logs_and_values() {
    let place = Place::new();
    for run in ["old", "new"] {
        place.ok(&["run", "taxi", "--run-id", run]);
    }
    place.dags(&["run", "taxi", "--run-id", "open", "-p", "url=file:///nothing.csv"]);
    let logs = |run: &str| place.home().join("logs/dag_id=taxi").join(format!("run_id={run}"));
    assert!(logs("old").exists() && logs("new").exists());
    place.sql("flow.db", "UPDATE dag_run SET end_date = 1 WHERE run_id = 'old'");
    place.sql("flow.db", "UPDATE dag_run SET state = 'running', end_date = NULL, run_after = 1 WHERE run_id = 'open'");
    for _ in 0..2 {
        place.sql("flow.db", "INSERT INTO asset_event (asset, extra, timestamp) VALUES ('trips', '{}', 1)");
    }
    // A large value to which no run refers, an old one and a young one.
    let folder = place.home().join("xcom/ab");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, age) in [("abold", 7200), ("abnew", 0)] {
        let file = std::fs::File::create(folder.join(format!("{name}.json"))).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
    }
    let dry = place.dags(&["db", "clean", "--before", "30d", "--dry-run"]);
    assert!(dry.out.contains("old") && !dry.out.contains("new") && !dry.out.contains("open"), "{dry:?}");
    assert!(dry.err.contains("1 run would be deleted") && logs("old").exists(), "{dry:?}");
    assert!(dry.err.contains("outputs that caches kept") && dry.err.contains("events of assets"), "{dry:?}");
    let cleaned = place.dags(&["clean", "--before", "30d"]);
    assert!(cleaned.code == Some(0) && cleaned.err.contains("1 run deleted, and 1 file"), "{cleaned:?}");
    assert!(cleaned.err.contains("1 event of assets forgotten"), "the latest stays: {cleaned:?}");
    assert!(!logs("old").exists() && logs("new").exists());
    assert!(!folder.join("abold.json").exists() && folder.join("abnew.json").exists());
    assert_eq!(place.json(&["runs"]).as_array().unwrap().len(), 2);
    assert_eq!(place.dags(&["tasks", "old"]).code, Some(2));
    let strange = place.dags(&["clean", "--before", "soon"]);
    assert!(strange.code == Some(2) && strange.err.contains("neither a date"), "{strange:?}");
}
