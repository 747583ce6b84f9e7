//! Two threads that turn a text file into batches.
//!
//! ```text
//! thread 1: file -> unpack -> records   thread 2: records -> typed columns   the caller
//!                       (at most 2 wait)                       (at most 2 wait)
//! ```

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use polars_arrow::array::Array;

use crate::columns::{Batch, Converter};
use crate::records::Records;
use crate::schema::Column;
use crate::source::Hash;
use crate::{Error, Result};

/// How many pieces may wait between two threads.
const QUEUE: usize = 2;

/// A file as records, some at a time.
pub(crate) trait ReadRecords: Send + 'static {
    /// The next records, or `None` at the end.
    fn next(&mut self) -> Result<Option<Records>>;

    /// The SHA-256 of the file on disk, once all is read.
    fn hash(&self) -> Hash;
}

/// Some rows of a file, a column an array.
pub(crate) struct Rows {
    pub(crate) arrays: Vec<Box<dyn Array>>,
    pub(crate) rows: usize,
    /// How far the file has been read when these rows were complete: bytes of a CSV file on disk, rows of a Parquet file.
    pub(crate) position: u64,
}

/// What a thread makes of a file, some pieces ahead. The thread ends when this is dropped.
pub(crate) struct Ahead<T> {
    /// What the thread does, in words.
    what: &'static str,
    /// Ends with `Ok(None)`: a thread that vanishes is no end of the file.
    pieces: Receiver<Result<Option<T>>>,
}

impl<T: Send + 'static> Ahead<T> {
    /// Starts a thread that makes one piece after the other. So many may wait; 0 is one that the thread holds in its hands.
    pub(crate) fn start(
        what: &'static str,
        waiting: usize,
        mut next: impl FnMut() -> Result<Option<T>> + Send + 'static,
    ) -> Result<Self> {
        let (out, pieces) = sync_channel(waiting);
        let body = move || {
            loop {
                let piece = next();
                let last = !matches!(piece, Ok(Some(_)));
                if out.send(piece).is_err() || last {
                    break;
                }
            }
        };
        thread::Builder::new().name("flow-data".into()).spawn(body).map_err(Error::io(what))?;
        Ok(Self { what, pieces })
    }

    /// The next piece, or `None` at the end; not to be asked again after that.
    pub(crate) fn next(&mut self) -> Result<Option<T>> {
        self.pieces.recv().unwrap_or_else(|_| Err(Error::lost_thread(self.what)))
    }
}

impl Ahead<Records> {
    /// Starts reading records.
    pub(crate) fn read(mut reader: impl ReadRecords) -> Result<Self> {
        Self::start("reading a file", QUEUE, move || reader.next())
    }
}

/// A text file as typed batches, made by two threads that end when this is dropped.
pub(crate) struct TextBatches {
    /// What each batch holds, in order.
    pub(crate) columns: Vec<Column>,
    /// The size of the file on disk.
    pub(crate) bytes: u64,
    /// The SHA-256 of the file on disk, once all is read.
    pub(crate) hash: Hash,
    batches: Option<Ahead<Batch>>,
}

impl TextBatches {
    /// Starts reading a file whose columns are delivered as these.
    pub(crate) fn start(
        path: &Path,
        reader: impl ReadRecords,
        converter: Converter,
        columns: Vec<Column>,
    ) -> Result<Self> {
        let bytes = path.metadata().map_err(Error::io(path))?.len();
        let hash = reader.hash();
        let mut records = Ahead::read(reader)?;
        let convert = move || records.next()?.map(|records| converter.convert(&records)).transpose();
        Ok(Self { columns, bytes, hash, batches: Some(Ahead::start("parsing a file", QUEUE, convert)?) })
    }
}

impl Iterator for TextBatches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.as_mut()?.next().transpose();
        if !matches!(batch, Some(Ok(_))) {
            self.batches = None;
        }
        batch
    }
}
