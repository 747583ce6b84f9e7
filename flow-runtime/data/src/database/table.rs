//! Names of tables and columns, quoted.

use crate::field::Field;
use crate::{Error, Result};

/// The column that every loaded table has: the key of the source that a row came from.
pub const SOURCE_COLUMN: &str = "_source";

/// The longest identifier that Postgres does not cut in silence.
const MAX_NAME_BYTES: usize = 63;

/// An identifier as it stands in SQL.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as it stands in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A table's name, `table` or (Postgres) `schema.table`.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) schema: Option<String>,
    pub(super) name: String,
}

impl Table {
    pub(super) fn parse(text: &str, schemas: bool) -> Result<Self> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) if schemas => (Some(schema), name),
            Some(_) => {
                return Err(Error::Invalid(format!(
                    "table `{text}`: this database has no schemas; use a name without a dot"
                )));
            }
            None => (None, text),
        };
        for part in schema.into_iter().chain([name]) {
            check_name(part).map_err(|why| Error::Invalid(format!("table `{text}`: {why}")))?;
        }
        Ok(Self { schema: schema.map(str::to_owned), name: name.to_owned() })
    }

    /// The name in SQL.
    pub(super) fn sql(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(&self.name)),
            None => quote(&self.name),
        }
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("a name is empty"),
        name if name.contains('\0') => Err("a name holds a zero byte"),
        name if name.contains('.') => Err("a name has more than one dot"),
        name if name.len() > MAX_NAME_BYTES => Err("a name has more than 63 bytes"),
        _ => Ok(()),
    }
}

/// Refuses columns that a table cannot have.
pub(super) fn check_columns(fields: &[Field]) -> Result<()> {
    for Field { name, .. } in fields {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
            return Err(Error::Invalid(format!("column `{name}`: a name has 1 to 63 bytes and no zero byte")));
        }
    }
    Ok(())
}

/// Refuses columns that are one to a database where the case of letters makes no difference.
pub(super) fn check_apart(place: &str, fields: &[Field]) -> Result<()> {
    for (n, Field { name, .. }) in fields.iter().enumerate() {
        if let Some(other) = fields[..n].iter().find(|f| f.name.eq_ignore_ascii_case(name)) {
            let message = format!(
                "the columns `{}` and `{name}` are one to this database, which sees no case in a name: rename one of them",
                other.name
            );
            return Err(Error::columns(place, message));
        }
    }
    Ok(())
}

/// Refuses files whose own columns take the name of the source's.
pub(super) fn check_no_source(fields: &[Field]) -> Result<()> {
    match fields.iter().find(|f| f.name.eq_ignore_ascii_case(SOURCE_COLUMN)) {
        Some(Field { name, .. }) => {
            Err(Error::Invalid(format!("a column is called `{name}`; that name belongs to the load itself")))
        }
        None => Ok(()),
    }
}

/// Refuses source keys that cannot be stored.
pub(super) fn check_source(source: &str) -> Result<()> {
    if source.is_empty() || source.contains('\0') {
        return Err(Error::Invalid("the key is empty or holds a zero byte".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        assert_eq!(Table::parse("trips", false).unwrap().sql(), "\"trips\"");
        assert_eq!(Table::parse("raw.trips", true).unwrap().sql(), "\"raw\".\"trips\"");
        assert_eq!(Table::parse("x\"; DROP TABLE y; --", true).unwrap().sql(), "\"x\"\"; DROP TABLE y; --\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn impossible_names_are_refused() {
        let long = "x".repeat(64);
        for (name, schemas) in
            [("", true), (".x", true), ("a.", true), ("a.b.c", true), ("a.b", false), ("a\0", true), (&long, true)]
        {
            assert!(matches!(Table::parse(name, schemas), Err(Error::Invalid(_))), "{name:?}");
        }
    }
}
