//! One pass of the scheduler over one task.

use super::{Verdict, check, graph, text};
use chrono::DateTime;
use flow_core::dag::GroupDef;
use flow_core::{Dag, Decision, InstanceKey, RunState, TaskDef, TaskState, TriggerRule, UNMAPPED, decide, plan};
use serde_json::Value;
use std::collections::BTreeMap;

#[test]
fn vectors_trigger_rules() {
    check("trigger_rules.jsonl", |line| match text(&line["kind"]) {
        "simple" => simple(line),
        "mapped_upstream" => mapped_upstream(line),
        "mapped_downstream" => mapped_downstream(line, "mapped", false),
        "mapped_group" => mapped_downstream(line, "upstream_by_index", true),
        "setup_teardown" => setup_teardown(line),
        other => Verdict::Skipped(if other.is_empty() { "no kind" } else { "an unknown kind" }),
    });
}

fn states(value: &Value) -> Vec<TaskState> {
    value.as_array().into_iter().flatten().map(graph::state).collect()
}

fn rule(line: &Value) -> TriggerRule {
    TriggerRule::from_name(text(&line["rule"])).expect("a rule")
}

fn downstream(line: &Value, upstream: Vec<u32>) -> TaskDef {
    TaskDef { trigger_rule: rule(line), upstream, ..TaskDef::new("t", "t") }
}

/// What the planner makes of an instance that nothing was decided about.
fn planned(dag: &Dag, run: &mut RunState, key: InstanceKey) -> String {
    plan(dag, run, &[], DateTime::UNIX_EPOCH);
    word(match run.instance(key).expect("it is there").state {
        TaskState::None => Decision::Wait,
        TaskState::Scheduled => Decision::Run,
        state => Decision::Cut(state),
    })
}

fn word(decision: Decision) -> String {
    match decision {
        Decision::Run => "run".into(),
        Decision::Wait => "wait".into(),
        Decision::Cut(state) => state.to_string(),
    }
}

fn unmapped(task: u32) -> InstanceKey {
    InstanceKey { task, map_index: UNMAPPED }
}

fn simple(line: &Value) -> Verdict {
    let upstream = states(&line["upstream"]);
    let mut dag = Dag::new("d");
    dag.tasks = (0..upstream.len()).map(|n| TaskDef::new(format!("u{n}"), "u")).collect();
    dag.tasks.push(downstream(line, (0..upstream.len() as u32).collect()));
    let mut run = graph::run(&dag, (0..).map(unmapped).zip(upstream.iter().copied()));
    let found = planned(&dag, &mut run, unmapped(upstream.len() as u32));
    Verdict::of(found == line["decision"], || found)
}

fn mapped_upstream(line: &Value) -> Verdict {
    let of_mapped = states(&line["mapped"]);
    let mut dag = Dag::new("d");
    dag.tasks.push(graph::mapped(TaskDef::new("m", "m"), of_mapped.len()));
    let mut rows: Vec<_> = (0..).map(|map_index| InstanceKey { task: 0, map_index }).zip(of_mapped).collect();
    if let Some(plain) = line.get("plain") {
        dag.tasks.push(TaskDef::new("p", "p"));
        rows.push((unmapped(1), graph::state(plain)));
    }
    let t = dag.tasks.len() as u32;
    dag.tasks.push(downstream(line, (0..t).collect()));
    let found = planned(&dag, &mut graph::run(&dag, rows), unmapped(t));
    Verdict::of(found == line["decision"], || found)
}

fn mapped_downstream(line: &Value, field: &str, in_group: bool) -> Verdict {
    let upstream = states(&line[field]);
    let mut dag = Dag::new("d");
    dag.tasks.push(graph::mapped(TaskDef::new("u", "u"), upstream.len()));
    dag.tasks.push(graph::mapped(downstream(line, vec![0]), upstream.len()));
    if in_group {
        dag.groups.push(GroupDef { group_id: "g".into(), mapped: true, ..GroupDef::default() });
        dag.tasks.iter_mut().for_each(|t| t.group = Some(0));
    }
    let rows = (0..).map(|map_index| InstanceKey { task: 0, map_index }).zip(upstream.iter().copied());
    let mut run = graph::run(&dag, rows);
    let found: Vec<String> = (0..upstream.len() as i32)
        .map(|map_index| planned(&dag, &mut run, InstanceKey { task: 1, map_index }))
        .collect();
    Verdict::of(Value::from(found.clone()) == line["decisions"], || format!("{found:?}"))
}

/// One pass over all: what is decided in it is not seen in it.
fn setup_teardown(line: &Value) -> Verdict {
    let dag = graph::dag(&line["graph"], &BTreeMap::new());
    let states = line["states"].as_object().expect("states");
    let run = graph::run(&dag, states.iter().map(|(id, state)| (graph::key(&dag, id), graph::state(state))));
    let open = |id: &&String| states.get(*id).is_none_or(|s| s == "none");
    let ids = line["graph"]["tasks"].as_object().expect("tasks").keys();
    let found: BTreeMap<&String, String> =
        ids.filter(open).map(|id| (id, word(decide(&dag, &run, graph::key(&dag, id))))).collect();
    Verdict::of(serde_json::to_value(&found).expect("words") == line["decisions"], || format!("{found:?}"))
}
