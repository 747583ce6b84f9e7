//! What a load does to the rows of a table in BigQuery, the same for the fake and for an emulator.

use std::path::Path;

use flow_data::{
    ColumnType, Error, Field, Input, LoadReport, Mode, ParquetOptions, Schema, Select, TableLoadOptions, Type, Unit,
    UnloadOptions, Warehouse, ask, parquetize, read_parquet_fields,
};
use serde_json::Value;

use crate::tables::{self, Value as Cell};

/// A Parquet file with an `id`, a `day` and a `note`.
pub fn file(folder: &Path, name: &str, rows: &str) -> Input {
    let csv = folder.join(format!("{name}.csv"));
    std::fs::write(&csv, format!("id,day,note\n{rows}")).unwrap();
    let path = folder.join(format!("{name}.parquet"));
    parquetize(&csv, &path, &schema(), &ParquetOptions::default(), &()).unwrap();
    Input::parquet(path)
}

fn schema() -> Schema {
    Schema::new([("id", Type::Int), ("day", Type::Text), ("note", Type::Text)])
}

pub async fn load(warehouse: &Warehouse, file: &Input, mode: Mode, key: Option<&str>) -> Result<LoadReport, Error> {
    let mut options = TableLoadOptions::default();
    options.mode = mode;
    options.key = key.map(str::to_owned);
    warehouse.load(file, "t", &options, &()).await
}

pub async fn shown(warehouse: &Warehouse, whole: &str) -> Vec<String> {
    let sql = format!("SELECT `id`, `day`, `note` FROM `{whole}` ORDER BY `id`, `day`, `note`");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = warehouse.ask(&sql).await.unwrap().rows;
    rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join("|")).collect()
}

pub fn by_id() -> Mode {
    Mode::Upsert(vec!["id".into()])
}

pub fn part(value: &str) -> Mode {
    Mode::Partition { column: "day".into(), value: value.into() }
}

/// `whole` is the name of the table `t` of the warehouse, which is not there yet.
pub async fn each_mode_keeps_and_replaces_what_it_says(warehouse: &Warehouse, whole: &str, folder: &Path) {
    let shown = async || shown(warehouse, whole).await;
    let counts = |report: LoadReport| (report.rows, report.replaced, report.updated);
    let first = file(folder, "first", "1,it's,\n2,it's,x\n3,b,y\n");
    assert_eq!(counts(load(warehouse, &first, Mode::Append, None).await.unwrap()), (3, 0, 0));
    let second = file(folder, "second", "3,b,z\n4,b,\n");
    assert_eq!(counts(load(warehouse, &second, by_id(), None).await.unwrap()), (2, 0, 1));
    assert_eq!(shown().await, ["1|it's|null", "2|it's|x", "3|b|z", "4|b|null"]);

    let third = file(folder, "third", "5,b,\n");
    assert_eq!(counts(load(warehouse, &third, part("b"), None).await.unwrap()), (1, 2, 0));
    assert_eq!(shown().await, ["1|it's|null", "2|it's|x", "5|b|null"]);
    let error = load(warehouse, &third, part("it's"), None).await.unwrap_err();
    assert!(error.to_string().contains("1 rows have another `day` than `it's`"), "{error}");
    let apostrophe = file(folder, "apostrophe", "6,it's,w\n");
    assert_eq!(counts(load(warehouse, &apostrophe, part("it's"), None).await.unwrap()), (1, 2, 0));
    assert_eq!(shown().await, ["5|b|null", "6|it's|w"]);

    for (rows, mode, want) in [
        ("7,a,\n8,b,\n7,c,\n", by_id(), "the key (id) = (7) comes more than once"),
        ("7,a,\n,b,\n", by_id(), "1 rows have no value in the key (id)"),
    ] {
        let error = load(warehouse, &file(folder, "wrong", rows), mode, None).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains(want), "{error}");
    }
    let named = async |file: &Input| load(warehouse, file, Mode::Append, Some("it's \\ january")).await.unwrap();
    let done = named(&third).await;
    assert_eq!((done.rows, done.repeated), (1, false));
    let again = named(&first).await;
    assert_eq!((again.rows, again.repeated), (1, true), "what the first did");
    assert_eq!(shown().await, ["5|b|null", "5|b|null", "6|it's|w"]);

    let replaced = load(warehouse, &second, Mode::Replace, None).await.unwrap();
    assert_eq!(counts(replaced), (2, 3, 0));
    assert_eq!(shown().await, ["3|b|z", "4|b|null"]);
    let csv = Input::csv(folder.join("second.csv"), &schema());
    assert_eq!(counts(load(warehouse, &csv, by_id(), None).await.unwrap()), (2, 0, 2));
    assert_eq!(shown().await, ["3|b|z", "4|b|null"]);
    let summary = warehouse.summarise("t", None).await.unwrap();
    assert_eq!((summary.rows, summary.columns[0].kind.as_str(), summary.first_rows.len()), (2, "INT64", 2));
}

/// A table of every type goes to BigQuery and comes back, as a table and as a query, the same to the last digit.
pub async fn a_table_comes_back_the_same(warehouse: &Warehouse, folder: &Path) {
    use ColumnType as C;
    let (moment, list) = (|utc| C::Timestamp { unit: Unit::Micro, utc }, |of| C::List(Box::new(of)));
    let kinds = [
        C::Float64,
        C::Decimal { precision: 38, scale: 9 },
        C::Bool,
        C::Text,
        C::Bytes,
        C::Date,
        moment(false),
        moment(true),
        C::Time(Unit::Micro),
    ];
    let mut fields = vec![Field { name: "n".into(), kind: C::Int64, nullable: false }];
    fields.extend(kinds.into_iter().enumerate().map(|(n, kind)| Field::new(format!("c{n}"), kind)));
    let lists = [list(C::Int64), list(C::Text)].into_iter().enumerate();
    fields.extend(lists.map(|(n, kind)| Field { name: format!("l{n}"), kind, nullable: false }));
    let text = |text: &str| Cell::Text(text.into());
    let row = |n: i128, cells: [Cell; 9], lists: [Vec<Cell>; 2]| {
        let lists = lists.map(Cell::List);
        std::iter::once(Cell::Int(n)).chain(cells).chain(lists).collect::<Vec<_>>()
    };
    const NULL: Cell = Cell::Null;
    let rows = [
        row(
            1,
            [
                Cell::Float(0.1),
                Cell::Int(-12_345_678_901_234_567_890),
                Cell::Bool(true),
                text("it's ä\n\\"),
                Cell::Bytes(vec![0, 255, 128]),
                Cell::Int(18_628),
                Cell::Int(1_609_459_200_000_001),
                Cell::Int(-1),
                Cell::Int(86_399_999_999),
            ],
            [vec![Cell::Int(1), Cell::Int(-2)], vec![text(""), text("a,\"b\"")]],
        ),
        row(2, [NULL; 9], [vec![], vec![]]),
        row(
            i64::MAX.into(),
            [
                Cell::Float(-1e300),
                Cell::Int(1),
                Cell::Bool(false),
                text(""),
                Cell::Bytes(vec![]),
                Cell::Int(-719_162),
                Cell::Int(253_402_300_799_999_999),
                Cell::Int(253_402_300_799_999_999),
                Cell::Int(0),
            ],
            [vec![], vec![text("x")]],
        ),
    ];
    let (there, back) = (folder.join("all.parquet"), folder.join("back.parquet"));
    tables::write(&there, &fields, &rows, 2);
    let report = warehouse.load(&Input::parquet(&there), "kinds", &TableLoadOptions::default(), &()).await.unwrap();
    assert_eq!((report.rows, warehouse.count("kinds", None).await.unwrap()), (3, Some(3)));
    let same = async |select: &Select| {
        let unloaded = warehouse.unload(select, &back, &UnloadOptions::default(), &()).await.unwrap();
        assert_eq!(unloaded.rows, 3, "{select:?}");
        let url = format!("sqlite://{}", folder.join("compared.db").display());
        let sqlite = Warehouse::open(&url).unwrap();
        let mut options = TableLoadOptions::default();
        options.mode = Mode::Replace;
        for (table, file) in [("there", &there), ("back", &back)] {
            sqlite.load(&Input::parquet(file), table, &options, &()).await.unwrap();
        }
        let more = "SELECT count(*) FROM (SELECT * FROM there EXCEPT SELECT * FROM back)";
        assert_eq!(ask(&url, more).await.unwrap().first(), Some(&0.into()), "{select:?}");
        unloaded.fields
    };
    assert_eq!(same(&Select::Table("kinds".into())).await, fields);
    assert_eq!(read_parquet_fields(&back).unwrap(), fields);
    let query = Select::Query("SELECT * FROM `project-1.trips.kinds` ORDER BY n".into());
    let kinds = |fields: &[Field]| fields.iter().map(|field| field.kind.clone()).collect::<Vec<_>>();
    assert_eq!(kinds(&same(&query).await), kinds(&fields));
    // The file that came back is of the table.
    let drift = warehouse.compare("kinds", &fields).await.unwrap().unwrap();
    assert!(drift.differences.is_empty(), "{drift}");
}

/// A list in BigQuery is never null: one that is becomes an empty one, on the way in. All else counts and comes back as it was.
pub async fn a_null_list_becomes_an_empty_one(warehouse: &Warehouse, folder: &Path) {
    let fields =
        [Field::new("id", ColumnType::Int64), Field::new("list", ColumnType::List(Box::new(ColumnType::Int64)))];
    let row = |id, list| vec![Cell::Int(id), list];
    let rows = [row(1, Cell::Null), row(2, Cell::List(vec![])), row(3, Cell::List(vec![Cell::Int(7)]))];
    let (there, back) = (folder.join("lists.parquet"), folder.join("lists-back.parquet"));
    tables::write(&there, &fields, &rows, 3);
    let mut options = TableLoadOptions::default();
    for (mode, replaced, updated) in [(Mode::Append, 0, 0), (by_id(), 0, 3), (Mode::Replace, 3, 0)] {
        options.mode = mode;
        let report = warehouse.load(&Input::parquet(&there), "lists", &options, &()).await.unwrap();
        assert_eq!((report.rows, report.replaced, report.updated), (3, replaced, updated), "{:?}", options.mode);
        assert_eq!(warehouse.count("lists", None).await.unwrap(), Some(3));
    }
    assert!(warehouse.compare("lists", &fields).await.unwrap().unwrap().differences.is_empty());
    let unloaded =
        warehouse.unload(&Select::Table("lists".into()), &back, &UnloadOptions::default(), &()).await.unwrap();
    assert_eq!((unloaded.rows, unloaded.fields[1].nullable), (3, false));
    let url = format!("sqlite://{}", folder.join("lists.db").display());
    let sqlite = Warehouse::open(&url).unwrap();
    sqlite.load(&Input::parquet(&back), "t", &TableLoadOptions::default(), &()).await.unwrap();
    let lists = ask(&url, "SELECT group_concat(list, ' ') FROM (SELECT list FROM t ORDER BY id)").await.unwrap();
    assert_eq!(lists.first(), Some(&"[] [] [7]".into()));
    // And what came back is loaded again.
    let again = warehouse.load(&Input::parquet(&back), "lists", &options, &()).await.unwrap();
    assert_eq!((again.rows, again.replaced), (3, 3));
}
