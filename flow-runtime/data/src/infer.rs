//! A cautious guess at a file's types.

use std::path::Path;

use crate::schema::{Schema, Type};
use crate::{Error, Result, csv, parse};

/// How many rows are looked at, at most.
const SAMPLE_ROWS: usize = 10_000;

/// See [`Schema::infer`].
pub(crate) fn infer(path: &Path) -> Result<Schema> {
    let frame = csv::sample(path, SAMPLE_ROWS)?;
    let mut schema = Schema::default();
    for column in frame.columns() {
        let texts = column.as_materialized_series().str().map_err(|e| Error::format(path, e.to_string()))?;
        let kind = guess(texts.iter().flatten().filter(|text| !text.trim().is_empty()));
        schema = schema.with(column.name().as_str(), kind);
    }
    Ok(schema)
}

/// Whether a text is of a type.
type Test = fn(&str) -> bool;

fn guess<'a>(texts: impl Iterator<Item = &'a str>) -> Type {
    const TRIED: [(Type, Test); 5] = [
        (Type::Int, |t| is_plain_number(t) && t.parse::<i64>().is_ok()),
        (Type::Float, |t| {
            is_plain_number(t) && if is_whole(t) { t.parse::<i64>().is_ok() } else { t.parse::<f64>().is_ok() }
        }),
        (Type::Timestamp, |t| parse::timestamp(t).is_some()),
        (Type::Date, |t| parse::date(t).is_some()),
        (Type::Bool, |t| t.eq_ignore_ascii_case("true") || t.eq_ignore_ascii_case("false")),
    ];
    let mut possible = TRIED.to_vec();
    let mut any = false;
    for text in texts {
        any = true;
        possible.retain(|(_, holds)| holds(text));
        if possible.is_empty() {
            break;
        }
    }
    possible.first().filter(|_| any).map_or(Type::Text, |(kind, _)| *kind)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_guessed_only_when_every_value_is_of_it() {
        for (texts, want) in [
            (vec!["1", "-2", "0"], Type::Int),
            (vec!["1", "2.5", ".20", "0.5", "1e3"], Type::Float),
            (vec!["1", "007"], Type::Text),
            (vec!["1", "+1"], Type::Text),
            (vec!["nan"], Type::Text),
            (vec!["99999999999999999999"], Type::Text),
            (vec!["2021-01-01 00:00:00", "2021-01-01T01:00:00Z"], Type::Timestamp),
            (vec!["2021-01-01"], Type::Date),
            (vec!["2021-01-01", "2021-01-01 00:00:00"], Type::Text),
            (vec!["true", "FALSE"], Type::Bool),
            (vec!["t", "f"], Type::Text),
            (vec![], Type::Text),
        ] {
            assert_eq!(guess(texts.iter().copied()), want, "{texts:?}");
        }
    }
}
