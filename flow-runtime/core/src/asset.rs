//! Assets: data that tasks make, by name, and the conditions over them that start DAGs.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Longest name of an asset, in bytes.
pub const LONGEST_NAME: usize = 250;
/// How deep brackets may lie in each other in a condition.
const DEEPEST: usize = 32;

/// An asset that a DAG makes, reads or waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AssetDef {
    /// Its name, the same in all DAGs.
    pub name: String,
    /// Where it lies, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

/// May an asset be called so? Letters, digits and `_ - . / :`, beginning with a letter or a digit.
pub const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > LONGEST_NAME || !bytes[0].is_ascii_alphanumeric() {
        return false;
    }
    let mut at = 1;
    while at < bytes.len() {
        if !(bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'_' | b'-' | b'.' | b'/' | b':')) {
            return false;
        }
        at += 1;
    }
    true
}

/// Which assets must have come: `trips & (weather | holidays)`. Its text is its stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssetExpr {
    /// This one.
    Asset(String),
    /// All of these, of which there are at least two.
    All(Vec<AssetExpr>),
    /// Any of these, of which there are at least two.
    Any(Vec<AssetExpr>),
}

impl AssetExpr {
    /// Reads names, `&`, `|` and brackets; `&` binds more strongly.
    pub fn parse(text: &str) -> Result<AssetExpr, String> {
        let mut parser = Parser { rest: text, depth: 0 };
        let expr = parser.any()?;
        match parser.peek() {
            None => Ok(expr),
            Some(_) => Err(format!("`{}` is not expected there: assets are joined by `&` and `|`", parser.rest.trim())),
        }
    }

    /// Both.
    pub fn and(self, other: AssetExpr) -> AssetExpr {
        let list = |expr| if let AssetExpr::All(list) = expr { list } else { vec![expr] };
        AssetExpr::All([list(self), list(other)].concat())
    }

    /// Either.
    pub fn or(self, other: AssetExpr) -> AssetExpr {
        let list = |expr| if let AssetExpr::Any(list) = expr { list } else { vec![expr] };
        AssetExpr::Any([list(self), list(other)].concat())
    }

    /// Does it hold, when these have come?
    pub fn holds(&self, has_come: &dyn Fn(&str) -> bool) -> bool {
        match self {
            AssetExpr::Asset(name) => has_come(name),
            AssetExpr::All(list) => list.iter().all(|expr| expr.holds(has_come)),
            AssetExpr::Any(list) => list.iter().any(|expr| expr.holds(has_come)),
        }
    }

    /// What is still waited for, when these have come; nothing if it holds.
    pub fn missing(&self, has_come: &dyn Fn(&str) -> bool) -> Option<AssetExpr> {
        if self.holds(has_come) {
            return None;
        }
        let missing = |list: &[AssetExpr]| list.iter().filter_map(|expr| expr.missing(has_come)).collect::<Vec<_>>();
        match self {
            AssetExpr::Asset(_) => Some(self.clone()),
            AssetExpr::All(list) => missing(list).into_iter().reduce(AssetExpr::and),
            AssetExpr::Any(list) => missing(list).into_iter().reduce(AssetExpr::or),
        }
    }

    /// The assets it speaks of.
    pub fn names(&self) -> BTreeSet<&str> {
        match self {
            AssetExpr::Asset(name) => BTreeSet::from([name.as_str()]),
            AssetExpr::All(list) | AssetExpr::Any(list) => list.iter().flat_map(AssetExpr::names).collect(),
        }
    }
}

impl fmt::Display for AssetExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (list, sign) = match self {
            AssetExpr::Asset(name) => return f.write_str(name),
            AssetExpr::All(list) => (list, " & "),
            AssetExpr::Any(list) => (list, " | "),
        };
        for (n, expr) in list.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { sign })?;
            match expr {
                AssetExpr::Asset(name) => f.write_str(name)?,
                AssetExpr::All(_) if sign == " | " => write!(f, "{expr}")?,
                _ => write!(f, "({expr})")?,
            }
        }
        Ok(())
    }
}

impl FromStr for AssetExpr {
    type Err = String;

    fn from_str(text: &str) -> Result<AssetExpr, String> {
        AssetExpr::parse(text)
    }
}

struct Parser<'t> {
    rest: &'t str,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn takes(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(sign);
        if found {
            self.rest = &self.rest[sign.len_utf8()..];
        }
        found
    }

    fn any(&mut self) -> Result<AssetExpr, String> {
        let mut expr = self.all()?;
        while self.takes('|') {
            expr = expr.or(self.all()?);
        }
        Ok(expr)
    }

    fn all(&mut self) -> Result<AssetExpr, String> {
        let mut expr = self.one()?;
        while self.takes('&') {
            expr = expr.and(self.one()?);
        }
        Ok(expr)
    }

    fn one(&mut self) -> Result<AssetExpr, String> {
        if self.takes('(') {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err(format!("brackets lie more than {DEEPEST} deep in each other"));
            }
            let expr = self.any()?;
            self.depth -= 1;
            return if self.takes(')') { Ok(expr) } else { Err("a bracket is not closed".into()) };
        }
        self.peek();
        let end = self.rest.find(|c: char| c.is_whitespace() || "&|()".contains(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        match name {
            "" => Err("the name of an asset is missing".into()),
            name if is_name(name) => Ok(AssetExpr::Asset(name.into())),
            name => {
                Err(format!("`{name}` cannot be the name of an asset: letters, digits and `_ - . / :` are allowed"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expr(text: &str) -> AssetExpr {
        AssetExpr::parse(text).expect(text)
    }

    #[test]
    fn and_binds_more_strongly_than_or_and_brackets_most() {
        for (text, written) in [
            ("trips", "trips"),
            (" a&b & c ", "a & b & c"),
            ("a | b & c", "a | b & c"),
            ("(a | b) & c", "(a | b) & c"),
            ("((a))", "a"),
            ("a & (b & c)", "a & b & c"),
            ("s3://bucket/trips.csv | x-1", "s3://bucket/trips.csv | x-1"),
        ] {
            assert_eq!(expr(text).to_string(), written);
        }
    }

    #[test]
    fn what_is_waited_for_is_what_would_make_it_hold() {
        let came = |names: &'static [&'static str]| move |name: &str| names.contains(&name);
        let missing = |text: &str, names| expr(text).missing(&came(names)).map(|expr| expr.to_string());
        assert_eq!(missing("a & b", &["a"]), Some("b".into()));
        assert_eq!(missing("a & b", &["a", "b"]), None);
        assert_eq!(missing("a | b", &[]), Some("a | b".into()));
        assert_eq!(missing("a & (b | c & d)", &["a", "c"]), Some("b | d".into()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("", "the name of an asset is missing"),
            ("a &", "the name of an asset is missing"),
            ("a b", "`b` is not expected there"),
            ("(a", "a bracket is not closed"),
            ("a & !b", "`!b` cannot be the name"),
        ] {
            let error = AssetExpr::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(AssetExpr::parse(&"(".repeat(100_000)).expect_err("deep").contains("32 deep"));
    }
}
