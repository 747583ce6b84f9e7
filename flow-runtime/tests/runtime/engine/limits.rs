//! How much runs at one time.

use super::{World, note, note_in, noted};
use flow_runtime::core::RunStatus;
use flow_runtime::executor::{EngineError, RunRequest};
use flow_runtime::prelude::*;
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
            engine.run(std::sync::Arc::new(shared::dag()), request, world.observer(), world.stop.clone())
        });
        let all = futures::future::join_all(runs);
        let ended = tokio::time::timeout(Duration::from_secs(30), all).await.expect("no run waits for ever");
        assert!(ended.iter().all(|run| run.as_ref().unwrap().run.state == RunStatus::Success));
        assert_eq!((noted(&here).len(), most(&here)), (6 * 10 * 2, at_once));
    }
}

#[task]
async fn takes(ctx: &Context) {
    note_in("limits-fair", ctx.run_id());
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[dag(max_active_tasks = 100)]
fn greedy() {
    for _ in 0..100 {
        takes().pool("narrow");
    }
}

#[dag]
fn modest() {
    takes().pool("narrow");
}

#[tokio::test]
async fn a_run_with_much_to_do_lets_others_have_their_turn() {
    let mut world = World::new().await;
    world.settings.pools = [("narrow".to_string(), 1)].into();
    let engine = world.engine();
    let run = |dag, run_id: &str| {
        let request = RunRequest { run_id: Some(run_id.into()), ..RunRequest::default() };
        let (engine, observer, stop) = (engine.clone(), world.observer(), world.stop.clone());
        tokio::spawn(async move { engine.run(std::sync::Arc::new(dag), request, observer, stop).await.map(drop) })
    };
    let greedy = run(greedy::dag(), "greedy");
    super::until("the first is under way", || noted("limits-fair").len() > 5).await;
    let modest = run(modest::dag(), "modest");
    greedy.await.unwrap().unwrap();
    modest.await.unwrap().unwrap();
    let turns = noted("limits-fair");
    let turn = turns.iter().position(|run_id| run_id == "modest").unwrap();
    assert!(turn < 60, "it had its turn after {turn} others");
}
