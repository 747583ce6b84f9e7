//! Keys that tries share a limit by: texts like `load {table}`, where `{table}` stands for an argument of the task.

use std::iter::Peekable;
use std::str::Chars;

/// A piece of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The value of this argument.
    Argument(String),
}

/// Takes a key apart. `{{` and `}}` stand for the braces themselves.
pub fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let refuse = |why: &str| Err(format!("`{template}` is not a key: {why}; write one like \"load {{table}}\""));
    if template.trim().is_empty() {
        return refuse("it is empty");
    }
    let (mut found, mut text) = (Vec::new(), String::new());
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.peek() == Some(&c) => text.extend(chars.next()),
            '}' => return refuse("a `}` closes nothing (write `}}` for the brace itself)"),
            '{' => match argument(&mut chars) {
                Some(name) => {
                    found.extend(Some(std::mem::take(&mut text)).filter(|text| !text.is_empty()).map(Piece::Text));
                    found.push(Piece::Argument(name));
                }
                None => return refuse("between `{` and `}` stands the name of an argument"),
            },
            c => text.push(c),
        }
    }
    found.extend(Some(text).filter(|text| !text.is_empty()).map(Piece::Text));
    Ok(found)
}

/// The name up to the next `}`.
fn argument(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut name = String::new();
    for c in chars {
        match c {
            '}' => return Some(name).filter(|name| !name.is_empty()),
            c if c.is_alphanumeric() || c == '_' => name.push(c),
            _ => return None,
        }
    }
    None
}

/// The names of the arguments that stand in a key, each once.
pub fn arguments(template: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for part in pieces(template)? {
        if let Piece::Argument(name) = part
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// The key itself; `None` if it is not one, or a value is not known.
pub fn fill(template: &str, mut value: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut key = String::new();
    for part in pieces(template).ok()? {
        match part {
            Piece::Text(text) => key.push_str(&text),
            Piece::Argument(name) => key.push_str(&value(&name)?),
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_text_with_arguments_in_it() {
        assert_eq!(arguments("load {table} of {schema}, {table}").unwrap(), ["table", "schema"]);
        let value = |name: &str| (name == "table").then(|| "trips".into());
        assert_eq!(fill("load {table}", value).as_deref(), Some("load trips"));
        assert_eq!(fill("{{{table}}}", value).as_deref(), Some("{trips}"));
        assert_eq!(fill("api", |_| None).as_deref(), Some("api"));
        assert_eq!(fill("load {other}", value), None);
    }

    #[test]
    fn what_is_no_key_is_refused_with_a_sentence() {
        for (text, why) in [
            ("", "it is empty"),
            ("load {table", "between `{` and `}` stands the name"),
            ("load {}", "between `{` and `}` stands the name"),
            ("load {table.name}", "between `{` and `}` stands the name"),
            ("load table}", "closes nothing"),
        ] {
            let said = pieces(text).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
