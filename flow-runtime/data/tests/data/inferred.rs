//! Types that are guessed, and then enforced.

use flow_data::{Error, ParquetOptions, Schema, Type, parquetize};

use crate::files::{column, read, write};

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
