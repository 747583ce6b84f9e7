//! Rows to a Parquet file, as they come: those of Postgres, and what those of any database become.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use polars::prelude::PolarsError;
use polars_arrow::array::Array;
use polars_parquet::parquet::error::ParquetError;
use polars_parquet::write::{
    CompressionOptions, Compressor, DynIter, DynStreamingIterator, FallibleStreamingIterator, FileWriter,
    StatisticsOptions, Version, WriteOptions, array_to_columns, get_dtype_encoding,
};
use sqlx::{Connection, PgConnection, query_scalar};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::decode::{Builder, Reader};
use super::drift::There;
use super::pgtype::PgType;
use super::postgres::{self, columns_of, connect_to_work, located, run};
use super::table::{Table, quote};
use super::warehouse::{Select, UnloadOptions, Unloaded};
use crate::field::Field;
use crate::files::{Noted, Noting, Part};
use crate::parquet::{described, paged};
use crate::progress::decided;
use crate::{Error, Progress, Result};

/// Bytes go to the thread that decodes them in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;
/// How many pieces may wait.
const QUEUE: usize = 4;
/// A row group is written when its rows were so many bytes on the way, however few they are; unless another number is said.
const GROUP_BYTES: usize = 64 << 20;
/// What a binary COPY begins with: a signature, flags, and the length of what nobody uses.
pub(super) const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Names the query to the database, in a transaction that is taken back.
const VIEW: &str = "_flow_data_unload";

/// What the decoding thread is sent.
enum Sent {
    Piece(Vec<u8>),
    /// The database has said that this is all.
    End,
}

pub(super) async fn unload(
    url: &str,
    select: &Select,
    parquet: &Path,
    options: &UnloadOptions,
    progress: &dyn Progress,
) -> Result<Unloaded> {
    let failed = postgres::failed(url);
    let mut conn = connect_to_work(url).await?;
    let mut tx = conn.begin().await.map_err(&failed)?;
    let (source, place) = match select {
        Select::Table(table) => (located(&mut tx, url, table).await?, format!("table {table}")),
        Select::Query(query) => {
            let query = query.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
            let sql = format!("CREATE TEMP VIEW {VIEW} AS {query}");
            run(&mut tx, &sql).await.map_err(&failed)?;
            (Table { schema: Some("pg_temp".into()), name: VIEW.into() }, "the query".to_owned())
        }
    };
    let there = columns_of(&mut tx, &source).await.map_err(&failed)?;
    if there.is_empty() {
        return Err(Error::columns(place, "there is no such table, or it has no columns"));
    }
    let types = types_of(&mut tx, &source).await.map_err(&failed)?;
    let (fields, builders) = columns(&place, &there, &types, &options.fields)?;
    let mut sink = Sink::start(parquet, fields, builders, place, options).await?;
    let list: Vec<_> = sink.fields.iter().map(|f| quote(&f.name)).collect();
    let sql = format!("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)", list.join(", "), source.sql());
    let mut rows = tx.copy_out_raw(&sql).await.map_err(&failed)?;
    // A message is a row; the first one brings the header, the last one is the trailer.
    while let Some(message) = rows.try_next().await.map_err(&failed)? {
        sink.piece.extend_from_slice(&message);
        if !sink.took(progress).await {
            break;
        }
    }
    drop(rows);
    let written = sink.finish(progress).await?;
    tx.rollback().await.map_err(&failed)?;
    conn.close().await.map_err(&failed)?;
    written.commit().await
}

/// A Parquet file that rows are decoded into, on a thread of its own. They are given in the form of a binary COPY.
pub(super) struct Sink {
    pub(super) fields: Vec<Field>,
    /// Where the next message goes, before [`Sink::took`].
    pub(super) piece: Vec<u8>,
    part: Part,
    out: mpsc::Sender<Sent>,
    worker: JoinHandle<Result<(u64, u64)>>,
    parquet: PathBuf,
    seen: u64,
    /// How many rows there will be, if that is known.
    pub(super) total: Option<u64>,
    /// False when the thread has ended before the rows.
    wanted: bool,
}

impl Sink {
    pub(super) async fn start(
        parquet: &Path,
        fields: Vec<Field>,
        builders: Vec<Builder>,
        place: String,
        options: &UnloadOptions,
    ) -> Result<Self> {
        let part = Part::start(parquet).await?;
        let (out, pieces) = mpsc::channel(QUEUE);
        let writer = Writer::new(&part, &fields, options)?;
        let decoder = Decoder { builders, fields: fields.clone(), writer, place };
        let worker = tokio::task::spawn_blocking(move || decoder.run(pieces));
        let (piece, parquet) = (Vec::with_capacity(PIECE_BYTES * 2), parquet.to_owned());
        Ok(Self { fields, piece, part, out, worker, parquet, seen: 0, total: None, wanted: true })
    }

    /// After each message. False: no more is wanted, and [`Sink::finish`] says why.
    pub(super) async fn took(&mut self, progress: &dyn Progress) -> bool {
        self.seen += 1;
        if self.piece.len() >= PIECE_BYTES {
            let full = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES * 2));
            self.wanted = self.out.send(Sent::Piece(full)).await.is_ok();
            progress.report(self.seen, self.total);
        }
        self.wanted
    }

    /// After the last message, the trailer.
    pub(super) async fn finish(self, progress: &dyn Progress) -> Result<Written> {
        if self.wanted {
            // The thread says itself why it wants no more.
            let _ = self.out.send(Sent::Piece(self.piece)).await;
            let _ = self.out.send(Sent::End).await;
        }
        drop(self.out);
        let ended = self.worker.await.unwrap_or_else(|_| Err(Error::lost_thread("writing a Parquet file")));
        let (rows, bytes) = ended?;
        progress.report(rows, Some(rows));
        let unloaded = Unloaded { path: self.parquet, rows, bytes, fields: self.fields, source: None };
        Ok(Written { part: self.part, unloaded })
    }
}

/// A file that is whole and not in its place yet.
pub(super) struct Written {
    part: Part,
    unloaded: Unloaded,
}

impl Written {
    pub(super) async fn commit(self) -> Result<Unloaded> {
        let Self { part, unloaded } = self;
        decided();
        tokio::task::spawn_blocking(move || part.commit())
            .await
            .unwrap_or_else(|_| Err(Error::lost_thread("writing a Parquet file")))?;
        tracing::info!(rows = unloaded.rows, bytes = unloaded.bytes, "wrote {}", unloaded.path.display());
        Ok(unloaded)
    }
}

/// Refuses a column that is stated and not there.
pub(super) fn check_stated<'a>(
    place: &str,
    there: impl Iterator<Item = &'a str> + Clone,
    stated: &[Field],
) -> Result<()> {
    let Some(unknown) = stated.iter().find(|f| !there.clone().any(|t| t == f.name)) else { return Ok(()) };
    let names: Vec<_> = there.map(|t| format!("`{t}`")).collect();
    let message = format!("there is no column `{}`; there are {}", unknown.name, names.join(", "));
    Err(Error::columns(place, message))
}

/// The types that the columns come in: of a domain what it is made of, and text for the labels of an enum.
async fn types_of(conn: &mut PgConnection, table: &Table) -> sqlx::Result<Vec<String>> {
    let sql = "WITH RECURSIVE step AS ( \
                 SELECT attnum, atttypid AS type, atttypmod AS mod, '' AS arrays FROM pg_attribute \
                 WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
               UNION ALL \
                 SELECT attnum, CASE typtype WHEN 'd' THEN typbasetype ELSE typelem END, \
                        CASE typtype WHEN 'd' THEN typtypmod ELSE mod END, \
                        CASE typtype WHEN 'd' THEN arrays ELSE arrays || '[]' END \
                 FROM step JOIN pg_type t ON t.oid = type WHERE typtype = 'd' OR typcategory = 'A' AND typlen = -1) \
               SELECT CASE typtype WHEN 'e' THEN 'text' ELSE format_type(type, mod) END || arrays \
               FROM step JOIN pg_type t ON t.oid = type WHERE typtype <> 'd' AND NOT (typcategory = 'A' AND typlen = -1) \
               ORDER BY attnum";
    query_scalar(sql).bind(table.sql()).fetch_all(conn).await
}

/// What the columns are kept as: what is stated, or what their types are nearest to.
fn columns(place: &str, there: &[There], types: &[String], stated: &[Field]) -> Result<(Vec<Field>, Vec<Builder>)> {
    check_stated(place, there.iter().map(|t| t.name.as_str()), stated)?;
    let ways = Ways { text: "`::text`", digits: "numeric(precision, scale)" };
    let read = |(column, kind): (&There, &String)| kept(place, column, PgType::read(kind).as_ref(), stated, &ways);
    let kept = there.iter().zip(types).map(read);
    kept.collect::<Result<Vec<_>>>().map(|kept| kept.into_iter().unzip())
}

/// How a query of a database makes something that fits a file.
pub(super) struct Ways {
    pub(super) text: &'static str,
    pub(super) digits: &'static str,
}

/// What one column is kept as, whose values are given as those of a type of Postgres.
pub(super) fn kept(
    place: &str,
    column: &There,
    from: Option<&PgType>,
    stated: &[Field],
    ways: &Ways,
) -> Result<(Field, Builder)> {
    let name = &column.name;
    let wrong = |why: String| Error::columns(place, format!("column `{name}` is {}: {why}", column.kind));
    let Some(from) = from else {
        let way = format!("unload a query instead of the table, and select it as {} there", ways.text);
        return Err(wrong(format!("it is not kept in Parquet as such; {way}")));
    };
    let stated = stated.iter().find(|f| f.name == *name);
    let kind = match stated {
        Some(field) => field.kind.clone(),
        None => from.kind().ok_or_else(|| {
            wrong(format!("state its digits (decimal) in the options, or cast it to {}", ways.digits))
        })?,
    };
    let Some(builder) = Builder::new(from, &kind) else {
        return Err(wrong(format!("it cannot be kept as {kind}")));
    };
    let nullable = stated.map_or(!column.not_null, |field| field.nullable);
    Ok((Field { name: name.clone(), kind, nullable }, builder))
}

struct Decoder {
    builders: Vec<Builder>,
    fields: Vec<Field>,
    writer: Writer,
    place: String,
}

impl Decoder {
    /// Decodes what arrives, until the end. Returns rows and bytes.
    fn run(mut self, mut pieces: mpsc::Receiver<Sent>) -> Result<(u64, u64)> {
        let mut waiting = Vec::new();
        let mut begun = false;
        let mut ended = false;
        let mut rows = 0;
        let (mut group, mut bytes) = (0, 0);
        loop {
            match pieces.blocking_recv() {
                Some(Sent::Piece(piece)) if waiting.is_empty() => waiting = piece,
                Some(Sent::Piece(piece)) => waiting.extend_from_slice(&piece),
                Some(Sent::End) => break,
                // Nobody waits for the file any more.
                None => return Err(Error::Cancelled),
            }
            let mut rest = Reader(&waiting);
            if !begun {
                begun = rest.take(SIGNATURE.len()) == Some(SIGNATURE)
                    && rest.int().is_some()
                    && rest.int().and_then(|n| rest.take(usize::try_from(n).ok()?)).is_some();
                if !begun {
                    return Err(self.wrong("the database sent something else than binary rows"));
                }
            }
            let mut before = rest.0.len();
            while !ended && self.row(&mut rest, rows + 1, &mut ended)? {
                rows += 1;
                group += 1;
                bytes += before - rest.0.len();
                before = rest.0.len();
                if group >= self.writer.group_rows || bytes >= self.writer.group_bytes {
                    self.flush(group)?;
                    (group, bytes) = (0, 0);
                }
            }
            waiting = rest.0.to_vec();
        }
        if !ended || !waiting.is_empty() {
            return Err(self.wrong("the rows broke off"));
        }
        if group > 0 {
            self.flush(group)?;
        }
        let bytes = self.writer.finish()?;
        Ok((rows, bytes))
    }

    fn wrong(&self, message: &str) -> Error {
        Error::columns(self.place.clone(), message)
    }

    /// Reads a row off the front, if it is whole. Says no at the end, too.
    fn row(&mut self, rest: &mut Reader<'_>, row: u64, ended: &mut bool) -> Result<bool> {
        let mut ahead = Reader(rest.0);
        let Some(count) = ahead.take(2) else { return Ok(false) };
        let count = i16::from_be_bytes([count[0], count[1]]);
        if count == -1 {
            *rest = ahead;
            *ended = true;
            return Ok(false);
        }
        if usize::try_from(count) != Ok(self.builders.len()) {
            return Err(self.wrong(&format!("row {row} has {count} fields")));
        }
        // Pieces are cut between rows, except for one that is the first of a longer message.
        let start = ahead.0;
        for _ in 0..count {
            if ahead.field().is_none() {
                return Ok(false);
            }
        }
        let mut fields = Reader(start);
        for (builder, field) in self.builders.iter_mut().zip(&self.fields) {
            let value = fields.field().flatten();
            if value.is_none() && !field.nullable {
                let message = format!("row {row}, column `{}` is null, and is stated to be never", field.name);
                return Err(Error::columns(self.place.clone(), message));
            }
            builder.push(value).map_err(|text| {
                let message = format!("row {row}, column `{}`: {text} does not fit {}", field.name, field.kind);
                Error::columns(self.place.clone(), message)
            })?;
        }
        *rest = ahead;
        Ok(true)
    }

    fn flush(&mut self, rows: usize) -> Result<()> {
        let arrays = self.builders.iter_mut().map(Builder::finish).collect::<Result<Vec<_>, _>>();
        let arrays = arrays.map_err(|e| self.wrong(&e))?;
        self.writer.write(rows, &arrays)
    }
}

/// Writes arrays as row groups.
struct Writer {
    writer: FileWriter<BufWriter<Noting<File>>>,
    noted: Noted,
    path: PathBuf,
    group_rows: usize,
    group_bytes: usize,
}

impl Writer {
    fn new(part: &Part, fields: &[Field], layout: &UnloadOptions) -> Result<Self> {
        let path = part.path().to_owned();
        let (schema, described) = described(fields).map_err(|e| Error::format(&path, e.to_string()))?;
        let options = WriteOptions {
            statistics: StatisticsOptions::default(),
            version: Version::V1,
            compression: CompressionOptions::Zstd(None),
            data_page_size: None,
        };
        let (file, noted) = Noting::new(part.file.try_clone().map_err(Error::io(&path))?);
        let out = BufWriter::with_capacity(1 << 20, file);
        let writer = FileWriter::new_with_parquet_schema(out, schema, described, options);
        let or = |given: usize, usual| if given == 0 { usual } else { given };
        let (group_rows, group_bytes) = (or(layout.row_group_rows, 1 << 17), or(layout.row_group_bytes, GROUP_BYTES));
        Ok(Self { writer, noted, path, group_rows, group_bytes })
    }

    fn write(&mut self, rows: usize, arrays: &[Box<dyn Array>]) -> Result<()> {
        let failed = |e: PolarsError| self.noted.error(&self.path, &e);
        let options = self.writer.options();
        let types = self.writer.parquet_schema().fields().to_vec();
        let mut pages = Vec::with_capacity(types.len());
        for (array, page_type) in arrays.iter().zip(types) {
            let encodings = get_dtype_encoding(array.dtype());
            let options = paged(options, array.as_ref());
            for leaf in array_to_columns(array, page_type, options, &encodings).map_err(failed)? {
                let leaf = leaf.map(|page| page.map_err(|e| ParquetError::FeatureNotSupported(e.to_string())));
                let compressed = Compressor::new(leaf, options.compression, Vec::new());
                pages.push(Ok(DynStreamingIterator::new(compressed.map_err(PolarsError::from))));
            }
        }
        self.writer.write(rows as u64, DynIter::new(pages.into_iter())).map_err(failed)
    }

    /// Writes the footer. Returns the size of the file.
    fn finish(mut self) -> Result<u64> {
        self.writer.end(None).map_err(|e| self.noted.error(&self.path, &e))
    }
}
