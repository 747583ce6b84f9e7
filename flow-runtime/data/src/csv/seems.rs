//! What a file seems to be whose begin makes no header of CSV.

use super::dialect::{SEPARATORS, field_counts};
use super::split::Splitter;

/// What a text seems to be that is no CSV, and what to do with it. `None` if it may be CSV.
pub(super) fn other_than_csv(text: &[u8]) -> Option<&'static str> {
    let text = text.trim_ascii_start();
    let begins = |word: &str| text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()));
    if begins("<!doctype html") || begins("<html") {
        return Some(
            "this seems to be a web page, not CSV (an error, or a page to log in?): look at where the file comes from",
        );
    }
    if begins("<?xml") || begins("<!doctype") {
        return Some("this seems to be XML, not CSV: look at where the file comes from, or turn it into CSV before");
    }
    // Braces alone may be a name.
    let behind = |open: u8| text.strip_prefix(&[open]).map(<[u8]>::trim_ascii_start);
    let is_object = |inner: &[u8]| matches!(inner.first(), None | Some(b'"' | b'}'));
    if behind(b'{').is_some_and(is_object) {
        return Some(
            "this seems to be JSON, not CSV; a file of JSON lines is read by `Schema::infer_json` and `parquetize_json`",
        );
    }
    let array = behind(b'[').and_then(|inner| inner.strip_prefix(b"{")).map(<[u8]>::trim_ascii_start);
    array.is_some_and(is_object).then_some(
        "this seems to be a JSON array, not CSV; written as JSON lines (an object a line, `jq -c '.[]'`) it is read by \
         `Schema::infer_json` and `parquetize_json`",
    )
}

/// Which separator the one column of a header hides, in words. The text begins with the header. A header whose rows hold no such
/// letter, or not as often as it, is one of one column.
pub(super) fn other_separator(splitter: &Splitter, text: &[u8], last: bool) -> Option<String> {
    let hides = |separator: &u8| {
        let counts = field_counts(&Splitter { separator: *separator, ..splitter.clone() }, text, last);
        let (header, rows) = counts.split_first()?;
        let same = rows.iter().filter(|count| *count == header).count();
        (*header > 1 && same * 2 >= rows.len()).then_some((*header, *separator))
    };
    let others = SEPARATORS.iter().filter(|other| **other != splitter.separator && **other != b',');
    // Of several, the one that gives more columns.
    let (columns, separator) = others.filter_map(hides).max()?;
    let word = match separator {
        b'\t' => "a tab".to_owned(),
        other => format!("`{}`", char::from(other)),
    };
    let letter = char::from(separator);
    Some(format!(
        "the header is one column, and {columns} if {word} separates them: state `separator = Some({letter:?})`, or `None`, which \
         finds it out; if it is one column, state it in the schema"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CsvOptions;

    #[test]
    fn what_is_no_csv_is_known_by_its_begin() {
        for (text, want) in [
            ("{\"id\":1}\n", "JSON lines"),
            ("\n \n{ \"id\" : 1 }\n", "JSON lines"),
            ("{\n  \"id\": 1\n}", "JSON lines"),
            ("{}\n{\"id\":1}", "JSON lines"),
            ("[\n  {\"id\": 1}\n]", "JSON array"),
            ("<!DOCTYPE html><html>", "web page"),
            ("\r\n<HTML lang=en>", "web page"),
            ("<?xml version=\"1.0\"?>", "XML"),
            ("<!DOCTYPE rows SYSTEM \"rows.dtd\">", "XML"),
        ] {
            assert!(other_than_csv(text.as_bytes()).is_some_and(|words| words.contains(want)), "{text}");
        }
        for text in ["", "a,b\n{\"id\":1},2\n", "{a},{b}\n", "[a],[b]\n", "<a>,<b>\n", "\"{\"\"a\"\":1}\",b\n"] {
            assert_eq!(other_than_csv(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_separator_is_missed_only_where_the_rows_have_it_too() {
        let commas = super::super::dialect::stated(&CsvOptions::default()).unwrap();
        let of = |text: &str| other_separator(&commas, text.as_bytes(), true);
        for (text, columns, word) in [
            ("a;b;c\n1;2,5;3\n4;5;6\n", "3 if `;`", "Some(';')"),
            ("a;b\n", "2 if `;`", "Some(';')"),
            ("a\tb\n1\t2\n", "2 if a tab", "Some('\\t')"),
            ("a|b;c|d\n1|2;3|4\n", "3 if `|`", "Some('|')"),
            ("a;b\n1;2\n\n3;4\nbroken\n", "2 if `;`", "Some(';')"),
        ] {
            let words = of(text).unwrap_or_default();
            assert!(words.contains(columns) && words.contains(word), "{text:?}: {words}");
        }
        for text in [
            "alone\n1\n2\n",
            "note; remarks\nnone\nall is well\nhello; you; there\n",
            "\"a;b\"\n1;2\n",
            "a|b\n\"x|y\"\n\"x|z\"\n",
            "",
        ] {
            assert_eq!(of(text), None, "{text:?}");
        }
    }
}
