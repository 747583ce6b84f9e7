//! What is set up is taken away, whoever ends the run, and made anew when work runs again that needs it.

use super::{World, note, note_in, noted, row, until};
use flow_runtime::core::{Event, InstanceKey, RunStatus, RunType, TaskState, UNMAPPED};
use flow_runtime::executor::{Changed, RunRequest};
use flow_runtime::prelude::*;
use flow_runtime::store::{CallbackFilter, CauseKind};
use std::sync::Arc;
use std::time::Duration;

fn has(ctx: &Context, what: &str) -> bool {
    noted(ctx.run_id()).iter().any(|noted| noted == what)
}

fn noted_in(ctx: &Context, what: &str) -> Result<()> {
    note(ctx, what);
    Ok(())
}

#[task(setup)]
async fn opens(ctx: &Context) -> Result<()> {
    ctx.step("opened", || async { noted_in(ctx, "open") }).await
}

/// Does a part, and hangs or fails behind it, until somebody has mended that.
#[task]
async fn works(ctx: &Context) -> Result<()> {
    ctx.step("part", || async { noted_in(ctx, "part") }).await?;
    note(ctx, format!("work {}", ctx.try_number()));
    while has(ctx, "hang") && !has(ctx, "mended") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ensure!(has(ctx, "mended"), "not yet");
    Ok(())
}

/// Takes until somebody lets it go.
#[task(teardown, retries = 1)]
async fn closes(ctx: &Context) -> Result<()> {
    note(ctx, "close");
    while !has(ctx, "go") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    noted_in(ctx, "closed")
}

#[dag(on_failure = log, max_consecutive_failed_dag_runs = 1)]
fn around() {
    let opened = opens();
    opened >> works() >> closes().teardown_of(opened);
}

const WORKS: InstanceKey = InstanceKey { task: 1, map_index: UNMAPPED };

/// A run whose work is done or has failed is changed by this event while it takes away what was set up.
async fn ended(run_id: &str, work: &str, event: Event) -> (World, super::Ran) {
    let world = World::new().await;
    note_in(run_id, work);
    let dag = Arc::new(around::dag());
    let request = RunRequest { run_id: Some(run_id.into()), run_type: RunType::Scheduled, ..RunRequest::default() };
    let engine = world.engine();
    let running = engine.run(dag.clone(), request, world.observer(), world.stop.clone());
    let person = async {
        until("it takes away", || noted(run_id).contains(&"close".to_string())).await;
        let stored = world.stored(&dag, run_id).await;
        let changed = world.engine().change(&stored, |_, _| vec![event.clone()]).await.unwrap();
        assert!(matches!(changed, Changed::CarriedOut), "{changed:?}");
        let stored = world.stored(&dag, run_id).await;
        assert!(stored.run.state == RunStatus::Running && stored.ending.is_some(), "{stored:?}");
        note_in(run_id, "go");
    };
    let (report, ()) = tokio::join!(running, person);
    let ran = world.with_values(report.expect("it ends")).await;
    assert_eq!(world.stored(&dag, run_id).await.ending, ran.ending);
    assert_eq!(ran.ending.as_ref().unwrap().state, ran.run.state, "it is known afterwards");
    (world, ran)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_only_takes_away_does_so_when_it_is_ended_and_has_failed() {
    for (run_id, work) in [("set-up-done", "mended"), ("set-up-failed", "")] {
        let (_world, ran) = ended(run_id, work, Event::RunMarked(RunStatus::Failed)).await;
        assert_eq!((ran.run.state, ran.has_paused), (RunStatus::Failed, None), "{run_id}: whoever ends it knows why");
        assert_eq!((row(&ran, "closes").state, row(&ran, "closes").try_number), (TaskState::Success, 1));
        assert_eq!(noted(run_id), [work, "open", "part", "work 1", "close", "go", "closed"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_said_to_be_well_takes_away_what_is_set_up() {
    let (_world, ran) = ended("set-up-well", "", Event::RunMarked(RunStatus::Success)).await;
    assert_eq!(ran.run.state, RunStatus::Success, "although its work has failed");
    assert_eq!(row(&ran, "closes").state, TaskState::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_while_it_takes_away_does_so_and_tells_why_it_has_failed() {
    let (world, ran) = ended("set-up-late", "mended", Event::RunTimedOut).await;
    assert_eq!((ran.run.state, ran.has_paused), (RunStatus::Failed, Some(1)));
    let states = ["opens", "works", "closes"].map(|task| row(&ran, task).state);
    assert_eq!(states, [TaskState::Success; 3]);
    let told = world.store.callbacks(CallbackFilter::default()).await.unwrap();
    assert!(told.len() == 1 && told[0].callback.payload.contains("the run took longer than"), "{told:?}");
}

/// A run that was left by a crash once it has noted that.
async fn left(run_id: &str, first: &[&str], last: &str) -> World {
    let world = World::new().await;
    first.iter().for_each(|what| note_in(run_id, *what));
    tokio::select! {
        _ = world.run(around::dag(), run_id) => panic!("it should not end"),
        () = until(last, || noted(run_id).iter().any(|noted| noted == last)) => {}
    }
    world
}

async fn edit(world: &World, run_id: &str, event: Event) -> RunStatus {
    let stored = world.stored(&around::dag(), run_id).await;
    world.engine().edit(&stored, |_, _| vec![event]).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_run_was_ended_is_known_to_whoever_takes_it_next() {
    let run_id = "set-up-left";
    let world = left(run_id, &["mended"], "close").await;
    assert_eq!(edit(&world, run_id, Event::RunMarked(RunStatus::Failed)).await, RunStatus::Running);
    let ending = world.stored(&around::dag(), run_id).await.ending.unwrap();
    assert_eq!((ending.state, ending.cause.kind), (RunStatus::Failed, CauseKind::Marked));
    assert_eq!(ending.cause.message, "somebody marked it as failed");
    note_in(run_id, "go");
    let ran = world.resume(around::dag(), run_id).await;
    assert_eq!((ran.run.state, row(&ran, "closes").state), (RunStatus::Failed, TaskState::Success));
    // Nothing of it has failed: there is nothing to go on with.
    assert!(world.try_resume(around::dag(), run_id).await.unwrap_err().to_string().contains("none of its tasks has"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_ended_goes_on_when_its_work_is_cleared() {
    let run_id = "set-up-cleared";
    let world = left(run_id, &["hang", "go"], "work 1").await;
    let all: Vec<InstanceKey> = (0..3).map(|task| InstanceKey { task, ..WORKS }).collect();
    assert_eq!(edit(&world, run_id, Event::RunMarked(RunStatus::Failed)).await, RunStatus::Running);
    // It begins anew, with all of its time.
    assert_eq!(edit(&world, run_id, Event::Cleared(all)).await, RunStatus::Queued);
    assert!(world.stored(&around::dag(), run_id).await.ending.is_none());
    note_in(run_id, "mended");
    assert_eq!(world.resume(around::dag(), run_id).await.run.state, RunStatus::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_away_is_set_up_anew_when_work_runs_again() {
    let (world, run_id) = (World::new().await, "set-up-anew");
    note_in(run_id, "go");
    assert_eq!(world.run(around::dag(), run_id).await.run.state, RunStatus::Failed);
    note_in(run_id, "mended");
    let ran = world.resume(around::dag(), run_id).await;
    assert_eq!(ran.run.state, RunStatus::Success);
    // With nothing kept of what they had done before.
    let once = ["open", "part", "work 1", "close", "closed", "mended", "open", "part", "work 2", "close", "closed"];
    assert_eq!(noted(run_id)[1..], once);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_set_up_stays_when_work_runs_again() {
    let run_id = "set-up-stays";
    let world = left(run_id, &["hang", "go"], "work 1").await;
    // The try was lost; and twice, so that nothing is taken away.
    assert_eq!(edit(&world, run_id, Event::RunMarked(RunStatus::Failed)).await, RunStatus::Running);
    assert_eq!(edit(&world, run_id, Event::RunMarked(RunStatus::Failed)).await, RunStatus::Failed);
    note_in(run_id, "mended");
    assert_eq!(world.resume(around::dag(), run_id).await.run.state, RunStatus::Success);
    assert_eq!(noted(run_id), ["hang", "go", "open", "part", "work 1", "mended", "work 2", "close", "closed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_to_begin_again_is_not_begun_by_whoever_changes_its_record() {
    let (world, run_id) = (World::new().await, "set-up-queued");
    note_in(run_id, "go");
    let first = world.run(around::dag(), run_id).await.run.start_date;
    for _ in 0..2 {
        assert_eq!(edit(&world, run_id, Event::Cleared(vec![WORKS])).await, RunStatus::Queued);
    }
    let stored = world.stored(&around::dag(), run_id).await;
    assert_eq!((stored.run.state, stored.run.start_date), (RunStatus::Queued, first));
    note_in(run_id, "mended");
    let ran = world.resume(around::dag(), run_id).await;
    assert_eq!(ran.run.state, RunStatus::Success);
    assert!(ran.run.start_date > first);
}
