//! How much runs at one time.

use super::{World, note, note_in, noted};
use flow_runtime::core::{Dag, RunStatus, RunType};
use flow_runtime::executor::{EngineError, RunRequest, Stop};
use flow_runtime::prelude::*;
use std::sync::Arc;
use std::time::Duration;

#[task]
async fn works(ctx: &Context) {
    note(ctx, "+");
    tokio::time::sleep(Duration::from_millis(3)).await;
    note(ctx, "-");
}

#[task]
fn blocks(ctx: &Context) {
    note(ctx, "+");
    std::thread::sleep(Duration::from_millis(3));
    note(ctx, "-");
}

/// The most that were inside at one time.
fn most(run_id: &str) -> i32 {
    let steps = noted(run_id).into_iter().map(|s| if s == "+" { 1 } else { -1 });
    let (_, most) = steps.fold((0, 0), |(now, most), step| (now + step, most.max(now + step)));
    most
}

#[dag(max_active_tasks = 100)]
fn wide() {
    for _ in 0..20 {
        works();
        blocks();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parallelism_bounds_all_bodies_together() {
    let mut world = World::new().await;
    world.settings.parallelism = 3;
    let report = world.run(wide::dag(), "limits-parallelism").await;
    assert_eq!((report.run.state, noted("limits-parallelism").len()), (RunStatus::Success, 80));
    assert_eq!(most("limits-parallelism"), 3);
}

#[dag(max_active_tasks = 2)]
fn narrow() {
    for _ in 0..8 {
        works();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dag_has_its_own_limit() {
    let world = World::new().await;
    world.run(narrow::dag(), "limits-dag").await;
    assert_eq!(most("limits-dag"), 2);
}

#[dag(max_active_tasks = 100)]
fn pooled() {
    for _ in 0..6 {
        works().pool("warehouse").pool_slots(2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_has_slots_and_must_be_there() {
    let mut world = World::new().await;
    world.settings.pools.insert("warehouse".into(), 5);
    world.run(pooled::dag(), "limits-pool").await;
    assert_eq!(most("limits-pool"), 2);

    world.settings.pools.insert("warehouse".into(), 1);
    let error = world.try_run(pooled::dag(), "limits-small", Default::default()).await.unwrap_err();
    assert!(matches!(error, EngineError::Unrunnable(_)));
    assert!(error.to_string().contains("task `works` takes 2 slots of the pool `warehouse`, which has 1"), "{error}");
    world.settings.pools.clear();
    let error = world.try_run(pooled::dag(), "limits-none", Default::default()).await.unwrap_err();
    assert!(error.to_string().contains("there is no pool `warehouse`"), "{error}");
    assert_eq!(world.store.runs(&Default::default()).await.unwrap().len(), 1, "a run that cannot go is not made");
}

#[task]
async fn counts(here: String) {
    note_in(&here, "+");
    tokio::time::sleep(Duration::from_millis(3)).await;
    note_in(&here, "-");
}

#[dag(max_active_tasks = 100)]
fn shared(here: String) {
    for _ in 0..10 {
        counts(here).pool("api");
    }
    counts("limits-elsewhere").id("elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_runs_of_an_engine_share_its_slots_and_none_starves() {
    for (parallelism, api, at_once) in [(3, 100, 3), (100, 2, 2)] {
        let here = format!("limits-shared-{parallelism}");
        let mut world = World::new().await;
        (world.settings.parallelism, world.settings.pools) = (parallelism, [("api".to_string(), api)].into());
        let engine = world.engine();
        let runs = (0..6).map(|number| {
            let params = super::object(serde_json::json!({"here": here}));
            let request = RunRequest { run_id: Some(format!("{here}-{number}")), params, ..RunRequest::default() };
            engine.run(Arc::new(shared::dag()), request, world.observer(), world.stop.clone())
        });
        let all = futures::future::join_all(runs);
        let ended = tokio::time::timeout(Duration::from_secs(30), all).await.expect("no run waits for ever");
        assert!(ended.iter().all(|run| run.as_ref().unwrap().run.state == RunStatus::Success));
        assert_eq!((noted(&here).len(), most(&here)), (6 * 10 * 2, at_once));
    }
}

/// Notes its run, and is inside until somebody opens the door of the ledger.
#[task]
async fn takes(ctx: &Context, ledger: String) {
    note_in(&ledger, ctx.run_id());
    let door = format!("{ledger} is open");
    super::until("the door is opened", || !noted(&door).is_empty()).await;
}

#[dag(max_active_tasks = 100)]
fn ordered(ledger: String) {
    takes(ledger).pool("narrow");
}

#[dag]
fn heavy(ledger: String) {
    takes(ledger).pool("narrow").priority(5);
}

/// Starts runs one after the other, each once the one before waits; the first has the only slot. Gives the order in which they went.
async fn order_of(ledger: &str, requests: Vec<(Dag, RunRequest)>) -> Vec<String> {
    let mut world = World::new().await;
    (world.settings.parallelism, world.settings.pools) = (1, [("narrow".to_string(), 1)].into());
    let engine = world.engine();
    let mut runs = Vec::new();
    for (dag, request) in requests {
        let run_id = request.run_id.clone().unwrap();
        let params = super::object(serde_json::json!({"ledger": ledger}));
        let (engine, observer, stop) = (engine.clone(), world.observer(), world.stop.clone());
        let (dag, request) = (Arc::new(dag), RunRequest { params, ..request });
        let store = world.store.clone();
        let dag_id = dag.dag_id.clone();
        runs.push(tokio::spawn(async move { engine.run(dag, request, observer, stop).await.map(drop) }));
        loop {
            if let Some(stored) = store.run(&dag_id, &run_id).await.unwrap()
                && !store.instances(stored.pk).await.unwrap().is_empty()
            {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    note_in(&format!("{ledger} is open"), "");
    for run in runs {
        run.await.unwrap().unwrap();
    }
    noted(ledger)
}

fn request(run_id: &str, run_type: RunType, day: u32) -> RunRequest {
    let run_after = format!("2026-01-{day:02}T00:00:00Z").parse().ok();
    RunRequest { run_id: Some(run_id.into()), run_type, run_after, ..RunRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_runs_live_ones_go_first_then_the_heavier_then_the_older() {
    use RunType::{Backfill, Manual, Scheduled};
    let went = order_of(
        "limits-order",
        vec![
            (ordered::dag(), request("first-come", Manual, 31)),
            (ordered::dag(), request("backfilled", Backfill, 1)),
            (ordered::dag(), request("younger", Scheduled, 20)),
            (ordered::dag(), request("older", Scheduled, 10)),
            (heavy::dag(), request("backfilled-heavy", Backfill, 30)),
            (heavy::dag(), request("heavy", Manual, 31)),
        ],
    )
    .await;
    assert_eq!(went, ["first-come", "heavy", "older", "younger", "backfilled-heavy", "backfilled"]);
}

/// Each task is heavier than those after it.
#[dag]
fn in_line(ledger: String) {
    let tasks: Vec<_> = (0..6).map(|n| takes(ledger).id(format!("takes{n}"))).collect();
    chain(tasks);
}

#[dag]
fn light(ledger: String) {
    takes(ledger).id("first") >> takes(ledger).id("second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_run_goes_to_its_end_before_all_of_a_backfill() {
    let filled = |number: u32| (in_line::dag(), request(&format!("filled-{number}"), RunType::Backfill, number));
    let requests = vec![filled(1), filled(2), filled(3), (light::dag(), request("live", RunType::Scheduled, 31))];
    let went = order_of("limits-live", requests).await;
    assert_eq!(went[..3], ["filled-1", "live", "live"], "{went:?}");
    assert_eq!(went.len(), 3 * 6 + 2);
}

/// A run that is stopped, or dropped, gives back what it has and what was meant for it.
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_no_slot_along() {
    let mut world = World::new().await;
    world.settings.pools = [("narrow".to_string(), 1)].into();
    let engine = world.engine();
    let start = |run_id: &str, stop: &Stop| {
        let params = super::object(serde_json::json!({"ledger": "limits-leave"}));
        let request = RunRequest { params, ..request(run_id, RunType::Manual, 1) };
        let (engine, observer, stop) = (engine.clone(), world.observer(), stop.clone());
        tokio::spawn(async move { engine.run(Arc::new(ordered::dag()), request, observer, stop).await })
    };
    let has_gone = |n: usize| move || noted("limits-leave").len() == n;
    let stop = Stop::default();
    let (dropped, stopped) = (start("dropped", &world.stop), start("stopped", &stop));
    super::until("one of them has the slot", has_gone(1)).await;
    let last = start("last", &world.stop);
    let (one, other) = if noted("limits-leave") == ["dropped"] { (dropped, stopped) } else { (stopped, dropped) };
    one.abort();
    super::until("the other one has it", has_gone(2)).await;
    stop.at_once.cancel();
    other.abort();
    super::until("and then the last", has_gone(3)).await;
    note_in("limits-leave is open", "");
    assert_eq!(last.await.unwrap().unwrap().run.state, RunStatus::Success);
}

#[task(max_active = 2, max_active_per_run = 1)]
async fn limited(ctx: &Context, _n: i32) {
    for ledger in ["limits-task", &format!("limits-task-{}", ctx.run_id())] {
        note_in(ledger, "+");
    }
    tokio::time::sleep(Duration::from_millis(3)).await;
    for ledger in ["limits-task", &format!("limits-task-{}", ctx.run_id())] {
        note_in(ledger, "-");
    }
}

#[dag(max_active_tasks = 100)]
fn with_a_limited_task() {
    limited::expand(each(0..5)).id("limited");
    counts("limits-task-free").id("free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_has_limits_across_the_runs_of_its_dag() {
    let world = World::new().await;
    let engine = world.engine();
    let runs = ["a", "b", "c", "d"].map(|run_id| {
        let request = RunRequest { run_id: Some(run_id.into()), ..RunRequest::default() };
        engine.run(Arc::new(with_a_limited_task::dag()), request, world.observer(), world.stop.clone())
    });
    let ended = tokio::time::timeout(Duration::from_secs(30), futures::future::join_all(runs)).await.unwrap();
    assert!(ended.iter().all(|run| run.as_ref().unwrap().run.state == RunStatus::Success));
    assert_eq!((noted("limits-task").len(), most("limits-task")), (4 * 5 * 2, 2));
    assert!(["a", "b", "c", "d"].iter().all(|run_id| most(&format!("limits-task-{run_id}")) == 1));
}

#[task(at_once(1, key = "table {table}"))]
async fn loads(table: String) {
    note_in(&format!("limits-{table}"), "+");
    note_in("limits-keys", "+");
    tokio::time::sleep(Duration::from_millis(3)).await;
    note_in("limits-keys", "-");
    note_in(&format!("limits-{table}"), "-");
}

#[task]
fn names() -> Vec<String> {
    ["trips", "zones", "trips", "trips"].map(String::from).into()
}

/// Another function under the same key.
#[task]
async fn vacuums(which: String) {
    note_in(&format!("limits-{which}"), "+");
    tokio::time::sleep(Duration::from_millis(3)).await;
    note_in(&format!("limits-{which}"), "-");
}

#[dag(max_active_tasks = 100)]
fn of_many_tables() {
    loads::expand(each(names()));
    vacuums("trips").at_once(1, "table {which}");
}

#[dag(max_active_tasks = 100)]
fn of_one_table(table: String) {
    loads(table);
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_with_the_same_key_go_one_after_the_other_whatever_their_dag() {
    let world = World::new().await;
    let engine = world.engine();
    let start = |dag: Dag, run_id: String, params| {
        let request = RunRequest { run_id: Some(run_id), params: super::object(params), ..RunRequest::default() };
        engine.run(Arc::new(dag), request, world.observer(), world.stop.clone())
    };
    let many = (0..3).map(|n| start(of_many_tables::dag(), format!("many-{n}"), serde_json::json!({})));
    let one = (0..3).map(|n| start(of_one_table::dag(), format!("one-{n}"), serde_json::json!({"table": "trips"})));
    let all = futures::future::join_all(many.chain(one));
    let ended = tokio::time::timeout(Duration::from_secs(30), all).await.expect("all get there");
    assert!(ended.iter().all(|run| run.as_ref().unwrap().run.state == RunStatus::Success));
    assert_eq!((noted("limits-trips").len(), most("limits-trips")), ((3 * 4 + 3) * 2, 1));
    assert_eq!((noted("limits-zones").len(), most("limits-zones")), (3 * 2, 1));
    assert_eq!(most("limits-keys"), 2, "one of each key");
}

#[task(rate("3/1h", key = "api"))]
async fn calls(ctx: &Context, _n: i32) {
    note(ctx, "called");
}

#[dag(max_active_tasks = 100)]
fn hourly_calls() {
    calls::expand(each(0..8)).id("calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_started_in_a_span_of_time_than_may_be() {
    use flow_runtime::clock::{Clock, SkippingClock};
    let world = World::new().await;
    let clock: Arc<dyn Clock> = Arc::new(SkippingClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let engine = world.engine().with_clock(clock);
    let request = RunRequest { run_id: Some("limits-rate".into()), ..RunRequest::default() };
    let run = engine.run(Arc::new(hourly_calls::dag()), request, world.observer(), world.stop.clone());
    let run = tokio::time::timeout(Duration::from_secs(30), run).await.expect("it takes no time").unwrap();
    assert_eq!((run.run.state, noted("limits-rate").len()), (RunStatus::Success, 8));
    let mut starts: Vec<_> = run.instances.iter().map(|row| row.start_date.unwrap()).collect();
    starts.sort();
    // A row's start is the instant of the step in which it was let go, moments before the body is started.
    let hour = chrono::TimeDelta::hours(1) - chrono::TimeDelta::seconds(5);
    for later in 3..8 {
        assert!(starts[later] - starts[later - 3] >= hour, "{starts:#?}");
    }
    assert!(starts[7] - starts[0] < chrono::TimeDelta::hours(3), "and none waits longer than it must: {starts:#?}");
}
