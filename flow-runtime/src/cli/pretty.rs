//! JSON for people: what fits on a line stands on one; and a whole value in a few words.

use super::format::short;
use serde_json::Value;

/// Longest line where there is no terminal.
const WIDTH: usize = 100;

/// The value, laid out for lines of this many columns.
pub fn json(value: &Value, width: Option<usize>) -> String {
    let mut out = String::new();
    put(value, 0, width.unwrap_or(WIDTH), 0, &mut out);
    out
}

/// `taken` columns of the line are used already.
fn put(value: &Value, indent: usize, width: usize, taken: usize, out: &mut String) {
    let line = one_line(value);
    if taken + line.chars().count() < width || matches!(value, Value::Null | Value::Bool(_)) {
        return out.push_str(&line);
    }
    match value {
        Value::Array(list) if !list.is_empty() => {
            let items = list.iter().map(|item| (String::new(), item));
            block(items, ('[', ']'), indent, width, out);
        }
        Value::Object(map) if !map.is_empty() => {
            let items = map.iter().map(|(name, item)| (format!("{}: ", Value::from(name.as_str())), item));
            block(items, ('{', '}'), indent, width, out);
        }
        _ => out.push_str(&line),
    }
}

fn block<'v>(
    items: impl ExactSizeIterator<Item = (String, &'v Value)>,
    (open, close): (char, char),
    indent: usize,
    width: usize,
    out: &mut String,
) {
    let inner = indent + 2;
    let last = items.len() - 1;
    out.push(open);
    for (n, (name, item)) in items.enumerate() {
        out.push('\n');
        out.push_str(&" ".repeat(inner));
        out.push_str(&name);
        put(item, inner, width, inner + name.chars().count() + 1, out);
        if n < last {
            out.push(',');
        }
    }
    out.push('\n');
    out.push_str(&" ".repeat(indent));
    out.push(close);
}

/// `{"a": 1, "b": [2, 3]}`
fn one_line(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(name, item)| format!("{}: {}", Value::from(name.as_str()), one_line(item)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A value on one line of at most this many columns: of an object the numbers first, for they say most, then the texts.
pub fn brief(text: &str, columns: usize) -> String {
    let Ok(Value::Object(map)) = serde_json::from_str::<Value>(text) else { return short(text, columns) };
    let rank = |value: &Value| match value {
        Value::Number(_) | Value::Bool(_) => 0,
        Value::String(_) => 1,
        _ => 2,
    };
    let mut fields: Vec<(&String, &Value)> = map.iter().filter(|(_, value)| !value.is_null()).collect();
    fields.sort_by_key(|(_, value)| rank(value));
    let words = fields.into_iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}={}", short(text, 60)),
        Value::Array(list) => format!("{name}=[{}]", list.len()),
        Value::Object(_) => format!("{name}={{..}}"),
        other => format!("{name}={other}"),
    });
    short(&words.collect::<Vec<_>>().join(" "), columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_in_a_few_words_begins_with_its_numbers() {
        let text = r#"{"path":"/tmp/a.csv","rows":7,"none":null,"first":[1,2],"ok":true}"#;
        assert_eq!(brief(text, 100), "ok=true rows=7 path=/tmp/a.csv first=[2]");
        assert_eq!(brief(text, 12), "ok=true row…");
        assert_eq!(brief("[1,2]", 100), "[1,2]");
        assert_eq!(brief("{cut", 100), "{cut");
    }

    #[test]
    fn what_fits_stands_on_one_line() {
        assert_eq!(json(&json!({"a": [1, 2], "b": {}}), None), "{\"a\": [1, 2], \"b\": {}}");
        let wide = json!({"rows": [["one", "two"], ["three", "four"]], "n": 2});
        let expected = "{\n  \"n\": 2,\n  \"rows\": [\n    [\"one\", \"two\"],\n    [\"three\", \"four\"]\n  ]\n}";
        assert_eq!(json(&wide, Some(30)), expected);
        for width in [1, 10, 30, 200] {
            let text = json(&wide, Some(width));
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wide, "{width}");
        }
    }
}
