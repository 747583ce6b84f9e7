//! Stopping a run from outside, and going on with it.

use super::{World, note, noted, row};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::executor::{EngineError, Stop};
use flow_runtime::prelude::*;
use flow_runtime::scheduler::{ScheduledDag, Scheduler};
use flow_runtime::store::faulty::{Faults, FaultyStore};
use flow_runtime::store::{CauseKind, StoreError};
use serde_json::Map;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

#[task]
fn before(ctx: &Context) {
    note(ctx, "before");
}

#[task]
async fn works(ctx: &Context) -> Result<u32> {
    note(ctx, "begins");
    if noted(ctx.run_id()).iter().filter(|n| *n == "begins").count() == 1 {
        ctx.cancel().cancelled().await;
        note(ctx, "told");
        bail!("stopped half-way");
    }
    Ok(ctx.try_number())
}

#[task]
fn after(ctx: &Context, number: u32) {
    note(ctx, format!("after try {number}"));
}

#[dag]
fn stoppable() {
    let number = works();
    before() >> number;
    after(number);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_tells_the_tasks_and_counts_no_try() {
    let mut world = World::new().await;
    let stop = world.stop.graceful.clone();
    let run = world.run(stoppable::dag(), "stop-graceful");
    let stopper = async {
        super::until("the task begins", || noted("stop-graceful").len() == 2).await;
        stop.cancel();
    };
    let (report, ()) = tokio::join!(run, stopper);
    assert!(report.interrupted);
    assert_eq!(report.run.state, RunStatus::Running);
    let works = row(&report, "works");
    assert_eq!((works.state, works.cause.as_ref().unwrap().kind), (TaskState::Scheduled, CauseKind::Cancelled));

    world.stop = Default::default();
    let report = world.resume(stoppable::dag(), "stop-graceful").await;
    assert_eq!(report.run.state, RunStatus::Success);
    assert_eq!(noted("stop-graceful"), ["before", "begins", "told", "begins", "after try 2"]);
    assert_eq!(row(&report, "works").max_tries, 1, "it may still be tried as often as before");
}

#[task]
async fn stubborn(ctx: &Context) {
    note(ctx, "begins");
    std::future::pending::<()>().await;
}

#[task]
fn deaf(ctx: &Context) {
    note(ctx, "begins");
    std::thread::sleep(Duration::from_millis(300));
    note(ctx, "ends");
}

#[dag]
fn stubborn_dag() {
    stubborn();
    deaf();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_does_not_listen_is_dropped_after_its_grace() {
    let mut world = World::new().await;
    world.settings.grace = Duration::from_millis(50);
    let stop = world.stop.graceful.clone();
    let stopper = async {
        super::until("both begin", || noted("stop-grace").len() == 2).await;
        stop.cancel();
    };
    let (report, ()) = tokio::join!(world.run(stubborn_dag::dag(), "stop-grace"), stopper);
    assert!(report.interrupted);
    assert!(report.instances.iter().all(|row| row.state == TaskState::Scheduled), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_word_stops_at_once() {
    let mut world = World::new().await;
    world.settings.grace = Duration::from_secs(3600);
    let stop = world.stop.clone();
    let stopper = async {
        super::until("both begin", || noted("stop-at-once").len() == 2).await;
        stop.graceful.cancel();
        stop.at_once.cancel();
    };
    let (report, ()) = tokio::join!(world.run(stubborn_dag::dag(), "stop-at-once"), stopper);
    assert!(report.interrupted);
    let again = world.stored(&stubborn_dag::dag(), "stop-at-once").await;
    assert_eq!(again.run.state, RunStatus::Running, "it can be resumed");
}

/// A store that answers no more once this is set.
struct Hangs(Arc<AtomicBool>);

#[async_trait::async_trait]
impl Faults for Hangs {
    async fn before(&self, _: &'static str) -> Result<(), StoreError> {
        if self.0.load(SeqCst) { std::future::pending().await } else { Ok(()) }
    }

    async fn after(&self, _: &'static str) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_word_is_heard_while_the_store_does_not_answer() {
    let mut world = World::new().await;
    let (store, hangs) = (world.store.clone(), Arc::new(AtomicBool::new(false)));
    world.store = Arc::new(FaultyStore::new(store.clone(), Arc::new(Hangs(hangs.clone()))));
    let stop = world.stop.clone();
    let stopper = async {
        super::until("both begin", || noted("stop-hung").len() == 2).await;
        hangs.store(true, SeqCst);
        stop.graceful.cancel();
        stop.at_once.cancel();
    };
    let run = world.try_run(stubborn_dag::dag(), "stop-hung", serde_json::Value::Null);
    let (ran, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), run), stopper);
    let Err(EngineError::Io(said)) = ran.expect("it is heard") else { panic!("the store did not answer") };
    assert!(said.contains("the metadata store does not answer"), "{said}");
    // So does a scheduler that asks it for what is due.
    let owned = ScheduledDag { dag: Arc::new(stoppable::dag()), params: Ok(Map::new()) };
    let stop = Stop::default();
    let scheduler = Scheduler::new(world.engine(), [owned], false, Arc::new(|_| {}), stop.clone()).unwrap();
    let stopper = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.graceful.cancel();
        stop.at_once.cancel();
    };
    let (ran, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), scheduler.run()), stopper);
    ran.expect("it is heard").unwrap();
    world.store = store;
    assert_eq!(world.stored(&stubborn_dag::dag(), "stop-hung").await.run.state, RunStatus::Running);
}
