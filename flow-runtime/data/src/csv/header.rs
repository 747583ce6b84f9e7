//! The first record of a file, matched to what is stated.

use std::collections::HashSet;
use std::path::Path;

use crate::schema::{Column, Schema, Type};
use crate::{Error, Result};

/// How a file's columns and the stated ones belong together.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    /// Every column of the file with its type, in the file's order.
    pub(crate) columns: Vec<Column>,
    /// Positions in `columns`: the stated ones in the stated order, then the others.
    pub(crate) order: Vec<usize>,
    /// Texts that stand for null.
    pub(crate) nulls: Vec<String>,
}

impl Header {
    /// The columns in the order in which they are delivered.
    pub(crate) fn delivered(&self) -> Vec<Column> {
        self.order.iter().map(|&at| self.columns[at].clone()).collect()
    }

    pub(crate) fn new(file: &Path, names: Vec<String>, schema: &Schema) -> Result<Self> {
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(Error::columns(file.display().to_string(), format!("two columns are called `{twice}`")));
        }
        let mut order = Vec::with_capacity(names.len());
        let mut missing = Vec::new();
        for column in schema.columns() {
            match names.iter().position(|name| *name == column.name) {
                Some(at) => order.push(at),
                None => missing.push(format!("`{}`", column.name)),
            }
        }
        if !missing.is_empty() {
            let there: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            let message =
                format!("the stated columns {} are missing; the file has {}", missing.join(", "), there.join(", "));
            return Err(Error::columns(file.display().to_string(), message));
        }
        order.extend((0..names.len()).filter(|at| !schema.columns().iter().any(|c| c.name == names[*at])));
        let kind_of = |name: &str| schema.columns().iter().find(|c| c.name == name).map_or(Type::Text, |c| c.kind);
        let columns = names.into_iter().map(|name| Column { kind: kind_of(&name), name }).collect();
        Ok(Self { columns, order, nulls: schema.nulls().to_vec() })
    }
}

/// The fields of one record without its line end: trimmed, unquoted; a field without a name is `column_N`.
pub(crate) fn names(record: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(record);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut fields = vec![String::new()];
    let mut in_quotes = false;
    let mut letters = text.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(letter) = letters.next() {
        let last = fields.len() - 1;
        match letter {
            '"' if in_quotes && letters.peek() == Some(&'"') => {
                letters.next();
                fields[last].push('"');
            }
            '"' => in_quotes = !in_quotes,
            ',' if !in_quotes => fields.push(String::new()),
            other => fields[last].push(other),
        }
    }
    let name = |(n, field): (usize, String)| match field.trim() {
        "" => format!("column_{}", n + 1),
        name => name.to_owned(),
    };
    fields.into_iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_unquoted_and_never_empty() {
        assert_eq!(names("\u{feff}a, b ,\"c,\"\"d\"\"\",\r\n".as_bytes()), ["a", "b", "c,\"d\"", "column_4"]);
    }

    #[test]
    fn stated_columns_come_first_and_the_others_stay_text() {
        let schema = Schema::new([("b", Type::Int), ("a", Type::Float)]);
        let header = Header::new(Path::new("f.csv"), ["x", "a", "b"].map(String::from).to_vec(), &schema).unwrap();
        let delivered: Vec<_> = header.delivered().into_iter().map(|c| (c.name, c.kind)).collect();
        assert_eq!(delivered, [("b".into(), Type::Int), ("a".into(), Type::Float), ("x".into(), Type::Text)]);
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_there() {
        let schema = Schema::new([("b", Type::Int), ("c", Type::Int)]);
        let error = Header::new(Path::new("f.csv"), vec!["b".into(), "C".into()], &schema).unwrap_err();
        assert_eq!(error.to_string(), "f.csv: the stated columns `c` are missing; the file has `b`, `C`");
        assert!(error.is_permanent());
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        let error = Header::new(Path::new("f.csv"), vec!["a".into(), "a".into()], &Schema::default()).unwrap_err();
        assert!(error.to_string().contains("two columns are called `a`"), "{error}");
    }
}
