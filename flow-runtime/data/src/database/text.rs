//! Values as the texts that databases read.

use std::io::Write;

use crate::cell::{Cell, List};
use crate::parse;

/// Appends a value as Postgres reads and writes it. Null is nothing.
pub(super) fn postgres(out: &mut Vec<u8>, cell: Cell<'_>) {
    match cell {
        Cell::Null => {}
        Cell::Bool(v) => out.push(if v { b't' } else { b'f' }),
        Cell::Text(v) => out.extend_from_slice(v.as_bytes()),
        Cell::Bytes(v) => {
            out.extend_from_slice(b"\\x");
            hex(out, v);
        }
        Cell::List(list) => array(out, list),
        other => plain(out, other),
    }
}

/// Values that every database writes alike.
fn plain(out: &mut Vec<u8>, cell: Cell<'_>) {
    let written = match cell {
        Cell::Int(v) => write!(out, "{v}"),
        Cell::Unsigned(v) => write!(out, "{v}"),
        Cell::Float32(v) => write!(out, "{v}"),
        Cell::Float(v) => write!(out, "{v}"),
        Cell::Decimal(v, scale) => write!(out, "{}", decimal(*v, scale)),
        Cell::Date(v) => write!(out, "{}", parse::write_date(v)),
        Cell::Time(v) => write!(out, "{}", time(v)),
        Cell::Timestamp(v, false) => write!(out, "{}", parse::write_timestamp(v)),
        Cell::Timestamp(v, true) => write!(out, "{}+00:00", parse::write_timestamp(v)),
        Cell::Uuid(v) => write!(out, "{}", uuid(v)),
        Cell::Unfit(v, _) => write!(out, "{v}"),
        Cell::Null | Cell::Bool(_) | Cell::Text(_) | Cell::Bytes(_) | Cell::List(_) => Ok(()),
    };
    debug_assert!(written.is_ok(), "a Vec takes everything");
}

fn array(out: &mut Vec<u8>, list: List<'_>) {
    out.push(b'{');
    for (n, cell) in list.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        if let Cell::Null = cell {
            out.extend_from_slice(b"NULL");
            continue;
        }
        let mut element = Vec::new();
        postgres(&mut element, cell);
        out.push(b'"');
        for byte in element {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    out.push(b'}');
}

/// A value as text, where SQLite has no type of its own for it.
pub(super) fn sqlite(cell: Cell<'_>) -> String {
    let mut out = Vec::new();
    match cell {
        Cell::Timestamp(v, false) => return parse::write_timestamp(v),
        Cell::Date(v) => return parse::write_date(v),
        Cell::List(list) => return json(list).to_string(),
        other => postgres(&mut out, other),
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A list as JSON: numbers that JSON has, all else as text.
fn json(list: List<'_>) -> serde_json::Value {
    use serde_json::Value;
    let value = |cell| match cell {
        Cell::Null => Value::Null,
        Cell::Bool(v) => v.into(),
        Cell::Int(v) => v.into(),
        Cell::Unsigned(v) => v.into(),
        Cell::Float(v) if v.is_finite() => v.into(),
        Cell::Float32(v) if v.is_finite() => f64::from(v).into(),
        other => Value::String(sqlite(other)),
    };
    list.iter().map(value).collect()
}

/// `-0.05`.
pub(super) fn decimal(value: i128, scale: u8) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, part) = digits.split_at(digits.len() - usize::from(scale));
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

/// `08:05:00`, with `.123456` where there is a fraction.
fn time(micros: i64) -> String {
    if micros < 0 {
        return format!("{micros} microseconds");
    }
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        text.push_str(&format!(".{fraction:06}"));
    }
    text
}

fn uuid(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(36);
    for (n, part) in value.chunks(2).enumerate() {
        if matches!(n, 2..=5) {
            out.push(b'-');
        }
        hex(&mut out, part);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_that_people_write() {
        assert_eq!(
            [decimal(-5, 2), decimal(1_234, 0), decimal(1_234, 4), decimal(0, 3)],
            ["-0.05", "1234", "0.1234", "0.000"]
        );
        assert_eq!([time(0), time(86_399_999_999), time(29_100_000_000)], ["00:00:00", "23:59:59.999999", "08:05:00"]);
        assert_eq!(uuid(&[0x12; 16]), "12121212-1212-1212-1212-121212121212");
        assert_eq!(sqlite(Cell::Timestamp(0, true)), "1970-01-01 00:00:00+00:00");
        assert_eq!(sqlite(Cell::Bytes(&[0, 255])), "\\x00ff");
    }
}
