//! Loads and unloads whose future is dropped, at instants that matter.

use std::time::Duration;

use flow_data::{Input, Mode, Select, TableLoadOptions, UnloadOptions, Warehouse};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use crate::cluster;
use crate::tables::notes;

const ROWS: usize = 40_000;

/// Waits until the server has forgotten all sessions of a name and all staging tables.
async fn forgotten(conn: &mut PgConnection, application: &str) {
    let sql = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name = $1) + \
               (SELECT count(*) FROM pg_class WHERE relname LIKE '\\_flow\\_data\\_staging\\_%' \
                AND relnamespace = to_regnamespace($1))";
    for _ in 0..1_000 {
        let left: i64 = sqlx::query_scalar(sql).bind(application).fetch_one(&mut *conn).await.unwrap();
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = "SELECT string_agg(state || ': ' || query, '; ') FROM pg_stat_activity WHERE application_name = $1";
    let told: Option<String> = sqlx::query_scalar(told).bind(application).fetch_one(conn).await.unwrap();
    panic!("the server still has: {told:?}");
}

async fn run(conn: &mut PgConnection, sql: &str) {
    raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.unwrap();
}

fn big(folder: &std::path::Path) -> Input {
    let path = folder.join("big.parquet");
    notes(&path, ROWS);
    Input::parquet(path)
}

/// Sessions of a schema of its own are told by its name.
fn own(url: &str, name: &str) -> String {
    format!("{url}?application_name={name}&options=-c%20search_path%3D{name}")
}

#[tokio::test]
async fn a_dropped_load_leaves_nothing_on_the_server() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    run(&mut conn, "CREATE SCHEMA dropped").await;
    let given = big(folder.path());
    let own = own(&url, "dropped");
    let warehouse = Warehouse::open(&own).unwrap();
    let mut options = TableLoadOptions::default();
    warehouse.load(&given, "t", &options, &()).await.unwrap();
    for (mode, connections) in [
        (Mode::Append, 1),
        (Mode::Append, 2),
        (Mode::Replace, 1),
        (Mode::Replace, 2),
        (Mode::Upsert(vec!["id".into()]), 2),
    ] {
        (options.mode, options.connections) = (mode, connections);
        let begun = tokio::sync::Notify::new();
        let progress = |_, _| begun.notify_one();
        tokio::select! {
            outcome = warehouse.load(&given, "t", &options, &progress) => panic!("not yet: {outcome:?}"),
            () = begun.notified() => {}
        }
        forgotten(&mut conn, "dropped").await;
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM dropped.t").fetch_one(&mut conn).await.unwrap();
        assert_eq!(rows, ROWS as i64, "{options:?}");
    }
}

/// A program that cancels a load and ends awaits `settled` in between.
#[tokio::test]
async fn the_staging_table_of_a_dropped_load_is_gone_when_all_is_settled() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    run(&mut conn, "CREATE SCHEMA settles").await;
    let given = big(folder.path());
    let warehouse = Warehouse::open(&own(&url, "settles")).unwrap();
    let mut options = TableLoadOptions::default();
    options.connections = 2;
    let begun = tokio::sync::Notify::new();
    let progress = |_, _| begun.notify_one();
    tokio::select! {
        outcome = warehouse.load(&given, "t", &options, &progress) => panic!("not yet: {outcome:?}"),
        () = begun.notified() => {}
    }
    let count = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'settles'::regnamespace";
    let tables: i64 = sqlx::query_scalar(count).fetch_one(&mut conn).await.unwrap();
    assert_eq!(tables, 1, "the staging table is seen by all");
    flow_data::settled().await;
    let tables: i64 = sqlx::query_scalar(count).fetch_one(&mut conn).await.unwrap();
    assert_eq!(tables, 0);
}

/// The server is deep in a statement and hears nothing of us: it waits for a lock that another has.
#[tokio::test]
async fn a_load_that_is_dropped_while_the_server_waits_is_ended() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    run(&mut conn, "CREATE SCHEMA waits").await;
    let given = big(folder.path());
    let own = own(&url, "waits");
    let warehouse = Warehouse::open(&own).unwrap();
    let mut options = TableLoadOptions::default();
    warehouse.load(&given, "t", &options, &()).await.unwrap();
    options.mode = Mode::Replace;
    options.connections = 2;
    run(&mut conn, "BEGIN; LOCK TABLE waits.t IN ACCESS SHARE MODE").await;
    let mut other = PgConnection::connect(&url).await.unwrap();
    let waits = async {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'waits' AND wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut other).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        outcome = warehouse.load(&given, "t", &options, &()) => panic!("it had to wait: {outcome:?}"),
        () = waits => {}
    }
    // We still hold the lock that it waited for.
    forgotten(&mut other, "waits").await;
    run(&mut conn, "COMMIT").await;
    assert_eq!(warehouse.load(&given, "t", &options, &()).await.unwrap().replaced, ROWS as u64);
}

#[tokio::test]
async fn a_dropped_unload_leaves_no_file() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    let own = own(&url, "unloads");
    let warehouse = Warehouse::open(&own).unwrap();
    let file = folder.path().join("out.parquet");
    let begun = tokio::sync::Notify::new();
    let progress = |_, _| begun.notify_one();
    let select = Select::Query("SELECT n, repeat('x', 100) FROM generate_series(1, 100000000) n".into());
    let options = UnloadOptions::default();
    tokio::select! {
        outcome = warehouse.unload(&select, &file, &options, &progress) => panic!("{outcome:?}"),
        () = begun.notified() => {}
    }
    forgotten(&mut conn, "unloads").await;
    let mut left = usize::MAX;
    // The thread that writes ends when it next looks.
    for _ in 0..1_000 {
        left = folder.path().read_dir().unwrap().count();
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(left, 0);
}
