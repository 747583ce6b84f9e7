//! JSON for people: what fits on a line stands on one.

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
