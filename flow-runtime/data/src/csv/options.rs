//! How a CSV file is written, stated.

use std::collections::BTreeMap;

use chrono::format::{Item, StrftimeItems};
use serde::{Deserialize, Serialize};

use crate::parse::Says;
use crate::schema::{Column, Schema, Type};
use crate::{Error, Result};

/// How a CSV file is written. Unless said: fields between commas, in double quotes where need be (a quote within is
/// doubled), in UTF-8, below a header. Line ends (`\n`, `\r\n`, `\r`), a byte order mark, and gzip or zstd are
/// recognised by the file's content; blank lines are no rows.
///
/// ```
/// use flow_data::CsvOptions;
///
/// let mut german = CsvOptions::default();
/// german.separator = Some(';');
/// german.encoding = Some("windows-1252".into());
/// german.formats.insert("day".into(), vec!["%d.%m.%Y".into()]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CsvOptions {
    /// What stands between two fields. `None` finds it out: that of `,` `;` tab `|` which gives the first records the
    /// same number of fields. A first line `sep=;`, as Excel takes it, says it where a comma stands here or nothing; where
    /// something else is stated, the line is passed over. Either way it is neither header nor row.
    pub separator: Option<char>,
    /// What stands around a field that holds separators, line ends or quotes. It counts at the field's begin only: in `5"` it
    /// is a letter.
    pub quote: Option<char>,
    /// What makes the letter behind it an ordinary one, within quotes. A doubled quote is one all the same.
    pub escape: Option<char>,
    /// The encoding by a name that browsers know (`windows-1252`, `iso-8859-15`, `shift_jis`, `utf-16le`). `None` is UTF-8, or
    /// what a byte order mark says.
    pub encoding: Option<String>,
    /// The names of the columns of a file that has no header.
    pub names: Option<Vec<String>>,
    /// How many lines before the header are passed over. A first line `sep=;` is one of them; without any it goes by itself.
    pub skip_lines: usize,
    /// Passes over all lines before the first that has fields of all these names: that is the header.
    pub header_with: Vec<String>,
    /// What a line begins with that is no record.
    pub comment: Option<String>,
    /// Calls the second of two columns of one name `NAME_2`, and so on. Otherwise such a header is an error.
    pub number_repeated: bool,
    /// How days, times and moments of a column are written, in the letters of `strftime`, tried in order. A column that is not
    /// here has the forms that [`Type`](crate::Type) tells.
    pub formats: BTreeMap<String, Vec<String>>,
    /// What stands for null besides nothing at all: `NA`, `\\N`. It holds for every column, as
    /// [`Schema::with_null`](crate::Schema::with_null) does; a schema that is guessed has these texts as its own, and looks
    /// past them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nulls: Vec<String>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            separator: Some(','),
            quote: Some('"'),
            escape: None,
            encoding: None,
            names: None,
            skip_lines: 0,
            header_with: Vec::new(),
            comment: None,
            number_repeated: false,
            formats: BTreeMap::new(),
            nulls: Vec::new(),
        }
    }
}

impl CsvOptions {
    /// The one byte of what may stand in one place.
    pub(super) fn byte(what: &str, letter: Option<char>) -> Result<Option<u8>> {
        let Some(letter) = letter else {
            return Ok(None);
        };
        match u8::try_from(letter) {
            Ok(byte) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(Some(byte)),
            _ => Err(Error::Invalid(format!("the {what} of a CSV file must be one ASCII letter, not {letter:?}"))),
        }
    }

    /// The texts that stand for null, those of a schema among them.
    pub(crate) fn nulls_with(&self, schema: &Schema) -> Vec<String> {
        let others = self.nulls.iter().filter(|null| !schema.nulls().contains(null));
        schema.nulls().iter().chain(others).cloned().collect()
    }

    /// Refuses what contradicts itself.
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::Invalid(message));
        if self.separator.is_some() && (self.separator == self.quote || self.separator == self.escape) {
            return invalid(format!(
                "{:?} cannot be the separator and a quote at once",
                self.separator.unwrap_or_default()
            ));
        }
        if self.names.is_some() && !self.header_with.is_empty() {
            return invalid("a CSV file either has a header (`header_with`) or has none (`names`)".into());
        }
        if self.names.as_ref().is_some_and(Vec::is_empty) {
            return invalid("`names` names no column".into());
        }
        if self.comment.as_ref().is_some_and(String::is_empty) {
            return invalid("every line begins with an empty `comment`; say `None` if there are no comments".into());
        }
        for (column, formats) in &self.formats {
            if formats.is_empty() {
                return invalid(format!("column `{column}` has no format"));
            }
            if let Some(wrong) = formats.iter().find(|f| StrftimeItems::new(f).any(|item| item == Item::Error)) {
                return invalid(format!(
                    "`{wrong}` of column `{column}` is no format; one looks like %d.%m.%Y %H:%M:%S"
                ));
            }
            for format in formats {
                let says = Says::of(format);
                // What cannot be told from midnight would become that.
                if says.clock && !says.whole_clock {
                    return invalid(format!(
                        "`{format}` of column `{column}` is only a part of a time; one has hour and minute: %H:%M or %I:%M %p"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The formats of a column, none where none is stated. Those of a time tell nothing else, which would be lost.
    pub(crate) fn formats_of(&self, column: &Column) -> Result<Vec<String>> {
        let formats = self.formats.get(&column.name).cloned().unwrap_or_default();
        let is_more = |format: &&String| {
            let says = Says::of(format);
            says.date || says.zone
        };
        match formats.iter().find(is_more).filter(|_| column.kind == Type::Time) {
            None => Ok(formats),
            Some(format) => Err(Error::Invalid(format!(
                "`{format}` of column `{}` has a day or a zone, which a time has not; state the column as a timestamp, or \
                 a format like %H:%M:%S",
                column.name
            ))),
        }
    }
}
