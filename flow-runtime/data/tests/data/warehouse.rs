//! What a load does to the rows that are there, in both databases.

use std::collections::BTreeSet;
use std::sync::Mutex;

use flow_data::{
    ColumnType, Error, Field, Input, LOADS_TABLE, LoadReport, Mode, TableLoadOptions, Warehouse, ask, execute,
    summarise,
};
use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tempfile::TempDir;

use crate::cluster;
use crate::tables::{Value, write};

/// A schema or file of its own in each database that is there.
async fn databases(name: &str) -> Vec<(String, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let mut all = vec![(format!("sqlite://{}/t.db", folder.path().display()), folder)];
    if let Some(url) = cluster::url() {
        execute(&url, &format!("CREATE SCHEMA {name}")).await.unwrap();
        all.push((format!("{url}?options=-c%20search_path%3D{name}"), tempfile::tempdir().unwrap()));
    }
    all
}

/// A Parquet file with an `id`, a `day` and a `note`.
fn file(folder: &TempDir, rows: &[(i128, &str, Option<&str>)]) -> Input {
    let fields = [
        Field::new("id", ColumnType::Int32),
        Field::new("day", ColumnType::Text),
        Field::new("note", ColumnType::Text),
    ];
    let text = |text: &str| Value::Text(text.into());
    let rows: Vec<_> =
        rows.iter().map(|(id, day, note)| vec![Value::Int(*id), text(day), note.map_or(Value::Null, text)]).collect();
    let path = folder.path().join(format!("{}.parquet", folder.path().read_dir().unwrap().count()));
    write(&path, &fields, &rows, 2);
    Input::parquet(path)
}

async fn load(url: &str, file: &Input, mode: Mode, connections: usize) -> Result<LoadReport, Error> {
    let mut options = TableLoadOptions::default();
    (options.mode, options.connections, options.unlogged) = (mode, connections, connections > 1);
    Warehouse::open(url).unwrap().load(file, "t", &options, &()).await
}

async fn shown(url: &str) -> Vec<String> {
    let answer = ask(url, "SELECT id, day, note FROM t ORDER BY id, day, note").await.unwrap();
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    answer.rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join("|")).collect()
}

/// No table is there but those that are named.
async fn tables(url: &str) -> Vec<String> {
    let sql = match url.starts_with("sqlite") {
        true => "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1",
        false => {
            "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY 1"
        }
    };
    ask(url, sql).await.unwrap().rows.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_mode_keeps_and_replaces_what_it_says() {
    for (url, folder) in databases("modes").await {
        for connections in [1, 2] {
            execute(&url, "DROP TABLE IF EXISTS t").await.unwrap();
            let first = file(&folder, &[(1, "a", None), (2, "a", Some("x")), (3, "b", Some("y"))]);
            let key = || Mode::Upsert(vec!["id".into()]);
            let report = load(&url, &first, Mode::Append, connections).await.unwrap();
            assert_eq!((report.rows, report.replaced, report.updated), (3, 0, 0));
            let second = file(&folder, &[(3, "b", Some("z")), (4, "b", None)]);
            let report = load(&url, &second, key(), connections).await.unwrap();
            assert_eq!((report.rows, report.replaced, report.updated), (2, 0, 1));
            assert_eq!(shown(&url).await, ["1|a|null", "2|a|x", "3|b|z", "4|b|null"]);

            let part = |value: &str| Mode::Partition { column: "day".into(), value: value.into() };
            let third = file(&folder, &[(5, "b", None)]);
            let report = load(&url, &third, part("b"), connections).await.unwrap();
            assert_eq!((report.rows, report.replaced), (1, 2));
            assert_eq!(shown(&url).await, ["1|a|null", "2|a|x", "5|b|null"]);
            let error = load(&url, &third, part("a"), connections).await.unwrap_err();
            assert!(error.to_string().contains("1 rows have another `day` than `a`"), "{error}");

            let report = load(&url, &second, Mode::Replace, connections).await.unwrap();
            assert_eq!((report.rows, report.replaced), (2, 3));
            assert_eq!(shown(&url).await, ["3|b|z", "4|b|null"]);
            assert_eq!(tables(&url).await, ["t"], "no staging table is left");
        }
    }
}

/// How Postgres keeps the staging tables while rows arrive, and the table after that: `p` is in the log, `u` is not.
#[tokio::test]
async fn a_staging_table_is_kept_out_of_the_log_unless_it_takes_the_tables_place() {
    for (url, folder) in databases("unlogged").await.into_iter().filter(|(url, _)| !url.starts_with("sqlite")) {
        let given = file(&folder, &[(1, "a", None), (2, "a", Some("x"))]);
        load(&url, &given, Mode::Append, 1).await.unwrap();
        let kept = |names: &str| {
            let sql = format!(
                "SELECT DISTINCT relpersistence::text FROM pg_class WHERE relkind = 'r' AND {names} \
                 AND relnamespace = current_schema()::regnamespace"
            );
            // The load holds this thread.
            let look = async { ask(&url, &sql).await.unwrap().rows[0][0].as_str().unwrap().to_owned() };
            let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            std::thread::scope(|scope| scope.spawn(|| runtime().block_on(look)).join().unwrap())
        };
        for (mode, unlogged, want) in
            [(Mode::Append, true, "u"), (Mode::Append, false, "p"), (Mode::Replace, true, "p")]
        {
            let mut options = TableLoadOptions::default();
            (options.mode, options.connections, options.unlogged) = (mode.clone(), 2, unlogged);
            let seen = Mutex::new(BTreeSet::new());
            let progress = |_, _| {
                seen.lock().unwrap().insert(kept("starts_with(relname, '_flow_data_staging_')"));
            };
            Warehouse::open(&url).unwrap().load(&given, "t", &options, &progress).await.unwrap();
            assert_eq!(seen.into_inner().unwrap(), BTreeSet::from([want.to_owned()]), "{mode:?} {unlogged}");
            assert_eq!(kept("relname = 't'"), "p");
        }
    }
}

#[tokio::test]
async fn a_missing_table_is_made_by_every_mode() {
    for (url, folder) in databases("made").await {
        for connections in [1, 2] {
            let given = file(&folder, &[(1, "a", None), (2, "a", Some("x"))]);
            for mode in [
                Mode::Append,
                Mode::Replace,
                Mode::Upsert(vec!["id".into(), "day".into()]),
                Mode::Partition { column: "day".into(), value: "a".into() },
            ] {
                execute(&url, "DROP TABLE IF EXISTS t").await.unwrap();
                assert_eq!(load(&url, &given, mode.clone(), connections).await.unwrap().rows, 2, "{mode:?}");
                // Again: a second load finds what the first made.
                let again = load(&url, &given, mode.clone(), connections).await.unwrap();
                let want = match mode {
                    Mode::Append => (0, 0),
                    Mode::Upsert(_) => (0, 2),
                    _ => (2, 0),
                };
                assert_eq!((again.replaced, again.updated), want, "{mode:?}");
                let rows = if mode == Mode::Append { 4 } else { 2 };
                assert_eq!(summarise(&url, "t", None).await.unwrap().rows, rows, "{mode:?}");
                assert_eq!(tables(&url).await, ["t"], "{mode:?}");
            }
            let wrong = file(&folder, &[(1, "a", None), (2, "b", None)]);
            execute(&url, "DROP TABLE t").await.unwrap();
            let part = Mode::Partition { column: "day".into(), value: "a".into() };
            let error = load(&url, &wrong, part, connections).await.unwrap_err();
            assert!(error.to_string().contains("1 rows have another `day`"), "{error}");
            assert_eq!(tables(&url).await, [""; 0], "nothing was made");
        }
    }
}

#[tokio::test]
async fn keys_that_mean_nothing_are_refused() {
    for (url, folder) in databases("keys").await {
        let good = file(&folder, &[(1, "a", None)]);
        load(&url, &good, Mode::Append, 1).await.unwrap();
        let key = |name: &str| Mode::Upsert(vec![name.into()]);
        let twice = file(&folder, &[(7, "a", None), (8, "b", None), (7, "c", None)]);
        let null = file(&folder, &[(7, "a", None), (8, "b", Some("x"))]);
        for (given, mode, want) in [
            (&twice, key("id"), "the key (id) = (7) comes more than once"),
            (&null, key("note"), "1 rows have no value in the key (note)"),
            (&good, key("nothing"), "the file has no column `nothing`"),
            (&good, Mode::Upsert(vec![]), "at least one key column"),
        ] {
            let error = load(&url, given, mode, 1).await.unwrap_err();
            assert!(error.is_permanent() && error.to_string().contains(want), "{error}");
            assert_eq!(shown(&url).await, ["1|a|null"]);
        }
        // An object is fetched to somewhere that nobody knows.
        let Input::Parquet(path) = &twice else { panic!("{twice:?}") };
        let error = load(&url, &Input::object(path.display().to_string()), key("id"), 1).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: the key (id) = (7)", path.display())), "{error}");
    }
}

#[tokio::test]
async fn a_load_of_one_name_is_done_once() {
    for (url, folder) in databases("named").await {
        let warehouse = Warehouse::open(&url).unwrap();
        let mut options = TableLoadOptions::default();
        options.key = Some("it's january".into());
        let given = file(&folder, &[(1, "a", None), (2, "b", None)]);
        let other = file(&folder, &[(9, "z", None)]);
        // At once: one of them does it.
        let (a, b) =
            tokio::join!(warehouse.load(&given, "t", &options, &()), warehouse.load(&given, "t", &options, &()));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!((a.rows, b.rows), (2, 2));
        assert!(a.repeated != b.repeated, "{a:?} {b:?}");
        let again = warehouse.load(&other, "t", &options, &()).await.unwrap();
        assert_eq!((again.rows, again.repeated), (2, true), "what the first did");
        assert_eq!(shown(&url).await, ["1|a|null", "2|b|null"]);
        options.key = Some("february".into());
        assert!(!warehouse.load(&other, "t", &options, &()).await.unwrap().repeated);
        options.key = Some("it's january".into());
        assert!(!warehouse.load(&other, "another", &options, &()).await.unwrap().repeated, "of another table");
        let kept = ask(&url, &format!("SELECT table_name, key, rows FROM {LOADS_TABLE} ORDER BY 1, 2")).await.unwrap();
        assert_eq!(kept.rows.len(), 3, "{kept:?}");
        // What fails is not done.
        options.key = Some("march".into());
        options.mode = Mode::Upsert(vec!["id".into()]);
        let twice = file(&folder, &[(5, "a", None), (5, "b", None)]);
        warehouse.load(&twice, "t", &options, &()).await.unwrap_err();
        assert!(!warehouse.load(&other, "t", &options, &()).await.unwrap().repeated);
        options.key = Some(String::new());
        assert!(matches!(warehouse.load(&other, "t", &options, &()).await, Err(Error::Invalid(_))));
    }
}

#[tokio::test]
async fn drift_stops_a_load_before_it_begins() {
    for (url, folder) in databases("drift").await {
        let warehouse = Warehouse::open(&url).unwrap();
        let given = file(&folder, &[(1, "a", None)]);
        let real = if url.starts_with("sqlite") { "REAL" } else { "double precision" };
        execute(&url, &format!("CREATE TABLE t (id {real}, note text, must text NOT NULL, may text DEFAULT 'x')"))
            .await
            .unwrap();
        let error = load(&url, &given, Mode::Replace, 2).await.unwrap_err();
        let want = format!(
            "table t: it does not fit the file\n  ~ id: the file has int32, the table has {real}\n  + day text: the table \
             lacks it\n  - must text not null: the file lacks it\n  - may text: the file lacks it, the database fills it\n\
             state the type of `id` where the file is read or made (its Schema, `columns`), or let the database convert `id` \
             (`convert` in the options of the load)"
        );
        assert!(error.is_permanent());
        // SQLite tells the types as they were written.
        assert_eq!(error.to_string().to_lowercase(), want.to_lowercase());
        let Input::Parquet(path) = &given else { panic!() };
        let fields = flow_data::read_parquet_fields(path).unwrap();
        let drift = warehouse.compare("t", &fields).await.unwrap().unwrap();
        assert!(drift.stops() && drift.differences.len() == 4, "{drift}");
        assert!(warehouse.compare("none", &fields).await.unwrap().is_none());
        assert_eq!(tables(&url).await, ["t"]);
    }
}

/// Number 45: the file of today has other columns than that of yesterday.
#[tokio::test]
async fn what_has_changed_upstream_is_told_and_nothing_is_loaded() {
    let field = |name: &str, kind| Field { name: name.into(), kind, nullable: true };
    let (int, text) = (|name| field(name, ColumnType::Int64), |name| field(name, ColumnType::Text));
    let yesterday = [int("id"), text("note")];
    for (url, folder) in databases("upstream").await {
        let given = |name: &str, fields: &[Field]| {
            let value = |field: &Field| match field.kind {
                ColumnType::Text => Value::Text("x".into()),
                _ => Value::Int(1),
            };
            let path = folder.path().join(name);
            write(&path, fields, &[fields.iter().map(value).collect()], 10);
            Input::parquet(path)
        };
        load(&url, &given("yesterday", &yesterday), Mode::Append, 1).await.unwrap();
        let id = if url.starts_with("sqlite") { "integer" } else { "bigint" };
        for (what, fields, lines) in [
            ("added", vec![int("id"), text("note"), text("more")], vec!["+ more text: the table lacks it".to_owned()]),
            (
                "renamed",
                vec![int("id"), text("remark")],
                vec!["+ remark text: the table lacks it".into(), "- note text: the file lacks it".into()],
            ),
            (
                "other type",
                vec![text("id"), text("note")],
                vec![format!("~ id: the file has text, the table has {id}")],
            ),
        ] {
            for mode in [Mode::Append, Mode::Replace] {
                let error = load(&url, &given("today", &fields), mode, 1).await.unwrap_err();
                let told = error.to_string().to_lowercase();
                assert!(error.is_permanent() && lines.iter().all(|line| told.contains(line)), "{url}, {what}: {told}");
                let rows = ask(&url, "SELECT id, note FROM t").await.unwrap().rows;
                assert_eq!(rows, [[Json::from(1), Json::from("x")]], "{url}, {what}");
                assert_eq!(tables(&url).await, ["t"], "{url}, {what}");
            }
        }
    }
}

async fn run(conn: &mut PgConnection, sql: &str) {
    raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.unwrap();
}

/// A table with more to it than columns keeps all of that when its rows are replaced.
#[tokio::test]
async fn what_hangs_on_a_table_stays() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    execute(&url, "CREATE SCHEMA hangs").await.unwrap();
    let url = format!("{url}?options=-c%20search_path%3Dhangs");
    let mut conn = PgConnection::connect(&url).await.unwrap();
    let given = file(&folder, &[(1, "a", None), (2, "b", None)]);
    let sql = "CREATE TABLE t (id int PRIMARY KEY, day text, note text, at timestamptz DEFAULT now()); \
               CREATE VIEW v AS SELECT id FROM t; INSERT INTO t VALUES (7, 'x', 'y')";
    run(&mut conn, sql).await;
    for connections in [1, 2] {
        load(&url, &given, Mode::Replace, connections).await.unwrap();
        let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM v WHERE id < 3").fetch_one(&mut conn).await.unwrap();
        assert_eq!(seen, 2);
        let index: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert_eq!(index, 1);
        let kept: i64 =
            sqlx::query_scalar("SELECT count(*) FROM t WHERE at IS NULL").fetch_one(&mut conn).await.unwrap();
        assert_eq!(kept, 0, "defaults are filled");
    }
    assert_eq!(tables(&url).await, ["t"]);
}

/// What killed loads left is dropped by the next one, and nothing else.
#[tokio::test]
async fn a_leftover_is_found_and_dropped() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    execute(&url, "CREATE SCHEMA leftover").await.unwrap();
    let url = format!("{url}?options=-c%20search_path%3Dleftover");
    let mut conn = PgConnection::connect(&url).await.unwrap();
    let given = file(&folder, &[(1, "a", None)]);
    load(&url, &given, Mode::Replace, 2).await.unwrap();
    // Looks for the name that a staging table has while the load waits for us.
    run(&mut conn, "BEGIN; LOCK TABLE t IN ACCESS SHARE MODE").await;
    let waiting = tokio::spawn({
        let (url, given) = (url.clone(), given.clone());
        async move { load(&url, &given, Mode::Replace, 2).await }
    });
    let mut other = PgConnection::connect(&url).await.unwrap();
    let sql = "SELECT relname::text FROM pg_class WHERE relname LIKE '\\_flow\\_data\\_staging\\_%' \
               AND relnamespace = 'leftover'::regnamespace";
    let name: String = loop {
        match sqlx::query_scalar(sql).fetch_optional(&mut other).await.unwrap() {
            Some(name) => break name,
            None => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    };
    run(&mut conn, "COMMIT").await;
    waiting.await.unwrap().unwrap();
    assert_eq!(tables(&url).await, ["t"]);
    // The same name, and one of another load of the table; both without their loads. And one that is nobody's.
    let (family, _) = name.rsplit_once('_').unwrap();
    let others = format!("{family}_00000000000000ff");
    run(
        &mut conn,
        &format!("CREATE TABLE {name} (x int); CREATE TABLE {others} (x int); CREATE TABLE {family}_mine (x int)"),
    )
    .await;
    load(&url, &given, Mode::Replace, 2).await.unwrap();
    assert_eq!(tables(&url).await, [format!("{family}_mine"), "t".into()]);
    run(&mut conn, &format!("CREATE TABLE {name} (x int)")).await;
    load(&url, &given, Mode::Append, 1).await.unwrap();
    assert_eq!(tables(&url).await, [format!("{family}_mine"), "t".into()]);
}

/// A task's future must be able to change threads.
#[test]
fn futures_change_threads() {
    fn moves<T: Send>(_: T) {}
    let warehouse = Warehouse::open("sqlite://t.db").unwrap();
    let (file, options) = (Input::parquet("f.parquet"), TableLoadOptions::default());
    moves(warehouse.load(&file, "t", &options, &()));
    let (select, options) = (flow_data::Select::Table("t".into()), flow_data::UnloadOptions::default());
    moves(warehouse.unload(&select, "f.parquet", &options, &()));
    moves(flow_data::load_parquet("sqlite://t.db", "t", "f.parquet", "s", &()));
}
