//! A cautious guess at a file's types, and a look at the whole file where the guess was wrong.

use std::path::Path;

use crate::batches::ReadRecords;
use crate::columns::Reading;
use crate::csv::Chunks;
use crate::json::JsonLines;
use crate::records::Records;
use crate::schema::{Schema, Type};
use crate::{CsvOptions, Error, Progress, Result, parse};

/// How many rows and bytes are looked at, at most.
const SAMPLE_ROWS: u64 = 10_000;
const SAMPLE_BYTES: usize = 4 << 20;

/// Whole numbers beyond are not all there among the numbers with a fraction.
const EXACT: u64 = 1 << 53;

/// See [`Schema::infer_with`].
pub(crate) fn infer_csv(path: &Path, options: &CsvOptions) -> Result<Schema> {
    let (header, mut chunks) = Chunks::open(path, &Schema::default(), options)?;
    sample(&mut chunks, &header.reading, false)
}

/// The same for JSON lines.
pub(crate) fn infer_json(path: &Path, options: &CsvOptions) -> Result<Schema> {
    let (reading, mut lines) = JsonLines::open(path, &Schema::default(), options)?;
    sample(&mut lines, &reading, true)
}

/// Guesses by the first values of each column. Records that are wrong are left to those who load the file.
fn sample(reader: &mut impl ReadRecords, reading: &Reading, is_json: bool) -> Result<Schema> {
    let mut guesses: Vec<_> = reading.formats.iter().map(|formats| Guess::new(formats)).collect();
    let (mut rows, mut bytes) = (0, 0);
    while let Some(records) = reader.next()? {
        let wrong = wrong_rows(&records);
        for (at, guess) in guesses.iter_mut().enumerate() {
            let most = (SAMPLE_ROWS - rows) as usize;
            for (row, field) in records.column(at).enumerate().take(most) {
                let bytes = records.bytes(field);
                let text = std::str::from_utf8(bytes).map(str::trim);
                match text {
                    Ok("") => {}
                    _ if reading.is_null(bytes) => {}
                    _ if wrong.binary_search(&row).is_ok() => {}
                    Ok(text) => guess.see(text, is_json && field.is_quoted()),
                    Err(_) => guess.possible.clear(),
                }
            }
        }
        rows += (records.len() as u64).min(SAMPLE_ROWS - rows);
        bytes += records.text.len();
        if rows == SAMPLE_ROWS || bytes >= SAMPLE_BYTES {
            break;
        }
    }
    let kinds = reading.columns.iter().zip(&guesses).map(|(column, guess)| (column.name.clone(), guess.kind()));
    Ok(reading.nulls.iter().fold(Schema::new(kinds), Schema::with_null))
}

fn wrong_rows(records: &Records) -> Vec<usize> {
    records.wrong.iter().map(|(row, _)| *row).collect()
}

/// What a column may be by the values that were seen.
struct Guess<'a> {
    formats: &'a [String],
    possible: Vec<Type>,
    any: bool,
    /// Whether the moments have a zone, once one was seen.
    zoned: Option<bool>,
}

impl<'a> Guess<'a> {
    /// In the order in which they are preferred.
    fn new(formats: &'a [String]) -> Self {
        let possible = vec![Type::Int, Type::Float, Type::Date, Type::Timestamp, Type::Bool];
        Self { formats, possible, any: false, zoned: None }
    }

    /// Looks at a value. A text that is marked as one is no number.
    fn see(&mut self, text: &str, is_text: bool) {
        self.any = true;
        let formats = self.formats;
        self.possible.retain(|kind| match kind {
            Type::Int => !is_text && is_plain_number(text) && text.parse::<i64>().is_ok(),
            Type::Float if is_text || !is_plain_number(text) => false,
            Type::Float if is_whole(text) => text.parse::<i64>().is_ok(),
            Type::Float => parse::float(text.as_bytes()).is_some(),
            // Without its zone, a moment among others that have none would be another one.
            Type::Timestamp => has_zone(text, formats).is_some_and(|zoned| *self.zoned.get_or_insert(zoned) == zoned),
            Type::Date if formats.is_empty() => parse::date(text).is_some(),
            Type::Date => parse::date_in(text.as_bytes(), formats).is_some() && !parse::has_time(text, formats),
            Type::Bool => !is_text && (text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")),
            // These are never guessed.
            Type::Decimal(..) | Type::Time | Type::Timestamptz | Type::Uuid | Type::Json | Type::Text => true,
        });
    }

    fn kind(&self) -> Type {
        self.possible.first().filter(|_| self.any).copied().unwrap_or(Type::Text)
    }
}

/// Whether a moment has a zone; nothing if the text is none.
fn has_zone(text: &str, formats: &[String]) -> Option<bool> {
    let text = text.as_bytes();
    if formats.is_empty() {
        let micros = parse::Days::default().timestamp(text)?;
        return Some(parse::Days::default().timestamptz(text) == Some(micros));
    }
    let micros = parse::timestamp_in(text, formats)?;
    Some(parse::timestamptz_in(text, formats) == Some(micros))
}

/// A number that means an amount: no `007`, `+1`, `nan`, `inf`.
fn is_plain_number(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or(text).as_bytes();
    match number {
        [b'0', next, ..] => *next == b'.',
        [first, ..] => first.is_ascii_digit() || *first == b'.',
        [] => false,
    }
}

/// Written without a fraction: beyond 64 bits it is a code, and a float would not hold it.
fn is_whole(text: &str) -> bool {
    !text.contains(['.', 'e', 'E'])
}

/// Reads the whole file and gives each stated column the narrowest type that holds all of its values: its own, a number with a
/// fraction instead of a whole one, or text.
pub(crate) fn widen(
    mut reader: impl ReadRecords,
    reading: &Reading,
    schema: &Schema,
    total: u64,
    progress: &dyn Progress,
) -> Result<Schema> {
    let mut columns: Vec<_> = reading.columns.iter().map(|column| Widening::of(column.kind)).collect();
    while let Some(records) = reader.next()? {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        let wrong = wrong_rows(&records);
        for (at, column) in columns.iter_mut().enumerate() {
            for (row, field) in records.column(at).enumerate() {
                if column.kind == Type::Text {
                    break;
                }
                let bytes = records.bytes(field);
                let text = bytes.trim_ascii();
                let is_value = !text.is_empty() && !reading.is_null(bytes) && wrong.binary_search(&row).is_err();
                if is_value {
                    // JSON is looked at with what is around it: not all that is blank elsewhere is so there.
                    column.see(text, |kind| reading.holds(at, kind, if kind == Type::Json { bytes } else { text }));
                }
            }
        }
        progress.report(records.position, Some(total));
    }
    let mut widened = schema.clone();
    for (column, now) in reading.columns.iter().zip(&columns).filter(|(column, now)| column.kind != now.kind) {
        tracing::info!(column = column.name, "not all values are {}: the column is {}", column.kind.wanted(), now.kind);
        widened = widened.with(&column.name, now.kind);
    }
    Ok(widened)
}

/// A column on its way to a type that holds all of its values.
struct Widening {
    stated: Type,
    kind: Type,
    /// No whole number was seen that a number with a fraction cannot hold.
    exact: bool,
}

impl Widening {
    fn of(stated: Type) -> Self {
        Self { stated, kind: stated, exact: true }
    }

    fn see(&mut self, text: &[u8], holds: impl Fn(Type) -> bool) {
        let is_exact = || match parse::int(text) {
            Some(number) => number.unsigned_abs() <= EXACT,
            None => text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')),
        };
        match self.kind {
            Type::Int if holds(Type::Int) => self.exact &= is_exact(),
            Type::Int if self.exact && holds(Type::Float) && is_exact() => self.kind = Type::Float,
            Type::Float if self.stated == Type::Int && !is_exact() => self.kind = Type::Text,
            kind if kind != Type::Int && holds(kind) => {}
            _ => self.kind = Type::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(texts: &[&str], formats: &[String]) -> Type {
        let mut guess = Guess::new(formats);
        texts.iter().for_each(|text| guess.see(text, false));
        guess.kind()
    }

    #[test]
    fn a_type_is_guessed_only_when_every_value_is_of_it() {
        for (texts, want) in [
            (vec!["1", "-2", "0"], Type::Int),
            (vec!["1", "2.5", ".20", "0.5", "1e3"], Type::Float),
            (vec!["1", "007"], Type::Text),
            (vec!["1", "+1"], Type::Text),
            (vec!["nan"], Type::Text),
            (vec!["1", "1e400"], Type::Text),
            (vec!["99999999999999999999"], Type::Text),
            (vec!["2021-01-01 00:00:00", "2021-01-01T01:00:00"], Type::Timestamp),
            (vec!["2021-01-01 00:00:00Z", "2021-01-01T01:00:00+01:00"], Type::Timestamp),
            (vec!["2021-01-01 00:00:00", "2021-01-01T01:00:00Z"], Type::Text),
            (vec!["2021-01-01 00:00:00+00", "2021-01-01 01:00:00"], Type::Text),
            (vec!["08:05:00"], Type::Text),
            (vec!["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"], Type::Text),
            (vec!["{\"a\":1}"], Type::Text),
            (vec!["2021-01-01"], Type::Date),
            (vec!["2021-01-01", "2021-01-01 00:00:00"], Type::Text),
            (vec!["true", "FALSE"], Type::Bool),
            (vec!["t", "f"], Type::Text),
            (vec![], Type::Text),
        ] {
            assert_eq!(guess(&texts, &[]), want, "{texts:?}");
        }
    }

    #[test]
    fn stated_formats_tell_days_from_moments() {
        let formats = ["%d.%m.%Y".to_owned(), "%d.%m.%Y %H:%M".to_owned()];
        assert_eq!(guess(&["31.01.2021"], &formats), Type::Date);
        assert_eq!(guess(&["31.01.2021 08:05"], &formats), Type::Timestamp);
        assert_eq!(guess(&["31.01.2021 08:05", "31.01.2021"], &formats), Type::Timestamp);
        assert_eq!(guess(&["2021-01-31"], &formats), Type::Text);
        let formats = ["%d.%m.%Y %H:%M %z".to_owned(), "%d.%m.%Y %H:%M".to_owned()];
        assert_eq!(guess(&["31.01.2021 08:05 +0100", "31.01.2021 08:05 +0000"], &formats), Type::Timestamp);
        assert_eq!(guess(&["31.01.2021 08:05 +0100", "31.01.2021 08:05"], &formats), Type::Text);
    }

    #[test]
    fn a_column_is_widened_no_further_than_needed_and_never_loses_a_digit() {
        for (stated, texts, want) in [
            (Type::Int, vec!["1", "2"], Type::Int),
            (Type::Int, vec!["1", "2.5", "3"], Type::Float),
            (Type::Int, vec!["1", "2.5", "x"], Type::Text),
            (Type::Int, vec!["x"], Type::Text),
            (Type::Int, vec!["9007199254740993", "2.5"], Type::Text),
            (Type::Int, vec!["2.5", "9007199254740993"], Type::Text),
            (Type::Int, vec!["1", "99999999999999999999"], Type::Text),
            (Type::Float, vec!["1", "1e9"], Type::Float),
            (Type::Float, vec!["1", "1 km"], Type::Text),
            (Type::Float, vec!["1", "-1e400"], Type::Text),
            (Type::Date, vec!["2021-01-01", "2021-01-01 00:00:00"], Type::Text),
            (Type::Bool, vec!["t", "2"], Type::Text),
            (Type::Decimal(5, 2), vec!["1", "2.50"], Type::Decimal(5, 2)),
            (Type::Decimal(5, 2), vec!["1", "2.505"], Type::Text),
            (Type::Time, vec!["08:05", "24:00:00"], Type::Text),
            (Type::Timestamptz, vec!["2021-01-01 00:00:00Z", "2021-01-01 00:00:00"], Type::Text),
            (Type::Json, vec!["{}", "[1]"], Type::Json),
            (Type::Json, vec!["{}", "x"], Type::Text),
        ] {
            let mut column = Widening::of(stated);
            for text in &texts {
                let reading = Reading { columns: Vec::new(), nulls: Vec::new(), formats: vec![Vec::new()] };
                column.see(text.as_bytes(), |kind| reading.holds(0, kind, text.as_bytes()));
            }
            assert_eq!(column.kind, want, "{texts:?}");
        }
    }
}
