//! What a task tells about the assets that it makes.

use crate::asset::Asset;
use crate::secret;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest that a try may tell about one asset, in bytes of JSON.
pub const LONGEST_EXTRA: usize = 64 * 1024;

/// What a try has told so far. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Told>>);

/// The same as data.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// By the name of the asset.
    assets: BTreeMap<String, Map<String, Value>>,
    /// What could not be taken down.
    problem: Option<String>,
}

impl Notes {
    pub(crate) fn told(&self) -> Told {
        self.0.lock().clone()
    }

    pub(crate) fn replace(&self, told: Told) {
        *self.0.lock() = told;
    }

    pub(crate) fn about(&self, asset: &Asset) -> Option<Map<String, Value>> {
        self.0.lock().assets.get(asset.name()).cloned()
    }
}

impl Told {
    /// The JSON text about each of a task's outlets, or why there are none.
    pub(crate) fn about_each(self, outlets: &[String]) -> Result<Vec<Arc<str>>, String> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if let Some(other) = self.assets.keys().find(|name| !outlets.contains(name)) {
            return Err(format!(
                "the task told that it made the asset `{other}`, which is not among its outlets: add it, `#[task(outlets = [..])]`"
            ));
        }
        let nothing = Map::new();
        outlets.iter().map(|outlet| text_about(outlet, self.assets.get(outlet).unwrap_or(&nothing))).collect()
    }
}

fn text_about(asset: &str, extra: &Map<String, Value>) -> Result<Arc<str>, String> {
    let extra = Value::Object(extra.clone());
    let text = extra.to_string();
    if secret::reveals(&text) || secret::holds_password(&extra) {
        return Err(format!(
            "what the task told about the asset `{asset}` holds a secret or a password, and is not stored"
        ));
    }
    if text.len() > LONGEST_EXTRA {
        let (len, most) = (text.len(), LONGEST_EXTRA);
        return Err(format!("what the task told about the asset `{asset}` is {len} bytes long; there may be {most}"));
    }
    Ok(text.into())
}

/// Takes down what is known about an asset that a task makes: [`Context::made`](crate::Context::made).
#[derive(Debug)]
pub struct Made<'c> {
    asset: &'static str,
    notes: &'c Notes,
}

impl<'c> Made<'c> {
    pub(crate) fn new(asset: &Asset, notes: &'c Notes) -> Made<'c> {
        notes.0.lock().assets.entry(asset.name().into()).or_default();
        Made { asset: asset.name(), notes }
    }

    /// How many rows it has.
    #[expect(clippy::return_self_not_must_use, reason = "it is taken down at once; the chain may end anywhere")]
    pub fn rows(self, rows: u64) -> Self {
        self.extra("rows", rows)
    }

    /// How many bytes it has.
    #[expect(clippy::return_self_not_must_use, reason = "it is taken down at once; the chain may end anywhere")]
    pub fn bytes(self, bytes: u64) -> Self {
        self.extra("bytes", bytes)
    }

    /// Its columns: a list of names, or names with types.
    #[expect(clippy::return_self_not_must_use, reason = "it is taken down at once; the chain may end anywhere")]
    pub fn schema(self, schema: impl Serialize) -> Self {
        self.extra("schema", schema)
    }

    /// Anything else. Said twice, the later counts. What cannot be written as JSON, holds a secret or is longer than
    /// [`LONGEST_EXTRA`] fails the try when it ends.
    #[expect(clippy::return_self_not_must_use, reason = "it is taken down at once; the chain may end anywhere")]
    pub fn extra(self, key: &str, value: impl Serialize) -> Self {
        let mut told = self.notes.0.lock();
        match serde_json::to_value(value) {
            Ok(value) => {
                told.assets.entry(self.asset.into()).or_default().insert(key.into(), value);
            }
            Err(error) => {
                let asset = self.asset;
                told.problem =
                    Some(format!("`{key}`, told about the asset `{asset}`, cannot be written as JSON: {error}"));
            }
        }
        drop(told);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIPS: Asset = Asset::new("trips");

    fn end(notes: &Notes, outlets: &[&str]) -> Result<Vec<String>, String> {
        let outlets: Vec<String> = outlets.iter().map(ToString::to_string).collect();
        notes.told().about_each(&outlets).map(|texts| texts.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_outlet_has_its_text_in_its_place() {
        let notes = Notes::default();
        assert_eq!(end(&notes, &["a", "trips"]), Ok(vec!["{}".into(), "{}".into()]));
        Made::new(&TRIPS, &notes).rows(2).bytes(7).rows(3);
        assert_eq!(end(&notes, &["a", "trips"]), Ok(vec!["{}".into(), r#"{"bytes":7,"rows":3}"#.into()]));
        assert!(end(&notes, &["a"]).expect_err("no outlet").contains("`trips`, which is not among its outlets"));
    }

    #[test]
    fn what_cannot_be_kept_is_told() {
        let notes = Notes::default();
        Made::new(&TRIPS, &notes).extra("note", "x".repeat(LONGEST_EXTRA));
        assert!(end(&notes, &["trips"]).expect_err("too long").contains("there may be 65536"));
        Made::new(&TRIPS, &notes).extra("note", "postgres://ada:lovelace@db/x");
        assert!(end(&notes, &["trips"]).expect_err("a password").contains("holds a secret"));
        Made::new(&TRIPS, &notes).extra("note", BTreeMap::from([(vec![1], 2)]));
        assert!(end(&notes, &["trips"]).expect_err("no JSON").contains("cannot be written as JSON"));
    }
}
