//! Limits that engines of several processes share, as they do on one Postgres; on one file they share rates.

use super::{World, note_in, noted, object, until};
use crate::store::postgres;
use flow_runtime::core::{Dag, RunStatus, RunType};
use flow_runtime::executor::{RunRequest, Stop};
use flow_runtime::prelude::*;
use flow_runtime::store::faulty::{Faults, FaultyStore};
use flow_runtime::store::{Durability, MemoryStore, MetadataStore, SqliteStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[task]
async fn inside(here: String, _n: i32) {
    note_in(&here, "+");
    tokio::time::sleep(Duration::from_millis(4)).await;
    note_in(&here, "-");
}

#[task(at_once(1, key = "alone"))]
async fn alone(here: String, _n: i32) {
    let here = format!("{here} alone");
    note_in(&here, "+");
    tokio::time::sleep(Duration::from_millis(1)).await;
    note_in(&here, "-");
}

#[dag(max_active_tasks = 100)]
fn crowded(here: String) {
    inside::expand(here, each(0..12)).pool("api");
    alone::expand(here, each(0..4));
}

/// The most that were inside at one time, and how many there were.
fn most(ledger: &str) -> (usize, i32) {
    let steps: Vec<i32> = noted(ledger).into_iter().map(|s| if s == "+" { 1 } else { -1 }).collect();
    let (_, most) = steps.iter().fold((0, 0), |(now, most): (i32, i32), step| (now + step, most.max(now + step)));
    (steps.len() / 2, most)
}

/// Some engines with a run each on one store: no limit is exceeded, all get there, and nobody keeps the others out.
async fn share(store: Arc<dyn MetadataStore>, here: &str) {
    let mut world = World::new().await;
    world.store = store;
    world.settings.lease = Some(Duration::from_secs(60));
    world.settings.pools = [("api".to_string(), 3)].into();
    let runs = (0..3).map(|n| {
        let params = object(serde_json::json!({"here": here}));
        let request = RunRequest { run_id: Some(format!("{here}-{n}")), params, ..RunRequest::default() };
        let (engine, observer, stop) = (world.engine(), world.observer(), world.stop.clone());
        async move { engine.run(Arc::new(crowded::dag()), request, observer, stop).await }
    });
    let all = futures::future::join_all(runs);
    let ended = tokio::time::timeout(Duration::from_secs(60), all).await.expect("no run waits for ever");
    assert!(ended.iter().all(|run| run.as_ref().unwrap().run.state == RunStatus::Success));
    assert_eq!(most(here), (3 * 12, 3));
    assert_eq!(most(&format!("{here} alone")), (3 * 4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_on_one_store_share_pools_and_keys() {
    share(Arc::new(MemoryStore::new()), "shared-memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_on_one_postgres_share_pools_and_keys() {
    let Some((store, ())) = postgres::fresh().await else { return };
    share(Arc::new(store), "shared-postgres").await;
}

/// Notes its run, and is inside until somebody opens the door of the ledger.
#[task]
async fn takes(ctx: &Context, ledger: String) {
    note_in(&ledger, ctx.run_id());
    let door = format!("{ledger} is open");
    until("the door is opened", || !noted(&door).is_empty()).await;
}

/// Each task is heavier than those after it.
#[dag]
fn in_line(ledger: String) {
    chain(["first", "second", "third"].map(|id| takes(ledger).pool("narrow").id(id)));
}

/// Engines with a run each on one store, which share one slot: once that of the live run has asked for it, no backfill has it before that
/// run has ended.
async fn fill_behind_a_live_run(store: Arc<dyn MetadataStore>, ledger: &str) {
    let mut world = World::new().await;
    world.settings.lease = Some(Duration::from_secs(60));
    world.settings.pools = [("narrow".to_string(), 1)].into();
    let mut runs = Vec::new();
    for (run_id, run_type) in [("one", RunType::Backfill), ("other", RunType::Backfill), ("live", RunType::Scheduled)] {
        let asked = Arc::new(Asked::default());
        world.store = Arc::new(FaultyStore::new(store.clone(), asked.clone()));
        let params = object(serde_json::json!({"ledger": ledger}));
        let request = RunRequest { run_id: Some(run_id.into()), run_type, params, ..RunRequest::default() };
        let (engine, observer, stop) = (world.engine(), world.observer(), world.stop.clone());
        runs.push(tokio::spawn(async move { engine.run(Arc::new(in_line::dag()), request, observer, stop).await }));
        let has_come = || noted(ledger) == [run_id] || asked.0.load(Ordering::Relaxed) > 1;
        until("it has the slot, or was refused", has_come).await;
    }
    note_in(&format!("{ledger} is open"), "");
    for run in runs {
        let ended = tokio::time::timeout(Duration::from_secs(30), run).await.expect("no run waits for ever").unwrap();
        assert_eq!(ended.unwrap().run.state, RunStatus::Success);
    }
    let went = noted(ledger);
    assert_eq!((&went[..4], went.len()), (&["one", "live", "live", "live"].map(String::from)[..], 9), "{went:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backfills_wait_behind_the_live_runs_of_other_engines() {
    fill_behind_a_live_run(Arc::new(MemoryStore::new()), "shared-filled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backfills_wait_behind_the_live_runs_of_other_processes_on_one_postgres() {
    let Some((store, ())) = postgres::fresh().await else { return };
    fill_behind_a_live_run(Arc::new(store), "shared-filled-postgres").await;
}

#[task]
async fn stays(ledger: String) {
    note_in(&ledger, "in");
    std::future::pending::<()>().await;
}

#[task]
fn passes(ledger: String) {
    note_in(&ledger, "passed");
}

#[dag]
fn stayers(ledger: String) {
    stays(ledger).pool("narrow");
}

#[dag]
fn passers(ledger: String) {
    passes(ledger).pool("narrow");
}

/// Who is let go, or dies, keeps no slot longer than its lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_free_once_its_run_has_no_holder() {
    let mut world = World::new().await;
    world.store = Arc::new(MemoryStore::new());
    world.settings.lease = Some(Duration::from_secs(60));
    world.settings.pools = [("narrow".to_string(), 1)].into();
    let ledger = "shared-freed";
    let request = |run_id: &str| {
        let params = object(serde_json::json!({"ledger": ledger}));
        RunRequest { run_id: Some(run_id.into()), params, ..RunRequest::default() }
    };
    let start = |dag: Dag, run_id: &str| {
        let (engine, request, observer) = (world.engine(), request(run_id), world.observer());
        tokio::spawn(async move { engine.run(Arc::new(dag), request, observer, Stop::default()).await })
    };
    let first = start(stayers::dag(), "first");
    until("the first has the slot", || noted(ledger) == ["in"]).await;
    let second = start(passers::dag(), "second");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(noted(ledger), ["in"], "the slot is taken");
    first.abort();
    let ended = tokio::time::timeout(Duration::from_secs(30), second).await.expect("the slot is free").unwrap();
    assert_eq!(ended.unwrap().run.state, RunStatus::Success);
    assert_eq!(noted(ledger), ["in", "passed"]);
}

#[task(rate("4/1h", key = "counted"))]
fn counted(ledger: String, _n: i32) {
    note_in(&ledger, "called");
}

#[dag(max_active_tasks = 100)]
fn callers(ledger: String) {
    counted::expand(ledger, each(0..3)).id("counted");
}

/// Engines with a run each on these stores: starts in a span count for all. Here the rest would wait for an hour.
async fn share_a_rate(mut world: World, stores: Vec<Arc<dyn MetadataStore>>, ledger: &str) {
    let mut runs = Vec::new();
    for (n, store) in stores.into_iter().enumerate() {
        world.store = store;
        let params = object(serde_json::json!({"ledger": ledger}));
        let request = RunRequest { run_id: Some(format!("rate-{n}")), params, ..RunRequest::default() };
        let (engine, observer, stop) = (world.engine(), world.observer(), world.stop.clone());
        runs.push(tokio::spawn(async move { engine.run(Arc::new(callers::dag()), request, observer, stop).await }));
    }
    until("as many were called as may be", || noted(ledger).len() == 4).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(noted(ledger).len(), 4);
    world.stop.at_once.cancel();
    for run in runs {
        let ended = run.await.unwrap().unwrap();
        assert!(!ended.run.state.is_finished() || ended.run.state == RunStatus::Success, "{:?}", ended.run.state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_holds_for_all_engines() {
    let mut world = World::new().await;
    world.settings.lease = Some(Duration::from_secs(60));
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    share_a_rate(world, vec![store; 3], "shared-rate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_holds_for_all_processes_on_one_file() {
    let world = World::new().await;
    let mut stores: Vec<Arc<dyn MetadataStore>> = Vec::new();
    for _ in 0..3 {
        let store = SqliteStore::open(&world.home.path().join("flow.db"), Durability::Process).await.unwrap();
        stores.push(Arc::new(store));
    }
    share_a_rate(world, stores, "shared-rate-file").await;
}

/// Counts what a store is asked.
#[derive(Default)]
struct Asked(AtomicUsize);

#[async_trait::async_trait]
impl Faults for Asked {
    async fn before(&self, call: &'static str) -> flow_runtime::store::Result<()> {
        self.0.fetch_add(usize::from(call == "take_slots"), Ordering::Relaxed);
        Ok(())
    }

    async fn after(&self, _: &'static str) -> flow_runtime::store::Result<()> {
        Ok(())
    }
}

#[dag(max_active_tasks = 100)]
fn one_caller(ledger: String) {
    counted(ledger, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_file_only_what_has_a_rate_asks_the_others() {
    let mut world = World::new().await;
    world.settings.pools = [("api".to_string(), 3)].into();
    let asked = Arc::new(Asked::default());
    world.store = Arc::new(FaultyStore::new(world.store.clone(), asked.clone()));
    let run = world.try_run(crowded::dag(), "asks-nobody", serde_json::json!({"here": "asks-nobody"})).await.unwrap();
    assert_eq!((run.run.state, asked.0.load(Ordering::Relaxed)), (RunStatus::Success, 0));
    let run = world.try_run(one_caller::dag(), "asks-once", serde_json::json!({"ledger": "asks-once"})).await.unwrap();
    assert_eq!((run.run.state, asked.0.load(Ordering::Relaxed)), (RunStatus::Success, 1));
}
