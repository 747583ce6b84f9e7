//! A run is cancelled while a task is in the middle of something. Tasks have an hour to end: only one that hears of it ends
//! before that.

use crate::program::{Place, Running};
use crate::server::{Reply, Request, Server};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

const GRACE: (&str, &str) = ("FLOW_GRACE", "1h");

/// A CSV file of so many rows, with a column that cannot be made smaller.
fn big(place: &Place, rows: u64) -> String {
    let mut csv = String::from("id,noise\n");
    let mut state = 7u64;
    for n in 0..rows {
        write!(csv, "{n},").unwrap();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write!(csv, "{:08x}", state >> 32).unwrap();
        }
        csv.push('\n');
    }
    place.write("big.csv", &csv);
    format!("url=file://{}/big.csv", place.folder.path().display())
}

/// The files below a folder whose names end so.
fn ending(folder: &Path, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(ending(&path, ends));
        } else if ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
            found.push(path);
        }
    }
    found
}

fn begun(run: &Running, is_so: impl Fn() -> bool) {
    let pid = run.child.id().to_string();
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it never came so far (process {pid}): {:#?}", run.seen);
}

/// Cancels the run as a person does, and waits for the end of the program.
fn cancelled(place: &Place, run: Running, task: &str) {
    place.ok(&["cancel", "r"]);
    let (events, code) = run.end();
    assert_eq!(code, Some(1), "{events:#?}");
    assert_eq!(place.json(&["runs"])[0]["state"], "failed");
    let tasks = place.json(&["tasks", "r"]);
    let row: &Value = tasks.as_array().unwrap().iter().find(|row| row["task_id"] == task).unwrap();
    assert_ne!(row["state"], "success", "{row}");
}

#[test]
fn a_conversion_ends_and_leaves_no_file() {
    let place = Place::new().env(GRACE.0, GRACE.1);
    let url = big(&place, 600_000);
    let mut run = place.start(&["run", "taxi", "--run-id", "r", "-p", &url, "-p", "columns=infer"]);
    run.until("parquetize", "running");
    begun(&run, || !ending(&place.home(), &[".parquet.part"]).is_empty());
    cancelled(&place, run, "parquetize");
    assert_eq!(ending(&place.home(), &[".parquet", ".part"]), Vec::<PathBuf>::new());
}

/// A store that takes an upload in parts, and never answers when the second part comes. It is busy when the parts are first
/// given up.
fn store(asked: &Request, held: &Mutex<mpsc::Receiver<()>>, busy: &Mutex<bool>) -> Reply {
    if asked.method == "POST" && asked.target.contains("uploads") {
        let xml = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
        return Reply::new(200, xml);
    }
    if asked.target.contains("partNumber=2") {
        let _ = held.lock().unwrap().recv();
    }
    match asked.method.as_str() {
        "HEAD" | "GET" => Reply::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
        "DELETE" if !std::mem::replace(&mut *busy.lock().unwrap(), true) => Reply::new(503, "").with("Retry-After", 1),
        "DELETE" => Reply::new(204, ""),
        _ => Reply::new(200, "").with("ETag", "\"e\""),
    }
}

#[test]
fn an_upload_ends_and_its_parts_are_given_up() {
    let (release, held) = mpsc::channel();
    let (held, busy) = (Mutex::new(held), Mutex::new(false));
    let server = Server::start(move |asked| store(asked, &held, &busy));
    let place = Place::new().env(GRACE.0, GRACE.1).env("AWS_ENDPOINT", &server.url).env("AWS_REGION", "us-east-1");
    let place = place.env("AWS_ACCESS_KEY_ID", "me").env("AWS_SECRET_ACCESS_KEY", "hush");
    let url = big(&place, 600_000);
    let args = ["run", "taxi", "--run-id", "r", "-p", &url, "-p", "columns=infer", "-p", "lake=s3://lake"];
    let mut run = place.start(&args);
    run.until("upload", "running");
    let met =
        |method: &str, part: &str| server.requests().iter().any(|r| r.method == method && r.target.contains(part));
    begun(&run, || met("PUT", "partNumber=2"));
    cancelled(&place, run, "upload");
    // Before the program ended: nobody asks after that.
    let given_up = server.requests().iter().filter(|r| r.method == "DELETE").count();
    assert_eq!(given_up, 2, "{:?}", server.requests().iter().map(|r| &r.target).collect::<Vec<_>>());
    assert!(!met("POST", "uploadId=u1"), "no object was made of the parts");
    drop(release);
}

#[test]
fn whoever_presses_ctrl_c_does_not_wait_for_what_is_cleaned_up() {
    let ((release, held), (answer, hung)) = (mpsc::channel(), mpsc::channel::<()>());
    let (held, hung, busy) = (Mutex::new(held), Mutex::new(hung), Mutex::new(true));
    // The parts can be given up, but that takes for ever.
    let server = Server::start(move |asked| match asked.method.as_str() {
        "DELETE" => {
            let _ = hung.lock().unwrap().recv();
            Reply::new(204, "")
        }
        _ => store(asked, &held, &busy),
    });
    let place = Place::new().env(GRACE.0, GRACE.1).env("AWS_ENDPOINT", &server.url).env("AWS_REGION", "us-east-1");
    let place = place.env("AWS_ACCESS_KEY_ID", "me").env("AWS_SECRET_ACCESS_KEY", "hush");
    let url = big(&place, 600_000);
    let args = ["run", "taxi", "--run-id", "r", "-p", &url, "-p", "columns=infer", "-p", "lake=s3://lake"];
    let mut run = place.start(&args);
    run.until("upload", "running");
    begun(&run, || server.requests().iter().any(|r| r.method == "PUT" && r.target.contains("partNumber=2")));
    place.ok(&["cancel", "r"]);
    while run.next().expect("it ends in an orderly way")["event"] != "run_ended" {}
    let ended = Instant::now();
    // What comes while the run is still about to be put away is the first word.
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(300));
        if run.child.try_wait().unwrap().is_none() {
            run.signal("INT");
        }
    }
    let (_, code) = run.end();
    assert_eq!(code, Some(1), "the run had ended, and says so");
    assert!(ended.elapsed() < Duration::from_secs(3), "it took {:?}", ended.elapsed());
    drop((release, answer));
}

#[test]
fn a_load_ends_and_leaves_no_table() {
    use sqlx::Connection as _;
    let place = Place::new().env(GRACE.0, GRACE.1);
    let url = big(&place, 1_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = place.home().join("warehouse.db");
    std::fs::create_dir_all(place.home()).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut other = runtime.block_on(sqlx::SqliteConnection::connect_with(&options)).unwrap();
    // Another writer, who keeps everybody else waiting.
    runtime.block_on(sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other)).unwrap();
    let mut run = place.start(&["run", "taxi", "--run-id", "r", "-p", &url, "-p", "columns=infer"]);
    run.until("load", "running");
    cancelled(&place, run, "load");
    runtime.block_on(sqlx::raw_sql("COMMIT").execute(&mut other)).unwrap();
    assert!(place.sql("warehouse.db", "SELECT name FROM sqlite_schema").is_empty());
    assert_eq!(ending(&place.home(), &[".part", "warehouse.db-journal"]), Vec::<PathBuf>::new());
}
