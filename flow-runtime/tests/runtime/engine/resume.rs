//! A run whose process died: what is done stays done, and what was under way counts as an attempt.

use super::{World, note, noted, row, value};
use flow_runtime::core::{Dag, RunStatus, TaskState};
use flow_runtime::executor::EngineError;
use flow_runtime::prelude::*;
use flow_runtime::store::CauseKind;
use serde_json::json;

#[task]
fn first(ctx: &Context) -> u32 {
    note(ctx, "first");
    41
}

#[task(retries = 1)]
async fn dies(ctx: &Context, n: u32) -> Result<u32> {
    note(ctx, format!("dies {}", ctx.try_number()));
    if ctx.try_number() == 1 {
        std::future::pending::<()>().await;
    }
    Ok(n + 1)
}

#[dag]
fn mortal() {
    dies(first());
}

/// Runs it until the task is inside, then drops everything, as a crash would.
async fn crash(world: &World, dag: Dag, run_id: &str, notes: usize) {
    let run = world.run(dag, run_id);
    tokio::select! {
        _ = run => panic!("it should not end"),
        () = super::until("the task is inside", || noted(run_id).len() == notes) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_reused_and_the_interrupted_try_counts() {
    let world = World::new().await;
    crash(&world, mortal::dag(), "resume-mortal", 2).await;
    let left = world.stored(&mortal::dag(), "resume-mortal").await;
    assert_eq!(left.run.state, RunStatus::Running);
    let rows = world.store.instances(left.pk).await.unwrap();
    assert!(rows.iter().any(|r| &*r.task_id == "dies" && r.state == TaskState::Running && r.try_number == 1));

    let report = world.resume(mortal::dag(), "resume-mortal").await;
    assert_eq!((report.run.state, value(&report, "dies")), (RunStatus::Success, json!(42)));
    assert_eq!(noted("resume-mortal"), ["first", "dies 1", "dies 2"]);
    let tries = world.store.tries(report.pk, Some("dies")).await.unwrap();
    assert_eq!((tries[0].cause.as_ref().unwrap().kind, tries[0].state), (CauseKind::Lost, TaskState::UpForRetry));
    let log = flow_runtime::telemetry::read_log(world.home.path(), "mortal", "resume-mortal", "dies", -1, 1).unwrap();
    assert!(log.last().unwrap().contains("the process that ran this try ended"), "{log:?}");
}

#[dag]
fn without_retries() {
    dies(first()).retries(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retries_it_fails_and_runs_again_only_when_asked_once_more() {
    let world = World::new().await;
    crash(&world, without_retries::dag(), "resume-once", 2).await;
    let report = world.resume(without_retries::dag(), "resume-once").await;
    assert_eq!((report.run.state, row(&report, "dies").state), (RunStatus::Failed, TaskState::Failed));
    assert_eq!(noted("resume-once").len(), 2, "at most once, unless somebody says otherwise");
    let report = world.resume(without_retries::dag(), "resume-once").await;
    assert_eq!((report.run.state, value(&report, "dies")), (RunStatus::Success, json!(42)));
    assert_eq!(noted("resume-once"), ["first", "dies 1", "dies 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_succeeded_or_is_held_cannot_go_on() {
    let world = World::new().await;
    let run = world.run(mortal::dag(), "resume-held");
    let other = async {
        super::until("the task is inside", || noted("resume-held").len() == 2).await;
        let error = world.try_resume(mortal::dag(), "resume-held").await.unwrap_err();
        assert!(matches!(error, EngineError::Held(_)), "{error}");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    };
    tokio::select! {
        _ = run => panic!("it should not end"),
        () = other => {}
    }
    world.resume(mortal::dag(), "resume-held").await;
    let error = world.try_resume(mortal::dag(), "resume-held").await.unwrap_err();
    assert_eq!(error.to_string(), "run `resume-held` has succeeded: there is nothing to go on with");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_dag_is_refused_with_what_has_changed() {
    let world = World::new().await;
    crash(&world, mortal::dag(), "resume-changed", 2).await;
    let mut changed = mortal::dag();
    changed.tasks[1].upstream.clear();
    let error = world.try_resume(changed, "resume-changed").await.unwrap_err().to_string();
    assert!(error.contains("task `dies` has other arguments, upstream tasks or conditions"), "{error}");
    let mut renamed = mortal::dag();
    renamed.tasks[0].task_id = "erste".into();
    let error = world.try_resume(renamed, "resume-changed").await.unwrap_err().to_string();
    assert!(error.contains("task `first` is gone"), "{error}");
    // What does not matter to a run under way may change.
    let mut documented = mortal::dag();
    documented.doc = Some("New words.".into());
    assert_eq!(world.resume(documented, "resume-changed").await.run.state, RunStatus::Success);
}

#[dag]
fn waits() {
    fails_first().retry_delay("1h");
}

#[task(retries = 1)]
fn fails_first(ctx: &Context) -> Result<()> {
    note(ctx, ctx.try_number().to_string());
    ensure!(ctx.try_number() > 1, "not yet");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_due_later_is_due_after_a_crash_too() {
    let world = World::new().await;
    let run = world.run(waits::dag(), "resume-waits");
    let up_for_retry = || {
        world
            .events
            .lock()
            .iter()
            .any(|e| matches!(e, flow_runtime::run_event::RunEvent::TaskState { state: TaskState::UpForRetry, .. }))
    };
    tokio::select! {
        _ = run => panic!("it should wait for an hour"),
        () = super::until("the first try fails", up_for_retry) => {}
    }
    let stored = world.stored(&waits::dag(), "resume-waits").await;
    let before = world.store.instances(stored.pk).await.unwrap();
    let resumed = world.resume(waits::dag(), "resume-waits");
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), resumed).await;
    assert!(waited.is_err(), "it still waits");
    let after = world.store.instances(stored.pk).await.unwrap();
    assert_eq!(before[0].due, after[0].due);
    assert_eq!(noted("resume-waits"), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_try_is_due_whoever_takes_note_of_it() {
    use flow_runtime::core::{Event, InstanceKey, UNMAPPED};
    let world = World::new().await;
    crash(&world, mortal::dag(), "resume-edited", 2).await;
    // A person changes another task: what was lost is recorded by that, and the run goes on from the record.
    let stored = world.stored(&mortal::dag(), "resume-edited").await;
    let key = InstanceKey { task: mortal::dag().task_ix("first").unwrap(), map_index: UNMAPPED };
    world.engine().edit(&stored, |_, _| vec![Event::Marked(vec![key], TaskState::Success)]).await.unwrap();
    let rows = world.store.instances(stored.pk).await.unwrap();
    let lost = rows.iter().find(|row| &*row.task_id == "dies").unwrap();
    assert!(lost.state == TaskState::UpForRetry && lost.due.is_some(), "{lost:?}");
    let report = world.resume(mortal::dag(), "resume-edited").await;
    assert_eq!((report.run.state, value(&report, "dies")), (RunStatus::Success, json!(42)));
}
