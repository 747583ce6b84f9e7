//! The keys of instances: what their tasks write down, filled in with the values of their arguments.

use super::inputs::{self, Unmade};
use super::scope::Scope;
use crate::secret;
use flow_core::{InstanceKey, Needs, key};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Longest value in a key, in bytes; of a longer one stand its beginning and its hash.
const LONGEST: usize = 200;
/// Time until the store is asked again for the arguments in keys, after it has not answered.
const POLL: Duration = Duration::from_secs(2);

/// The arguments of its task that stand in the keys of these needs.
pub(super) fn arguments(needs: &Needs) -> Vec<String> {
    let keys = [needs.at_once.as_ref().map(|of| &of.key), needs.rate.as_ref().map(|of| &of.key)];
    // A DAG that was built has no key that is none.
    keys.into_iter().flatten().flat_map(|key| key::arguments(key).unwrap_or_default()).collect()
}

/// Needs with their keys filled in. A key with a value that is not known stays as it is written.
pub(super) fn filled(needs: &Needs, values: &BTreeMap<String, String>) -> Needs {
    needs.clone().keyed(|key| key::fill(key, |name| values.get(name).cloned()).unwrap_or_else(|| key.into()))
}

/// What an instance needs. Where an argument cannot be made its try will fail, and say why: until then the key is as it is
/// written.
///
/// # Errors
/// The store does not answer: a key as it is written would be another limit than the one that was asked for.
pub(super) async fn of(scope: &Scope, instance: InstanceKey, lengths: &[u32], needs: &Needs) -> Result<Needs, String> {
    let values = match inputs::named(scope, instance, lengths, &arguments(needs)).await {
        Ok(values) => values.iter().map(|(name, value)| (name.clone(), word(value.json()))).collect(),
        Err(Unmade { message, no_answer: true, .. }) => return Err(message),
        Err(_) => BTreeMap::new(),
    };
    Ok(filled(needs, &values))
}

/// Scheduled instances whose keys are made of arguments which may be of the present step: they wait from the next one on, or from
/// when the store answers.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    waiting: VecDeque<InstanceKey>,
    /// When the store is asked again that has not answered.
    ask_at: Option<Instant>,
}

impl Unnamed {
    pub(super) fn push(&mut self, key: InstanceKey) {
        self.waiting.push_back(key);
    }

    /// An instance is no longer scheduled.
    pub(super) fn forget(&mut self, key: InstanceKey) {
        self.waiting.retain(|other| *other != key);
    }

    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Is there one whose keys can be asked for now?
    pub(super) fn is_due(&self) -> bool {
        self.waits() && self.ask_at.is_none_or(|at| at <= Instant::now())
    }

    /// The first whose keys can be asked for now.
    pub(super) fn next(&mut self) -> Option<InstanceKey> {
        if self.is_due() { self.waiting.pop_front() } else { None }
    }

    /// The store does not answer: this one is the first again a while later, and all others behind it.
    pub(super) fn put_back(&mut self, key: InstanceKey) {
        self.waiting.push_front(key);
        self.ask_at = Some(Instant::now() + POLL);
    }

    /// When the store is asked again, if something waits for that.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.ask_at.filter(|_| self.waits())
    }
}

/// A value as it stands in a key: a text without its quotes, anything else as JSON. Keys are shown: secrets are taken out.
pub(super) fn word(json: &str) -> String {
    let text = match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        _ => json.to_string(),
    };
    let text = secret::redact(&text).into_owned();
    if text.len() <= LONGEST {
        return text;
    }
    let hash: String = Sha256::digest(text.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let beginning: String = text.chars().take(LONGEST / 4).collect();
    format!("{beginning}…{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_word_of_a_key() {
        assert_eq!((word("\"trips\""), word("7"), word("[1,2]")), ("trips".into(), "7".into(), "[1,2]".into()));
        let long = |last: char| word(&format!("\"{}{last}\"", "x".repeat(1000)));
        assert!(long('a').len() < LONGEST && long('a') != long('b') && long('a') == long('a'));
    }
}
