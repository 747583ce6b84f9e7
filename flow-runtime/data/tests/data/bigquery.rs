//! Loads and queries on the fake of BigQuery: once each, whatever breaks.

use std::path::PathBuf;
use std::time::Duration;

use flow_data::{
    BigQuery, ColumnType, Error, Field, Format, LoadOptions, LoadSource, ParquetOptions, Partition, Schema,
    TableColumn, Type, Write, parquetize, read_parquet_schema,
};
use serde_json::json;

use crate::files::{trip_schema, trips, write};
use crate::google::{Fault, Google};
use crate::tables::{self, Value};

const TABLE: &str = "trips.yellow";
const WHOLE: &str = "project-1.trips.yellow";
const FILES: LoadSource<'_> = LoadSource::Objects(&["gs://lake/a.csv", "gs://lake/b.csv"]);

/// A fake with seven rows in two files.
fn start() -> (Google, BigQuery, LoadOptions) {
    let google = Google::start();
    google.cloud().storage.put("lake/a.csv", "id,note\n1,a\n2,b\n3,c\n");
    google.cloud().storage.put("lake/b.csv", "id,note\n4,a\n5,b\n6,c\n7,d\n");
    google.cloud().storage.put("lake/wrong.csv", "id,note\n1,a\ntwo,b\n3,c\nfour,d\n");
    let bigquery = connect(&google);
    (google, bigquery, csv())
}

fn connect(google: &Google) -> BigQuery {
    // Credentials are stated, so the emulator's address is only an address.
    let key = google.home().join(".google/credentials/google_credentials.json");
    let lake = google.lake().with("BIGQUERY_EMULATOR_HOST", &google.server.url);
    BigQuery::new(&lake.with("GOOGLE_SERVICE_ACCOUNT", key.to_str().unwrap())).unwrap()
}

fn csv() -> LoadOptions {
    let schema = Schema::new([("id", Type::Int), ("note", Type::Text)]);
    LoadOptions { format: Format::Csv, schema: Some(schema), ..LoadOptions::default() }
}

#[tokio::test]
async fn a_load_is_done_once_and_its_table_is_as_stated() {
    let (google, bigquery, _) = start();
    let folder = tempfile::tempdir().unwrap();
    let source = write(folder.path(), "trips.csv", trips(100));
    let parquet = folder.path().join("trips.parquet");
    parquetize(&source, &parquet, &trip_schema(), &ParquetOptions::default(), &()).unwrap();
    google.lake().upload(&parquet, "gs://lake/raw/", &()).await.unwrap();
    let options = LoadOptions {
        schema: Some(read_parquet_schema(&parquet).unwrap()),
        partition: Some(Partition::day("picked_up")),
        cluster: vec!["flag".into()],
        ..LoadOptions::default()
    };
    let source = LoadSource::Objects(&["gs://lake/raw/trips.parquet"]);
    let first = bigquery.load(source, TABLE, "taxi-2021-01", &options, &()).await.unwrap();
    assert_eq!((first.rows, first.reused, first.table.as_str()), (100, false, WHOLE));
    assert_eq!(first.bytes, parquet.metadata().unwrap().len());
    let again = bigquery.load(source, TABLE, "taxi-2021-01", &options, &()).await.unwrap();
    assert_eq!(again, flow_data::LoadJob { reused: true, ..first });
    assert_eq!(google.cloud().jobs.loads, 1);

    let table = bigquery.table(TABLE).await.unwrap().unwrap();
    assert_eq!((table.rows, table.partitioned_by.as_deref()), (100, Some("picked_up")));
    assert_eq!(table.clustered_by, ["flag"]);
    let kinds: Vec<_> = table.columns.iter().map(|c| c.kind.as_str()).collect();
    assert_eq!(kinds, ["INTEGER", "DATETIME", "DATE", "FLOAT", "BOOLEAN", "STRING"]);
    assert_eq!(bigquery.table("trips.none").await.unwrap(), None);
}

#[tokio::test]
async fn an_id_means_one_load() {
    let (google, bigquery, options) = start();
    bigquery.load(FILES, TABLE, "one", &options, &()).await.unwrap();
    let other = LoadOptions { write: Write::Replace, ..options.clone() };
    let conflicts = [
        bigquery.load(FILES, TABLE, "one", &other, &()).await,
        bigquery.load(FILES, "trips.green", "one", &options, &()).await,
        bigquery.load(LoadSource::Objects(&["gs://lake/a.csv"]), TABLE, "one", &options, &()).await,
    ];
    for outcome in conflicts {
        assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
    }
    assert_eq!(google.cloud().jobs.rows(WHOLE), 7);
    for id in ["", "a b", "a/b", "é"] {
        let error = bigquery.load(FILES, TABLE, id, &options, &()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
}

#[tokio::test]
async fn rows_are_added_or_replaced_in_the_table_or_in_a_partition() {
    let (google, bigquery, options) = start();
    let replace = LoadOptions { write: Write::Replace, add_columns: false, ..options.clone() };
    let one = LoadSource::Objects(&["gs://lake/a.csv"]);
    let day = "trips.yellow$20210101";
    let rows = || google.cloud().jobs.rows(WHOLE);
    bigquery.load(FILES, day, "1", &options, &()).await.unwrap();
    bigquery.load(FILES, "trips.yellow$20210102", "2", &options, &()).await.unwrap();
    assert_eq!(rows(), 14);
    bigquery.load(one, day, "3", &replace, &()).await.unwrap();
    assert_eq!(rows(), 10, "the other day stays");
    let widened = LoadOptions { add_columns: true, ..replace.clone() };
    bigquery.load(one, TABLE, "5", &replace, &()).await.unwrap();
    assert_eq!(rows(), 3);
    let error = bigquery.load(one, TABLE, "6", &widened, &()).await.unwrap_err();
    assert!(error.to_string().contains("$20210101"), "{error}");
    let empty = LoadOptions { write: Write::IfEmpty, ..options.clone() };
    let error = bigquery.load(one, TABLE, "7", &empty, &()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("Already Exists"), "{error}");
    let existing = LoadOptions { only_existing: true, ..options };
    let error = bigquery.load(one, "trips.none", "8", &existing, &()).await.unwrap_err();
    assert!(error.to_string().contains("Not found: Table"), "{error}");
    assert_eq!(rows(), 3);
}

/// The columns of the table, a question mark behind those that may be null.
async fn columns(bigquery: &BigQuery) -> String {
    let table = bigquery.table(TABLE).await.unwrap().unwrap();
    let shown = |c: &TableColumn| format!("{}{}", c.name, if c.mode == "REQUIRED" { "" } else { "?" });
    table.columns.iter().map(shown).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn columns_are_added_and_relaxed_where_that_is_allowed() {
    let google = Google::start();
    let bigquery = connect(&google);
    let folder = tempfile::tempdir().unwrap();
    let field = |name: &str, nullable| Field { name: name.into(), kind: ColumnType::Int64, nullable };
    let load = async |job: &str, table: &str, fields: &[Field], options: LoadOptions| {
        let path = folder.path().join("f.parquet");
        tables::write(&path, fields, &[vec![Value::Int(1); fields.len()]], 1);
        google.cloud().storage.put("lake/f.parquet", std::fs::read(&path).unwrap());
        let options = LoadOptions { fields: Some(fields.to_vec()), ..options };
        bigquery.load(LoadSource::Objects(&["gs://lake/f.parquet"]), table, job, &options, &()).await
    };
    let plain = LoadOptions::default;
    load("1", TABLE, &[field("a", false)], plain()).await.unwrap();
    let (wider, looser) = ([field("a", false), field("b", true)], [field("a", true), field("b", true)]);
    let error = load("2", TABLE, &wider, plain()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("Cannot add fields (field: b)"), "{error}");
    let add = || LoadOptions { add_columns: true, ..LoadOptions::default() };
    let error = load("3", TABLE, &[field("a", false), field("b", false)], add()).await.unwrap_err();
    assert!(error.to_string().contains("Cannot add required fields"), "{error}");
    let day = LoadOptions { write: Write::Replace, ..add() };
    load("4", "trips.yellow$20210101", &wider, day).await.unwrap();
    assert_eq!(columns(&bigquery).await, "a b?");
    let error = load("5", TABLE, &looser, add()).await.unwrap_err();
    assert!(error.to_string().contains("(field: a)"), "{error}");
    load("6", TABLE, &looser, LoadOptions { relax_columns: true, ..plain() }).await.unwrap();
    assert_eq!(columns(&bigquery).await, "a? b?");
}

#[tokio::test]
async fn a_new_table_of_a_text_file_has_stated_columns() {
    let (google, bigquery, options) = start();
    let unstated = LoadOptions { schema: None, ..options.clone() };
    let error = bigquery.load(FILES, TABLE, "1", &unstated, &()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("No schema specified"), "{error}");
    bigquery.load(FILES, TABLE, "2", &options, &()).await.unwrap();
    bigquery.load(FILES, TABLE, "3", &unstated, &()).await.unwrap();
    assert_eq!(columns(&bigquery).await, "id? note?");
    assert_eq!(google.cloud().jobs.rows(WHOLE), 14);
}

#[tokio::test]
async fn faults_on_the_way_are_outlived_and_the_load_is_done_once() {
    for request in ["POST /bigquery/v2/projects/project-1/jobs", "GET /bigquery/v2/projects/project-1/jobs/one"] {
        for fault in [
            Fault::Busy(503),
            Fault::Busy(429),
            Fault::Status(500),
            Fault::Limited,
            Fault::Reset,
            Fault::Lost,
            Fault::Expired,
            Fault::Cut(9),
        ] {
            let (google, bigquery, options) = start();
            google.fault(request, fault);
            let loaded = bigquery.load(FILES, TABLE, "one", &options, &()).await;
            let loaded = loaded.unwrap_or_else(|e| panic!("{request} {fault:?}: {e:?}"));
            assert_eq!((loaded.rows, google.faults_left()), (7, 0), "{request} {fault:?}");
            assert_eq!(google.cloud().jobs.rows(WHOLE), 7, "{request} {fault:?}");
            assert_eq!(google.cloud().jobs.ids(), ["one"], "{request} {fault:?}");
        }
    }
}

#[tokio::test]
async fn what_is_refused_says_why_and_is_not_asked_again() {
    let (google, bigquery, options) = start();
    let source = LoadSource::Objects(&["gs://lake/wrong.csv"]);
    let error = bigquery.load(source, TABLE, "wrong", &options, &()).await.unwrap_err();
    let text = error.to_string();
    assert!(error.is_permanent(), "{error:?}");
    for part in ["'two'", "\"id\"", "row 2", "'four'", "row 4", "file-00000000", "bigquery://project-1/wrong"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(google.cloud().jobs.ids(), ["wrong"]);
    // Somebody mended the file: the id is used again, as the next of its kind.
    google.cloud().storage.put("lake/wrong.csv", "id,note\n1,a\n2,b\n");
    let loaded = bigquery.load(source, TABLE, "wrong", &options, &()).await.unwrap();
    assert_eq!((loaded.job.as_str(), loaded.rows, loaded.reused), ("wrong-2", 2, false));
    let again = bigquery.load(source, TABLE, "wrong", &options, &()).await.unwrap();
    assert_eq!((again.job.as_str(), again.reused), ("wrong-2", true));

    let none = LoadSource::Objects(&["gs://lake/none"]);
    let error = bigquery.load(none, TABLE, "none", &options, &()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("Not found: URI"), "{error}");
    assert_eq!(google.count("POST /bigquery/v2/projects/project-1/jobs"), 6);
}

#[tokio::test]
async fn a_job_that_broke_is_followed_by_another() {
    let (google, bigquery, options) = start();
    google.cloud().jobs.fail = vec!["backendError".into(), "internalError".into()];
    let loaded = bigquery.load(FILES, TABLE, "one", &options, &()).await.unwrap();
    assert_eq!((loaded.job.as_str(), loaded.rows), ("one-3", 7));
    assert_eq!(google.cloud().jobs.rows(WHOLE), 7);
}

/// What is left of a load whose process died: nothing, a job that was submitted, one that runs, one that has ended.
#[tokio::test]
async fn a_load_that_was_dropped_anywhere_takes_effect_once() {
    let (google, _, options) = start();
    let mut random = fastrand::Rng::with_seed(7);
    let mut dropped = 0;
    for n in 0..34 {
        let id = format!("run-{n}");
        for _ in 0..3 {
            // A new client each time, as a new process has.
            let bigquery = connect(&google);
            let patience = Duration::from_millis(random.u64(..400));
            let load = bigquery.load(FILES, TABLE, &id, &options, &());
            dropped += usize::from(tokio::time::timeout(patience, load).await.is_err());
        }
        let loaded = connect(&google).load(FILES, TABLE, &id, &options, &()).await.unwrap();
        assert_eq!((loaded.rows, loaded.job), (7, id));
        assert_eq!(google.cloud().jobs.loads, n + 1);
        assert_eq!(google.cloud().jobs.rows(WHOLE), 7 * (n as u64 + 1));
    }
    assert!(dropped > 0, "none of 102 was dropped on its way");
}

/// Two pieces and a bit, a record each line.
fn large(folder: &std::path::Path) -> (PathBuf, u64) {
    let rows = 160_000;
    let text: String = (0..rows).map(|n| format!("{{\"id\": {n}, \"note\": \"{:0>100}\"}}\n", n)).collect();
    assert!(text.len() > 17 << 20);
    (write(folder, "large.jsonl", text), rows)
}

#[tokio::test]
async fn a_local_file_goes_up_in_pieces_and_continues_where_it_broke_off() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rows) = large(folder.path());
    let options = LoadOptions { format: Format::JsonLines, ..csv() };
    let begin = "POST /upload/";
    let piece = "PUT /upload/";
    for (request, faults) in [
        (begin, vec![Fault::Busy(503)]),
        (begin, vec![Fault::Lost]),
        (piece, vec![Fault::Busy(503), Fault::Reset]),
        (piece, vec![Fault::Lost]),
        (piece, vec![Fault::Expired]),
        (piece, vec![]),
    ] {
        let google = Google::start();
        let bigquery = connect(&google);
        google.cloud().jobs.half = faults.is_empty();
        faults.iter().for_each(|fault| google.fault(request, *fault));
        let last = std::sync::atomic::AtomicU64::new(0);
        let progress = |done, _| last.store(done, std::sync::atomic::Ordering::SeqCst);
        let loaded = bigquery.load(LoadSource::File(&path), TABLE, "one", &options, &progress).await;
        let loaded = loaded.unwrap_or_else(|e| panic!("{request} {faults:?}: {e:?}"));
        assert_eq!((loaded.rows, loaded.reused, google.faults_left()), (rows, false, 0), "{request} {faults:?}");
        assert_eq!(last.into_inner(), path.metadata().unwrap().len());
        let sent = google.count(piece);
        let again = bigquery.load(LoadSource::File(&path), TABLE, "one", &options, &()).await.unwrap();
        assert!(again.reused && google.count(piece) == sent, "nothing is sent twice");
        assert_eq!(google.cloud().jobs.rows(WHOLE), rows);
    }
}

/// The very last answer is lost: the job runs, and nobody was told.
#[tokio::test]
async fn a_file_whose_last_answer_is_lost_is_loaded_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "f.jsonl", "{\"id\": 1}\n{\"id\": 2}\n");
    let options = LoadOptions { format: Format::JsonLines, ..csv() };
    for refuses_after in [false, true] {
        let google = Google::start();
        google.fault("PUT /upload/", Fault::Lost);
        if refuses_after {
            google.fault("PUT /upload/", Fault::Status(410));
        }
        let loaded = connect(&google).load(LoadSource::File(&path), TABLE, "one", &options, &()).await.unwrap();
        assert_eq!((loaded.rows, loaded.job.as_str()), (2, "one"));
        assert_eq!(google.cloud().jobs.rows(WHOLE), 2);
    }
}

#[tokio::test]
async fn a_query_has_typed_rows_of_several_pages() {
    let (google, bigquery, _) = start();
    let sql = "SELECT id, at FROM trips.yellow";
    let fields = json!([{ "name": "id", "type": "INTEGER" }, { "name": "at", "type": "TIMESTAMP" }]);
    let row = |id: i64| json!({ "f": [{ "v": id.to_string() }, { "v": "253402300799999999" }] });
    google.cloud().jobs.answers.insert(sql.into(), (fields, (1..=5).map(row).collect()));
    google.fault("GET /bigquery/v2/projects/project-1/queries/", Fault::Busy(503));
    google.fault("POST /bigquery/v2/projects/project-1/queries", Fault::Lost);
    let answer = bigquery.query(sql).await.unwrap();
    assert_eq!(answer.columns, ["id", "at"]);
    assert_eq!(answer.rows.len(), 5);
    assert_eq!(answer.rows[4], [json!(5), json!("9999-12-31T23:59:59.999999Z")]);
    assert_eq!(bigquery.cost(sql).await.unwrap(), 4_096);
    let error = bigquery.query("SELECT oops").await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("Syntax error"), "{error}");
}

#[tokio::test]
async fn a_project_is_needed_and_an_emulator_needs_no_credentials() {
    let home = tempfile::tempdir().unwrap();
    let google = Google::start();
    let lake = flow_data::Lake::new().with("HOME", home.path().to_str().unwrap());
    let lake = lake.with("BIGQUERY_EMULATOR_HOST", &google.server.url);
    let error = BigQuery::new(&lake).unwrap_err();
    assert!(error.to_string().contains("GOOGLE_CLOUD_PROJECT"), "{error}");
    let bigquery = BigQuery::new(&lake.with("GOOGLE_CLOUD_PROJECT", "p")).unwrap();
    assert_eq!(bigquery.project(), "p");
    let error = bigquery.table(TABLE).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("401"), "{error}");
    assert_eq!(google.granted(), 0);
}
