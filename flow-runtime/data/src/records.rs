//! Records of a text file, cut into fields that have no types yet.

/// One field: a range of a text. One that is blank and was not quoted is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    start: u32,
    /// The length, and in the upper two bits what is special.
    length: u32,
}

/// The field was quoted: nothing in it is a text without letters.
const QUOTED: u32 = 1 << 31;
/// The field's text is not in the file as such; it stands among the decoded ones.
const DECODED: u32 = 1 << 30;

impl Field {
    pub(crate) const BLANK: Self = Self { start: 0, length: 0 };

    #[inline]
    pub(crate) fn plain(start: usize, end: usize) -> Self {
        Self { start: start as u32, length: (end - start) as u32 }
    }

    pub(crate) fn quoted(start: usize, end: usize) -> Self {
        Self { start: start as u32, length: (end - start) as u32 | QUOTED }
    }

    pub(crate) fn decoded(start: usize, end: usize) -> Self {
        Self { start: start as u32, length: (end - start) as u32 | QUOTED | DECODED }
    }

    /// A value that is no text, but is not to be found as such in the file.
    pub(crate) fn token(start: usize, end: usize) -> Self {
        Self { start: start as u32, length: (end - start) as u32 | DECODED }
    }

    pub(crate) fn is_quoted(self) -> bool {
        self.length & QUOTED != 0
    }

    /// Nothing at all stands there.
    #[inline]
    pub(crate) fn is_blank(self) -> bool {
        self.length == 0
    }
}

/// What is wrong with a record, whatever its types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It has so many fields.
    Fields(usize),
    /// A field goes on behind its closing quote.
    AfterQuote(usize),
    /// Something else, in words.
    Other(String),
}

impl Wrong {
    /// What is wrong, behind `row N`.
    pub(crate) fn text(&self, width: usize) -> String {
        match self {
            Self::Fields(fields) => format!("has {fields} fields, the header has {width}"),
            Self::AfterQuote(field) => format!("has text behind the closing quote of field {}", field + 1),
            Self::Other(text) => text.clone(),
        }
    }
}

/// Some records that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// As the file has it, in UTF-8 as far as it is one.
    pub(crate) text: Vec<u8>,
    /// Fields that stand differently in the file.
    pub(crate) decoded: Vec<u8>,
    /// How many fields each record has here. Missing ones are blank, surplus ones are left out.
    pub(crate) width: usize,
    pub(crate) fields: Vec<Field>,
    /// Where each record begins and ends in the text, without its line end.
    pub(crate) bounds: Vec<(u32, u32)>,
    /// Records that are wrong, by their place among these, in order; none comes twice.
    pub(crate) wrong: Vec<(usize, Wrong)>,
    /// The number of the first record, from 1.
    pub(crate) first_row: u64,
    /// How much of the file on disk has been read so far.
    pub(crate) position: u64,
    /// What stands between the fields of the text.
    pub(crate) separator: u8,
}

impl Records {
    pub(crate) fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// The same with room for so many fields.
    pub(crate) fn with_room(width: usize, fields: usize) -> Self {
        let (fields, bounds) = (Vec::with_capacity(fields), Vec::with_capacity(fields / width.max(1)));
        Self { width, fields, bounds, ..Self::default() }
    }

    /// For one record, which keeps all of its fields.
    pub(crate) fn of_any_width() -> Self {
        Self::new(0)
    }

    pub(crate) fn len(&self) -> usize {
        self.bounds.len()
    }

    /// The bytes of a field.
    #[inline]
    pub(crate) fn bytes(&self, field: Field) -> &[u8] {
        let from = if field.length & DECODED == 0 { &self.text } else { &self.decoded };
        let start = field.start as usize;
        &from[start..start + (field.length & !(QUOTED | DECODED)) as usize]
    }

    /// The same as text, given that all of the records' text is one. `None` if it stands among the decoded ones.
    #[inline]
    pub(crate) fn text_of<'a>(&self, field: Field, text: &'a str) -> Option<&'a str> {
        let start = field.start as usize;
        let end = start + (field.length & !(QUOTED | DECODED)) as usize;
        if field.length & DECODED == 0 { text.get(start..end) } else { None }
    }

    /// The fields of one column, from the top.
    #[inline]
    pub(crate) fn column(&self, at: usize) -> impl Iterator<Item = Field> + '_ {
        self.fields.iter().skip(at).step_by(self.width).copied()
    }

    /// One record as it stands in the file.
    pub(crate) fn record(&self, row: usize) -> &[u8] {
        let (start, end) = self.bounds[row];
        &self.text[start as usize..end as usize]
    }

    /// All records as they stand in the file, a line each, for a reader that takes a quote anywhere for the beginning of a quoted
    /// text. Fails with the place of the first record that it would not take as it is meant, and what is wrong with it.
    pub(crate) fn as_lines(&self) -> Result<Vec<u8>, (usize, String)> {
        if let Some((row, wrong)) = self.wrong.first() {
            return Err((*row, wrong.text(self.width)));
        }
        if self.separator != b',' {
            let message = format!("is separated by {:?} and not by commas; load it parsed", char::from(self.separator));
            return Err((0, message));
        }
        let stray = |field: &Field| !field.is_quoted() && memchr::memchr(b'"', self.bytes(*field)).is_some();
        if let Some(at) = self.fields.iter().position(stray) {
            let message = format!("has a quote inside of field {}; load it parsed", at % self.width.max(1) + 1);
            return Err((at / self.width.max(1), message));
        }
        let mut lines = Vec::with_capacity(self.text.len() + 1);
        for row in 0..self.len() {
            lines.extend_from_slice(self.record(row));
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// Ends a record whose fields begin at `first_field`.
    #[inline]
    pub(crate) fn end_record(&mut self, first_field: usize, start: usize, end: usize) {
        let fields = self.fields.len() - first_field;
        if fields != self.width && self.width > 0 {
            // A field that goes on behind its quote explains a wrong number of them.
            let row = self.bounds.len();
            if self.wrong.last().is_none_or(|(last, _)| *last != row) {
                self.wrong.push((row, Wrong::Fields(fields)));
            }
            self.fields.resize(first_field + self.width, Field::BLANK);
        }
        self.bounds.push((start as u32, end as u32));
    }
}
