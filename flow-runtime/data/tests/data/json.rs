//! JSON lines.

use flow_data::{Misfit, ParquetOptions, Schema, Type, parquetize, parquetize_json};

use crate::files::{column, gzip, read, write};

const LINES: &str = r#"{"id": 1, "at": "2021-01-31T08:05:00Z", "fare": 8.5, "paid": true, "note": "a \"b\"\n\u00e4"}
{"note": null, "id": 2, "tags": ["x", {"y": 1.0}], "fare": 3}

  {"id": 3, "where": {"lat" : 1, "lon":2}, "note": ""}
{}
"#;

fn schema() -> Schema {
    Schema::new([
        ("id", Type::Int),
        ("at", Type::Timestamp),
        ("fare", Type::Float),
        ("paid", Type::Bool),
        ("note", Type::Text),
    ])
}

#[test]
fn keys_become_columns() {
    let folder = tempfile::tempdir().unwrap();
    for content in [LINES.as_bytes().to_vec(), gzip(LINES.replace('\n', "\r\n").as_bytes())] {
        let json = write(folder.path(), "f.jsonl", content);
        let target = folder.path().join("f.parquet");
        let file = parquetize_json(&json, &target, &schema(), &ParquetOptions::default(), &()).unwrap();
        let frame = read(&target);
        assert_eq!(file.rows, 4);
        let names: Vec<_> = file.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["id", "at", "fare", "paid", "note", "tags", "where"]);
        assert_eq!(column(&frame, "id"), ["1", "2", "3", "null"]);
        assert_eq!(column(&frame, "at"), ["2021-01-31 08:05:00", "null", "null", "null"]);
        assert_eq!(column(&frame, "fare"), ["8.5", "3.0", "null", "null"]);
        assert_eq!(column(&frame, "paid"), ["true", "null", "null", "null"]);
        let texts = |name: &str| {
            let series = frame.column(name).unwrap().as_materialized_series().clone();
            series.str().unwrap().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(texts("note"), [Some("a \"b\"\nä".to_owned()), None, Some(String::new()), None]);
        assert_eq!(texts("tags"), [None, Some("[\"x\", {\"y\": 1.0}]".to_owned()), None, None]);
        assert_eq!(texts("where"), [None, None, Some("{\"lat\" : 1, \"lon\":2}".to_owned()), None]);
    }
}

#[test]
fn the_guess_takes_no_text_for_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "{\"zip\":\"12345\",\"n\":1,\"day\":\"2021-01-31\",\"ok\":false,\"s\":\"true\",\"l\":[1]}\n";
    let json = write(folder.path(), "f.jsonl", lines);
    let want = Schema::new([
        ("zip", Type::Text),
        ("n", Type::Int),
        ("day", Type::Date),
        ("ok", Type::Bool),
        ("s", Type::Text),
        ("l", Type::Text),
    ]);
    assert_eq!(Schema::infer_json(&json, &Default::default()).unwrap(), want);
}

#[test]
fn a_stated_encoding_is_that_of_the_lines() {
    let folder = tempfile::tempdir().unwrap();
    let json = write(folder.path(), "f.jsonl", b"{\"k\xf6\": \"K\xf6ln\"}\n{\"k\xf6\": \"Bonn\"}\n");
    let mut options = ParquetOptions::default();
    options.csv.encoding = Some("windows-1252".into());
    let schema = Schema::infer_json(&json, &options.csv).unwrap();
    assert_eq!(schema, Schema::new([("kö", Type::Text)]));
    let target = folder.path().join("f.parquet");
    parquetize_json(&json, &target, &schema, &options, &()).unwrap();
    assert_eq!(column(&read(&target), "kö"), ["\"Köln\"", "\"Bonn\""]);
    options.csv.encoding = Some("utf-7".into());
    let error = parquetize_json(&json, &target, &schema, &options, &()).unwrap_err().to_string();
    assert!(error.contains("no encoding is called `utf-7`"), "{error}");
}

#[test]
fn lines_that_are_no_objects_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let first = "{\"id\":1}\n".repeat(200_000);
    let bad =
        "[1]\n{\"id\":2\n{\"id\":\"x\"}\n{\"id\":3,\"late\":4}\n{\"id\":5,\"id\":6}\n7\n{\"id\":8} {}\n{\"id\":9}\n";
    let json = write(folder.path(), "f.jsonl", first + bad);
    let target = folder.path().join("f.parquet");
    let schema = Schema::new([("id", Type::Int)]);
    let error = parquetize_json(&json, &target, &schema, &ParquetOptions::default(), &()).unwrap_err().to_string();
    assert!(error.contains("row 200001 is no JSON object") && error.contains("expected an object"), "{error}");
    let mut options = ParquetOptions::default();
    options.misfit = Misfit::Quarantine;
    let file = parquetize_json(&json, &target, &schema, &options, &()).unwrap();
    assert_eq!((file.rows, file.quarantined), (200_001, 7));
    let quarantine = file.quarantine.unwrap();
    let back =
        parquetize(&quarantine, folder.path().join("q.parquet"), &Schema::default(), &ParquetOptions::default(), &());
    let frame = read(&back.unwrap().path);
    let series = frame.column("reason").unwrap().as_materialized_series().clone();
    let reasons: Vec<_> = series.str().unwrap().iter().flatten().collect();
    assert!(reasons[1].starts_with("is no JSON object: EOF"), "{reasons:?}");
    assert_eq!(reasons[2], "id: `x` is not a whole number of 64 bits");
    assert_eq!(reasons[3], "has the key `late`, which is no column");
    assert_eq!(reasons[4], "has the key `id` twice");
    assert!(reasons[6].contains("trailing characters"), "{reasons:?}");
    let series = frame.column("record").unwrap().as_materialized_series().clone();
    assert_eq!(series.str().unwrap().get(1), Some("{\"id\":2"));

    options.misfit = Misfit::Null;
    let file = parquetize_json(&json, &target, &schema, &options, &()).unwrap();
    assert_eq!((file.rows, file.nulled, file.quarantine), (200_008, 7, None));
    assert_eq!(read(&target).column("id").unwrap().null_count(), 5);
}

#[test]
fn a_file_without_objects_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (text, want) in [("", "the file is empty"), ("[\n1\n]\n", "no line is a JSON object with a key")] {
        let json = write(folder.path(), "f.jsonl", text);
        let error = Schema::infer_json(&json, &Default::default()).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn a_whole_pass_widens_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let json = write(folder.path(), "f.jsonl", "{\"a\":1,\"b\":1}\n{\"a\":2.5,\"b\":\"x\"}\n");
    let mut options = ParquetOptions::default();
    options.widen = true;
    let schema = Schema::new([("a", Type::Int), ("b", Type::Int)]);
    let file = parquetize_json(&json, folder.path().join("f.parquet"), &schema, &options, &()).unwrap();
    assert_eq!(file.columns.iter().map(|c| c.kind).collect::<Vec<_>>(), [Type::Float, Type::Text]);
}
