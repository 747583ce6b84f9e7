//! Is a JSON Schema itself right? A wrong one is the author's mistake, and must not be found with a person's value.

use serde_json::{Map, Value};

/// The names of `type`.
pub(super) const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Deepest nesting that is walked, in schemas and in values.
pub(super) const DEPTH: usize = 64;

/// What is wrong with a schema, in words that follow "is wrong:".
pub(super) fn problem(schema: &Value) -> Option<String> {
    walk(schema, draft_04(schema), DEPTH).err()
}

/// Draft 4 has another `exclusiveMinimum`, and 1.0 is no integer in it.
pub(super) fn draft_04(root: &Value) -> bool {
    let named = root.get("$schema").and_then(Value::as_str);
    named.is_some_and(|url| url.contains("draft-04") || url.contains("draft-03"))
}

fn walk(schema: &Value, old: bool, depth: usize) -> Result<(), String> {
    let keywords = match schema {
        Value::Bool(_) => return Ok(()),
        Value::Object(keywords) => keywords,
        other => return Err(format!("a schema is an object or a boolean, not {other}")),
    };
    if depth == 0 {
        return Err(format!("it is nested deeper than {DEPTH} levels"));
    }
    for (keyword, value) in keywords {
        let wrong = |what: &str| Err(format!("`{keyword}` is {what}, not {value}"));
        match keyword.as_str() {
            "type" if !is_type(value) => {
                return wrong("one of null, boolean, integer, number, string, array, object, or a list of them");
            }
            "enum" if !value.is_array() => return wrong("a list"),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minContains"
            | "maxContains"
                if !is_count(value) =>
            {
                return wrong("a whole number of at least 0");
            }
            "exclusiveMinimum" | "exclusiveMaximum" if old && !value.is_boolean() => {
                return wrong("true or false");
            }
            "exclusiveMinimum" | "exclusiveMaximum" if !old && !value.is_number() => {
                return wrong("a number");
            }
            "minimum" | "maximum" if !value.is_number() => return wrong("a number"),
            "multipleOf" if !value.as_f64().is_some_and(|n| n > 0.0) => {
                return wrong("a number above 0");
            }
            "uniqueItems" if !value.is_boolean() => return wrong("true or false"),
            "required" if !is_names(value) => return wrong("a list of names"),
            "format" | "$ref" | "$schema" | "$anchor" | "$id" if !value.is_string() => {
                return wrong("text");
            }
            "pattern" => pattern(value)?,
            "items" => match value {
                Value::Array(list) => each(list, old, depth)?,
                one => walk(one, old, depth - 1)?,
            },
            "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "propertyNames"
            | "additionalProperties"
            | "additionalItems" => walk(value, old, depth - 1)?,
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => match value.as_array().filter(|list| !list.is_empty()) {
                Some(list) => each(list, old, depth)?,
                None => return wrong("a list of schemas"),
            },
            "properties" | "$defs" | "definitions" | "dependentSchemas" => {
                members(keyword, value, old, depth)?;
            }
            "patternProperties" => {
                for name in members(keyword, value, old, depth)?.keys() {
                    pattern(&Value::String(name.clone()))?;
                }
            }
            "dependentRequired" if !value.as_object().is_some_and(|map| map.values().all(is_names)) => {
                return wrong("an object of lists of names");
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_type(value: &Value) -> bool {
    let known = |v: &Value| v.as_str().is_some_and(|name| TYPES.contains(&name));
    match value {
        Value::Array(list) => !list.is_empty() && list.iter().all(known),
        one => known(one),
    }
}

fn is_count(value: &Value) -> bool {
    value.as_u64().is_some() || value.as_f64().is_some_and(|n| n >= 0.0 && n.fract() == 0.0)
}

fn is_names(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

fn pattern(value: &Value) -> Result<(), String> {
    let Some(text) = value.as_str() else {
        return Err(format!("`pattern` is text, not {value}"));
    };
    match regex::Regex::new(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("`{text}` is not a regular expression (look-around and back-references are not known)")),
    }
}

fn each(list: &[Value], old: bool, depth: usize) -> Result<(), String> {
    list.iter().try_for_each(|schema| walk(schema, old, depth - 1))
}

fn members<'v>(keyword: &str, value: &'v Value, old: bool, depth: usize) -> Result<&'v Map<String, Value>, String> {
    let Some(map) = value.as_object() else {
        return Err(format!("`{keyword}` is an object of schemas, not {value}"));
    };
    map.values().try_for_each(|schema| walk(schema, old, depth - 1))?;
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::problem;
    use serde_json::json;

    #[test]
    fn wrong_schemas_are_found_and_named() {
        for (schema, why) in [
            (json!({"type": "made-up"}), "`type` is one of"),
            (json!({"type": "string", "minLength": "2"}), "`minLength` is a whole number"),
            (json!({"type": "integer", "required": true}), "`required` is a list of names"),
            (json!({"properties": {"a": {"type": 1}}}), "`type` is one of"),
            (json!({"pattern": "["}), "is not a regular expression"),
            (json!({"anyOf": []}), "`anyOf` is a list of schemas"),
            (json!({"minimum": 0, "exclusiveMinimum": true}), "`exclusiveMinimum` is a number"),
            (json!(5), "a schema is an object"),
        ] {
            let found = problem(&schema).unwrap_or_default();
            assert!(found.contains(why), "{schema}: {found}");
        }
        let old = json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 0, "exclusiveMinimum": true});
        assert_eq!(problem(&old), None);
        assert_eq!(problem(&json!(true)), None);
    }
}
