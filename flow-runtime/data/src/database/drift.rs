//! How the columns of a file and of a table differ, in words, before anything is loaded.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::conversion::Conversion;
use crate::field::Field;

/// How a file and a table differ. Shown, it is a list with a line for each column:
///
/// ```text
/// table trips does not fit the file
///   + tip float64: the table lacks it
///   ~ fare: the file has text, the table has double precision
///   - toll double precision not null: the file lacks it
/// state the type of `fare` where the file is read or made (its Schema, `columns`)
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The table, as it was given.
    pub table: String,
    /// The columns that differ: those of the file first, in its order.
    pub differences: Vec<Difference>,
    /// What may be done about types that differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A column that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its name.
    pub column: String,
    /// What the file has, if it has it.
    pub file: Option<String>,
    /// What the table has, in the database's words, if it has it.
    pub table: Option<String>,
    /// True when nothing can be loaded because of it. False for a column that the database fills by itself, or a type
    /// that it may convert.
    pub stops: bool,
    /// True for a column of the table that is null in every row that is new (an upsert leaves it as it is in the others).
    #[serde(default)]
    pub nulls: bool,
}

impl Drift {
    /// True when nothing can be loaded.
    pub fn stops(&self) -> bool {
        self.differences.iter().any(|d| d.stops)
    }

    /// The lines of the list, and what may be done.
    pub(super) fn lines(&self) -> String {
        let mut lines: String = self.differences.iter().map(|d| format!("\n  {d}")).collect();
        lines.extend(self.hint.iter().map(|hint| format!("\n{hint}")));
        lines
    }

    /// The columns of the table that are null in every row that is new.
    pub(super) fn nulls(&self) -> Vec<&str> {
        self.differences.iter().filter(|d| d.nulls).map(|d| d.column.as_str()).collect()
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differences.is_empty() {
            return write!(f, "table {} fits the file", self.table);
        }
        let verb = if self.stops() { "does not fit" } else { "takes" };
        write!(f, "table {} {verb} the file{}", self.table, self.lines())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, &self.table) {
            (Some(file), None) => write!(f, "+ {} {file}: the table lacks it", self.column),
            (None, Some(table)) if self.stops => write!(f, "- {} {table}: the file lacks it", self.column),
            (None, Some(table)) if self.nulls => {
                write!(f, "- {} {table}: the file lacks it, it is null in rows that are new", self.column)
            }
            (None, Some(table)) => {
                write!(f, "- {} {table}: the file lacks it, the database fills it", self.column)
            }
            (Some(file), Some(table)) if self.stops => {
                write!(f, "~ {}: the file has {file}, the table has {table}", self.column)
            }
            (Some(file), Some(table)) => {
                write!(f, "~ {}: the file has {file}, the table has {table}: the database converts", self.column)
            }
            (None, None) => write!(f, "  {}", self.column),
        }
    }
}

/// A column of a table as the database has it.
#[derive(Debug, Clone)]
pub(super) struct There {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) not_null: bool,
    /// True when the database has a value for it where a row brings none.
    pub(super) filled: bool,
}

impl There {
    fn told(&self) -> String {
        if self.not_null { format!("{} not null", self.kind) } else { self.kind.clone() }
    }
}

/// What is compared how.
pub(super) struct Comparison {
    /// Whether two names are one.
    pub(super) same: fn(&str, &str) -> bool,
    /// Whether a column of the table, by its type, takes what the file has.
    pub(super) takes: fn(&str, &Field) -> bool,
    /// Whether the database may convert.
    pub(super) convert: bool,
    /// What it would do.
    pub(super) conversion: fn(&str, &Field) -> Conversion,
}

/// Compares the columns that a load brings with those of a table.
pub(super) fn compare(table: &str, fields: &[Field], there: &[There], how: &Comparison) -> Drift {
    let mut differences = Vec::new();
    let mut unlike = Vec::new();
    for field in fields {
        match there.iter().find(|t| (how.same)(&t.name, &field.name)) {
            None => differences.push(Difference {
                column: field.name.clone(),
                file: Some(field.kind.to_string()),
                table: None,
                stops: true,
                nulls: false,
            }),
            Some(t) if !(how.takes)(&t.kind, field) => {
                differences.push(Difference {
                    column: field.name.clone(),
                    file: Some(field.kind.to_string()),
                    table: Some(t.told()),
                    stops: !how.convert,
                    nulls: false,
                });
                unlike.push((field.name.as_str(), (how.conversion)(&t.kind, field)));
            }
            Some(_) => {}
        }
    }
    for t in there.iter().filter(|t| !fields.iter().any(|f| (how.same)(&t.name, &f.name))) {
        differences.push(Difference {
            column: t.name.clone(),
            file: None,
            table: Some(t.told()),
            stops: t.not_null && !t.filled,
            nulls: !t.not_null && !t.filled,
        });
    }
    let hint = (!how.convert && !unlike.is_empty()).then(|| hint(&unlike));
    Drift { table: table.to_owned(), differences, hint }
}

/// What may be done about columns of another type, and what that does to their values.
fn hint(unlike: &[(&str, Conversion)]) -> String {
    let quoted = |names: &mut dyn Iterator<Item = &str>| names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    let all = quoted(&mut unlike.iter().map(|(name, _)| *name));
    let mut hint = format!("state the type of {all} where the file is read or made (its Schema, `columns`)");
    let converted = unlike.iter().filter(|(_, conversion)| *conversion != Conversion::None);
    let converted = quoted(&mut converted.map(|(name, _)| *name));
    if !converted.is_empty() {
        hint.push_str(&format!(", or let the database convert {converted} (`convert` in the options of the load)"));
    }
    let mut done: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, conversion) in unlike {
        let Conversion::Changes(what) = conversion else { continue };
        match done.iter_mut().find(|(known, _)| known == what) {
            Some((_, names)) => names.push(name),
            None => done.push((what, vec![name])),
        }
    }
    for (n, (what, names)) in done.into_iter().enumerate() {
        let begin = if n == 0 { ": it then " } else { ", " };
        hint.push_str(&format!("{begin}{what} {}", quoted(&mut names.into_iter())));
    }
    hint
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::ColumnType;

    #[test]
    fn every_difference_has_a_line() {
        let fields = [
            Field::new("id", ColumnType::Int64),
            Field::new("tip", ColumnType::Float64),
            Field::new("fare", ColumnType::Text),
        ];
        let column =
            |name: &str, kind: &str, not_null, filled| There { name: name.into(), kind: kind.into(), not_null, filled };
        let there = [
            column("id", "int64", true, false),
            column("fare", "double precision", false, false),
            column("toll", "double precision", true, false),
            column("at", "timestamp", true, true),
            column("note", "text", false, false),
        ];
        let how = Comparison {
            same: |a, b| a == b,
            takes: |t, f| t == f.kind.to_string(),
            convert: false,
            conversion: |_, _| Conversion::None,
        };
        let drift = compare("trips", &fields, &there, &how);
        assert!(drift.stops());
        assert_eq!(
            drift.to_string(),
            "table trips does not fit the file\n  + tip float64: the table lacks it\n  ~ fare: the file has text, the table \
             has double precision\n  - toll double precision not null: the file lacks it\n  - at timestamp not null: the \
             file lacks it, the database fills it\n  - note text: the file lacks it, it is null in rows that are new\n\
             state the type of `fare` where the file is read or made (its Schema, `columns`)"
        );
        assert_eq!(drift.nulls(), ["note"]);
        let how = Comparison { convert: true, ..how };
        let drift = compare("trips", &fields[..1], &there[..1], &how);
        assert_eq!((drift.stops(), drift.to_string().as_str()), (false, "table trips fits the file"));
        let drift = compare("trips", &fields[2..], &there[1..2], &how);
        assert!(!drift.stops() && drift.to_string().ends_with("the database converts"), "{drift}");
    }
    #[test]
    fn what_the_database_would_do_is_told() {
        let unlike = [
            ("a", Conversion::Changes("rounds")),
            ("b", Conversion::None),
            ("c", Conversion::Keeps),
            ("d", Conversion::Changes("pads with blanks")),
            ("e", Conversion::Changes("rounds")),
        ];
        assert_eq!(
            hint(&unlike),
            "state the type of `a`, `b`, `c`, `d`, `e` where the file is read or made (its Schema, `columns`), or let the \
             database convert `a`, `c`, `d`, `e` (`convert` in the options of the load): it then rounds `a`, `e`, pads with \
             blanks `d`"
        );
    }
}
