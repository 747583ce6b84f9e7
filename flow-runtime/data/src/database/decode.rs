//! Binary COPY read back: fields to the columns of a Parquet file.

use polars_arrow::array::{
    Array, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray, Utf8Array,
};
use polars_arrow::bitmap::{Bitmap, MutableBitmap};
use polars_arrow::datatypes::ArrowDataType;
use polars_arrow::offset::OffsetsBuffer;
use polars_arrow::types::NativeType;

use super::encode::{EPOCH_DAYS, EPOCH_MICROS};
use super::pgtype::PgType;
use super::text;
use crate::field::{ColumnType, Unit};
use crate::parquet::arrow;

const DAY_MICROS: i64 = 86_400_000_000;

/// What a value is, that cannot be kept.
type Wrong = String;

/// Gathers the values of one column.
pub(super) struct Builder {
    from: PgType,
    kind: ColumnType,
    validity: MutableBitmap,
    values: Values,
}

enum Values {
    Bool(MutableBitmap),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Uint8(Vec<u8>),
    Uint16(Vec<u16>),
    Uint32(Vec<u32>),
    Uint64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>),
    Bytes(Vec<u8>, Vec<i64>),
    Fixed(Vec<u8>),
    List(Box<Builder>, Vec<i64>),
}

impl Builder {
    /// For a column of the database that is kept as this, or `None` if it cannot be.
    pub(super) fn new(from: &PgType, kind: &ColumnType) -> Option<Self> {
        use ColumnType as C;
        let is_number = matches!(from, PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Numeric(_));
        let values = match (kind, from) {
            (C::Bool, PgType::Bool) => Values::Bool(MutableBitmap::new()),
            (C::Int8, _) if is_number => Values::Int8(Vec::new()),
            (C::Int16, _) if is_number => Values::Int16(Vec::new()),
            (C::Int32, _) if is_number => Values::Int32(Vec::new()),
            (C::Int64, _) if is_number => Values::Int64(Vec::new()),
            (C::Uint8, _) if is_number => Values::Uint8(Vec::new()),
            (C::Uint16, _) if is_number => Values::Uint16(Vec::new()),
            (C::Uint32, _) if is_number => Values::Uint32(Vec::new()),
            (C::Uint64, _) if is_number => Values::Uint64(Vec::new()),
            (C::Decimal { precision: 1..=38, .. }, _) if is_number => Values::Decimal(Vec::new()),
            (C::Float32, PgType::Float4) => Values::Float32(Vec::new()),
            (C::Float64, PgType::Float4 | PgType::Float8) => Values::Float64(Vec::new()),
            (C::Text | C::Json, PgType::Text | PgType::Varchar | PgType::Json | PgType::Jsonb)
            | (C::Bytes, PgType::Bytea) => Values::Bytes(Vec::new(), vec![0]),
            (C::Uuid, PgType::Uuid) => Values::Fixed(Vec::new()),
            (C::Date, PgType::Date) | (C::Time(Unit::Milli), PgType::Time) => Values::Int32(Vec::new()),
            (C::Time(_), PgType::Time)
            | (C::Timestamp { utc: false, .. }, PgType::Timestamp)
            | (C::Timestamp { utc: true, .. }, PgType::Timestamptz) => Values::Int64(Vec::new()),
            (C::List(of), PgType::Array(from)) if !matches!(**of, C::List(_)) => {
                Values::List(Box::new(Self::new(from, of)?), vec![0])
            }
            _ => return None,
        };
        Some(Self { from: from.clone(), kind: kind.clone(), validity: MutableBitmap::new(), values })
    }

    /// Takes the bytes of one value, or null.
    pub(super) fn push(&mut self, field: Option<&[u8]>) -> Result<(), Wrong> {
        self.validity.push(field.is_some());
        match &mut self.values {
            Values::Bool(to) => to.push(field.is_some_and(|b| b != [0])),
            Values::Int8(to) => to.push(whole(field, &self.from)?),
            Values::Int16(to) => to.push(whole(field, &self.from)?),
            Values::Uint8(to) => to.push(whole(field, &self.from)?),
            Values::Uint16(to) => to.push(whole(field, &self.from)?),
            Values::Uint32(to) => to.push(whole(field, &self.from)?),
            Values::Uint64(to) => to.push(whole(field, &self.from)?),
            Values::Int32(to) => to.push(match (&self.kind, field) {
                (_, None) => 0,
                (ColumnType::Date, Some(field)) => date(fixed(field)?)?,
                (ColumnType::Time(_), Some(field)) => {
                    i32::try_from(coarser(time_of_day(fixed(field)?)?)?).map_err(|e| e.to_string())?
                }
                _ => whole(field, &self.from)?,
            }),
            Values::Int64(to) => to.push(match (&self.kind, field) {
                (_, None) => 0,
                (ColumnType::Time(unit), Some(field)) => scaled(time_of_day(fixed(field)?)?, *unit)?,
                (ColumnType::Timestamp { unit, .. }, Some(field)) => moment(fixed(field)?, *unit)?,
                _ => whole(field, &self.from)?,
            }),
            Values::Float32(to) => to.push(field.map_or(Ok(0.0), |b| fixed(b).map(f32::from_be_bytes))?),
            Values::Float64(to) => to.push(match (field, &self.from) {
                (None, _) => 0.0,
                (Some(b), PgType::Float4) => f32::from_be_bytes(fixed(b)?).into(),
                (Some(b), _) => f64::from_be_bytes(fixed(b)?),
            }),
            Values::Decimal(to) => {
                let (precision, scale) = match self.kind {
                    ColumnType::Decimal { precision, scale } => (precision, scale),
                    _ => (38, 0),
                };
                let value = field.map_or(Ok(0), |b| number(b, &self.from, scale))?;
                if value.unsigned_abs() >= 10u128.pow(precision.into()) {
                    return Err(text::decimal(value, scale));
                }
                to.push(value);
            }
            Values::Bytes(to, ends) => {
                let bytes = match field {
                    None => &[][..],
                    // The version of the form comes first.
                    Some(bytes) if self.from == PgType::Jsonb => bytes.get(1..).unwrap_or_default(),
                    Some(bytes) => bytes,
                };
                to.extend_from_slice(bytes);
                ends.push(to.len() as i64);
            }
            Values::Fixed(to) => to.extend_from_slice(&field.map_or(Ok([0; 16]), fixed::<16>)?),
            Values::List(of, ends) => {
                let added = field.map_or(Ok(0), |bytes| elements(bytes, of))?;
                ends.push(ends.last().copied().unwrap_or(0) + added);
            }
        }
        Ok(())
    }

    /// The array of what was gathered. Begins anew.
    pub(super) fn finish(&mut self) -> Result<Box<dyn Array>, Wrong> {
        let gathered = Self::new(&self.from, &self.kind).ok_or("a column changed its type")?;
        let Self { kind, validity, values, .. } = std::mem::replace(self, gathered);
        let validity: Bitmap = validity.into();
        let validity = (validity.unset_bits() > 0).then_some(validity);
        let dtype = arrow(&kind);
        let told = |e: polars::prelude::PolarsError| e.to_string();
        Ok(match values {
            Values::Bool(v) => BooleanArray::try_new(dtype, v.into(), validity).map_err(told)?.boxed(),
            Values::Int8(v) => primitive(dtype, v, validity)?,
            Values::Int16(v) => primitive(dtype, v, validity)?,
            Values::Int32(v) => primitive(dtype, v, validity)?,
            Values::Int64(v) => primitive(dtype, v, validity)?,
            Values::Uint8(v) => primitive(dtype, v, validity)?,
            Values::Uint16(v) => primitive(dtype, v, validity)?,
            Values::Uint32(v) => primitive(dtype, v, validity)?,
            Values::Uint64(v) => primitive(dtype, v, validity)?,
            Values::Float32(v) => primitive(dtype, v, validity)?,
            Values::Float64(v) => primitive(dtype, v, validity)?,
            Values::Decimal(v) => primitive(dtype, v, validity)?,
            Values::Bytes(v, ends) => {
                let ends = OffsetsBuffer::try_from(ends).map_err(told)?;
                match kind {
                    ColumnType::Bytes => {
                        BinaryArray::<i64>::try_new(dtype, ends, v.into(), validity).map_err(told)?.boxed()
                    }
                    _ => Utf8Array::<i64>::try_new(dtype, ends, v.into(), validity).map_err(told)?.boxed(),
                }
            }
            Values::Fixed(v) => FixedSizeBinaryArray::try_new(dtype, v.into(), validity).map_err(told)?.boxed(),
            Values::List(mut of, ends) => {
                let ends = OffsetsBuffer::try_from(ends).map_err(told)?;
                ListArray::<i64>::try_new(dtype, ends, of.finish()?, validity).map_err(told)?.boxed()
            }
        })
    }
}

fn primitive<T: NativeType>(
    dtype: ArrowDataType,
    values: Vec<T>,
    validity: Option<Bitmap>,
) -> Result<Box<dyn Array>, Wrong> {
    Ok(PrimitiveArray::try_new(dtype, values.into(), validity).map_err(|e| e.to_string())?.boxed())
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Wrong> {
    bytes.try_into().map_err(|_| format!("{} bytes where {N} are due", bytes.len()))
}

/// A whole number that must be in the range of what it is kept as.
fn whole<T: TryFrom<i128> + Default>(field: Option<&[u8]>, from: &PgType) -> Result<T, Wrong> {
    let Some(field) = field else { return Ok(T::default()) };
    let value = number(field, from, 0)?;
    T::try_from(value).map_err(|_| value.to_string())
}

/// A number with so many digits after the point, as a whole number of the last of them.
fn number(field: &[u8], from: &PgType, scale: u8) -> Result<i128, Wrong> {
    let whole: i128 = match from {
        PgType::Int2 => i16::from_be_bytes(fixed(field)?).into(),
        PgType::Int4 => i32::from_be_bytes(fixed(field)?).into(),
        PgType::Int8 => i64::from_be_bytes(fixed(field)?).into(),
        _ => return numeric(field, scale),
    };
    10i128.checked_pow(scale.into()).and_then(|ten| whole.checked_mul(ten)).ok_or_else(|| whole.to_string())
}

fn numeric(field: &[u8], scale: u8) -> Result<i128, Wrong> {
    let mut words = field.chunks_exact(2).map(|two| i16::from_be_bytes([two[0], two[1]]));
    let (Some(_), Some(weight), Some(sign), Some(_)) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err("a number that is cut short".into());
    };
    match sign as u16 {
        0 | 0x4000 => {}
        0xC000 => return Err("NaN".into()),
        0xD000 => return Err("Infinity".into()),
        0xF000 => return Err("-Infinity".into()),
        other => return Err(format!("a number with the sign {other:#x}")),
    }
    // How many digits after the wanted last one the first group ends.
    let mut power = 4 * i32::from(weight) + i32::from(scale);
    let mut value: i128 = 0;
    let too_large = || "a number of more digits than are stated".to_owned();
    for group in words {
        let group = i128::from(group);
        let part = match u32::try_from(power) {
            Ok(power) => 10i128.checked_pow(power).and_then(|ten| ten.checked_mul(group)).ok_or_else(too_large)?,
            Err(_) => {
                let ten = 10i128.checked_pow(power.unsigned_abs()).ok_or_else(too_large)?;
                if group % ten != 0 {
                    return Err(format!("a number with more than {scale} digits after the point"));
                }
                group / ten
            }
        };
        value = value.checked_add(part).ok_or_else(too_large)?;
        power -= 4;
    }
    Ok(if sign == 0 { value } else { -value })
}

fn date(bytes: [u8; 4]) -> Result<i32, Wrong> {
    match i32::from_be_bytes(bytes) {
        i32::MAX => Err("infinity".into()),
        i32::MIN => Err("-infinity".into()),
        // Postgres has no day that is too far for that.
        days => days.checked_add(EPOCH_DAYS).ok_or_else(|| format!("the day {days}")),
    }
}

fn moment(bytes: [u8; 8], unit: Unit) -> Result<i64, Wrong> {
    match i64::from_be_bytes(bytes) {
        i64::MAX => Err("infinity".into()),
        i64::MIN => Err("-infinity".into()),
        micros => {
            let micros = micros.checked_add(EPOCH_MICROS).ok_or_else(|| format!("the moment {micros}"))?;
            scaled(micros, unit)
        }
    }
}

/// Microseconds since midnight. Postgres has a last instant of a day, which Parquet has not.
fn time_of_day(bytes: [u8; 8]) -> Result<i64, Wrong> {
    match i64::from_be_bytes(bytes) {
        micros @ 0..DAY_MICROS => Ok(micros),
        DAY_MICROS => Err("24:00:00, the end of the day,".into()),
        micros => Err(format!("{micros} microseconds")),
    }
}

/// Microseconds in another unit, if that keeps all of them.
fn scaled(micros: i64, unit: Unit) -> Result<i64, Wrong> {
    match unit {
        Unit::Milli => coarser(micros),
        Unit::Micro => Ok(micros),
        Unit::Nano => {
            micros.checked_mul(1_000).ok_or_else(|| format!("{micros} microseconds, too far for nanoseconds"))
        }
    }
}

fn coarser(micros: i64) -> Result<i64, Wrong> {
    match micros % 1_000 {
        0 => Ok(micros / 1_000),
        _ => Err(format!("{micros} microseconds, finer than milliseconds")),
    }
}

/// The elements of an array of one dimension. Returns how many.
fn elements(bytes: &[u8], of: &mut Builder) -> Result<i64, Wrong> {
    let mut rest = Reader(bytes);
    let dimensions = rest.int().ok_or(SHORT)?;
    let (_nulls, _oid) = (rest.int().ok_or(SHORT)?, rest.int().ok_or(SHORT)?);
    if dimensions == 0 {
        return Ok(0);
    }
    if dimensions != 1 {
        return Err(format!("an array of {dimensions} dimensions"));
    }
    let (count, _first) = (rest.int().ok_or(SHORT)?, rest.int().ok_or(SHORT)?);
    for _ in 0..count {
        of.push(rest.field().ok_or(SHORT)?)?;
    }
    Ok(count.into())
}

const SHORT: &str = "an array that is cut short";

/// Reads numbers and fields off the front of bytes. `None`: there are too few.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn int(&mut self) -> Option<i32> {
        self.take(4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A length and so many bytes; no bytes at all for null.
    pub(super) fn field(&mut self) -> Option<Option<&'a [u8]>> {
        match usize::try_from(self.int()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::database::encode::binary;

    /// What the encoder writes is read back as it was.
    #[test]
    fn decimals_survive_the_round_trip() {
        let most = 10i128.pow(38) - 1;
        for scale in 0..=38u8 {
            for value in [0, 1, -1, 9_999, 10_000, -10_001, 123_456_789_012, most, -most, 10i128.pow(37)] {
                let mut out = Vec::new();
                assert!(binary(&mut out, Cell::Decimal(&value, scale), &PgType::Numeric(None)).is_ok());
                assert_eq!(numeric(&out[4..], scale), Ok(value), "{value} {scale}");
            }
        }
    }

    #[test]
    fn what_is_not_kept_is_told() {
        let words = |words: &[u16]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
        assert_eq!(numeric(&words(&[0, 0, 0xC000, 0]), 2), Err("NaN".into()));
        assert_eq!(
            numeric(&words(&[1, -1i16 as u16, 0, 4, 1]), 3).unwrap_err(),
            "a number with more than 3 digits after the point"
        );
        assert!(numeric(&words(&[1, 10, 0, 0, 1]), 0).is_err());
        assert_eq!(date(i32::MAX.to_be_bytes()), Err("infinity".into()));
        assert!(moment(1i64.to_be_bytes(), Unit::Milli).is_err());
        let mut narrow = Builder::new(&PgType::Int8, &ColumnType::Uint8).unwrap();
        assert_eq!(narrow.push(Some(&256i64.to_be_bytes())), Err("256".into()));
    }
}
