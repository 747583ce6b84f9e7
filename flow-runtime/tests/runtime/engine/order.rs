//! What runs before what, and what is skipped.

use super::{World, note, noted, row, states, value};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::prelude::*;
use serde_json::json;

#[task]
fn one(ctx: &Context) -> u32 {
    note(ctx, "one");
    1
}

#[task]
async fn add(ctx: &Context, a: u32, b: u32) -> Result<u32> {
    note(ctx, "add");
    Ok(a + b)
}

#[task]
fn say(ctx: &Context, what: String) {
    note(ctx, what);
}

#[dag]
fn diamond() {
    let top = one();
    let (left, right) = (add(top, 10), add(top, 20));
    add(left, right).id("bottom") >> say("end");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_go_along_edges_and_order_without() {
    let world = World::new().await;
    let report = world.run(diamond::dag(), "order-diamond").await;
    assert_eq!(report.run.state, RunStatus::Success);
    assert_eq!(value(&report, "bottom"), json!(32));
    assert_eq!(noted("order-diamond"), ["one", "add", "add", "add", "end"]);
    let (start, end) = (report.run.start_date.unwrap(), report.run.end_date.unwrap());
    for row in &report.instances {
        assert!(
            row.start_date >= Some(start) && row.end_date <= Some(end) && row.start_date <= row.end_date,
            "{row:?}"
        );
        assert_eq!((row.state, row.try_number), (TaskState::Success, 1));
    }
}

#[value]
pub enum Load {
    Full,
    Delta,
}

#[task]
fn choose(delta: bool) -> Load {
    if delta { Load::Delta } else { Load::Full }
}

#[task(trigger_rule = "none_failed_min_one_success")]
fn join(ctx: &Context, full: Option<u32>, delta: Option<u32>) {
    note(ctx, format!("{full:?} {delta:?}"));
}

#[dag]
fn branches(#[default(false)] delta: bool) {
    let choice = choose(delta);
    let full = one().when(choice, Load::Full);
    let part = add(2, 3).when(choice, Load::Delta);
    join(full, part);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_chosen_branch_runs_and_a_join_follows() {
    let world = World::new().await;
    let report = world.run(branches::dag(), "order-full").await;
    assert_eq!(report.run.state, RunStatus::Success);
    assert_eq!((row(&report, "one").state, row(&report, "add").state), (TaskState::Success, TaskState::Skipped));
    assert_eq!(noted("order-full"), ["one", "Some(1) None"]);

    world.try_run(branches::dag(), "order-delta", json!({"delta": true})).await.unwrap();
    assert_eq!(noted("order-delta"), ["add", "None Some(5)"]);
}

#[task]
fn breaks() -> Result<u32> {
    bail!("no luck")
}

#[task(trigger_rule = "one_failed")]
fn alarm(ctx: &Context) {
    note(ctx, "alarm");
}

#[task(trigger_rule = "all_done")]
fn clean(ctx: &Context) {
    note(ctx, "clean");
}

#[dag]
fn alarms() {
    let broken = breaks();
    let after = add(broken, 1);
    broken >> alarm();
    [broken, after] >> clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_cuts_what_needs_it_and_wakes_what_waits_for_it() {
    let world = World::new().await;
    let report = world.run(alarms::dag(), "order-alarms").await;
    // Of the leaves, `add` is none: the run's end is decided by `alarm` and `clean`.
    assert_eq!(report.run.state, RunStatus::Success);
    let expected = [("add", "upstream_failed"), ("alarm", "success"), ("breaks", "failed"), ("clean", "success")];
    let found: Vec<_> = states(&report).into_iter().map(|(id, state)| (id, state.name())).collect();
    assert!(found.iter().map(|(id, state)| (id.as_str(), *state)).eq(expected), "{found:?}");
    let mut noted = noted("order-alarms");
    noted.sort();
    assert_eq!(noted, ["alarm", "clean"]);
}

#[task(priority = 10)]
fn urgent(ctx: &Context) {
    note(ctx, "urgent");
}

#[dag(max_active_tasks = 1)]
fn priorities() {
    say("first");
    urgent();
    say("last").priority(-1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heavier_task_goes_first() {
    let world = World::new().await;
    world.run(priorities::dag(), "order-priorities").await;
    assert_eq!(noted("order-priorities"), ["urgent", "first", "last"]);
}
