//! The two pipelines on what the world is like: a server that hangs up half-way, a real Postgres.

use crate::cluster;
use crate::program::{Place, begun};
use crate::server::{Server, file};
use serde_json::Value;
use std::sync::{Arc, Mutex};

fn sample() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/yellow_tripdata_2021-01_sample.csv.gz")).unwrap()
}

#[test]
fn a_server_that_hangs_up_half_way_costs_no_byte() {
    let place = Place::new();
    let content = sample();
    let length = content.len();
    // Each of the first three connections breaks after a quarter of the file; before them the server is asked what it has.
    let server = Server::start(move |request| {
        let reply = file(request, &content, "\"v1\"");
        if (1..4).contains(&request.number) { reply.cut(length / 4) } else { reply }
    });
    let url = format!("url={}", server.at("/yellow_tripdata_2021-01.csv.gz"));
    place.ok(&["run", "taxi", "-p", &url]);
    assert_eq!(place.sql("warehouse.db", "SELECT count(*) FROM trips"), [["2000"]]);
    let asked = server.requests();
    assert_eq!(asked.len(), 5, "{asked:?}");
    assert_eq!((asked[0].method.as_str(), asked[4].range_start()), ("HEAD", Some(length / 4 * 3)));
}

/// The try of the download in the latest run, and how often the server was asked for the file.
fn downloaded(place: &Place, server: &Server) -> (Value, usize) {
    let tasks = place.json(&["tasks", "latest"]);
    let task = tasks.as_array().unwrap().iter().find(|task| task["task_id"] == "download").unwrap();
    (task.clone(), server.requests().iter().filter(|request| request.method == "GET").count())
}

#[test]
fn a_file_that_stays_what_it_is_is_downloaded_once() {
    let place = Place::new();
    let content = sample();
    let tag = Arc::new(Mutex::new("\"v1\""));
    let present = tag.clone();
    let server = Server::start(move |request| file(request, &content, *present.lock().unwrap()));
    let url = format!("url={}", server.at("/trips.csv.gz"));
    place.ok(&["run", "taxi", "--run-id", "first", "-p", &url]);
    let said = place.ok(&["run", "taxi", "--run-id", "second", "-p", &url]);
    let (task, downloads) = downloaded(&place, &server);
    assert_eq!((&task["state"], &task["cause"]["kind"], downloads), (&"success".into(), &"cached".into(), 1), "{task}");
    let from = "cached: reused from `download` of run `first` of `taxi`, made at ";
    assert!(task["cause"]["message"].as_str().unwrap().starts_with(from), "{task}");
    assert!(said.contains("cached") && place.ok(&["tasks", "second"]).contains(from), "{said}");
    assert!(place.ok(&["logs", "second", "download"]).contains(from));
    assert_eq!(place.sql("warehouse.db", "SELECT count(*) FROM trips"), [["2000"]]);
    // Whoever wants it anew gets it, and the server says that nothing has changed.
    place.ok(&["run", "taxi", "--no-cache", "-p", &url]);
    let (task, downloads) = downloaded(&place, &server);
    assert_eq!((&task["cause"], downloads), (&Value::Null, 2), "{task}");
    assert_eq!(place.json(&["xcom", "latest", "download"])["value"]["reused"], true);
    // A file that changed on the server, and one that is gone here, are downloaded anew.
    *tag.lock().unwrap() = "\"v2\"";
    place.ok(&["run", "taxi", "-p", &url]);
    let (task, downloads) = downloaded(&place, &server);
    assert_eq!((&task["cause"], downloads), (&Value::Null, 3), "{task}");
    let path = place.json(&["xcom", "latest", "download"])["value"]["path"].as_str().unwrap().to_owned();
    std::fs::remove_file(path).unwrap();
    place.ok(&["run", "taxi", "-p", &url]);
    let (task, downloads) = downloaded(&place, &server);
    assert_eq!((&task["cause"], downloads), (&Value::Null, 4), "{task}");
    // What was kept long ago is forgotten.
    let cleaned = place.dags(&["clean", "--before", "0s"]);
    assert!(cleaned.err.contains("2 outputs of the cache forgotten"), "{cleaned:?}");
    place.ok(&["run", "taxi", "-p", &url]);
    assert_eq!(downloaded(&place, &server).1, 5);
}

#[test]
fn the_lake_and_the_warehouse_hold_the_same_sums() {
    let place = Place::new();
    place.ok(&["run", "taxi"]);
    place.ok(&["run", "taxi_postgres"]);
    let sums = "SELECT count(*), sum(total_amount), min(tpep_pickup_datetime), count(passenger_count) FROM trips";
    let same =
        "SELECT count(*), sum(total_amount), min(tpep_pickup_datetime), count(passenger_count) FROM yellow_taxi_trips";
    // One went through Parquet, the other from the CSV file.
    assert_eq!(place.sql("warehouse.db", sums), place.sql("warehouse.db", same));
}

#[test]
fn csv_to_postgres_by_copy() {
    let Some(database) = cluster::url() else { return };
    let place = Place::new().env("FLOW_PARAM_DATABASE_URL", &database);
    let (events, code) = place.start(&["run", "taxi_postgres", "--run-id", "pg"]).end();
    assert_eq!(code, Some(0), "{events:#?}");
    let verified = place.json(&["xcom", "pg", "verify"]);
    assert_eq!(verified["value"]["rows"], 2000, "{verified}");
    let url = verified["value"]["url"].as_str().unwrap();
    assert!(url.starts_with("postgres://") && !url.contains(cluster::PASSWORD), "{url}");
    // A run that goes on needs its secret again, and the environment has it.
    let again = place.dags(&["run", "taxi_postgres"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(place.json(&["xcom", "latest", "ingest"])["value"]["replaced"], 2000);
    let count = postgres_count(&database);
    assert_eq!(count, 2000);
}

/// With a password that stands in a variable, a file or nowhere, the address is a secret as a whole. What was loaded is loaded.
#[test]
fn a_secret_address_without_a_password_fails_no_load() {
    let place = Place::new();
    let mut databases = vec![(format!("sqlite://{}", place.folder.path().join("trips.db").display()), place)];
    if let Some(url) = cluster::url() {
        let url = url.replace(&format!(":{}@", cluster::PASSWORD), "@");
        databases.push((url, Place::new().env("PGPASSWORD", cluster::PASSWORD)));
    }
    for (url, place) in databases {
        let place = place.env("FLOW_PARAM_DATABASE_URL", &url);
        place.ok(&["run", "taxi_postgres", "-p", "table=without"]);
        for task in ["ingest", "verify"] {
            let told = place.json(&["xcom", "latest", task]);
            assert_eq!((&told["value"]["rows"], &told["value"]["url"]), (&2000.into(), &"***".into()), "{told}");
        }
        place.ok(&["run", "taxi_postgres", "-p", "table=without"]);
        assert_eq!(place.json(&["xcom", "latest", "ingest"])["value"]["replaced"], 2000);
    }
}

fn postgres_count(database: &str) -> i64 {
    use sqlx::Connection as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::PgConnection::connect(database).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM yellow_taxi_trips").fetch_one(&mut connection).await.unwrap()
    })
}

/// What everybody's Docker container has.
#[test]
fn a_password_that_is_the_users_name_hides_nothing_else() {
    let Some(database) = cluster::url() else { return };
    let port = database.rsplit_once(':').unwrap().1.split('/').next().unwrap();
    execute(&database, "CREATE ROLE postgres SUPERUSER LOGIN PASSWORD 'postgres'");
    let url = format!("postgres://postgres:postgres@127.0.0.1:{port}/postgres");
    let place = Place::new().env("FLOW_PARAM_DATABASE_URL", &url);
    place.ok(&["run", "taxi_postgres", "-p", "table=docker"]);
    let ingested = place.json(&["xcom", "latest", "ingest"]);
    assert_eq!(ingested["value"]["url"], format!("postgres://postgres:***@127.0.0.1:{port}/postgres"));
}

fn execute(database: &str, sql: &'static str) {
    use sqlx::Connection as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::PgConnection::connect(database).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    });
}

#[test]
fn a_load_that_fails_downloads_nothing_again_when_it_goes_on() {
    let place = Place::new();
    let content = sample();
    let server = Server::start(move |request| file(request, &content, "\"v1\""));
    let url = format!("url={}", server.at("/trips.csv.gz"));
    // A folder stands where the warehouse's file should be.
    std::fs::create_dir_all(place.home().join("warehouse.db")).unwrap();
    let failed = place.dags(&["run", "taxi", "--run-id", "r", "-p", &url]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.out.contains("load failed"), "{failed:?}");
    std::fs::remove_dir(place.home().join("warehouse.db")).unwrap();
    let (events, code) = place.start(&["run", "--resume", "r"]).end();
    assert_eq!(code, Some(0), "{events:#?}");
    assert_eq!(begun(&events), ["load", "summary"]);
    let downloads = server.requests().iter().filter(|request| request.method == "GET").count();
    assert_eq!(downloads, 1);
    let rows: Value = place.json(&["xcom", "r", "summary"])["value"]["rows"].clone();
    assert_eq!(rows, 2000);
}
