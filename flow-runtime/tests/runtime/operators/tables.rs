//! A job that a retry finds again.

use super::server::{Reply, Request, Server};
use flow_runtime::connection::Place;
use flow_runtime::data::{LoadJob, Schema, Type, Uploaded};
use flow_runtime::prelude::*;
use flow_runtime::tasks::{self, BigQueryLoad};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;

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
