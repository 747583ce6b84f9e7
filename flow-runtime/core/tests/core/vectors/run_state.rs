//! What becomes of a run.

use super::{Verdict, check, graph, text};
use chrono::DateTime;
use flow_core::{
    Dag, Decision, Event, InstanceKey, Outcome, Plan, Report, RunState, RunStatus, TaskDef, TaskState, TriggerRule,
    TryRef, UNMAPPED, decide, outlook, plan_pass,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[test]
fn vectors_run_state() {
    check("run_state.jsonl", |line| match text(&line["kind"]) {
        "static" | "deadlock" => one_update(line),
        "simulate" => simulate(line),
        "rules" => rules(line),
        _ => Verdict::Skipped("an unknown kind"),
    });
}

/// One update of the run: what is decided in it is not seen in it.
fn one_update(line: &Value) -> Verdict {
    let dag = graph::dag(&line["graph"], &BTreeMap::new());
    let states = line["states"].as_object().expect("states");
    let run = graph::run(&dag, states.iter().map(|(id, state)| (graph::key(&dag, id), graph::state(state))));
    let (mut ready, mut changed) = (Vec::new(), BTreeMap::new());
    for (id, state) in states {
        // What waits for its next try is looked at again in each update; the vectors' are due.
        if !matches!(text(state), "none" | "up_for_retry" | "up_for_reschedule") {
            continue;
        }
        match decide(&dag, &run, graph::key(&dag, id)) {
            Decision::Run => ready.push(id),
            Decision::Wait => {}
            Decision::Cut(state) => {
                changed.insert(id, state.name());
            }
        }
    }
    let moves = !ready.is_empty() || !changed.is_empty();
    let status = if moves { RunStatus::Running } else { outlook(&run) };
    let found = json!({"run_state": status.name(), "ready": ready, "changed": changed});
    let agrees = ["run_state", "ready", "changed"].iter().all(|field| found[field] == line[field]);
    let options = line["graph"].get("options").and_then(Value::as_object);
    if !agrees && options.is_some_and(|o| !o.is_empty()) && line["run_state"] == "running" {
        return Verdict::Skipped("a setting of a task, unknown here, with which Airflow never tells a deadlock");
    }
    if !agrees && overwrites_a_try(line, states) {
        return Verdict::OnPurpose("Airflow overwrites the state of a try in flight when nothing else can move");
    }
    Verdict::of(agrees, || found.to_string())
}

/// When it looks for a deadlock, Airflow asks the rules of every unfinished task, and where one is cut it sets that
/// state, even on a task that runs. Here a try in flight always comes to its end.
fn overwrites_a_try(line: &Value, states: &serde_json::Map<String, Value>) -> bool {
    let in_flight = |id: &String| states.get(id).is_some_and(|s| graph::state(s).is_in_flight());
    line["changed"].as_object().is_some_and(|changed| changed.keys().any(in_flight))
}

/// Hands out what is scheduled, ends it as `outcomes` says before the next pass, until the run ends.
fn to_the_end(dag: &Dag, run: &mut RunState, outcome: impl Fn(&str) -> TaskState) -> Vec<Vec<String>> {
    let mut ran = Vec::new();
    let mut events = Vec::new();
    while !run.status().is_finished() {
        let planned = plan_pass(dag, run, &events, DateTime::UNIX_EPOCH);
        assert!(planned != Plan::default(), "nothing to do, and the run goes on");
        events.clear();
        let mut round: Vec<String> = Vec::new();
        for key in planned.ready {
            let name = graph::name(dag, key);
            let outcome = match outcome(&name) {
                TaskState::Success => Outcome::Success(Report::default()),
                TaskState::Skipped => Outcome::Skipped,
                _ => Outcome::Failed,
            };
            events.extend([Event::Dispatched(key), Event::Ended(TryRef { key, try_number: 1 }, outcome)]);
            round.push(name);
        }
        if !round.is_empty() {
            ran.push(round);
        }
    }
    ran
}

fn finals(dag: &Dag, run: &RunState) -> BTreeMap<String, &'static str> {
    let one = |task| {
        let key = InstanceKey { task, map_index: UNMAPPED };
        (graph::name(dag, key), run.instance(key).expect("it is there").state.name())
    };
    (0..dag.tasks.len() as u32).map(one).collect()
}

fn simulate(line: &Value) -> Verdict {
    let dag = graph::dag(&line["graph"], &BTreeMap::new());
    let mut run = RunState::new(&dag, &BTreeMap::new());
    let ran = to_the_end(&dag, &mut run, |id| graph::state(&line["outcomes"][id]));
    let found = json!({"ran": ran, "final": finals(&dag, &run), "run_state": run.status().name()});
    let agrees = ["ran", "final", "run_state"].iter().all(|field| found[field] == line[field]);
    Verdict::of(agrees, || found.to_string())
}

fn rules(line: &Value) -> Verdict {
    let mut dag = Dag::new("d");
    let upstream: Vec<TaskState> = line["upstream"].as_array().expect("states").iter().map(graph::state).collect();
    dag.tasks = (0..upstream.len()).map(|n| TaskDef::new(format!("u{n}"), "u")).collect();
    dag.tasks.push(TaskDef {
        trigger_rule: TriggerRule::from_name(text(&line["rule"])).expect("a rule"),
        upstream: (0..upstream.len() as u32).collect(),
        ..TaskDef::new("t", "t")
    });
    let keys = (0..).map(|task| InstanceKey { task, map_index: UNMAPPED });
    let mut run = graph::run(&dag, keys.zip(upstream.iter().copied()));
    to_the_end(&dag, &mut run, |_| TaskState::Success);
    let task = finals(&dag, &run)["t"];
    let deadlock = run.status() == RunStatus::Failed && task == "none";
    let found = json!({"task": task, "run_state": run.status().name(), "deadlock": deadlock});
    let agrees = ["task", "run_state", "deadlock"].iter().all(|field| found[field] == line[field]);
    Verdict::of(agrees, || found.to_string())
}
