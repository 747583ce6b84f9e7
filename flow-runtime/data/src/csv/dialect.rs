//! How a file is written, as far as its begin tells.

use super::options::CsvOptions;
use super::split::{Splitter, Step};
use crate::Result;
use crate::records::Records;

/// What may stand between fields, likeliest first.
pub(super) const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// How many records are looked at to find the separator.
const LOOKED_AT: usize = 100;

/// What the options state. The line end, and a separator that is not stated, are found by [`look`].
pub(super) fn stated(options: &CsvOptions) -> Result<Splitter> {
    options.check()?;
    Ok(Splitter {
        separator: CsvOptions::byte("separator", options.separator)?.unwrap_or(b','),
        quote: CsvOptions::byte("quote", options.quote)?,
        escape: CsvOptions::byte("escape", options.escape)?,
        comment: options.comment.as_ref().map(|text| text.as_bytes().to_vec()),
        line_end: b'\n',
    })
}

/// The separator that the first line of a file says, as Excel takes it: `sep=;` and nothing else. A letter or a digit is no
/// separator, and such a line a header.
pub(super) fn said(splitter: &Splitter, text: &[u8]) -> Option<u8> {
    let end = memchr::memchr(splitter.line_end, text).unwrap_or(text.len());
    let line = text[..end].strip_suffix(b"\r").unwrap_or(&text[..end]);
    let [separator] = line.strip_prefix(b"sep=")? else {
        return None;
    };
    let is_one = separator.is_ascii() && !separator.is_ascii_alphanumeric();
    let is_other = Some(*separator) == splitter.quote || Some(*separator) == splitter.escape;
    (is_one && !is_other).then_some(*separator)
}

/// Finds what ends the lines of a text: `\r` only where no `\n` outside of quotes does. The separator need not be known.
pub(super) fn line_end(splitter: &Splitter, text: &[u8]) -> u8 {
    let (mut in_quotes, mut field_begins) = (false, true);
    let mut end = b'\n';
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let is_quote = Some(byte) == splitter.quote;
        if in_quotes {
            if Some(byte) == splitter.escape {
                at += 1;
            } else if is_quote {
                // A doubled quote closes and opens again.
                (in_quotes, field_begins) = (false, text.get(at + 1) == Some(&byte));
            }
        } else if is_quote && field_begins {
            in_quotes = true;
        } else {
            match byte {
                b'\n' => return b'\n',
                b'\r' if text.get(at + 1) != Some(&b'\n') => end = b'\r',
                _ => {}
            }
            field_begins = byte == b'\r' || byte == splitter.separator || SEPARATORS.contains(&byte);
        }
        at += 1;
    }
    end
}

/// The separator that gives most of the first records the same number of fields, more than one; then the one that gives more
/// fields; then the likeliest.
pub(super) fn separator(splitter: &Splitter, text: &[u8], last: bool) -> u8 {
    let mut best = (0, 1, SEPARATORS[0]);
    for separator in SEPARATORS {
        let splitter = Splitter { separator, ..splitter.clone() };
        let counts = field_counts(&splitter, text, last);
        let share = |fields: usize| counts.iter().filter(|count| **count == fields).count();
        let Some(&fields) =
            counts.iter().filter(|fields| **fields > 1).max_by_key(|fields| (share(**fields), **fields))
        else {
            continue;
        };
        let same = share(fields) * 100 / counts.len();
        if (same, fields) > (best.0, best.1) {
            best = (same, fields, separator);
        }
    }
    best.2
}

/// How many fields each of the first records has.
pub(super) fn field_counts(splitter: &Splitter, text: &[u8], last: bool) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut at = 0;
    while at < text.len() && counts.len() < LOOKED_AT {
        let mut records = Records::of_any_width();
        match splitter.step(text, at, last, &mut records) {
            Step::Record(next) => {
                counts.push(records.fields.len());
                at = next;
            }
            Step::Nothing(next) => at = next,
            Step::Unfinished | Step::Unclosed => break,
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commas() -> Splitter {
        stated(&CsvOptions::default()).unwrap()
    }

    #[test]
    fn the_separator_is_the_one_that_fits_the_records() {
        for (text, want) in [
            ("a,b\n1,2\n", b','),
            ("a;b;c\n1,5;2,5;3\n1;2;3\n", b';'),
            ("a\tb\n1,2\t3\n", b'\t'),
            ("a|b\n\"1,2,3\"|2\n", b'|'),
            ("a title, really\n\nx;y;z\n1;2;3\n4;5;6\n", b';'),
            ("alone\n1\n", b','),
            ("", b','),
        ] {
            assert_eq!(separator(&commas(), text.as_bytes(), true), want, "{text:?}");
        }
    }

    #[test]
    fn a_return_ends_lines_only_where_no_line_feed_does() {
        for (text, want) in
            [("a\rb\r", b'\r'), ("a\r\nb\r\n", b'\n'), ("a\rb\nc", b'\n'), ("a,\"\n\"\rb\r", b'\r'), ("a", b'\n')]
        {
            assert_eq!(line_end(&commas(), text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn a_first_line_may_say_the_separator() {
        for (text, want) in [
            ("sep=;\na;b\n", Some(b';')),
            ("sep=\t\r\na\tb\r\n", Some(b'\t')),
            ("sep=,", Some(b',')),
            ("sep=;;\n", None),
            ("sep=\na\n", None),
            ("sep=x\n", None),
            ("sep=\"\n", None),
            ("sep=\u{e9}\n", None),
            (" sep=;\n", None),
            ("a,sep=;\n", None),
        ] {
            assert_eq!(said(&commas(), text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn options_that_contradict_are_refused() {
        let refused = |change: fn(&mut CsvOptions)| {
            let mut options = CsvOptions::default();
            change(&mut options);
            stated(&options).unwrap_err().to_string()
        };
        assert!(refused(|o| o.separator = Some('ä')).contains("one ASCII letter"));
        assert!(refused(|o| o.separator = Some('"')).contains("at once"));
        assert!(refused(|o| o.names = Some(Vec::new())).contains("names no column"));
        assert!(refused(|o| o.comment = Some(String::new())).contains("empty `comment`"));
        assert!(refused(|o| drop(o.formats.insert("a".into(), vec!["%Q".into()]))).contains("`%Q` of column `a`"));
        let part = refused(|o| drop(o.formats.insert("a".into(), vec!["%H:%M".into(), "%d.%m.%Y %H".into()])));
        assert!(part.contains("`%d.%m.%Y %H` of column `a` is only a part of a time"), "{part}");
    }
}
