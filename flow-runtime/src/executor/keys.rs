//! The keys of instances: what their tasks write down, filled in with the values of their arguments.

use super::inputs;
use super::scope::Scope;
use crate::secret;
use flow_core::{InstanceKey, Needs, key};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Longest value in a key, in bytes; of a longer one stand its beginning and its hash.
const LONGEST: usize = 200;

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
pub(super) async fn of(scope: &Scope, instance: InstanceKey, lengths: &[u32], needs: &Needs) -> Needs {
    let values = match inputs::named(scope, instance, lengths, &arguments(needs)).await {
        Ok(values) => values.iter().map(|(name, value)| (name.clone(), word(value.json()))).collect(),
        Err(_) => BTreeMap::new(),
    };
    filled(needs, &values)
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
