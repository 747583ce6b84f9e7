//! Files and tables that fit nearly: what is taken, what is refused and with which words, what is only warned of.

use std::path::Path;

use flow_data::{
    ColumnType, Error, Field, Input, LOADS_TABLE, LoadReport, Mode, Schema, TableLoadOptions, Type, Unit, Warehouse,
    ask, execute,
};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::cluster;
use crate::heard::Heard;
use crate::tables::{Value, write};

/// A schema or file of its own in each database that is there.
async fn databases(name: &str) -> Vec<(String, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let mut all = vec![(format!("sqlite://{}/t.db", folder.path().display()), folder)];
    all.extend(postgres(name).await.map(|url| (url, tempfile::tempdir().unwrap())));
    all
}

async fn postgres(name: &str) -> Option<String> {
    let url = cluster::url()?;
    execute(&url, &format!("CREATE SCHEMA {name}")).await.unwrap();
    Some(format!("{url}?options=-c%20search_path%3D{name}%20-c%20timezone%3DUTC"))
}

/// A Parquet file with these columns and one row.
fn file(folder: &Path, columns: &[(&str, ColumnType, Value)]) -> Input {
    rows(folder, columns, 1)
}

/// The same with that row several times.
fn rows(folder: &Path, columns: &[(&str, ColumnType, Value)], count: usize) -> Input {
    let path = folder.join(format!("{}.parquet", folder.read_dir().unwrap().count()));
    let fields: Vec<_> = columns.iter().map(|(name, kind, _)| Field::new(*name, kind.clone())).collect();
    let row: Vec<_> = columns.iter().map(|(.., value)| value.clone()).collect();
    write(&path, &fields, &vec![row; count], 10);
    Input::parquet(path)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

async fn load(url: &str, file: &Input, change: impl FnOnce(&mut TableLoadOptions)) -> Result<LoadReport, Error> {
    let mut options = TableLoadOptions::default();
    change(&mut options);
    Warehouse::open(url).unwrap().load(file, "t", &options, &()).await
}

async fn shown(url: &str, query: &str) -> Vec<Vec<Json>> {
    ask(url, query).await.unwrap().rows
}

const MOMENT: ColumnType = ColumnType::Timestamp { unit: Unit::Micro, utc: false };

/// Tables of SQLite that others have made take what their columns keep as it is.
#[tokio::test]
async fn sqlite_goes_by_the_affinity_of_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let create = "CREATE TABLE t (id bigint, small INT8, fare double precision, note varchar(3), raw blob, day text, at datetime, \
                  price DECIMAL(10,2), sum varchar(20), any)";
    execute(&url, create).await.unwrap();
    let decimal = ColumnType::Decimal { precision: 38, scale: 2 };
    let columns = [
        ("id", ColumnType::Int64, Value::Int(i64::MAX.into())),
        ("small", ColumnType::Int16, Value::Int(-7)),
        ("fare", ColumnType::Float64, Value::Float(0.1)),
        ("note", ColumnType::Text, text("007 and more")),
        ("raw", ColumnType::Bytes, Value::Bytes(vec![0, 255])),
        ("day", ColumnType::Date, Value::Int(18_628)),
        ("at", MOMENT, Value::Int(1)),
        ("price", ColumnType::Float64, Value::Float(8.25)),
        ("sum", decimal, Value::Int(10i128.pow(37))),
        ("any", ColumnType::Text, text("007")),
    ];
    let given = file(folder.path(), &columns);
    load(&url, &given, |_| ()).await.unwrap();
    let upsert = |options: &mut TableLoadOptions| options.mode = Mode::Upsert(vec!["id".into()]);
    assert_eq!(load(&url, &given, upsert).await.unwrap().updated, 1);
    let all = "SELECT id, small, fare, note, raw, day, at, price, sum, any FROM t";
    let want = json!([
        i64::MAX,
        -7,
        0.1,
        "007 and more",
        "\\x00ff",
        "2021-01-01",
        "1970-01-01 00:00:00.000001",
        8.25,
        "100000000000000000000000000000000000.00",
        "007"
    ]);
    assert_eq!(Json::from(shown(&url, all).await.remove(0)), want);

    // A word that says nothing to SQLite makes numbers of texts.
    execute(&url, "DROP TABLE t; CREATE TABLE t (id INTEGER, note STRING)").await.unwrap();
    let given = file(
        folder.path(),
        &[columns[1].clone(), columns[9].clone()].map(|(_, kind, value)| match kind {
            ColumnType::Text => ("note", kind, value),
            _ => ("id", kind, value),
        }),
    );
    let error = load(&url, &given, |_| ()).await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
    assert_eq!(
        error.to_string(),
        "table t: it does not fit the file\n  ~ note: the file has text, the table has STRING\nstate the type of `note` where \
         the file is read or made (its Schema, `columns`), or let the database convert `note` (`convert` in the options of the \
         load): it then makes a number of each text that looks like one, for `note`"
    );
    load(&url, &given, |options| options.convert = true).await.unwrap();
    let again = load(&url, &given, |options| {
        upsert(options);
        options.convert = true;
    });
    assert_eq!(again.await.unwrap().updated, 1);
    assert_eq!(shown(&url, "SELECT id, note FROM t").await, [[json!(-7), json!(7)]]);
}

/// What Postgres would convert is refused, in words that name the way.
#[tokio::test]
async fn an_error_says_what_convert_would_do() {
    let Some(url) = postgres("fitting_convert").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let create = "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (a jsonb, b char(3), c int, d real, e timestamptz, f timestamp(3), \
                  g mood, h bytea)";
    execute(&url, create).await.unwrap();
    let columns = [
        ("a", ColumnType::Text, text("[1]")),
        ("b", ColumnType::Text, text("x")),
        ("c", ColumnType::Int64, Value::Int(7)),
        ("d", ColumnType::Float64, Value::Float(0.1)),
        ("e", MOMENT, Value::Int(1_600)),
        ("f", MOMENT, Value::Int(1_600)),
        ("g", ColumnType::Text, text("sad")),
        ("h", ColumnType::Int64, Value::Int(7)),
    ];
    let error = load(&url, &file(folder.path(), &columns), |_| ()).await.unwrap_err();
    let want = "state the type of `a`, `b`, `c`, `d`, `e`, `f`, `g`, `h` where the file is read or made (its Schema, `columns`), \
                or let the database convert `a`, `b`, `c`, `d`, `e`, `f`, `g` (`convert` in the options of the load): it then \
                pads with blanks `b`, rounds `d`, `f`, takes the zone of its session for `e`";
    assert!(error.is_permanent() && error.to_string().ends_with(want), "{error}");
    load(&url, &file(folder.path(), &columns[..7]), |options| options.convert = true).await.unwrap();
    let got = shown(&url, "SELECT a::text, c, d::text, e = '1970-01-01 00:00:00.0016Z', f::text, g::text FROM t").await;
    assert_eq!(
        got,
        [[json!("[1]"), json!(7), json!("0.1"), json!(true), json!("1970-01-01 00:00:00.002"), json!("sad")]]
    );
}

#[tokio::test]
async fn a_column_that_the_file_lacks_is_warned_of() {
    for (url, folder) in databases("fitting_lacks").await {
        execute(&url, "CREATE TABLE t (id bigint, note text, kept text DEFAULT 'x', tip text)").await.unwrap();
        let given = file(folder.path(), &[("id", ColumnType::Int64, Value::Int(1))]);
        let heard = Heard::listen();
        let upsert = Mode::Upsert(vec!["id".into()]);
        for (mode, rows) in [
            (Mode::Append, "every row that is loaded"),
            (Mode::Replace, "every row that is loaded"),
            (upsert, "rows that are new"),
        ] {
            execute(&url, "UPDATE t SET note = 'before'").await.unwrap();
            load(&url, &given, |options| options.mode = mode.clone()).await.unwrap();
            let warnings = heard.warnings();
            let want = format!("the file lacks `note`, `tip` of table t: null in {rows}");
            assert_eq!(warnings, [want], "{mode:?}");
        }
        let kept = shown(&url, "SELECT id, note, tip FROM t").await;
        assert_eq!(kept, [[json!(1), json!("before"), Json::Null]], "an upsert changes what the file has");
        let all = [("id", ColumnType::Int64, Value::Int(1)), ("note", ColumnType::Text, text("n"))];
        let all = [&all[..], &[("tip", ColumnType::Text, text("t"))]].concat();
        load(&url, &file(folder.path(), &all), |_| ()).await.unwrap();
        assert_eq!(heard.warnings(), [""; 0]);
    }
}

#[tokio::test]
async fn a_load_that_was_done_before_is_warned_of() {
    for (url, folder) in databases("fitting_again").await {
        let heard = Heard::listen();
        let given = |count| rows(folder.path(), &[("id", ColumnType::Int64, Value::Int(1))], count);
        let january = |options: &mut TableLoadOptions| options.key = Some("january".into());
        load(&url, &given(2), january).await.unwrap();
        assert_eq!(heard.warnings(), [""; 0]);
        let again = load(&url, &given(3), january).await.unwrap();
        assert_eq!((again.repeated, again.rows), (true, 2));
        let told = heard.warnings().concat();
        let want = format!(
            "a load with the key `january` was done before, of 2 rows; the file has 3 now. To load all the same, give another key, \
             or delete the row of this one from {LOADS_TABLE}"
        );
        assert!(told.starts_with("nothing was loaded into `t` of ") && told.ends_with(&want), "{told}");
        load(&url, &given(2), january).await.unwrap();
        assert!(heard.warnings().concat().contains("of 2 rows. To load"));
        execute(&url, &format!("DELETE FROM {LOADS_TABLE}")).await.unwrap();
        assert!(!load(&url, &given(3), january).await.unwrap().repeated);
    }
}

/// A key that the table has twice cannot be updated; and what is added to the table by others is told of as such.
#[tokio::test]
async fn a_count_that_is_wrong_says_why() {
    for (url, folder) in databases("fitting_counts").await {
        let row = [("id", ColumnType::Int64, Value::Int(7)), ("note", ColumnType::Text, text("new"))];
        let given = file(folder.path(), &row);
        execute(
            &url,
            "CREATE TABLE t (id bigint, note text); INSERT INTO t VALUES (7, 'a'), (7, 'b'), (8, 'c'), (8, 'd')",
        )
        .await
        .unwrap();
        let error = load(&url, &given, |options| options.mode = Mode::Upsert(vec!["id".into()])).await.unwrap_err();
        let told = "the table has the key (id) = (7) more than once";
        assert!(error.is_permanent() && error.to_string().contains(told), "{error:?}");
        let left = shown(&url, "SELECT note FROM t ORDER BY note").await;
        assert_eq!(left, [[json!("a")], [json!("b")], [json!("c")], [json!("d")]], "nothing was changed");

        if url.starts_with("sqlite") {
            continue;
        }
        let trigger = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
                       CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no()";
        execute(&url, trigger).await.unwrap();
        let error = load(&url, &given, |_| ()).await.unwrap_err();
        let told = "1 rows were sent and 0 arrived; nothing was changed. Most likely because of a trigger or a rule of the table";
        assert!(error.is_permanent() && error.to_string().contains(told), "{error:?}");

        execute(&url, "DROP TABLE t").await.unwrap();
        let csv = crate::files::write(folder.path(), "raw.csv", "id\n1\n\\.\n2\n");
        let csv = Input::csv(csv, &Schema::new([("id", Type::Text)]));
        let error = load(&url, &csv, |options| options.raw_csv = true).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("a line `\\.` in the file"), "{error:?}");
    }
}

/// SQLite and BigQuery see no case in a name.
#[tokio::test]
async fn names_that_differ_by_case_alone_are_told_apart_or_refused() {
    let row = [("a", ColumnType::Int64, Value::Int(1)), ("A", ColumnType::Int64, Value::Int(2))];
    for (url, folder) in databases("fitting_names").await {
        let given = file(folder.path(), &row);
        if url.starts_with("postgres") {
            load(&url, &given, |_| ()).await.unwrap();
            continue;
        }
        for url in [url.as_str(), "bigquery://project-1/trips"] {
            let error = load(url, &given, |_| ()).await.unwrap_err();
            let told = "the columns `a` and `A` are one to this database";
            assert!(error.is_permanent() && error.to_string().contains(told), "{url}: {error:?}");
        }
    }
}
