//! What a load does to the rows of a table in BigQuery, the same for the fake and for an emulator.

use std::path::Path;

use flow_data::{
    Error, Input, LoadReport, Mode, ParquetOptions, Schema, TableLoadOptions, Type, Warehouse, parquetize,
};
use serde_json::Value;

/// A Parquet file with an `id`, a `day` and a `note`.
pub fn file(folder: &Path, name: &str, rows: &str) -> Input {
    let csv = folder.join(format!("{name}.csv"));
    std::fs::write(&csv, format!("id,day,note\n{rows}")).unwrap();
    let path = folder.join(format!("{name}.parquet"));
    let schema = Schema::new([("id", Type::Int), ("day", Type::Text), ("note", Type::Text)]);
    parquetize(&csv, &path, &schema, &ParquetOptions::default(), &()).unwrap();
    Input::parquet(path)
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
    let summary = warehouse.summarise("t", None).await.unwrap();
    assert_eq!((summary.rows, summary.columns[0].kind.as_str(), summary.first_rows.len()), (2, "INT64", 2));
}
