//! Graphs and states as the vectors write them.

use super::text;
use flow_core::dag::{Input, Source, TaskKind};
use flow_core::{
    Dag, InstanceKey, Report, RunState, RunStatus, StoredInstance, TaskDef, TaskState, TriggerRule, UNMAPPED,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `{"tasks": {id: kind}, "edges": [[up, down]], "rules": {id: rule}}`; mapped tasks get `lengths[id]` elements.
pub fn dag(graph: &Value, lengths: &BTreeMap<String, usize>) -> Dag {
    let mut dag = Dag::new("d");
    let failing = graph.get("on_failure_fail_dagrun").and_then(Value::as_array).cloned().unwrap_or_default();
    for (id, kind) in graph["tasks"].as_object().expect("tasks") {
        let mut task = TaskDef::new(id, id);
        task.kind = match text(kind) {
            "setup" => TaskKind::Setup,
            "teardown" => TaskKind::Teardown { on_failure_fail_dagrun: failing.contains(&json!(id)) },
            _ => TaskKind::Normal,
        };
        if text(kind) == "mapped" {
            task = mapped(task, lengths.get(id).copied().unwrap_or(0));
        }
        if let Some(rule) = graph.get("rules").and_then(|r| r.get(id)) {
            task.trigger_rule = TriggerRule::from_name(text(rule)).expect("a rule");
        }
        dag.tasks.push(task);
    }
    for edge in graph["edges"].as_array().expect("edges") {
        let (up, down) = (dag.task_ix(text(&edge[0])).expect("up"), dag.task_ix(text(&edge[1])).expect("down"));
        dag.tasks[down as usize].upstream.push(up);
    }
    dag
}

/// The task, mapped over a written list of `n` elements.
pub fn mapped(mut task: TaskDef, n: usize) -> TaskDef {
    let list = Source::Literal(Value::Array(vec![Value::Null; n]));
    task.mapped = true;
    task.inputs.push(Input { name: "x".into(), type_name: "()".into(), source: Source::Each(Box::new(list)) });
    task
}

pub fn state(value: &Value) -> TaskState {
    TaskState::from_name(text(value)).unwrap_or_else(|| panic!("no state {value}"))
}

/// `a`, or `m[0]`.
pub fn key(dag: &Dag, name: &str) -> InstanceKey {
    let (id, map_index) = match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
        Some((id, index)) => (id, index.parse().expect("an index")),
        None => (name, UNMAPPED),
    };
    InstanceKey { task: dag.task_ix(id).expect(id), map_index }
}

pub fn name(dag: &Dag, key: InstanceKey) -> String {
    let id = &dag.tasks[key.task as usize].task_id;
    if key.map_index == UNMAPPED { id.clone() } else { format!("{id}[{}]", key.map_index) }
}

pub fn stored(key: InstanceKey, state: TaskState) -> StoredInstance {
    StoredInstance { key, state, try_number: 0, max_tries: 0, due: None, report: Report::default() }
}

/// A running run in these states.
pub fn run(dag: &Dag, states: impl IntoIterator<Item = (InstanceKey, TaskState)>) -> RunState {
    let rows = states.into_iter().map(|(key, state)| stored(key, state));
    RunState::restore(dag, RunStatus::Running, rows, &BTreeMap::new())
}
