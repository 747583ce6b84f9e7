//! [`Secret`] values, and the list of texts that nobody may print.
//!
//! A secret is a param or an argument, never an output: `Secret<T>` cannot be serialised, so a task that returns one, or
//! a DAG that writes one down as a literal, does not compile. At run time every secret that was read is put on a list
//! ([`conceal`]); whatever leaves the process through logs, errors, events or the store passes [`redact`] first, which
//! replaces the texts on the list and the password of every URL by `***`.

use parking_lot::RwLock;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// What stands where a secret stood.
pub const MARK: &str = flow_core::dag_run::SECRET_MARK;

/// Texts shorter than this many bytes are not put on the list: replacing every `a` in a log would hide nothing and
/// destroy the rest. (Airflow's limit is 5 as well.)
pub const SHORTEST: usize = 5;

/// A value that is never printed, logged or stored. Read it with [`Secret::expose`].
///
/// ```
/// use flow_runtime::Secret;
/// let password = Secret::new(String::from("hunter2hunter2"));
/// assert_eq!(format!("{password:?}"), "Secret(***)");
/// assert_eq!(password.expose(), "hunter2hunter2");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value. (This alone does not put it on the list of texts that are redacted; reading a param does.)
    pub fn new(value: T) -> Secret<T> {
        Secret(value)
    }

    /// The value itself.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({MARK})")
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        T::deserialize(d).map(Secret)
    }
}

impl<T: JsonSchema> JsonSchema for Secret<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Secret_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert("writeOnly".into(), Value::Bool(true));
        schema.insert("format".into(), Value::String("password".into()));
        schema
    }

    fn inline_schema() -> bool {
        true
    }
}

/// The longest first, so that a secret that contains another is replaced whole.
static CONCEALED: RwLock<BTreeSet<(std::cmp::Reverse<usize>, String)>> = RwLock::new(BTreeSet::new());

/// Puts every text inside this value on the list of those that [`redact`] replaces: as it is, as JSON writes it, and, if
/// it is a URL, its password alone (as written and decoded).
pub fn conceal(value: &Value) {
    match value {
        Value::String(text) => conceal_text(text),
        Value::Number(number) => conceal_text(&number.to_string()),
        Value::Array(list) => list.iter().for_each(conceal),
        Value::Object(map) => map.values().for_each(conceal),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Puts the password of every URL inside this value on that list, whether anybody said that the value is a secret or
/// not.
pub fn conceal_passwords(value: &Value) {
    match value {
        Value::String(text) => passwords(text).for_each(|password| {
            conceal_text(password);
            conceal_text(&percent_decoded(password));
        }),
        Value::Array(list) => list.iter().for_each(conceal_passwords),
        Value::Object(map) => map.values().for_each(conceal_passwords),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Does a URL with a password stand in any text of this value?
pub fn holds_password(value: &Value) -> bool {
    match value {
        Value::String(text) => passwords(text).next().is_some(),
        Value::Array(list) => list.iter().any(holds_password),
        Value::Object(map) => map.values().any(holds_password),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Was something taken out of a text of this value by [`redact`]?
pub fn is_redacted(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MARK),
        Value::Array(list) => list.iter().any(is_redacted),
        Value::Object(map) => map.values().any(is_redacted),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn conceal_text(text: &str) {
    let json = Value::String(text.into()).to_string();
    let mut forms = vec![text.to_string(), json[1..json.len() - 1].to_string(), percent_encoded(text)];
    if let Ok(url) = url::Url::parse(text)
        && let Some(password) = url.password()
    {
        forms.push(password.to_string());
        forms.push(percent_decoded(password));
    }
    let mut list = CONCEALED.write();
    list.extend(forms.into_iter().filter(|f| f.len() >= SHORTEST).map(|f| (std::cmp::Reverse(f.len()), f)));
}

fn percent_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn percent_decoded(text: &str) -> String {
    // `parse` also turns `+` into a blank, which a password in a URL does not mean.
    url::form_urlencoded::parse(text.replace('+', "%2B").as_bytes()).map(|(k, _)| k.into_owned()).collect()
}

/// The text with every concealed secret, and the password of every URL in it, replaced by `***`.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    for (_, secret) in CONCEALED.read().iter() {
        if out.contains(secret.as_str()) {
            out = Cow::Owned(out.replace(secret.as_str(), MARK));
        }
    }
    match redact_urls(&out) {
        Some(clean) => Cow::Owned(clean),
        None => out,
    }
}

/// Does the text hold a concealed secret?
pub fn reveals(text: &str) -> bool {
    CONCEALED.read().iter().any(|(_, secret)| text.contains(secret.as_str()))
}

/// Replaces `scheme://user:password@` by `scheme://user:***@`; `None` if there is nothing to replace.
fn redact_urls(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = 0;
    for password in passwords(text) {
        let start = password.as_ptr() as usize - text.as_ptr() as usize;
        out.push_str(&text[rest..start]);
        out.push_str(MARK);
        rest = start + password.len();
    }
    out.push_str(&text[rest..]);
    (rest > 0).then_some(out)
}

/// The password of each URL in the text, as it is written there; none that was redacted already.
fn passwords(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while let Some(at) = rest.find("://") {
            let after = &rest[at + 3..];
            // The authority ends at the first of these; the last `@` in it ends the user part.
            let end = after
                .find(|c: char| c == '/' || c == '?' || c == '#' || c.is_whitespace() || c == '"')
                .unwrap_or(after.len());
            let authority = &after[..end];
            rest = &after[end..];
            let user = authority.rfind('@').map(|at| &authority[..at]);
            let password = user.and_then(|user| user.split_once(':')).map(|(_, password)| password);
            if let Some(password) = password.filter(|p| !p.is_empty() && *p != MARK) {
                return Some(password);
            }
        }
        None
    })
}

/// Redacts every text inside a JSON value.
pub fn redact_value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(redact(text).into_owned()),
        Value::Array(list) => Value::Array(list.iter().map(redact_value).collect()),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), redact_value(v))).collect()),
        Value::Number(number) if reveals(&number.to_string()) => Value::String(MARK.into()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_replaced_wherever_they_stand() {
        assert_eq!(redact("to postgres://ada:pa/ss@h/db, then"), "to postgres://ada:pa/ss@h/db, then");
        assert_eq!(
            redact("to postgres://ada:pass@h:5/db?x=1 and s3://k:v@b"),
            "to postgres://ada:***@h:5/db?x=1 and s3://k:***@b"
        );
        assert_eq!(redact("postgres://a:p@ss@h/db"), "postgres://a:***@h/db");
        assert_eq!(redact("http://host:80/a@b:c"), "http://host:80/a@b:c");
    }

    #[test]
    fn a_concealed_text_is_replaced_in_every_form() {
        conceal(&Value::String("tok\"en-äbc 123".into()));
        assert_eq!(redact("x tok\"en-äbc 123 y"), "x *** y");
        assert_eq!(redact(&serde_json::json!({"k": "tok\"en-äbc 123"}).to_string()), "{\"k\":\"***\"}");
        conceal(&Value::String("postgres://u:s%40cret-pw@h/db".into()));
        assert_eq!(redact("password s@cret-pw refused"), "password *** refused");
    }

    #[test]
    fn a_password_in_a_url_is_one_whoever_holds_it() {
        let value = serde_json::json!({"to": ["postgres://ada:planted%20pass@h/db", "s3://bucket"]});
        assert!(holds_password(&value) && !holds_password(&redact_value(&value)));
        assert!(is_redacted(&redact_value(&value)) && !is_redacted(&value));
        conceal_passwords(&value);
        assert_eq!(redact("planted pass, planted%20pass"), "***, ***");
        assert!(!holds_password(&serde_json::json!([
            "http://host:80/a@b:c",
            "postgres://ada:@h/db",
            "postgres://ada:***@h"
        ])));
    }

    #[test]
    fn short_texts_are_left_alone() {
        conceal(&Value::String("abc".into()));
        assert_eq!(redact("abcdef"), "abcdef");
    }
}
