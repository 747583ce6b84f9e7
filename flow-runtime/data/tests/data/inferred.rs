//! Types that are guessed, and then enforced.

use flow_data::{Error, ParquetOptions, Schema, Type, parquetize, parquetize_json};

use crate::files::{column, gzip, read, write};

/// Beyond the sample of 10,000 rows everything is different.
fn late() -> String {
    let mut text = String::from("n,x,code,day\n");
    (0..20_000).for_each(|n| text.push_str(&format!("{n},{n},{n},2021-01-01\n")));
    text.push_str("20000,0.5,A7,soon\n");
    text
}

#[test]
fn a_guess_is_enforced_and_a_late_change_named() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", late());
    let schema = Schema::infer(&csv).unwrap();
    let kinds: Vec<_> = schema.columns().iter().map(|c| c.kind).collect();
    assert_eq!(kinds, [Type::Int, Type::Int, Type::Int, Type::Date]);
    let error = parquetize(&csv, folder.path().join("f.parquet"), &schema, &ParquetOptions::default(), &());
    match error.unwrap_err() {
        Error::Value { row, column, text, .. } => assert_eq!((row, &*column, &*text), (20_001, "x", "0.5")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn by_choice_a_whole_pass_widens_what_was_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", late());
    let mut options = ParquetOptions::default();
    options.widen = true;
    let schema = Schema::infer(&csv).unwrap();
    let file = parquetize(&csv, folder.path().join("f.parquet"), &schema, &options, &()).unwrap();
    let kinds: Vec<_> = file.columns.iter().map(|c| c.kind).collect();
    assert_eq!(kinds, [Type::Int, Type::Float, Type::Text, Type::Text]);
    let frame = read(&file.path);
    assert_eq!(file.rows, 20_001);
    assert_eq!((&*column(&frame, "x")[19_999], &*column(&frame, "x")[20_000]), ("19999.0", "0.5"));
    assert_eq!((&*column(&frame, "code")[7], &*column(&frame, "code")[20_000]), ("\"7\"", "\"A7\""));
}

/// A form feed is blank around a number, and is none around JSON, by whichever way.
#[test]
fn what_is_widened_to_text_is_what_is_no_json() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "a,b,n\n\x0c{}, {} ,\x0c1\n");
    let schema = Schema::new([("a", Type::Json), ("b", Type::Json), ("n", Type::Int)]);
    let mut options = ParquetOptions::default();
    let mut made = |widen: bool| {
        options.widen = widen;
        parquetize(&csv, folder.path().join("f.parquet"), &schema, &options, &())
    };
    assert!(matches!(made(false).unwrap_err(), Error::Value { column, .. } if column == "a"));
    let kinds: Vec<_> = made(true).unwrap().columns.iter().map(|c| c.kind).collect();
    assert_eq!(kinds, [Type::Text, Type::Json, Type::Int]);
}

#[test]
fn the_guess_follows_the_options_and_passes_over_broken_rows() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "# by hand\nday;n\n31.01.2021;1\nbroken\n01.02.2021;2\n");
    let mut options = ParquetOptions::default().csv;
    options.separator = None;
    options.comment = Some("#".into());
    options.formats.insert("day".into(), vec!["%d.%m.%Y".into()]);
    let schema = Schema::infer_with(&csv, &options).unwrap();
    assert_eq!(schema, Schema::new([("day", Type::Date), ("n", Type::Int)]));
}

/// Whoever guesses would guess a table of one column, of text, and be none the wiser.
#[test]
fn what_is_no_csv_is_not_guessed_to_be_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let page = "<!DOCTYPE html><html lang=\"en\"><title>Log in</title></html>";
    for (name, content, want) in [
        ("a.jsonl", "{\"id\":1}\n{\"id\":2}\n".into(), "`parquetize_json`"),
        ("b.json", "\n{\n  \"id\": \"1,2\"\n}\n".into(), "this seems to be JSON"),
        ("c.csv.gz", page.as_bytes().to_vec(), "this seems to be a web page"),
        ("d.csv.gz", gzip(page.as_bytes()), "this seems to be a web page"),
        ("e.csv", "<?xml version=\"1.0\"?>\n<a>1</a>\n".into(), "this seems to be XML"),
    ] {
        let path = write(folder.path(), name, content);
        let target = folder.path().join("f.parquet");
        let missing = Schema::new([("id", Type::Int)]);
        let convert = |schema: &Schema| parquetize(&path, &target, schema, &ParquetOptions::default(), &());
        for error in [
            Schema::infer(&path).unwrap_err(),
            convert(&Schema::default()).unwrap_err(),
            convert(&missing).unwrap_err(),
        ] {
            let (is_permanent, text) = (error.is_permanent(), error.to_string());
            assert!(is_permanent && text.contains(want) && text.contains(name), "{name}: {text}");
        }
        assert!(!target.exists());
    }
}

#[test]
fn what_is_stated_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("f.parquet");
    for (content, name) in [("{\"id\":1}\nx\n", "{\"id\":1}"), ("<html>\nx\n", "<html>"), ("a;b\n1;2\n", "a;b")] {
        let csv = write(folder.path(), "f.csv", content);
        let schema = Schema::new([(name, Type::Text)]);
        assert_eq!(parquetize(&csv, &target, &schema, &ParquetOptions::default(), &()).unwrap().rows, 1);
        // A file without a header, and one whose header is named.
        let mut options = ParquetOptions::default();
        options.csv.names = Some(vec!["all".into()]);
        assert_eq!(parquetize(&csv, &target, &Schema::default(), &options, &()).unwrap().rows, 2);
        assert_eq!(Schema::infer_with(&csv, &options.csv).unwrap(), Schema::new([("all", Type::Text)]));
        let mut options = ParquetOptions::default();
        options.csv.header_with = vec![name.into()];
        let quoted =
            write(folder.path(), "g.csv", content.replace(name, &format!("\"{}\"", name.replace('"', "\"\""))));
        assert_eq!(parquetize(&quoted, &target, &Schema::default(), &options, &()).unwrap().rows, 1);
    }
}

#[test]
fn a_separator_that_was_not_stated_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "day;mm\n2021-01-31;0,5\n2021-02-01;1\n");
    let missing = Schema::new([("mm", Type::Text)]);
    let target = folder.path().join("f.parquet");
    for error in [
        Schema::infer(&csv).unwrap_err(),
        parquetize(&csv, &target, &missing, &ParquetOptions::default(), &()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("2 if `;` separates them: state `separator = Some(';')`"), "{error}");
    }
    for separator in [Some(';'), None] {
        let mut options = ParquetOptions::default().csv;
        options.separator = separator;
        let want = Schema::new([("day", Type::Date), ("mm", Type::Text)]);
        assert_eq!(Schema::infer_with(&csv, &options).unwrap(), want);
    }
    // Columns that are one, however they are called.
    for content in ["alone\n1\n", "temperature; in degrees\n20\n21\n", "\"a|b\"\n1\n"] {
        let csv = write(folder.path(), "g.csv", content);
        assert_eq!(Schema::infer(&csv).unwrap().columns().len(), 1, "{content:?}");
    }
}

#[test]
fn a_text_that_stands_for_null_says_nothing_of_the_type() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "n,day,none\nNA,2021-01-31,NA\n5,NULL,NULL\nNULL,\"NA\",\n");
    let lines = "{\"n\":\"NA\",\"day\":\"2021-01-31\",\"none\":\"NULL\"}\n{\"n\":5,\"day\":\"NULL\"}\n{\"n\":null,\"day\":\"NA\"}\n";
    let json = write(folder.path(), "f.jsonl", lines);
    let mut options = ParquetOptions::default();
    assert_eq!(Schema::infer_with(&csv, &options.csv).unwrap().columns()[0].kind, Type::Text);
    options.csv.nulls = vec!["NA".into(), "NULL".into()];
    let plain = Schema::new([("n", Type::Int), ("day", Type::Date), ("none", Type::Text)]);
    let want = plain.clone().with_null("NA").with_null("NULL");
    assert_eq!(Schema::infer_with(&csv, &options.csv).unwrap(), want);
    assert_eq!(Schema::infer_json(&json, &options.csv).unwrap(), want);
    let target = folder.path().join("f.parquet");
    // The guess knows them without the options, and the options without the guess.
    for (schema, options) in [(&want, &ParquetOptions::default()), (&plain, &options), (&want, &options)] {
        let mut got = Vec::new();
        parquetize(&csv, &target, schema, options, &()).unwrap();
        got.push(read(&target));
        parquetize_json(&json, &target, schema, options, &()).unwrap();
        got.push(read(&target));
        for frame in &got {
            assert_eq!(column(frame, "n"), ["null", "5", "null"]);
            assert_eq!(column(frame, "day"), ["2021-01-31", "null", "null"]);
            assert_eq!(frame.column("none").unwrap().null_count(), 3);
        }
    }
    // What was written before there were such texts is read as it was.
    let text = serde_json::to_string(&ParquetOptions::default().csv).unwrap();
    assert!(!text.contains("nulls"), "{text}");
    assert_eq!(serde_json::from_str::<flow_data::CsvOptions>(&text).unwrap(), flow_data::CsvOptions::default());
}
