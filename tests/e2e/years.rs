//! Two years of the flagship, filled in afterwards by a command that is killed twice: each month is there once.

use crate::months::{cents, csv};
use crate::program::Place;
use crate::server::{Reply, Server, file};
use dags::month::Month;
use std::collections::BTreeSet;

const FROM: Month = Month::new(2021, 1);
const TO: Month = Month::new(2022, 12);

#[test]
fn a_backfill_of_two_years_killed_twice_has_each_month_once() {
    let server = Server::start(|request| {
        let name = request.target.trim_start_matches("/yellow_").trim_end_matches(".csv").to_string();
        match name.parse::<Month>() {
            // All of one version: what is told apart by nothing but the date.
            Ok(month) => file(request, &csv(month), "the same"),
            Err(_) => Reply::new(404, "no such month"),
        }
    });
    let place = Place::new();
    let url = format!("url={}", server.at("/yellow_{date:%Y-%m}.csv"));
    let fill = ["backfill", "taxi", "--from", "2021-01-01", "--to", "2022-12-01", "-p", &url];
    for _ in 0..2 {
        let mut filling = place.start(&fill);
        filling.until("load", "success");
        filling.kill();
    }
    let (events, code) = place.start(&fill).end();
    assert_eq!(code, Some(0), "{events:#?}");

    let runs = place.json(&["runs", "taxi", "--limit", "0"]);
    let runs = runs.as_array().unwrap();
    let dates: BTreeSet<&str> = runs.iter().filter_map(|run| run["logical_date"].as_str()).collect();
    assert_eq!((runs.len(), dates.len()), (24, 24));
    assert!(runs.iter().all(|run| run["state"] == "success" && run["run_type"] == "backfill"), "{runs:#?}");

    let loaded = place.sql(
        "warehouse.db",
        "SELECT _source, count(*), CAST(round(sum(total_amount) * 100) AS INTEGER) FROM trips GROUP BY 1 ORDER BY 1",
    );
    let expected = FROM.through(TO).map(|month| {
        let text = csv(month);
        let rows = text.iter().filter(|byte| **byte == b'\n').count() - 1;
        [server.at(&format!("/yellow_{month}.csv")), rows.to_string(), cents(&text).to_string()]
    });
    assert_eq!(loaded, expected.collect::<Vec<_>>());
    assert!(place.json(&["backfill", "list"]).as_array().unwrap().iter().all(|row| row["state"] == "done"));
}
