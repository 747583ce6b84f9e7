//! Two threads that turn a file into batches.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use polars::prelude::DataFrame;

use super::chunks::Chunks;
use super::parser::Parser;
use crate::schema::{Column, Schema};
use crate::{Error, Result};

/// How many pieces may wait between two threads.
const QUEUE: usize = 2;

/// Some rows of a file.
pub(crate) struct Batch {
    pub(crate) frame: DataFrame,
    /// How far the file has been read when these rows were complete: bytes of a CSV file on disk, rows of a Parquet file.
    pub(crate) position: u64,
}

/// A CSV file as typed batches, made by two threads that end when this is dropped.
pub(crate) struct CsvBatches {
    /// What each batch holds, in order.
    pub(crate) columns: Vec<Column>,
    /// The size of the file on disk.
    pub(crate) bytes: u64,
    /// Ends with `Ok(None)`: a thread that vanishes is no end of the file.
    batches: Option<Receiver<Result<Option<Batch>>>>,
}

impl CsvBatches {
    /// Opens the file, matches its header and starts reading.
    pub(crate) fn open(path: &Path, schema: &Schema) -> Result<Self> {
        let bytes = path.metadata().map_err(Error::io(path))?.len();
        let (header, mut chunks) = Chunks::open(path, schema)?;
        let columns = header.delivered();
        let (text_out, text_in) = sync_channel(QUEUE);
        let (out, batches) = sync_channel(QUEUE);
        spawn("flow-data-read", move || {
            loop {
                let chunk = chunks.next();
                let last = !matches!(chunk, Ok(Some(_)));
                if text_out.send(chunk).is_err() || last {
                    break;
                }
            }
        })?;
        let parser = Parser::new(path, header);
        spawn("flow-data-parse", move || {
            loop {
                let batch = match text_in.recv() {
                    Ok(Ok(Some(chunk))) => parser.parse(&chunk).map(Some),
                    Ok(Ok(None)) => Ok(None),
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(Error::lost_thread("reading a CSV file")),
                };
                let last = !matches!(batch, Ok(Some(_)));
                if out.send(batch).is_err() || last {
                    break;
                }
            }
        })?;
        Ok(Self { columns, bytes, batches: Some(batches) })
    }
}

impl Iterator for CsvBatches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.batches.as_ref()?.recv() {
            Ok(batch) => batch.transpose(),
            Err(_) => Some(Err(Error::lost_thread("parsing a CSV file"))),
        };
        if !matches!(batch, Some(Ok(_))) {
            self.batches = None;
        }
        batch
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop).map_err(Error::io(name))
}

/// The names of a file's columns and its first rows, all as text.
pub(crate) fn sample(path: &Path, rows: usize) -> Result<DataFrame> {
    let (header, mut chunks) = Chunks::open(path, &Schema::default())?;
    let parser = Parser::new(path, header);
    match chunks.next()? {
        Some(chunk) => Ok(parser.parse(&chunk)?.frame.head(Some(rows))),
        None => Ok(DataFrame::empty_with_schema(&parser.as_text)),
    }
}
