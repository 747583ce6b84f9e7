//! Rows of BigQuery to Parquet, on the fake: every type, every page once, whatever breaks.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use flow_data::{
    ColumnType, Error, Field, Input, Mode, Progress, Select, TableLoadOptions, UnloadOptions, Unloaded, Warehouse, ask,
    read_parquet_fields,
};
use serde_json::{Value, json};

use crate::bq_modes::{a_null_list_becomes_an_empty_one, a_table_comes_back_the_same, file, load};
use crate::bq_warehouse::{open, start};
use crate::google::{Fault, Google};

const SQL: &str = "SELECT x FROM trips.y";
const JOBS: &str = "POST /bigquery/v2/projects/project-1/jobs";
const PAGES: &str = "GET /bigquery/v2/projects/project-1/queries/flow-unload-";

/// What the query answers.
fn answer(google: &Google, fields: Value, rows: &[Value]) {
    let rows = rows.iter().map(|row| {
        let cells: Vec<_> = row.as_array().unwrap().iter().map(|value| json!({ "v": value })).collect();
        json!({ "f": cells })
    });
    google.cloud().jobs.answers.insert(SQL.into(), (fields, rows.collect()));
}

fn numbers(google: &Google, count: usize) {
    let rows: Vec<_> = (0..count).map(|n| json!([n.to_string()])).collect();
    answer(google, json!([{ "name": "n", "type": "INTEGER", "mode": "NULLABLE" }]), &rows);
}

async fn unload(warehouse: &Warehouse, to: &Path) -> Result<Unloaded, Error> {
    warehouse.unload(&Select::Query(SQL.into()), to, &UnloadOptions::default(), &()).await
}

/// What is in a file, as SQLite shows it.
async fn shown(file: &Path, columns: &str) -> Vec<Vec<Value>> {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("t.db").display());
    let sqlite = Warehouse::open(&url).unwrap();
    sqlite.load(&Input::parquet(file), "t", &TableLoadOptions::default(), &()).await.unwrap();
    ask(&url, &format!("SELECT {columns} FROM t ORDER BY rowid")).await.unwrap().rows
}

#[tokio::test]
async fn what_was_loaded_comes_back_the_same() {
    let (google, warehouse, folder) = start();
    google.cloud().jobs.page = 3;
    a_table_comes_back_the_same(&warehouse, folder.path()).await;
}

#[tokio::test]
async fn a_null_list_is_an_empty_one() {
    let (_google, warehouse, folder) = start();
    a_null_list_becomes_an_empty_one(&warehouse, folder.path()).await;
}

#[tokio::test]
async fn every_type_is_kept_to_the_last_digit() {
    let (google, warehouse, folder) = start();
    let column = |name: &str, kind: &str| json!({ "name": name, "type": kind, "mode": "NULLABLE" });
    let list = |name: &str, kind: &str| json!({ "name": name, "type": kind, "mode": "REPEATED" });
    let mut record = column("record", "RECORD");
    record["fields"] = json!([column("a", "INTEGER"), column("at", "TIMESTAMP"), list("tags", "STRING")]);
    let mut records = list("records", "RECORD");
    records["fields"] = json!([column("a", "INTEGER")]);
    let mut short = column("short", "BIGNUMERIC");
    (short["precision"], short["scale"]) = (json!("20"), json!("15"));
    let fields = json!([
        column("int", "INTEGER"),
        column("float", "FLOAT"),
        column("num", "NUMERIC"),
        column("big", "BIGNUMERIC"),
        short,
        column("flag", "BOOLEAN"),
        column("text", "STRING"),
        column("raw", "BYTES"),
        column("day", "DATE"),
        column("clock", "DATETIME"),
        column("moment", "TIMESTAMP"),
        column("time", "TIME"),
        column("doc", "JSON"),
        list("list", "INTEGER"),
        record,
        records,
    ]);
    let none = json!([null, null, null, null, null, null, null, null, null, null, null, null, null, [], null, []]);
    let rows = [
        json!([
            "-9223372036854775808", "1.5", "-99999999999999999999999999999.999999999", "0.00000000000000000000000001",
            "-12345.123456789012345", "true", "it's\n\u{0}", "AP8=", "0001-01-01", "0001-01-01T00:00:00",
            "-62135596800000000", "00:00:00", "{\"a\": [1, null]}", [{ "v": "1" }, { "v": "-2" }],
            { "f": [{ "v": "7" }, { "v": "1609459200000001" }, { "v": [{ "v": "x" }, { "v": "y" }] }] },
            [{ "v": { "f": [{ "v": "1" }] } }, { "v": { "f": [{ "v": null }] } }],
        ]),
        none,
        json!([
            "9007199254740993", "1.7976931348623157E308", "12.5", "1", "0", "false", "", "", "9999-12-31",
            "9999-12-31T23:59:59.999999", "253402300799999999", "23:59:59.999999", "null", null,
            { "f": [{ "v": null }, { "v": null }, { "v": [] }] }, null,
        ]),
    ];
    answer(&google, fields, &rows);
    let file = folder.path().join("f.parquet");
    let error = unload(&warehouse, &file).await.unwrap_err();
    assert!(
        error.is_permanent() && error.to_string().contains("column `big` is BIGNUMERIC: state its digits"),
        "{error}"
    );
    let mut options = UnloadOptions::default();
    options.fields = vec![Field::new("big", ColumnType::Decimal { precision: 38, scale: 26 })];
    let unloaded = warehouse.unload(&Select::Query(SQL.into()), &file, &options, &()).await.unwrap();
    let told: Vec<_> = unloaded.fields.iter().map(|f| format!("{} {} {}", f.name, f.kind, f.nullable)).collect();
    let want = [
        "int int64 true",
        "float float64 true",
        "num decimal(38,9) true",
        "big decimal(38,26) true",
        "short decimal(20,15) true",
        "flag bool true",
        "text text true",
        "raw bytes true",
        "day date true",
        "clock timestamp[us] true",
        "moment timestamp[us, utc] true",
        "time time[us] true",
        "doc json true",
        "list list<int64> false",
        "record json true",
        "records list<json> false",
    ];
    assert_eq!(told, want);
    assert_eq!((unloaded.rows, read_parquet_fields(&file).unwrap()), (3, unloaded.fields));
    let all = "int, float, num, big, short, flag, text, hex(raw), day, clock, moment, time, doc, list, \
               record, records";
    let want = [
        json!([
            i64::MIN,
            1.5,
            "-99999999999999999999999999999.999999999",
            "0.00000000000000000000000001",
            "-12345.123456789012345",
            1,
            "it's\n\u{0}",
            "00FF",
            "0001-01-01",
            "0001-01-01 00:00:00",
            "0001-01-01 00:00:00+00:00",
            "00:00:00",
            "{\"a\": [1, null]}",
            "[1,-2]",
            "{\"a\":7,\"at\":\"2021-01-01T00:00:00.000001Z\",\"tags\":[\"x\",\"y\"]}",
            "[\"{\\\"a\\\":1}\",\"{\\\"a\\\":null}\"]",
        ]),
        json!([null, null, null, null, null, null, null, "", null, null, null, null, null, "[]", null, "[]"]),
        json!([
            9_007_199_254_740_993_i64,
            f64::MAX,
            "12.500000000",
            "1.00000000000000000000000000",
            "0.000000000000000",
            0,
            "",
            "",
            "9999-12-31",
            "9999-12-31 23:59:59.999999",
            "9999-12-31 23:59:59.999999+00:00",
            "23:59:59.999999",
            "null",
            "[]",
            "{\"a\":null,\"at\":null,\"tags\":[]}",
            "[]",
        ]),
    ];
    assert_eq!(shown(&file, all).await, want.map(|row| row.as_array().unwrap().clone()));
}

#[tokio::test]
async fn numbers_that_are_none_stay_so() {
    let (google, warehouse, folder) = start();
    let rows = ["NaN", "Infinity", "-Infinity"].map(|n| json!([n]));
    answer(&google, json!([{ "name": "x", "type": "FLOAT" }]), &rows);
    let file = folder.path().join("f.parquet");
    assert_eq!(unload(&warehouse, &file).await.unwrap().rows, 3);
    let Some(postgres) = crate::cluster::url() else { return };
    let postgres = Warehouse::open(&postgres).unwrap();
    postgres.load(&Input::parquet(&file), "bq_floats", &TableLoadOptions::default(), &()).await.unwrap();
    let all = postgres.ask("SELECT string_agg(x::text, ' ' ORDER BY x) FROM bq_floats").await.unwrap();
    assert_eq!(all.rows, [[json!("-Infinity Infinity NaN")]]);
}

#[tokio::test]
async fn what_a_file_cannot_keep_is_refused() {
    let (google, warehouse, folder) = start();
    load(&warehouse, &file(folder.path(), "f", "1,a,\n"), Mode::Append, None).await.unwrap();
    let before = folder.path().read_dir().unwrap().count();
    let to = folder.path().join("out.parquet");
    for (kind, value, want) in [
        (
            "GEOGRAPHY",
            "POINT(1 2)",
            "column `x` is GEOGRAPHY: it is not kept in Parquet as such; unload a query instead of the table, and select it as text",
        ),
        (
            "BIGNUMERIC",
            "1",
            "column `x` is BIGNUMERIC: state its digits (decimal) in the options, or cast it to NUMERIC",
        ),
        ("INTEGER", "one", "row 2, column `x`: one does not fit int64"),
        ("TIMESTAMP", "yesterday", "row 2, column `x`: yesterday does not fit timestamp[us, utc]"),
    ] {
        answer(&google, json!([{ "name": "x", "type": kind }]), &[json!([null]), json!([value])]);
        let error = unload(&warehouse, &to).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains(want), "{kind}: {error}");
    }
    answer(&google, json!([{ "name": "x", "type": "STRING" }]), &[json!(["a", "b"])]);
    let error = unload(&warehouse, &to).await.unwrap_err();
    assert!(error.to_string().contains("row 1 has 2 fields, of 1 columns"), "{error}");
    let jobs = google.count(JOBS);
    for (select, want) in [
        (Select::Table("none".into()), "table none: there is no such table"),
        (Select::Table("t$20210101".into()), "state the partition"),
        (Select::Query("DELETE FROM t WHERE true".into()), "one SELECT"),
    ] {
        let error = warehouse.unload(&select, &to, &UnloadOptions::default(), &()).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains(want), "{select:?}: {error}");
    }
    assert_eq!(google.count(JOBS), jobs, "nothing was run");
    let mut options = UnloadOptions::default();
    options.fields = vec![Field::new("y", ColumnType::Int64)];
    let table = Select::Table("t".into());
    let error = warehouse.unload(&table, &to, &options, &()).await.unwrap_err();
    assert!(error.to_string().contains("there is no column `y`; there are `id`, `day`, `note`"), "{error}");
    options.fields = vec![Field::new("id", ColumnType::Int16), Field::new("day", ColumnType::Bool)];
    let error = warehouse.unload(&table, &to, &options, &()).await.unwrap_err();
    assert!(error.to_string().contains("column `day` is STRING: it cannot be kept as bool"), "{error}");
    options.fields.truncate(1);
    assert_eq!(warehouse.unload(&table, &to, &options, &()).await.unwrap().fields[0].kind, ColumnType::Int16);
    std::fs::remove_file(&to).unwrap();
    assert_eq!(folder.path().read_dir().unwrap().count(), before, "no part of a file is left");
}

/// Where a dataset lies need not be stated: the answer to the job says it.
#[tokio::test]
async fn a_query_elsewhere_is_found_and_ended() {
    let (google, warehouse, folder) = start();
    google.cloud().jobs.region = Some("europe-west1");
    numbers(&google, 5);
    assert_eq!(unload(&warehouse, &folder.path().join("f")).await.unwrap().rows, 5);
    google.cloud().jobs.held = true;
    let to = folder.path().join("g");
    let begun = async {
        while google.count("GET /bigquery/v2/projects/project-1/jobs/") < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! { outcome = unload(&warehouse, &to) => panic!("{outcome:?}"), () = begun => {} }
    flow_data::settled().await;
    assert!(google.cloud().jobs.unfinished("flow-unload-").is_empty());
}

#[tokio::test]
async fn an_empty_table_is_a_file_of_its_columns() {
    let (_google, warehouse, folder) = start();
    load(&warehouse, &file(folder.path(), "f", ""), Mode::Append, None).await.unwrap();
    let to = folder.path().join("out.parquet");
    let unloaded = warehouse.unload(&Select::Table("t".into()), &to, &UnloadOptions::default(), &()).await.unwrap();
    let kinds: Vec<_> = unloaded.fields.iter().map(|field| field.kind.to_string()).collect();
    assert_eq!((unloaded.rows, kinds.join(" ").as_str()), (0, "int64 text text"));
    assert_eq!(read_parquet_fields(&to).unwrap().len(), 3);
}

/// Hears how far it is.
#[derive(Default)]
struct Heard(Mutex<Vec<(u64, Option<u64>)>>);

impl Progress for Heard {
    fn report(&self, done: u64, total: Option<u64>) {
        self.0.lock().unwrap().push((done, total));
    }
}

#[tokio::test]
async fn many_pages_are_one_file_in_bounded_pieces() {
    let (google, warehouse, folder) = start();
    google.cloud().jobs.page = 700;
    let note = "n".repeat(1_000);
    let rows: Vec<_> = (0..9_000).map(|n| json!([n.to_string(), note])).collect();
    answer(&google, json!([{ "name": "n", "type": "INTEGER" }, { "name": "note", "type": "STRING" }]), &rows);
    let (to, heard) = (folder.path().join("f.parquet"), Heard::default());
    let mut options = UnloadOptions::default();
    options.row_group_rows = 1_000;
    let unloaded = warehouse.unload(&Select::Query(SQL.into()), &to, &options, &heard).await.unwrap();
    assert_eq!((unloaded.rows, unloaded.bytes), (9_000, to.metadata().unwrap().len()));
    assert_eq!(google.count(PAGES), 13);
    let heard = heard.0.into_inner().unwrap();
    assert!(heard.len() > 5 && heard.is_sorted() && heard.iter().all(|(_, total)| *total == Some(9_000)), "{heard:?}");
    let sum = shown(&to, "count(*), count(DISTINCT n), sum(n), sum(length(note))").await;
    assert_eq!(sum, [[json!(9_000), json!(9_000), json!(9_000 * 8_999 / 2), json!(9_000_000)]]);
}

#[tokio::test]
async fn faults_on_the_way_are_outlived_and_every_row_comes_once() {
    for request in [JOBS, "GET /bigquery/v2/projects/project-1/jobs/flow-unload-", PAGES, "GET *pageToken=4"] {
        for fault in [
            Fault::Busy(503),
            Fault::Busy(429),
            Fault::Status(500),
            Fault::Limited,
            Fault::Reset,
            Fault::Lost,
            Fault::Expired,
            Fault::Drip,
            Fault::Cut(30),
        ] {
            let (google, warehouse, folder) = start();
            numbers(&google, 7);
            google.fault(request, fault);
            let to = folder.path().join("f.parquet");
            let unloaded = unload(&warehouse, &to).await.unwrap_or_else(|e| panic!("{request} {fault:?}: {e:?}"));
            assert_eq!((unloaded.rows, google.faults_left()), (7, 0), "{request} {fault:?}");
            let rows: Vec<_> = (0..7).map(|n| [json!(n)]).collect();
            assert_eq!(shown(&to, "n").await, rows, "{request} {fault:?}");
        }
    }
}

/// A job that broke is followed by another; what is wrong with the statement is told.
#[tokio::test]
async fn a_query_that_ends_badly_is_run_again_or_told() {
    let (google, warehouse, folder) = start();
    load(&warehouse, &file(folder.path(), "f", "1,a,\n"), Mode::Append, None).await.unwrap();
    numbers(&google, 3);
    let to = folder.path().join("f.parquet");
    google.cloud().jobs.fail = vec!["backendError".into(), "internalError".into()];
    assert_eq!(unload(&warehouse, &to).await.unwrap().rows, 3);
    assert_eq!(google.cloud().jobs.ids().iter().filter(|id| id.starts_with("flow-unload-")).count(), 3);
    google.cloud().jobs.fail = vec!["responseTooLarge".into()];
    let error = unload(&warehouse, &to).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("responseTooLarge: An internal error"), "{error}");
    let wrong = Select::Query("SELECT oops FROM `project-1.trips.none`".into());
    let error = warehouse.unload(&wrong, &to, &UnloadOptions::default(), &()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("invalidQuery"), "{error}");
    google.cloud().jobs.fail = vec!["backendError".into(); 9];
    let error = unload(&warehouse, &to).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("backendError"), "{error}");
    assert_eq!(shown(&to, "count(*)").await, [[json!(3)]], "the file is that of the query that ended well");
}

/// Rows that are not those of the query are no file.
#[tokio::test]
async fn pages_that_are_wrong_are_told_and_leave_the_earlier_file() {
    let (google, warehouse, folder) = start();
    numbers(&google, 5);
    let to = folder.path().join("f.parquet");
    std::fs::write(&to, "an earlier file").unwrap();
    let set = |what: &str| match what {
        "twice" => google.cloud().jobs.twice = true,
        "stuck" => google.cloud().jobs.stuck = true,
        _ => google.cloud().jobs.missing = 2,
    };
    for (what, want) in [
        ("twice", "it has told of 5 rows, and sent more: a page came twice"),
        ("missing", "it has told of 7 rows, and sent 5"),
        ("stuck", "the page after row 2 is to come again and again"),
    ] {
        set(what);
        let error = unload(&warehouse, &to).await.unwrap_err();
        assert!(!error.is_permanent() && error.to_string().contains(want), "{what}: {error}");
        assert_eq!(std::fs::read(&to).unwrap(), b"an earlier file", "{what}");
    }
    google.cloud().jobs.stuck = false;
    assert_eq!(unload(&warehouse, &to).await.unwrap().rows, 5);
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing is left beside it");
}

/// Cancelled while the query runs, or between pages: the query is ended, and there is no file.
#[tokio::test]
async fn a_dropped_unload_ends_its_query_and_leaves_no_file() {
    for held in [true, false] {
        let (google, warehouse, folder) = start();
        numbers(&google, 9);
        google.cloud().jobs.held = held;
        if !held {
            google.fault("GET *pageToken=6", Fault::Held);
        }
        let to = folder.path().join("f.parquet");
        let begun = async {
            let seen = if held { "GET /bigquery/v2/projects/project-1/jobs/flow-unload-" } else { PAGES };
            while google.count(seen) < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            outcome = unload(&warehouse, &to) => panic!("not yet: {outcome:?}"),
            () = begun => {}
        }
        flow_data::settled().await;
        google.release();
        assert_eq!(google.count("POST /bigquery/v2/projects/project-1/jobs/flow-unload-"), usize::from(held));
        {
            let jobs = &google.cloud().jobs;
            assert_eq!(jobs.unfinished(""), Vec::<String>::new());
            assert_eq!(jobs.statements(), usize::from(!held));
        }
        while folder.path().read_dir().unwrap().count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Who is asked to stop by its progress stops.
#[tokio::test]
async fn an_unload_that_is_told_to_end_ends() {
    struct Unwanted;
    impl Progress for Unwanted {
        fn report(&self, _: u64, _: Option<u64>) {}

        fn cancelled(&self) -> bool {
            true
        }
    }
    let google = Google::start();
    let (warehouse, folder) = (open(&google), tempfile::tempdir().unwrap());
    numbers(&google, 9);
    google.cloud().jobs.held = true;
    let to = folder.path().join("f.parquet");
    let query = Select::Query(SQL.into());
    let error = warehouse.unload(&query, &to, &UnloadOptions::default(), &Unwanted).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    flow_data::settled().await;
    assert!(!to.exists());
}
