//! CSV to Parquet and back to rows.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use flow_data::{
    ColumnType, Error, Field, ParquetFile, ParquetOptions, Progress, Schema, Type, parquetize, parquetize_json,
    read_parquet_fields, read_parquet_schema,
};
use polars::prelude::DataFrame;
use polars_arrow::datatypes::{ArrowDataType, ArrowSchema, Field as ArrowField, TimeUnit};
use polars_parquet::parquet::compression::Compression;
use polars_parquet::parquet::metadata::SchemaDescriptor;
use polars_parquet::parquet::read::read_metadata;
use polars_parquet::read::{ParquetType, PhysicalType, PrimitiveConvertedType};
use polars_parquet::write::{CompressionOptions, FileWriter, StatisticsOptions, Version, WriteOptions};

use crate::files::{bounds, column, gzip, read, trip_schema, trips, write};

fn convert(csv: &Path, schema: &Schema) -> Result<(ParquetFile, DataFrame), Error> {
    let file = parquetize(csv, csv.with_extension("parquet"), schema, &ParquetOptions::default(), &())?;
    let frame = read(&file.path);
    Ok((file, frame))
}

fn failing(csv: &str, schema: &Schema) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "f.csv", csv);
    let error = convert(&path, schema).unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no file is left: {error}");
    error
}

#[test]
fn every_type_arrives_and_blank_is_null() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", trips(4));
    let (file, frame) = convert(&csv, &trip_schema()).unwrap();
    assert_eq!((file.rows, file.bytes), (4, file.path.metadata().unwrap().len()));
    assert_eq!(read_parquet_schema(&file.path).unwrap(), trip_schema());
    assert_eq!(column(&frame, "id"), ["0", "1", "2", "3"]);
    assert_eq!(column(&frame, "day"), ["2021-01-01", "2021-01-02", "null", "2021-01-04"]);
    assert_eq!(column(&frame, "distance"), ["0.25", "0.5", "null", "-0.001"]);
    assert_eq!(column(&frame, "shared"), ["true", "false", "null", "false"]);
    let texts: Vec<_> = frame.column("flag").unwrap().as_materialized_series().str().unwrap().iter().collect();
    assert_eq!(texts, [Some("N"), Some("a \"b\", c"), None, Some("ä\n\t\\N")]);
    let micros = frame.column("picked_up").unwrap().as_materialized_series().datetime().unwrap().physical().clone();
    let base = 1_609_488_000_000_000; // 2021-01-01 08:00
    let want = [Some(base), Some(base + 86_400_000_000), None, Some(base + 3 * 86_400_000_000 + 123_456)];
    assert_eq!(micros.iter().collect::<Vec<_>>(), want);
}

/// The file is read in pieces; records that span them must come out as those within.
#[test]
fn pieces_and_members_make_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let text = trips(250_000);
    assert!(text.len() > 9 << 20);
    let plain = write(folder.path(), "plain.csv", &text);
    let (half, rest) = text.as_bytes().split_at(text.len() / 2);
    let packed = write(folder.path(), "packed.csv.gz", [gzip(half), gzip(rest), gzip(b"")].concat());
    let (plain_file, plain_frame) = convert(&plain, &trip_schema()).unwrap();
    let (packed_file, packed_frame) = convert(&packed, &trip_schema()).unwrap();
    assert_eq!((plain_file.rows, packed_file.rows), (250_000, 250_000));
    assert!(plain_frame.equals_missing(&packed_frame));
    let ids: Vec<_> = plain_frame.column("id").unwrap().as_materialized_series().i64().unwrap().iter().collect();
    assert!(ids.into_iter().eq((0..250_000).map(Some)));
}

#[test]
fn columns_are_matched_by_name_and_extra_ones_kept_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "\u{feff}note, b ,a\r\nx,1,2.5\r\n\r\n,,\r\n");
    let schema = Schema::new([("a", Type::Float), ("b", Type::Int)]);
    let (file, frame) = convert(&csv, &schema).unwrap();
    let columns: Vec<_> = file.columns.iter().map(|c| (c.name.as_str(), c.kind)).collect();
    assert_eq!(columns, [("a", Type::Float), ("b", Type::Int), ("note", Type::Text)]);
    assert_eq!(column(&frame, "a"), ["2.5", "null"]);
    assert_eq!(column(&frame, "b"), ["1", "null"]);
    assert_eq!(file.rows, 2, "a blank line is no row");
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_row() {
    let mut late = String::from("n,x\n");
    (0..400_000).for_each(|n| late.push_str(&format!("{n},1.5 km\n")));
    let schema = Schema::new([("n", Type::Int)]);
    late.push_str("12a,2\n");
    for (csv, schema, row, column, text) in [
        ("a\n1\nx\n", Schema::new([("a", Type::Int)]), 2, "a", "x"),
        ("a,b\n1,2\n,\n1.5,2\n", Schema::new([("a", Type::Int), ("b", Type::Int)]), 3, "a", "1.5"),
        ("a\n99999999999999999999\n", Schema::new([("a", Type::Int)]), 1, "a", "99999999999999999999"),
        ("a\n1,5\n", Schema::new([("a", Type::Int)]), 0, "", ""),
        ("a\n1e5x\n", Schema::new([("a", Type::Float)]), 1, "a", "1e5x"),
        ("a\n2021-02-30\n", Schema::new([("a", Type::Date)]), 1, "a", "2021-02-30"),
        ("a\n2021-02-03 25:00:00\n", Schema::new([("a", Type::Timestamp)]), 1, "a", "2021-02-03 25:00:00"),
        ("a\ntrue\nyes\n", Schema::new([("a", Type::Bool)]), 2, "a", "yes"),
        (late.as_str(), schema, 400_001, "n", "12a"),
    ] {
        match failing(csv, &schema) {
            Error::Value { row: r, column: c, text: t, .. } => {
                assert_eq!((r, c.as_str(), t.as_str()), (row, column, text))
            }
            Error::Format { message, .. } if row == 0 => {
                assert_eq!(message, "row 1 has 2 fields, the header has 1")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn broken_files_are_told_apart() {
    let schema = Schema::new([("a", Type::Int), ("b", Type::Text)]);
    for (csv, want) in [
        ("", "the file is empty"),
        ("a,b\n1,2\n3\n", "row 2 has 1 fields, the header has 2"),
        ("a,b\n1,2\n3,4,5\n", "row 2 has 3 fields, the header has 2"),
        ("a,b\n1\n3,4,5\n", "row 1 has 1 fields, the header has 2"),
        ("a,b\n1,\"2\n3,4\n", "a quote is opened in row 1 and never closed"),
        ("a,b\n1,2\n\n3,4\n5,\"6\n7,8\n", "a quote is opened in row 3 and never closed"),
        ("a,\"b\n1,2\n", "a quote is opened in the header and never closed"),
        ("a,c\n1,2\n", "the stated columns `b` are missing; the file has `a`, `c`"),
        ("a,b,a\n1,2,3\n", "two columns are called `a`"),
        ("PK\u{3}\u{4}..", "zip archive"),
    ] {
        let error = failing(csv, &schema).to_string();
        assert!(error.contains(want) && error.contains("f.csv"), "{csv:?}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let packed = gzip(trips(10_000).as_bytes());
    let cut = write(folder.path(), "cut.csv.gz", &packed[..packed.len() / 2]);
    let error = convert(&cut, &trip_schema()).unwrap_err().to_string();
    assert!(error.contains("cut short"), "{error}");
    let text = write(folder.path(), "latin.csv", b"a,b\n1,\xe4\n");
    let error = convert(&text, &schema).unwrap_err().to_string();
    assert!(error.contains("row 1, column `b`") && error.contains("is not text in UTF-8"), "{error}");
}

#[test]
fn a_text_can_stand_for_null() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "a,b,c\n1,NA,NA\nNA,2021-01-01,x\n,,\n");
    let schema = Schema::new([("a", Type::Int), ("b", Type::Date)]);
    let (_, frame) = convert(&csv, &schema.clone().with_null("NA")).unwrap();
    assert_eq!(column(&frame, "a"), ["1", "null", "null"]);
    assert_eq!(column(&frame, "b"), ["null", "2021-01-01", "null"]);
    assert_eq!(frame.column("c").unwrap().null_count(), 2);
    assert!(convert(&csv, &schema).unwrap_err().to_string().contains("`NA`"));
}

#[test]
fn a_header_alone_makes_a_file_without_rows() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", "id,picked_up,day,distance,shared,flag");
    let (file, frame) = convert(&csv, &trip_schema()).unwrap();
    assert_eq!((file.rows, frame.height(), frame.width()), (0, 0, 6));
    assert_eq!(read_parquet_schema(&file.path).unwrap(), trip_schema());
}

#[test]
fn types_are_guessed_from_the_first_rows() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv.gz", gzip(trips(50_000).as_bytes()));
    // Truth is guessed from words only: `0` and `1` are numbers as well. Some of the moments have a zone, some have none.
    let want = trip_schema().with("shared", Type::Text).with("picked_up", Type::Text);
    assert_eq!(Schema::infer(&csv).unwrap(), want);
    let blank = write(folder.path(), "g.csv", "a,b,c\n007,,1\n8,,2\n");
    assert_eq!(Schema::infer(&blank).unwrap(), Schema::new([("a", Type::Text), ("b", Type::Text), ("c", Type::Int)]));
}

#[test]
fn the_layout_is_as_the_options_say() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("id,amount,flag\n");
    (0..200_000).for_each(|n| text.push_str(&format!("{n},{}.25,{}\n", n % 90, if n % 3 == 0 { "N" } else { "Y" })));
    assert!(text.len() > 2 << 20, "several pieces");
    let csv = write(folder.path(), "f.csv", text);
    let schema = Schema::new([("id", Type::Int), ("amount", Type::Float)]);
    let groups = |options: &ParquetOptions| {
        let file = parquetize(&csv, folder.path().join("f.parquet"), &schema, options, &()).unwrap();
        read_metadata(&mut std::fs::File::open(&file.path).unwrap()).unwrap().row_groups
    };
    let mut options = ParquetOptions::default();
    let found = groups(&options);
    assert_eq!(found.iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [131_072, 68_928]);
    for column in found.iter().flat_map(|group| group.parquet_columns()) {
        assert_eq!(column.compression(), Compression::Zstd);
        // A number that comes once is not listed.
        let is_listed = column.dictionary_page_offset().is_some();
        assert_eq!(is_listed, column.descriptor().path_in_schema[0] != "id");
    }
    options.row_group_rows = 90_000;
    assert_eq!(groups(&options).iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [90_000, 90_000, 20_000]);
    assert_eq!(options.clone().within(1 << 40).row_group_bytes, 64 << 20, "there is no need for more");
    options = options.within(3);
    assert_eq!(options.row_group_bytes, 1);
    let found = groups(&options);
    assert!(found.len() > 10, "{} groups of some pieces each", found.len());
    assert_eq!(found.iter().map(|group| group.num_rows()).sum::<usize>(), 200_000);
}

/// Holds up whoever encodes until the file has been read to its end.
struct HeldUp {
    caller: ThreadId,
    held: AtomicBool,
    read: (Mutex<bool>, Condvar),
}

impl Progress for HeldUp {
    fn report(&self, done: u64, total: Option<u64>) {
        *self.read.0.lock().unwrap() |= Some(done) == total;
        self.read.1.notify_all();
    }

    fn cancelled(&self) -> bool {
        if thread::current().id() != self.caller {
            self.held.store(true, Ordering::Relaxed);
            let (read, changed) = &self.read;
            let waited = changed.wait_timeout_while(read.lock().unwrap(), Duration::from_secs(60), |read| !*read);
            assert!(!waited.unwrap().1.timed_out(), "nobody reads while a group is encoded");
        }
        false
    }
}

#[test]
fn the_next_group_is_read_while_one_is_encoded() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", trips(100_000));
    let mut options = ParquetOptions::default();
    options.row_group_rows = 60_000;
    let progress = HeldUp { caller: thread::current().id(), held: AtomicBool::new(false), read: Default::default() };
    let file = parquetize(&csv, folder.path().join("f"), &trip_schema(), &options, &progress).unwrap();
    assert!(progress.held.into_inner(), "the caller encodes");
    assert_eq!(column(&read(&file.path), "id").len(), 100_000);
}

/// By the smallest and largest value readers pass over whole groups.
#[test]
fn the_bounds_of_large_decimals_have_a_sign() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: String = (-70_000..70_000).map(|n| format!("{n}\n")).collect();
    let csv = write(folder.path(), "f.csv", format!("n\n{numbers}"));
    let schema = Schema::new([("n", Type::Decimal(38, 10))]);
    let file = parquetize(&csv, folder.path().join("f"), &schema, &ParquetOptions::default(), &()).unwrap();
    let want = [[-70_000, 61_071], [61_072, 69_999]].map(|group| group.map(|n: i128| n * 10i128.pow(10)));
    assert_eq!(bounds(&file.path, 0), want);
}

/// What is read is never what is written, by whatever name, nor what is written or removed beside that.
#[test]
fn a_file_is_not_made_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let source = write(folder.path(), "x.parquet.rejected.csv", "a\n1\n");
    let link = folder.path().join("link.csv");
    std::os::unix::fs::symlink(&source, &link).unwrap();
    let part = write(folder.path(), "y.parquet.part", "a\n1\n");
    let schema = Schema::new([("a", Type::Int)]);
    let targets = [
        (&source, source.clone()),
        (&source, folder.path().join("./x.parquet.rejected.csv")),
        (&source, link.clone()),
        (&link, source.clone()),
        (&source, folder.path().join("x.parquet")),
        (&part, folder.path().join("y.parquet")),
    ];
    for (from, target) in targets {
        let options = ParquetOptions::default();
        for outcome in
            [parquetize(from, &target, &schema, &options, &()), parquetize_json(from, &target, &schema, &options, &())]
        {
            let error = outcome.unwrap_err();
            assert!(matches!(&error, Error::Invalid(words) if words.contains("another target")), "{error:?}");
            assert_eq!(std::fs::read_to_string(from).unwrap(), "a\n1\n", "{}", target.display());
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing was written");
}

/// A file of no rows with these columns, and with what an Arrow program says of them.
fn described(path: &Path, message: &str, arrow: ArrowSchema) {
    let options = WriteOptions {
        statistics: StatisticsOptions::default(),
        version: Version::V2,
        compression: CompressionOptions::Snappy,
        data_page_size: None,
    };
    let mut columns = SchemaDescriptor::try_from_message(message).unwrap().fields().to_vec();
    for column in &mut columns {
        // A message has no word for an interval, which has twelve bytes.
        if let ParquetType::PrimitiveType(primitive) = column
            && primitive.physical_type == PhysicalType::FixedLenByteArray(12)
        {
            primitive.converted_type = Some(PrimitiveConvertedType::Interval);
        }
    }
    let parquet = SchemaDescriptor::new("root".into(), columns);
    let mut writer = FileWriter::new_with_parquet_schema(std::fs::File::create(path).unwrap(), arrow, parquet, options);
    writer.end(None).unwrap();
}

#[test]
fn columns_that_fit_no_table_are_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.parquet");
    let refused = |column: &str, arrow: ArrowSchema| {
        described(&path, &format!("message root {{ OPTIONAL INT32 n; {column} }}"), arrow);
        let error = read_parquet_fields(&path).unwrap_err();
        assert!(error.is_permanent() && matches!(error, Error::Columns { .. }), "{error:?}");
        error.to_string()
    };
    let list = |of: &str| format!("OPTIONAL GROUP c (LIST) {{ REPEATED GROUP list {{ {of} }} }}");
    for (column, want) in [
        ("OPTIONAL GROUP c { OPTIONAL INT32 a; OPTIONAL INT32 b; }".to_owned(), "a record (a struct), which fits no table"),
        ("OPTIONAL GROUP c { OPTIONAL INT32 a; }".to_owned(), "a record (a struct), which fits no table: select its fields"),
        (
            "OPTIONAL GROUP c (MAP) { REPEATED GROUP key_value { REQUIRED BYTE_ARRAY key (UTF8); OPTIONAL INT32 value; } }".to_owned(),
            "a map of keys to values, which fits no table",
        ),
        (list("OPTIONAL GROUP element { OPTIONAL INT32 a; OPTIONAL INT32 b; }"), "a list of records, which fits no table"),
        (
            list("OPTIONAL GROUP element (LIST) { REPEATED GROUP list { OPTIONAL INT32 element; } }"),
            "a list of lists or maps, which fits no table: make a row of each",
        ),
        ("OPTIONAL FIXED_LEN_BYTE_ARRAY (12) c;".to_owned(), "an interval of months, days and milliseconds, which no table"),
        ("OPTIONAL FIXED_LEN_BYTE_ARRAY (20) c (DECIMAL (45, 2));".to_owned(), "decimals of 45 digits, 2 of them after"),
    ] {
        let said = refused(&column, ArrowSchema::default());
        assert!(said.contains(&format!("column `c` holds {want}")), "{column}: {said}");
        assert!(!said.contains("Field"), "{said}");
    }

    let arrow = |dtype: ArrowDataType| -> ArrowSchema {
        [("n", ArrowDataType::Int32), ("c", dtype)]
            .map(|(name, dtype)| (name.into(), ArrowField::new(name.into(), dtype, true)))
            .into_iter()
            .collect()
    };
    let span = || ArrowDataType::Duration(TimeUnit::Millisecond);
    let spans = ArrowDataType::LargeList(Box::new(ArrowField::new("element".into(), span(), true)));
    for (column, dtype) in [("OPTIONAL INT64 c;".to_owned(), span()), (list("OPTIONAL INT64 element;"), spans)] {
        let said = refused(&column, arrow(dtype));
        assert!(said.contains("an Arrow duration) in ms") && said.contains("`c_ms`"), "{said}");
    }
    // Numbers are numbers, whoever wrote them.
    for arrow in [arrow(ArrowDataType::Int64), ArrowSchema::default()] {
        described(&path, "message root { OPTIONAL INT32 n; OPTIONAL INT64 c; }", arrow);
        assert_eq!(read_parquet_fields(&path).unwrap()[1], Field::new("c", ColumnType::Int64));
    }
}

/// Row groups can be passed over by those who look for some rows.
#[test]
fn each_column_has_its_least_and_its_greatest_value() {
    let folder = tempfile::tempdir().unwrap();
    let csv = write(folder.path(), "f.csv", trips(1_000));
    let (file, _) = convert(&csv, &trip_schema()).unwrap();
    let metadata = read_metadata(&mut std::fs::File::open(&file.path).unwrap()).unwrap();
    let found: Vec<_> = metadata.row_groups[0]
        .parquet_columns()
        .iter()
        .map(|column| column.statistics(&metadata.footer_buf).unwrap().unwrap())
        .collect();
    let id = found[0].expect_as_int64();
    assert_eq!((id.min_value, id.max_value, id.null_count), (Some(0), Some(999), Some(0)));
    let day = found[2].expect_as_int32();
    assert_eq!((day.min_value, day.max_value, day.null_count), (Some(18_628), Some(18_655), Some(250)));
    let distance = found[3].expect_as_double();
    assert_eq!((distance.min_value, distance.max_value, distance.null_count), (Some(-0.001), Some(996.25), Some(250)));
    let shared = found[4].expect_as_boolean();
    assert_eq!((shared.min_value, shared.max_value), (Some(false), Some(true)));
    let flag = found[5].expect_as_binary();
    assert_eq!((flag.min_value.as_deref(), flag.max_value.as_deref()), (Some(&b"N"[..]), Some("ä\n\t\\N".as_bytes())));
}
