//! Random tables through CSV and back, and random bytes.

use std::io::Write;
use std::path::Path;

use flow_data::{CsvOptions, Error, Misfit, ParquetOptions, Schema, Type, parquetize, parquetize_json};
use polars_arrow::array::{Array, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, Utf8ViewArray};
use polars_arrow::types::NativeType;
use proptest::prelude::*;

use crate::files::{arrays, gzip, read, write};

/// As many cases as `PROPTEST_CASES` says, else so many. A failure prints what it takes to see it again.
fn cases(otherwise: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    let cases = asked.unwrap_or(otherwise);
    ProptestConfig { cases, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() }
}

/// A value and how CSV may write it.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Days, and microseconds, from 1970-01-01.
    Date(i32),
    Timestamp(i64),
    /// The same in UTC.
    Timestamptz(i64),
    /// Microseconds from midnight.
    Time(i64),
    /// Digits, and how many of them come after the point.
    Decimal(i128, u8),
    Uuid(u128),
    Json(String),
    Text(String),
}

impl Value {
    fn text(&self) -> String {
        let micros = |micros: i64| chrono::DateTime::from_timestamp_micros(micros).unwrap();
        match self {
            Self::Int(v) => v.to_string(),
            Self::Float(v) => v.to_string(),
            Self::Bool(v) => v.to_string(),
            Self::Date(v) => micros(i64::from(*v) * 86_400_000_000).format("%Y-%m-%d").to_string(),
            Self::Timestamp(v) => micros(*v).format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
            Self::Timestamptz(v) => micros(*v).format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            Self::Time(v) => micros(*v).format("%H:%M:%S%.f").to_string(),
            Self::Decimal(v, scale) => {
                let digits = format!("{:0>width$}", v.unsigned_abs(), width = usize::from(*scale) + 1);
                let (whole, after) = digits.split_at(digits.len() - usize::from(*scale));
                format!("{}{whole}.{after}", if *v < 0 { "-" } else { "" })
            }
            Self::Uuid(v) => {
                let v = format!("{v:032x}");
                format!("{}-{}-{}-{}-{}", &v[..8], &v[8..12], &v[12..16], &v[16..20], &v[20..])
            }
            Self::Json(v) | Self::Text(v) => v.clone(),
        }
    }
}

fn value(kind: Type) -> BoxedStrategy<Option<Value>> {
    let some = match kind {
        Type::Int => prop_oneof![any::<i64>(), -9..9i64].prop_map(Value::Int).boxed(),
        Type::Float => {
            let cents = (-1_000_000..1_000_000i64).prop_map(|n| n as f64 / 100.0);
            prop_oneof![any::<f64>().prop_filter("a number", |v| v.is_finite()), cents].prop_map(Value::Float).boxed()
        }
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Date => (-700_000..2_900_000i32).prop_map(Value::Date).boxed(),
        Type::Timestamp => (-62_135_596_800_000_000..253_402_300_799_999_999i64).prop_map(Value::Timestamp).boxed(),
        Type::Timestamptz => (-62_135_596_800_000_000..253_402_300_799_999_999i64).prop_map(Value::Timestamptz).boxed(),
        Type::Time => (0..86_400_000_000i64).prop_map(Value::Time).boxed(),
        Type::Decimal(digits, scale) => {
            let most = 10i128.pow(digits.into());
            let few = (-99..100i128).prop_map(move |v| v % most);
            prop_oneof![1 - most..most, few].prop_map(move |v| Value::Decimal(v, scale)).boxed()
        }
        Type::Uuid => any::<u128>().prop_map(Value::Uuid).boxed(),
        Type::Json => {
            let json =
                |text: String| Value::Json(format!("{{\"a\":  [{}, 1.50]}} ", serde_json::to_string(&text).unwrap()));
            prop_oneof!["[a-c ,;\t|\"'\n\r#\\\\äß€0]{0,12}", any::<String>()].prop_map(json).boxed()
        }
        Type::Text => {
            let text = prop_oneof![Just("N".to_owned()), "[a-c ,;\t|\"'\n\r#\\\\äß€0]{0,12}", any::<String>()];
            text.prop_map(Value::Text).boxed()
        }
    };
    proptest::option::weighted(0.8, some).boxed()
}

#[derive(Debug, Clone)]
struct Table {
    kinds: Vec<Type>,
    rows: Vec<Vec<Option<Value>>>,
}

fn table() -> impl Strategy<Value = Table> {
    let kind = prop_oneof![
        Just(Type::Int),
        Just(Type::Float),
        Just(Type::Bool),
        Just(Type::Date),
        Just(Type::Timestamp),
        Just(Type::Timestamptz),
        Just(Type::Time),
        (1..=38u8, 0..=38u8).prop_map(|(digits, scale)| Type::Decimal(digits, scale.min(digits))),
        Just(Type::Uuid),
        Just(Type::Json),
        Just(Type::Text)
    ];
    proptest::collection::vec(kind, 2..7).prop_flat_map(|kinds| {
        let row: Vec<_> = kinds.iter().map(|kind| value(*kind)).collect();
        (Just(kinds), proptest::collection::vec(row, 0..40)).prop_map(|(kinds, rows)| Table { kinds, rows })
    })
}

/// How the file is written.
#[derive(Debug, Clone)]
struct Style {
    separator: char,
    quote: char,
    escape: bool,
    line_end: &'static str,
    /// For each field in turn: quoted without need.
    quoted: Vec<bool>,
    last_end: bool,
    wide: bool,
    /// 0 plain, 1 gzip, 2 zstd; and where members end, in permille.
    packed: u8,
    cuts: Vec<usize>,
    /// Makes the file longer than the pieces in which it is read.
    long: bool,
}

fn style() -> impl Strategy<Value = Style> {
    let looks = (
        prop_oneof![Just(','), Just(';'), Just('\t'), Just('|')],
        prop_oneof![Just('"'), Just('\'')],
        any::<bool>(),
        prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
    );
    let rest = (
        proptest::collection::vec(any::<bool>(), 1..30),
        any::<bool>(),
        proptest::bool::weighted(0.2),
        0..3u8,
        proptest::collection::vec(0..1_000usize, 0..4),
        proptest::bool::weighted(0.15),
    );
    (looks, rest).prop_map(
        |((separator, quote, escape, line_end), (quoted, last_end, wide, packed, mut cuts, long))| {
            cuts.sort_unstable();
            Style { separator, quote, escape, line_end, quoted, last_end, wide, packed, cuts, long }
        },
    )
}

impl Style {
    fn options(&self) -> CsvOptions {
        let mut options = CsvOptions::default();
        options.separator = Some(self.separator);
        options.quote = Some(self.quote);
        options.escape = self.escape.then_some('\\');
        options
    }

    fn field(&self, value: &Option<Value>, number: usize) -> String {
        let Some(value) = value else {
            return String::new();
        };
        let text = value.text();
        let special = [self.separator, self.quote, '\n', '\r'];
        let needed = text.is_empty() || text.contains(special);
        if !needed && !self.quoted[number % self.quoted.len()] {
            return text;
        }
        let quote = self.quote.to_string();
        let text = match self.escape {
            true => text.replace('\\', "\\\\").replace(self.quote, &format!("\\{quote}")),
            false => text.replace(self.quote, &quote.repeat(2)),
        };
        format!("{quote}{text}{quote}")
    }

    fn write(&self, table: &Table) -> Vec<u8> {
        let names: Vec<_> = (0..table.kinds.len()).map(|n| format!("c{n}")).collect();
        let mut lines = vec![names.join(&self.separator.to_string())];
        let mut number = 0;
        for row in &table.rows {
            let fields: Vec<_> = row
                .iter()
                .map(|value| {
                    number += 1;
                    self.field(value, number)
                })
                .collect();
            lines.push(fields.join(&self.separator.to_string()));
        }
        let mut text = lines.join(self.line_end);
        if self.last_end {
            text.push_str(self.line_end);
        }
        let bytes: Vec<u8> = match self.wide {
            true => std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect(),
            false => text.into_bytes(),
        };
        self.pack(&bytes)
    }

    fn pack(&self, bytes: &[u8]) -> Vec<u8> {
        let cuts = self.cuts.iter().map(|cut| cut * bytes.len() / 1_000).chain([bytes.len()]);
        let mut start = 0;
        let mut packed = Vec::new();
        for end in cuts {
            let member = &bytes[start..end];
            match self.packed {
                0 => packed.extend_from_slice(member),
                1 => packed.extend(gzip(member)),
                _ => packed.extend(zstd::encode_all(member, 1).unwrap()),
            }
            start = end;
        }
        packed
    }
}

/// What came back.
fn values(parquet: &Path, kinds: &[Type]) -> Vec<Vec<Option<Value>>> {
    fn numbers<T: NativeType>(array: &dyn Array, value: impl Fn(T) -> Value) -> Vec<Option<Value>> {
        let array: &PrimitiveArray<T> = array.as_any().downcast_ref().unwrap();
        array.iter().map(|v| v.map(|v| value(*v))).collect()
    }
    let column = |array: &dyn Array, kind: Type| -> Vec<Option<Value>> {
        let any = array.as_any();
        match kind {
            Type::Int => numbers(array, Value::Int),
            Type::Float => numbers(array, Value::Float),
            Type::Date => numbers(array, Value::Date),
            Type::Timestamp => numbers(array, Value::Timestamp),
            Type::Timestamptz => numbers(array, Value::Timestamptz),
            Type::Time => numbers(array, Value::Time),
            Type::Decimal(_, scale) => numbers(array, |v| Value::Decimal(v, scale)),
            Type::Bool => any.downcast_ref::<BooleanArray>().unwrap().iter().map(|v| v.map(Value::Bool)).collect(),
            Type::Uuid => {
                let array: &FixedSizeBinaryArray = any.downcast_ref().unwrap();
                array.iter().map(|v| v.map(|v| Value::Uuid(u128::from_be_bytes(v.try_into().unwrap())))).collect()
            }
            Type::Json => {
                let array: &BinaryViewArray = any.downcast_ref().unwrap();
                array.iter().map(|v| v.map(|v| Value::Json(String::from_utf8(v.to_vec()).unwrap()))).collect()
            }
            Type::Text => {
                let array: &Utf8ViewArray = any.downcast_ref().unwrap();
                array.iter().map(|v| v.map(|v| Value::Text(v.to_owned()))).collect()
            }
        }
    };
    let columns: Vec<_> =
        arrays(parquet).iter().zip(kinds).map(|(array, kind)| column(array.as_ref(), *kind)).collect();
    assert_eq!(columns.len(), kinds.len());
    (0..columns[0].len()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

fn schema(kinds: &[Type]) -> Schema {
    Schema::new(kinds.iter().enumerate().map(|(n, kind)| (format!("c{n}"), *kind)))
}

/// The number of records, counted letter by letter.
fn records(text: &[u8], quote: Option<u8>) -> Option<usize> {
    let (mut records, mut at, mut in_quotes, mut field_begins, mut blank) = (0, 0, false, true, true);
    while at < text.len() {
        let byte = text[at];
        if in_quotes {
            if Some(byte) == quote && text.get(at + 1) == Some(&byte) {
                at += 1;
            } else if Some(byte) == quote {
                in_quotes = false;
            }
        } else if byte == b'\n' {
            records += usize::from(!blank);
            (field_begins, blank) = (true, true);
            at += 1;
            continue;
        } else if Some(byte) == quote && field_begins {
            in_quotes = true;
        }
        // A return before the line feed is no content.
        let is_end = byte == b'\r' && !in_quotes && matches!(text.get(at + 1), None | Some(b'\n'));
        blank &= is_end;
        field_begins = byte == b',' && !in_quotes;
        at += 1;
    }
    (!in_quotes).then_some(records + usize::from(!blank))
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn tables_survive_csv(table in table(), style in style()) {
        let mut table = table;
        if style.long && !table.rows.is_empty() {
            let rows = table.rows.clone();
            let size = style.write(&Table { kinds: table.kinds.clone(), rows: rows.clone() }).len().max(200);
            table.rows = rows.iter().cycle().take(rows.len() * (1_500_000 / size).clamp(2, 5_000)).cloned().collect();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "f", style.write(&table));
        let mut options = ParquetOptions::default();
        options.csv = style.options();
        options.row_group_rows = 1_000;
        let schema = schema(&table.kinds);
        let file = parquetize(&path, folder.path().join("f.parquet"), &schema, &options, &()).unwrap();
        prop_assert_eq!(file.rows as usize, table.rows.len());
        let back = values(&file.path, &table.kinds);
        prop_assert_eq!(back.len(), table.rows.len());
        for (row, (back, want)) in back.iter().zip(&table.rows).enumerate() {
            prop_assert_eq!(back, want, "row {}", row + 1);
        }
    }

    #[test]
    fn no_row_is_lost_whatever_the_bytes(
        text in "[ab01,\"\n\r#ä]{0,400}",
        noise in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        quoted in any::<bool>(),
        null in any::<bool>(),
    ) {
        let mut content = format!("a,b,c\n{text}").into_bytes();
        for (at, byte) in noise {
            let at = 6 + at.index(content.len());
            if at < content.len() {
                content[at] = byte;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "f.csv", &content);
        let mut options = ParquetOptions::default();
        options.csv.quote = quoted.then_some('"');
        options.misfit = if null { Misfit::Null } else { Misfit::Quarantine };
        let schema = Schema::new([("a", Type::Int), ("b", Type::Text), ("c", Type::Decimal(2, 0))]);
        let want = records(&content, options.csv.quote.map(|quote| quote as u8)).map(|records| records - 1);
        match parquetize(&path, folder.path().join("f.parquet"), &schema, &options, &()) {
            Ok(file) => {
                prop_assert_eq!(Some(file.rows + file.quarantined), want.map(|rows| rows as u64));
                prop_assert_eq!(arrays(&file.path)[2].len() as u64, file.rows);
                prop_assert!(!null || file.quarantined == 0);
                if let Some(quarantine) = file.quarantine {
                    let kept = folder.path().join("q.parquet");
                    let back = parquetize(quarantine, kept, &Schema::default(), &ParquetOptions::default(), &()).unwrap();
                    prop_assert_eq!(back.rows, file.quarantined);
                }
            }
            Err(error) => {
                prop_assert!(matches!(error, Error::Format { .. }), "{}", error);
                prop_assert_eq!(want, None, "{}", error);
            }
        }
    }

    #[test]
    fn bytes_without_any_sense_never_panic(content in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..4u8) {
        let folder = tempfile::tempdir().unwrap();
        let content = match kind {
            0 => content,
            1 => gzip(&content),
            2 => [&[0x1f, 0x8b, 8][..], &content].concat(),
            _ => [&[0x28, 0xb5, 0x2f, 0xfd][..], &content].concat(),
        };
        let path = write(folder.path(), "f", &content);
        let target = folder.path().join("f.parquet");
        let mut options = ParquetOptions::default();
        options.csv.separator = None;
        options.misfit = Misfit::Quarantine;
        if let Ok(file) = parquetize(&path, &target, &Schema::default(), &options, &()) {
            prop_assert_eq!(read(&file.path).height() as u64, file.rows);
        }
        let _ = Schema::infer_with(&path, &options.csv);
        if let Ok(file) = parquetize_json(&path, &target, &Schema::default(), &options, &()) {
            prop_assert_eq!(read(&file.path).height() as u64, file.rows);
        }
    }

    #[test]
    fn no_line_of_json_is_lost(
        lines in proptest::collection::vec("(\\{\"(a|b|c)\":(1|\"x\"|null|\\[1,2\\])(,\"b\":true)?\\}|[a{}\":,1 ]{0,12})", 0..60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut text = lines.join("\n");
        text.push_str("\n{\"a\":1}");
        let path = folder.path().join("f.jsonl");
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        let mut options = ParquetOptions::default();
        options.misfit = Misfit::Quarantine;
        let schema = Schema::new([("a", Type::Int)]);
        let file = parquetize_json(&path, folder.path().join("f.parquet"), &schema, &options, &()).unwrap();
        let want = text.lines().filter(|line| !line.trim().is_empty()).count();
        prop_assert_eq!(file.rows + file.quarantined, want as u64);
    }
}
