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
async fn a_run_goes_on_with_its_own_tasks_and_edges() {
    let world = World::new().await;
    crash(&world, mortal::dag(), "resume-own", 2).await;
    // The DAG of today: another order, a task less, another name, a new task.
    let mut today = mortal::dag();
    today.tasks[1].upstream.clear();
    today.tasks[1].inputs.clear();
    today.tasks[0].task_id = "erste".into();
    today.tasks.push(flow_runtime::core::TaskDef::new("new", "nowhere::at_all"));
    let ran = world.resume(today, "resume-own").await;
    assert_eq!((ran.run.state, value(&ran, "dies")), (RunStatus::Success, json!(42)));
    assert!(ran.instances.iter().all(|row| &*row.task_id != "new" && &*row.task_id != "erste"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_functions_have_changed_is_refused_with_what_has_changed() {
    let world = World::new().await;
    let mut yesterday = mortal::dag();
    yesterday.tasks[1].output = "Vec<u32>".into();
    // What has ended does not matter any more.
    yesterday.tasks[0].output = "u8".into();
    crash(&world, yesterday, "resume-changed", 2).await;
    let version = world.stored(&mortal::dag(), "resume-changed").await.dag_version;
    let builds = world.store.builds(&version).await.unwrap();
    let this = flow_runtime::executor::build_id().await.unwrap();
    assert_eq!(builds.iter().map(|row| row.build.as_str()).collect::<Vec<_>>(), [this]);
    world.store.put_build(&version, "0123456789abcdef", "2200-01-02T03:04:05Z".parse().unwrap()).await.unwrap();
    let mut today = mortal::dag();
    today.tasks.push(flow_runtime::core::TaskDef::new("new", "nowhere::at_all"));
    let error = world.try_resume(today, "resume-changed").await.unwrap_err().to_string();
    let said = format!("0123456789ab (first seen 2200-01-02 03:04 UTC), and this is build {}; go on", &this[..12]);
    assert!(error.contains(&format!("; runs like it are made by build {} (first seen ", &this[..12])), "{error}");
    assert!(error.contains(&said), "{error}");
    assert!(error.contains("task `dies` gave `Vec<u32>`, and gives `u32` now"), "{error}");
    assert!(error.contains("of today task `new` is new") && !error.contains("`u8`"), "{error}");
    let stored = world.stored(&mortal::dag(), "resume-changed").await;
    assert_eq!(stored.run.state, RunStatus::Running, "it is as it was");
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

#[dag(dagrun_timeout = "1h")]
fn within_an_hour() {
    first();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_has_what_is_left_of_its_time() {
    let world = World::new().await;
    let dag = within_an_hour::dag();
    let version = world.store.put_dag(&dag).await.unwrap();
    let begun = chrono::Utc::now() - chrono::TimeDelta::hours(2);
    let run = |run_id: &str, state| flow_runtime::core::DagRun {
        dag_id: dag.dag_id.clone(),
        run_id: run_id.into(),
        run_type: flow_runtime::core::RunType::Manual,
        state,
        logical_date: None,
        data_interval: None,
        run_after: begun,
        start_date: Some(begun),
        end_date: None,
        conf: Default::default(),
    };
    // One was left two hours ago; the other one was cleared since, and has its hour anew.
    world.store.create_run(&run("resume-late", RunStatus::Running), &version, "me").await.unwrap();
    world.store.create_run(&run("resume-cleared", RunStatus::Queued), &version, "me").await.unwrap();
    let late = world.resume(within_an_hour::dag(), "resume-late").await;
    assert_eq!((late.run.state, noted("resume-late").len() <= 1), (RunStatus::Failed, true));
    assert_eq!(world.resume(within_an_hour::dag(), "resume-cleared").await.run.state, RunStatus::Success);
}
