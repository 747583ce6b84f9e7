//! Values as binary COPY wants them: a length, then the bytes in network order.

use super::pgtype::PgType;
use super::text;
use crate::cell::{Cell, List};

/// 2000-01-01 in days and microseconds from 1970-01-01: Postgres counts from there.
pub(super) const EPOCH_DAYS: i32 = 10_957;
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// The days that Postgres has, from 2000-01-01: 4714-11-24 BC to 5874897-12-31. Beyond stand its infinities.
const DAYS: std::ops::Range<i64> = -2_451_545..2_145_031_949;
/// The moments that Postgres has, from 2000-01-01: 4714-11-24 BC to 294276-12-31.
const MOMENTS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
const DAY_MICROS: i64 = 86_400_000_000;
/// Digits of `numeric` come in groups of four.
const GROUP: u128 = 10_000;

/// What would fit, when a value does not.
type Unfit = &'static str;

/// Appends a value for a column that takes it.
#[inline]
pub(super) fn binary(out: &mut Vec<u8>, cell: Cell<'_>, target: &PgType) -> Result<(), Unfit> {
    match (cell, target) {
        (Cell::Null, _) => null(out),
        (Cell::Int(v), PgType::Int8) => sized(out, v.to_be_bytes()),
        (Cell::Float(v), _) => sized(out, v.to_be_bytes()),
        (Cell::Timestamp(v, _), _) => match moment(v) {
            Some(v) => sized(out, v),
            None => return Err("a moment that Postgres has (4714 BC to 294276)"),
        },
        (Cell::Text(v), _) => return string(out, v, target),
        (Cell::Int(v), PgType::Int4) => sized(out, (v as i32).to_be_bytes()),
        (Cell::Int(v), PgType::Int2) => sized(out, (v as i16).to_be_bytes()),
        (Cell::Int(v), _) => numeric(out, v.into(), 0),
        (Cell::Unsigned(v), _) => numeric(out, v.into(), 0),
        (Cell::Decimal(v, scale), _) => numeric(out, *v, scale),
        (Cell::Bool(v), _) => sized(out, [v.into()]),
        (Cell::Float32(v), PgType::Float8) => sized(out, f64::from(v).to_be_bytes()),
        (Cell::Float32(v), _) => sized(out, v.to_be_bytes()),
        (Cell::Date(v), _) => match day(v) {
            Some(v) => sized(out, v),
            None => return Err("a day that Postgres has (4714 BC to 5874897)"),
        },
        (Cell::Time(v), _) if (0..=DAY_MICROS).contains(&v) => sized(out, v.to_be_bytes()),
        (Cell::Time(_), _) => return Err("a time of day"),
        (Cell::Bytes(v), _) => return bytes(out, v),
        (Cell::Uuid(v), _) => return bytes(out, v),
        (Cell::List(list), PgType::Array(of)) => return array(out, list, of),
        (Cell::List(_), _) => return Err("a single value"),
        (Cell::Unfit(_, wanted), _) => return Err(wanted),
    }
    Ok(())
}

/// No value.
#[inline]
pub(super) fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1i32).to_be_bytes());
}

/// Microseconds from 1970-01-01 as a `timestamp`, if Postgres has the moment.
#[inline]
pub(super) fn moment(micros: i64) -> Option<[u8; 8]> {
    let micros = micros.checked_sub(EPOCH_MICROS).filter(|micros| MOMENTS.contains(micros))?;
    Some(micros.to_be_bytes())
}

/// Days from 1970-01-01 as a `date`, if Postgres has the day.
#[inline]
pub(super) fn day(days: i32) -> Option<[u8; 4]> {
    let days = i64::from(days) - i64::from(EPOCH_DAYS);
    DAYS.contains(&days).then(|| (days as i32).to_be_bytes())
}

/// Bytes of a length known beforehand.
#[inline]
pub(super) fn sized<const N: usize>(out: &mut Vec<u8>, value: [u8; N]) {
    let mut field = [0; 12];
    field[3] = N as u8;
    field[4..4 + N].copy_from_slice(&value);
    out.extend_from_slice(&field[..4 + N]);
}

fn string(out: &mut Vec<u8>, value: &str, target: &PgType) -> Result<(), Unfit> {
    if memchr::memchr(0, value.as_bytes()).is_some() {
        return Err("a text without a zero byte, which Postgres cannot hold");
    }
    if *target != PgType::Jsonb {
        return bytes(out, value.as_bytes());
    }
    jsonb(out, value.as_bytes())
}

/// JSON that the database takes apart. No zero byte is in it.
pub(super) fn jsonb(out: &mut Vec<u8>, value: &[u8]) -> Result<(), Unfit> {
    let length = i32::try_from(value.len() + 1).map_err(|_| TOO_LONG)?;
    out.extend_from_slice(&length.to_be_bytes());
    // The version of the form.
    out.push(1);
    out.extend_from_slice(value);
    Ok(())
}

const TOO_LONG: Unfit = "shorter than 1 GiB, the most that Postgres can hold";

pub(super) fn bytes(out: &mut Vec<u8>, value: &[u8]) -> Result<(), Unfit> {
    // Postgres takes no message, and so no value, of 1 GiB.
    let length = i32::try_from(value.len()).ok().filter(|n| *n < (1 << 30) - 64).ok_or(TOO_LONG)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

/// Writes something whose length shows only at its end.
pub(super) fn counted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Unfit>) -> Result<(), Unfit> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let length = i32::try_from(out.len() - start - 4).map_err(|_| TOO_LONG)?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn array(out: &mut Vec<u8>, list: List<'_>, of: &PgType) -> Result<(), Unfit> {
    counted(out, |out| {
        let length = i32::try_from(list.end - list.start).map_err(|_| TOO_LONG)?;
        let nulls = list.iter().any(|cell| matches!(cell, Cell::Null));
        dimension(out, length, nulls, of);
        list.iter().try_for_each(|cell| binary(out, cell, of))
    })
}

/// What stands before the elements of an array. An empty one has no dimension.
pub(super) fn dimension(out: &mut Vec<u8>, length: i32, nulls: bool, of: &PgType) {
    out.extend_from_slice(&i32::from(length > 0).to_be_bytes());
    out.extend_from_slice(&i32::from(nulls).to_be_bytes());
    out.extend_from_slice(&of.oid().to_be_bytes());
    if length > 0 {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&1i32.to_be_bytes());
    }
}

/// `numeric`: groups of four digits on both sides of the point, without empty ones at the ends.
pub(super) fn numeric(out: &mut Vec<u8>, value: i128, scale: u8) {
    // The groups, the lowest first. 38 digits and a point in any place make at most 11.
    let mut groups = [0u16; 12];
    let mut count = 0;
    let mut rest = value.unsigned_abs();
    let odd = u32::from(scale % 4);
    if odd > 0 {
        let ten = 10u128.pow(odd);
        groups[0] = ((rest % ten) as u16) * 10u16.pow(4 - odd);
        rest /= ten;
        count = 1;
    }
    while rest > 0 {
        groups[count] = (rest % GROUP) as u16;
        rest /= GROUP;
        count += 1;
    }
    let low = groups.iter().position(|group| *group != 0).unwrap_or(0);
    let end = groups.iter().rposition(|group| *group != 0).map_or(low, |at| at + 1);
    let digits = &groups[low..end];
    // The place of the first group, counted from the point.
    let weight = if digits.is_empty() { 0 } else { end as i16 - 1 - i16::from(scale.div_ceil(4)) };
    out.extend_from_slice(&(8 + 2 * digits.len() as i32).to_be_bytes());
    out.extend_from_slice(&(digits.len() as i16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&(if value < 0 { 0x4000u16 } else { 0 }).to_be_bytes());
    out.extend_from_slice(&u16::from(scale).to_be_bytes());
    for digit in digits.iter().rev() {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

/// The value in words, for an error.
pub(super) fn shown(cell: Cell<'_>) -> String {
    let mut out = Vec::new();
    match cell {
        Cell::Unfit(raw, _) => return raw.to_string(),
        Cell::Text(text) => return text.replace('\0', "\\0"),
        other => text::postgres(&mut out, other),
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: i128, scale: u8) -> Vec<i16> {
        let mut out = Vec::new();
        numeric(&mut out, value, scale);
        assert_eq!(i32::from_be_bytes(out[..4].try_into().unwrap()) as usize, out.len() - 4);
        out[4..].chunks(2).map(|two| i16::from_be_bytes(two.try_into().unwrap())).collect()
    }

    #[test]
    fn decimals_are_groups_of_four_digits() {
        assert_eq!(number(0, 2), [0, 0, 0, 2]);
        assert_eq!(number(12_345, 0), [2, 1, 0, 0, 1, 2_345]);
        assert_eq!(number(-123, 2), [2, 0, 0x4000, 2, 1, 2_300]);
        assert_eq!(number(1, 5), [1, -2, 0, 5, 1_000]);
        assert_eq!(number(10_000, 0), [1, 1, 0, 0, 1]);
        assert_eq!(number(10i128.pow(37), 38)[..4], [1, -1, 0, 38]);
        assert_eq!(number(10i128.pow(38) - 1, 0)[0], 10);
        assert_eq!(number(10i128.pow(38) - 1, 3)[0], 10);
    }

    #[test]
    fn what_postgres_has_not_is_refused() {
        let fits = |cell, target: &PgType| binary(&mut Vec::new(), cell, target).is_ok();
        assert!(fits(Cell::Date(EPOCH_DAYS - 2_451_545), &PgType::Date));
        assert!(!fits(Cell::Date(EPOCH_DAYS - 2_451_546), &PgType::Date));
        assert!(fits(Cell::Date(2_145_031_948 + EPOCH_DAYS), &PgType::Date));
        assert!(!fits(Cell::Date(i32::MAX), &PgType::Date));
        assert!(!fits(Cell::Timestamp(i64::MIN, false), &PgType::Timestamp));
        assert!(fits(Cell::Timestamp(i64::MAX, true), &PgType::Timestamptz));
        assert!(!fits(Cell::Time(-1), &PgType::Time) && !fits(Cell::Time(DAY_MICROS + 1), &PgType::Time));
        assert!(!fits(Cell::Text("a\0"), &PgType::Text) && fits(Cell::Text(""), &PgType::Text));
    }
}
