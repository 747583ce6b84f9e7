//! A file's text, cut between records.

use std::path::Path;

use super::dialect;
use super::header::{self, Header};
use super::options::CsvOptions;
use super::seems;
use super::split::{Splitter, Step};
use crate::Result;
use crate::batches::ReadRecords;
use crate::error::Error;
use crate::records::Records;
use crate::schema::Schema;
use crate::source::{Hash, Source};

/// How much text one piece has: with its fields it stays in a core's cache while column after column is read of it.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// The longest record that is believed. Beyond, a quote was opened and never closed, or the file is no CSV.
const MAX_RECORD_BYTES: usize = 64 << 20;

/// Within so many lines the header must be found that is looked for.
const MAX_LINES_BEFORE_HEADER: usize = 1_000;

/// Reads a file chunk by chunk.
pub(crate) struct Chunks {
    source: Source,
    splitter: Splitter,
    carry: Vec<u8>,
    ended: bool,
    width: usize,
    rows: u64,
    /// How many fields the next records may have.
    fields: usize,
    /// What the file seems to be rather than CSV that is written as the options say, where nobody stated its columns.
    seems: Option<String>,
}

impl Chunks {
    /// Opens a file, reads its header and matches it to the schema.
    pub(crate) fn open(path: &Path, schema: &Schema, options: &CsvOptions) -> Result<(Header, Self)> {
        let splitter = dialect::stated(options)?;
        let source = Source::open(path, options.encoding.as_deref())?;
        let mut chunks =
            Self { source, splitter, carry: Vec::new(), ended: false, width: 0, rows: 0, fields: 0, seems: None };
        let header = chunks.begin(options).and_then(|names| {
            let names = if options.number_repeated { header::numbered(names) } else { names };
            Header::new(path, names, schema, options)
        });
        let header = match (header, chunks.seems.take()) {
            (Err(Error::Format { .. } | Error::Columns { .. }), Some(seems)) => return Err(Error::format(path, seems)),
            // No column is stated that the header was compared with.
            (Ok(_), Some(seems)) if schema.columns().is_empty() => return Err(Error::format(path, seems)),
            (header, _) => header?,
        };
        chunks.width = header.reading.columns.len();
        Ok((header, chunks))
    }

    /// The same without the SHA-256 of the file.
    pub(crate) fn unhashed(mut self) -> Self {
        self.source.unhashed();
        self
    }

    /// Passes over what stands before the records. Returns the columns' names.
    fn begin(&mut self, options: &CsvOptions) -> Result<Vec<String>> {
        self.fill(CHUNK_BYTES)?;
        self.splitter.line_end = dialect::line_end(&self.splitter, &self.carry);
        let said = dialect::said(&self.splitter, &self.carry);
        if said.is_some() && options.skip_lines == 0 {
            self.skip_line()?;
        }
        for skipped in 0..options.skip_lines {
            if !self.skip_line()? {
                let message = format!("{} lines are to be passed over, the file has {skipped}", options.skip_lines);
                return Err(Error::format(self.source.path(), message));
            }
        }
        self.splitter.separator = match (options.separator, said) {
            // A comma stands there where nothing is stated.
            (None | Some(','), Some(said)) => said,
            (None, None) => dialect::separator(&self.splitter, &self.carry, self.ended),
            (Some(_), _) => self.splitter.separator,
        };
        if let Some(names) = &options.names {
            return Ok(names.clone());
        }
        if options.header_with.is_empty() {
            self.seems = seems::other_than_csv(&self.carry).map(str::to_owned);
            return match self.names(false)? {
                Some((names, next)) => {
                    if names.len() == 1 && self.seems.is_none() {
                        self.seems = seems::other_separator(&self.splitter, &self.carry, self.ended);
                    }
                    self.carry.drain(..next);
                    Ok(names)
                }
                None => Err(Error::format(self.source.path(), "the file is empty; not even a header is there")),
            };
        }
        let mut lines = 0;
        while lines < MAX_LINES_BEFORE_HEADER {
            if let Some((names, next)) = self.names(true)?
                && options.header_with.iter().all(|name| names.contains(name))
            {
                self.carry.drain(..next);
                return Ok(names);
            }
            if !self.skip_line()? {
                break;
            }
            lines += 1;
        }
        let wanted: Vec<_> = options.header_with.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("none of the first {lines} lines is a header with {}", wanted.join(", "));
        Err(Error::format(self.source.path(), message))
    }

    /// The fields of the next record and where the one behind it begins. In a `trial` the record may be anything.
    fn names(&mut self, trial: bool) -> Result<Option<(Vec<String>, usize)>> {
        let mut wanted = CHUNK_BYTES;
        loop {
            self.fill(wanted)?;
            if self.carry.is_empty() {
                return Ok(None);
            }
            let mut records = Records::of_any_width();
            match self.splitter.step(&self.carry, 0, self.ended, &mut records) {
                Step::Nothing(_) if trial => return Ok(None),
                Step::Nothing(next) => drop(self.carry.drain(..next)),
                Step::Record(next) => {
                    records.text = self.carry[..next].to_vec();
                    return match header::names(&records) {
                        Some(names) => Ok(Some((names, next))),
                        None if trial => Ok(None),
                        None => {
                            let message = "the header is no text in UTF-8; state the file's encoding";
                            Err(Error::format(self.source.path(), message))
                        }
                    };
                }
                Step::Unfinished | Step::Unclosed if trial => return Ok(None),
                Step::Unclosed => return Err(self.unclosed("the header")),
                Step::Unfinished => self.wants_more(&mut wanted)?,
            }
        }
    }

    /// Passes over one line, whatever it holds. False at the end of the file.
    fn skip_line(&mut self) -> Result<bool> {
        let mut wanted = CHUNK_BYTES;
        loop {
            self.fill(wanted)?;
            match memchr::memchr(self.splitter.line_end, &self.carry) {
                Some(at) => drop(self.carry.drain(..=at)),
                None if self.ended && self.carry.is_empty() => return Ok(false),
                None if self.ended => self.carry.clear(),
                None => {
                    self.wants_more(&mut wanted)?;
                    continue;
                }
            }
            return Ok(true);
        }
    }

    fn wants_more(&self, wanted: &mut usize) -> Result<()> {
        if *wanted < MAX_RECORD_BYTES {
            *wanted *= 2;
            return Ok(());
        }
        let most = MAX_RECORD_BYTES >> 20;
        let message = format!("the record after row {} is longer than {most} MiB; is this CSV?", self.rows);
        Err(Error::format(self.source.path(), message))
    }

    fn unclosed(&self, place: &str) -> Error {
        Error::format(self.source.path(), format!("a quote is opened in {place} and never closed"))
    }

    fn fill(&mut self, wanted: usize) -> Result<()> {
        let missing = wanted.saturating_sub(self.carry.len());
        if !self.ended && missing > 0 {
            self.ended = self.source.read(missing, &mut self.carry)? < missing;
        }
        Ok(())
    }
}

impl ReadRecords for Chunks {
    fn next(&mut self) -> Result<Option<Records>> {
        let mut wanted = CHUNK_BYTES;
        loop {
            self.fill(wanted)?;
            if self.carry.is_empty() {
                return Ok(None);
            }
            let mut records = Records::with_room(self.width, self.fields);
            let end = self.splitter.split(&self.carry, self.ended, &mut records);
            let end = end.map_err(|_| self.unclosed(&format!("row {}", self.rows + records.len() as u64 + 1)))?;
            if end == 0 {
                self.wants_more(&mut wanted)?;
                continue;
            }
            let rest = self.carry.split_off(end);
            records.text = std::mem::replace(&mut self.carry, rest);
            if records.len() == 0 {
                continue;
            }
            records.first_row = self.rows + 1;
            records.position = self.source.position();
            records.separator = self.splitter.separator;
            self.rows += records.len() as u64;
            self.fields = records.fields.len() + records.fields.len() / 8;
            return Ok(Some(records));
        }
    }

    fn hash(&self) -> Hash {
        self.source.hash()
    }
}
