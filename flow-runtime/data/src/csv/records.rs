//! Where records end, and whether each has as many fields as the header. The parser behind would fill a short record with
//! nulls and say nothing.

use std::path::Path;

use memchr::{memchr_iter, memchr2_iter, memchr3_iter, memrchr};

use crate::Error;

/// Where the last whole record ends (after its line feed), or `None` if none does. Quotes are heeded. The second value tells
/// whether the text ends inside of quotes.
pub(crate) fn last_end(text: &[u8]) -> (Option<usize>, bool) {
    if memchr_iter(b'"', text).next().is_none() {
        return (memrchr(b'\n', text).map(|at| at + 1), false);
    }
    let mut end = None;
    let mut in_quotes = false;
    for at in memchr2_iter(b'"', b'\n', text) {
        if text[at] == b'"' {
            in_quotes = !in_quotes;
        } else if !in_quotes {
            end = Some(at + 1);
        }
    }
    (end, in_quotes)
}

/// A record that does not have the header's number of fields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrongShape {
    /// Its number within the text, from 0.
    pub(crate) row: u64,
    pub(crate) fields: usize,
}

impl WrongShape {
    pub(crate) fn error(&self, file: &Path, first_row: u64, width: usize) -> Error {
        let message = format!("row {} has {} fields, the header has {width}", first_row + self.row, self.fields);
        Error::format(file, message)
    }
}

/// Counts the records of a text of whole records, each of `width` fields. Blank lines are taken out.
pub(crate) fn check(text: &mut Vec<u8>, width: usize) -> Result<u64, WrongShape> {
    let ended = text.last().is_none_or(|b| *b == b'\n');
    if width > 1 && memchr_iter(b'"', text).next().is_none() {
        let lines = memchr_iter(b'\n', text).count() + usize::from(!ended);
        let commas = memchr_iter(b',', text).count();
        // A record that is too long may hide one that is too short here; the parser refuses the long one.
        if commas == lines * (width - 1) {
            return Ok(lines as u64);
        }
    }
    walk(text, width)
}

/// The first record that does not have `width` fields, looked for record by record.
pub(crate) fn find_wrong(text: &[u8], width: usize) -> Option<WrongShape> {
    walk(&mut text.to_vec(), width).err()
}

fn walk(text: &mut Vec<u8>, width: usize) -> Result<u64, WrongShape> {
    let mut rows = 0;
    let mut fields = 1;
    let mut start = 0;
    let mut in_quotes = false;
    let mut blank = Vec::new();
    let mut end_record = |start: usize, end: usize, fields: usize| {
        if matches!(&text[start..end], b"" | b"\r") {
            blank.push(start..(end + 1).min(text.len()));
        } else if fields == width {
            rows += 1;
        } else {
            return Err(WrongShape { row: rows, fields });
        }
        Ok(())
    };
    for at in memchr3_iter(b'"', b',', b'\n', text) {
        match text[at] {
            b'"' => in_quotes = !in_quotes,
            b',' if !in_quotes => fields += 1,
            b'\n' if !in_quotes => {
                end_record(start, at, fields)?;
                (start, fields) = (at + 1, 1);
            }
            _ => {}
        }
    }
    if start < text.len() {
        end_record(start, text.len(), fields)?;
    }
    for range in blank.into_iter().rev() {
        text.drain(range);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_feed_in_quotes_ends_no_record() {
        assert_eq!(last_end(b"a,b\nc"), (Some(4), false));
        assert_eq!(last_end(b"a,\"b\nc\"\nd"), (Some(8), false));
        assert_eq!(last_end(b"a,\"b\nc"), (None, true));
        assert_eq!(last_end(b"a,\"b\"\"\n\"\n"), (Some(9), false));
        assert_eq!(last_end(b"abc"), (None, false));
    }

    #[test]
    fn short_and_long_records_are_found() {
        let shape = |text: &str| check(&mut text.as_bytes().to_vec(), 3);
        assert_eq!(shape("1,2,3\n4,5,6\n"), Ok(2));
        assert_eq!(shape("1,2,3\n4,5,6"), Ok(2));
        assert_eq!(shape("1,2,3\n4,5\n"), Err(WrongShape { row: 1, fields: 2 }));
        assert_eq!(shape("1,2,3\n4,\"5,6\",7\n"), Ok(2));
        assert_eq!(shape("1,\"2\n\",3\n4,5,6,7\n"), Err(WrongShape { row: 1, fields: 4 }));
        assert_eq!(shape(""), Ok(0));
    }

    #[test]
    fn blank_lines_are_taken_out() {
        let mut text = b"1,2\n\n\r\n3,4\n\n".to_vec();
        assert_eq!(check(&mut text, 2), Ok(2));
        assert_eq!(text, b"1,2\n3,4\n");
        let mut text = b"1\n\n2\n".to_vec();
        assert_eq!(check(&mut text, 1), Ok(2));
        assert_eq!(text, b"1\n2\n");
    }
}
