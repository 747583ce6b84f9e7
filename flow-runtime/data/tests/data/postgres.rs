//! Loads into a real Postgres.

use std::sync::atomic::{AtomicU64, Ordering};

use flow_data::{Error, ParquetOptions, Schema, Type, load_csv, load_parquet, parquetize, summarise};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tokio::sync::Notify;

use crate::cluster::{self, PASSWORD};
use crate::files::{gzip, trip_schema, trips, write};

async fn run(url: &str, sql: &str) {
    let mut conn = PgConnection::connect(url).await.unwrap();
    raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
}

async fn number(url: &str, sql: &str) -> i64 {
    let mut conn = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut conn).await.unwrap()
}

fn show(rows: &[Vec<Option<String>>]) -> Vec<String> {
    rows.iter().map(|row| row.iter().map(|v| v.clone().unwrap_or("-".into())).collect::<Vec<_>>().join("|")).collect()
}

const FOUR_TRIPS: [&str; 4] = [
    "0|2021-01-01 08:00:00|2021-01-01|0.25|true|N|s",
    "1|2021-01-02 08:00:00|2021-01-02|0.5|false|a \"b\", c|s",
    "2|-|-|-|-|-|s",
    "3|2021-01-04 08:00:00.123456|2021-01-04|-0.001|false|ä\n\t\\N|s",
];

#[tokio::test]
async fn rows_arrive_and_a_source_is_replaced() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    run(&url, "CREATE SCHEMA raw").await;
    let csv = write(folder.path(), "1.csv.gz", gzip(trips(50_000).as_bytes()));
    let small = write(folder.path(), "2.csv", trips(4));
    let seen = AtomicU64::new(0);
    let progress = |done, total| {
        assert!(Some(done) <= total);
        seen.store(done, Ordering::SeqCst);
    };
    let first = load_csv(&url, "raw.trips", &csv, &trip_schema(), "s", &progress).await.unwrap();
    assert_eq!((first.rows, first.replaced), (50_000, 0));
    assert!(!first.url.contains(PASSWORD));
    assert_eq!(seen.load(Ordering::SeqCst), csv.metadata().unwrap().len());
    load_csv(&url, "raw.trips", &small, &trip_schema(), "other", &()).await.unwrap();
    let again = load_csv(&url, "raw.trips", &small, &trip_schema(), "s", &()).await.unwrap();
    assert_eq!((again.rows, again.replaced), (4, 50_000));
    assert_eq!(summarise(&url, "raw.trips", None).await.unwrap().rows, 8);
    let summary = summarise(&url, "raw.trips", Some("s")).await.unwrap();
    assert_eq!((summary.rows, show(&summary.first_rows)), (4, FOUR_TRIPS.map(String::from).to_vec()));
    let kinds: Vec<_> = summary.columns.iter().map(|c| c.kind.as_str()).collect();
    assert_eq!(kinds, ["bigint", "timestamp without time zone", "date", "double precision", "boolean", "text", "text"]);
}

#[tokio::test]
async fn csv_and_parquet_make_the_same_table() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "1.csv", trips(50_000));
    let parquet = folder.path().join("1.parquet");
    parquetize(&csv, &parquet, &trip_schema(), &ParquetOptions::default(), &()).unwrap();
    load_csv(&url, "same_a", &csv, &trip_schema(), "s", &()).await.unwrap();
    assert_eq!(load_parquet(&url, "same_b", &parquet, "s", &()).await.unwrap().rows, 50_000);
    let different = "SELECT count(*) FROM (SELECT * FROM same_a EXCEPT ALL SELECT * FROM same_b) d";
    assert_eq!(number(&url, different).await, 0);
}

#[tokio::test]
async fn a_table_with_other_types_is_converted_by_the_database() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    run(
        &url,
        "CREATE TABLE typed (_source varchar(40) NOT NULL, extra int DEFAULT 7, flag varchar, shared boolean, distance numeric, \
         day text, picked_up timestamptz, id smallint)",
    )
    .await;
    let csv = write(folder.path(), "1.csv", trips(4));
    load_csv(&format!("{url}?options=-c%20timezone%3DUTC"), "typed", &csv, &trip_schema(), "s", &()).await.unwrap();
    assert_eq!(number(&url, "SELECT sum(id + extra)::bigint FROM typed").await, 6 + 4 * 7);
    assert_eq!(
        number(
            &url,
            "SELECT count(*) FROM typed WHERE flag = E'ä\\n\\t\\\\N' AND distance = -0.001 AND day = '2021-01-04'"
        )
        .await,
        1
    );

    let big = write(folder.path(), "2.csv", trips(4) + "70000,,,,,\n");
    let error = load_csv(&url, "typed", &big, &trip_schema(), "s", &()).await.unwrap_err();
    assert!(
        error.is_permanent() && error.to_string().contains("smallint") && error.to_string().contains("line 6"),
        "{error}"
    );
    assert_eq!(number(&url, "SELECT count(*) FROM typed").await, 4, "nothing was lost");
}

#[tokio::test]
async fn a_fault_or_a_drop_changes_nothing_and_frees_the_lock() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let small = write(folder.path(), "1.csv", trips(4));
    load_csv(&url, "kept", &small, &trip_schema(), "s", &()).await.unwrap();
    let bad = write(folder.path(), "2.csv", trips(100_000) + "x,,,,,\n");
    let error = load_csv(&url, "kept", &bad, &trip_schema(), "s", &()).await.unwrap_err();
    assert!(matches!(error, Error::Value { row: 100_001, .. }), "{error:?}");
    let begun = Notify::new();
    let progress = |_, _| begun.notify_one();
    let schema = trip_schema();
    tokio::select! {
        outcome = load_csv(&url, "kept", &bad, &schema, "s", &progress) => panic!("not yet: {outcome:?}"),
        () = begun.notified() => {}
    }
    assert_eq!(summarise(&url, "kept", Some("s")).await.unwrap().rows, 4);
    assert_eq!(load_csv(&url, "kept", &small, &schema, "s", &()).await.unwrap().replaced, 4);
}

#[tokio::test]
async fn loads_at_once_do_not_double() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "1.csv", trips(20_000));
    let schema = trip_schema();
    let load = |source| load_csv(&url, "at_once", &csv, &schema, source, &());
    let (a, b, c, d) = tokio::join!(load("one"), load("one"), load("two"), load("one"));
    for outcome in [a, b, c, d] {
        assert_eq!(outcome.unwrap().rows, 20_000);
    }
    assert_eq!(summarise(&url, "at_once", None).await.unwrap().rows, 40_000);
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    run(&url, "CREATE TABLE narrow (a bigint, \"B\" bigint)").await;
    let csv = write(folder.path(), "1.csv", "a,b\n1,2\n");
    let schema = Schema::new([("a", Type::Int)]);
    let error = load_csv(&url, "narrow", &csv, &schema, "s", &()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "table narrow: it does not fit the file\n  + b text: the table lacks it\n  + _source text: the table lacks it\n  \
         - B bigint: the file lacks it, it is null in rows that are new"
    );
    let error = load_csv(&url, "nowhere.t", &csv, &schema, "s", &()).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("nowhere"), "{error}");
    let quoted = write(folder.path(), "2.csv", "\"a \"\"b\"\"; DROP\",select\n1,x\n");
    load_csv(&url, "order\"; --", &quoted, &Schema::default(), "it's", &()).await.unwrap();
    assert_eq!(show(&summarise(&url, "order\"; --", Some("it's")).await.unwrap().first_rows), ["1|x|it's"]);
}

#[tokio::test]
async fn the_password_is_never_told() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "1.csv", "a\n1\n");
    let planted = "s3cr3t%2Fword";
    let wrong = url.replace(PASSWORD, planted);
    let unknown = format!("{}-missing", wrong.replace(planted, PASSWORD));
    let mut closed = url::Url::parse(&wrong).unwrap();
    closed.set_port(Some(1)).unwrap();
    let closed = closed.to_string();
    let nonsense = format!("{url}?sslmode=whatever");
    for bad in [&wrong, &unknown, &closed, &nonsense] {
        let error = load_csv(bad, "t", &csv, &Schema::default(), "s", &()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        for secret in [PASSWORD, planted, "s3cr3t/word"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("flow:***@"), "{text}");
    }
    let error = load_csv(&wrong, "t", &csv, &Schema::default(), "s", &()).await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
}
