//! Values that are not of their type, and rows of another shape, by each choice.

use std::path::Path;

use flow_data::{Error, Misfit, ParquetFile, ParquetOptions, Schema, Type, parquetize, parquetize_json};

use crate::files::{column, read, write};

const CSV: &str =
    "id,day,note\n1,2021-01-01,a\nx,2021-13-01,\"b \"\"q\"\"\nsecond line\"\n3\n4,2021-01-04,d,e\n,,\n6,2021-01-06,f\n";

fn schema() -> Schema {
    Schema::new([("id", Type::Int), ("day", Type::Date), ("note", Type::Text)])
}

fn options(misfit: Misfit) -> ParquetOptions {
    let mut options = ParquetOptions::default();
    options.misfit = misfit;
    options
}

fn convert(csv: &Path, options: &ParquetOptions) -> Result<ParquetFile, Error> {
    parquetize(csv, csv.with_extension("parquet"), &schema(), options, &())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn rows_that_do_not_fit_go_to_quarantine_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", CSV);
    let file = convert(&csv, &options(Misfit::Quarantine)).unwrap();
    assert_eq!((file.rows, file.quarantined, file.nulled), (3, 3, 0));
    assert_eq!(column(&read(&file.path), "id"), ["1", "null", "6"]);
    let quarantine = file.quarantine.unwrap();
    assert_eq!(quarantine, folder.path().join("f.parquet.rejected.csv"));
    // It is read by the same means as all CSV.
    let schema = Schema::new([("row", Type::Int)]);
    let back = parquetize(&quarantine, folder.path().join("q.parquet"), &schema, &options(Misfit::Fail), &()).unwrap();
    let frame = read(&back.path);
    assert_eq!(column(&frame, "row"), ["2", "3", "4"]);
    let texts = |name: &str| -> Vec<Option<String>> {
        let series = frame.column(name).unwrap().as_materialized_series().clone();
        series.str().unwrap().iter().map(|text| text.map(str::to_owned)).collect()
    };
    assert_eq!(texts("column"), ["id", "", ""].map(|text| Some(text.to_owned())));
    let reasons = [
        "id: `x` is not a whole number of 64 bits; day: `2021-13-01` is not a date such as 2021-01-31",
        "has 1 fields, the header has 3",
        "has 4 fields, the header has 3",
    ];
    assert_eq!(texts("reason"), reasons.map(|text| Some(text.to_owned())));
    let records = ["x,2021-13-01,\"b \"\"q\"\"\nsecond line\"", "3", "4,2021-01-04,d,e"];
    assert_eq!(texts("record"), records.map(|text| Some(text.to_owned())));
}

#[test]
fn values_that_do_not_fit_become_null_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", CSV);
    let file = convert(&csv, &options(Misfit::Null)).unwrap();
    // Two values, one record that is too short, one that is too long.
    assert_eq!((file.rows, file.quarantined, file.nulled), (6, 0, 4));
    let frame = read(&file.path);
    assert_eq!(column(&frame, "id"), ["1", "null", "3", "4", "null", "6"]);
    assert_eq!(column(&frame, "day"), ["2021-01-01", "null", "null", "2021-01-04", "null", "2021-01-06"]);
    assert_eq!(frame.column("note").unwrap().null_count(), 2);
    assert_eq!(names(folder.path()), ["f.csv", "f.parquet"]);
}

#[test]
fn the_first_misfit_fails_unless_said() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", CSV);
    let error = convert(&csv, &ParquetOptions::default()).unwrap_err();
    assert!(error.to_string().contains("row 2, column `id`: `x` is not a whole number"), "{error}");
    assert_eq!(names(folder.path()), ["f.csv"]);
}

#[test]
fn a_quarantine_without_rows_leaves_no_file_and_takes_the_earlier_one_away() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", CSV);
    convert(&csv, &options(Misfit::Quarantine)).unwrap();
    assert_eq!(names(folder.path()), ["f.csv", "f.parquet", "f.parquet.rejected.csv"]);
    write(folder.path(), "f.csv", "id,day,note\n1,2021-01-01,a\n");
    let file = convert(&csv, &options(Misfit::Quarantine)).unwrap();
    assert_eq!((file.rows, file.quarantined, file.quarantine), (1, 0, None));
    assert_eq!(names(folder.path()), ["f.csv", "f.parquet"]);
}

#[test]
fn more_than_are_put_up_with_leave_everything_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", CSV);
    let mut few = options(Misfit::Quarantine);
    few.tolerance.rows = Some(2);
    let mut share = options(Misfit::Null);
    share.tolerance.percent = Some(49.9);
    for (options, want) in
        [(few, "3 rows do not fit, 2 are put up with; the first: "), (share, "3 of 6 rows do not fit, 49.9 % are")]
    {
        let error = convert(&csv, &options).unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains(want), "{error}");
        assert!(error.to_string().contains("row 2, column `id`"), "{error}");
        assert_eq!(names(folder.path()), ["f.csv"]);
    }
    let mut enough = options(Misfit::Quarantine);
    (enough.tolerance.rows, enough.tolerance.percent) = (Some(3), Some(50.0));
    assert_eq!(convert(&csv, &enough).unwrap().quarantined, 3);
}

/// The file is read in pieces; row numbers and rows must come out right in all of them.
#[test]
fn rows_are_numbered_through_all_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("id,day,note\n");
    for n in 1..=200_000 {
        match n % 1_000 {
            7 => text.push_str(&format!("{n}x,2021-01-01,\n")),
            500 => text.push_str(&format!("{n},2021-01-01\n")),
            _ => text.push_str(&format!("{n},2021-01-01,\"a, {n}\"\n")),
        }
    }
    assert!(text.len() > 3 << 20);
    let csv = write(folder.path(), "f.csv", &text);
    let file = convert(&csv, &options(Misfit::Quarantine)).unwrap();
    assert_eq!((file.rows, file.quarantined), (199_600, 400));
    let schema = Schema::new([("row", Type::Int)]);
    let quarantine = file.quarantine.unwrap();
    let back = parquetize(&quarantine, folder.path().join("q.parquet"), &schema, &options(Misfit::Fail), &()).unwrap();
    let want: Vec<_> = (1..=200_000).filter(|n| matches!(n % 1_000, 7 | 500)).map(|n: i32| n.to_string()).collect();
    assert_eq!(column(&read(&back.path), "row"), want);
    let kept: Vec<_> = (1..=200_000).filter(|n| !matches!(n % 1_000, 7 | 500)).map(|n: i32| n.to_string()).collect();
    assert_eq!(column(&read(&file.path), "id"), kept);
}

#[test]
fn text_that_is_none_and_text_behind_quotes_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", b"id,day,note\n1,,\xe4\n2,,\"a\"b\n3,,\xc3\xa4\n");
    let file = convert(&csv, &options(Misfit::Quarantine)).unwrap();
    let text = std::fs::read_to_string(file.quarantine.unwrap()).unwrap();
    assert_eq!(
        text,
        "row,column,reason,record\n1,\"note\",\"note: `\u{fffd}` is not text in UTF-8\",\"1,,\\xe4\"\n\
         2,\"\",\"has text behind the closing quote of field 3\",\"2,,\"\"a\"\"b\"\n"
    );
    let file = convert(&csv, &options(Misfit::Null)).unwrap();
    assert_eq!((file.rows, file.nulled), (3, 2));
    assert_eq!(read(&file.path).column("note").unwrap().null_count(), 2);
}

/// What is written is finite, what would be kept is not.
#[test]
fn a_number_that_64_bits_cannot_hold_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "x,y\n1,a\n1e400,b\n-1e400,c\ninf,d\n1e-400,e\n");
    let lines = "{\"x\":1}\n{\"x\":1e400}\n{\"x\":\"-1e400\"}\n{\"x\":\"inf\"}\n{\"x\":1e-400}\n";
    let json = write(folder.path(), "f.jsonl", lines);
    let target = folder.path().join("f.parquet");
    let schema = Schema::new([("x", Type::Float)]);
    for is_json in [false, true] {
        let convert = |misfit: Misfit| match is_json {
            true => parquetize_json(&json, &target, &schema, &options(misfit), &()),
            false => parquetize(&csv, &target, &schema, &options(misfit), &()),
        };
        let error = convert(Misfit::Fail).unwrap_err().to_string();
        assert!(error.contains("row 2, column `x`: `1e400` is not a number that 64 bits hold"), "{error}");
        assert_eq!(convert(Misfit::Null).unwrap().nulled, 2);
        assert_eq!(column(&read(&target), "x"), ["1.0", "null", "null", "inf", "0.0"]);
        let file = convert(Misfit::Quarantine).unwrap();
        assert_eq!((file.rows, file.quarantined), (3, 2));
        let rejected = std::fs::read_to_string(file.quarantine.unwrap()).unwrap();
        assert!(rejected.contains("`-1e400` is not a number that 64 bits hold"), "{rejected}");
    }
    let many = write(folder.path(), "g.csv", "x\n1\n2.5\n1e400\n");
    assert_eq!(Schema::infer(&many).unwrap(), Schema::new([("x", Type::Text)]));
    let many = write(folder.path(), "g.jsonl", "{\"x\":1.5}\n{\"x\":1e400}\n");
    assert_eq!(Schema::infer_json(&many, &Default::default()).unwrap(), Schema::new([("x", Type::Text)]));
}
