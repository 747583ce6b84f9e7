//! Loads into SQLite.

use flow_data::{Error, ParquetOptions, Schema, Type, load_csv, load_parquet, parquetize, summarise};
use sqlx::{Connection, SqliteConnection};

use crate::files::{trip_schema, trips, write};

#[tokio::test]
async fn rows_arrive_and_a_source_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/new/t.db", folder.path().display());
    let january = write(folder.path(), "1.csv", trips(5_000));
    let february = write(folder.path(), "2.csv", trips(7));
    let first = load_csv(&url, "trips", &january, &trip_schema(), "it's january", &()).await.unwrap();
    assert_eq!((first.rows, first.replaced), (5_000, 0));
    load_csv(&url, "trips", &february, &trip_schema(), "february", &()).await.unwrap();
    let again = load_csv(&url, "trips", &february, &trip_schema(), "it's january", &()).await.unwrap();
    assert_eq!((again.rows, again.replaced), (7, 5_000));

    let all = summarise(&url, "trips", None).await.unwrap();
    assert_eq!(all.rows, 14);
    let names: Vec<_> = all.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["id", "picked_up", "day", "distance", "shared", "flag", "_source"]);
    let one = summarise(&url, "trips", Some("february")).await.unwrap();
    assert_eq!((one.rows, one.first_rows.len()), (7, 5));
    let show =
        |row: &Vec<Option<String>>| row.iter().map(|v| v.clone().unwrap_or("-".into())).collect::<Vec<_>>().join("|");
    assert_eq!(show(&one.first_rows[0]), "0|2021-01-01 08:00:00|2021-01-01|0.25|1|N|february");
    assert_eq!(show(&one.first_rows[1]), "1|2021-01-02 08:00:00|2021-01-02|0.5|0|a \"b\", c|february");
    assert_eq!(show(&one.first_rows[2]), "2|-|-|-|-|-|february");
    assert_eq!(show(&one.first_rows[3]), "3|2021-01-04 08:00:00.123456|2021-01-04|-0.001|0|ä\n\t\\N|february");
    assert_eq!(summarise(&url, "trips", Some("march")).await.unwrap().rows, 0);
}

#[tokio::test]
async fn csv_and_parquet_make_the_same_table() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let csv = write(folder.path(), "1.csv", trips(20_000));
    let parquet = folder.path().join("1.parquet");
    parquetize(&csv, &parquet, &trip_schema(), &ParquetOptions::default(), &()).unwrap();
    load_csv(&url, "a", &csv, &trip_schema(), "s", &()).await.unwrap();
    let loaded = load_parquet(&url, "b", &parquet, "s", &()).await.unwrap();
    assert_eq!(loaded.rows, 20_000);
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let query = "SELECT count(*) FROM (SELECT * FROM a EXCEPT SELECT * FROM b)";
    let different: i64 = sqlx::query_scalar(query).fetch_one(&mut conn).await.unwrap();
    assert_eq!(different, 0);
}

#[tokio::test]
async fn a_file_with_a_fault_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let good = write(folder.path(), "1.csv", trips(10));
    load_csv(&url, "trips", &good, &trip_schema(), "s", &()).await.unwrap();
    let bad = write(folder.path(), "2.csv", trips(30_000) + "x,,,,,\n");
    let error = load_csv(&url, "trips", &bad, &trip_schema(), "s", &()).await.unwrap_err();
    assert!(matches!(error, Error::Value { row: 30_001, .. }), "{error:?}");
    assert_eq!(summarise(&url, "trips", None).await.unwrap().rows, 10);
}

#[tokio::test]
async fn tables_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let csv = write(folder.path(), "1.csv", "a,b\n1,2\n");
    let narrow = write(folder.path(), "2.csv", "a\n1\n");
    let schema = Schema::new([("a", Type::Int)]);
    load_csv(&url, "t", &narrow, &schema, "s", &()).await.unwrap();
    let error = load_csv(&url, "t", &csv, &schema, "s", &()).await.unwrap_err();
    assert_eq!(error.to_string(), "table t: the table lacks the columns `b`; it has `a`, `_source`");
    assert!(error.is_permanent());
    for (table, source) in [("", "s"), ("a.b", "s"), ("t", "")] {
        let error = load_csv(&url, table, &narrow, &schema, source, &()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{table:?} {source:?}: {error}");
    }
    let reserved = write(folder.path(), "3.csv", "a,_SOURCE\n1,2\n");
    let error = load_csv(&url, "t", &reserved, &schema, "s", &()).await.unwrap_err();
    assert!(error.to_string().contains("_SOURCE"), "{error}");
    assert!(summarise(&url, "none", None).await.unwrap_err().to_string().contains("no such table"));
    assert!(summarise("mysql://me:hush@h/d", "t", None).await.unwrap_err().to_string().contains("me:***@h"));
}

#[tokio::test]
async fn names_are_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let csv = write(folder.path(), "1.csv", "\"a \"\"b\"\"; DROP\",select\n1,x\n");
    load_csv(&url, "order\"; --", &csv, &Schema::default(), "s", &()).await.unwrap();
    let summary = summarise(&url, "order\"; --", None).await.unwrap();
    assert_eq!(summary.columns[0].name, "a \"b\"; DROP");
    assert_eq!(summary.first_rows, [[Some("1".into()), Some("x".into()), Some("s".into())]]);
}

#[tokio::test]
async fn loads_of_one_file_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let csv = write(folder.path(), "1.csv", trips(3_000));
    let schema = trip_schema();
    let load = |source| load_csv(&url, "trips", &csv, &schema, source, &());
    let (a, b, c) = tokio::join!(load("one"), load("one"), load("two"));
    assert_eq!((a.unwrap().rows, b.unwrap().rows, c.unwrap().rows), (3_000, 3_000, 3_000));
    assert_eq!(summarise(&url, "trips", None).await.unwrap().rows, 6_000);
}
