//! JSON lines as records: one object on each line, its keys are the columns.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use memchr::{memchr, memrchr};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::batches::{ReadRecords, TextBatches};
use crate::columns::{Converter, Reading};
use crate::error::shorten;
use crate::misfit::Misfit;
use crate::records::{Field, Records, Wrong};
use crate::schema::{Column, Schema, Type};
use crate::source::{Hash, Source};
use crate::{CsvOptions, Error, Result};

/// How much text is looked at at once; keys that are not stated must be in the first such piece.
const CHUNK_BYTES: usize = 1 << 20;
/// The longest line that is believed.
const MAX_LINE_BYTES: usize = 64 << 20;

/// Reads a file of JSON lines chunk by chunk.
pub(crate) struct JsonLines {
    source: Source,
    carry: Vec<u8>,
    ended: bool,
    keys: Keys,
    rows: u64,
}

/// Columns by their keys.
#[derive(Default)]
struct Keys {
    places: HashMap<String, usize>,
    /// For each column the number of the last line that had it.
    seen: Vec<u64>,
    line: u64,
    /// The columns that keep a value as JSON, and the texts that are null there, too.
    json: Vec<usize>,
    nulls: Vec<String>,
    /// Keys that nobody has heard of become columns.
    grows: bool,
}

impl JsonLines {
    /// Opens a file. Its columns are the stated ones, then those that its first lines have.
    /// Of the options only the encoding, the formats and the nulls matter.
    pub(crate) fn open(path: &Path, schema: &Schema, options: &CsvOptions) -> Result<(Reading, Self)> {
        options.check()?;
        schema.check()?;
        let source = Source::open(path, options.encoding.as_deref())?;
        let mut lines = Self { source, carry: Vec::new(), ended: false, keys: Keys::default(), rows: 0 };
        let mut columns = schema.columns().to_vec();
        for column in &columns {
            lines.keys.place_of(&column.name, true);
        }
        lines.keys.json = (0..columns.len()).filter(|at| columns[*at].kind == Type::Json).collect();
        lines.keys.nulls = options.nulls_with(schema);
        let end = lines.whole_lines()?;
        lines.keys.grows = true;
        let mut records = Records::new(columns.len());
        lines.keys.read(&lines.carry[..end], &mut records);
        lines.keys.grows = false;
        let mut names: Vec<_> = lines.keys.places.iter().filter(|(_, at)| **at >= columns.len()).collect();
        names.sort_by_key(|(_, at)| **at);
        columns.extend(names.into_iter().map(|(name, _)| Column { name: name.clone(), kind: Type::Text }));
        if columns.is_empty() {
            let message = if end == 0 { "the file is empty" } else { "no line is a JSON object with a key" };
            return Err(Error::format(path, message));
        }
        if let Some(name) = options.formats.keys().find(|name| columns.iter().all(|c| c.name != **name)) {
            let message = format!("a format is stated for `{name}`, which is no column");
            return Err(Error::columns(path.display().to_string(), message));
        }
        let formats = columns.iter().map(|column| options.formats_of(column)).collect::<Result<_>>()?;
        Ok((Reading { columns, nulls: lines.keys.nulls.clone(), formats }, lines))
    }

    /// Reads on until there is a whole line. Returns where the last one ends; zero at the end of the file.
    fn whole_lines(&mut self) -> Result<usize> {
        let mut wanted = CHUNK_BYTES;
        loop {
            let missing = wanted.saturating_sub(self.carry.len());
            if !self.ended && missing > 0 {
                self.ended = self.source.read(missing, &mut self.carry)? < missing;
            }
            if self.ended {
                return Ok(self.carry.len());
            }
            if let Some(at) = memrchr(b'\n', &self.carry) {
                return Ok(at + 1);
            }
            if wanted >= MAX_LINE_BYTES {
                let most = MAX_LINE_BYTES >> 20;
                let message =
                    format!("the line after row {} is longer than {most} MiB; is this JSON lines?", self.rows);
                return Err(Error::format(self.source.path(), message));
            }
            wanted *= 2;
        }
    }
}

impl ReadRecords for JsonLines {
    fn next(&mut self) -> Result<Option<Records>> {
        loop {
            let end = self.whole_lines()?;
            if end == 0 {
                return Ok(None);
            }
            let rest = self.carry.split_off(end);
            let text = std::mem::replace(&mut self.carry, rest);
            let mut records = Records::new(self.keys.seen.len());
            self.keys.read(&text, &mut records);
            if records.len() > 0 {
                records.text = text;
                records.first_row = self.rows + 1;
                records.position = self.source.position();
                self.rows += records.len() as u64;
                return Ok(Some(records));
            }
        }
    }

    fn hash(&self) -> Hash {
        self.source.hash()
    }
}

impl Keys {
    fn place_of(&mut self, key: &str, new: bool) -> Option<usize> {
        if let Some(at) = self.places.get(key) {
            return Some(*at);
        }
        new.then(|| {
            self.seen.push(0);
            self.places.insert(key.to_owned(), self.seen.len() - 1);
            self.seen.len() - 1
        })
    }

    /// Adds a record for each line that is not blank.
    fn read(&mut self, text: &[u8], records: &mut Records) {
        let mut at = 0;
        while at < text.len() {
            let end = memchr(b'\n', &text[at..]).map_or(text.len(), |n| at + n);
            let line = text[at..end].trim_ascii();
            if !line.is_empty() {
                let start = at + text[at..end].len() - text[at..end].trim_ascii_start().len();
                self.read_line(line, start, records);
            }
            at = end + 1;
        }
    }

    fn read_line(&mut self, line: &[u8], start: usize, records: &mut Records) {
        self.line += 1;
        let first_field = records.fields.len();
        records.fields.resize(first_field + records.width, Field::BLANK);
        let mut read = Line { keys: self, first_field, wrong: None, records };
        let mut json = serde_json::Deserializer::from_slice(line);
        let outcome = (&mut read).deserialize(&mut json).and_then(|()| json.end());
        let wrong = match outcome {
            Ok(()) => read.wrong,
            Err(error) => {
                read.records.fields[first_field..].fill(Field::BLANK);
                let message = error.to_string();
                let message = message.replace("line 1 column", "column");
                Some(format!("is no JSON object: {message}"))
            }
        };
        let row = records.len();
        if let Some(wrong) = wrong {
            records.wrong.push((row, Wrong::Other(wrong)));
        }
        records.end_record(first_field, start, start + line.len());
    }
}

/// One line that is being read.
struct Line<'a> {
    keys: &'a mut Keys,
    records: &'a mut Records,
    first_field: usize,
    wrong: Option<String>,
}

/// A text that is borrowed from the line where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for &mut Line<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Line<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            let grows = self.keys.grows;
            let Some(at) = self.keys.place_of(&key, grows) else {
                let message = || format!("has the key `{}`, which is no column", shorten(&key));
                self.wrong.get_or_insert_with(message);
                continue;
            };
            if std::mem::replace(&mut self.keys.seen[at], self.keys.line) == self.keys.line {
                self.wrong.get_or_insert_with(|| format!("has the key `{}` twice", shorten(&key)));
                continue;
            }
            if at < self.records.width {
                let is_json = self.keys.json.contains(&at);
                self.records.fields[self.first_field + at] =
                    self.field(value.get(), is_json).map_err(A::Error::custom)?;
            }
        }
        Ok(())
    }
}

impl Line<'_> {
    /// A value as a field: a text without its quotes, unless it is to stay JSON, null as nothing, all else as it stands there.
    fn field(&mut self, json: &str, is_json: bool) -> serde_json::Result<Field> {
        let decoded = &mut self.records.decoded;
        let start = decoded.len();
        if json.starts_with('"') {
            let Text(text) = serde_json::from_str(json)?;
            if is_json && self.keys.nulls.iter().any(|null| *null == text) {
                return Ok(Field::BLANK);
            }
            let text = if is_json { Cow::Borrowed(json) } else { text };
            decoded.extend_from_slice(text.as_bytes());
            return Ok(Field::decoded(start, decoded.len()));
        }
        if json == "null" {
            return Ok(Field::BLANK);
        }
        decoded.extend_from_slice(json.as_bytes());
        Ok(Field::token(start, decoded.len()))
    }
}

impl TextBatches {
    /// Opens a file of JSON lines and starts reading.
    pub(crate) fn open_json(path: &Path, schema: &Schema, options: &CsvOptions, misfit: Misfit) -> Result<Self> {
        let (reading, lines) = JsonLines::open(path, schema, options)?;
        let columns = reading.columns.clone();
        let order = (0..columns.len()).collect();
        Self::start(path, lines, Converter::new(path, reading, order, misfit), columns)
    }
}
