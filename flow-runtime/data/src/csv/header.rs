//! The first record of a file, matched to what is stated.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::options::CsvOptions;
use crate::columns::Reading;
use crate::records::{Field, Records};
use crate::schema::{Column, Schema, Type};
use crate::{Error, Result};

/// How a file's columns and the stated ones belong together.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    /// Every column of the file with its type, in the file's order, and how it is written.
    pub(crate) reading: Reading,
    /// Positions in the columns: the stated ones in the stated order, then the others.
    pub(crate) order: Vec<usize>,
}

impl Header {
    /// The columns in the order in which they are delivered.
    pub(crate) fn delivered(&self) -> Vec<Column> {
        self.order.iter().map(|&at| self.reading.columns[at].clone()).collect()
    }

    pub(crate) fn new(file: &Path, names: Vec<String>, schema: &Schema, options: &CsvOptions) -> Result<Self> {
        schema.check()?;
        let refused = |message: String| Err(Error::columns(file.display().to_string(), message));
        let mut places = HashMap::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            if places.insert(name.as_str(), at).is_some() {
                return refused(format!(
                    "two columns are called `{name}`; number them (`number_repeated`), or pass over the header \
                     (`skip_lines`) and state the `names`"
                ));
            }
        }
        let mut order = Vec::with_capacity(names.len());
        let mut missing = Vec::new();
        let mut columns: Vec<_> = names.iter().map(|name| Column { name: name.clone(), kind: Type::Text }).collect();
        let mut stated = vec![false; names.len()];
        for column in schema.columns() {
            match places.get(column.name.as_str()) {
                Some(&at) => {
                    order.push(at);
                    stated[at] = true;
                    columns[at].kind = column.kind;
                }
                None => missing.push(column.name.as_str()),
            }
        }
        let mut formats = vec![Vec::new(); names.len()];
        for column in options.formats.keys() {
            match places.get(column.as_str()) {
                Some(&at) => formats[at] = options.formats_of(&columns[at])?,
                None => missing.push(column),
            }
        }
        if !missing.is_empty() {
            let (missing, there) = (listed(missing.into_iter()), listed(names.iter().map(String::as_str)));
            return refused(format!("the stated columns {missing} are missing; the file has {there}"));
        }
        order.extend((0..names.len()).filter(|at| !stated[*at]));
        Ok(Self { reading: Reading { columns, nulls: options.nulls_with(schema), formats }, order })
    }
}

/// Some names for a sentence.
fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const MOST: usize = 50;
    let more = names.len().saturating_sub(MOST);
    let mut text = names.take(MOST).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// The fields of the one record as names: trimmed; a field without a name is `column_N`. `None` if it is no text.
pub(crate) fn names(record: &Records) -> Option<Vec<String>> {
    let name = |(n, field): (usize, &Field)| match std::str::from_utf8(record.bytes(*field)).ok()?.trim() {
        "" => Some(format!("column_{}", n + 1)),
        name => Some(name.to_owned()),
    };
    record.fields.iter().enumerate().map(name).collect()
}

/// The same names; one that comes again gets a number.
pub(crate) fn numbered(names: Vec<String>) -> Vec<String> {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut seen = HashSet::new();
    let number = |name: String| {
        if seen.insert(name.clone()) {
            return name;
        }
        let free = (2..).map(|n| format!("{name}_{n}")).find(|other| taken.insert(other.clone()));
        free.unwrap_or(name)
    };
    names.into_iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &[&str], schema: &Schema) -> Result<Header> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Header::new(Path::new("f.csv"), names, schema, &CsvOptions::default())
    }

    #[test]
    fn repeated_names_are_numbered_past_those_that_are_taken() {
        let names = ["a", "a", "a_2", "b", "a", "a_2"].map(String::from).to_vec();
        assert_eq!(numbered(names), ["a", "a_3", "a_2", "b", "a_4", "a_2_2"]);
    }

    #[test]
    fn stated_columns_come_first_and_the_others_stay_text() {
        let schema = Schema::new([("b", Type::Int), ("a", Type::Float)]);
        let header = header(&["x", "a", "b"], &schema).unwrap();
        let delivered: Vec<_> = header.delivered().into_iter().map(|c| (c.name, c.kind)).collect();
        assert_eq!(delivered, [("b".into(), Type::Int), ("a".into(), Type::Float), ("x".into(), Type::Text)]);
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_there() {
        let schema = Schema::new([("b", Type::Int), ("c", Type::Int)]);
        let error = header(&["b", "C"], &schema).unwrap_err();
        assert_eq!(error.to_string(), "f.csv: the stated columns `c` are missing; the file has `b`, `C`");
        assert!(error.is_permanent());
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        let error = header(&["a", "a"], &Schema::default()).unwrap_err();
        assert!(error.to_string().contains("two columns are called `a`"), "{error}");
    }
}
