//! One param named `p`, with a schema, a default or none, and what was given.

use super::{Verdict, check, text};
use flow_core::dag::ParamDef;
use flow_core::params::{Extra, check as check_params, check_defaults};
use serde_json::Value;

#[test]
fn vectors_params() {
    check("params.jsonl", |line| {
        let has_default = line["has_default"] == true;
        let def = ParamDef {
            name: "p".into(),
            doc: None,
            type_name: "P".into(),
            schema: line["schema"].clone(),
            default: has_default.then(|| line.get("default").cloned().unwrap_or_default()),
            secret: false,
        };
        if text(&line["kind"]) == "parse" {
            let found = check_defaults(&[def], true);
            return Verdict::of(found.is_ok() == (line["parse"] == "accepted"), || format!("{found:?}"));
        }
        let given = line["conf"].as_object().cloned().unwrap_or_default();
        let found = check_params(&[def], &given, Extra::Allow);
        if line.get("parse").is_some_and(|p| p == "rejected") {
            return Verdict::of(found.is_err(), || format!("{found:?}"));
        }
        match (&found, text(&line["trigger"])) {
            (Ok(values), "accepted") => {
                Verdict::of(Value::Object(values.clone()) == line["params"], || format!("{values:?}"))
            }
            (found, answer) => Verdict::of(found.is_err() == (answer == "rejected"), || format!("{found:?}")),
        }
    });
}
