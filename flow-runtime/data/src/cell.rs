//! The values of a column one by one, whatever its type, for those who write them elsewhere.

use polars_arrow::array::{
    Array, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, ListArray, NullArray, PrimitiveArray, Utf8ViewArray,
};
use polars_arrow::bitmap::Bitmap;
use polars_arrow::types::NativeType;

use crate::field::{ColumnType, Unit};

/// One value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Float32(f32),
    Float(f64),
    /// The digits as a whole number, and how many of them come after the point.
    Decimal(&'a i128, u8),
    /// Days from 1970-01-01.
    Date(i32),
    /// Microseconds from midnight.
    Time(i64),
    /// Microseconds from 1970-01-01, and whether that is UTC.
    Timestamp(i64, bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    Uuid(&'a [u8]),
    List(List<'a>),
    /// No value of microseconds is this one: it as it stands, and what would be.
    Unfit(i64, &'static str),
}

/// Some values of a column of lists' elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List<'a> {
    pub(crate) cells: &'a Cells<'a>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl<'a> List<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = Cell<'a>> {
        (self.start..self.end).map(|row| self.cells.get(row))
    }
}

/// The values of one column.
#[derive(Debug)]
pub(crate) struct Cells<'a> {
    validity: Option<&'a Bitmap>,
    values: Values<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    Null,
    Bool(&'a Bitmap),
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Uint8(&'a [u8]),
    Uint16(&'a [u16]),
    Uint32(&'a [u32]),
    Uint64(&'a [u64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(&'a [i128], u8),
    Date(&'a [i32]),
    TimeMilli(&'a [i32]),
    Time(&'a [i64], Unit),
    Timestamp(&'a [i64], Unit, bool),
    Text(&'a Utf8ViewArray),
    Bytes(&'a BinaryViewArray),
    Fixed(&'a FixedSizeBinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    List(Box<Cells<'a>>, &'a [i64]),
}

impl<'a> Cells<'a> {
    /// An array seen as what it is stated to hold, or `None` if it is kept as something else.
    pub(crate) fn of(array: &'a dyn Array, kind: &ColumnType) -> Option<Self> {
        let any = array.as_any();
        let values = match kind {
            _ if any.is::<NullArray>() => Values::Null,
            ColumnType::Bool => Values::Bool(any.downcast_ref::<BooleanArray>()?.values()),
            ColumnType::Int8 => Values::Int8(numbers(array)?),
            ColumnType::Int16 => Values::Int16(numbers(array)?),
            ColumnType::Int32 => Values::Int32(numbers(array)?),
            ColumnType::Int64 => Values::Int64(numbers(array)?),
            ColumnType::Uint8 => Values::Uint8(numbers(array)?),
            ColumnType::Uint16 => Values::Uint16(numbers(array)?),
            ColumnType::Uint32 => Values::Uint32(numbers(array)?),
            ColumnType::Uint64 => Values::Uint64(numbers(array)?),
            ColumnType::Float32 => Values::Float32(numbers(array)?),
            ColumnType::Float64 => Values::Float64(numbers(array)?),
            ColumnType::Decimal { scale, .. } => Values::Decimal(numbers(array)?, *scale),
            ColumnType::Date => Values::Date(numbers(array)?),
            ColumnType::Time(Unit::Milli) => Values::TimeMilli(numbers(array)?),
            ColumnType::Time(unit) => Values::Time(numbers(array)?, *unit),
            ColumnType::Timestamp { unit, utc } => Values::Timestamp(numbers(array)?, *unit, *utc),
            ColumnType::Text | ColumnType::Json => Values::Text(any.downcast_ref()?),
            ColumnType::Bytes => match any.downcast_ref() {
                Some(views) => Values::Bytes(views),
                None => Values::Fixed(any.downcast_ref()?),
            },
            ColumnType::Uuid => Values::Uuid(any.downcast_ref()?),
            ColumnType::List(of) => {
                let list = any.downcast_ref::<ListArray<i64>>()?;
                Values::List(Box::new(Cells::of(list.values().as_ref(), of)?), list.offsets().buffer())
            }
        };
        Some(Self { validity: array.validity().filter(|v| v.unset_bits() > 0), values })
    }

    /// The value of a row, which must be there.
    #[inline]
    pub(crate) fn get(&'a self, row: usize) -> Cell<'a> {
        if let Some(validity) = self.validity
            && !validity.get_bit(row)
        {
            return Cell::Null;
        }
        match &self.values {
            Values::Int64(v) => Cell::Int(v[row]),
            Values::Float64(v) => Cell::Float(v[row]),
            Values::Timestamp(v, Unit::Micro, utc) => Cell::Timestamp(v[row], *utc),
            Values::Text(v) => Cell::Text(v.value(row)),
            Values::Null => Cell::Null,
            Values::Bool(v) => Cell::Bool(v.get_bit(row)),
            Values::Int8(v) => Cell::Int(v[row].into()),
            Values::Int16(v) => Cell::Int(v[row].into()),
            Values::Int32(v) => Cell::Int(v[row].into()),
            Values::Uint8(v) => Cell::Int(v[row].into()),
            Values::Uint16(v) => Cell::Int(v[row].into()),
            Values::Uint32(v) => Cell::Int(v[row].into()),
            Values::Uint64(v) => Cell::Unsigned(v[row]),
            Values::Float32(v) => Cell::Float32(v[row]),
            Values::Decimal(v, scale) => Cell::Decimal(&v[row], *scale),
            Values::Date(v) => Cell::Date(v[row]),
            Values::TimeMilli(v) => Cell::Time(i64::from(v[row]) * 1_000),
            Values::Time(v, unit) => match micros(v[row], *unit) {
                Some(micros) => Cell::Time(micros),
                None => Cell::Unfit(v[row], "a time of whole microseconds (what is finer is not kept)"),
            },
            Values::Timestamp(v, unit, utc) => match micros(v[row], *unit) {
                Some(micros) => Cell::Timestamp(micros, *utc),
                None => Cell::Unfit(v[row], "a moment of whole microseconds (what is finer or further is not kept)"),
            },
            Values::Bytes(v) => Cell::Bytes(v.value(row)),
            Values::Fixed(v) => Cell::Bytes(v.value(row)),
            Values::Uuid(v) => Cell::Uuid(v.value(row)),
            Values::List(cells, offsets) => {
                Cell::List(List { cells, start: offsets[row] as usize, end: offsets[row + 1] as usize })
            }
        }
    }
}

/// The values of an array of numbers.
fn numbers<T: NativeType>(array: &dyn Array) -> Option<&[T]> {
    Some(array.as_any().downcast_ref::<PrimitiveArray<T>>()?.values().as_slice())
}

/// The same in microseconds, if there are that many.
fn micros(value: i64, unit: Unit) -> Option<i64> {
    match unit {
        Unit::Milli => value.checked_mul(1_000),
        Unit::Micro => Some(value),
        Unit::Nano => (value % 1_000 == 0).then_some(value / 1_000),
    }
}
