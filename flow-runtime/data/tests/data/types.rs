//! Every type that a Parquet file holds, into a real Postgres and back.

use flow_data::{
    ColumnType, Error, Field, Input, ParquetOptions, Schema, Select, TableLoadOptions, Type, Unit, UnloadOptions,
    Warehouse, parquetize, read_parquet_fields, read_parquet_schema,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use crate::cluster;
use crate::files::{trip_schema, trips};
use crate::tables::{Random, Value, all_types, rows, sql, write};

async fn run(conn: &mut PgConnection, sql: &str) {
    raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.unwrap();
}

/// How many rows of one table have no equal in the other, to the bit.
pub async fn different(conn: &mut PgConnection, a: &str, b: &str, fields: &[Field]) -> i64 {
    let exact = |f: &Field| match &f.kind {
        ColumnType::Float32 => format!("float4send({})", f.name),
        ColumnType::Float64 => format!("float8send({})", f.name),
        ColumnType::Decimal { .. } | ColumnType::Json | ColumnType::List(_) => format!("{}::text", f.name),
        _ => f.name.clone(),
    };
    let columns: Vec<_> = fields.iter().map(exact).collect();
    let columns = columns.join(",");
    let (a, b) = (format!("SELECT {columns} FROM {a}"), format!("SELECT {columns} FROM {b}"));
    let sql = format!("SELECT count(*) FROM (({a} EXCEPT ALL {b}) UNION ALL ({b} EXCEPT ALL {a})) d");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(conn).await.unwrap()
}

/// Random tables: what the server has after the load is what it has after INSERTs of the same values written as SQL, and
/// what is unloaded and loaded again is the same to the bit, in the same types.
#[tokio::test]
async fn random_tables_arrive_and_come_back() {
    let Some(url) = cluster::url() else { return };
    let cases: u64 = std::env::var("DATA_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::open(&url).unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    for seed in 0..cases {
        let mut random = Random(seed);
        let mut fields = vec![Field { name: "n".into(), kind: ColumnType::Int32, nullable: false }];
        let kinds = all_types();
        // The first case has all types; the others some, so that they are beside different ones.
        let kinds = kinds.iter().filter(|_| seed == 0 || random.below(3) == 0).cloned().collect::<Vec<_>>();
        fields.extend(kinds.into_iter().enumerate().map(|(n, kind)| Field {
            name: format!("c{n}"),
            kind,
            nullable: !n.is_multiple_of(4),
        }));
        let count = random.below(300) as usize;
        let mut rows = rows(&mut random, &fields, count);
        rows.iter_mut().enumerate().for_each(|(n, row)| row[0] = Value::Int(n as i128));
        let file = folder.path().join(format!("{seed}.parquet"));
        write(&file, &fields, &rows, 1 + random.below(200) as usize);
        assert_eq!(read_parquet_fields(&file).unwrap(), fields, "seed {seed}");

        let (table, expected) = (format!("types_{seed}"), format!("types_{seed}_sql"));
        let report = warehouse.load(&Input::parquet(&file), &table, &TableLoadOptions::default(), &()).await.unwrap();
        assert_eq!(report.rows, count as u64);
        run(&mut conn, &format!("CREATE TABLE {expected} (LIKE {table})")).await;
        for row in &rows {
            let values: Vec<_> = row.iter().zip(&fields).map(|(value, field)| sql(value, &field.kind)).collect();
            run(&mut conn, &format!("INSERT INTO {expected} VALUES ({})", values.join(","))).await;
        }
        assert_eq!(different(&mut conn, &table, &expected, &fields).await, 0, "seed {seed}");

        let back = folder.path().join(format!("{seed}-back.parquet"));
        let mut options = UnloadOptions::default();
        options.fields = fields.clone();
        options.row_group_rows = 1 + random.below(200) as usize;
        let select = Select::Query(format!("SELECT * FROM {table} ORDER BY n;"));
        let unloaded = warehouse.unload(&select, &back, &options, &()).await.unwrap();
        assert_eq!((unloaded.rows, &unloaded.fields), (count as u64, &fields), "seed {seed}");
        assert_eq!(unloaded.bytes, back.metadata().unwrap().len());
        assert_eq!(read_parquet_fields(&back).unwrap(), fields, "seed {seed}");
        let again = format!("types_{seed}_again");
        warehouse.load(&Input::parquet(&back), &again, &TableLoadOptions::default(), &()).await.unwrap();
        assert_eq!(different(&mut conn, &table, &again, &fields).await, 0, "seed {seed}");
    }
}

/// Without anything stated, a table comes back in the types that make the same table.
#[tokio::test]
async fn types_map_back() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::open(&url).unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    run(
        &mut conn,
        "CREATE TABLE mapped (a smallint NOT NULL, b numeric(12,2), c jsonb, d text[], e timestamptz, f varchar(9), g uuid); \
         INSERT INTO mapped VALUES (1, 1.5, '{\"x\":1}', '{a,NULL,\"b,c\"}', '2021-01-01 00:00Z', 'v', \
         'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), (2, NULL, NULL, NULL, NULL, NULL, NULL); CREATE SCHEMA back",
    )
    .await;
    let file = folder.path().join("mapped.parquet");
    let table = Select::Table("mapped".into());
    let unloaded = warehouse.unload(&table, &file, &UnloadOptions::default(), &()).await.unwrap();
    let told: Vec<_> = unloaded.fields.iter().map(|f| format!("{} {} {}", f.name, f.kind, f.nullable)).collect();
    let want = [
        "a int16 false",
        "b decimal(12,2) true",
        "c json true",
        "d list<text> true",
        "e timestamp[us, utc] true",
        "f text true",
        "g uuid true",
    ];
    assert_eq!(told, want);
    warehouse.load(&Input::parquet(&file), "back.mapped", &TableLoadOptions::default(), &()).await.unwrap();
    let same = "SELECT count(*) FROM mapped JOIN back.mapped b USING (a) WHERE mapped.b IS NOT DISTINCT FROM b.b AND \
                mapped.c::text IS NOT DISTINCT FROM b.c::text AND mapped.d IS NOT DISTINCT FROM b.d AND \
                mapped.e IS NOT DISTINCT FROM b.e AND mapped.f IS NOT DISTINCT FROM b.f AND mapped.g IS NOT DISTINCT FROM b.g";
    let same: i64 = sqlx::query_scalar(same).fetch_one(&mut conn).await.unwrap();
    assert_eq!(same, 2);
}

async fn refused(url: &str, kind: ColumnType, value: Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.parquet");
    let good = Value::Null;
    write(&file, &[Field::new("v", kind)], &[vec![good.clone()], vec![good], vec![value]], 2);
    let warehouse = Warehouse::open(url).unwrap();
    let error = warehouse.load(&Input::parquet(&file), "refused", &TableLoadOptions::default(), &()).await.unwrap_err();
    assert!(error.is_permanent(), "{error:?}");
    let there = warehouse.compare("refused", &[]).await.unwrap();
    assert_eq!(there, None, "no table is left");
    let text = error.to_string();
    text.split_once(": ").unwrap().1.to_owned()
}

#[tokio::test]
async fn values_that_fit_no_database_are_named() {
    let Some(url) = cluster::url() else { return };
    let moment = |unit| ColumnType::Timestamp { unit, utc: false };
    for (kind, value, want) in [
        (
            ColumnType::Text,
            Value::Text("a\0b".into()),
            "row 3, column `v`: `a\\0b` is not a text without a zero byte, which Postgres cannot hold",
        ),
        (
            ColumnType::Date,
            Value::Int(i32::MAX.into()),
            "row 3, column `v`: `5881580-07-11` is not a day that Postgres has (4714 BC to 5874897)",
        ),
        (
            moment(Unit::Nano),
            Value::Int(1_500),
            "row 3, column `v`: `1500` is not a moment of whole microseconds (what is finer or further is not kept)",
        ),
        (ColumnType::Time(Unit::Micro), Value::Int(-1), "row 3, column `v`: `-1 microseconds` is not a time of day"),
    ] {
        assert_eq!(refused(&url, kind.clone(), value).await, want, "{kind}");
    }
    let far = refused(&url, moment(Unit::Micro), Value::Int(i64::MIN.into())).await;
    assert!(far.ends_with("is not a moment that Postgres has (4714 BC to 294276)"), "{far}");
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/t.db", folder.path().display());
    let large = refused(&sqlite, ColumnType::Uint64, Value::Int(1 << 63)).await;
    assert!(large.contains("`9223372036854775808` is not a whole number below 2^63"), "{large}");
    let nan = refused(&sqlite, ColumnType::Float32, Value::Float(f64::NAN)).await;
    assert!(nan.contains("`NaN` is not a number that SQLite can hold"), "{nan}");
}

#[tokio::test]
async fn what_a_file_cannot_keep_is_refused() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.parquet");
    let warehouse = Warehouse::open(&url).unwrap();
    for (query, want) in [
        ("SELECT 1.5 AS x", "column `x` is numeric: state its digits"),
        ("SELECT 'NaN'::numeric(5,2) AS x", "row 1, column `x`: NaN does not fit decimal(5,2)"),
        ("SELECT 'infinity'::date AS x", "row 1, column `x`: infinity does not fit date"),
        ("SELECT '-infinity'::timestamptz AS x", "-infinity does not fit timestamp[us, utc]"),
        ("SELECT '{{1,2},{3,4}}'::int[] AS x", "an array of 2 dimensions does not fit list<int32>"),
        ("SELECT interval '1 day' AS x", "unload a query instead of the table, and select it as `::text` there"),
        ("SELECT '10.0.0.1'::inet AS x", "column `x` is inet: it is not kept in Parquet as such; unload a query"),
        ("SELECT B'101' AS x", "select it as `::text` there"),
        (
            "SELECT time '23:59:59.999999' AS x UNION ALL SELECT '24:00:00'",
            "row 2, column `x`: 24:00:00, the end of the day, does not fit time[us]",
        ),
        (
            "SELECT ARRAY[time '24:00:00'] AS x",
            "row 1, column `x`: 24:00:00, the end of the day, does not fit list<time[us]>",
        ),
        ("SELECT x FROM nowhere", "relation \"nowhere\" does not exist"),
        ("SELECT 1/(n-3) AS x FROM generate_series(1,5) n", "division by zero"),
    ] {
        let select = Select::Query(query.into());
        let error = warehouse.unload(&select, &file, &UnloadOptions::default(), &()).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains(want), "{query}: {error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{query}");
    }
    let mut options = UnloadOptions::default();
    options.fields = vec![Field::new("x", ColumnType::Decimal { precision: 3, scale: 1 })];
    warehouse.unload(&Select::Query("SELECT 1.5 AS x".into()), &file, &options, &()).await.unwrap();
    let error = warehouse.unload(&Select::Query("SELECT 1.55 AS x".into()), &file, &options, &()).await.unwrap_err();
    assert!(error.to_string().contains("more than 1 digits after the point"), "{error}");
    options.fields[0].nullable = false;
    let error =
        warehouse.unload(&Select::Query("SELECT null::int AS x".into()), &file, &options, &()).await.unwrap_err();
    assert!(error.to_string().contains("row 1, column `x` is null"), "{error}");
    let error = warehouse.unload(&Select::Query("SELECT 1 AS y".into()), &file, &options, &()).await.unwrap_err();
    assert!(error.to_string().contains("there is no column `x`; there are `y`"), "{error}");
}

/// SQLite keeps each value so that its text is the one that Postgres has, but for truth, bytes and lists.
#[tokio::test]
async fn sqlite_keeps_every_digit() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let file = folder.path().join("f.parquet");
    let moment = ColumnType::Timestamp { unit: Unit::Micro, utc: true };
    let columns = [
        (
            ColumnType::Decimal { precision: 38, scale: 2 },
            Value::Int(-10i128.pow(37)),
            "-100000000000000000000000000000000000.00",
        ),
        (ColumnType::Int64, Value::Int(i64::MIN.into()), "-9223372036854775808"),
        (ColumnType::Float32, Value::Float(0.5), "0.5"),
        (ColumnType::Date, Value::Int(18_628), "2021-01-01"),
        (ColumnType::Time(Unit::Milli), Value::Int(1), "00:00:00.001000"),
        (moment, Value::Int(1), "1970-01-01 00:00:00.000001+00:00"),
        (ColumnType::Uuid, Value::Bytes(vec![0xab; 16]), "abababab-abab-abab-abab-abababababab"),
        (ColumnType::Json, Value::Text("{\"a\":  1}".into()), "{\"a\":  1}"),
        (ColumnType::Text, Value::Text("a".into()), "a"),
        (ColumnType::Bool, Value::Bool(true), "1"),
        (ColumnType::List(Box::new(ColumnType::Int16)), Value::List(vec![Value::Int(1), Value::Null]), "[1,null]"),
    ];
    let fields: Vec<_> = columns.iter().enumerate().map(|(n, c)| Field::new(format!("c{n}"), c.0.clone())).collect();
    let row: Vec<_> = columns.iter().map(|c| c.1.clone()).collect();
    write(&file, &fields, &[row], 1);
    let warehouse = Warehouse::open(&url).unwrap();
    warehouse.load(&Input::parquet(&file), "t", &TableLoadOptions::default(), &()).await.unwrap();
    let summary = flow_data::summarise(&url, "t", None).await.unwrap();
    let got: Vec<_> = summary.first_rows[0].iter().flatten().map(String::as_str).collect();
    assert_eq!(got, columns.each_ref().map(|c| c.2));
}

/// A CSV file makes the same table whether it comes by way of Parquet or not, parsed or as it is.
#[tokio::test]
async fn every_way_from_csv_makes_the_same_table() {
    let Some(url) = cluster::url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    let warehouse = Warehouse::open(&url).unwrap();
    let csv = crate::files::write(folder.path(), "1.csv", trips(30_000));
    let parquet = folder.path().join("1.parquet");
    parquetize(&csv, &parquet, &trip_schema(), &ParquetOptions::default(), &()).unwrap();
    let fields = read_parquet_fields(&parquet).unwrap();
    assert_eq!(read_parquet_schema(&parquet).unwrap(), trip_schema());
    let mut options = TableLoadOptions::default();
    for connections in [1, 3] {
        options.connections = connections;
        let parsed = Input::csv(&csv, &trip_schema());
        for (table, input, raw) in
            [("way_a", &parsed, false), ("way_b", &Input::parquet(&parquet), false), ("way_c", &parsed, true)]
        {
            let table = format!("{table}{connections}");
            options.raw_csv = raw;
            let report = warehouse.load(input, &table, &options, &()).await.unwrap();
            assert_eq!(report.rows, 30_000);
            assert_eq!(different(&mut conn, "way_a1", &table, &fields).await, 0, "{table}");
        }
    }
    options.raw_csv = true;
    let error = warehouse.load(&Input::parquet(&parquet), "way_d", &options, &()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    // Postgres would take these quotes away.
    let quoted = crate::files::write(folder.path(), "2.csv", "a,b\n1,x\n\n2,5\" and 6\" pipes\n");
    let schema = Schema::new([("a", Type::Int), ("b", Type::Text)]);
    let error = warehouse.load(&Input::csv(&quoted, &schema), "way_e", &options, &()).await.unwrap_err().to_string();
    assert!(error.contains("row 2 has a quote inside of field 2; load it parsed"), "{error}");
    options.raw_csv = false;
    assert_eq!(warehouse.load(&Input::csv(&quoted, &schema), "way_e", &options, &()).await.unwrap().rows, 2);
    // A file that says its separator in its first line: COPY is told of commas.
    let other = crate::files::write(folder.path(), "3.csv", "sep=;\na;b\n1;x,y\n");
    assert_eq!(warehouse.load(&Input::csv(&other, &schema), "way_f", &options, &()).await.unwrap().rows, 1);
    options.raw_csv = true;
    let error = warehouse.load(&Input::csv(&other, &schema), "way_f", &options, &()).await.unwrap_err().to_string();
    assert!(error.contains("row 1 is separated by ';' and not by commas; load it parsed"), "{error}");
}
