//! Rows in the two forms that Postgres's COPY takes here: binary where the table has the file's own types, CSV where the
//! database has to convert.

use polars::prelude::DataFrame;

use super::feed::Encoder;
use crate::cell::{Cell, cells};
use crate::schema::Type;
use crate::{Error, Result, parse};

/// A piece is sent when it has this size.
const PIECE_BYTES: usize = 1 << 20;
/// 2000-01-01 in days and microseconds from 1970-01-01: Postgres counts from there.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// How COPY is told to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Binary,
    Csv,
}

impl Form {
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Binary => "(FORMAT binary)",
            Self::Csv => "(FORMAT csv)",
        }
    }
}

/// Encodes rows, each followed by its source.
pub(super) struct CopyEncoder {
    form: Form,
    buffer: Vec<u8>,
    source: String,
    row: u64,
}

impl CopyEncoder {
    pub(super) fn new(form: Form, source: &str) -> Self {
        let mut buffer = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
        if form == Form::Binary {
            buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        }
        Self { form, buffer, source: source.to_owned(), row: 0 }
    }
}

impl Encoder for CopyEncoder {
    type Piece = Vec<u8>;

    fn push(&mut self, frame: &DataFrame, types: &[Type], emit: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<()> {
        let failed = |message: String| Error::Invalid(message);
        let mut columns = cells(frame, types).map_err(|e| failed(e.to_string()))?;
        let fields =
            i16::try_from(types.len() + 1).map_err(|_| failed(format!("{} columns are too many", types.len())))?;
        for _ in 0..frame.height() {
            self.row += 1;
            match self.form {
                Form::Binary => {
                    self.buffer.extend_from_slice(&fields.to_be_bytes());
                    for column in &mut columns {
                        let row = self.row;
                        binary(&mut self.buffer, column.next()).ok_or_else(|| {
                            failed(format!("row {row} holds a moment or a text beyond what Postgres can store"))
                        })?;
                    }
                    binary(&mut self.buffer, Cell::Text(&self.source));
                }
                Form::Csv => {
                    for column in &mut columns {
                        csv(&mut self.buffer, column.next());
                        self.buffer.push(b',');
                    }
                    csv(&mut self.buffer, Cell::Text(&self.source));
                    self.buffer.push(b'\n');
                }
            }
            if self.buffer.len() >= PIECE_BYTES {
                let next = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
                if !emit(std::mem::replace(&mut self.buffer, next)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        if self.form == Form::Binary {
            self.buffer.extend_from_slice(&(-1i16).to_be_bytes());
        }
        (!self.buffer.is_empty()).then_some(self.buffer)
    }
}

fn binary(out: &mut Vec<u8>, cell: Cell<'_>) -> Option<()> {
    match cell {
        Cell::Null => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Cell::Bool(v) => out.extend_from_slice(&[0, 0, 0, 1, v.into()]),
        Cell::Int(v) => eight(out, v.to_be_bytes()),
        Cell::Float(v) => eight(out, v.to_be_bytes()),
        Cell::Timestamp(v) => eight(out, v.checked_sub(EPOCH_MICROS)?.to_be_bytes()),
        Cell::Date(v) => {
            out.extend_from_slice(&4i32.to_be_bytes());
            out.extend_from_slice(&v.checked_sub(EPOCH_DAYS)?.to_be_bytes());
        }
        Cell::Text(v) => {
            out.extend_from_slice(&i32::try_from(v.len()).ok()?.to_be_bytes());
            out.extend_from_slice(v.as_bytes());
        }
    }
    Some(())
}

#[inline]
fn eight(out: &mut Vec<u8>, value: [u8; 8]) {
    let mut field = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    field[4..].copy_from_slice(&value);
    out.extend_from_slice(&field);
}

fn csv(out: &mut Vec<u8>, cell: Cell<'_>) {
    match cell {
        Cell::Null => {}
        Cell::Bool(v) => out.push(if v { b't' } else { b'f' }),
        Cell::Int(v) => out.extend_from_slice(v.to_string().as_bytes()),
        Cell::Float(v) => out.extend_from_slice(v.to_string().as_bytes()),
        Cell::Date(v) => out.extend_from_slice(parse::write_date(v).as_bytes()),
        Cell::Timestamp(v) => out.extend_from_slice(parse::write_timestamp(v).as_bytes()),
        Cell::Text(v) => {
            out.push(b'"');
            out.extend_from_slice(v.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::*;

    use super::*;

    fn encode(form: Form) -> Vec<u8> {
        let frame = DataFrame::new(
            2,
            vec![Column::new("n".into(), [Some(1i64), None]), Column::new("t".into(), [Some("a\"b"), Some("")])],
        );
        let mut encoder = CopyEncoder::new(form, "s");
        encoder.push(&frame.unwrap(), &[Type::Int, Type::Text], &mut |_| true).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn csv_tells_null_from_the_empty_text() {
        assert_eq!(String::from_utf8(encode(Form::Csv)).unwrap(), "1,\"a\"\"b\",\"s\"\n,\"\",\"s\"\n");
    }

    #[test]
    fn binary_has_header_counts_lengths_and_trailer() {
        let mut want = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        want.extend(b"\0\x03\0\0\0\x08\0\0\0\0\0\0\0\x01\0\0\0\x03a\"b\0\0\0\x01s");
        want.extend(b"\0\x03\xff\xff\xff\xff\0\0\0\0\0\0\0\x01s\xff\xff");
        assert_eq!(encode(Form::Binary), want);
    }
}
