//! Total weights.

use super::{Verdict, check, text};
use flow_core::dag::WeightRule;
use flow_core::{Dag, TaskDef, priority};
use std::collections::BTreeMap;

#[test]
fn vectors_priority_weight() {
    check("priority_weight.jsonl", |line| {
        let mut dag = Dag::new("d");
        for (id, weight) in line["weights"].as_object().expect("weights") {
            let rule: WeightRule = serde_json::from_value(line["rules"][id].clone()).expect("a weight rule");
            let weight = weight.as_i64().expect("a weight");
            dag.tasks.push(TaskDef { priority: weight, weight_rule: rule, ..TaskDef::new(id, id) });
        }
        for edge in line["edges"].as_array().expect("edges") {
            let (up, down) = (dag.task_ix(text(&edge[0])).expect("up"), dag.task_ix(text(&edge[1])).expect("down"));
            dag.tasks[down as usize].upstream.push(up);
        }
        let ids = dag.tasks.iter().map(|t| t.task_id.clone());
        let found: BTreeMap<String, i64> = ids.zip(priority::weights(&dag)).collect();
        Verdict::of(serde_json::to_value(&found).expect("numbers") == line["total"], || format!("{found:?}"))
    });
}
