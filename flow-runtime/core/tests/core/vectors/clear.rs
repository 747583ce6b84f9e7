//! What a clear takes in, and what it does.

use super::{Verdict, check, graph, number, text};
use chrono::DateTime;
use flow_core::{
    Dag, Event, InstanceKey, RunState, RunStatus, Selection, StoredInstance, TaskDef, TaskState, UNMAPPED, plan, select,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[test]
fn vectors_clear() {
    check("clear.jsonl", |line| match text(&line["kind"]) {
        "select" => selection(line),
        "effect" => effect(line),
        _ => Verdict::Skipped("an unknown kind"),
    });
}

fn selection(line: &Value) -> Verdict {
    let states = line["states"].as_object().expect("states");
    let mut lengths = BTreeMap::<String, usize>::new();
    for id in states.keys() {
        *lengths.entry(id.split('[').next().unwrap_or(id).into()).or_default() += 1;
    }
    let dag = graph::dag(&line["graph"], &lengths);
    let run = graph::run(&dag, states.iter().map(|(id, state)| (graph::key(&dag, id), graph::state(state))));
    let task = |value: &Value| match value {
        Value::Array(pair) => (dag.task_ix(text(&pair[0])).expect("a task"), pair[1].as_i64().map(|n| n as i32)),
        id => (dag.task_ix(text(id)).expect("a task"), None),
    };
    let wanted = Selection {
        tasks: line["task_ids"].as_array().expect("tasks").iter().map(task).collect(),
        upstream: line["include_upstream"] == true,
        downstream: line["include_downstream"] == true,
        only_failed: line["only_failed"] == true,
        only_running: line["only_running"] == true,
        alone: false,
    };
    let mut found: Vec<String> = select(&dag, &run, &wanted).into_iter().map(|k| graph::name(&dag, k)).collect();
    found.sort();
    let mut expected: Vec<&str> = line["cleared"].as_array().expect("names").iter().map(text).collect();
    expected.sort();
    Verdict::of(found == expected, || format!("{found:?}"))
}

/// One task. A run that is running goes on at once, so that a cleared task is seen as scheduled there.
fn effect(line: &Value) -> Verdict {
    let mut dag = Dag::new("d");
    let mut task = TaskDef::new("t", "t");
    task.retry.retries = number(&line["retries"]);
    dag.tasks.push(task);
    let key = InstanceKey { task: 0, map_index: UNMAPPED };
    let status = RunStatus::from_name(text(&line["run_state"])).expect("a run state");
    let row = StoredInstance {
        try_number: number(&line["try_number"]),
        max_tries: number(&line["retries"]),
        ..graph::stored(key, graph::state(&line["state"]))
    };
    let mut run = RunState::restore(&dag, status, [row], &BTreeMap::new());
    plan(&dag, &mut run, &[Event::Cleared(vec![key])], DateTime::UNIX_EPOCH);
    let i = run.instance(key).expect("it is there");
    let started = status == RunStatus::Running;
    let after = &line["after"];
    let state = if started && i.state == TaskState::Scheduled { TaskState::None } else { i.state };
    let found = json!({"state": state.name(), "try_number": i.try_number, "max_tries": i.max_tries});
    let agrees = ["state", "try_number", "max_tries"].iter().all(|field| found[field] == after[field]);
    let run_agrees = after["run_state"] == run.status().name();
    Verdict::of(agrees && run_agrees, || format!("{found} {}", run.status()))
}
