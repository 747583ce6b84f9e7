//! What a dropped future leaves behind.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use flow_data::{
    BigQuery, Error, Input, LoadOptions, LoadSource, ParquetOptions, Progress, Result, TableLoadOptions, Warehouse,
    download_to, execute, load_csv, parquetize, summarise,
};
use sqlx::{Connection, PgConnection, SqliteConnection, raw_sql};
use tokio::sync::Notify;

use crate::cluster;
use crate::files::{self, noise, trip_schema, trips};
use crate::google::{Fault, Google};
use crate::server::{Server, file};

#[tokio::test]
async fn a_dropped_download_is_continued_by_the_next() {
    let content = noise(2_000_000);
    let served = content.clone();
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let server = Server::start(move |r| {
        let mut reply = file(r, &served, "\"one\"");
        if r.number == 0 {
            // Sends three quarters, then holds the connection until the test lets go.
            let held = held.clone();
            reply.cut_after = Some(1_500_000);
            reply.then = Some(Arc::new(move || assert!(held.lock().unwrap().recv().is_err())));
        }
        reply
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let arrived = Notify::new();
    let progress = |done, _| {
        if done >= 1_000_000 {
            arrived.notify_one();
        }
    };
    let url = server.at("/f");
    tokio::select! {
        outcome = download_to(&url, &path, &progress) => panic!("not yet: {outcome:?}"),
        () = arrived.notified() => {}
    }
    drop(release);
    assert!(!path.exists());
    // The last write was handed to a thread, which may still be at it.
    let part = folder.path().join("f.part");
    let mut kept = 0;
    for _ in 0..1_000 {
        kept = part.metadata().unwrap().len();
        if kept >= 1_000_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(kept >= 1_000_000, "{kept} bytes are kept");

    download_to(&url, &path, &()).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == content);
    let start = server.requests()[1].range_start().unwrap() as u64;
    assert!(start >= kept.min(1_000_000), "continued at {start}");
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the file and its origin: {names:?}");
}

#[tokio::test]
async fn a_dropped_load_leaves_the_table_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let small = files::write(folder.path(), "small.csv", trips(10));
    load_csv(&url, "trips", &small, &trip_schema(), "s", &()).await.unwrap();
    let large = files::write(folder.path(), "large.csv", trips(100_000));
    let begun = Notify::new();
    let progress = |_, _| begun.notify_one();
    let schema = trip_schema();
    tokio::select! {
        outcome = load_csv(&url, "trips", &large, &schema, "s", &progress) => panic!("not yet: {outcome:?}"),
        () = begun.notified() => {}
    }
    assert_eq!(summarise(&url, "trips", None).await.unwrap().rows, 10);
    assert_eq!(load_csv(&url, "trips", &large, &trip_schema(), "s", &()).await.unwrap().replaced, 10);
}

/// Cancels at the first report.
struct AtOnce(Mutex<bool>);

impl Progress for AtOnce {
    fn report(&self, _: u64, _: Option<u64>) {
        *self.0.lock().unwrap() = true;
    }

    fn cancelled(&self) -> bool {
        *self.0.lock().unwrap()
    }
}

#[test]
fn a_cancelled_conversion_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let csv = files::write(folder.path(), "large.csv", trips(150_000));
    let out = folder.path().join("out.parquet");
    let error =
        parquetize(&csv, &out, &trip_schema(), &ParquetOptions::default(), &AtOnce(Mutex::new(false))).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Cancels when asked for so many times.
struct After(usize, AtomicUsize);

impl Progress for After {
    fn report(&self, _: u64, _: Option<u64>) {}

    fn cancelled(&self) -> bool {
        self.1.fetch_add(1, Ordering::SeqCst) >= self.0
    }
}

/// The rows of a group are written column by column, which takes a while.
#[test]
fn a_conversion_is_cancelled_between_the_columns_of_a_group() {
    let folder = tempfile::tempdir().unwrap();
    let csv = files::write(folder.path(), "small.csv", trips(100));
    let convert = |after: usize| {
        let progress = After(after, AtomicUsize::new(0));
        let outcome =
            parquetize(&csv, folder.path().join("out"), &trip_schema(), &ParquetOptions::default(), &progress);
        (outcome, progress.1.into_inner())
    };
    let (whole, asked) = convert(usize::MAX);
    assert_eq!(whole.unwrap().rows, 100);
    std::fs::remove_file(folder.path().join("out")).unwrap();
    // Twice for each of the six columns of the only group.
    assert!(asked >= 12, "asked {asked} times");
    for after in 0..asked {
        let (outcome, _) = convert(after);
        assert!(matches!(outcome, Err(Error::Cancelled)), "{after} of {asked}: {outcome:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{after} of {asked}");
    }
}

/// Cancels when the test says so.
#[derive(Default)]
struct Switch(AtomicBool);

impl Progress for Switch {
    fn report(&self, _: u64, _: Option<u64>) {}

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Something that waits for what does not come hears that it is to end.
async fn hears<T: std::fmt::Debug>(
    what: &str,
    progress: &Switch,
    work: impl Future<Output = Result<T>>,
    waits: impl Future<Output = ()>,
) {
    let told = async {
        waits.await;
        progress.0.store(true, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = work => assert!(matches!(outcome, Err(Error::Cancelled)), "{what}: {outcome:?}"),
        () = told => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("{what} waits for ever"),
    }
    assert!(progress.0.load(Ordering::SeqCst), "{what} ended too soon");
    progress.0.store(false, Ordering::SeqCst);
}

async fn met(google: &Google) {
    while google.faults_left() > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn what_waits_for_a_server_hears_that_it_is_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let google = Google::start();
    let progress = Switch::default();
    let lake = google.lake();
    let local = files::write(folder.path(), "f", noise((8 << 20) + 5));

    google.fault("PUT /lake/f?partNumber=2", Fault::Held);
    hears("upload", &progress, lake.upload(&local, "gs://lake/f", &progress), met(&google)).await;
    google.cloud().storage.put("lake/g", "content");
    google.fault("GET /lake/g", Fault::Held);
    hears("fetch", &progress, lake.fetch("gs://lake/g", folder.path().join("g"), &progress), met(&google)).await;

    let key = google.home().join(".google/credentials/google_credentials.json");
    let lake = lake.with("BIGQUERY_EMULATOR_HOST", &google.server.url);
    let bigquery = BigQuery::new(&lake.with("GOOGLE_SERVICE_ACCOUNT", key.to_str().unwrap())).unwrap();
    google.fault("POST /bigquery/v2/projects/project-1/jobs", Fault::Held);
    let (source, options) = (LoadSource::Objects(&["gs://lake/g"]), LoadOptions::default());
    hears("BigQuery", &progress, bigquery.load(source, "d.t", "one", &options, &progress), met(&google)).await;

    google.fault("GET /f", Fault::Held);
    let url = google.server.at("/f");
    hears("download", &progress, download_to(&url, folder.path().join("d"), &progress), met(&google)).await;
    google.release();
}

#[tokio::test]
async fn what_waits_for_another_writer_hears_that_it_is_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let csv = files::write(folder.path(), "small.csv", trips(10));
    let (schema, progress) = (trip_schema(), Switch::default());
    if let Some(url) = cluster::url() {
        let own = format!("{url}?application_name=hears&options=-c%20search_path%3Dhears");
        execute(&url, "CREATE SCHEMA hears").await.unwrap();
        load_csv(&own, "t", &csv, &schema, "s", &()).await.unwrap();
        let (mut other, mut watch) =
            (PgConnection::connect(&url).await.unwrap(), PgConnection::connect(&url).await.unwrap());
        raw_sql("BEGIN; LOCK TABLE hears.t").execute(&mut other).await.unwrap();
        let waits = async {
            let sql =
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hears' AND wait_event_type = 'Lock'";
            while sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut watch).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        hears("Postgres", &progress, load_csv(&own, "t", &csv, &schema, "s", &progress), waits).await;
    }
    let path = folder.path().join("t.db");
    let url = format!("sqlite://{}", path.display());
    load_csv(&url, "t", &csv, &schema, "s", &()).await.unwrap();
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    // It cannot get any further, however long it has.
    let waits = tokio::time::sleep(Duration::from_millis(20));
    hears("SQLite", &progress, load_csv(&url, "t", &csv, &schema, "s", &progress), waits).await;
    // That the file was fetched, for good, is not yet the load.
    let parquet = folder.path().join("t.parquet");
    parquetize(&csv, &parquet, &schema, &ParquetOptions::default(), &()).unwrap();
    let (warehouse, options) = (Warehouse::open(&url).unwrap(), TableLoadOptions::default());
    let object = Input::object(parquet.display().to_string());
    let waits = tokio::time::sleep(Duration::from_millis(100));
    hears("an object", &progress, warehouse.load(&object, "t2", &options, &progress), waits).await;
    // The connection's thread is not left behind, waiting for a minute.
    raw_sql("COMMIT").execute(&mut other).await.unwrap();
    until("the database is closed", || opened(&path) == 1).await;
}

/// How often this process has a file open; as often as is wanted where the kernel does not tell.
fn opened(path: &std::path::Path) -> usize {
    let Ok(files) = std::fs::read_dir("/proc/self/fd") else { return 1 };
    files.flatten().filter(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == path)).count()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// A statement has no end; SQLite's thread would be at it for ever, and keep everybody out.
#[tokio::test]
async fn a_load_that_is_dropped_ends_the_statement_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let csv = files::write(folder.path(), "small.csv", trips(10));
    load_csv(&url, "t", &csv, &trip_schema(), "s", &()).await.unwrap();
    let endless = "CREATE TRIGGER endless AFTER INSERT ON t BEGIN SELECT count(*) FROM \
                   (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c); END";
    execute(&url, endless).await.unwrap();
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    raw_sql("PRAGMA busy_timeout = 0").execute(&mut other).await.unwrap();
    let is_kept_out = async {
        while raw_sql("BEGIN IMMEDIATE; ROLLBACK").execute(&mut other).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // It has the lock, and comes to the endless statement.
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let schema = trip_schema();
    tokio::select! {
        outcome = load_csv(&url, "t", &csv, &schema, "s", &()) => panic!("{outcome:?}"),
        () = is_kept_out => {}
    }
    let path = folder.path().join("t.db");
    until("the connection is closed", || opened(&path) == 1).await;
    raw_sql("BEGIN IMMEDIATE; DROP TRIGGER endless; COMMIT").execute(&mut other).await.unwrap();
    assert_eq!(load_csv(&url, "t", &csv, &trip_schema(), "s", &()).await.unwrap().replaced, 10);
}

/// Somebody reads the table, so that it cannot be changed yet: who waits for that can be told to stop, and else goes on.
#[tokio::test]
async fn a_load_that_waits_for_readers_of_sqlite_hears_that_it_is_not_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let csv = files::write(folder.path(), "small.csv", trips(10));
    load_csv(&url, "t", &csv, &trip_schema(), "s", &()).await.unwrap();
    let mut reader = SqliteConnection::connect(&url).await.unwrap();
    raw_sql("BEGIN; SELECT count(*) FROM t").execute(&mut reader).await.unwrap();
    let waits = async || {
        let mut other = SqliteConnection::connect(&url).await.unwrap();
        raw_sql("PRAGMA busy_timeout = 0").execute(&mut other).await.unwrap();
        // Whoever waits for readers lets no new ones in.
        while raw_sql("SELECT count(*) FROM t").execute(&mut other).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (schema, switch) = (trip_schema(), Switch::default());
    hears("a load", &switch, load_csv(&url, "t", &csv, &schema, "s", &switch), waits()).await;
    let gone = async {
        waits().await;
        raw_sql("ROLLBACK").execute(&mut reader).await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = load_csv(&url, "t", &csv, &schema, "s", &()) => assert_eq!(outcome.unwrap().replaced, 10),
        () = gone => {}
    }
}

/// Its fingerprint would take minutes.
#[tokio::test]
async fn an_upload_that_is_dropped_reads_no_further() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("huge");
    std::fs::File::create(&local).unwrap().set_len(1 << 38).unwrap();
    let google = Google::start();
    let lake = google.lake();
    tokio::select! {
        outcome = lake.upload(&local, "gs://lake/huge", &()) => panic!("{outcome:?}"),
        () = until("it is read", || opened(&local) == 1) => {}
    }
    until("the file is closed", || opened(&local) == 0 || !std::path::Path::new("/proc/self/fd").exists()).await;
}
