//! A frame walked row by row, whatever its types, for those who write it elsewhere.

use polars::prelude::{DataFrame, PolarsResult, Series};

use crate::Type;

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Days from 1970-01-01.
    Date(i32),
    /// Microseconds from 1970-01-01.
    Timestamp(i64),
    Text(&'a str),
}

type Values<'a, T> = Box<dyn Iterator<Item = Option<T>> + 'a>;

/// The values of one column, from the top.
pub(crate) enum Cells<'a> {
    Bool(Values<'a, bool>),
    Int(Values<'a, i64>),
    Float(Values<'a, f64>),
    Date(Values<'a, i32>),
    Timestamp(Values<'a, i64>),
    Text(Values<'a, &'a str>),
}

impl<'a> Cells<'a> {
    fn of(series: &'a Series, kind: Type) -> PolarsResult<Self> {
        Ok(match kind {
            Type::Bool => Self::Bool(Box::new(series.bool()?.iter())),
            Type::Int => Self::Int(Box::new(series.i64()?.iter())),
            Type::Float => Self::Float(Box::new(series.f64()?.iter())),
            Type::Date => Self::Date(Box::new(series.date()?.physical().iter())),
            Type::Timestamp => Self::Timestamp(Box::new(series.datetime()?.physical().iter())),
            Type::Text => Self::Text(Box::new(series.str()?.iter())),
        })
    }

    /// The next value. Past the end: null.
    #[inline]
    pub(crate) fn next(&mut self) -> Cell<'a> {
        match self {
            Self::Bool(i) => i.next().flatten().map_or(Cell::Null, Cell::Bool),
            Self::Int(i) => i.next().flatten().map_or(Cell::Null, Cell::Int),
            Self::Float(i) => i.next().flatten().map_or(Cell::Null, Cell::Float),
            Self::Date(i) => i.next().flatten().map_or(Cell::Null, Cell::Date),
            Self::Timestamp(i) => i.next().flatten().map_or(Cell::Null, Cell::Timestamp),
            Self::Text(i) => i.next().flatten().map_or(Cell::Null, Cell::Text),
        }
    }
}

/// One iterator for each column of a frame whose columns are of these types, in order.
pub(crate) fn cells<'a>(frame: &'a DataFrame, types: &[Type]) -> PolarsResult<Vec<Cells<'a>>> {
    frame.columns().iter().zip(types).map(|(column, &kind)| Cells::of(column.as_materialized_series(), kind)).collect()
}
