//! Places that have a name: `[connections]` of flow.toml. A DAG, a param or a table of the database holds `conn:lake`; the address
//! and the keys behind it stay in the settings of the machine that works.

use crate::error::TaskError;
use crate::secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What stands before the name of a connection.
pub const PREFIX: &str = "conn:";

/// An option whose name has one of these in it, or ends in the last, has a secret value.
const SECRET_WORDS: [&str; 4] = ["secret", "token", "password", "sas_key"];
const SECRET_END: &str = "_key";
/// These do not, although they end so.
const PLAIN: [&str; 1] = ["kms_key"];

/// Where something is, and what it takes to get there: a URL, and the options of a store or of BigQuery, under the names that
/// [`Lake`](crate::data::Lake) knows. Never printed but by [`Place::shown`].
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
    /// The names of those that are secret whatever they are called.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    secrets: BTreeSet<String>,
}

impl Place {
    /// A URL or a path, without options.
    pub fn new(url: impl Into<String>) -> Place {
        Place { url: url.into(), ..Place::default() }
    }

    /// The same with an option, `aws_endpoint` say.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Into<String>) -> Place {
        self.options.insert(name.to_ascii_lowercase(), value.into());
        self
    }

    /// The same with an option that nobody may print.
    #[must_use]
    pub fn secret(mut self, name: &str, value: impl Into<String>) -> Place {
        self.secrets.insert(name.to_ascii_lowercase());
        self.option(name, value)
    }

    /// The URL itself, which may hold a password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The options by their names, which may hold keys.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The URL without its password.
    pub fn shown(&self) -> String {
        secret::redact(&self.url).into_owned()
    }

    /// A place below this one, with the same options.
    ///
    /// # Errors
    /// It would not be below.
    pub fn below(&self, rest: &str) -> anyhow::Result<Place> {
        let rest = rest.trim_start_matches('/');
        if rest.split(['/', '\\']).any(|part| matches!(part, "." | "..")) {
            let why = "leaves the place that it should be below: write it without `.` and `..`";
            return Err(TaskError::fail(format!("`{rest}` {why}")));
        }
        let (own, query) =
            self.url.split_once('?').map_or((self.url.as_str(), None), |(own, query)| (own, Some(query)));
        let mut url = if rest.is_empty() { own.to_owned() } else { format!("{}/{rest}", own.trim_end_matches('/')) };
        if let Some(query) = query {
            url = format!("{url}?{query}");
        }
        Ok(Place { url, ..self.clone() })
    }

    pub(crate) fn with_url(self, url: String) -> Place {
        Place { url, ..self }
    }

    /// Nobody may print what is secret about it from here on.
    fn conceal(&self) {
        secret::conceal_passwords(&Value::from(self.url.as_str()));
        for (name, value) in &self.options {
            let called = SECRET_WORDS.iter().any(|word| name.contains(word))
                || name.ends_with(SECRET_END) && !PLAIN.iter().any(|plain| name.ends_with(plain));
            // `false` or `1` on the list would redact half of all that is written.
            let plain = value.parse::<bool>().is_ok() || value.parse::<f64>().is_ok();
            if (called || self.secrets.contains(name)) && !plain {
                secret::conceal(&Value::from(value.as_str()));
            }
        }
    }

    /// Is this URL this place, or below it?
    fn holds(&self, url: &str) -> bool {
        // A URL that was given back is escaped; one that a person wrote may not be.
        let (own, url) = (plain(self.url.split('?').next().unwrap_or_default()), plain(url));
        let bare = own.trim_end_matches('/');
        let below = if own.ends_with("://") { url.strip_prefix(&own) } else { url.strip_prefix(bare) };
        !bare.is_empty() && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || own.ends_with("://"))
    }
}

/// A URL with its escapes undone.
fn plain(url: &str) -> String {
    percent_encoding::percent_decode_str(url).decode_utf8_lossy().into_owned()
}

#[cfg(feature = "data")]
impl Place {
    /// The lake with the options of this place.
    pub fn lake(&self) -> flow_data::Lake {
        self.options().collect()
    }

    /// The database at this place.
    ///
    /// # Errors
    /// The URL is none of a database.
    pub fn warehouse(&self) -> flow_data::Result<flow_data::Warehouse> {
        Ok(flow_data::Warehouse::open(&self.url)?.with_lake(self.lake()))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.shown()).field(&self.options.keys().collect::<Vec<_>>()).finish()
    }
}

/// The places that have names.
///
/// ```
/// use flow_runtime::connection::{Connections, Place};
///
/// let lake = Place::new("s3://lake/raw").option("aws_endpoint", "http://minio:9000");
/// let known: Connections = [("lake".to_string(), lake)].into_iter().collect();
/// assert_eq!(known.place("conn:lake/2021/trips.parquet")?.url(), "s3://lake/raw/2021/trips.parquet");
/// // What one connection wrote, a task further on reads with its options, by the URL alone.
/// assert_eq!(known.place("s3://lake/raw/2021/trips.parquet")?.options().count(), 1);
/// assert_eq!(known.place("s3://other/file")?.options().count(), 0);
/// assert!(known.place("conn:lakes").unwrap_err().to_string().contains("there are: lake"));
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    places: BTreeMap<String, Place>,
    /// Those of which something is missing on this machine, and what. It matters to who uses them.
    broken: BTreeMap<String, String>,
}

impl FromIterator<(String, Place)> for Connections {
    fn from_iter<I: IntoIterator<Item = (String, Place)>>(places: I) -> Connections {
        Connections { places: places.into_iter().collect(), broken: BTreeMap::new() }
    }
}

impl Connections {
    /// The names and their places.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.places.iter().map(|(name, place)| (name.as_str(), place))
    }

    /// The names of those of which something is missing, and what.
    pub fn broken(&self) -> impl Iterator<Item = (&str, &str)> {
        self.broken.iter().map(|(name, why)| (name.as_str(), why.as_str()))
    }

    /// One more.
    pub fn insert(&mut self, name: impl Into<String>, place: Place) {
        self.places.insert(name.into(), place);
    }

    /// One of which something is missing.
    #[cfg(any(test, feature = "cli"))]
    pub(crate) fn insert_broken(&mut self, name: impl Into<String>, why: String) {
        self.broken.insert(name.into(), why);
    }

    /// The place that a text means: `conn:NAME`, `conn:NAME/what/is/below`, or a URL or path. A URL that lies below that of a connection
    /// has its options; below several, those of the longest.
    ///
    /// # Errors
    /// There is no connection of this name, something of it is missing on this machine, or what is below it is not.
    pub fn place(&self, text: &str) -> anyhow::Result<Place> {
        let Some(named) = text.strip_prefix(PREFIX) else {
            let own = self.places.values().filter(|place| place.holds(text)).max_by_key(|place| place.url.len());
            return Ok(Place { url: text.to_owned(), ..own.cloned().unwrap_or_default() });
        };
        let (name, rest) = named.split_once('/').unwrap_or((named, ""));
        if let Some(why) = self.broken.get(name) {
            return Err(TaskError::fail(format!("the connection `{name}` cannot be used here: {why}")));
        }
        let Some(place) = self.places.get(name) else {
            let known: Vec<&str> = self.places.keys().map(String::as_str).collect();
            let known =
                if known.is_empty() { "there are none".into() } else { format!("there are: {}", known.join(", ")) };
            return Err(TaskError::fail(format!(
                "there is no connection `{name}` in `[connections]` of flow.toml; {known} (a test says `.connection(..)`)"
            )));
        };
        if place.url.starts_with(PREFIX) {
            return Err(TaskError::fail(format!("the connection `{name}` names another one: give it a URL")));
        }
        place.below(rest)
    }

    /// What is wrong with the names that are written in a value, wherever in it. One of which only this machine lacks something
    /// is not wrong.
    pub fn problems(&self, value: &Value) -> Vec<String> {
        match value {
            Value::String(text) if text.starts_with(PREFIX) => {
                let name = text[PREFIX.len()..].split('/').next().unwrap_or_default();
                if self.broken.contains_key(name) {
                    return Vec::new();
                }
                self.place(text).err().map(|error| error.to_string()).into_iter().collect()
            }
            Value::Array(list) => list.iter().flat_map(|item| self.problems(item)).collect(),
            Value::Object(fields) => fields.values().flat_map(|item| self.problems(item)).collect(),
            _ => Vec::new(),
        }
    }

    /// Nobody may print what is secret about them from here on.
    pub(crate) fn conceal(&self) {
        self.places.values().for_each(Place::conceal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Connections {
        let place = |url: &str, option: &str| Place::new(url).option("which", option);
        [
            ("lake", place("s3://lake/", "lake")),
            ("raw", place("s3://lake/raw", "raw")),
            ("google", place("gs://", "google")),
            ("blank", place("s3://a b", "blank")),
            (
                "prod",
                Place::new("postgres://ada:correct-horse@h/x")
                    .option("azure_storage_account_key", "battery-staple")
                    .option("aws_sse_bucket_key_enabled", "false")
                    .secret("user", "of-the-environment"),
            ),
        ]
        .into_iter()
        .map(|(name, place)| (name.to_string(), place))
        .collect()
    }

    #[test]
    fn a_url_has_the_options_of_the_longest_connection_above_it() {
        let which = |text: &str| known().place(text).unwrap().options().map(|(_, v)| v.to_string()).next();
        for (text, option) in [
            ("s3://lake/raw/f", Some("raw")),
            ("s3://lake/raw", Some("raw")),
            ("s3://lake/raws/f", Some("lake")),
            ("s3://lakes/f", None),
            ("gs://any/f", Some("google")),
            ("lake/f", None),
            ("conn:lake/raw/f", Some("lake")),
            ("s3://a%20b/f", Some("blank")),
        ] {
            assert_eq!(which(text).as_deref(), option, "{text}");
        }
        assert_eq!(known().place("conn:lake/a/b").unwrap().url(), "s3://lake/a/b");
        assert_eq!(known().place("conn:prod").unwrap().url(), "postgres://ada:correct-horse@h/x");
        let place = Place::new("bigquery://p?location=EU");
        assert_eq!(place.below("d").unwrap().url(), "bigquery://p/d?location=EU");
        assert!(known().place("conn:raw/../other").unwrap_err().to_string().contains("leaves the place"));
        let mut known = known();
        known.insert_broken("here", "KEY is not set".into());
        let value = serde_json::json!({ "to": ["conn:raw/x", "conn:here/x", "conn:rwa/x", "a conn:none"] });
        let problems = known.problems(&value);
        assert!(problems.len() == 1 && problems[0].contains("no connection `rwa`"), "{problems:?}");
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let known = known();
        known.conceal();
        let shown = format!("{known:?}");
        assert!(!shown.contains("correct-horse") && !shown.contains("battery"), "{shown}");
        assert_eq!(secret::redact("battery-staple at s3://lake/raw"), "*** at s3://lake/raw");
        assert_eq!(secret::redact("of-the-environment is false"), "*** is false");
    }
}
