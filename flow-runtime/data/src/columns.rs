//! Records to typed columns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polars_arrow::array::builder::{ArrayBuilder as _, ShareStrategy, make_builder};
use polars_arrow::array::{Array, BooleanArray, FixedSizeBinaryArray, MutablePlString, PrimitiveArray};
use polars_arrow::bitmap::{Bitmap, MutableBitmap};
use polars_arrow::types::NativeType;

use crate::batches::Rows;
use crate::error::{Error, shorten};
use crate::field::ColumnType;
use crate::misfit::{Misfit, Misfits, Rejected};
use crate::parquet::arrow;
use crate::records::{Field, Records, Wrong};
use crate::schema::{Column, Type};
use crate::{Result, parse};

/// Some rows of a file.
pub(crate) struct Batch {
    pub(crate) rows: Rows,
    /// How many rows the file has here, those that were kept out among them.
    pub(crate) read: u64,
    pub(crate) misfits: Misfits,
}

/// How the fields of records are to be understood.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// Every column of the records, in their order.
    pub(crate) columns: Vec<Column>,
    /// Texts that stand for null.
    pub(crate) nulls: Vec<String>,
    /// How the days, times and moments of each column are written, where that is stated.
    pub(crate) formats: Vec<Vec<String>>,
}

impl Reading {
    /// True for the texts that stand for null.
    #[inline]
    pub(crate) fn is_null(&self, bytes: &[u8]) -> bool {
        !self.nulls.is_empty() && self.nulls.iter().any(|null| null.as_bytes() == bytes)
    }

    /// Whether a text without blanks around is of a type, in one column. JSON comes with its blanks.
    pub(crate) fn holds(&self, at: usize, kind: Type, text: &[u8]) -> bool {
        let formats = &self.formats[at];
        match kind {
            Type::Int => parse::int(text).is_some(),
            Type::Float => parse::float(text).is_some(),
            Type::Bool => parse::boolean_bytes(text).is_some(),
            Type::Decimal(digits, after) => parse::decimal(text, digits, after).is_some(),
            Type::Date if formats.is_empty() => parse::date_bytes(text).is_some(),
            Type::Date => parse::date_in(text, formats).is_some(),
            Type::Timestamp if formats.is_empty() => parse::Days::default().timestamp(text).is_some(),
            Type::Timestamp => parse::timestamp_in(text, formats).is_some(),
            Type::Timestamptz if formats.is_empty() => parse::Days::default().timestamptz(text).is_some(),
            Type::Timestamptz => parse::timestamptz_in(text, formats).is_some(),
            Type::Time if formats.is_empty() => parse::time(text).is_some(),
            Type::Time => parse::time_in(text, formats).is_some(),
            Type::Uuid => parse::uuid(text).is_some(),
            Type::Json => std::str::from_utf8(text).is_ok() && parse::is_json(text),
            Type::Text => std::str::from_utf8(text).is_ok(),
        }
    }
}

/// Gives the records of one file their types.
pub(crate) struct Converter {
    path: PathBuf,
    pub(crate) reading: Reading,
    /// Positions in the columns as they are delivered.
    pub(crate) order: Vec<usize>,
    misfit: Misfit,
}

/// A value that is not of its type.
#[derive(Clone, Copy)]
struct Unfit {
    row: usize,
    column: usize,
    field: Field,
}

impl Converter {
    pub(crate) fn new(path: &Path, reading: Reading, order: Vec<usize>, misfit: Misfit) -> Self {
        Self { path: path.to_owned(), reading, order, misfit }
    }

    /// The records as columns. What does not fit is an error, null or left out.
    pub(crate) fn convert(&self, records: &Records) -> Result<Batch> {
        let mut unfit = Vec::new();
        let mut made: Vec<Option<Box<dyn Array>>> = vec![None; self.reading.columns.len()];
        // Text that is valid as a whole need not be looked at again field by field.
        let text = std::str::from_utf8(&records.text).ok();
        for (at, made) in made.iter_mut().enumerate() {
            *made = Some(self.column(records, text, at, &mut unfit));
        }
        let arrays = self.order.iter().filter_map(|&at| made[at].take()).collect();
        let mut rows = Rows { arrays, rows: records.len(), position: records.position };
        let mut misfits = Misfits::default();
        if !unfit.is_empty() || !records.wrong.is_empty() {
            misfits = self.judge(records, unfit)?;
            if !misfits.rejected.is_empty() {
                rows = without(&rows, records.first_row, &misfits.rejected);
            }
        }
        Ok(Batch { rows, read: records.len() as u64, misfits })
    }

    fn column(&self, records: &Records, text: Option<&str>, at: usize, unfit: &mut Vec<Unfit>) -> Box<dyn Array> {
        let kind = self.reading.columns[at].kind;
        let formats = &self.reading.formats[at];
        let fill = Fill { converter: self, records, at };
        match kind {
            Type::Int => fill.numbers(unfit, kind, parse::int),
            Type::Float => fill.numbers(unfit, kind, parse::float),
            Type::Bool => fill.truth(unfit),
            Type::Decimal(digits, after) => fill.numbers(unfit, kind, |text| parse::decimal(text, digits, after)),
            Type::Date if formats.is_empty() => fill.numbers(unfit, kind, parse::date_bytes),
            Type::Date => fill.numbers(unfit, kind, |text| parse::date_in(text, formats)),
            Type::Time if formats.is_empty() => fill.numbers(unfit, kind, parse::time),
            Type::Time => fill.numbers(unfit, kind, |text| parse::time_in(text, formats)),
            Type::Timestamp if formats.is_empty() => {
                let mut days = parse::Days::default();
                fill.numbers(unfit, kind, move |text| days.timestamp(text))
            }
            Type::Timestamp => fill.numbers(unfit, kind, |text| parse::timestamp_in(text, formats)),
            Type::Timestamptz if formats.is_empty() => {
                let mut days = parse::Days::default();
                fill.numbers(unfit, kind, move |text| days.timestamptz(text))
            }
            Type::Timestamptz => fill.numbers(unfit, kind, |text| parse::timestamptz_in(text, formats)),
            Type::Uuid => fill.uuids(unfit),
            Type::Json => fill.json(unfit, text),
            Type::Text => fill.texts(unfit, text),
        }
    }

    /// Decides what becomes of what is wrong.
    fn judge(&self, records: &Records, mut unfit: Vec<Unfit>) -> Result<Misfits> {
        unfit.sort_by_key(|unfit| (unfit.row, unfit.column));
        let mut rows: BTreeMap<usize, (Option<&Wrong>, Vec<Unfit>)> = BTreeMap::new();
        for (row, wrong) in &records.wrong {
            rows.entry(*row).or_default().0 = Some(wrong);
        }
        for unfit in unfit {
            rows.entry(unfit.row).or_default().1.push(unfit);
        }
        let mut misfits = Misfits { rows: rows.len() as u64, ..Misfits::default() };
        for (row, (wrong, values)) in rows {
            let number = records.first_row + row as u64;
            if misfits.first.is_none() {
                let first = self.error(records, number, wrong, values.first());
                if self.misfit == Misfit::Fail {
                    return Err(first);
                }
                misfits.first = Some(first);
            }
            if self.misfit == Misfit::Null {
                misfits.values += values.len() as u64 + u64::from(wrong.is_some());
                continue;
            }
            let mut reasons: Vec<_> = wrong.map(|wrong| wrong.text(self.reading.columns.len())).into_iter().collect();
            reasons.extend(values.iter().map(|unfit| self.reason(records, *unfit)));
            misfits.rejected.push(Rejected {
                row: number,
                column: values.first().map_or(String::new(), |unfit| self.reading.columns[unfit.column].name.clone()),
                reason: reasons.join("; "),
                record: records.record(row).to_vec(),
            });
        }
        Ok(misfits)
    }

    fn error(&self, records: &Records, row: u64, wrong: Option<&Wrong>, unfit: Option<&Unfit>) -> Error {
        match (wrong, unfit) {
            (None, Some(unfit)) => Error::Value {
                file: self.path.clone(),
                row,
                column: self.reading.columns[unfit.column].name.clone(),
                text: shorten(&String::from_utf8_lossy(records.bytes(unfit.field))),
                wanted: self.reading.columns[unfit.column].kind.wanted_of(records.bytes(unfit.field)),
            },
            (wrong, _) => {
                let what = wrong.map_or(String::new(), |wrong| wrong.text(self.reading.columns.len()));
                Error::format(&self.path, format!("row {row} {what}"))
            }
        }
    }

    fn reason(&self, records: &Records, unfit: Unfit) -> String {
        let Column { name, kind } = &self.reading.columns[unfit.column];
        let bytes = records.bytes(unfit.field);
        let text = shorten(&String::from_utf8_lossy(bytes));
        format!("{name}: `{text}` is not {}", kind.wanted_of(bytes))
    }
}

/// The rows without some of them, which come in order.
fn without(rows: &Rows, first_row: u64, rejected: &[Rejected]) -> Rows {
    let mut kept = Vec::with_capacity(rejected.len() + 1);
    let mut start = 0;
    for at in rejected.iter().map(|row| (row.row - first_row) as usize).chain([rows.rows]) {
        kept.push(start..at);
        start = at + 1;
    }
    let without = |array: &dyn Array| {
        let mut builder = make_builder(array.dtype());
        builder.reserve(rows.rows - rejected.len());
        for range in &kept {
            builder.subslice_extend(array, range.start, range.len(), ShareStrategy::Always);
        }
        builder.freeze()
    };
    Rows {
        arrays: rows.arrays.iter().map(|array| without(&**array)).collect(),
        rows: rows.rows - rejected.len(),
        ..*rows
    }
}

/// Fills one column.
struct Fill<'a> {
    converter: &'a Converter,
    records: &'a Records,
    at: usize,
}

impl Fill<'_> {
    /// Numbers, or what is kept as numbers. `parse` gets no blanks around.
    fn numbers<T: NativeType>(
        &self,
        unfit: &mut Vec<Unfit>,
        kind: Type,
        mut parse: impl FnMut(&[u8]) -> Option<T>,
    ) -> Box<dyn Array> {
        let mut values = Vec::with_capacity(self.records.len());
        let mut validity = Validity::default();
        self.each(unfit, &mut parse, |value| {
            validity.push(values.len(), value.is_some());
            values.push(value.unwrap_or_default());
        });
        let validity = validity.finish(values.len());
        PrimitiveArray::from_vec(values).with_validity(validity).to(arrow(&kind.into())).boxed()
    }

    fn truth(&self, unfit: &mut Vec<Unfit>) -> Box<dyn Array> {
        let mut values = MutableBitmap::with_capacity(self.records.len());
        let mut validity = Validity::default();
        self.each(unfit, &mut parse::boolean_bytes, |value| {
            validity.push(values.len(), value.is_some());
            values.push(value.unwrap_or_default());
        });
        let validity = validity.finish(values.len());
        BooleanArray::new(arrow(&ColumnType::Bool), values.freeze(), validity).boxed()
    }

    fn uuids(&self, unfit: &mut Vec<Unfit>) -> Box<dyn Array> {
        let mut values: Vec<u8> = Vec::with_capacity(self.records.len() * 16);
        let mut validity = Validity::default();
        self.each(unfit, &mut parse::uuid, |value| {
            validity.push(values.len() / 16, value.is_some());
            values.extend_from_slice(&value.unwrap_or_default());
        });
        let validity = validity.finish(values.len() / 16);
        FixedSizeBinaryArray::new(arrow(&ColumnType::Uuid), values.into(), validity).boxed()
    }

    /// Texts keep their blanks; only nothing at all is null.
    fn texts(&self, unfit: &mut Vec<Unfit>, text: Option<&str>) -> Box<dyn Array> {
        self.texts_that(unfit, text, |_| false, |_| true)
    }

    /// JSON keeps its blanks, too; nothing but blanks is none.
    fn json(&self, unfit: &mut Vec<Unfit>, text: Option<&str>) -> Box<dyn Array> {
        self.texts_that(unfit, text, |bytes| bytes.trim_ascii().is_empty(), |text| parse::is_json(text.as_bytes()))
    }

    #[inline]
    fn texts_that(
        &self,
        unfit: &mut Vec<Unfit>,
        text: Option<&str>,
        is_null: impl Fn(&[u8]) -> bool,
        fits: impl Fn(&str) -> bool,
    ) -> Box<dyn Array> {
        let mut values = MutablePlString::with_capacity(self.records.len());
        for (row, field) in self.records.column(self.at).enumerate() {
            let bytes = self.records.bytes(field);
            if field.is_blank() || is_null(bytes) || self.converter.reading.is_null(bytes) {
                values.push_null();
                continue;
            }
            let valid = match text.and_then(|text| self.records.text_of(field, text)) {
                Some(text) => Some(text),
                None => std::str::from_utf8(bytes).ok(),
            };
            let valid = valid.filter(|text| fits(text));
            if valid.is_none() {
                unfit.push(Unfit { row, column: self.at, field });
            }
            values.push(valid);
        }
        values.freeze().boxed()
    }

    /// Reads every field of the column.
    #[inline]
    fn each<T>(
        &self,
        unfit: &mut Vec<Unfit>,
        parse: &mut impl FnMut(&[u8]) -> Option<T>,
        mut push: impl FnMut(Option<T>),
    ) {
        for (row, field) in self.records.column(self.at).enumerate() {
            if field.is_blank() {
                push(None);
                continue;
            }
            let bytes = self.records.bytes(field);
            let trimmed = bytes.trim_ascii();
            let value = if self.converter.reading.is_null(bytes) { None } else { parse(trimmed) };
            if value.is_none() && !trimmed.is_empty() && !self.converter.reading.is_null(bytes) {
                unfit.push(Unfit { row, column: self.at, field });
            }
            push(value);
        }
    }
}

/// Which values are there; nothing while all are.
#[derive(Default)]
struct Validity(Option<MutableBitmap>);

impl Validity {
    #[inline]
    fn push(&mut self, before: usize, is_there: bool) {
        // Nearly always, and in the midst of a loop.
        if is_there && self.0.is_none() {
            return;
        }
        self.note(before, is_there);
    }

    fn note(&mut self, before: usize, is_there: bool) {
        self.0.get_or_insert_with(|| MutableBitmap::from_len_set(before)).push(is_there);
    }

    fn finish(self, length: usize) -> Option<Bitmap> {
        self.0.filter(|bits| bits.len() == length).map(MutableBitmap::freeze)
    }
}
