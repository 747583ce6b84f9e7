//! `[connections]` of `flow.toml`: places that have a name.

use super::file::{Entry, Reader, json};
use crate::connection::{Connections, Place};
use serde_json::Value;

/// The variable that holds the URL of a connection, so that no file has to: `FLOW_CONNECTION_LAKE_URL`.
fn variable(name: &str) -> String {
    super::variable("CONNECTION", name, "URL")
}

/// What a file says of a connection. A value may be the name of a variable instead, `{ env = "LAKE_KEY" }`.
#[derive(Debug, Default)]
pub(super) struct Stated {
    name: String,
    url: Option<Said>,
    options: Vec<(String, Said)>,
}

#[derive(Debug)]
enum Said {
    Text(String),
    Variable(String),
}

/// Fills in what the environment holds. What it lacks is told to who uses the connection.
pub(super) fn resolve(stated: &[Stated], env: impl Fn(&str) -> Option<String>) -> Connections {
    let mut known = Connections::default();
    for one in stated {
        let same = stated.iter().find(|other| other.name != one.name && variable(&other.name) == variable(&one.name));
        if let Some(other) = same.filter(|_| env(&variable(&one.name)).is_some()) {
            let variable = variable(&one.name);
            known.insert_broken(&one.name, format!("{variable} may also mean `{}`: give one another name", other.name));
            continue;
        }
        match one.place(&env) {
            Ok(place) => known.insert(&one.name, place),
            Err(why) => known.insert_broken(&one.name, why),
        }
    }
    known
}

impl Stated {
    /// The variables that it names.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.url.iter().chain(self.options.iter().map(|(_, said)| said)).filter_map(|said| match said {
            Said::Variable(variable) => Some(variable.as_str()),
            Said::Text(_) => None,
        })
    }

    fn place(&self, env: impl Fn(&str) -> Option<String>) -> Result<Place, String> {
        let value = |said: &Said, what: &str| match said {
            Said::Text(text) => Ok(text.clone()),
            Said::Variable(variable) => {
                env(variable).ok_or_else(|| format!("{variable} is not set, of which `{what}` has its value"))
            }
        };
        let variable = variable(&self.name);
        let url = match (env(&variable), &self.url) {
            (Some(url), _) => url,
            (None, Some(said)) => value(said, "url")?,
            (None, None) => return Err(format!("it has no `url`: write it in flow.toml, or set {variable}")),
        };
        self.options.iter().try_fold(Place::new(url), |place, (name, said)| {
            let value = value(said, name)?;
            Ok(match said {
                Said::Text(_) => place.option(name, value),
                Said::Variable(_) => place.secret(name, value),
            })
        })
    }
}

impl Reader {
    pub(super) fn connections(&mut self, value: Entry<'_, '_>) -> Vec<Stated> {
        let mut found = Vec::new();
        for (name, entry) in self.table("connections", value).into_iter().flatten() {
            let name = name.get_ref().as_ref();
            let path = format!("connections.{name}");
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
                self.problem(entry, format!("`{path}`: a connection is named by letters, digits, `_` and `-`"));
                continue;
            }
            let mut stated = Stated { name: name.to_owned(), ..Stated::default() };
            if let Some(url) = entry.get_ref().as_str() {
                stated.url = Some(Said::Text(url.to_owned()));
            } else {
                for (key, value) in self.table(&path, entry).into_iter().flatten() {
                    let key = key.get_ref().as_ref();
                    if key != "url" && !is_option(key) {
                        let nobody = "is no option of a store or of BigQuery: is it misspelt? (docs/pipelines.md)";
                        self.problem(value, format!("`{path}.{key}` {nobody}"));
                        continue;
                    }
                    match (said(&json(value.get_ref())), key) {
                        (Some(url), "url") => stated.url = Some(url),
                        (Some(option), _) => stated.options.push((key.to_owned(), option)),
                        // What it is instead is not told: it may be a secret.
                        (None, _) => {
                            let must = "a text, a number, true or false, or `{ env = \"VARIABLE\" }`";
                            self.problem(value, format!("`{path}.{key}` must be {must}"));
                        }
                    }
                }
            }
            found.push(stated);
        }
        found
    }
}

/// Without flow-data nobody reads any.
fn is_option(name: &str) -> bool {
    #[cfg(feature = "data")]
    return flow_data::Lake::knows(name);
    #[cfg(not(feature = "data"))]
    return !name.is_empty();
}

fn said(value: &Value) -> Option<Said> {
    match value {
        Value::String(text) => Some(Said::Text(text.clone())),
        Value::Number(_) | Value::Bool(_) => Some(Said::Text(value.to_string())),
        Value::Object(table) if table.len() == 1 => {
            table.get("env")?.as_str().map(|variable| Said::Variable(variable.to_owned()))
        }
        _ => None,
    }
}
