//! BigQuery as a database among others: its address, its tables, questions to it.

use serde_json::Value;

use super::conversion::{self, Conversion};
use super::drift::{self, Comparison, Drift, There};
use super::table::SOURCE_COLUMN;
use super::{Answer, Shape, Summary};
use crate::bigquery::{Named, TableColumn, count, kind_of};
use crate::field::{ColumnType, Field};
use crate::redact::redact;
use crate::{BigQuery, Error, Lake, Result};

/// The table of a load or a question. A partition of it is stated otherwise.
pub(super) fn named(bigquery: &BigQuery, name: &str) -> Result<Named> {
    let named = bigquery.named(name)?;
    if named.has_partition() {
        let how = "state the partition by the mode of the load, or load by an id (`BigQuery::load`)";
        return Err(Error::Invalid(format!("`{name}`: {how}")));
    }
    Ok(named)
}

/// The columns of a table; none: there is no such table.
pub(super) async fn columns_of(bigquery: &BigQuery, table: &Named) -> Result<Vec<There>> {
    let info = bigquery.table(&table.to_string()).await?;
    Ok(info.into_iter().flat_map(|info| info.columns).map(there).collect())
}

pub(super) fn there(column: TableColumn) -> There {
    let kind = standard(&column.kind).to_owned();
    let kind = if column.mode == "REPEATED" { format!("ARRAY<{kind}>") } else { kind };
    There { name: column.name, kind, not_null: column.mode == "REQUIRED", filled: column.has_default }
}

/// The name of a type in GoogleSQL, for the older one that the API answers.
fn standard(kind: &str) -> &str {
    match kind {
        "INTEGER" => "INT64",
        "FLOAT" => "FLOAT64",
        "BOOLEAN" => "BOOL",
        "RECORD" => "STRUCT",
        other => other,
    }
}

/// The type in GoogleSQL of what a file's column holds.
pub(super) fn type_of(field: &Field) -> Result<String> {
    Ok(match &field.kind {
        ColumnType::List(of) => format!("ARRAY<{}>", standard(kind_of(of, &field.name)?)),
        kind => standard(kind_of(kind, &field.name)?).to_owned(),
    })
}

/// Names of columns are one whatever their letters' case:
/// <https://cloud.google.com/bigquery/docs/schemas#column_names>.
pub(super) const SAME: fn(&str, &str) -> bool = |a, b| a.eq_ignore_ascii_case(b);

pub(super) fn comparison(convert: bool) -> Comparison {
    let takes = |kind: &str, field: &Field| type_of(field).is_ok_and(|of| of == kind);
    let does =
        |kind: &str, field: &Field| type_of(field).map_or(Conversion::None, |of| conversion::bigquery(kind, &of));
    Comparison { same: SAME, takes, convert, conversion: does }
}

pub(super) async fn compare(url: &str, lake: &Lake, table: &str, fields: &[Field]) -> Result<Option<Drift>> {
    let bigquery = BigQuery::open(url, lake)?;
    let there = columns_of(&bigquery, &named(&bigquery, table)?).await?;
    Ok((!there.is_empty()).then(|| drift::compare(table, fields, &there, &comparison(false))))
}

pub(super) async fn rows_of(url: &str, lake: &Lake, table: &str, of: Option<(&str, &str)>) -> Result<Option<u64>> {
    let bigquery = BigQuery::open(url, lake)?;
    let named = named(&bigquery, table)?;
    let there = columns_of(&bigquery, &named).await?;
    if there.is_empty() {
        return Ok(None);
    }
    let clause = of.map(|(column, value)| {
        let found = there.iter().find(|t| SAME(&t.name, column));
        let found =
            found.ok_or_else(|| Error::columns(format!("table {table}"), format!("there is no column `{column}`")))?;
        Ok::<_, Error>(format!(" WHERE `{}` = {}", found.name, literal(&found.kind, value)?))
    });
    let sql = format!("SELECT count(*) AS n FROM {}{}", named.sql(), clause.transpose()?.unwrap_or_default());
    Ok(Some(count(&bigquery.query(&sql).await?, &named)?))
}

pub(super) async fn summarise(
    url: &str,
    lake: &Lake,
    table: &str,
    source: Option<&str>,
    first: u32,
) -> Result<Summary> {
    let bigquery = BigQuery::open(url, lake)?;
    let named = named(&bigquery, table)?;
    let there = columns_of(&bigquery, &named).await?;
    if there.is_empty() {
        return Err(Error::columns(format!("table {table}"), "there is no such table"));
    }
    let of_source = source.map_or(String::new(), |source| format!(" WHERE `{SOURCE_COLUMN}` = {}", text(source)));
    let from = format!("FROM {}{of_source}", named.sql());
    let rows = count(&bigquery.query(&format!("SELECT count(*) AS n {from}")).await?, &named)?;
    let sample = bigquery.query(&format!("SELECT * {from} LIMIT {first}")).await?;
    let row = |row: Vec<Value>| row.iter().map(shown).collect();
    Ok(Summary {
        url: redact(url),
        table: table.to_owned(),
        source: source.map(str::to_owned),
        rows,
        columns: there.into_iter().map(|t| Shape { name: t.name, kind: t.kind }).collect(),
        first_rows: sample.rows.into_iter().map(row).collect(),
    })
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

pub(super) async fn execute(url: &str, lake: &Lake, statement: &str) -> Result<Answer> {
    BigQuery::open(url, lake)?.query(statement).await
}

pub(super) async fn ask(url: &str, lake: &Lake, query: &str) -> Result<Answer> {
    check_question(query)?;
    execute(url, lake, query).await
}

/// What BigQuery has written cannot be taken back, so that only a question is asked.
pub(super) fn check_question(query: &str) -> Result<()> {
    let plain = without_texts(query);
    let bare = plain.trim_start_matches(|c: char| c.is_whitespace() || c == '(').to_ascii_lowercase();
    let question = ["select", "with"].iter().any(|word| {
        bare.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    });
    if !question || plain.trim_end_matches(|c: char| c.is_whitespace() || c == ';').contains(';') {
        let message = "a question to BigQuery is one SELECT (or WITH), without `;` in it: what else it did could not be taken back";
        return Err(Error::Invalid(message.into()));
    }
    Ok(())
}

/// A statement without its comments, and with nothing in its quotes:
/// <https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical>.
fn without_texts(sql: &str) -> String {
    const QUOTES: [&str; 5] = ["\"\"\"", "'''", "\"", "'", "`"];
    let mut out = String::new();
    let mut rest = sql;
    while let Some(letter) = rest.chars().next() {
        let skipped = if rest.starts_with("--") || letter == '#' {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.find("*/").map_or(rest.len(), |end| end + 4)
        } else if let Some(quote) = QUOTES.into_iter().find(|quote| rest.starts_with(quote)) {
            out.push('\'');
            quote.len() + quoted(&rest[quote.len()..], quote)
        } else {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[skipped..];
    }
    out
}

/// Up to behind the quote that ends it. What follows a backslash ends nothing, in a raw text neither.
fn quoted(text: &str, quote: &str) -> usize {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if text[at..].starts_with(quote) {
            return at + quote.len();
        }
        if letter == '\\' {
            letters.next();
        }
    }
    text.len()
}

/// A text as it stands in GoogleSQL: <https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#string_and_bytes_literals>.
pub(super) fn text(text: &str) -> String {
    let mut out = String::from("'");
    for letter in text.chars() {
        match letter {
            '\'' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            letter if letter.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('\'');
    out
}

/// A value, given as text, as it stands beside a column of this type.
pub(super) fn literal(kind: &str, value: &str) -> Result<String> {
    let number = || value.parse::<f64>().is_ok_and(f64::is_finite).then(|| value.to_owned());
    let written = match kind {
        "STRING" => Some(text(value)),
        "INT64" => value.parse::<i64>().ok().map(|n| n.to_string()),
        "FLOAT64" | "NUMERIC" | "BIGNUMERIC" => number(),
        "BOOL" => value.parse::<bool>().ok().map(|b| b.to_string()),
        _ => Some(format!("CAST({} AS {kind})", text(value))),
    };
    written.ok_or_else(|| Error::Invalid(format!("`{value}` is no {kind}, which the column of the partition holds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_place() {
        assert_eq!(text("it's \\ 1\n"), "'it\\'s \\\\ 1\\n'");
        assert_eq!(literal("INT64", "7").unwrap(), "7");
        assert_eq!(literal("DATE", "2021-01-01").unwrap(), "CAST('2021-01-01' AS DATE)");
        for (kind, value) in [("INT64", "7 OR true"), ("NUMERIC", "NaN"), ("BOOL", "1=1")] {
            assert!(literal(kind, value).is_err(), "{kind} {value}");
        }
    }

    #[tokio::test]
    async fn only_a_question_is_asked() {
        for statement in ["DELETE FROM t WHERE true", "SELECT 1; DROP TABLE t", "selected", ""] {
            let error = ask("bigquery://p/d", &Lake::new(), statement).await.unwrap_err();
            assert!(error.to_string().contains("one SELECT"), "{statement}: {error}");
        }
    }

    #[test]
    fn texts_and_comments_are_no_statements() {
        for (query, is_question) in [
            ("-- the numbers; all\nSELECT 1; -- ;\n", true),
            ("/* ; */ # ;\n(SELECT ';', \"a;\\\";\", `b;`, ''';';''')", true),
            ("SELECT r'\\'; DELETE FROM t --'", true),
            ("SELECT 'a'; DELETE FROM t --'", false),
            ("SELECT 1 /*/ ; */ ; SELECT 2", false),
            ("/* SELECT */ DELETE FROM t", false),
        ] {
            assert_eq!(check_question(query).is_ok(), is_question, "{query}");
        }
    }
}
