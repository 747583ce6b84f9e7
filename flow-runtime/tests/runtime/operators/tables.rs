//! The options of loads and unloads, and a job that a retry finds again.

use super::server::{self, Reply, Request, Server};
use flow_runtime::connection::Place;
use flow_runtime::data::{self, ColumnType, CsvOptions, LoadJob, Misfit, Schema, Type, Uploaded};
use flow_runtime::operators::Connection;
use flow_runtime::prelude::*;
use flow_runtime::run_event::RunEvent;
use flow_runtime::tasks::{self, BigQueryLoad, Fetch, Load, LocalFile, Unload};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

fn columns() -> Schema {
    Schema::new([("id", Type::Int), ("town", Type::Text), ("fare", Type::Float)])
}

#[tokio::test]
async fn a_csv_file_is_loaded_as_it_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    let database = ctx.in_home("sqlite://t.db");
    std::fs::write(folder.path().join("t.csv"), b"1;K\xf6ln;8.5\n2;Bonn;nine\n").unwrap();
    let mut german = CsvOptions::default();
    german.encoding = Some("windows-1252".into());
    german.names = Some(vec!["id".into(), "town".into(), "fare".into()]);
    let load = async |how: Load| {
        tasks::load_file(&ctx, LocalFile::new("t.csv"), Connection::new(database.as_str()), how).await
    };
    let how = || Load::into("t").csv(german.clone()).separator(';').schema(columns());
    let error = format!("{:#}", load(how()).await.unwrap_err());
    assert!(error.contains("nine") && error.contains("row 2"), "{error}");
    assert_eq!(load(how().quarantine()).await.unwrap().rows, 1);
    let null = load(how().misfit(Misfit::Null)).await.unwrap();
    assert_eq!((null.rows, null.replaced), (2, 1), "it is the same source");
    let rows = data::ask(&database, "SELECT id, town, fare FROM t ORDER BY id").await.unwrap().rows;
    assert_eq!(json!(rows), json!([[1, "Köln", 8.5], [2, "Bonn", null]]));
    let source = data::ask(&database, "SELECT DISTINCT _source FROM t").await.unwrap();
    assert_eq!(source.first().unwrap(), &json!(folder.path().join("t.csv").display().to_string()));
    let error = load(how().raw_csv()).await.unwrap_err();
    assert!(matches!(TaskError::of(&error), Some(TaskError::Fail(why)) if why.contains("leave one of them out")));
}

/// What is said of a CSV file is not forgotten where the file is Parquet.
#[tokio::test]
async fn options_of_text_are_refused_with_parquet() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    std::fs::write(folder.path().join("t.csv"), "id\n1\n").unwrap();
    let parquet = tasks::parquetize(&ctx, LocalFile::new("t.csv")).unwrap();
    let object = tasks::upload(&ctx, (&parquet).into(), "lake".into()).await.unwrap();
    let database = || Connection::new("sqlite://t.db");
    let how = || Load::into("t");
    for (how, named) in [
        (how().schema(columns()), "`schema`"),
        (how().separator(';'), "`csv` (or `separator`)"),
        (how().misfit(Misfit::Null).schema(columns()), "`schema`, `misfit` (or `quarantine`)"),
        (how().raw_csv(), "`raw_csv`"),
    ] {
        let of_file = tasks::load_file(&ctx, (&parquet).into(), database(), how.clone()).await.unwrap_err();
        let of_object = tasks::load_with(&ctx, &object, database(), how).await.unwrap_err();
        for error in [of_file, of_object] {
            let named = format!("heeds no {named}: leave that out");
            assert!(matches!(TaskError::of(&error), Some(TaskError::Fail(why)) if why.contains(&named)), "{error:#}");
        }
    }
    assert_eq!(tasks::load_file(&ctx, (&parquet).into(), database(), how()).await.unwrap().rows, 1);
}

#[dag]
fn kept_out(file: String, database: String) {
    let columns = Schema::new([("id", Type::Int), ("town", Type::Text), ("fare", Type::Float)]);
    tasks::load_file(file, database, Load::into("t").quarantine().schema(columns));
}

/// What is kept out stands in the log of the try.
#[tokio::test]
async fn rows_that_are_kept_out_are_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.csv"), "id,town,fare\n1,Bonn,8.5\n2,Bonn,nine\n").unwrap();
    let test = kept_out::test().home(folder.path()).param("file", "t.csv").param("database", "sqlite://t.db");
    let run = test.run().await.succeeded();
    let told = |event: &&RunEvent| matches!(event, RunEvent::Log { message, .. } if message.contains("nine"));
    assert_eq!(run.events().iter().filter(told).count(), 1, "{:?}", run.events());
}

#[tokio::test]
async fn postgres_has_its_own_options() {
    let Some(database) = crate::cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    std::fs::write(folder.path().join("t.csv"), "id,fare\n1,8.5\n2,\n").unwrap();
    let load = async |how: Load| {
        let how = how.schema(Schema::new([("id", Type::Int), ("fare", Type::Float)]));
        tasks::load_file(&ctx, LocalFile::new("t.csv"), Connection::new(database.as_str()), how).await
    };
    data::execute(&database, "CREATE TABLE stock_options (id bigint, fare numeric)").await.unwrap();
    let error = format!("{:#}", load(Load::into("stock_options").replace()).await.unwrap_err());
    assert!(error.contains("fare"), "the types differ: {error}");
    assert_eq!(load(Load::into("stock_options").replace().convert()).await.unwrap().rows, 2);
    let upsert = || Load::into("stock_upserts").upsert(["id"]).unlogged();
    assert_eq!((load(upsert()).await.unwrap().updated, load(upsert()).await.unwrap().updated), (0, 2));
    assert_eq!(load(Load::into("stock_raw").replace().raw_csv()).await.unwrap().rows, 2);
    // Without a word the rows of the same source are replaced, and the text has no column that says where each is from.
    let error = load(Load::into("stock_raw").raw_csv()).await.unwrap_err();
    assert!(format!("{error:#}").contains("append, replace or upsert instead"), "{error:#}");
    let unloaded =
        tasks::unload_with(&ctx, Connection::new(database.as_str()), "stock_raw".into(), Unload::default()).await;
    assert_eq!(unloaded.unwrap().rows, 2);
}

#[tokio::test]
async fn rows_are_unloaded_in_stated_types() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    data::execute(&ctx.in_home("sqlite://t.db"), "CREATE TABLE t (id INTEGER)").await.unwrap();
    data::execute(&ctx.in_home("sqlite://t.db"), "INSERT INTO t VALUES (1), (2), (3)").await.unwrap();
    let unload =
        async |how: Unload| tasks::unload_with(&ctx, Connection::new("sqlite://t.db"), "t".into(), how).await.unwrap();
    assert_eq!(unload(Unload::default()).await.fields[0].kind, ColumnType::Int64);
    let small = unload(Unload::default().column("id", ColumnType::Int16).row_group_rows(1)).await;
    assert_eq!((&small.fields[0].kind, small.rows), (&ColumnType::Int16, 3));
}

/// A server that sends nothing is left for the next connection, as soon as that is wanted.
#[tokio::test]
async fn how_long_a_server_may_be_silent_is_an_option() {
    let server = Server::start(|request| {
        let mut reply = Reply::new(200, "id\n1\n");
        if request.number == 0 {
            reply.drip = Some((1, Duration::from_secs(600)));
        }
        reply
    });
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context::test().with_home(folder.path());
    let how = || Fetch::default().patience(Duration::from_secs(1)).least_bytes(1);
    let file = tasks::download_with(&ctx, server.at("/t.csv"), how()).await.unwrap();
    assert_eq!((file.bytes, server.requests().len()), (5, 2));
    let error = tasks::download_with(&ctx, server.at("/t.csv"), how().sha256("00".repeat(32))).await.unwrap_err();
    assert!(error.to_string().contains("and not 0000"), "{error}");
}

/// BigQuery's REST interface, as far as a load needs it: of a job that was submitted it knows nothing when it is asked first.
fn bigquery() -> Server {
    let known = Mutex::new(BTreeSet::new());
    let job = |id: &str, state: &str| {
        let job = json!({
            "jobReference": { "projectId": "p", "jobId": id },
            "status": { "state": state },
            "statistics": { "load": { "outputRows": "7", "inputFileBytes": "70" } },
        });
        Reply::new(200, job.to_string()).with("Content-Type", "application/json")
    };
    Server::start(move |request: &Request| match request.method.as_str() {
        "POST" => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let id = body["jobReference"]["jobId"].as_str().unwrap();
            match known.lock().unwrap().insert(id.to_owned()) {
                true => job(id, "RUNNING"),
                false => Reply::new(409, r#"{"error":{"code":409,"errors":[{"reason":"duplicate"}]}}"#),
            }
        }
        // The first asks for the end of the job, the second after the answer 409.
        _ if request.number < 2 => Reply::new(404, r#"{"error":{"code":404,"errors":[{"reason":"notFound"}]}}"#),
        _ => job(request.target.split('?').next().unwrap().rsplit('/').next().unwrap(), "DONE"),
    })
}

#[task]
fn object() -> Uploaded {
    serde_json::from_value(json!({ "url": "gs://lake/day.parquet", "bytes": 1 })).unwrap_or_else(|_| unreachable!())
}

#[dag]
fn to_bigquery() {
    let mut how = BigQueryLoad::into("d.t");
    how.options.schema = Some(Schema::new([("id", Type::Int)]));
    tasks::load_bigquery(object(), "conn:warehouse", how).retries(1).retry_delay("1s");
}

/// The first try is lost after it has submitted its job: the second waits for that one, and loads nothing anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_finds_the_job_of_the_try_before() {
    let server = bigquery();
    let warehouse = Place::new("bigquery://p").option("bigquery_emulator_host", &server.url);
    let run = to_bigquery::test().connection("warehouse", warehouse).run().await.succeeded();
    let loaded: LoadJob = run.value("load_bigquery");
    assert!(loaded.reused && loaded.rows == 7, "{loaded:?}");
    let submitted: Vec<Value> = server
        .requests()
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["jobReference"]["jobId"].clone())
        .collect();
    assert_eq!(submitted, [json!(loaded.job), json!(loaded.job)], "two tries, one job");
}

/// A table that requires `id`, a file of `id` and `town` that requires nothing, and a job that is done as soon as it is submitted.
fn requiring(parquet: Vec<u8>) -> Server {
    let known = Mutex::new(BTreeSet::new());
    Server::start(move |request: &Request| {
        let path = request.target.split('?').next().unwrap();
        let last = path.rsplit('/').next().unwrap();
        let done = |id: &str| {
            let statistics = json!({ "load": { "outputRows": "1", "inputFileBytes": "1" } });
            let status = json!({ "state": "DONE" });
            let job = json!({ "jobReference": { "projectId": "p", "jobId": id }, "status": status, "statistics": statistics });
            Reply::new(200, job.to_string())
        };
        let table = json!({ "schema": { "fields": [{ "name": "ID", "type": "INTEGER", "mode": "REQUIRED" }] } });
        match (request.method.as_str(), last) {
            _ if path.starts_with("/lake/") => {
                server::file(request, &parquet, "\"1\"").with("Last-Modified", "Mon, 01 Mar 2021 00:00:00 GMT")
            }
            ("GET", "t") => Reply::new(200, table.to_string()),
            ("POST", _) => {
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                let id = body["jobReference"]["jobId"].as_str().unwrap();
                known.lock().unwrap().insert(id.to_owned());
                done(id)
            }
            (_, id) if known.lock().unwrap().contains(id) => done(id),
            _ => Reply::new(404, r#"{"error":{"code":404,"errors":[{"reason":"notFound"}]}}"#),
        }
    })
}

#[dag]
fn adds() {
    let mut how = BigQueryLoad::into("d.t$20210101");
    how.options.add_columns = true;
    tasks::load_bigquery(object(), "conn:warehouse", how);
}

#[dag]
fn relaxes() {
    let mut how = BigQueryLoad::into("d.t");
    (how.options.add_columns, how.options.relax_columns) = (true, true);
    tasks::load_bigquery(object(), "conn:warehouse", how);
}

/// What a table requires stays so unless the load is to change that. Of a partition it is that of the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_by_bigquerys_own_job_changes_columns_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.csv"), "id,town\n1,Bonn\n").unwrap();
    let made = tasks::parquetize(&Context::test().with_home(folder.path()), LocalFile::new("t.csv")).unwrap();
    let server = requiring(std::fs::read(made.path).unwrap());
    for (test, update, mode) in [
        (adds::test(), json!(["ALLOW_FIELD_ADDITION"]), "REQUIRED"),
        (relaxes::test(), json!(["ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION"]), "NULLABLE"),
    ] {
        let warehouse = Place::new("bigquery://p").option("bigquery_emulator_host", &server.url);
        let lake = Place::new("gs://lake").option("storage_emulator_host", &server.url);
        test.connection("warehouse", warehouse).connection("lake", lake).run().await.succeeded();
        let requests = server.requests();
        let submitted = requests.iter().rev().find(|request| request.method == "POST").unwrap();
        let load = serde_json::from_slice::<Value>(&submitted.body).unwrap()["configuration"]["load"].clone();
        assert_eq!(load["schemaUpdateOptions"], update);
        let id = json!({ "name": "id", "type": "INTEGER", "mode": mode });
        let town = json!({ "name": "town", "type": "STRING", "mode": "NULLABLE" });
        assert_eq!(load["schema"]["fields"], json!([id, town]));
    }
}
