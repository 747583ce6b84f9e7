//! Real counterparts: `tests/emulators/run.py` installs and starts them, and `just emulators` runs that.
//!
//! Without them the tests fail; they are left out of an ordinary run. What each emulator cannot do stands at its test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flow_data::{
    BigQuery, DownloadOptions, Error, Input, Lake, LoadOptions, LoadSource, ParquetOptions, Partition, Request, Schema,
    TableLoadOptions, Type, Warehouse, When, Write, ask, download_with, parquetize, read_parquet_schema, request,
    settled,
};
use serde_json::json;

#[path = "../data/bq_modes.rs"]
mod bq_modes;
#[allow(dead_code, reason = "the other suite uses more of it")]
#[path = "../data/google/mod.rs"]
mod google;
#[path = "../../../../tests/support/server.rs"]
mod server;
#[allow(dead_code, reason = "the other suite uses more of it")]
#[path = "../data/tables.rs"]
mod tables;

const PART: usize = 8 << 20;

fn stated(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/emulators/run.py"))
}

fn write(folder: &Path, name: &str, length: usize) -> PathBuf {
    let content: Vec<u8> = (0..length).map(|n| (n * 31 + n / 251 + name.len()) as u8).collect();
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn s3() -> Lake {
    let options = [
        ("AWS_ENDPOINT", stated("FLOW_TEST_S3")),
        ("AWS_ACCESS_KEY_ID", "me".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "hush".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ];
    options.into_iter().collect()
}

fn azure() -> Lake {
    let options = [
        ("AZURE_STORAGE_ENDPOINT", stated("FLOW_TEST_AZURE")),
        ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1".to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", stated("FLOW_TEST_AZURE_KEY")),
    ];
    options.into_iter().collect()
}

/// What holds for every store: files of one request and of many parts, conditions, lists, copies, downloads.
async fn everything(lake: &Lake, top: &str) {
    let folder = tempfile::tempdir().unwrap();
    for size in [0, 1_000, PART + 5] {
        let (old, new) = (write(folder.path(), "old", size), write(folder.path(), "newer", size + 1));
        let url = format!("{top}/raw a/{size}.bin");
        let sent = lake.upload_when(&old, &url, &When::Absent, &()).await.unwrap();
        lake.upload_when(&old, &url, &When::Absent, &()).await.unwrap();
        let error = lake.upload_when(&new, &url, &When::Absent, &()).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{url}: {error:?}");
        let there = lake.head(&url).await.unwrap().unwrap();
        assert_eq!((there.bytes, there.sha256), (size as u64, Some(sent.sha256.clone())), "{url}");
        let back = lake.fetch(&url, folder.path().join("back"), &()).await.unwrap();
        assert_eq!(back.sha256, sent.sha256, "{url}");

        let seen = When::Unchanged(there.version);
        lake.upload_when(&new, &url, &seen, &()).await.unwrap();
        let error = lake.upload_when(&old, &url, &seen, &()).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{url}: {error:?}");
        let options = DownloadOptions { lake: lake.clone(), ..DownloadOptions::default() };
        for reused in [false, true] {
            let done = download_with(&url, folder.path().join(format!("d{size}")), &options, &()).await.unwrap();
            assert_eq!((done.bytes, done.reused), (size as u64 + 1, reused), "{url}");
        }
    }
    let list = async |prefix: &str| lake.list(&format!("{top}{prefix}")).await.unwrap().len();
    settled().await;
    assert_eq!((list("/").await, list("/raw a/").await, list("/raw a/1").await, list("/none").await), (3, 3, 1, 0));
    let (from, to) = (format!("{top}/raw a/1000.bin"), format!("{top}/copy.bin"));
    lake.copy(&from, &to, &When::Absent).await.unwrap();
    let error = lake.copy(&format!("{top}/raw a/0.bin"), &to, &When::Absent).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    assert_eq!(lake.size(&to).await.unwrap(), Some(1_001));
    lake.delete(&to).await.unwrap();
    lake.delete(&to).await.unwrap();
    assert_eq!(lake.size(&to).await.unwrap(), None);
}

/// Drops an upload in parts once the first parts are on their way.
async fn dropped(lake: &Lake, url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let large = write(folder.path(), "large", 6 * PART);
    let sent = tokio::sync::Notify::new();
    let progress = |done, _| {
        if done > PART as u64 {
            sent.notify_one();
        }
    };
    tokio::select! {
        outcome = lake.upload(&large, url, &progress) => panic!("not yet: {outcome:?}"),
        () = sent.notified() => {}
    }
    settled().await;
    assert_eq!(lake.size(url).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs moto: tests/emulators/run.py"]
async fn moto_is_s3() {
    let lake = s3();
    everything(&lake, "s3://lake/all").await;
    dropped(&lake, "s3://lake/dropped").await;
    let left = lake.clean("s3://lake/", Duration::ZERO).await.unwrap();
    assert_eq!((left.uploads, left.objects), (0, 0), "nothing was left");
}

/// What a killed process leaves in S3.
#[test]
#[ignore = "needs moto: tests/emulators/run.py"]
fn moto_forgets_what_a_killed_process_left() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dying = runtime();
    let folder = tempfile::tempdir().unwrap();
    let large = write(folder.path(), "large", 6 * PART);
    dying.block_on(async {
        let sent = tokio::sync::Notify::new();
        let progress = |_, _| sent.notify_one();
        let lake = s3();
        tokio::select! {
            outcome = lake.upload(&large, "s3://lake/killed/f", &progress) => panic!("not yet: {outcome:?}"),
            () = sent.notified() => {}
        }
    });
    // Whatever would have cleaned up ends with the runtime.
    dying.shutdown_background();
    let cleaned = runtime().block_on(s3().clean("s3://lake/killed/", Duration::ZERO)).unwrap();
    assert_eq!(cleaned.uploads, 1);
}

#[tokio::test]
#[ignore = "needs azurite: tests/emulators/run.py"]
async fn azurite_is_azure() {
    let lake = azure();
    everything(&lake, "az://lake/all").await;
    dropped(&lake, "az://lake/dropped").await;
}

fn trips(folder: &Path) -> (PathBuf, Schema) {
    let csv = folder.join("trips.csv");
    let rows = (0..1_000).map(|n| format!("{n},2021-01-{:02} 08:00:00,{}.5,N\n", n % 28 + 1, n % 7));
    std::fs::write(&csv, format!("id,picked_up,fare,flag\n{}", rows.collect::<String>())).unwrap();
    let types = [("id", Type::Int), ("picked_up", Type::Timestamp), ("fare", Type::Float), ("flag", Type::Text)];
    let parquet = folder.join("trips.parquet");
    parquetize(&csv, &parquet, &Schema::new(types), &ParquetOptions::default(), &()).unwrap();
    let schema = read_parquet_schema(&parquet).unwrap();
    (parquet, schema)
}

/// fake-gcs-server has no XML uploads, so the object comes by the JSON API; bqemulator reads it from the same folder. It takes
/// a job's id a second time and loads twice, so that is for the fake in the other suite.
#[tokio::test]
#[ignore = "needs fake-gcs-server and bqemulator: tests/emulators/run.py"]
async fn an_object_in_googles_storage_is_loaded_and_queried() {
    let folder = tempfile::tempdir().unwrap();
    let (parquet, schema) = trips(folder.path());
    let gcs = stated("FLOW_TEST_GCS");
    let url = format!("{gcs}/upload/storage/v1/b/lake/o?uploadType=media&name=raw/trips.parquet");
    let put = Request {
        method: "POST",
        url: &url,
        headers: vec![("Content-Type", "application/octet-stream")],
        body: &std::fs::read(&parquet).unwrap(),
        timeout: Duration::from_secs(30),
        most_bytes: 1 << 20,
    };
    assert_eq!(request(&put).await.unwrap().status, 200);
    let lake = Lake::new().with("STORAGE_EMULATOR_HOST", &gcs).with("GOOGLE_CLOUD_PROJECT", "project-1");
    let source = "gs://lake/raw/trips.parquet";
    lake.fetch(source, folder.path().join("back"), &()).await.unwrap();
    assert_eq!(std::fs::read(folder.path().join("back")).unwrap(), std::fs::read(&parquet).unwrap());
    let lake = lake.with("BIGQUERY_EMULATOR_HOST", stated("FLOW_TEST_BIGQUERY"));
    load_and_query(&BigQuery::new(&lake).unwrap(), source, &parquet, schema, "trips").await;
}

/// The statements of a warehouse's load mean in BigQuery's language what they should.
#[tokio::test]
#[ignore = "needs bqemulator: tests/emulators/run.py"]
async fn the_warehouse_has_its_modes_in_bigquery() {
    let lake = Lake::new().with("BIGQUERY_EMULATOR_HOST", stated("FLOW_TEST_BIGQUERY"));
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::open("bigquery://project-1/trips").unwrap().with_lake(lake);
    let whole = "project-1.trips.t";
    bq_modes::each_mode_keeps_and_replaces_what_it_says(&warehouse, whole, folder.path()).await;
}

/// Every type, and a list that is null. Moments are microseconds here whether that is asked for or not, and small numbers have an
/// exponent.
#[tokio::test]
#[ignore = "needs bqemulator: tests/emulators/run.py"]
async fn a_table_of_bigquery_comes_back_the_same() {
    let lake = Lake::new().with("BIGQUERY_EMULATOR_HOST", stated("FLOW_TEST_BIGQUERY"));
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::open("bigquery://project-1/trips").unwrap().with_lake(lake);
    bq_modes::a_table_comes_back_the_same(&warehouse, folder.path()).await;
    bq_modes::a_null_list_becomes_an_empty_one(&warehouse, folder.path()).await;
}

/// The DAG `taxi` as it stands, moved to Google by its params: its own program, our fake of the storage (which checks the signature
/// of the account in the home folder), and bqemulator, which finds the objects in a folder that the fake writes too. Half-way
/// through the process is killed, and the run resumed.
///
/// The file is the sample, or what `FLOW_TEST_TAXI` names; `FLOW_TEST_TAXI_ROWS` are its rows.
#[tokio::test]
#[ignore = "needs bqemulator: tests/emulators/run.py"]
async fn taxi_moves_to_google_by_its_params() {
    let google = google::Google::start();
    google.cloud().storage.mirror = Some(stated("FLOW_TEST_GCS_ROOT").into());
    let bigquery = stated("FLOW_TEST_BIGQUERY");
    let folder = tempfile::tempdir().unwrap();
    let dags = |args: &[&str]| {
        let mut command = std::process::Command::new(stated("FLOW_TEST_DAGS"));
        let (lake, warehouse) = ("lake=gs://lake/taxi", "warehouse=bigquery://project-1/trips");
        command.args(args).current_dir(folder.path());
        if args[0] == "run" && !args.contains(&"--resume") && args[1] != "taxi_extract" {
            command.args(["-p", lake, "-p", warehouse, "-p", "table=taxi"]);
            if let Ok(url) = std::env::var("FLOW_TEST_TAXI")
                && args[1] == "taxi"
            {
                command.args(["-p", &format!("url={url}")]);
            }
        }
        command.env("HOME", google.home()).env("BIGQUERY_EMULATOR_HOST", &bigquery);
        command
    };
    let run = |args: &[&str]| {
        let output = dags(args).output().unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {told}");
    };
    let rows: u64 = std::env::var("FLOW_TEST_TAXI_ROWS").map_or(2_000, |rows| rows.parse().unwrap());
    let lake = Lake::new().with("BIGQUERY_EMULATOR_HOST", &bigquery).with("GOOGLE_CLOUD_PROJECT", "project-1");
    let warehouse = Warehouse::open("bigquery://project-1/trips").unwrap().with_lake(lake.clone());
    run(&["run", "taxi", "--run-id", "first"]);
    assert_eq!(warehouse.count("taxi", None).await.unwrap(), Some(rows));
    assert!(google.granted() > 0, "the account was asked for");

    // And back: the stock task `unload`, a table and a query of it, into files and into the storage.
    let (from, file) = (["-p", "warehouse=bigquery://project-1/trips"], folder.path().join("back.parquet"));
    let extract = |query: &str, to: &str| {
        let (query, to) = (format!("query={query}"), format!("to={to}"));
        run(&["run", "taxi_extract", from[0], from[1], "-p", &query, "-p", &to]);
    };
    extract("taxi", file.to_str().unwrap());
    let copy = format!("sqlite://{}", folder.path().join("back.db").display());
    let sqlite = Warehouse::open(&copy).unwrap();
    assert_eq!(sqlite.load(&Input::parquet(&file), "t", &TableLoadOptions::default(), &()).await.unwrap().rows, rows);
    let sums = "SELECT count(*) AS n, sum(fare_amount) AS fare";
    let there = BigQuery::new(&lake).unwrap().query(&format!("{sums} FROM `project-1.trips.taxi`")).await.unwrap();
    let back = ask(&copy, &format!("{sums} FROM t")).await.unwrap();
    assert_eq!((&there.rows[0][0], &back.rows[0][0]), (&json!(rows), &json!(rows)));
    // They may add in another order.
    let fare = |answer: &flow_data::Answer| answer.rows[0][1].as_f64().unwrap();
    assert!((fare(&there) - fare(&back)).abs() < 1e-6 && fare(&back) > 0.0, "{there:?} {back:?}");
    let before = google.cloud().storage.paths().len();
    extract("select VendorID, fare_amount from trips.taxi where fare_amount > 20", "gs://lake/taxi/dear.parquet");
    assert_eq!(google.cloud().storage.paths().len(), before + 1);

    let mut killed = dags(&["run", "taxi", "--run-id", "second"]).spawn().unwrap();
    let uploads = google.count("PUT /lake/taxi/") + google.count("POST /lake/taxi/");
    while google.count("PUT /lake/taxi/") + google.count("POST /lake/taxi/") == uploads {
        assert!(killed.try_wait().unwrap().is_none(), "it has ended before it was killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    run(&["run", "--resume", "second"]);
    assert_eq!(warehouse.count("taxi", None).await.unwrap(), Some(rows), "each row once");
    assert_eq!(google.cloud().storage.paths().len(), 2, "{:?}", google.cloud().storage.paths());

    // Many months, each on its own way, into one table.
    run(&["run", "taxi_months", "-p", "from=2021-01", "-p", "to=2021-04", "-p", "trips=500"]);
    assert_eq!(warehouse.count("taxi", None).await.unwrap(), Some(rows + 4 * 500));
}

/// The load and the questions, the same for the emulator and for a real project.
async fn load_and_query(bigquery: &BigQuery, source: &str, file: &Path, schema: Schema, dataset: &str) {
    let table = format!("{dataset}.yellow_{}", std::process::id());
    let job = format!("flow-test-{}-{}", std::process::id(), chrono::Utc::now().timestamp());
    let options = LoadOptions {
        schema: Some(schema),
        write: Write::Replace,
        partition: Some(Partition::day("picked_up")),
        ..LoadOptions::default()
    };
    let loaded = bigquery.load(LoadSource::Objects(&[source]), &table, &job, &options, &()).await.unwrap();
    assert_eq!(loaded.rows, 1_000);
    let more = LoadOptions { write: Write::Append, ..options };
    bigquery.load(LoadSource::File(file), &table, &format!("{job}-file"), &more, &()).await.unwrap();
    let whole = format!("`{}.{table}`", bigquery.project());
    let sql = format!("SELECT count(*) AS n, sum(fare) AS fare, min(picked_up) AS first FROM {whole}");
    let answer = bigquery.query(&sql).await.unwrap();
    assert_eq!(answer.columns, ["n", "fare", "first"]);
    assert_eq!(answer.rows[0][0], json!(2_000));
    assert_eq!(answer.rows[0][1], json!(6_994.0));
    let sql = format!("SELECT id FROM {whole} ORDER BY id");
    assert_eq!(bigquery.query(&sql).await.unwrap().rows.len(), 2_000);
    let info = bigquery.table(&table).await.unwrap().unwrap();
    assert_eq!((info.rows, info.columns.len()), (2_000, 4));
}

/// The same code on a real project. **It has never been run**: there was no project to run it on. It wants
/// `FLOW_LIVE_BUCKET` (a bucket's name), `FLOW_LIVE_DATASET` (a dataset in the same location), `GOOGLE_CLOUD_PROJECT`, maybe
/// `BIGQUERY_LOCATION`, and credentials; it writes objects below `flow-test/`, which it deletes, and a table, which it leaves.
#[tokio::test]
#[ignore = "needs a project at Google, and costs money"]
async fn live_gcp() {
    let (bucket, dataset) = (stated("FLOW_LIVE_BUCKET"), stated("FLOW_LIVE_DATASET"));
    let lake = Lake::new();
    let top = format!("gs://{bucket}/flow-test/{}", std::process::id());
    everything(&lake, &top).await;
    dropped(&lake, &format!("{top}/dropped")).await;
    let folder = tempfile::tempdir().unwrap();
    let (parquet, schema) = trips(folder.path());
    let source = format!("{top}/trips.parquet");
    lake.upload(&parquet, &source, &()).await.unwrap();
    load_and_query(&BigQuery::new(&lake).unwrap(), &source, &parquet, schema, &dataset).await;
    for object in lake.list(&format!("{top}/")).await.unwrap() {
        lake.delete(&object.url).await.unwrap();
    }
    assert_eq!(lake.clean(&top, Duration::ZERO).await.unwrap().uploads, 0);
}
