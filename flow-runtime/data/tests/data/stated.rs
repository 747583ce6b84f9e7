//! Every type that a text file can be stated to hold, by every way: into Parquet, into a table, and back.

use flow_data::{
    CsvOptions, Error, Input, Misfit, ParquetOptions, Schema, Select, TableLoadOptions, Type, UnloadOptions, Warehouse,
    ask, execute, parquetize, parquetize_json, read_parquet_fields, read_parquet_schema,
};
use polars_arrow::array::{Array, BinaryViewArray, FixedSizeBinaryArray, PrimitiveArray};
use sqlx::{Connection, PgConnection};

use crate::cluster;
use crate::files::{arrays, write};
use crate::tables::Random;
use crate::types::different;

const UUID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

fn kinds() -> Vec<Type> {
    let digits = [(5, 2), (9, 0), (12, 2), (18, 18), (19, 0), (38, 0), (38, 10), (38, 38)];
    let plain = [Type::Bool, Type::Int, Type::Float, Type::Date, Type::Timestamp, Type::Text];
    let more = [Type::Time, Type::Timestamptz, Type::Uuid, Type::Json];
    plain.into_iter().chain(more).chain(digits.map(|(digits, after)| Type::Decimal(digits, after))).collect()
}

/// A value in one of the ways in which it may be written, which Postgres reads as well.
fn text(random: &mut Random, kind: Type) -> String {
    const TEXTS: [&str; 6] = ["a", "ä€😀", "\\N", "a,\"b\"\n\t'", "NULL", " "];
    const JSON: [&str; 6] = ["{\"a\":  [1, null]}", "\"x\\\"y,\\u00e4\"", "1.50", "[ ]", "\"ä€😀\"", "false"];
    let mut below = |end: u64| random.below(end);
    let day = |below: &mut dyn FnMut(u64) -> u64| {
        format!("{:04}-{:02}-{:02}", 1 + below(9_999), 1 + below(12), 1 + below(28))
    };
    let clock = |below: &mut dyn FnMut(u64) -> u64| {
        let clock = format!("{:02}:{:02}", below(24), below(60));
        match below(4) {
            0 => clock,
            1 => format!("{clock}:{:02}", below(60)),
            2 => format!("{clock}:{:02}.{:06}", below(60), below(1_000_000)),
            _ => format!("{clock}:59.{}0", below(100_000)),
        }
    };
    match kind {
        Type::Bool => ["true", "F", "1", "f", "TRUE"][below(5) as usize].into(),
        Type::Int => (random.next() as i64).to_string(),
        Type::Float => format!("{}.{}e{}", below(100), below(1_000), below(40)),
        Type::Date => day(&mut below),
        Type::Time => clock(&mut below),
        Type::Timestamp => format!("{} {}", day(&mut below), clock(&mut below)),
        Type::Timestamptz => {
            let zone = ["Z", "+01:00", "-0930", "+14", "-00:01"][below(5) as usize];
            format!("{}T{}{zone}", day(&mut below), clock(&mut below))
        }
        Type::Uuid => {
            let digits = format!("{:016x}{:016x}", random.next(), random.next());
            let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
            match random.below(4) {
                0 => digits,
                1 => format!("{{{}}}", parts.join("-")),
                2 => parts.join("-").to_uppercase(),
                _ => parts.join("-"),
            }
        }
        Type::Decimal(digits, after) => {
            // As many digits as there may be, or few.
            let length = 1 + below(digits.into()) as usize;
            let number: String = (0..length).map(|_| char::from(b'0' + below(10) as u8)).collect();
            let sign = ["", "-", "+"][below(3) as usize];
            let padded = format!("{number:0>width$}", width = usize::from(after) + 1);
            let (whole, fraction) = padded.split_at(padded.len() - usize::from(after));
            match below(4) {
                0 => format!("{sign}{number}e-{after}"),
                1 => format!("{sign}00{whole}.{fraction}00"),
                2 if after > 0 => format!("{sign}{whole}.{fraction}E0"),
                _ => format!("{sign}{whole}.{fraction}"),
            }
        }
        Type::Json => JSON[below(6) as usize].into(),
        Type::Text => TEXTS[below(6) as usize].into(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// The same value in a line of JSON: a number as one where JSON has it.
fn in_json(text: &str, kind: Type) -> String {
    let is_json = serde_json::from_str::<serde_json::Value>(text).is_ok();
    let as_it_is = matches!(kind, Type::Json | Type::Int | Type::Float | Type::Decimal(..)) && is_json;
    if as_it_is { text.into() } else { serde_json::to_string(text).unwrap() }
}

/// Random tables: what the server has is what it reads itself of the same text, whichever way it came; and what is unloaded
/// and loaded again is the same, in the same types.
#[tokio::test]
async fn every_way_makes_the_same_table_of_every_type() {
    let Some(url) = cluster::url() else { return };
    let cases: u64 = std::env::var("DATA_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::open(&url).unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    for seed in 0..cases {
        let mut random = Random(seed);
        let kinds: Vec<_> = kinds().into_iter().filter(|_| seed == 0 || random.below(2) == 0).collect();
        let named = kinds.iter().enumerate().map(|(n, kind)| (format!("c{n}"), *kind));
        let schema = Schema::new([("n".to_owned(), Type::Int)].into_iter().chain(named));
        let names: Vec<_> = schema.columns().iter().map(|c| c.name.clone()).collect();
        let rows = random.below(300);
        let (mut csv, mut json) = (names.join(",") + "\n", String::new());
        for n in 0..rows {
            let (mut line, mut object) = (vec![n.to_string()], vec![format!("\"n\":{n}")]);
            for (kind, name) in kinds.iter().zip(&names[1..]) {
                if random.below(6) == 0 {
                    line.push(String::new());
                    continue;
                }
                let text = text(&mut random, *kind);
                object.push(format!("{}:{}", quoted(name), in_json(&text, *kind)));
                let plain = !text.contains([',', '"', '\n']) && random.below(3) > 0;
                line.push(if plain { text } else { quoted(&text) });
            }
            csv.push_str(&(line.join(",") + "\n"));
            json.push_str(&format!("{{{}}}\n", object.join(",")));
        }
        let parquet = |name: &str| folder.path().join(format!("{seed}-{name}.parquet"));
        let csv = write(folder.path(), "f.csv", csv);
        let json = write(folder.path(), "f.jsonl", json);
        let options = ParquetOptions::default();
        parquetize(&csv, parquet("csv"), &schema, &options, &()).unwrap();
        parquetize_json(&json, parquet("json"), &schema, &options, &()).unwrap();
        let fields = read_parquet_fields(parquet("csv")).unwrap();
        assert_eq!(fields, schema.columns().iter().map(flow_data::Field::from).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(read_parquet_schema(parquet("json")).unwrap(), schema, "seed {seed}");

        let stated = Input::csv(&csv, &schema);
        let by_parquet = Input::parquet(parquet("csv"));
        let by_json = Input::parquet(parquet("json"));
        let ways = [("raw", &stated), ("parsed", &stated), ("parquet", &by_parquet), ("json", &by_json)];
        let table = |way: &str| format!("stated_{seed}_{way}");
        for (way, input) in ways {
            let mut options = TableLoadOptions::default();
            options.raw_csv = way == "raw";
            let report = warehouse.load(input, &table(way), &options, &()).await.unwrap();
            assert_eq!(report.rows, rows, "seed {seed}, {way}");
            let differ = different(&mut conn, &table("raw"), &table(way), &fields).await;
            assert_eq!(differ, 0, "seed {seed}, {way}");
        }
        let back = parquet("back");
        let select = Select::Table(table("parquet"));
        let unloaded = warehouse.unload(&select, &back, &UnloadOptions::default(), &()).await.unwrap();
        assert_eq!((unloaded.rows, unloaded.fields), (rows, fields.clone()), "seed {seed}");
        let again = Input::parquet(&back);
        warehouse.load(&again, &table("again"), &TableLoadOptions::default(), &()).await.unwrap();
        assert_eq!(different(&mut conn, &table("raw"), &table("again"), &fields).await, 0, "seed {seed}");
    }
}

/// What is no value of a type, and what is said of it.
const UNFIT: [(Type, &str, &str); 19] = [
    (Type::Decimal(5, 2), "1.005", "a number of at most 2 digits after the point (it is not rounded)"),
    (Type::Decimal(5, 2), "1e-3", "a number of at most 2 digits after the point (it is not rounded)"),
    (Type::Decimal(5, 2), "-1000", "a number of at most 3 digits before the point"),
    (Type::Decimal(5, 2), "1e3", "a number of at most 3 digits before the point"),
    (Type::Decimal(38, 0), "123456789012345678901234567890123456789", "a number of at most 38 digits before the point"),
    (Type::Decimal(5, 2), "NaN", "a number of at most 5 digits, 2 of them after the point"),
    (Type::Decimal(5, 2), "1.000.000", "a number of at most 5 digits, 2 of them after the point"),
    (Type::Time, "24:00:00", "a time of day such as 08:05:00"),
    (Type::Time, "08:05:00.1234567", "a time of day such as 08:05:00"),
    (Type::Time, "08:05:00+01", "a time of day such as 08:05:00"),
    (
        Type::Timestamptz,
        "2021-01-31 08:05:00",
        "a timestamp with its zone: an offset such as +01:00, or Z, is to follow",
    ),
    (Type::Timestamptz, "2021-01-31", "a timestamp with its zone such as 2021-01-31 08:05:00+01:00"),
    (Type::Timestamptz, "08:05:00Z", "a timestamp with its zone such as 2021-01-31 08:05:00+01:00"),
    (Type::Uuid, "a0eebc99", "a UUID such as a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    (Type::Uuid, "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a UUID such as a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    (Type::Json, "{'a': 1}", "JSON"),
    (Type::Json, "NaN", "JSON"),
    (Type::Json, "{} {}", "JSON"),
    (Type::Json, "[1", "JSON"),
];

#[tokio::test]
async fn what_does_not_fit_is_named_by_each_choice() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = cluster::url().map(|url| Warehouse::open(&url).unwrap());
    let sqlite = Warehouse::open(&format!("sqlite://{}/t.db", folder.path().display())).unwrap();
    for (n, (kind, text, wanted)) in UNFIT.into_iter().enumerate() {
        let schema = Schema::new([("v", kind), ("id", Type::Int)]);
        let csv = write(folder.path(), "f.csv", format!("id,v\n1,\n2,{text}\n3,\"\"\n"));
        let parquet = folder.path().join(format!("{n}.parquet"));
        let mut options = ParquetOptions::default();
        let error = parquetize(&csv, &parquet, &schema, &options, &()).unwrap_err();
        let want = format!("row 2, column `v`: `{text}` is not {wanted}");
        let told = |error: &Error| error.to_string().split_once(": ").unwrap().1.to_owned();
        assert_eq!(told(&error), want);
        assert!(!parquet.exists());

        options.misfit = Misfit::Null;
        let file = parquetize(&csv, &parquet, &schema, &options, &()).unwrap();
        assert_eq!((file.rows, file.quarantined, file.nulled), (3, 0, 1), "{want}");
        assert_eq!(arrays(&parquet)[0].null_count(), 3, "{want}");

        options.misfit = Misfit::Quarantine;
        let file = parquetize(&csv, &parquet, &schema, &options, &()).unwrap();
        assert_eq!((file.rows, file.quarantined, file.nulled), (2, 1, 0), "{want}");
        let kept = std::fs::read_to_string(file.quarantine.unwrap()).unwrap();
        assert!(kept.contains(&format!("\n2,\"v\",\"v: `{text}` is not {wanted}\",\"2,{text}\"")), "{kept}");
        let ids = arrays(&parquet).swap_remove(1);
        let ids: &PrimitiveArray<i64> = ids.as_any().downcast_ref().unwrap();
        assert_eq!(ids.values().as_slice(), [1, 3]);

        if kind != Type::Json {
            let line = format!("{{\"id\":1}}\n{{\"id\":2,\"v\":{}}}\n", serde_json::to_string(text).unwrap());
            let json = write(folder.path(), "f.jsonl", line);
            let error = parquetize_json(&json, &parquet, &schema, &ParquetOptions::default(), &()).unwrap_err();
            assert_eq!(told(&error), want, "of JSON lines");
        }
        let databases = [("SQLite", Some(&sqlite)), ("Postgres", postgres.as_ref())];
        for (database, warehouse) in databases.into_iter().filter_map(|(name, there)| Some((name, there?))) {
            let (file, table) = (Input::csv(&csv, &schema), format!("unfit_{n}"));
            let error = warehouse.load(&file, &table, &TableLoadOptions::default(), &()).await.unwrap_err();
            assert_eq!(told(&error), want, "into {database}");
            assert_eq!(warehouse.compare(&table, &[]).await.unwrap(), None, "no table is left");
        }
    }
}

/// Nulls, blanks around, and each form: to the bit.
#[test]
fn values_are_kept_to_the_last_digit() {
    let folder = tempfile::tempdir().unwrap();
    let text = "sum;at;hour;id;doc\n 12.5 ; 2021-01-31T08:05:00.5+01:00; 08:05 ;\"{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}\"; {\"a\": 1} \n\
                NA;NA;NA;NA;NA\n\"\";\"\";\" \";\"\";\" \"\n-1e-9;1969-12-31 23:59:59.999999Z;23:59:59.999999000;NA;\"\"\"NA\"\"\"\n";
    let csv = write(folder.path(), "f.csv", text);
    let schema = Schema::new([
        ("sum", Type::Decimal(20, 9)),
        ("at", Type::Timestamptz),
        ("hour", Type::Time),
        ("id", Type::Uuid),
        ("doc", Type::Json),
    ]);
    let mut options = ParquetOptions::default();
    options.csv.separator = Some(';');
    options.csv.nulls = vec!["NA".into()];
    let file = parquetize(&csv, folder.path().join("f.parquet"), &schema, &options, &()).unwrap();
    assert_eq!((file.rows, file.columns.as_slice()), (4, schema.columns()));
    let columns = arrays(&file.path);
    fn numbers<T: polars_arrow::types::NativeType>(array: &dyn Array) -> Vec<Option<T>> {
        array.as_any().downcast_ref::<PrimitiveArray<T>>().unwrap().iter().map(|v| v.copied()).collect()
    }
    assert_eq!(numbers::<i128>(columns[0].as_ref()), [Some(12_500_000_000), None, None, Some(-1)]);
    assert_eq!(numbers::<i64>(columns[1].as_ref()), [Some(1_612_076_700_500_000), None, None, Some(-1)]);
    assert_eq!(numbers::<i64>(columns[2].as_ref()), [Some(29_100_000_000), None, None, Some(86_399_999_999)]);
    let ids: &FixedSizeBinaryArray = columns[3].as_any().downcast_ref().unwrap();
    let id = 0xa0ee_bc99_9c0b_4ef8_bb6d_6bb9_bd38_0a11_u128.to_be_bytes();
    assert_eq!(ids.iter().collect::<Vec<_>>(), [Some(&id[..]), None, None, None]);
    let docs: &BinaryViewArray = columns[4].as_any().downcast_ref().unwrap();
    assert_eq!(docs.iter().collect::<Vec<_>>(), [Some(&b" {\"a\": 1} "[..]), None, None, Some(b"\"NA\"")]);
}

/// Of JSON lines a column of JSON has the values themselves, and a decimal every digit that stands there.
#[test]
fn json_lines_keep_json_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "{\"doc\": \"x \\\"y\\\"\", \"sum\": 0.1000000000000000055511151231257827021}\n{\"doc\": {\"a\" : [1.50]}, \"sum\": \"-7\"}\n\
                 {\"doc\": null, \"sum\": 1e2}\n{\"doc\": \"NA\", \"sum\": \"NA\"}\n{\"doc\": 1.50}\n";
    let json = write(folder.path(), "f.jsonl", lines);
    let schema = Schema::new([("doc", Type::Json), ("sum", Type::Decimal(38, 37))]);
    let mut options = ParquetOptions::default();
    options.csv.nulls = vec!["NA".into()];
    options.misfit = Misfit::Null;
    let file = parquetize_json(&json, folder.path().join("f.parquet"), &schema, &options, &()).unwrap();
    // There is no room for the hundred.
    assert_eq!((file.rows, file.nulled), (5, 1));
    let columns = arrays(&file.path);
    let docs: &BinaryViewArray = columns[0].as_any().downcast_ref().unwrap();
    let want = [Some(&b"\"x \\\"y\\\"\""[..]), Some(b"{\"a\" : [1.50]}"), None, None, Some(b"1.50")];
    assert_eq!(docs.iter().collect::<Vec<_>>(), want);
    let sums: &PrimitiveArray<i128> = columns[1].as_any().downcast_ref().unwrap();
    let tenth = 1_000_000_000_000_000_055_511_151_231_257_827_021;
    let want = [Some(tenth), Some(-7 * 10i128.pow(37)), None, None, None];
    assert_eq!(sums.iter().map(|v| v.copied()).collect::<Vec<_>>(), want);
}

#[test]
fn times_and_moments_have_formats_too() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "hour,at\n8.05 pm,31.01.2021 08:05 +0100\n8.05 pm,31.01.2021 08:05\n");
    let schema = Schema::new([("hour", Type::Time), ("at", Type::Timestamptz)]);
    let mut options = ParquetOptions::default();
    options.misfit = Misfit::Null;
    options.csv.formats.insert("hour".into(), vec!["%I.%M %p".into()]);
    options.csv.formats.insert("at".into(), vec!["%d.%m.%Y %H:%M %z".into(), "%d.%m.%Y %H:%M".into()]);
    let file = parquetize(&csv, folder.path().join("f.parquet"), &schema, &options, &()).unwrap();
    assert_eq!(file.nulled, 1);
    let columns = arrays(&file.path);
    let values = |at: usize| {
        let array: &PrimitiveArray<i64> = columns[at].as_any().downcast_ref().unwrap();
        array.iter().map(|v| v.copied()).collect::<Vec<_>>()
    };
    assert_eq!((values(0), values(1)), (vec![Some(72_300_000_000); 2], vec![Some(1_612_076_700_000_000), None]));
}

/// A day or a zone would be lost.
#[test]
fn the_format_of_a_time_has_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "a\n08:05 +0100\n");
    let json = write(folder.path(), "f.jsonl", "{\"a\":\"08:05 +0100\"}\n");
    let target = folder.path().join("f.parquet");
    let schema = Schema::new([("a", Type::Time)]);
    for format in ["%H:%M %z", "%H:%M %Z", "%d.%m.%Y %H:%M"] {
        let mut options = ParquetOptions::default();
        options.csv.formats.insert("a".into(), vec!["%H:%M".into(), format.into()]);
        let by_csv = parquetize(&csv, &target, &schema, &options, &()).unwrap_err();
        let by_json = parquetize_json(&json, &target, &schema, &options, &()).unwrap_err();
        for error in [by_csv, by_json] {
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
            assert!(error.to_string().contains(&format!("`{format}` of column `a` has a day or a zone")), "{error}");
        }
    }
}

const ROW: &str = "12.50,08:05,2021-01-31 08:05:00+01:00,A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11,\"{\"\"a\"\": 1}\"";

fn row_schema() -> Schema {
    Schema::new([
        ("sum", Type::Decimal(12, 2)),
        ("hour", Type::Time),
        ("at", Type::Timestamptz),
        ("id", Type::Uuid),
        ("doc", Type::Json),
    ])
}

/// SQLite has no such types: it keeps a text that says all, and gives back what is stated.
#[tokio::test]
async fn sqlite_keeps_them_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let warehouse = Warehouse::open(&url).unwrap();
    let csv = write(folder.path(), "f.csv", format!("sum,hour,at,id,doc\n{ROW}\n,,,,\n"));
    let input = Input::csv(&csv, &row_schema());
    warehouse.load(&input, "t", &TableLoadOptions::default(), &()).await.unwrap();
    let rows = ask(&url, "SELECT *, typeof(sum) FROM t").await.unwrap().rows;
    let want = ["12.50", "08:05:00", "2021-01-31 07:05:00+00:00", UUID, "{\"a\": 1}", "text"];
    assert_eq!(rows[0], want);
    // A table that somebody else has made of text takes them, one of numbers does not: it would make floats of them.
    execute(&url, "CREATE TABLE texts (sum varchar(20), hour TIME, at timestamp, id char(36), doc clob)")
        .await
        .unwrap();
    warehouse.load(&input, "texts", &TableLoadOptions::default(), &()).await.unwrap();
    assert_eq!(ask(&url, "SELECT *, typeof(sum) FROM texts").await.unwrap().rows, rows);
    execute(&url, "CREATE TABLE numbers (sum DECIMAL(12,2), hour TIME, at TEXT, id TEXT, doc TEXT)").await.unwrap();
    let error = warehouse.load(&input, "numbers", &TableLoadOptions::default(), &()).await.unwrap_err().to_string();
    assert!(error.contains("~ sum: the file has decimal(12,2), the table has DECIMAL(12,2)"), "{error}");

    let back = folder.path().join("back.parquet");
    let mut options = UnloadOptions::default();
    options.fields = row_schema().columns().iter().map(flow_data::Field::from).collect();
    let unloaded = warehouse.unload(&Select::Table("t".into()), &back, &options, &()).await.unwrap();
    assert_eq!(unloaded.fields, options.fields);
    assert_eq!(read_parquet_schema(&back).unwrap(), row_schema());
    warehouse.load(&Input::parquet(&back), "again", &TableLoadOptions::default(), &()).await.unwrap();
    assert_eq!(ask(&url, "SELECT *, typeof(sum) FROM again").await.unwrap().rows, rows);
}

/// A table of Postgres takes what is stated of a CSV file as it takes what a Parquet file says.
#[tokio::test]
async fn a_table_of_postgres_is_compared_by_the_stated_types() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::open(&url).unwrap();
    let csv = write(folder.path(), "f.csv", format!("sum,hour,at,id,doc\n{ROW}\n,,,,\n"));
    let input = Input::csv(&csv, &row_schema());
    let create = "CREATE TABLE stated_a (sum numeric(14,3), hour time, at timestamptz, id uuid, doc jsonb); \
                  CREATE TABLE stated_b (sum numeric(12,1), hour timetz, at timestamp, id text, doc json)";
    for statement in create.split("; ") {
        execute(&url, statement).await.unwrap();
    }
    warehouse.load(&input, "stated_a", &TableLoadOptions::default(), &()).await.unwrap();
    let query = "SELECT sum::text, hour::text, (at AT TIME ZONE 'UTC')::text, id::text, doc->>'a' FROM stated_a WHERE id IS NOT NULL";
    let rows = ask(&url, query).await.unwrap().rows;
    assert_eq!(rows, [["12.500", "08:05:00", "2021-01-31 07:05:00", UUID, "1"]]);

    let error = warehouse.load(&input, "stated_b", &TableLoadOptions::default(), &()).await.unwrap_err().to_string();
    for line in [
        "~ sum: the file has decimal(12,2), the table has numeric(12,1)\n",
        "~ hour: the file has time[us], the table has time with time zone\n",
        "~ at: the file has timestamp[us, utc], the table has timestamp without time zone\n",
        "~ id: the file has uuid, the table has text\n",
        "it then rounds `sum`",
    ] {
        assert!(error.contains(line), "{line} in {error}");
    }
    assert!(!error.contains("~ doc"), "{error}");
    let mut convert = TableLoadOptions::default();
    convert.convert = true;
    warehouse.load(&input, "stated_b", &convert, &()).await.unwrap();
    let rows =
        ask(&url, "SELECT sum::text, at::text, id, doc::text FROM stated_b WHERE id IS NOT NULL").await.unwrap().rows;
    assert_eq!(rows, [["12.5", "2021-01-31 07:05:00", UUID, "{\"a\": 1}"]]);
}

#[tokio::test]
async fn a_new_table_of_bigquery_has_their_types() {
    let (_google, warehouse, folder) = crate::bq_warehouse::start();
    let warehouse = warehouse.with_scratch(folder.path().join("scratch"));
    let csv = write(folder.path(), "f.csv", format!("sum,hour,at,id,doc\n{ROW}\n,,,,\n"));
    let input = Input::csv(&csv, &row_schema().with("sum", Type::Decimal(38, 10)));
    let report = warehouse.load(&input, "t", &TableLoadOptions::default(), &()).await.unwrap();
    assert_eq!(report.rows, 2);
    let kinds: Vec<_> = warehouse.summarise("t", None).await.unwrap().columns.into_iter().map(|c| c.kind).collect();
    assert_eq!(kinds, ["BIGNUMERIC", "TIME", "TIMESTAMP", "BYTES", "STRING"]);
}

#[test]
fn digits_that_there_cannot_be_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "a\n1\n");
    let json = write(folder.path(), "f.jsonl", "{\"a\":1}\n");
    let target = folder.path().join("f.parquet");
    for kind in [Type::Decimal(39, 0), Type::Decimal(0, 0), Type::Decimal(2, 3)] {
        let (schema, options) = (Schema::new([("a", kind)]), ParquetOptions::default());
        let by_csv = parquetize(&csv, &target, &schema, &options, &()).unwrap_err();
        let by_json = parquetize_json(&json, &target, &schema, &options, &()).unwrap_err();
        for error in [by_csv, by_json] {
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
            assert!(error.to_string().starts_with(&format!("column `a`: `{kind}` is no type of a column")), "{error}");
        }
    }
}

/// A guess is one of the plain types, and never takes the zone from some of the moments.
#[test]
fn moments_of_which_some_have_a_zone_stay_text() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(
        folder.path(),
        "f.csv",
        "a,b,c\n2021-01-31 08:05:00,2021-01-31 08:05:00Z,12.50\n2021-01-31 08:05:00+01:00,2021-01-31 08:05:00+01:00,7\n",
    );
    let schema = Schema::infer_with(&csv, &CsvOptions::default()).unwrap();
    assert_eq!(schema, Schema::new([("a", Type::Text), ("b", Type::Timestamp), ("c", Type::Float)]));
}
