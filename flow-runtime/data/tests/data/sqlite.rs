//! Loads into SQLite.

use std::collections::BTreeSet;
use std::sync::Mutex;

use flow_data::{
    ColumnType, Error, Field, Input, ParquetOptions, Schema, Select, TableLoadOptions, Type, Unit, UnloadOptions,
    Warehouse, ask, execute, load_csv, load_parquet, parquetize, read_parquet_fields, summarise,
};
use sqlx::{Connection, SqliteConnection};

use crate::files::{trip_schema, trips, write};
use crate::tables::{self, Value};

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

/// How far the file was read tells how many rows were in memory. Most rows are short here, and some are long: what they are on average
/// says nothing of those.
#[tokio::test]
async fn rows_of_a_parquet_file_are_read_by_what_they_take() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let path = folder.path().join("t.parquet");
    let fields = [Field::new("id", ColumnType::Int32), Field::new("note", ColumnType::Text)];
    let note = |n: i128| if n < 50_000 { n.to_string() } else { format!("{n:04000}") };
    let rows: Vec<_> = (0..52_000).map(|n| vec![Value::Int(n), Value::Text(note(n))]).collect();
    tables::write(&path, &fields, &rows, rows.len());
    let mut options = TableLoadOptions::default();
    for memory in [None, Some(1 << 20)] {
        options.memory = memory;
        let read = Mutex::new(BTreeSet::from([0]));
        let progress = |rows, _| {
            read.lock().unwrap().insert(rows);
        };
        let warehouse = Warehouse::open(&url).unwrap();
        let loaded = warehouse.load(&Input::parquet(&path), "t", &options, &progress).await.unwrap();
        assert_eq!(loaded.rows, 52_000);
        let read: Vec<u64> = read.into_inner().unwrap().into_iter().collect();
        if let Some(memory) = memory {
            // While some rows are loaded, the next are read.
            let of = |row: u64| 4 + note(row.into()).len();
            let taken = read.windows(2).map(|two| (two[0]..two[1]).map(of).sum::<usize>());
            assert!(taken.max().unwrap() < memory as usize / 2 * 9 / 8, "{read:?}");
        } else {
            assert_eq!(read, [0, 8_192, 52_000], "all of it takes 8 MB");
        }
    }
    let query = "SELECT count(*), count(DISTINCT id), sum(length(note)) FROM t WHERE id = CAST(note AS INTEGER)";
    let all = ask(&url, query).await.unwrap();
    assert_eq!(all.rows, [[104_000, 52_000, 2 * (238_890 + 2_000 * 4_000)]]);
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
    assert_eq!(error.to_string(), "table t: it does not fit the file\n  + b text: the table lacks it");
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

/// What a table holds goes to a file and back, in the same types; a query's columns have those of its first row.
#[tokio::test]
async fn a_table_is_unloaded_and_comes_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("t.db").display());
    let warehouse = Warehouse::open(&url).unwrap();
    let fields = [
        Field::new("id", ColumnType::Int64),
        Field::new("fare", ColumnType::Float64),
        Field::new("note", ColumnType::Text),
        Field::new("shared", ColumnType::Bool),
        Field::new("day", ColumnType::Date),
        Field::new("at", ColumnType::Timestamp { unit: Unit::Micro, utc: false }),
        Field::new("hour", ColumnType::Time(Unit::Micro)),
        Field::new("raw", ColumnType::Bytes),
        Field::new("sum", ColumnType::Decimal { precision: 20, scale: 3 }),
        Field::new("small", ColumnType::Int16),
        Field::new("real", ColumnType::Float32),
        Field::new("doc", ColumnType::Json),
    ];
    let sql = "CREATE TABLE t (id INTEGER, fare REAL, note TEXT, shared BOOLEAN, day DATE, at TIMESTAMP, hour TIME, raw BLOB, \
               sum TEXT, small INTEGER, real REAL, doc TEXT); \
               INSERT INTO t VALUES (1, 8.5, 'it''s', 1, '2021-01-31', '2021-01-31 08:05:00.25', '08:05:00', x'00ff', '-12.500', 7, 0.5, '{}'), \
               (9007199254740993, -0.0, '', 0, '1969-12-31', '1969-12-31 23:59:59.999999', '23:59:59.999999', x'', '0.001', -7, 1, '[1]'), \
               (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)";
    execute(&url, sql).await.unwrap();
    let (file, table) = (folder.path().join("t.parquet"), Select::Table("t".into()));
    let mut options = UnloadOptions::default();
    options.fields = fields[8..].to_vec();
    options.row_group_rows = 2;
    let unloaded = warehouse.unload(&table, &file, &options, &()).await.unwrap();
    assert_eq!((unloaded.rows, unloaded.fields.as_slice()), (3, fields.as_slice()));
    assert_eq!(read_parquet_fields(&file).unwrap(), fields);
    warehouse.load(&Input::parquet(&file), "back", &TableLoadOptions::default(), &()).await.unwrap();
    // Days and moments may be written in several ways; all else is the same to the letter.
    let all = "id, fare, note, shared, day, datetime(at, 'subsec'), time(hour, 'subsec'), raw, sum, small, real, doc";
    let same = format!("SELECT {all} FROM t EXCEPT SELECT {all} FROM back");
    assert_eq!(ask(&url, &same).await.unwrap().rows, Vec::<Vec<serde_json::Value>>::new());

    // Less memory is more row groups, of the same rows.
    options.row_group_bytes = 1;
    let parts = warehouse.unload(&table, &file, &options, &()).await.unwrap();
    assert!(parts.rows == 3 && parts.bytes > unloaded.bytes, "{} and {}", parts.bytes, unloaded.bytes);

    let query = Select::Query("SELECT count(*) AS n, max(note) AS note, sum(fare) / 2 AS half FROM t;".into());
    let unloaded = warehouse.unload(&query, &file, &UnloadOptions::default(), &()).await.unwrap();
    let kinds: Vec<_> = unloaded.fields.iter().map(|f| f.kind.to_string()).collect();
    assert_eq!((unloaded.rows, kinds), (1, vec!["int64".into(), "text".into(), "float64".into()]));
    // Without a type a column of a table is a BLOB to a query, whatever is in it.
    execute(&url, "CREATE TABLE untyped (n, b BLOB); INSERT INTO untyped VALUES (7, x'00')").await.unwrap();
    for (rows, want) in [("", ["int64", "bytes"]), (" WHERE false", ["bytes", "bytes"])] {
        let query = Select::Query(format!("SELECT n, b FROM untyped{rows}"));
        let unloaded = warehouse.unload(&query, &file, &UnloadOptions::default(), &()).await.unwrap();
        let kinds: Vec<_> = unloaded.fields.iter().map(|f| f.kind.to_string()).collect();
        assert_eq!(kinds, want, "{rows}");
    }

    for (select, small, want) in [
        ("SELECT 1 AS id UNION ALL SELECT 'two'", None, "column `id` is of no type and holds several kinds: state one"),
        (
            "SELECT 1 AS id UNION ALL SELECT 'two'",
            Some(("id", ColumnType::Int64)),
            "row 2, column `id`: two (TEXT) does not fit int64",
        ),
        (
            "SELECT at FROM (SELECT '2021-01-01 00:00+02:00' AS at)",
            Some(("at", moment(false))),
            "+02:00 (TEXT) does not fit",
        ),
        ("SELECT '2021-01-01 00:00:00.1234567' AS at", Some(("at", moment(false))), "0.1234567 (TEXT) does not fit"),
        ("SELECT day FROM (SELECT 'x' AS day)", Some(("day", ColumnType::Date)), "x (TEXT) does not fit date"),
        ("SELECT 70000 AS small", Some(("small", ColumnType::Int16)), "70000 does not fit int16"),
        ("SELECT 2.5 AS b", Some(("b", ColumnType::Int64)), "does not fit int64"),
        ("SELECT 1 AS a", Some(("b", ColumnType::Int64)), "there is no column `b`; there are `a`"),
    ] {
        let mut options = UnloadOptions::default();
        options.fields = small.into_iter().map(|(name, kind)| Field::new(name, kind)).collect();
        let refused = folder.path().join("refused.parquet");
        let error = warehouse.unload(&Select::Query(select.into()), &refused, &options, &()).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains(want), "{select}: {error}");
        assert!(!refused.exists());
    }
    let error = warehouse.unload(&Select::Table("none".into()), &file, &options, &()).await.unwrap_err();
    assert!(error.to_string().contains("there is no such table"), "{error}");
    assert_eq!(warehouse.count("none", None).await.unwrap(), None);
    let nowhere = Warehouse::open(&format!("sqlite://{}", folder.path().join("none.db").display())).unwrap();
    assert_eq!(nowhere.count("t", None).await.unwrap(), None, "and no file is made");
    assert!(!folder.path().join("none.db").exists());
}

/// A moment in microseconds.
fn moment(utc: bool) -> ColumnType {
    ColumnType::Timestamp { unit: Unit::Micro, utc }
}

/// Tables as others make them: numbers of no exact type, columns that are computed, nulls that come first.
#[tokio::test]
async fn a_table_of_others_is_unloaded() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("t.db").display());
    let warehouse = Warehouse::open(&url).unwrap();
    let sql = "CREATE TABLE t (price DECIMAL(10,2), twice INT GENERATED ALWAYS AS (price * 2), who TEXT, at TEXT, late); \
               INSERT INTO t (price, who, at, late) VALUES (10, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2021-01-01 02:00+02:00', NULL), \
               (10.5, NULL, NULL, 7)";
    execute(&url, sql).await.unwrap();
    let file = folder.path().join("t.parquet");
    let mut options = UnloadOptions::default();
    options.fields = vec![Field::new("who", ColumnType::Uuid), Field::new("at", moment(true))];
    let unloaded = warehouse.unload(&Select::Table("t".into()), &file, &options, &()).await.unwrap();
    let told: Vec<_> = unloaded.fields.iter().map(|f| format!("{} {}", f.name, f.kind)).collect();
    assert_eq!(told, ["price float64", "twice int64", "who uuid", "at timestamp[us, utc]", "late int64"]);
    let frame = crate::files::read(&file);
    assert_eq!(crate::files::column(&frame, "price"), ["10.0", "10.5"]);
    assert_eq!(crate::files::column(&frame, "late"), ["null", "7"]);
    warehouse.load(&Input::parquet(&file), "back", &TableLoadOptions::default(), &()).await.unwrap();
    let back = ask(&url, "SELECT at, who FROM back WHERE at IS NOT NULL").await.unwrap();
    assert!(back.rows[0][0].as_str().unwrap().starts_with("2021-01-01 00:00:00"), "{back:?}");
    assert_eq!(back.rows[0][1], "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
}
