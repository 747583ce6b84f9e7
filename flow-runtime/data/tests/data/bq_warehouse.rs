//! BigQuery behind the warehouse, on the fake: once each, whatever breaks; nothing is left.

use flow_data::{Error, Input, LOADS_TABLE, Mode, Schema, TableLoadOptions, Type, Warehouse};

use crate::bq_modes::{by_id, each_mode_keeps_and_replaces_what_it_says, file, load, part, shown};
use crate::google::{Fault, Google};

const WHOLE: &str = "project-1.trips.t";

pub fn open(google: &Google) -> Warehouse {
    let key = google.home().join(".google/credentials/google_credentials.json");
    let lake = google.lake().with("BIGQUERY_EMULATOR_HOST", &google.server.url);
    let lake = lake.with("GOOGLE_SERVICE_ACCOUNT", key.to_str().unwrap());
    Warehouse::open("bigquery://project-1/trips").unwrap().with_lake(lake)
}

pub fn start() -> (Google, Warehouse, tempfile::TempDir) {
    let google = Google::start();
    google.cloud().jobs.quick = true;
    let warehouse = open(&google);
    (google, warehouse, tempfile::tempdir().unwrap())
}

/// The tables that are there, by their short names.
fn tables(google: &Google) -> Vec<String> {
    google.cloud().jobs.kept.names().iter().map(|name| name.trim_start_matches("project-1.trips.").to_owned()).collect()
}

#[tokio::test]
async fn each_mode_does_what_it_says() {
    let (google, warehouse, folder) = start();
    each_mode_keeps_and_replaces_what_it_says(&warehouse, WHOLE, folder.path()).await;
    assert_eq!(tables(&google), [LOADS_TABLE, "t"], "no staging table is left");
}

#[tokio::test]
async fn an_object_is_read_by_bigquery_itself_and_gets_its_source() {
    let (google, warehouse, folder) = start();
    let Input::Parquet(path) = file(folder.path(), "f", "1,a,\n2,a,x\n") else { panic!() };
    google.lake().upload(&path, "gs://lake/raw/f.parquet", &()).await.unwrap();
    let fetched = || google.count("GET /lake/raw/f.parquet");
    let mut options = TableLoadOptions::default();
    for replaced in [0, 2] {
        options.mode = Mode::Partition { column: "_source".into(), value: "https://h/january".into() };
        let object = Input::object("gs://lake/raw/f.parquet");
        let report = warehouse.load(&object, "t", &options, &()).await.unwrap();
        assert_eq!((report.rows, report.replaced), (2, replaced));
    }
    assert_eq!(fetched(), 2, "the end of it alone was read");
    let summary = warehouse.summarise("t", Some("https://h/january")).await.unwrap();
    let names: Vec<_> = summary.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!((summary.rows, names), (2, vec!["id", "day", "note", "_source"]));
    let error = warehouse.load(&Input::object("gs://lake/raw/none.parquet"), "t", &options, &()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("there is no such object"), "{error}");
    google.cloud().storage.put("lake/raw/short.parquet", "PAR1 and more");
    let error = warehouse.load(&Input::object("gs://lake/raw/short.parquet"), "t", &options, &()).await.unwrap_err();
    assert!(error.to_string().contains("cannot be read as Parquet"), "{error}");
}

/// For any other database an object is fetched, and nothing of it stays.
#[tokio::test]
async fn an_object_is_fetched_for_another_database() {
    let (google, _, folder) = start();
    let Input::Parquet(path) = file(folder.path(), "f", "1,a,\n2,a,x\n") else { panic!() };
    google.lake().upload(&path, "gs://lake/raw/f.parquet", &()).await.unwrap();
    let scratch = folder.path().join("scratch");
    let url = format!("sqlite://{}", folder.path().join("t.db").display());
    let warehouse = Warehouse::open(&url).unwrap().with_lake(google.lake()).with_scratch(&scratch);
    let report = load(&warehouse, &Input::object("gs://lake/raw/f.parquet"), Mode::Append, None).await.unwrap();
    assert_eq!(report.rows, 2);
    assert_eq!(scratch.read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_named_load_is_done_once_whatever_breaks() {
    let jobs = "POST /bigquery/v2/projects/project-1/jobs";
    for (request, fault) in [
        (jobs, Fault::Lost),
        (jobs, Fault::Busy(503)),
        ("POST /bigquery/v2/projects/project-1/datasets/trips/tables", Fault::Lost),
        ("POST /bigquery/v2/projects/project-1/queries", Fault::Reset),
        ("GET /bigquery/v2/projects/project-1/jobs/flow-load", Fault::Lost),
        ("DELETE /bigquery/v2/projects/project-1/datasets", Fault::Lost),
    ] {
        let (google, warehouse, folder) = start();
        let given = file(folder.path(), "f", "1,a,\n2,b,\n");
        load(&warehouse, &given, Mode::Append, Some("first")).await.unwrap();
        google.fault(request, fault);
        let report = load(&warehouse, &given, Mode::Append, Some("second")).await;
        let report = report.unwrap_or_else(|e| panic!("{request} {fault:?}: {e:?}"));
        assert_eq!((report.rows, report.repeated, google.faults_left()), (2, false, 0), "{request} {fault:?}");
        assert_eq!(google.cloud().jobs.statements(), 2, "{request} {fault:?}");
        assert_eq!(shown(&warehouse, WHOLE).await.len(), 4, "{request} {fault:?}");
        assert_eq!(tables(&google), [LOADS_TABLE, "t"], "{request} {fault:?}");
    }
}

/// Another transaction may be first, more often than a server may be busy; and what has been dropped is loaded again, although
/// the job of it is remembered.
#[tokio::test]
async fn a_load_waits_for_its_turn_and_comes_again_when_all_of_it_is_gone() {
    let (google, warehouse, folder) = start();
    let given = file(folder.path(), "f", "1,a,\n");
    google.cloud().jobs.conflicts = 7;
    assert!(!load(&warehouse, &given, Mode::Append, Some("january")).await.unwrap().repeated);
    assert_eq!((shown(&warehouse, WHOLE).await.len(), google.cloud().jobs.conflicts), (1, 0));
    let drop_all = || {
        for table in ["t", LOADS_TABLE] {
            google.cloud().jobs.kept.delete(&format!("project-1.trips.{table}"));
        }
    };
    // The fake has a runtime of its own for its tables.
    std::thread::scope(|scope| scope.spawn(drop_all).join()).unwrap();
    let again = load(&warehouse, &given, Mode::Append, Some("january")).await.unwrap();
    assert_eq!((again.rows, again.repeated), (1, false));
    assert_eq!(shown(&warehouse, WHOLE).await, ["1|a|null"]);
}

/// A CSV file becomes Parquet on its way: every value as it would be elsewhere, and nothing of it stays.
#[tokio::test]
async fn a_csv_file_is_loaded_by_way_of_parquet() {
    let (google, warehouse, folder) = start();
    let scratch = folder.path().join("scratch");
    let warehouse = warehouse.with_scratch(&scratch);
    let left = || scratch.read_dir().unwrap().count();
    let text = "note,id,day,fare,at,on\nit's,1,a,8.5,2021-01-31 08:05:00,t\n,2,a,,,\n";
    let csv = crate::files::write(folder.path(), "f.csv.gz", crate::files::gzip(text.as_bytes()));
    let stated = |id| {
        Schema::new([
            ("id", id),
            ("day", Type::Text),
            ("note", Type::Text),
            ("fare", Type::Float),
            ("at", Type::Timestamp),
            ("on", Type::Bool),
        ])
    };
    let schema = stated(Type::Int);
    let input = Input::csv(&csv, &schema);
    for (key, repeated) in [("one", false), ("one", true), ("two", false)] {
        let report = load(&warehouse, &input, Mode::Append, Some(key)).await.unwrap();
        assert_eq!((report.rows, report.repeated, left()), (2, repeated, 0), "{key}");
    }
    assert_eq!(shown(&warehouse, WHOLE).await, ["1|a|it's", "1|a|it's", "2|a|null", "2|a|null"]);
    let kinds: Vec<_> = warehouse.summarise("t", None).await.unwrap().columns.into_iter().map(|c| c.kind).collect();
    assert_eq!(kinds, ["INT64", "STRING", "STRING", "FLOAT64", "DATETIME", "BOOL"], "as stated");

    let done = google.cloud().jobs.statements();
    let sent = google.count("POST /upload");
    let wrong = crate::files::write(folder.path(), "wrong.csv", text.replace("2,a", "two,a"));
    let error = load(&warehouse, &Input::csv(&wrong, &schema), Mode::Append, None).await.unwrap_err();
    assert!(
        matches!(&error, Error::Value { file, row: 2, column, .. } if *file == wrong && column == "id"),
        "{error:?}"
    );
    let error = load(&warehouse, &input, Mode::Upsert(vec!["day".into()]), None).await.unwrap_err();
    let told = format!("{}: the key (day) = (\"a\") comes more than once", csv.display());
    assert_eq!(error.to_string(), told);
    assert_eq!((google.cloud().jobs.statements(), google.count("POST /upload"), left()), (done, sent + 1, 0));
    assert_eq!(warehouse.count("t", None).await.unwrap(), Some(4));
    // What needs no row is found out before all of them are read.
    let done = load(&warehouse, &Input::csv(&wrong, &schema), Mode::Append, Some("two")).await.unwrap();
    assert_eq!((done.rows, done.repeated), (2, true));
    let unlike = crate::files::write(folder.path(), "unlike.csv", text.replace("8.5", "much"));
    let error = load(&warehouse, &Input::csv(&unlike, &stated(Type::Text)), Mode::Append, None).await.unwrap_err();
    assert!(error.to_string().contains("table t: it does not fit the file"), "{error}");
    assert_eq!((google.count("POST /upload"), left()), (sent + 1, 0));
}

/// Dropped while the file is made, or sent: nothing is left of it, here or there.
#[tokio::test]
async fn a_dropped_load_of_csv_leaves_no_file() {
    let (google, warehouse, folder) = start();
    let scratch = folder.path().join("scratch");
    let warehouse = warehouse.with_scratch(&scratch);
    let text: String = (0..200_000).map(|n| format!("{n},a,note {n}\n")).collect();
    let csv = crate::files::write(folder.path(), "f.csv", format!("id,day,note\n{text}"));
    let input = Input::csv(&csv, &Schema::new([("id", Type::Int), ("day", Type::Text), ("note", Type::Text)]));
    let files = || scratch.read_dir().into_iter().flatten().count();
    let is_being_made = || {
        let folders = scratch.read_dir().into_iter().flatten().flatten();
        folders.filter_map(|folder| folder.path().read_dir().ok()).any(|mut files| files.next().is_some())
    };
    for sent in [false, true] {
        google.cloud().jobs.quick = true;
        let begun = async {
            while !is_being_made() || (sent && google.count("PUT /upload") == 0) {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = begun => {}
            outcome = load(&warehouse, &input, Mode::Append, None) => panic!("not yet: {outcome:?}"),
        }
        flow_data::settled().await;
        assert_eq!(files(), 0, "{sent}");
        assert_eq!(tables(&google), Vec::<String>::new(), "{sent}");
    }
}

/// A transaction under way is ended with the load that is dropped.
#[tokio::test]
async fn a_dropped_load_ends_its_transaction() {
    let (google, warehouse, folder) = start();
    google.cloud().jobs.quick = false;
    let given = file(folder.path(), "f", "1,a,\n");
    {
        let load = load(&warehouse, &given, Mode::Append, None);
        let begun = async {
            while !google.cloud().jobs.ids().iter().any(|id| id.starts_with("flow-load-")) {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            outcome = load => panic!("not yet: {outcome:?}"),
            () = begun => {}
        }
    }
    flow_data::settled().await;
    assert_eq!(google.cloud().jobs.statements(), 0);
    assert_eq!((warehouse.count("t", None).await.unwrap(), tables(&google).len()), (Some(0), 2));
}

/// Two tries of one load are at it, and the one that only waits is given up: the other's transaction is not its to end.
#[tokio::test]
async fn a_dropped_load_leaves_the_transaction_of_another() {
    let (google, warehouse, folder) = start();
    google.cloud().jobs.quick = false;
    let given = file(folder.path(), "f", "1,a,\n");
    let first = load(&warehouse, &given, Mode::Append, Some("january"));
    let second = async {
        while !google.cloud().jobs.ids().iter().any(|id| id.starts_with("flow-load-")) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let refused = google.count("POST /bigquery/v2/projects/project-1/jobs");
        let load = load(&warehouse, &given, Mode::Append, Some("january"));
        let waits = async {
            // Its own staging job, and the one that is there already.
            while google.count("POST /bigquery/v2/projects/project-1/jobs") == refused {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            outcome = load => drop(outcome.unwrap()),
            () = waits => {}
        }
    };
    // The first job stands still until the second has been dropped and has cleaned up.
    google.cloud().jobs.held = true;
    let release = async {
        second.await;
        flow_data::settled().await;
        google.cloud().jobs.held = false;
    };
    let (report, ()) = tokio::join!(first, release);
    let report = report.unwrap();
    assert_eq!((report.rows, report.repeated), (1, false));
    assert_eq!(shown(&warehouse, WHOLE).await, ["1|a|null"]);
}

/// At whatever request a load ends, the next of that name does the rest, or finds that all was done.
#[tokio::test]
async fn a_load_that_was_dropped_is_done_by_the_next() {
    let mut held = 0;
    let mut done_by_first = 0;
    loop {
        let (google, warehouse, folder) = start();
        let given = file(folder.path(), "f", "1,a,\n2,b,\n");
        let before = google.server.requests().len();
        {
            let load = load(&warehouse, &given, Mode::Append, Some("january"));
            let dropped = async {
                while google.server.requests().len() <= before + held {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                biased;
                () = dropped => {}
                outcome = load => {
                    outcome.unwrap();
                    break;
                }
            }
        }
        let report = load(&open(&google), &given, Mode::Append, Some("january")).await.unwrap();
        done_by_first += usize::from(report.repeated);
        assert_eq!(report.rows, 2, "after {held} requests");
        assert_eq!(shown(&warehouse, WHOLE).await, ["1|a|null", "2|b|null"], "{held}");
        flow_data::settled().await;
        assert_eq!(tables(&google), [LOADS_TABLE, "t"], "after {held} requests");
        held += 1;
    }
    assert!(held > 8 && done_by_first > 0, "{held} {done_by_first}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_sent() {
    let (google, warehouse, folder) = start();
    let given = file(folder.path(), "f", "1,a,\n");
    load(&warehouse, &given, Mode::Append, None).await.unwrap();
    let sent = google.count("POST /bigquery/v2/projects/project-1/jobs") + google.count("POST /upload");
    let csv = folder.path().join("g.csv");
    std::fs::write(&csv, "id,more\n1,x\n").unwrap();
    let other = folder.path().join("g.parquet");
    let schema = Schema::new([("id", Type::Text), ("more", Type::Text)]);
    flow_data::parquetize(&csv, &other, &schema, &Default::default(), &()).unwrap();
    let error = load(&warehouse, &Input::parquet(&other), Mode::Append, None).await.unwrap_err();
    let want = "table t: it does not fit the file\n  ~ id: the file has text, the table has INT64\n  + more text: the table lacks \
                it\n  - day STRING: the file lacks it, it is null in rows that are new";
    assert!(error.is_permanent() && error.to_string().starts_with(want), "{error}");
    let mut raw = TableLoadOptions::default();
    raw.raw_csv = true;
    let error = warehouse.load(&Input::csv(&csv, &schema), "t", &raw, &()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains("load the file parsed"), "{error}");
    let error = load(&warehouse, &given, Mode::Upsert(vec!["none".into()]), None).await.unwrap_err();
    assert!(error.to_string().contains("no column `none`"), "{error}");
    let error = warehouse.load(&given, "trips.t$20210101", &TableLoadOptions::default(), &()).await.unwrap_err();
    assert!(error.to_string().contains("by the mode of the load"), "{error}");
    for mode in [part("a"), by_id()] {
        load(&warehouse, &given, mode, None).await.unwrap();
    }
    assert_eq!(shown(&warehouse, WHOLE).await, ["1|a|null"]);
    let now = google.count("POST /bigquery/v2/projects/project-1/jobs") + google.count("POST /upload");
    assert!(now > sent);
    assert!(Warehouse::open("bigquery:trips").is_err());
}
