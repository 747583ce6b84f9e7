//! A file's batches, encoded on a thread that may block and handed to an async loader through a short queue.

use std::path::Path;

use polars::prelude::DataFrame;
use tokio::sync::mpsc;

use crate::csv::{Batch, CsvBatches};
use crate::parquet::ParquetBatches;
use crate::schema::{Column, Schema, Type};
use crate::{Error, Result};

/// How many encoded pieces may wait.
const QUEUE: usize = 4;

/// An opened file.
pub(super) enum Batches {
    Csv(CsvBatches),
    Parquet(ParquetBatches),
}

impl Batches {
    pub(super) async fn csv(path: &Path, schema: &Schema) -> Result<Self> {
        let (path, schema) = (path.to_owned(), schema.clone());
        blocking(move || CsvBatches::open(&path, &schema).map(Self::Csv)).await
    }

    pub(super) async fn parquet(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        blocking(move || ParquetBatches::open(&path).map(Self::Parquet)).await
    }

    pub(super) fn columns(&self) -> &[Column] {
        match self {
            Self::Csv(csv) => &csv.columns,
            Self::Parquet(parquet) => &parquet.columns,
        }
    }

    /// How far [`Batch::position`] will go.
    pub(super) fn total(&self) -> u64 {
        match self {
            Self::Csv(csv) => csv.bytes,
            Self::Parquet(parquet) => parquet.rows,
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Csv(csv) => csv.next(),
            Self::Parquet(parquet) => parquet.next(),
        }
    }
}

/// Turns rows into pieces of what a database takes.
pub(super) trait Encoder: Send + 'static {
    /// What is sent.
    type Piece: Send + 'static;

    /// Encodes some rows and emits every piece that is full. `emit` says false when nobody wants more.
    fn push(&mut self, frame: &DataFrame, types: &[Type], emit: &mut dyn FnMut(Self::Piece) -> bool) -> Result<()>;

    /// The rest.
    fn finish(self) -> Option<Self::Piece>;
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
    /// How many rows were sent, once [`Feed::next`] has returned `None`.
    pub(super) rows: u64,
}

impl<P: Send + 'static> Feed<P> {
    /// Starts encoding. Needs a tokio runtime.
    pub(super) fn start<E: Encoder<Piece = P>>(batches: Batches, mut encoder: E) -> Self {
        let (out, queue) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            let types: Vec<_> = batches.columns().iter().map(|c| c.kind).collect();
            let mut rows = 0;
            let mut position = 0;
            for batch in batches {
                let pushed = batch.and_then(|batch| {
                    rows += batch.frame.height() as u64;
                    position = batch.position;
                    let mut emit = |piece| out.blocking_send(Ok(Sent::Piece(piece, position))).is_ok();
                    encoder.push(&batch.frame, &types, &mut emit)
                });
                if let Err(error) = pushed {
                    let _ = out.blocking_send(Err(error));
                    return;
                }
                if out.is_closed() {
                    return;
                }
            }
            if let Some(piece) = encoder.finish() {
                let _ = out.blocking_send(Ok(Sent::Piece(piece, position)));
            }
            let _ = out.blocking_send(Ok(Sent::End(rows)));
        });
        Self { queue, rows: 0 }
    }

    /// The next piece and how far the file has been read, or `None` when all was sent.
    pub(super) async fn next(&mut self) -> Result<Option<(P, u64)>> {
        match self.queue.recv().await {
            Some(Ok(Sent::Piece(piece, position))) => Ok(Some((piece, position))),
            Some(Ok(Sent::End(rows))) => {
                self.rows = rows;
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::lost_thread("encoding rows")),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::lost_thread("opening a file")))
}
