//! Rows as the statements of many rows that SQLite takes.

use std::sync::Arc;

use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use super::feed::{Encoder, Unfit};
use super::table::{literal, quote};
use super::text;
use crate::cell::{Cell, Cells};
use crate::field::Field;

/// How many values one statement carries. SQLite allows 32,766, which leave a core's cache; each statement costs a hop to
/// its thread.
const MAX_VALUES: usize = 8_000;
/// It has fewer when its texts are so long, or so large a part of the memory: some statements wait for the database.
const PIECE_BYTES: u64 = 4 << 20;
const PIECES: u64 = 16;

/// Rows for one statement: `INSERT .. VALUES (?, .., 'source'), ..`.
pub(super) struct Piece {
    pub(super) values: SqliteArguments,
    pub(super) rows: usize,
}

/// Gathers rows for one statement after the other.
pub(super) struct InsertEncoder {
    piece: Piece,
    /// The length of its texts.
    bytes: usize,
    columns: usize,
    /// The most rows of a piece.
    pub(super) most_rows: usize,
    most_bytes: usize,
}

impl InsertEncoder {
    /// `memory`: about how much of it is there for rows, if that is said.
    pub(super) fn new(columns: usize, memory: Option<u64>) -> Self {
        let most_rows = (MAX_VALUES / columns.max(1)).max(1);
        let most_bytes = memory.map_or(PIECE_BYTES, |memory| PIECE_BYTES.min(memory / PIECES).max(1)) as usize;
        Self { piece: new_piece(most_rows * columns), bytes: 0, columns, most_rows, most_bytes }
    }
}

fn new_piece(values: usize) -> Piece {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values, 0);
    Piece { values: arguments, rows: 0 }
}

impl Encoder for InsertEncoder {
    type Piece = Piece;

    fn row(&mut self, columns: &[Cells<'_>], row: usize) -> Result<(), Unfit> {
        let (values, bytes) = (&mut self.piece.values, &mut self.bytes);
        for (n, column) in columns.iter().enumerate() {
            let cell = column.get(row);
            let added = match cell {
                Cell::Null => values.add(None::<i64>),
                Cell::Bool(v) => values.add(v),
                Cell::Int(v) => values.add(v),
                Cell::Unsigned(v) => match i64::try_from(v) {
                    Ok(v) => values.add(v),
                    Err(_) => {
                        return Err(Unfit::new(n, cell, "a whole number below 2^63, the most that SQLite can hold"));
                    }
                },
                Cell::Float(v) if v.is_nan() => return Err(Unfit::new(n, cell, NO_NAN)),
                Cell::Float32(v) if v.is_nan() => return Err(Unfit::new(n, cell, NO_NAN)),
                Cell::Float(v) => values.add(v),
                Cell::Float32(v) => values.add(f64::from(v)),
                Cell::Text(v) => values.add(owned(v, bytes)),
                Cell::Bytes(v) => {
                    *bytes += v.len();
                    values.add(v)
                }
                Cell::Unfit(_, wanted) => return Err(Unfit::new(n, cell, wanted)),
                Cell::Decimal(..) | Cell::Date(_) | Cell::Time(_) | Cell::Timestamp(..) | Cell::Uuid(_) => {
                    values.add(owned(&text::sqlite(cell), bytes))
                }
                Cell::List(_) => values.add(owned(&text::sqlite(cell), bytes)),
            };
            added.map_err(|_| Unfit::new(n, cell, "a value that SQLite can hold"))?;
        }
        self.piece.rows += 1;
        Ok(())
    }

    fn full(&mut self) -> Option<Piece> {
        let full = self.piece.rows == self.most_rows || self.bytes >= self.most_bytes;
        full.then(|| {
            self.bytes = 0;
            std::mem::replace(&mut self.piece, new_piece(self.most_rows * self.columns))
        })
    }

    fn finish(self) -> Option<Piece> {
        (self.piece.rows > 0).then_some(self.piece)
    }
}

/// Of the texts that can be bound, this is the one that is allocated once.
fn owned(text: &str, bytes: &mut usize) -> Arc<str> {
    *bytes += text.len();
    text.into()
}

const NO_NAN: &str = "a number that SQLite can hold (it would make null of \"not a number\")";

/// The statement for so many rows; `fill` is a column that has one value in all of them.
pub(super) fn insert(into: &str, fields: &[Field], fill: Option<(&str, &str)>, rows: usize) -> String {
    let names: Vec<_> = fields.iter().map(|f| f.name.as_str()).chain(fill.map(|(name, _)| name)).map(quote).collect();
    let values: Vec<_> = fields.iter().map(|_| "?".to_owned()).chain(fill.map(|(_, value)| literal(value))).collect();
    let rows = vec![format!("({})", values.join(",")); rows].join(",");
    format!("INSERT INTO {into} ({}) VALUES {rows}", names.join(", "))
}
