//! A password is planted, and looked for in everything the program prints and leaves behind.

use crate::program::Place;
use crate::server::{Reply, Server};
use std::path::Path;

const SECRET: &str = "hush-hush-4711";

fn found_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            found.extend(found_in(&entry));
        } else if String::from_utf8_lossy(&std::fs::read(&entry).unwrap()).contains(SECRET) {
            found.push(entry.display().to_string());
        }
    }
    found
}

#[test]
fn a_password_is_printed_and_kept_nowhere() {
    let url = format!("postgres://ada:{SECRET}@127.0.0.1:1/nowhere");
    let refuses = Server::start(|_| Reply::new(401, format!("{SECRET} is not welcome")));
    let web = refuses.url.replace("http://", &format!("http://ada:{SECRET}@"));
    let place = Place::new().env("FLOW_PARAM_DATABASE_URL", &url);
    let (by_flag, warehouse) = (format!("database_url={url}"), format!("warehouse={url}"));
    let (typo, web) = (format!("databse_url={url}"), format!("url={web}/x.csv"));
    // Each waits some seconds between tries at a database that is not there: all at one time.
    let runs: [&[&str]; 5] = [
        &["run", "taxi_postgres", "--run-id", "a", "--json"],
        &["run", "taxi_postgres", "--run-id", "b", "-p", &by_flag],
        &["test", "taxi_postgres"],
        &["run", "taxi", "--run-id", "c", "-p", &warehouse],
        &["run", "taxi_postgres", "-p", &web],
    ];
    std::thread::scope(|scope| {
        for args in runs {
            scope.spawn(|| says_nothing(&place, args));
        }
    });
    let looks: [&[&str]; 10] = [
        &["show", "taxi_postgres", "--json"],
        &["show", "taxi_postgres", "-p", &by_flag],
        &["show", "taxi", "-p", &warehouse],
        &["show", "taxi_postgres", "--format", "mermaid"],
        &["tasks", "a", "--json"],
        &["logs", "a", "ingest"],
        &["logs", "c", "load"],
        &["runs", "--json"],
        &["run", "--resume", "c"],
        &["run", "taxi_postgres", "-p", &typo],
    ];
    looks.iter().for_each(|args| says_nothing(&place, args));
    assert_eq!(found_in(place.folder.path()), Vec::<String>::new());
    let tasks = place.json(&["tasks", "a"]);
    let ingest = tasks.as_array().unwrap().iter().find(|t| t["task_id"] == "ingest").unwrap();
    assert_eq!(
        (&ingest["state"], &ingest["try_number"]),
        (&"failed".into(), &3.into()),
        "it was tried for real: {tasks:#}"
    );
    // A plain param that held a password must be given again; the same one is taken, another is not.
    let again = place.dags(&["run", "--resume", "c"]);
    assert!(again.code == Some(2) && again.err.contains("cannot go on without `warehouse`"), "{again:?}");
    let other = place.dags(&["run", "--resume", "c", "-p", "warehouse=sqlite://w.db"]);
    assert!(other.code == Some(2) && other.err.contains("cannot be changed"), "{other:?}");
}

fn says_nothing(place: &Place, args: &[&str]) {
    let answer = place.dags(args);
    let text = format!("{}{}", answer.out, answer.err);
    assert!(!text.is_empty() && !text.contains(SECRET), "{args:?}: {text}");
}
