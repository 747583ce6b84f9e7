//! [`Secret`] values, and the list of texts that nobody may print.
//!
//! A secret is a param or an argument, never an output: `Secret<T>` cannot be serialised, so a task that returns one, or
//! a DAG that writes one down as a literal, does not compile. At run time every secret that was read is put on a list
//! ([`conceal`]); whatever leaves the process through logs, errors, events or the store passes [`redact`] first, which
//! replaces the texts on the list and the password of every URL by `***`.

mod url_secret;

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

/// A line of a secret of several lines that is shorter than this is left alone: it may be no more than a bracket.
const SHORTEST_LINE: usize = 8;

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
    each_text(value, &mut |text| {
        conceal_text(text);
        conceal_passwords_in(text);
    });
}

/// Puts the password of every URL inside this value on that list, whether anybody said that the value is a secret or
/// not.
pub fn conceal_passwords(value: &Value) {
    each_text(value, &mut conceal_passwords_in);
}

/// Does a URL with a password stand in any text of this value?
pub fn holds_password(value: &Value) -> bool {
    let mut found = false;
    each_text(value, &mut |text| found |= url_secret::in_text(text).iter().any(|secret| secret.password));
    found
}

/// Is there anything that [`redact`] would take out?
#[cfg(feature = "cli")]
pub fn any() -> bool {
    !CONCEALED.read().is_empty()
}

/// Was something taken out of a text of this value by [`redact`]?
pub fn is_redacted(value: &Value) -> bool {
    let mut found = false;
    each_text(value, &mut |text| found |= text.contains(MARK));
    found
}

/// Every text in a JSON value; a number as it is written.
fn each_text(value: &Value, look: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Number(number) => look(&number.to_string()),
        Value::Array(list) => list.iter().for_each(|item| each_text(item, look)),
        Value::Object(map) => map.values().for_each(|item| each_text(item, look)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn conceal_passwords_in(text: &str) {
    for secret in url_secret::in_text(text) {
        // `postgres://postgres:postgres@h/db` hides nothing: the word stands in the open beside it.
        let word = &text[secret.range.clone()];
        let open = |part: &str| part.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').any(|w| w == word);
        if !open(&text[..secret.range.start]) && !open(&text[secret.range.end..]) {
            conceal_text(word);
            conceal_text(&percent_decoded(word));
        }
    }
}

fn conceal_text(text: &str) {
    let json = Value::String(text.into()).to_string();
    let forms = [text.to_string(), json[1..json.len() - 1].to_string(), percent_encoded(text)];
    // What is printed or logged comes line by line: each line of a key is as secret as the whole.
    let lines = text.lines().map(str::trim).filter(|line| line.len() < text.len() && line.len() >= SHORTEST_LINE);
    let texts = forms.into_iter().filter(|f| f.len() >= SHORTEST).chain(lines.map(str::to_string));
    CONCEALED.write().extend(texts.map(|f| (std::cmp::Reverse(f.len()), f)));
}

fn percent_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn percent_decoded(text: &str) -> String {
    // `parse` also turns `+` into a blank, which a password in a URL does not mean.
    url::form_urlencoded::parse(text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D").as_bytes())
        .map(|(k, _)| k.into_owned())
        .collect()
}

/// Where a concealed text stands. One of digits alone is not found inside a longer number, which tells nothing of it.
fn places<'t>(text: &'t str, secret: &'t str) -> impl Iterator<Item = usize> + 't {
    let digits = secret.bytes().all(|b| b.is_ascii_digit());
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    text.match_indices(secret).map(|(at, _)| at).filter(move |&at| {
        let bytes = text.as_bytes();
        !digits || !(digit(at.checked_sub(1).and_then(|i| bytes.get(i))) || digit(bytes.get(at + secret.len())))
    })
}

/// The text with every concealed secret, and every secret in a URL in it, replaced by `***`.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    for (_, secret) in CONCEALED.read().iter() {
        let found: Vec<usize> = places(&out, secret).collect();
        if !found.is_empty() {
            out = Cow::Owned(without(&out, found.into_iter().map(|at| at..at + secret.len())));
        }
    }
    let found = url_secret::in_text(&out);
    if found.is_empty() { out } else { Cow::Owned(without(&out, found.into_iter().map(|secret| secret.range))) }
}

/// The text with these parts replaced; they come in order.
fn without(text: &str, parts: impl Iterator<Item = std::ops::Range<usize>>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for part in parts.filter(|part| !part.is_empty()) {
        if part.start >= rest {
            out.push_str(&text[rest..part.start]);
            out.push_str(MARK);
            rest = part.end;
        }
    }
    out.push_str(&text[rest..]);
    out
}

/// Does the text hold a concealed secret, so that it must not be kept? A short one counts only as a word of its own: a
/// hash or a path may hold `abcde` by chance.
pub fn reveals(text: &str) -> bool {
    const LONG: usize = 8;
    let word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let alone = |at: usize, len: usize| {
        let bytes = text.as_bytes();
        !word(at.checked_sub(1).and_then(|i| bytes.get(i))) && !word(bytes.get(at + len))
    };
    let held = |secret: &str| places(text, secret).any(|at| secret.len() >= LONG || alone(at, secret.len()));
    CONCEALED.read().iter().any(|(_, secret)| held(secret))
}

/// What the address of a database begins with.
const DATABASES: [&str; 4] = ["postgres://", "postgresql://", "sqlite:", "bigquery://"];

/// A report of a load with the address of its database redacted, where that is a secret as a whole although it holds no password;
/// `None` if there is nothing of the kind. (An address with a password has been redacted by whoever wrote the report.) It is
/// looked for in fields `url` alone: what stands elsewhere, or is no database's, somebody may want to use, and not only to read.
pub(crate) fn without_addresses(json: &str) -> Option<String> {
    let mut value = serde_json::from_str(json).ok()?;
    hide_addresses(&mut value).then(|| value.to_string())
}

fn hide_addresses(value: &mut Value) -> bool {
    match value {
        Value::Array(list) => list.iter_mut().fold(false, |any, item| hide_addresses(item) | any),
        Value::Object(fields) => fields.iter_mut().fold(false, |any, (name, field)| match field {
            Value::String(text) if name == "url" && is_secret_address(text) => {
                *text = redact(text).into_owned();
                true
            }
            field => hide_addresses(field) | any,
        }),
        _ => false,
    }
}

fn is_secret_address(text: &str) -> bool {
    DATABASES.iter().any(|scheme| text.starts_with(scheme)) && url_secret::in_text(text).is_empty() && reveals(text)
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
    }

    #[test]
    fn a_password_that_stands_in_the_open_hides_no_other_word() {
        conceal(&Value::String("postgres://postgres:postgres@db/postgres".into()));
        assert_eq!(redact("postgres://postgres:postgres@db/x of postgres"), "postgres://postgres:***@db/x of postgres");
        assert!(!reveals("{\"url\":\"postgres://postgres:***@db/ny_taxi\"}"));
    }

    #[test]
    fn digits_are_found_as_a_number_and_short_words_as_a_word() {
        conceal(&serde_json::json!([740_193, "k3yz9"]));
        assert_eq!(redact("pin 740193, bytes 17401930"), "pin ***, bytes 17401930");
        assert!(reveals("[740193]") && !reveals("[1740193]"));
        assert!(reveals("a k3yz9.") && !reveals("sha ak3yz9f"));
    }

    #[test]
    fn a_report_may_name_a_database_whose_address_is_a_secret() {
        let address = "postgres://kai@db.internal/trips";
        conceal(&serde_json::json!([
            address,
            "https://hooks.example/T0/B0",
            "postgres://kai:a-pass-word@db2.internal/x"
        ]));
        let report = serde_json::json!([{ "rows": 7, "url": address }]).to_string();
        let without = without_addresses(&report).unwrap();
        assert_eq!(without, r#"[{"rows":7,"url":"***"}]"#);
        assert!(!reveals(&without));
        // What somebody may want to use is not made unusable in silence; what holds a password is refused.
        for other in [
            serde_json::json!(address),
            serde_json::json!({ "database": address }),
            serde_json::json!({ "url": "https://hooks.example/T0/B0" }),
            serde_json::json!({ "url": "postgres://kai:a-pass-word@db2.internal/x" }),
        ] {
            assert_eq!(without_addresses(&other.to_string()), None, "{other}");
        }
    }

    #[test]
    fn short_texts_are_left_alone() {
        conceal(&Value::String("abc".into()));
        assert_eq!(redact("abcdef"), "abcdef");
    }
}
