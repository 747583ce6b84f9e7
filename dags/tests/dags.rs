//! Each task as a plain function, each DAG as a whole in memory. No network, no server.

use dags::month::Month;
use dags::source::{Columns, SAMPLE};
use dags::taxi::{parquetize, summary, taxi};
use dags::taxi_extract::taxi_extract;
use dags::taxi_months::{locate, months, taxi_months};
use dags::taxi_postgres::{ingest, taxi_postgres, verify};
use flow_runtime::Context;
use flow_runtime::data::{Download, LoadReport, Loaded, Summary, Unloaded, Uploaded, execute, read_parquet_schema};
use flow_runtime::operators::Connection;
use flow_runtime::tasks::{download, load, upload};
use serde_json::Value;

/// The sample, downloaded into the home folder of this context.
async fn sample(ctx: &Context) -> Download {
    download(ctx, SAMPLE.into()).await.unwrap()
}

fn context() -> (Context, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    (Context::test().with_home(home.path()), home)
}

#[tokio::test]
async fn download_fetches_once() {
    let (ctx, _home) = context();
    let (first, second) = (sample(&ctx).await, sample(&ctx).await);
    assert_eq!((first.reused, second.reused, first.sha256 == second.sha256), (false, true, true));
    assert!(first.path.starts_with(ctx.home().join("downloads")));
    let error = download(&ctx, "file:///nothing/here.csv".into()).await.unwrap_err().to_string();
    assert!(error.contains("/nothing/here.csv"), "{error}");
}

#[tokio::test]
async fn parquetize_keeps_every_row_and_column() {
    let (ctx, _home) = context();
    let csv = sample(&ctx).await;
    let parquet = tokio::task::spawn_blocking(move || parquetize(&ctx, &csv, Columns::Yellow)).await.unwrap().unwrap();
    assert_eq!((parquet.rows, parquet.columns.len()), (2000, 18));
}

#[tokio::test]
async fn upload_and_load_bring_the_rows_into_a_table_once() {
    let (ctx, _home) = context();
    let csv = sample(&ctx).await;
    let parquet = parquetize(&ctx, &csv, Columns::Yellow).unwrap();
    let object = upload(&ctx, (&parquet).into(), "lake".into()).await.unwrap();
    assert_eq!(object.bytes, parquet.bytes);
    assert!(object.url.starts_with(&ctx.in_home("lake")), "{}", object.url);
    for replaced in [0, 2000] {
        let loaded = load(&ctx, &object, Connection::new("sqlite://w.db"), "trips".into()).await.unwrap();
        assert_eq!((loaded.rows, loaded.replaced), (2000, replaced));
        let report = summary(&ctx, &object, &loaded, "sqlite://w.db".into()).await.unwrap();
        let report = serde_json::to_value(report).unwrap();
        assert_eq!((&report["rows"], report["first_rows"].as_array().unwrap().len()), (&2000.into(), 5));
    }
}

#[tokio::test]
async fn ingest_and_verify_use_the_embedded_database_when_none_is_named() {
    let (ctx, _home) = context();
    let csv = sample(&ctx).await;
    let loaded = ingest(&ctx, &csv, Columns::Yellow, None, "t".into()).await.unwrap();
    assert_eq!(loaded.rows, 2000);
    assert_eq!(verify(&ctx, &loaded, None).await.unwrap().rows, 2000);
    let wrong = Loaded { rows: 1999, ..loaded };
    let error = verify(&ctx, &wrong, None).await.unwrap_err().to_string();
    assert_eq!(error, "1999 rows were loaded, and 2000 are there");
}

/// A budget of memory ends row groups earlier: the same rows are another file.
#[tokio::test]
async fn parquetize_heeds_a_budget_of_memory() {
    let (ctx, home) = context();
    let rows: String = (0..60_000).map(|n| format!("{n},{}\n", "x".repeat(90))).collect();
    std::fs::write(home.path().join("in.csv"), format!("id,text\n{rows}")).unwrap();
    let csv = download(&ctx, format!("file://{}/in.csv", home.path().display())).await.unwrap();
    let whole = parquetize(&ctx, &csv, Columns::Infer).unwrap();
    let parts = parquetize(&ctx.with_memory(1_000_000), &csv, Columns::Infer).unwrap();
    assert_eq!((whole.rows, parts.rows), (60_000, 60_000));
    assert_ne!(parts.bytes, whole.bytes);
}

#[tokio::test]
async fn ingest_leaves_a_table_of_other_types_as_it_is() {
    let (ctx, _home) = context();
    let csv = sample(&ctx).await;
    ingest(&ctx, &csv, Columns::Yellow, None, "t".into()).await.unwrap();
    let database = ctx.in_home("sqlite://warehouse.db");
    let other = "CREATE TABLE other AS SELECT * FROM t WHERE false; ALTER TABLE other DROP COLUMN fare_amount; \
                 ALTER TABLE other ADD COLUMN fare_amount TEXT";
    execute(&database, other).await.unwrap();
    let error = ingest(&ctx, &csv, Columns::Yellow, None, "other".into()).await.unwrap_err().to_string();
    assert!(error.contains("it does not fit the file") && error.contains("fare_amount"), "{error}");
}

#[test]
fn taxi_runs_whole_in_memory() {
    let run = taxi::test().param("table", "january").run_blocking().succeeded();
    assert_eq!(run.order(), ["download", "parquetize", "upload", "load", "summary"]);
    assert_eq!(run.value::<Value>("summary")["rows"], 2000);
    assert_eq!(run.value::<LoadReport>("load").table, "january");
}

#[test]
fn what_taxi_has_loaded_comes_back() {
    let loaded = taxi::test().run_blocking().succeeded();
    let warehouse = format!("sqlite://{}", loaded.home().join("warehouse.db").display());
    let query = "select fare_amount, tip_amount from trips where fare_amount > 20";
    let run = taxi_extract::test().param("warehouse", warehouse).param("query", query).run_blocking().succeeded();
    let (unloaded, object) = (run.value::<Unloaded>("unload"), run.value::<Uploaded>("upload_as"));
    assert!(unloaded.rows > 0 && unloaded.rows < 2000, "{unloaded:?}");
    let file = run.home().join("lake/extract.parquet");
    assert_eq!((object.url, object.bytes), (file.display().to_string(), unloaded.bytes));
    let columns: Vec<_> = read_parquet_schema(&file).unwrap().columns().iter().map(|c| c.name.clone()).collect();
    assert_eq!(columns, ["fare_amount", "tip_amount"]);
}

#[test]
fn taxi_tries_a_download_again_that_failed() {
    let run = taxi::test()
        .replace::<Download>("download", |_| Err(flow_runtime::prelude::anyhow!("the server hung up")))
        .run_blocking()
        .failed();
    assert_eq!((run.tries("download"), run.state("summary").name()), (4, "upstream_failed"));
    assert!(run.took().as_secs() >= 10 + 20 + 40, "it waited, and longer each time: {:?}", run.took());
}

#[test]
fn taxi_postgres_runs_whole_in_memory() {
    let run = taxi_postgres::test().run_blocking().succeeded();
    assert_eq!(run.order(), ["download", "ingest", "verify"]);
    let verified: Summary = run.value("verify");
    assert_eq!((verified.rows, verified.table.as_str()), (2000, "yellow_taxi_trips"));
}

#[test]
fn a_file_with_other_columns_is_refused_before_it_is_loaded() {
    let run = taxi_postgres::test().param("columns", Columns::Yellow);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.csv"), "a,b\n1,2\n").unwrap();
    let url = format!("file://{}/x.csv", folder.path().display());
    let run = run.param("url", url).run_blocking().failed();
    assert!(run.cause("ingest").contains("VendorID"), "{}", run.cause("ingest"));
    assert_eq!(run.tries("ingest"), 1, "no retry adds a column");
}

#[test]
fn a_month_has_a_place_of_its_own() {
    let (ctx, _home) = context();
    let march = Month::new(2021, 3);
    let url = locate(&ctx, march, Some("https://example.com/{month}.csv".into()), 0).unwrap();
    assert_eq!(url, "https://example.com/2021-03.csv");
    let error = locate(&ctx, march, Some("https://example.com/x.csv".into()), 0).unwrap_err().to_string();
    assert!(error.contains("names no {month}"), "{error}");
    let made = [(); 2].map(|()| locate(&ctx, march, None, 10).unwrap());
    assert_eq!(made[0], made[1]);
    let text = std::fs::read_to_string(made[0].trim_start_matches("file://")).unwrap();
    assert_eq!((text.lines().count(), text.contains(",2021-03-0")), (11, true));
    assert!(months(march, Month::new(2021, 2)).is_err());
}

#[test]
fn taxi_months_runs_whole_in_memory() {
    let run = taxi_months::test().param("to", "2021-03").param("trips", 20).run_blocking().succeeded();
    assert_eq!(run.value::<Value>("total"), serde_json::json!({"months": 3, "rows": 60, "most": 20}));
    assert_eq!(run.values::<LoadReport>("month.load").len(), 3);
}
