//! Cuts text into records and fields. The well-known crates do not tell a field that is quoted and empty (a text) from one
//! that is blank (null), nor what a record looked like.

use memchr::{memchr, memchr2, memrchr};

use crate::records::{Field, Records, Wrong};

/// How a file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splitter {
    pub(crate) separator: u8,
    pub(crate) quote: Option<u8>,
    /// Makes the byte behind it an ordinary one, within quotes.
    pub(crate) escape: Option<u8>,
    /// What a line begins with that is no record.
    pub(crate) comment: Option<Vec<u8>>,
    /// `\n`, before which a `\r` is dropped, or `\r`.
    pub(crate) line_end: u8,
}

/// What stands at a place of the text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record; the next begins there.
    Record(usize),
    /// A blank line or a comment; what follows begins there.
    Nothing(usize),
    /// More text is needed to know.
    Unfinished,
    /// The file ends within quotes.
    Unclosed,
}

/// A quote is opened and never closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unclosed;

impl Splitter {
    /// Adds the whole records of the text. `last` says that the file ends with it. Returns where the first record begins
    /// that is not whole.
    pub(crate) fn split(&self, text: &[u8], last: bool, records: &mut Records) -> Result<usize, Unclosed> {
        if self.comment.is_none() {
            match self.quote.filter(|quote| memchr(*quote, text).is_some()) {
                None => return Ok(self.split_plain(text, last, records)),
                Some(quote) if self.escape.is_none_or(|escape| escape == quote) => {
                    return self.split_quoted(text, last, quote, records);
                }
                Some(_) => {}
            }
        }
        let mut at = 0;
        while at < text.len() {
            match self.step(text, at, last, records) {
                Step::Record(next) | Step::Nothing(next) => at = next,
                Step::Unfinished => break,
                Step::Unclosed => return Err(Unclosed),
            }
        }
        Ok(at)
    }

    /// The same for text that has neither quotes nor comments.
    fn split_plain(&self, text: &[u8], last: bool, records: &mut Records) -> usize {
        let end = if last { text.len() } else { memrchr(self.line_end, text).map_or(0, |at| at + 1) };
        let text = &text[..end];
        let (mut record, mut field, mut first_field) = (0, 0, records.fields.len());
        each_of([self.separator, self.line_end], text, |at| {
            if text[at] == self.separator {
                records.fields.push(Field::plain(field, at));
                field = at + 1;
                return;
            }
            let end = self.without_return(text, field, at);
            if record < end {
                records.fields.push(Field::plain(field, end));
                records.end_record(first_field, record, end);
                first_field = records.fields.len();
            }
            record = at + 1;
            field = record;
        });
        let end = self.without_return(text, field, text.len());
        if record < end {
            records.fields.push(Field::plain(field, end));
            records.end_record(first_field, record, end);
        }
        text.len()
    }

    /// The same for text with quotes, but no other escapes.
    fn split_quoted(&self, text: &[u8], last: bool, quote: u8, records: &mut Records) -> Result<usize, Unclosed> {
        let mut state = Quoted { record: 0, field: 0, first_field: records.fields.len(), ..Quoted::default() };
        each_of([self.separator, self.line_end, quote], text, |at| {
            if at < state.skip_to {
                return;
            }
            let byte = text[at];
            if byte == quote {
                if state.open {
                    if text.get(at + 1) == Some(&quote) {
                        state.doubled = true;
                        state.skip_to = at + 2;
                    } else {
                        (state.open, state.close) = (false, Some(at));
                    }
                } else if at == state.field {
                    state.open = true;
                }
            } else if !state.open {
                self.end_field(text, at, byte == self.line_end, &mut state, records);
            }
        });
        if last && state.open {
            return Err(Unclosed);
        }
        if last {
            // As if one more line end were there; a blank line that ends the file is none.
            self.end_field(text, text.len(), true, &mut state, records);
            return Ok(text.len());
        }
        records.fields.truncate(state.first_field);
        records.wrong.truncate(records.wrong.partition_point(|(row, _)| *row < records.bounds.len()));
        Ok(state.record)
    }

    /// Ends a field, and with it its record, at a separator or a line end.
    #[inline]
    fn end_field(&self, text: &[u8], at: usize, ends_record: bool, state: &mut Quoted, records: &mut Records) {
        let end = if ends_record { self.without_return(text, state.field, at) } else { at };
        match state.close.take() {
            None if ends_record && end == state.record => {
                (state.record, state.field) = (at + 1, at + 1);
                return;
            }
            None => records.fields.push(Field::plain(state.field, end)),
            Some(close) if close + 1 == end => {
                let inner = state.field + 1..close;
                if state.doubled {
                    let begun = records.decoded.len();
                    undouble(&text[inner], text[close], &mut records.decoded);
                    records.fields.push(Field::decoded(begun, records.decoded.len()));
                } else {
                    records.fields.push(Field::quoted(inner.start, inner.end));
                }
            }
            Some(_) => {
                let number = records.fields.len() - state.first_field;
                self.text_after_quote(number, records);
            }
        }
        state.doubled = false;
        state.field = at + 1;
        if ends_record {
            records.end_record(state.first_field, state.record, end.max(state.record));
            (state.record, state.first_field) = (at + 1, records.fields.len());
        }
    }

    /// A field that goes on behind its quote: what it means nobody knows; the record itself is kept.
    fn text_after_quote(&self, number: usize, records: &mut Records) {
        let row = records.bounds.len();
        if records.wrong.last().is_none_or(|(wrong, _)| *wrong != row) {
            records.wrong.push((row, Wrong::AfterQuote(number)));
        }
        records.fields.push(Field::BLANK);
    }

    /// The one record that begins there, however it is written.
    pub(crate) fn step(&self, text: &[u8], start: usize, last: bool, records: &mut Records) -> Step {
        if let Some(comment) = &self.comment {
            let rest = &text[start..];
            if !last && rest.len() < comment.len() {
                return Step::Unfinished;
            }
            if rest.starts_with(comment) {
                return match memchr(self.line_end, rest) {
                    Some(at) => Step::Nothing(start + at + 1),
                    None if last => Step::Nothing(text.len()),
                    None => Step::Unfinished,
                };
            }
        }
        let (first_field, decoded, wrong) = (records.fields.len(), records.decoded.len(), records.wrong.len());
        let mut at = start;
        let outcome = loop {
            let end = match self.quote {
                Some(quote) if text.get(at) == Some(&quote) => {
                    self.quoted(text, at, last, records.fields.len() - first_field, records)
                }
                _ => {
                    let end = memchr2(self.separator, self.line_end, &text[at..]).map_or(text.len(), |n| at + n);
                    let is_separator = text.get(end) == Some(&self.separator);
                    let stop = if is_separator { end } else { self.without_return(text, at, end) };
                    if !is_separator && stop == start {
                        break match text.get(end) {
                            Some(_) => Step::Nothing(end + 1),
                            None if last => Step::Nothing(end),
                            None => Step::Unfinished,
                        };
                    }
                    records.fields.push(Field::plain(at, stop));
                    Ok(end)
                }
            };
            match end {
                Err(step) => break step,
                Ok(end) if text.get(end) == Some(&self.separator) => at = end + 1,
                Ok(end) if end < text.len() || last => {
                    records.end_record(first_field, start, self.without_return(text, start, end));
                    break Step::Record((end + 1).min(text.len()));
                }
                Ok(_) => break Step::Unfinished,
            }
        };
        if !matches!(outcome, Step::Record(_)) {
            records.fields.truncate(first_field);
            records.decoded.truncate(decoded);
            records.wrong.truncate(wrong);
        }
        outcome
    }

    /// Adds the field whose opening quote stands there. Returns the place of the separator or line end behind it.
    fn quoted(
        &self,
        text: &[u8],
        open: usize,
        last: bool,
        number: usize,
        records: &mut Records,
    ) -> Result<usize, Step> {
        let quote = text[open];
        let escape = self.escape.unwrap_or(quote);
        let start = open + 1;
        // What has been decoded, and from where on the text is as it stands.
        let begun = records.decoded.len();
        let mut plain = start;
        let mut is_plain = true;
        let mut at = start;
        let unfinished = || if last { Step::Unclosed } else { Step::Unfinished };
        loop {
            at += memchr2(quote, escape, &text[at..]).ok_or_else(unfinished)?;
            let next = text.get(at + 1);
            if next.is_none() && !last {
                return Err(Step::Unfinished);
            }
            let is_escape = text[at] == escape && escape != quote;
            match next {
                Some(next) if is_escape || *next == quote => {
                    records.decoded.extend_from_slice(&text[plain..at]);
                    (plain, is_plain) = (at + 1, false);
                    at += 2;
                }
                None if is_escape => return Err(Step::Unclosed),
                _ => break,
            }
        }
        let close = at;
        at += 1;
        let line_end = |at: usize| {
            let at = if self.line_end == b'\n' && text.get(at) == Some(&b'\r') { at + 1 } else { at };
            (at == text.len() || text[at] == self.line_end).then_some(at)
        };
        if text.get(at) == Some(&self.separator) || line_end(at).is_some() {
            if is_plain {
                records.fields.push(Field::quoted(start, close));
            } else {
                records.decoded.extend_from_slice(&text[plain..close]);
                records.fields.push(Field::decoded(begun, records.decoded.len()));
            }
            return Ok(line_end(at).unwrap_or(at));
        }
        records.decoded.truncate(begun);
        let end = memchr2(self.separator, self.line_end, &text[at..]).map_or(text.len(), |n| at + n);
        self.text_after_quote(number, records);
        Ok(end)
    }

    /// The end of what ends there, without the first half of a `\r\n`.
    #[inline]
    fn without_return(&self, text: &[u8], start: usize, end: usize) -> usize {
        let pair = self.line_end == b'\n' && end > start && text[end - 1] == b'\r';
        end - usize::from(pair)
    }
}

/// Where [`Splitter::split_quoted`] is.
#[derive(Default)]
struct Quoted {
    /// Where the record begins, and the field.
    record: usize,
    field: usize,
    /// How many fields there were before the record.
    first_field: usize,
    /// Within quotes.
    open: bool,
    /// The field has a doubled quote.
    doubled: bool,
    /// The place of the field's closing quote.
    close: Option<usize>,
    /// What comes before was looked at.
    skip_to: usize,
}

/// Adds a text in which every doubled quote becomes one.
fn undouble(text: &[u8], quote: u8, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr(quote, rest) {
        out.extend_from_slice(&rest[..=at]);
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Calls for every place where one of some bytes stands. Eight bytes are looked at at once: most fields are short.
#[inline]
fn each_of<const N: usize>(bytes: [u8; N], text: &[u8], mut found: impl FnMut(usize)) {
    let wide = bytes.map(|byte| u64::from_ne_bytes([byte; 8]));
    let (words, rest) = text.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let mut hits = wide.iter().fold(0, |hits, wide| hits | equal_bytes(word, *wide));
        while hits != 0 {
            found(n * 8 + (hits.trailing_zeros() >> 3) as usize);
            hits &= hits - 1;
        }
    }
    let start = words.len() * 8;
    for (n, byte) in rest.iter().enumerate() {
        if bytes.contains(byte) {
            found(start + n);
        }
    }
}

/// The highest bit of each byte that is the same in both.
#[inline]
fn equal_bytes(a: u64, b: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let different = a ^ b;
    !(((different & LOW) + LOW) | different | LOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splitter() -> Splitter {
        Splitter { separator: b',', quote: Some(b'"'), escape: None, comment: None, line_end: b'\n' }
    }

    /// The fields of each record; quoted ones in brackets.
    fn split(splitter: &Splitter, text: &str, last: bool, width: usize) -> Result<(Vec<Vec<String>>, usize), Unclosed> {
        let mut records = Records::new(width);
        let end = splitter.split(text.as_bytes(), last, &mut records)?;
        records.text = text.into();
        let show = |field: &Field| {
            let text = String::from_utf8(records.bytes(*field).to_vec()).unwrap();
            if field.is_quoted() { format!("[{text}]") } else { text }
        };
        Ok((records.fields.chunks(width).map(|row| row.iter().map(show).collect()).collect(), end))
    }

    #[test]
    fn quotes_hold_separators_line_ends_and_quotes() {
        let text = "a,\"b,\nc\",\"\"\"d\"\"\"\r\n\"\",,\" \"\n\"x\",y,\"z\"";
        let (rows, end) = split(&splitter(), text, true, 3).unwrap();
        assert_eq!(rows, [["a", "[b,\nc]", "[\"d\"]"], ["[]", "", "[ ]"], ["[x]", "y", "[z]"]]);
        assert_eq!(end, text.len());
    }

    #[test]
    fn a_quote_within_a_field_is_a_letter() {
        let (rows, _) = split(&splitter(), "5\" pipe,1\n6\" pipe,2\n", true, 2).unwrap();
        assert_eq!(rows, [["5\" pipe", "1"], ["6\" pipe", "2"]]);
    }

    #[test]
    fn what_is_not_whole_is_left() {
        for (text, end) in [
            ("a,b\nc,d", 4),
            ("a,\"b\"\nc,\"d", 6),
            ("a,\"b\"\nc,\"d\"", 6),
            ("a,\"b\"\n\"c\"\"", 6),
            ("a,\"b\"\n\"c\"\r", 6),
            ("a,b", 0),
        ] {
            let (rows, stop) = split(&splitter(), text, false, 2).unwrap();
            assert_eq!((rows.len(), stop), (usize::from(end > 0), end), "{text:?}");
        }
        assert_eq!(split(&splitter(), "a,\"b", true, 2), Err(Unclosed));
    }

    #[test]
    fn escapes_work_within_quotes() {
        let splitter = Splitter { escape: Some(b'\\'), ..splitter() };
        let (rows, _) = split(&splitter, "\"a\\\"b\",\"c\\\\\"\n\"d\"\"e\",f\\g\n", true, 2).unwrap();
        assert_eq!(rows, [["[a\"b]", "[c\\]"], ["[d\"e]", "f\\g"]]);
        assert_eq!(split(&splitter, "\"a\\", true, 1), Err(Unclosed));
    }

    #[test]
    fn comments_and_blank_lines_are_no_records() {
        let splitter = Splitter { comment: Some(b"#".to_vec()), ..splitter() };
        let text = "# it's \"so\n\r\n1,2\n\n#\n3,#4\n#end";
        assert_eq!(
            split(&splitter, text, true, 2).unwrap(),
            (vec![vec!["1".into(), "2".into()], vec!["3".into(), "#4".into()]], text.len())
        );
    }

    #[test]
    fn wrong_records_keep_their_width_and_are_told() {
        let mut records = Records::new(2);
        splitter().split(b"1\n2,3,4\n5,6\n\"7\"8,9,\n\"0\",1", true, &mut records).unwrap();
        assert_eq!(records.fields.len(), 10);
        let wrong = [(0, Wrong::Fields(1)), (1, Wrong::Fields(3)), (3, Wrong::AfterQuote(0))];
        assert_eq!(records.wrong, wrong);
    }

    #[test]
    fn both_ways_of_splitting_agree() {
        let with_comment = Splitter { comment: Some(b"\x01".to_vec()), ..splitter() };
        for text in [
            "",
            "\n",
            "a",
            "a\n",
            "\r\n\r\na,b\r\n\r",
            ",\n,,\n",
            "a,b,c\n\nlong field of many letters,x\n,",
            "\r",
            "a\r,b\r\r\n",
            "\"a\",b\n\"\"\n\n\"\"\"\",\"x\"y\r\n\"\n\",\"\r\n",
            "\"a\"\r",
            "a\"b,\"c\"\r\n\r\n\"",
            "\"\"\"",
            "\"a\"b\"c,\"d\"\n",
        ] {
            for last in [true, false] {
                let (mut plain, mut slow) = (Records::new(2), Records::new(2));
                let ends = (
                    splitter().split(text.as_bytes(), last, &mut plain),
                    with_comment.split(text.as_bytes(), last, &mut slow),
                );
                assert_eq!(ends.0, ends.1, "{text:?}");
                if ends.0.is_ok() {
                    let parts = |records: Records| (records.fields, records.decoded, records.bounds, records.wrong);
                    assert_eq!(parts(plain), parts(slow), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn every_place_of_a_byte_is_found() {
        let text: Vec<u8> = (0..=255).chain([0x2c, 0x2d, 0x0a, 0xac, 0x8a]).collect();
        let mut found = Vec::new();
        each_of([b',', b'\n'], &text, |at| found.push(at));
        assert_eq!(found, [10, 44, 256, 258]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn all_ways_of_splitting_agree(text in "[ab,,\"\"\"\n\r]{0,60}", last: bool, cr: bool) {
            let quick = Splitter { line_end: if cr { b'\r' } else { b'\n' }, ..splitter() };
            let slow = Splitter { comment: Some(b"\x01".to_vec()), ..quick.clone() };
            let (mut one, mut other) = (Records::new(2), Records::new(2));
            let ends = (quick.split(text.as_bytes(), last, &mut one), slow.split(text.as_bytes(), last, &mut other));
            proptest::prop_assert_eq!(&ends.0, &ends.1);
            if ends.0.is_ok() {
                one.text = text.clone().into_bytes();
                other.text = text.into_bytes();
                let fields = |records: &Records| -> Vec<_> {
                    records.fields.iter().map(|f| (f.is_blank(), f.is_quoted(), records.bytes(*f).to_vec())).collect()
                };
                proptest::prop_assert_eq!(fields(&one), fields(&other));
                proptest::prop_assert_eq!((one.bounds, one.wrong), (other.bounds, other.wrong));
            }
        }

        /// Records come out the same wherever the text is cut into pieces.
        #[test]
        fn pieces_make_no_difference(text in "[ab,,\"\"\n\r#\\\\]{0,60}", cut in 1..20usize, escape: bool, comment: bool, cr: bool) {
            let splitter = Splitter {
                escape: escape.then_some(b'\\'),
                comment: comment.then(|| b"#".to_vec()),
                line_end: if cr { b'\r' } else { b'\n' },
                ..splitter()
            };
            let show = |records: &Records, row: usize| -> Vec<Vec<u8>> {
                let fields = &records.fields[row * 2..row * 2 + 2];
                fields.iter().map(|field| records.bytes(*field).to_vec()).chain([records.record(row).to_vec()]).collect()
            };
            let mut whole = Records::new(2);
            let outcome = splitter.split(text.as_bytes(), true, &mut whole);
            whole.text = text.clone().into_bytes();
            let want: Vec<_> = (0..whole.len()).map(|row| show(&whole, row)).collect();

            let (mut carry, mut got, mut unclosed) = (Vec::new(), Vec::new(), false);
            let pieces: Vec<_> = text.as_bytes().chunks(cut).collect();
            for n in 0..=pieces.len() {
                carry.extend_from_slice(pieces.get(n).copied().unwrap_or_default());
                let mut records = Records::new(2);
                match splitter.split(&carry, n == pieces.len(), &mut records) {
                    Ok(end) => {
                        let rest = carry.split_off(end);
                        records.text = std::mem::replace(&mut carry, rest);
                        got.extend((0..records.len()).map(|row| show(&records, row)));
                    }
                    Err(Unclosed) => unclosed = true,
                }
            }
            proptest::prop_assert_eq!(outcome.is_err(), unclosed);
            if !unclosed {
                proptest::prop_assert_eq!(got, want);
                proptest::prop_assert!(carry.is_empty());
            }
        }
    }
}
