//! Stopping a run from outside, and going on with it.

use super::{World, note, noted, row};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::prelude::*;
use flow_runtime::store::CauseKind;
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
