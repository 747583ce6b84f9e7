//! A file's batches, encoded on a thread that may block and handed to an async loader through a short queue.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::made::Maker;
use super::warehouse::Input;
use crate::batches::{Ahead, ReadRecords as _, Rows};
use crate::cell::{Cell, Cells};
use crate::columns::Converter;
use crate::csv::{Chunks, CsvOptions, CsvRecords};
use crate::error::shorten;
use crate::field::Field;
use crate::parquet::ParquetBatches;
use crate::records::Records;
use crate::redact::redact;
use crate::schema::Schema;
use crate::{Error, Lake, Result};

/// How many encoded pieces may wait.
const QUEUE: usize = 4;

/// An opened file.
pub(super) struct Batches {
    pub(super) path: PathBuf,
    pub(super) fields: Vec<Field>,
    /// How many rows the file says that it has.
    pub(super) rows: Option<u64>,
    /// How far the position will go.
    pub(super) total: u64,
    /// True for [`Batches::raw`].
    pub(super) is_raw: bool,
    /// The object in a store that the file is, which only BigQuery reads.
    pub(super) object: Option<String>,
    /// What makes Parquet of it, which BigQuery gets.
    pub(super) maker: Option<Maker>,
    /// Never waited for: it makes a future that holds this fit to change threads.
    rest: Mutex<Source>,
}

enum Source {
    Csv(Box<CsvRecords>),
    /// Nothing of it is read yet: who waits for a turn keeps no rows.
    Parquet(Box<ParquetBatches>),
    ParquetAhead(Ahead<Rows>),
    /// The text of a CSV file, cut between records.
    Raw(Box<Chunks>),
    /// It was taken.
    Taken,
}

impl Batches {
    pub(super) async fn csv(path: &Path, schema: &Schema) -> Result<Self> {
        let (path, schema) = (path.to_owned(), schema.clone());
        blocking(move || {
            let csv = CsvRecords::open(&path, &schema)?;
            let (fields, total) = (csv.columns.iter().map(Field::from).collect(), csv.bytes);
            let rest = Mutex::new(Source::Csv(Box::new(csv)));
            Ok(Self { path, fields, rows: None, total, is_raw: false, object: None, maker: None, rest })
        })
        .await
    }

    /// A CSV file of which Parquet is made once that is needed.
    pub(super) async fn to_make(path: &Path, maker: Maker) -> Result<Self> {
        let file = Self::csv(path, &maker.schema).await?;
        Ok(Self { maker: Some(maker), rest: Mutex::new(Source::Taken), ..file })
    }

    /// A Parquet file, of which about so many bytes are read at once.
    pub(super) async fn parquet(path: &Path, most_bytes: u64) -> Result<Self> {
        let path = path.to_owned();
        blocking(move || {
            let file = ParquetBatches::open(&path)?.within(most_bytes);
            let (fields, rows) = (file.fields.clone(), file.rows);
            let rest = Mutex::new(Source::Parquet(Box::new(file)));
            Ok(Self { path, fields, rows: Some(rows), total: rows, is_raw: false, object: None, maker: None, rest })
        })
        .await
    }

    /// A Parquet file in a store, of which no more is read than what it says of itself.
    pub(super) async fn object(lake: &Lake, url: &str) -> Result<Self> {
        let (fields, rows) = lake.parquet_footer(url).await?;
        let (path, object) = (PathBuf::from(redact(url)), Some(url.to_owned()));
        let rest = Mutex::new(Source::Taken);
        Ok(Self { path, fields, rows: Some(rows), total: rows, is_raw: false, object, maker: None, rest })
    }

    /// A CSV file whose text is handed on as it is.
    pub(super) async fn raw(file: &Input) -> Result<Self> {
        let Input::Csv(path, schema) = file else {
            return Err(Error::Invalid("only a CSV file can be handed on as text; this is Parquet".into()));
        };
        if let Some(null) = schema.nulls().first() {
            let message = format!("a CSV file that is handed on as text cannot have `{null}` for null; load it parsed");
            return Err(Error::Invalid(message));
        }
        let (path, schema) = (path.clone(), schema.clone());
        blocking(move || {
            let total = path.metadata().map_err(Error::io(&path))?.len();
            let (header, chunks) = Chunks::open(&path, &schema, &CsvOptions::default())?;
            let fields = header.reading.columns.iter().map(Field::from).collect();
            let rest = Mutex::new(Source::Raw(Box::new(chunks)));
            Ok(Self { path, fields, rows: None, total, is_raw: true, object: None, maker: None, rest })
        })
        .await
    }

    /// The same file, to be read elsewhere. Here nothing of it is left but its description.
    pub(super) fn take(&mut self) -> Self {
        let rest = std::mem::replace(&mut self.rest, Mutex::new(Source::Taken));
        let Self { rows, total, is_raw, .. } = *self;
        let (path, fields, object) = (self.path.clone(), self.fields.clone(), self.object.clone());
        Self { path, fields, rows, total, is_raw, object, maker: self.maker.take(), rest }
    }

    /// What makes columns of a CSV file's records.
    pub(super) fn converter(&mut self) -> Option<&Converter> {
        match self.rest.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Source::Csv(csv) => Some(&csv.converter),
            Source::Parquet(_) | Source::ParquetAhead(_) | Source::Raw(_) | Source::Taken => None,
        }
    }

    /// The next rows, of which the encoder takes what it can as it is.
    fn next(&mut self, encoder: &mut impl Encoder) -> Option<Result<Next>> {
        let rest = self.rest.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Source::Parquet(_) = rest
            && let Source::Parquet(mut file) = std::mem::replace(rest, Source::Taken)
        {
            // While some rows are encoded, the next are decoded. They are many: no others wait.
            match Ahead::start("reading a file", 0, move || file.next().transpose()) {
                Ok(ahead) => *rest = Source::ParquetAhead(ahead),
                Err(error) => return Some(Err(error)),
            }
        }
        match rest {
            Source::Raw(_) | Source::Taken | Source::Parquet(_) => {
                Some(Err(Error::Invalid("text that is handed on has no rows".into())))
            }
            Source::ParquetAhead(parquet) => parquet.next().transpose().map(|rows| rows.map(Next::Columns)),
            Source::Csv(csv) => csv.records.next().transpose().map(|records| {
                let records = records?;
                if encoder.records(&records) {
                    return Ok(Next::Encoded { rows: records.len(), position: records.position });
                }
                csv.converter.convert(&records).map(|batch| Next::Columns(batch.rows))
            }),
        }
    }
}

/// Some rows of a file.
enum Next {
    /// The encoder has them.
    Encoded {
        rows: usize,
        position: u64,
    },
    Columns(Rows),
}

/// Turns rows into pieces of what a database takes.
pub(super) trait Encoder: Send + 'static {
    /// What is sent.
    type Piece: Send + 'static;

    /// Encodes one row. What does not fit is named by its column, its text and what would fit.
    fn row(&mut self, columns: &[Cells<'_>], row: usize) -> Result<(), Unfit>;

    /// Encodes records of a CSV file as they are. False if it does not do that, or not these: it has taken none then.
    fn records(&mut self, _records: &Records) -> bool {
        false
    }

    /// A piece that is full.
    fn full(&mut self) -> Option<Self::Piece>;

    /// The rest.
    fn finish(self) -> Option<Self::Piece>;
}

/// A value that a database cannot hold.
pub(super) struct Unfit {
    pub(super) column: usize,
    pub(super) text: String,
    pub(super) wanted: &'static str,
}

impl Unfit {
    pub(super) fn new(column: usize, cell: Cell<'_>, wanted: &'static str) -> Self {
        Self { column, text: super::encode::shown(cell), wanted }
    }
}

/// What arrives at the loader.
enum Sent<P> {
    Piece(P, u64),
    /// All was sent. A queue that ends without it lost its thread.
    End(u64),
}

/// The receiving end. Dropping it ends the thread.
pub(super) struct Feed<P> {
    queue: mpsc::Receiver<Result<Sent<P>>>,
    /// How many rows were sent, once [`Feed::next`] has returned `None` or an error.
    rows: Option<u64>,
}

impl<P: Send + 'static> Feed<P> {
    /// Starts encoding. Needs a tokio runtime.
    pub(super) fn start<E: Encoder<Piece = P>>(batches: Batches, encoder: E) -> Self {
        Self::spawn(move |out| {
            let sent = encode(batches, encoder, out);
            sent.map(Sent::End)
        })
    }

    fn spawn(work: impl FnOnce(&mpsc::Sender<Result<Sent<P>>>) -> Result<Sent<P>> + Send + 'static) -> Self {
        let (out, queue) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            let end = work(&out);
            // Nobody may want it any more.
            let _ = out.blocking_send(end);
        });
        Self { queue, rows: None }
    }

    /// The next piece and how far the file has been read, or `None` when all was sent.
    ///
    /// An error is returned once and ends the feed. Of several who call this one gets it, and is the one to tell it; to
    /// the others it looks like the end, for a second error could come to the user before the first.
    pub(super) async fn next(&mut self) -> Result<Option<(P, u64)>> {
        if self.rows.is_some() {
            return Ok(None);
        }
        match self.queue.recv().await {
            Some(Ok(Sent::Piece(piece, position))) => Ok(Some((piece, position))),
            Some(Ok(Sent::End(rows))) => {
                self.rows = Some(rows);
                Ok(None)
            }
            Some(Err(error)) => {
                self.rows = Some(0);
                Err(error)
            }
            None => {
                self.rows = Some(0);
                Err(Error::lost_thread("encoding rows"))
            }
        }
    }

    /// How many rows were sent.
    pub(super) fn rows(&self) -> u64 {
        self.rows.unwrap_or(0)
    }
}

impl Feed<Vec<u8>> {
    /// Starts encoding, or handing on what is text already.
    pub(super) fn text_or<E: Encoder<Piece = Vec<u8>>>(batches: Batches, encoder: E) -> Self {
        let mut batches = batches;
        if !batches.is_raw {
            return Self::start(batches, encoder);
        }
        let path = batches.path.clone();
        let rest = batches.take().rest.into_inner().unwrap_or_else(PoisonError::into_inner);
        Self::spawn(move |out| {
            let Source::Raw(mut chunks) = rest else {
                return Err(Error::Invalid("a file was to be read twice".into()));
            };
            let mut sent = 0;
            while let Some(records) = chunks.next()? {
                let wrong = |(row, what): (usize, String)| {
                    Error::format(&path, format!("row {} {what}", records.first_row + row as u64))
                };
                let lines = records.as_lines().map_err(wrong)?;
                sent += records.len() as u64;
                if out.blocking_send(Ok(Sent::Piece(lines, records.position))).is_err() {
                    break;
                }
            }
            Ok(Sent::End(sent))
        })
    }
}

/// Encodes a whole file. Returns its rows.
fn encode<E: Encoder>(mut batches: Batches, mut encoder: E, out: &mpsc::Sender<Result<Sent<E::Piece>>>) -> Result<u64> {
    let mut done = 0;
    let mut position = 0;
    while let Some(next) = batches.next(&mut encoder) {
        let rows = match next? {
            Next::Encoded { rows, position: read } => {
                position = read;
                send_full(&mut encoder, position, out);
                rows
            }
            Next::Columns(batch) => {
                position = batch.position;
                encode_columns(&batches, &batch, done, &mut encoder, out)?;
                batch.rows
            }
        };
        done += rows as u64;
        if out.is_closed() {
            return Ok(0);
        }
    }
    if batches.rows.is_some_and(|rows| rows != done) {
        let message = format!("the file says that it has {:?} rows, and {done} were read", batches.rows.unwrap_or(0));
        return Err(Error::format(&batches.path, message));
    }
    if let Some(piece) = encoder.finish() {
        let _ = out.blocking_send(Ok(Sent::Piece(piece, position)));
    }
    Ok(done)
}

fn encode_columns<E: Encoder>(
    batches: &Batches,
    batch: &Rows,
    done: u64,
    encoder: &mut E,
    out: &mpsc::Sender<Result<Sent<E::Piece>>>,
) -> Result<()> {
    let seen = batch.arrays.iter().zip(&batches.fields).map(|(array, field)| {
        Cells::of(array.as_ref(), &field.kind).ok_or_else(|| {
            let message = format!("column `{}` is kept as {:?}, not as {}", field.name, array.dtype(), field.kind);
            Error::format(&batches.path, message)
        })
    });
    let columns = seen.collect::<Result<Vec<_>>>()?;
    for row in 0..batch.rows {
        encoder.row(&columns, row).map_err(|unfit| Error::Value {
            file: batches.path.clone(),
            row: done + row as u64 + 1,
            column: batches.fields.get(unfit.column).map(|f| f.name.clone()).unwrap_or_default(),
            text: shorten(&unfit.text),
            wanted: unfit.wanted.into(),
        })?;
        if !send_full(encoder, batch.position, out) {
            break;
        }
    }
    Ok(())
}

/// Sends what is full. False when nobody wants it any more.
fn send_full<E: Encoder>(encoder: &mut E, position: u64, out: &mpsc::Sender<Result<Sent<E::Piece>>>) -> bool {
    encoder.full().is_none_or(|piece| out.blocking_send(Ok(Sent::Piece(piece, position))).is_ok())
}

/// Runs what computes or reads files.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::lost_thread("opening a file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever shares a feed with the one that gets the error must not come before it with another.
    #[tokio::test]
    async fn an_error_is_told_once_and_ends_the_feed() {
        let mut feed = Feed::<u8>::spawn(|_| Err(Error::Invalid("row 2 has a quote".into())));
        assert_eq!(feed.next().await.unwrap_err().to_string(), "row 2 has a quote");
        assert!(feed.next().await.unwrap().is_none());

        let mut lost = Feed::<u8>::spawn(|_| std::panic::resume_unwind(Box::new(())));
        assert!(lost.next().await.unwrap_err().to_string().contains("ended with a panic"));
        assert!(lost.next().await.unwrap().is_none());
    }
}
