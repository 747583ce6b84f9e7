//! Does a value fit a JSON Schema? Draft 2020-12 and what draft 7 wrote otherwise, without `$dynamicRef` and
//! `unevaluated*`, and with references inside the schema alone: nothing is ever fetched.

use super::format;
use super::schema::{DEPTH, draft_04};
use regex::Regex;
use serde_json::{Map, Number, Value};
use std::fmt::Write;

/// Why a value does not fit.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// The schema is wrong.
    Schema(String),
    /// The value at `path` is not what the schema takes there.
    Value { path: String, takes: String, given: String },
}

impl Fault {
    /// What is taken and what was given, to follow the name of a param.
    pub(super) fn sentence(&self, secret: bool) -> String {
        match self {
            Fault::Schema(why) => why.clone(),
            Fault::Value { takes, .. } if secret => {
                format!("takes {takes}, and what was given is not shown")
            }
            Fault::Value { path, takes, given } if path.is_empty() => {
                format!("takes {takes}, not {given}")
            }
            Fault::Value { path, takes, given } => {
                format!("at {} takes {takes}, not {given}", path.trim_start_matches('.'))
            }
        }
    }
}

/// Checks `value` against `schema`, and tells the first fault.
pub(super) fn validate(schema: &Value, value: &Value) -> Result<(), Fault> {
    let check = Check { root: schema, old: draft_04(schema) };
    check.value(schema, value, "", DEPTH)
}

struct Check<'s> {
    root: &'s Value,
    /// Draft 4.
    old: bool,
}

type Outcome = Result<(), Fault>;

fn refuse(path: &str, takes: impl Into<String>, given: &Value) -> Outcome {
    let mut text = given.to_string();
    if text.chars().count() > 60 {
        text = text.chars().take(57).collect::<String>() + "...";
    }
    Err(Fault::Value { path: path.into(), takes: takes.into(), given: text })
}

impl Check<'_> {
    fn value(&self, schema: &Value, value: &Value, path: &str, depth: usize) -> Outcome {
        let keywords = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(keywords) => keywords,
            _ => return refuse(path, "nothing", value),
        };
        if depth == 0 {
            return Err(Fault::Schema(format!("it refers to itself, or is nested, deeper than {DEPTH} levels")));
        }
        if let Some(reference) = keywords.get("$ref").and_then(Value::as_str) {
            self.value(self.resolve(reference)?, value, path, depth - 1)?;
        }
        self.any_type(keywords, value, path)?;
        match value {
            Value::Number(number) => self.number(keywords, number, value, path)?,
            Value::String(text) => self.text(keywords, text, value, path)?,
            Value::Array(list) => self.list(keywords, list, value, path, depth)?,
            Value::Object(map) => self.object(keywords, map, value, path, depth)?,
            _ => {}
        }
        self.combined(keywords, value, path, depth)
    }

    /// `#`, `#/$defs/x` and `#anchor`.
    fn resolve(&self, reference: &str) -> Result<&Value, Fault> {
        let inside = reference.strip_prefix('#');
        let found = inside.and_then(|at| match at.strip_prefix('/') {
            _ if at.is_empty() => Some(self.root),
            Some(_) => self.root.pointer(&at.replace("%24", "$").replace("%25", "%")),
            None => {
                let named = |v: &&Value| v.get("$anchor").and_then(Value::as_str) == Some(at);
                let defs = self.root.get("$defs").or(self.root.get("definitions"))?.as_object()?;
                defs.values().find(named)
            }
        });
        found.ok_or_else(|| Fault::Schema(format!("it refers to `{reference}`, which it does not hold")))
    }

    fn any_type(&self, keywords: &Map<String, Value>, value: &Value, path: &str) -> Outcome {
        let names: Vec<&str> = match keywords.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !names.is_empty() && !names.iter().any(|name| self.is_a(name, value)) {
            return refuse(path, names.iter().map(|n| article(n)).collect::<Vec<_>>().join(" or "), value);
        }
        if let Some(Value::Array(list)) = keywords.get("enum")
            && !list.iter().any(|v| equal(v, value))
        {
            let all: Vec<String> = list.iter().map(ToString::to_string).collect();
            return refuse(path, format!("one of {}", all.join(", ")), value);
        }
        match keywords.get("const") {
            Some(only) if !equal(only, value) => refuse(path, only.to_string(), value),
            _ => Ok(()),
        }
    }

    fn is_a(&self, name: &str, value: &Value) -> bool {
        match name {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "integer" => {
                let whole = |n: f64| !self.old && n.fract() == 0.0;
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(whole)
            }
            _ => false,
        }
    }

    fn number(&self, keywords: &Map<String, Value>, number: &Number, value: &Value, path: &str) -> Outcome {
        let limit = |name| keywords.get(name).and_then(Value::as_number);
        let strict = |name| self.old && keywords.get(name) == Some(&Value::Bool(true));
        let below = |limit: &Number, strict: bool| less(number, limit) || (strict && same(number, limit));
        let above = |limit: &Number, strict: bool| less(limit, number) || (strict && same(number, limit));
        if let Some(min) = limit("minimum").filter(|min| below(min, strict("exclusiveMinimum"))) {
            return refuse(path, format!("a number of at least {min}"), value);
        }
        if let Some(max) = limit("maximum").filter(|max| above(max, strict("exclusiveMaximum"))) {
            return refuse(path, format!("a number of at most {max}"), value);
        }
        if let Some(min) = limit("exclusiveMinimum").filter(|min| below(min, true)) {
            return refuse(path, format!("a number above {min}"), value);
        }
        if let Some(max) = limit("exclusiveMaximum").filter(|max| above(max, true)) {
            return refuse(path, format!("a number below {max}"), value);
        }
        match limit("multipleOf").filter(|step| !is_multiple(number, step)) {
            Some(step) => refuse(path, format!("a multiple of {step}"), value),
            None => Ok(()),
        }
    }

    fn text(&self, keywords: &Map<String, Value>, text: &str, value: &Value, path: &str) -> Outcome {
        let length = text.chars().count() as u64;
        if let Some(min) = count(keywords, "minLength").filter(|&min| length < min) {
            return refuse(path, format!("text of at least {min} characters"), value);
        }
        if let Some(max) = count(keywords, "maxLength").filter(|&max| length > max) {
            return refuse(path, format!("text of at most {max} characters"), value);
        }
        if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str)
            && !matches(pattern, text)
        {
            let example = keywords.get("examples").and_then(|examples| examples.get(0)).and_then(Value::as_str);
            let like = example.map_or(String::new(), |example| format!("like `{example}`, "));
            return refuse(path, format!("text {like}that matches {pattern}"), value);
        }
        let format = keywords.get("format").and_then(Value::as_str);
        match format.and_then(|format| format::refuses(format, text)) {
            Some(name) => refuse(path, name, value),
            None => Ok(()),
        }
    }

    fn list(&self, keywords: &Map<String, Value>, list: &[Value], value: &Value, path: &str, depth: usize) -> Outcome {
        let length = list.len() as u64;
        if let Some(min) = count(keywords, "minItems").filter(|&min| length < min) {
            return refuse(path, format!("a list of at least {min} elements"), value);
        }
        if let Some(max) = count(keywords, "maxItems").filter(|&max| length > max) {
            return refuse(path, format!("a list of at most {max} elements"), value);
        }
        if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
            let twice = |n: usize| list[..n].iter().any(|v| equal(v, &list[n]));
            if (0..list.len()).any(twice) {
                return refuse(path, "a list without repetitions", value);
            }
        }
        // A list of schemas under `items` is what drafts before 2020 wrote for `prefixItems`.
        let (first, rest) = match keywords.get("items") {
            Some(Value::Array(first)) => (first.as_slice(), keywords.get("additionalItems")),
            rest => (keywords.get("prefixItems").and_then(Value::as_array).map_or(&[][..], |f| f), rest),
        };
        for (n, item) in list.iter().enumerate() {
            if let Some(schema) = first.get(n).or(rest) {
                self.value(schema, item, &format!("{path}[{n}]"), depth - 1)?;
            }
        }
        if let Some(schema) = keywords.get("contains") {
            let fits = list.iter().filter(|item| self.value(schema, item, path, depth - 1).is_ok()).count() as u64;
            let least = count(keywords, "minContains").unwrap_or(1);
            if fits < least || count(keywords, "maxContains").is_some_and(|most| fits > most) {
                return refuse(path, "a list with other elements in it", value);
            }
        }
        Ok(())
    }

    fn object(
        &self,
        keywords: &Map<String, Value>,
        map: &Map<String, Value>,
        value: &Value,
        path: &str,
        depth: usize,
    ) -> Outcome {
        let length = map.len() as u64;
        if let Some(min) = count(keywords, "minProperties").filter(|&min| length < min) {
            return refuse(path, format!("an object of at least {min} keys"), value);
        }
        if let Some(max) = count(keywords, "maxProperties").filter(|&max| length > max) {
            return refuse(path, format!("an object of at most {max} keys"), value);
        }
        let mut needed: Vec<&Value> =
            keywords.get("required").and_then(Value::as_array).into_iter().flatten().collect();
        if let Some(of) = keywords.get("dependentRequired").and_then(Value::as_object) {
            needed.extend(
                of.iter().filter(|(key, _)| map.contains_key(*key)).filter_map(|(_, v)| v.as_array()).flatten(),
            );
        }
        if let Some(key) = needed.into_iter().filter_map(Value::as_str).find(|key| !map.contains_key(*key)) {
            return refuse(path, format!("an object with the key `{key}`"), value);
        }
        let members = |name| keywords.get(name).and_then(Value::as_object);
        for (key, item) in map {
            let at = format!("{path}.{key}");
            let mut known = false;
            if let Some(schema) = members("properties").and_then(|p| p.get(key)) {
                known = true;
                self.value(schema, item, &at, depth - 1)?;
            }
            for (pattern, schema) in members("patternProperties").into_iter().flatten() {
                if matches(pattern, key) {
                    known = true;
                    self.value(schema, item, &at, depth - 1)?;
                }
            }
            match keywords.get("additionalProperties") {
                Some(Value::Bool(false)) if !known => {
                    let mut takes = String::from("an object of no other keys");
                    if let Some(known) = members("properties") {
                        let names: Vec<&str> = known.keys().map(String::as_str).collect();
                        let _ = write!(takes, " than {}", names.join(", "));
                    }
                    return refuse(path, takes, value);
                }
                Some(schema) if !known => self.value(schema, item, &at, depth - 1)?,
                _ => {}
            }
            if let Some(schema) = keywords.get("propertyNames") {
                self.value(schema, &Value::String(key.clone()), &at, depth - 1)?;
            }
            if let Some(schema) = members("dependentSchemas").and_then(|d| d.get(key)) {
                self.value(schema, value, path, depth - 1)?;
            }
        }
        Ok(())
    }

    fn combined(&self, keywords: &Map<String, Value>, value: &Value, path: &str, depth: usize) -> Outcome {
        let fits = |schema: &Value| self.value(schema, value, path, depth - 1);
        let list = |name| keywords.get(name).and_then(Value::as_array);
        for schema in list("allOf").into_iter().flatten() {
            fits(schema)?;
        }
        for (name, exactly_one) in [("anyOf", false), ("oneOf", true)] {
            let Some(schemas) = list(name) else { continue };
            let mut faults = Vec::new();
            for schema in schemas {
                match fits(schema) {
                    Err(Fault::Schema(why)) => return Err(Fault::Schema(why)),
                    Err(fault) => faults.push(fault),
                    Ok(()) => {}
                }
            }
            let good = schemas.len() - faults.len();
            if good == 0 && faults.len() == 1 {
                return Err(faults.remove(0));
            }
            if good == 0 {
                return refuse(path, alternatives(path, &faults), value);
            }
            if good > 1 && exactly_one {
                return refuse(path, "what fits exactly one of its alternatives", value);
            }
        }
        if let Some(schema) = keywords.get("not")
            && fits(schema).is_ok()
        {
            return refuse(path, "anything but what its schema rules out", value);
        }
        match keywords.get("if").map(|condition| fits(condition).is_ok()) {
            Some(true) => keywords.get("then").map_or(Ok(()), fits),
            Some(false) => keywords.get("else").map_or(Ok(()), fits),
            None => Ok(()),
        }
    }
}

/// `an integer or null`, from the faults of the alternatives that speak of the value itself.
fn alternatives(path: &str, faults: &[Fault]) -> String {
    let mut all: Vec<&str> = Vec::new();
    for fault in faults {
        match fault {
            Fault::Value { path: at, takes, .. } if at == path && !all.contains(&takes.as_str()) => all.push(takes),
            _ => {}
        }
    }
    if all.is_empty() { "one of its alternatives".into() } else { all.join(" or ") }
}

fn article(name: &str) -> String {
    match name {
        "null" => "null".into(),
        "boolean" => "true or false".into(),
        "string" => "text".into(),
        "array" => "a list".into(),
        "integer" | "object" => format!("an {name}"),
        _ => format!("a {name}"),
    }
}

fn count(keywords: &Map<String, Value>, name: &str) -> Option<u64> {
    let value = keywords.get(name)?;
    value.as_u64().or_else(|| value.as_f64().map(|n| n as u64))
}

fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
}

/// Whole numbers are compared as such: as floats, large neighbours would be equal.
fn whole(n: &Number) -> Option<i128> {
    n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from))
}

fn float(n: &Number) -> f64 {
    n.as_f64().unwrap_or(f64::NAN)
}

fn less(a: &Number, b: &Number) -> bool {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a < b,
        _ => float(a) < float(b),
    }
}

fn same(a: &Number, b: &Number) -> bool {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a == b,
        _ => float(a) == float(b),
    }
}

/// Float arithmetic where the step is no whole number: 0.3 is no multiple of 0.1, as in Airflow.
fn is_multiple(n: &Number, step: &Number) -> bool {
    match (whole(n), whole(step)) {
        (_, Some(0)) => false,
        (Some(n), Some(step)) => n % step == 0,
        (None, Some(_)) => float(n) % float(step) == 0.0,
        (_, None) => (float(n) / float(step)).fract() == 0.0,
    }
}

/// Equality of JSON: 1 is 1.0, and neither is true.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, validate};
    use serde_json::{Value, json};

    fn fits(schema: Value, value: Value) -> bool {
        validate(&schema, &value).is_ok()
    }

    #[test]
    fn numbers_are_compared_by_value_and_booleans_are_none() {
        assert!(fits(json!({"const": 1}), json!(1.0)));
        assert!(!fits(json!({"const": 1}), json!(true)));
        assert!(!fits(json!({"enum": [[1]]}), json!([true])));
        assert!(fits(json!({"type": "integer"}), json!(1.0)));
        assert!(!fits(json!({"maximum": 18446744073709551614u64}), json!(18446744073709551615u64)));
        assert!(!fits(json!({"multipleOf": 0.1}), json!(0.3)));
        assert!(fits(json!({"uniqueItems": true}), json!([1, true])));
        assert!(!fits(json!({"uniqueItems": true}), json!([{"a": 1}, {"a": 1.0}])));
    }

    #[test]
    fn references_lead_inside_and_end() {
        let list = json!({"$ref": "#/$defs/l", "$defs": {
            "l": {"type": "object", "properties": {"next": {"$ref": "#/$defs/l"}}, "additionalProperties": false}
        }});
        assert!(fits(list.clone(), json!({"next": {"next": {}}})));
        assert!(!fits(list, json!({"next": {"nxt": {}}})));
        let endless = validate(&json!({"$ref": "#"}), &json!(1));
        assert!(matches!(endless, Err(Fault::Schema(_))), "{endless:?}");
        let outside = validate(&json!({"$ref": "https://example.com/s"}), &json!(1));
        assert!(matches!(outside, Err(Fault::Schema(_))), "{outside:?}");
    }

    #[test]
    fn alternatives_are_told_together() {
        let schema = json!({"anyOf": [{"type": "integer"}, {"type": "null"}]});
        let fault = validate(&schema, &json!("x")).expect_err("it is neither");
        assert_eq!(fault.sentence(false), "takes an integer or null, not \"x\"");
    }
}
