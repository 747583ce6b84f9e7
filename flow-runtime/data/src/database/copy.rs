//! Rows in the two forms that Postgres's COPY takes here: binary where the table has the file's own types, CSV where the
//! database has to convert.

use super::direct::Direct;
use super::encode::binary;
use super::feed::{Encoder, Unfit};
use super::pgtype::PgType;
use super::text;
use crate::cell::{Cell, Cells};
use crate::columns::Converter;
use crate::records::Records;

/// A piece is sent when it has this size.
const PIECE_BYTES: usize = 1 << 20;

/// What a binary COPY begins with, and ends with.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = b"\xff\xff";

/// How COPY is told to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Each column in the type that the table has.
    Binary(Vec<PgType>),
    Csv,
}

impl Form {
    pub(super) fn sql(&self) -> &'static str {
        match self {
            Self::Binary(_) => "(FORMAT binary)",
            Self::Csv => "(FORMAT csv)",
        }
    }

    /// What comes before the first piece of a COPY.
    pub(super) fn before(&self) -> &'static [u8] {
        match self {
            Self::Binary(_) => HEADER,
            Self::Csv => b"",
        }
    }

    /// What comes after the last.
    pub(super) fn after(&self) -> &'static [u8] {
        match self {
            Self::Binary(_) => TRAILER,
            Self::Csv => b"",
        }
    }
}

/// Encodes rows, each followed by a value that is the same for all, if there is one. A piece holds whole rows.
pub(super) struct CopyEncoder {
    form: Form,
    buffer: Vec<u8>,
    /// How a row begins: the number of its fields, when binary.
    begin: Vec<u8>,
    /// How it ends.
    end: Vec<u8>,
    /// For records of a CSV file, where they need no columns between.
    direct: Option<Direct>,
}

impl CopyEncoder {
    pub(super) fn new(form: Form, columns: i16, fill: Option<&str>) -> Self {
        let mut end = Vec::new();
        let begin = match &form {
            Form::Binary(_) => {
                if let Some(fill) = fill {
                    end.extend_from_slice(&(fill.len() as i32).to_be_bytes());
                    end.extend_from_slice(fill.as_bytes());
                }
                (columns + i16::from(fill.is_some())).to_be_bytes().to_vec()
            }
            Form::Csv => {
                if let Some(fill) = fill {
                    if columns > 0 {
                        end.push(b',');
                    }
                    quoted(&mut end, fill.as_bytes());
                }
                end.push(b'\n');
                Vec::new()
            }
        };
        Self { form, buffer: new_piece(), begin, end, direct: None }
    }

    /// Takes records of a CSV file as well, if they are that simple.
    pub(super) fn with_records(mut self, converter: &Converter) -> Self {
        if let Form::Binary(targets) = &self.form {
            self.direct = Direct::new(converter, targets);
        }
        self
    }
}

fn new_piece() -> Vec<u8> {
    Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4)
}

impl Encoder for CopyEncoder {
    type Piece = Vec<u8>;

    fn row(&mut self, columns: &[Cells<'_>], row: usize) -> Result<(), Unfit> {
        let out = &mut self.buffer;
        out.extend_from_slice(&self.begin);
        match &self.form {
            Form::Binary(targets) => {
                for (n, (column, target)) in columns.iter().zip(targets).enumerate() {
                    let cell = column.get(row);
                    if let Err(wanted) = binary(out, cell, target) {
                        return Err(Unfit::new(n, cell, wanted));
                    }
                }
            }
            Form::Csv => {
                for (n, column) in columns.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    let cell = column.get(row);
                    csv(out, cell).map_err(|wanted| Unfit::new(n, cell, wanted))?;
                }
            }
        }
        out.extend_from_slice(&self.end);
        Ok(())
    }

    fn records(&mut self, records: &Records) -> bool {
        let direct = self.direct.as_mut();
        direct.is_some_and(|direct| direct.rows(&mut self.buffer, records, &self.begin, &self.end))
    }

    fn full(&mut self) -> Option<Vec<u8>> {
        (self.buffer.len() >= PIECE_BYTES).then(|| std::mem::replace(&mut self.buffer, new_piece()))
    }

    fn finish(self) -> Option<Vec<u8>> {
        (!self.buffer.is_empty()).then_some(self.buffer)
    }
}

fn csv(out: &mut Vec<u8>, cell: Cell<'_>) -> Result<(), &'static str> {
    match cell {
        Cell::Unfit(_, wanted) => return Err(wanted),
        Cell::Text(v) if v.contains('\0') => return binary(out, cell, &PgType::Text),
        Cell::Text(v) => quoted(out, v.as_bytes()),
        Cell::Bytes(_) | Cell::List(_) => {
            let mut text = Vec::new();
            text::postgres(&mut text, cell);
            quoted(out, &text);
        }
        other => text::postgres(out, other),
    }
    Ok(())
}

fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use polars_arrow::array::{Array, PrimitiveArray, Utf8ViewArray};

    use super::*;
    use crate::field::ColumnType;

    fn encode(form: Form) -> Vec<u8> {
        let numbers = PrimitiveArray::from([Some(1i64), None]);
        let texts = Utf8ViewArray::from_slice([Some("a\"b"), Some("")]);
        let arrays: [(&dyn Array, ColumnType); 2] = [(&numbers, ColumnType::Int64), (&texts, ColumnType::Text)];
        let columns: Vec<_> = arrays.iter().map(|(array, kind)| Cells::of(*array, kind).unwrap()).collect();
        let mut encoder = CopyEncoder::new(form, 2, Some("s"));
        for row in 0..2 {
            assert!(encoder.row(&columns, row).is_ok());
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn csv_tells_null_from_the_empty_text() {
        assert_eq!(String::from_utf8(encode(Form::Csv)).unwrap(), "1,\"a\"\"b\",\"s\"\n,\"\",\"s\"\n");
    }

    #[test]
    fn binary_has_counts_and_lengths() {
        let mut want = b"\0\x03\0\0\0\x08\0\0\0\0\0\0\0\x01\0\0\0\x03a\"b\0\0\0\x01s".to_vec();
        want.extend(b"\0\x03\xff\xff\xff\xff\0\0\0\0\0\0\0\x01s");
        assert_eq!(encode(Form::Binary(vec![PgType::Int8, PgType::Text])), want);
    }
}
