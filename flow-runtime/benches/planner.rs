//! What the planner costs for each event, in runs of any size: the cost is that of the task's degree, not of the run.
//!
//! `cargo bench -p flow-runtime --bench planner`

use divan::Bencher;
use divan::counter::ItemsCount;
use flow_runtime::core::{Dag, Event, InstanceKey, Outcome, Report, RunState, TaskDef, TryRef, UNMAPPED, plan};
use std::collections::BTreeMap;
use std::hint::black_box;

fn main() {
    divan::main();
}

fn task(id: String, upstream: Vec<u32>) -> TaskDef {
    let mut task = TaskDef::new(id.clone(), id);
    task.upstream = upstream;
    task
}

/// One after the other.
fn chain(n: u32) -> Dag {
    let mut dag = Dag::new("chain");
    dag.tasks.extend((0..n).map(|t| task(format!("t{t}"), if t == 0 { vec![] } else { vec![t - 1] })));
    dag
}

/// 1 → n → 1.
fn wide(n: u32) -> Dag {
    let mut dag = Dag::new("wide");
    dag.tasks.push(task("first".into(), vec![]));
    dag.tasks.extend((1..=n).map(|t| task(format!("t{t}"), vec![0])));
    dag.tasks.push(task("last".into(), (1..=n).collect()));
    dag
}

/// Runs a DAG to its end, without anybody who does the work: three events for each task.
fn run(dag: &Dag, mut state: RunState) -> RunState {
    let now = chrono::DateTime::UNIX_EPOCH;
    let mut ready = plan(dag, &mut state, &[], now).ready;
    while let Some(key) = ready.pop() {
        let of = TryRef { key, try_number: 1 };
        plan(dag, &mut state, &[Event::Dispatched(key), Event::Started(of)], now);
        ready.extend(plan(dag, &mut state, &[Event::Ended(of, Outcome::Success(Report::default()))], now).ready);
    }
    state
}

fn measure(bencher: Bencher<'_, '_>, dag: &Dag) {
    let last = InstanceKey { task: dag.tasks.len() as u32 - 1, map_index: UNMAPPED };
    let ended = run(dag, RunState::new(dag, &BTreeMap::new()));
    assert!(ended.instance(last).is_some_and(|i| i.state.is_finished()), "it runs to its end");
    bencher
        .counter(ItemsCount::new(dag.tasks.len() * 3))
        .with_inputs(|| RunState::new(dag, &BTreeMap::new()))
        .bench_values(|state| black_box(run(dag, state)));
}

#[divan::bench(args = [100, 1_000, 10_000])]
fn events_of_a_chain(bencher: Bencher<'_, '_>, n: u32) {
    measure(bencher, &chain(n));
}

#[divan::bench(args = [100, 1_000, 10_000, 100_000], sample_count = 10)]
fn events_of_a_wide_run(bencher: Bencher<'_, '_>, n: u32) {
    measure(bencher, &wide(n));
}
