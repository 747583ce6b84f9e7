//! Fields of a CSV file as the values of a binary COPY, without columns between.
//!
//! What is unusual, a value that does not fit above all, is left to the way through columns: it says what is wrong.

use memchr::memchr;

use super::encode::{bytes, day, jsonb, moment, null, numeric, sized};
use super::pgtype::PgType;
use crate::columns::Converter;
use crate::parse::{self, Days};
use crate::records::{Field, Records};
use crate::schema::Type;

/// Turns records into rows.
pub(super) struct Direct {
    /// The columns as they are sent: their places in the records, and what they hold.
    columns: Vec<(usize, Way)>,
    /// Texts that stand for null.
    nulls: Vec<String>,
    has_text: bool,
}

/// How a field becomes a value.
enum Way {
    Bool,
    Int,
    Float,
    /// All digits, and those after the point.
    Decimal(u8, u8),
    Date,
    Time,
    Timestamp(Days),
    Timestamptz(Days),
    Uuid,
    Json,
    Jsonb,
    Text,
}

impl Direct {
    /// `None` if a column of the table is not simply what a CSV file states.
    pub(super) fn new(converter: &Converter, targets: &[PgType]) -> Option<Self> {
        let way = |(&at, target): (&usize, &PgType)| {
            let way = match (converter.reading.columns[at].kind, target) {
                (Type::Bool, PgType::Bool) => Way::Bool,
                (Type::Int, PgType::Int8) => Way::Int,
                (Type::Float, PgType::Float8) => Way::Float,
                (Type::Date, PgType::Date) => Way::Date,
                (Type::Timestamp, PgType::Timestamp) => Way::Timestamp(Days::default()),
                (Type::Timestamptz, PgType::Timestamptz) => Way::Timestamptz(Days::default()),
                (Type::Decimal(digits, after), PgType::Numeric(_)) => Way::Decimal(digits, after),
                (Type::Time, PgType::Time) => Way::Time,
                (Type::Uuid, PgType::Uuid) => Way::Uuid,
                (Type::Json, PgType::Json | PgType::Text | PgType::Varchar) => Way::Json,
                (Type::Json, PgType::Jsonb) => Way::Jsonb,
                (Type::Text, PgType::Text | PgType::Varchar) => Way::Text,
                _ => return None,
            };
            Some((at, way))
        };
        let columns = converter.order.iter().zip(targets).map(way).collect::<Option<Vec<_>>>()?;
        let has_text = columns.iter().any(|(_, way)| matches!(way, Way::Text | Way::Json | Way::Jsonb));
        Some(Self { columns, nulls: converter.reading.nulls.clone(), has_text })
    }

    /// Appends all records as rows, each between the same bytes. Where one is not as it should be, nothing is appended.
    pub(super) fn rows(&mut self, out: &mut Vec<u8>, records: &Records, begin: &[u8], end: &[u8]) -> bool {
        let is_sound = !self.has_text || (is_text(&records.text) && is_text(&records.decoded));
        if !is_sound || !records.wrong.is_empty() {
            return false;
        }
        let start = out.len();
        for fields in records.fields.chunks_exact(records.width.max(1)) {
            out.extend_from_slice(begin);
            if self.row(out, records, fields).is_none() {
                out.truncate(start);
                return false;
            }
            out.extend_from_slice(end);
        }
        true
    }

    #[inline]
    fn row(&mut self, out: &mut Vec<u8>, records: &Records, fields: &[Field]) -> Option<()> {
        for (at, way) in &mut self.columns {
            let field = fields[*at];
            let text = records.bytes(field);
            if field.is_blank() || self.nulls.iter().any(|null| null.as_bytes() == text) {
                null(out);
                continue;
            }
            if let Way::Text = way {
                bytes(out, text).ok()?;
                continue;
            }
            // All but JSON is the same without blanks around, of which it knows fewer.
            let whole = text;
            match (text.trim_ascii(), way) {
                (b"", _) => null(out),
                (text, Way::Int) => sized(out, parse::int(text)?.to_be_bytes()),
                (text, Way::Float) => sized(out, parse::float(text)?.to_be_bytes()),
                (text, Way::Timestamp(days)) => sized(out, moment(days.timestamp(text)?)?),
                (text, Way::Date) => sized(out, day(parse::date_bytes(text)?)?),
                (text, Way::Decimal(digits, after)) => numeric(out, parse::decimal(text, *digits, *after)?, *after),
                (text, Way::Time) => sized(out, parse::time(text)?.to_be_bytes()),
                (text, Way::Timestamptz(days)) => sized(out, moment(days.timestamptz(text)?)?),
                (text, Way::Uuid) => bytes(out, &parse::uuid(text)?).ok()?,
                (_, Way::Json) => bytes(out, parse::is_json(whole).then_some(whole)?).ok()?,
                (_, Way::Jsonb) => jsonb(out, parse::is_json(whole).then_some(whole)?).ok()?,
                (text, Way::Bool | Way::Text) => sized(out, [parse::boolean_bytes(text)?.into()]),
            }
        }
        Some(())
    }
}

/// True for what Postgres takes as text, whatever it is cut into.
fn is_text(bytes: &[u8]) -> bool {
    memchr(0, bytes).is_none() && std::str::from_utf8(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::cell::Cells;
    use crate::columns::Reading;
    use crate::csv::Splitter;
    use crate::database::copy::{CopyEncoder, Form};
    use crate::database::feed::Encoder;
    use crate::misfit::Misfit;
    use crate::schema::Column;

    const KINDS: [(Type, PgType); 13] = [
        (Type::Text, PgType::Text),
        (Type::Int, PgType::Int8),
        (Type::Float, PgType::Float8),
        (Type::Bool, PgType::Bool),
        (Type::Date, PgType::Date),
        (Type::Timestamp, PgType::Timestamp),
        (Type::Timestamptz, PgType::Timestamptz),
        (Type::Decimal(12, 2), PgType::Numeric(Some((14, 3)))),
        (Type::Decimal(38, 20), PgType::Numeric(None)),
        (Type::Time, PgType::Time),
        (Type::Uuid, PgType::Uuid),
        (Type::Json, PgType::Json),
        (Type::Json, PgType::Jsonb),
    ];

    fn records(text: &[u8]) -> Records {
        let splitter = Splitter { separator: b',', quote: Some(b'"'), escape: None, comment: None, line_end: b'\n' };
        let mut records = Records::new(KINDS.len());
        splitter.split(text, true, &mut records).unwrap();
        records.text = text.to_vec();
        records.first_row = 1;
        records
    }

    /// The columns in another order than that of the file.
    fn converter() -> Converter {
        let columns: Vec<_> = KINDS.iter().map(|(kind, _)| Column { name: format!("{kind:?}"), kind: *kind }).collect();
        let reading = Reading { formats: vec![Vec::new(); columns.len()], columns, nulls: vec!["NA".into()] };
        Converter::new(Path::new("f.csv"), reading, vec![5, 0, 12, 11, 1, 10, 2, 9, 3, 8, 4, 7, 6], Misfit::Fail)
    }

    fn targets() -> Vec<PgType> {
        converter().order.iter().map(|at| KINDS[*at].1.clone()).collect()
    }

    /// What is sent by way of columns, or nothing if a value does not fit.
    fn by_columns(records: &Records) -> Option<Vec<u8>> {
        let (converter, targets) = (converter(), targets());
        let arrays = converter.convert(records).ok()?.rows.arrays;
        let kind = |at: &usize| KINDS[*at].0.into();
        let cells =
            arrays.iter().zip(&converter.order).map(|(array, at)| Cells::of(array.as_ref(), &kind(at)).unwrap());
        let cells: Vec<_> = cells.collect();
        let mut encoder = CopyEncoder::new(Form::Binary(targets), 13, Some("fill"));
        (0..records.len()).try_for_each(|row| encoder.row(&cells, row).ok())?;
        Some(encoder.finish().unwrap_or_default())
    }

    fn directly(records: &Records) -> Option<Vec<u8>> {
        let mut encoder = CopyEncoder::new(Form::Binary(targets()), 13, Some("fill")).with_records(&converter());
        encoder.records(records).then(|| encoder.finish().unwrap_or_default())
    }

    #[test]
    fn what_is_unusual_is_left_to_the_way_through_columns() {
        let good = "a,1,1.5,t,2021-01-31,2021-01-31 08:05:00,2021-01-31 08:05:00Z,12.5,1e-20,08:05,\
                    a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,{} ,[1]\n,,,,,,,,,,,,\nNA, 7 ,\" .5\",\"\",,NA,\"\",NA, 1 ,\"\",NA,\"  \",NA\n\
                    \"\"\"\",,,,,,,,,,,\"\"\"x\"\"\",\n";
        assert!(directly(&records(good.as_bytes())).is_some());
        let blank = ",,,,,,,,,,,,";
        for (at, bad) in [
            (0, &b"a\0b"[..]),
            (0, b"\xff"),
            (0, b"\"a\"b"),
            (0, b"x,"),
            (1, b"x"),
            (6, b"2021-01-31 08:05:00"),
            (7, b"1.005"),
            (8, b"NaN"),
            (9, b"24:00:00"),
            (10, b"a0eebc99"),
            (11, b"{"),
            (11, b"\xff"),
            (12, b"x"),
            (11, b"\x0c{}"),
            (12, b"{}\x0c"),
        ] {
            let row = [&blank.as_bytes()[..at], bad, &blank.as_bytes()[at..], b"\n"].concat();
            let file = [good.as_bytes(), &row].concat();
            assert_eq!(directly(&records(&file)), None, "{:?}", String::from_utf8_lossy(bad));
        }
    }

    /// A field that is right for a column, or for another one, or for none.
    fn field(kind: Type) -> impl Strategy<Value = Vec<u8>> {
        let right = match kind {
            Type::Text => "[a-c ä€]{0,5}|\"[a-c,\n]{0,4}(\"\")?\"",
            Type::Int => "-?[0-9]{1,20}| [0-9]{1,3} ?|\"[0-9]\"",
            Type::Float => "-?[0-9]{0,9}\\.[0-9]{1,9}|[0-9]{1,3}e[0-9]{1,3}|inf|NaN",
            Type::Bool => "t|F|true|0|1",
            Type::Date => "[0-9]{4}-0[1-9]-(0[1-9]|[12][0-9])",
            Type::Timestamp => {
                "[0-9]{4}-0[1-9]-(0[1-9]|[12][0-9])[T ](0[0-9]|1[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,9})?)?(Z|[+-]01:30)?"
            }
            Type::Timestamptz => {
                "[0-9]{4}-0[1-9]-(0[1-9]|[12][0-9])[T ](0[0-9]|1[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,6})?)?(Z|[+-]01:30)"
            }
            Type::Decimal(12, _) => "[-+]?[0-9]{1,10}(\\.[0-9]{1,2}0?)?|[0-9]{1,3}e[0-7]",
            Type::Decimal(..) => "-?[0-9]{1,18}\\.[0-9]{1,20}|[0-9]{1,3}e-?[0-9]|0",
            Type::Time => "(0[0-9]|1[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,6}0?)?)?",
            Type::Uuid => "[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9A-F]{12}|[0-9a-f]{32}",
            Type::Json => "\\[[0-9]{1,3}\\] ?|\"\\{\"\"[a-zä€]{0,3}\"\": ?[0-9]\\}\"|null|-?[1-9]e5|true",
        };
        let text = |pattern| proptest::string::string_regex(pattern).unwrap().prop_map(String::into_bytes);
        prop_oneof![
            300 => text(right),
            60 => prop_oneof![Just(Vec::new()), Just(b"NA".to_vec()), Just(b"\"\"".to_vec()), Just(b"  ".to_vec())],
            1 => prop_oneof![Just(b"\xff".to_vec()), Just(b"a\0".to_vec()), Just(b"\"a\"b".to_vec()), Just(b"1,2".to_vec()), text("[a-z]{1,3}")],
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn both_ways_send_the_same(rows in proptest::collection::vec(KINDS.map(|(kind, _)| field(kind)), 1..6)) {
            let lines: Vec<_> = rows.iter().map(|row| row.join(&b',')).collect();
            let records = records(&lines.join(&b'\n'));
            prop_assert_eq!(directly(&records), by_columns(&records));
        }
    }
}
