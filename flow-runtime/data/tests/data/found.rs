//! CSV files as they are found.

use std::path::Path;

use flow_data::{CsvOptions, Error, Misfit, ParquetFile, ParquetOptions, Schema, Type, parquetize};
use polars::prelude::DataFrame;

use crate::files::{column, gzip, read, write};

fn schema() -> Schema {
    Schema::new([("a", Type::Int), ("b", Type::Text)])
}

fn convert_as(content: &[u8], schema: &Schema, csv: CsvOptions) -> Result<(ParquetFile, DataFrame), Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "f", content);
    let mut options = ParquetOptions::default();
    options.csv = csv;
    let file = parquetize(&path, folder.path().join("f.parquet"), schema, &options, &())?;
    let frame = read(&file.path);
    assert_eq!(frame.height() as u64, file.rows);
    Ok((file, frame))
}

fn options(change: impl FnOnce(&mut CsvOptions)) -> CsvOptions {
    let mut options = CsvOptions::default();
    change(&mut options);
    options
}

/// The rows of `a` and `b`; null is `None`.
fn rows_as(content: &[u8], csv: CsvOptions) -> Vec<(Option<i64>, Option<String>)> {
    let (_, frame) = convert_as(content, &schema(), csv).unwrap();
    let a = frame.column("a").unwrap().as_materialized_series().i64().unwrap().clone();
    let b = frame.column("b").unwrap().as_materialized_series().str().unwrap().clone();
    a.iter().zip(b.iter()).map(|(a, b)| (a, b.map(str::to_owned))).collect()
}

fn rows(content: &str) -> Vec<(Option<i64>, Option<String>)> {
    rows_as(content.as_bytes(), CsvOptions::default())
}

fn want(rows: &[(i64, &str)]) -> Vec<(Option<i64>, Option<String>)> {
    rows.iter().map(|(a, b)| (Some(*a), Some((*b).to_owned()))).collect()
}

fn refused(content: &str, csv: CsvOptions) -> String {
    let error = convert_as(content.as_bytes(), &schema(), csv).unwrap_err();
    assert!(error.is_permanent(), "{error}");
    error.to_string()
}

#[test]
fn every_line_end_ends_a_row() {
    let plain = want(&[(1, "x"), (2, "y")]);
    for text in [
        "a,b\n1,x\n2,y\n",
        "a,b\n1,x\n2,y",
        "a,b\r\n1,x\r\n2,y\r\n",
        "a,b\r1,x\r2,y\r",
        "a,b\r1,x\r2,y",
        "a,b\r\n1,x\n2,y\r\n",
    ] {
        assert_eq!(rows(text), plain, "{text:?}");
        assert_eq!(rows(&text.replace('x', "\"x\"")), plain, "{text:?}, quoted");
    }
    assert_eq!(rows("a,b\n1,\"x\r\n\ny\"\n2,\"\n\"\n"), want(&[(1, "x\r\n\ny"), (2, "\n")]));
    assert_eq!(rows("a,b\r1,\"x\ny\"\r"), want(&[(1, "x\ny")]), "a line feed in quotes does not end lines");
    assert_eq!(rows("a,b\n1,x\ry\n"), want(&[(1, "x\ry")]), "a return within a field stays");
}

#[test]
fn blank_lines_are_no_rows_wherever_they_are() {
    assert_eq!(rows("\n\r\na,b\n\n1,x\n\n\r\n2,y\n\n"), want(&[(1, "x"), (2, "y")]));
    assert_eq!(rows("a,b\n\n1,\"x\n\n\"\n\n"), want(&[(1, "x\n\n")]));
    assert_eq!(rows("a,b\n,\n"), [(None, None)], "separators make a row");
}

#[test]
fn byte_order_marks_tell_the_encoding() {
    let text = "a,b\n1,ä€𝄞\n";
    let plain = want(&[(1, "ä€𝄞")]);
    let wide = |to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(to_bytes).collect()
    };
    for content in [format!("\u{feff}{text}").into_bytes(), wide(u16::to_le_bytes), wide(u16::to_be_bytes)] {
        assert_eq!(rows_as(&content, CsvOptions::default()), plain);
        assert_eq!(rows_as(&gzip(&content), CsvOptions::default()), plain);
    }
    let without_mark = &wide(u16::to_le_bytes)[2..];
    assert_eq!(rows_as(without_mark, options(|o| o.encoding = Some("utf-16le".into()))), plain);
}

#[test]
fn other_encodings_are_stated() {
    let western = |name: &str| options(|o| o.encoding = Some(name.to_owned()));
    assert_eq!(rows_as(b"a,b\n1,\xe4\x80\n", western("windows-1252")), want(&[(1, "ä€")]));
    assert_eq!(rows_as(b"a,b\n1,\xe4\xa4\n", western("ISO-8859-15")), want(&[(1, "ä€")]));
    assert_eq!(rows_as(b"a,b\n1,\x93\xfa\x96{\n", western("shift_jis")), want(&[(1, "日本")]));
    assert!(refused("a,b\n", western("klingon")).contains("no encoding is called `klingon`"));
    // More than one buffer, so that letters are cut between two.
    let long = "日本".repeat(300_000);
    let (encoded, _, _) = encoding_rs::SHIFT_JIS.encode(&long);
    let content = [b"a,b\n1,x", encoded.as_ref(), b"\n"].concat();
    assert_eq!(rows_as(&content, western("shift_jis")), want(&[(1, &format!("x{long}"))]));
}

#[test]
fn what_is_malformed_is_named_where_it_stands() {
    let cut = refused_bytes(b"a,b\n1,x\n2,\x93\n", "shift_jis");
    assert!(cut.contains("row 2, column `b`"), "{cut}");
    let lone = ["a,b\n1,x\n2,".encode_utf16().collect(), vec![0xd800], "\n".encode_utf16().collect()].concat();
    let lone: Vec<u8> = lone.into_iter().flat_map(u16::to_le_bytes).collect();
    let lone = refused_bytes(&lone, "utf-16le");
    assert!(lone.contains("row 2, column `b`"), "{lone}");
    assert!(refused_bytes(b"a,\xe4\n1,2\n", "utf-8").contains("the header is no text"));
}

fn refused_bytes(content: &[u8], encoding: &str) -> String {
    let csv = options(|o| o.encoding = Some(encoding.to_owned()));
    convert_as(content, &Schema::default(), csv).unwrap_err().to_string()
}

#[test]
fn separators_quotes_and_escapes_are_stated() {
    let with =
        |separator, quote, escape| options(|o| (o.separator, o.quote, o.escape) = (Some(separator), quote, escape));
    assert_eq!(rows_as(b"a;b\n1;x,y\n", with(';', Some('"'), None)), want(&[(1, "x,y")]));
    assert_eq!(rows_as(b"a\tb\n1\t\"x\"\n", with('\t', None, None)), want(&[(1, "\"x\"")]));
    assert_eq!(rows_as(b"a|b\n1|'x|''y'\n", with('|', Some('\''), None)), want(&[(1, "x|'y")]));
    assert_eq!(rows_as(b"a,b\n1,\"x\\\",\\\\y\"\n", with(',', Some('"'), Some('\\'))), want(&[(1, "x\",\\y")]));
    assert_eq!(rows_as(b"a\x01b\n1\x01x\n", with('\x01', Some('"'), None)), want(&[(1, "x")]));
}

#[test]
fn the_separator_is_found_when_nobody_states_it() {
    let auto = || options(|o| o.separator = None);
    for text in ["a,b\n1,x\n", "a;b\n1;x\n", "a\tb\n1\tx\n", "a|b\n1|x\n"] {
        assert_eq!(rows_as(text.as_bytes(), auto()), want(&[(1, "x")]), "{text:?}");
    }
    assert_eq!(rows_as(b"a;b\n1;\"x,y,z\"\n2;1,5\n", auto()), want(&[(1, "x,y,z"), (2, "1,5")]));
}

#[test]
fn a_quote_within_a_field_is_a_letter() {
    assert_eq!(rows("a,b\n1,5\" pipe\n2,\"6\"\" pipe\"\n3,x\n"), want(&[(1, "5\" pipe"), (2, "6\" pipe"), (3, "x")]));
}

#[test]
fn nothing_in_quotes_is_an_empty_text_and_nothing_at_all_is_null() {
    assert_eq!(
        rows("a,b\n1,\"\"\n2,\n\"\",\" \"\n"),
        [(Some(1), Some(String::new())), (Some(2), None), (None, Some(" ".into()))]
    );
}

#[test]
fn names_that_come_twice_are_refused_or_numbered() {
    let text = "a,b,b,,\n1,x,y,z,w\n";
    let error = refused(text, CsvOptions::default());
    assert!(error.contains("two columns are called `b`; number them (`number_repeated`)"), "{error}");
    let (file, frame) = convert_as(text.as_bytes(), &schema(), options(|o| o.number_repeated = true)).unwrap();
    let names: Vec<_> = file.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "b_2", "column_4", "column_5"]);
    assert_eq!(column(&frame, "b_2"), ["\"y\""]);
    let named = options(|o| {
        o.names = Some(["a", "b", "c", "d", "e"].map(String::from).to_vec());
        o.skip_lines = 1;
    });
    let (_, frame) = convert_as(text.as_bytes(), &schema(), named).unwrap();
    assert_eq!(column(&frame, "c"), ["\"y\""]);
}

#[test]
fn a_file_without_a_header_has_its_names_stated() {
    let named = || options(|o| o.names = Some(vec!["a".into(), "b".into()]));
    assert_eq!(rows_as(b"1,x\n2,y\n", named()), want(&[(1, "x"), (2, "y")]));
    assert_eq!(rows_as(b"", named()), []);
    assert!(refused("1,x,y\n", named()).contains("row 1 has 3 fields, the header has 2"));
}

#[test]
fn junk_before_the_header_is_passed_over() {
    let text = b"Report of \"Monday\nAll, figures; in EUR\n\na,b\n1,x\n";
    assert_eq!(rows_as(text, options(|o| o.skip_lines = 3)), want(&[(1, "x")]));
    let found = |name: &str| options(|o| o.header_with = vec![name.to_owned(), "a".into()]);
    assert_eq!(rows_as(text, found("b")), want(&[(1, "x")]));
    let error = convert_as(text, &schema(), found("c")).unwrap_err().to_string();
    assert!(error.contains("none of the first 5 lines is a header with `c`, `a`"), "{error}");
    assert!(refused("a\n", options(|o| o.skip_lines = 3)).contains("3 lines are to be passed over, the file has 1"));
    let auto = options(|o| (o.separator, o.header_with) = (None, vec!["b".into()]));
    assert_eq!(rows_as(b"A report\n\na;b\n1;x\n2;y\n", auto), want(&[(1, "x"), (2, "y")]));
}

#[test]
fn comments_are_no_rows() {
    let csv = options(|o| o.comment = Some("//".into()));
    assert_eq!(rows_as(b"// it's \"all\na,b\n//1,x\n2,//y\n//", csv), want(&[(2, "//y")]));
    assert_eq!(rows("a,b\n1,#x\n"), want(&[(1, "#x")]));
}

#[test]
fn an_empty_file_is_an_error_and_a_header_alone_is_a_file_without_rows() {
    for text in ["", "\n", "\r\n\r\n", "\u{feff}"] {
        assert!(refused(text, CsvOptions::default()).contains("the file is empty"), "{text:?}");
    }
    for text in ["a,b", "a,b\n", "a,b\r\n\r\n", "\u{feff}a,b\n"] {
        assert_eq!(rows(text), [], "{text:?}");
    }
}

#[test]
fn packed_files_are_recognised_by_content_with_all_their_members() {
    let zstd = |text: &[u8]| zstd::encode_all(text, 3).unwrap();
    let (first, second) = (b"a,b\n1,".as_slice(), b"x\n2,y\n".as_slice());
    let plain = want(&[(1, "x"), (2, "y")]);
    for content in [
        [gzip(first), gzip(b""), gzip(second)].concat(),
        [zstd(first), zstd(b""), zstd(second)].concat(),
        // A frame of something else, which readers pass over.
        [vec![0x52, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3], zstd(first), zstd(second)].concat(),
    ] {
        assert_eq!(rows_as(&content, CsvOptions::default()), plain);
    }
    let rows = format!("a,b\n{}", "1,x\n".repeat(200_000));
    let packed = zstd(rows.as_bytes());
    let error = convert_as(&packed[..packed.len() - 3], &schema(), CsvOptions::default()).unwrap_err().to_string();
    assert!(error.contains("zstd stream is cut short") || error.contains("zstd stream is broken"), "{error}");
    let mut broken = gzip(rows.as_bytes());
    // All of the text is there; its checksum is another's.
    let checksum = broken.len() - 8;
    broken[checksum] ^= 0xff;
    let error = convert_as(&broken, &schema(), CsvOptions::default()).unwrap_err().to_string();
    assert!(error.contains("gzip stream is broken"), "{error}");
    for (magic, name) in [(b"BZh91AY&SY.".as_slice(), "bzip2"), (b"\xfd7zXZ\0..", "xz"), (b"PAR1....", "Parquet")] {
        assert!(convert_as(magic, &schema(), CsvOptions::default()).unwrap_err().to_string().contains(name));
    }
}

#[test]
fn whole_numbers_beyond_64_bits_are_no_numbers() {
    let text = "a,b\n9223372036854775807,x\n9223372036854775808,y\n";
    assert!(
        refused(text, CsvOptions::default()).contains("row 2, column `a`: `9223372036854775808` is not a whole number")
    );
    let as_text = Schema::new([("a", Type::Text)]);
    let (_, frame) = convert_as(text.as_bytes(), &as_text, CsvOptions::default()).unwrap();
    assert_eq!(column(&frame, "a"), ["\"9223372036854775807\"", "\"9223372036854775808\""]);
}

#[test]
fn thousands_of_columns() {
    const COLUMNS: usize = 5_000;
    let line = |cell: &dyn Fn(usize) -> String| (0..COLUMNS).map(cell).collect::<Vec<_>>().join(",") + "\n";
    let mut text = line(&|n| format!("c{n}"));
    for row in 0..50 {
        text.push_str(&line(&|n| format!("{}", row * n)));
    }
    let schema = Schema::new((0..COLUMNS).map(|n| (format!("c{n}"), if n % 2 == 0 { Type::Int } else { Type::Text })));
    let (file, frame) = convert_as(text.as_bytes(), &schema, CsvOptions::default()).unwrap();
    assert_eq!((file.rows, file.columns.len()), (50, COLUMNS));
    let last: Vec<_> = frame.column("c4998").unwrap().as_materialized_series().i64().unwrap().iter().collect();
    assert_eq!(last[49], Some(49 * 4_998));
}

#[test]
fn a_field_of_many_megabytes() {
    let long = "ab\"\n,".repeat(2 << 20);
    let text = format!("a,b\n1,\"{}\"\n2,{}\n3,z\n", long.replace('"', "\"\""), "y".repeat(9 << 20));
    let rows = rows(&text);
    assert_eq!(rows.len(), 3);
    assert!(rows[0].1.as_deref() == Some(&long));
    assert_eq!(rows[1].1.as_ref().unwrap().len(), 9 << 20);
    assert_eq!(rows[2], (Some(3), Some("z".into())));
}

#[test]
fn a_quote_that_never_ends_is_no_record_of_the_rest() {
    let text = format!("a,b\n1,x\n2,\"y\n{}", "3,z\n".repeat(500_000));
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "f.csv", text);
    let mut options = ParquetOptions::default();
    options.misfit = Misfit::Quarantine;
    let error = parquetize(&path, folder.path().join("f.parquet"), &schema(), &options, &()).unwrap_err();
    assert!(error.to_string().contains("a quote is opened in row 2 and never closed"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// What Excel writes, and reads, where a comma is something else.
#[test]
fn a_first_line_may_say_the_separator() {
    let plain = want(&[(1, "x,y"), (2, "z")]);
    for text in ["sep=;\na;b\n1;x,y\n2;z\n", "sep=;\r\na;b\r\n1;x,y\r\n2;z\r\n", "\u{feff}sep=;\ra;b\r1;x,y\r2;z\r"] {
        for separator in [Some(','), Some(';'), None] {
            assert_eq!(rows_as(text.as_bytes(), options(|o| o.separator = separator)), plain, "{text:?}");
            // Whoever passed over it so far goes on to.
            let skipping = options(|o| (o.separator, o.skip_lines) = (separator, 1));
            assert_eq!(rows_as(text.as_bytes(), skipping), plain, "{text:?}");
        }
    }
    assert_eq!(rows_as(b"sep=;\na|b\n1|x\n", options(|o| o.separator = Some('|'))), want(&[(1, "x")]), "as stated");
    let named = options(|o| o.names = Some(vec!["a".into(), "b".into()]));
    assert_eq!(rows_as(b"sep=\t\n1\tx\n", named), want(&[(1, "x")]));
    let wrong = refused("sep=;\na;b\n1;x\nnone;y\n", CsvOptions::default());
    assert!(wrong.contains("row 2, column `a`: `none`"), "{wrong}");
    let (file, _) = convert_as(b"sep=x\n1\n", &Schema::default(), CsvOptions::default()).unwrap();
    assert_eq!((file.columns[0].name.as_str(), file.rows), ("sep=x", 1), "a name");
}

#[test]
fn nul_bytes_are_letters() {
    assert_eq!(rows("a,b\n1,x\0y\n"), want(&[(1, "x\0y")]));
    assert!(refused("a,b\n1\0,x\n", CsvOptions::default()).contains("row 1, column `a`"));
}

#[test]
fn days_and_moments_in_stated_formats() {
    let csv = options(|o| {
        o.formats.insert("day".into(), vec!["%d.%m.%Y".into(), "%d.%m.%y".into()]);
        o.formats.insert("at".into(), vec!["%m/%d/%Y %I:%M %p".into()]);
    });
    let schema = Schema::new([("day", Type::Date), ("at", Type::Timestamp), ("plain", Type::Date)]);
    let text = b"day,at,plain\n31.01.2021,01/31/2021 08:05 PM,2021-01-31\n1.2.21,,\n";
    let (_, frame) = convert_as(text, &schema, csv.clone()).unwrap();
    assert_eq!(column(&frame, "day"), ["2021-01-31", "2021-02-01"]);
    assert_eq!(column(&frame, "at"), ["2021-01-31 20:05:00", "null"]);
    let iso = convert_as(b"day,at,plain\n2021-01-31,,\n", &schema, csv.clone()).unwrap_err().to_string();
    assert!(iso.contains("row 1, column `day`: `2021-01-31` is not a date"), "{iso}");
    let other = convert_as(b"day,plain\n", &Schema::default(), csv).unwrap_err().to_string();
    assert!(other.contains("the stated columns `at` are missing"), "{other}");
}

#[test]
fn the_metadata_tell_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let content = gzip(b"a,b\n1,x\n2,y\n");
    let path = write(folder.path(), "f.csv.gz", &content);
    let target = folder.path().join("f.parquet");
    parquetize(&path, &target, &schema(), &ParquetOptions::default(), &()).unwrap();
    let mut file = std::fs::File::open(&target).unwrap();
    let metadata = polars_parquet::parquet::read::read_metadata(&mut file).unwrap();
    let pairs = metadata.key_value_metadata().as_ref().unwrap();
    let value = |key: &str| pairs.iter().find(|p| p.key == key).and_then(|p| p.value.clone()).unwrap();
    assert_eq!(value("source.rows"), "2");
    assert_eq!(value("source.sha256"), sha256(&content));
}

fn sha256(content: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_folder_is_not_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = parquetize(folder.path(), folder.path().join("f"), &schema(), &ParquetOptions::default(), &());
    assert!(matches!(error.unwrap_err(), Error::Io { .. }));
    let missing = parquetize(Path::new("/nowhere/f.csv"), "f", &schema(), &ParquetOptions::default(), &()).unwrap_err();
    assert!(missing.is_permanent(), "{missing}");
}
