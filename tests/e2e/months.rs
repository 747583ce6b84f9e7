//! Twelve months, three of which are not there at first; the program is killed twice on the way. Every month is loaded once,
//! whole, and what has succeeded does not run again.

use crate::program::Place;
use crate::server::{Reply, Server, file};
use dags::generated;
use dags::month::Month;
use std::collections::BTreeSet;
use std::sync::Mutex;

const TRIPS: u64 = 400;
const LATE: [&str; 3] = ["2021-02", "2021-07", "2021-12"];

pub fn csv(month: Month) -> Vec<u8> {
    let mut csv = Vec::new();
    let seed = month.to_string().bytes().map(u64::from).sum();
    generated::write(&mut csv, month, TRIPS, seed).unwrap();
    csv
}

/// What the trips of a file cost in all, in cents.
pub fn cents(csv: &[u8]) -> i64 {
    let text = std::str::from_utf8(csv).unwrap();
    let amount = |line: &str| line.split(',').nth(16).unwrap().parse::<f64>().unwrap();
    text.lines().skip(1).map(|line| (amount(line) * 100.0).round() as i64).sum()
}

fn months() -> Vec<Month> {
    Month::new(2021, 1).through(Month::new(2021, 12)).collect()
}

/// A server of all months; three of them come late.
fn server() -> Server {
    let asked = Mutex::new(BTreeSet::new());
    Server::start(move |request| {
        let name = request.target.trim_start_matches('/').trim_end_matches(".csv").to_string();
        // Whoever only asks what there is has not asked for it.
        let first = request.method == "GET" && asked.lock().unwrap().insert(name.clone());
        match name.parse::<Month>() {
            Ok(_) if first && LATE.contains(&name.as_str()) => Reply::new(404, "not yet"),
            Ok(month) => file(request, &csv(month), &name),
            Err(_) => Reply::new(404, "no such month"),
        }
    })
}

#[test]
fn killed_twice_and_every_month_is_there_once() {
    let (place, server) = (Place::new(), server());
    let url = format!("url={}", server.at("/{month}.csv"));
    let mut run = place.start(&["run", "taxi_months", "--run-id", "year", "-p", &url, "--parallelism", "3"]);
    run.until("month.parquetize", "success");
    run.kill();
    let mut run = place.start(&["run", "--resume", "year", "--parallelism", "3"]);
    run.until("month.load", "success");
    run.kill();
    // Late months fail; whether all three do before the end is a matter of when the kills came.
    let mut ends = Vec::new();
    while ends.last() != Some(&Some(0)) && ends.len() < 3 {
        let (events, code) = place.start(&["run", "--resume", "year"]).end();
        let again = events.iter().filter(|e| e["state"] == "running" && e["task_id"] == "month.load").count();
        assert!(ends.is_empty() || again <= LATE.len(), "only what failed runs again: {events:#?}");
        ends.push(code);
    }
    assert_eq!(ends.last(), Some(&Some(0)), "{ends:?}");

    let total = place.json(&["xcom", "year", "total"])["value"].clone();
    assert_eq!(total, serde_json::json!({"months": 12, "rows": 12 * TRIPS, "most": TRIPS}));
    let loaded = place.sql(
        "warehouse.db",
        "SELECT _source, count(*), CAST(round(sum(total_amount) * 100) AS INTEGER) FROM trips_by_month GROUP BY 1 ORDER BY 1",
    );
    assert_eq!(loaded.len(), 12);
    for (row, month) in loaded.iter().zip(months()) {
        assert!(row[0].ends_with(&format!("/{month}.csv")), "{row:?}");
        assert_eq!(row[1..], [TRIPS.to_string(), cents(&csv(month)).to_string()], "{month}");
    }

    let tasks = place.json(&["tasks", "year"]);
    let tasks = tasks.as_array().unwrap();
    assert_eq!(tasks.len(), 2 + 12 * 5);
    assert!(tasks.iter().all(|task| task["state"] == "success"), "{tasks:#?}");
    // What a late month was told is on record, unless its process was killed between hearing and recording it.
    let downloads = tasks.iter().filter(|task| task["task_id"] == "month.download");
    for task in downloads {
        let (tries, name) = (task["tries"].as_array().unwrap(), task["rendered_map_index"].as_str().unwrap());
        let refused = tries.iter().any(|t| t["cause"]["message"].as_str().is_some_and(|m| m.contains("404")));
        let lost = tries.iter().any(|t| t["cause"]["kind"] == "lost");
        let late = LATE.iter().any(|month| name == format!("month={month}"));
        assert!(if late { refused || lost } else { !refused }, "{name}: {tries:#?}");
    }
}

#[test]
fn one_month_runs_again_alone() {
    let place = Place::new();
    place.ok(&["run", "taxi_months", "--run-id", "year", "-p", "to=2021-03", "-p", "trips=50"]);
    let cleared = place.dags(&["clear", "year", "month.load", "--map-index", "1", "--downstream", "--yes"]);
    assert!(cleared.out.contains("month.load[1]") && !cleared.out.contains("month.load[0]"), "{cleared:?}");
    assert!(cleared.out.contains("total") && cleared.out.contains("month=2021-02"), "{cleared:?}");
    let (events, code) = place.start(&["run", "--resume", "year"]).end();
    assert_eq!(code, Some(0), "{events:#?}");
    let ran = crate::program::begun(&events);
    assert_eq!(ran, ["month.load", "total"]);
    assert_eq!(place.sql("warehouse.db", "SELECT count(*) FROM trips_by_month"), [["150"]]);
}

#[test]
fn a_range_that_is_none_is_refused() {
    let place = Place::new();
    let no_month = place.dags(&["run", "taxi_months", "-p", "from=2021-13"]);
    assert!(no_month.code == Some(2) && no_month.err.contains("from"), "{no_month:?}");
    let backwards = place.dags(&["run", "taxi_months", "-p", "from=2021-02", "-p", "to=2021-01"]);
    assert_eq!(backwards.code, Some(1));
    assert!(backwards.out.contains("no month lies from 2021-02 to 2021-01"), "{backwards:?}");
    let same = place.dags(&["run", "taxi_months", "-p", "url=http://127.0.0.1:1/x.csv"]);
    assert!(same.out.contains("names no {month}"), "{same:?}");
}
