//! Rows as the statements of many rows that SQLite takes.

use polars::prelude::DataFrame;
use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use super::feed::Encoder;
use super::table::{SOURCE_COLUMN, Table, literal, quote};
use crate::cell::{Cell, cells};
use crate::schema::{Column, Type};
use crate::{Error, Result, parse};

/// How many values one statement carries. SQLite allows 32,766; each statement costs a hop to its thread.
const MAX_VALUES: usize = 8_000;

/// Rows for one statement: `INSERT .. VALUES (?, .., 'source'), ..`.
pub(super) struct Piece {
    pub(super) values: SqliteArguments,
    pub(super) rows: usize,
}

/// Gathers rows for one statement after the other.
pub(super) struct InsertEncoder {
    piece: Piece,
    /// The rows of every piece but the last.
    pub(super) most_rows: usize,
}

impl InsertEncoder {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            piece: Piece { values: SqliteArguments::default(), rows: 0 },
            most_rows: (MAX_VALUES / columns.max(1)).max(1),
        }
    }
}

impl Encoder for InsertEncoder {
    type Piece = Piece;

    fn push(&mut self, frame: &DataFrame, types: &[Type], emit: &mut dyn FnMut(Piece) -> bool) -> Result<()> {
        let mut columns = cells(frame, types).map_err(|e| Error::Invalid(e.to_string()))?;
        for _ in 0..frame.height() {
            for column in &mut columns {
                let values = &mut self.piece.values;
                match column.next() {
                    Cell::Null => values.add(None::<i64>),
                    Cell::Bool(v) => values.add(v),
                    Cell::Int(v) => values.add(v),
                    Cell::Float(v) => values.add(v),
                    Cell::Date(v) => values.add(parse::write_date(v)),
                    Cell::Timestamp(v) => values.add(parse::write_timestamp(v)),
                    Cell::Text(v) => values.add(v),
                }
                .map_err(|e| Error::Invalid(e.to_string()))?;
            }
            self.piece.rows += 1;
            if self.piece.rows == self.most_rows {
                let mut values = SqliteArguments::default();
                values.reserve(self.most_rows * types.len(), 0);
                if !emit(std::mem::replace(&mut self.piece, Piece { values, rows: 0 })) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Option<Piece> {
        (self.piece.rows > 0).then_some(self.piece)
    }
}

/// The statement for so many rows.
pub(super) fn insert(table: &Table, columns: &[Column], source: &str, rows: usize) -> String {
    let list: String = columns.iter().map(|c| format!("{}, ", quote(&c.name))).collect();
    let row = format!("({}{})", "?,".repeat(columns.len()), literal(source));
    let rows = vec![row; rows].join(",");
    format!("INSERT INTO {} ({list}{}) VALUES {rows}", table.sql(), quote(SOURCE_COLUMN))
}
