//! A file's text, unpacked if need be, cut between records.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::header::{self, Header};
use super::records;
use crate::Result;
use crate::error::Error;
use crate::schema::Schema;

/// How much text one piece has. Smaller is slower, larger takes more memory: about twenty times this in all.
pub(crate) const CHUNK_BYTES: usize = 4 << 20;
/// The longest record that is believed. Beyond, a quote was opened and never closed, or the file is no CSV.
const MAX_RECORD_BYTES: usize = 64 << 20;

/// Counts what has been read of the file on disk.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// One piece of text: whole records.
pub(crate) struct Chunk {
    pub(crate) text: Vec<u8>,
    pub(crate) rows: u64,
    /// The number of its first record, from 1.
    pub(crate) first_row: u64,
    /// How much of the file on disk has been read so far.
    pub(crate) position: u64,
}

/// Reads a file chunk by chunk.
pub(crate) struct Chunks {
    path: PathBuf,
    reader: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
    carry: Vec<u8>,
    ended: bool,
    width: usize,
    rows: u64,
}

impl Chunks {
    /// Opens a file, reads its header and matches it to the schema.
    pub(crate) fn open(path: &Path, schema: &Schema) -> Result<(Header, Self)> {
        let file = File::open(path).map_err(Error::io(path))?;
        let read = Arc::new(AtomicU64::new(0));
        let mut plain = BufReader::with_capacity(256 << 10, Counted { file, read: read.clone() });
        let start = plain.fill_buf().map_err(Error::io(path))?;
        let reader: Box<dyn Read + Send> = match start {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(plain)),
            [b'P', b'K', 3, 4, ..] => {
                return Err(Error::format(path, "this is a zip archive; unpack it, or pack it with gzip"));
            }
            [b'P', b'A', b'R', b'1', ..] => {
                return Err(Error::format(path, "this is a Parquet file, not CSV"));
            }
            _ => Box::new(plain),
        };
        let mut chunks =
            Self { path: path.to_owned(), reader, read, carry: Vec::new(), ended: false, width: 0, rows: 0 };
        let header = chunks.header(schema)?;
        chunks.width = header.columns.len();
        Ok((header, chunks))
    }

    fn header(&mut self, schema: &Schema) -> Result<Header> {
        let Some(mut text) = self.whole_records()? else {
            return Err(Error::format(&self.path, "the file is empty; not even a header is there"));
        };
        let mut end = 0;
        loop {
            let line = memchr::memchr(b'\n', &text[end..]).map_or(text.len(), |at| end + at + 1);
            let in_quotes = records::last_end(&text[..line]).1;
            end = line;
            if !in_quotes || line == text.len() {
                break;
            }
        }
        let names = header::names(&text[..end]);
        text.drain(..end);
        self.carry.splice(..0, text);
        Header::new(&self.path, names, schema)
    }

    /// The next chunk, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Chunk>> {
        let Some(mut text) = self.whole_records()? else {
            return Ok(None);
        };
        let first_row = self.rows + 1;
        let rows =
            records::check(&mut text, self.width).map_err(|wrong| wrong.error(&self.path, first_row, self.width))?;
        self.rows += rows;
        Ok(Some(Chunk { text, rows, first_row, position: self.read.load(Ordering::Relaxed) }))
    }

    fn whole_records(&mut self) -> Result<Option<Vec<u8>>> {
        let mut wanted = CHUNK_BYTES;
        loop {
            self.fill(wanted)?;
            if self.carry.is_empty() {
                return Ok(None);
            }
            let (end, in_quotes) = records::last_end(&self.carry);
            if self.ended {
                if in_quotes {
                    return Err(Error::format(
                        &self.path,
                        format!("a quote is opened after row {} and never closed", self.rows),
                    ));
                }
                return Ok(Some(std::mem::take(&mut self.carry)));
            }
            if let Some(end) = end {
                let rest = self.carry.split_off(end);
                return Ok(Some(std::mem::replace(&mut self.carry, rest)));
            }
            if wanted >= MAX_RECORD_BYTES {
                let message = format!(
                    "the record after row {} is longer than {} MiB; is this CSV?",
                    self.rows,
                    MAX_RECORD_BYTES >> 20
                );
                return Err(Error::format(&self.path, message));
            }
            wanted *= 2;
        }
    }

    fn fill(&mut self, wanted: usize) -> Result<()> {
        let missing = wanted.saturating_sub(self.carry.len());
        if self.ended || missing == 0 {
            return Ok(());
        }
        self.carry.reserve(missing);
        let got =
            self.reader.by_ref().take(missing as u64).read_to_end(&mut self.carry).map_err(|source| {
                match source.kind() {
                    io::ErrorKind::UnexpectedEof => {
                        Error::format(&self.path, "the gzip stream is cut short; fetch the file again")
                    }
                    io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                        Error::format(&self.path, format!("the gzip stream is broken: {source}"))
                    }
                    _ => Error::Io { path: self.path.clone(), source },
                }
            })?;
        self.ended = got < missing;
        Ok(())
    }
}
