//! Tasks that wait for the run before.

use super::{World, note_in, noted, row};
use flow_runtime::core::{Dag, RunStatus, RunType, TaskState};
use flow_runtime::executor::{Engine, EngineError, History, RunReport, RunRequest};
use flow_runtime::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Fails on the days that are told so; waits on its day until it is let go.
#[task(depends_on_past)]
async fn load(ctx: &Context, ledger: String) -> Result<()> {
    let day = ctx.logical_date().map_or(String::new(), |date| date.format("%d").to_string());
    note_in(&ledger, format!("load {day}"));
    if noted(&format!("{ledger} holds")).contains(&day) {
        super::until("it is let go", || noted(&format!("{ledger} lets go")).contains(&day)).await;
    }
    ensure!(!noted(&format!("{ledger} fails")).contains(&day), "not on day {day}");
    Ok(())
}

/// Ends well at once, or when it is let go.
#[task]
async fn publish(ctx: &Context, ledger: String) {
    let day = ctx.logical_date().map_or(String::new(), |date| date.format("%d").to_string());
    if noted(&format!("{ledger} holds below")).contains(&day) {
        super::until("it is let go", || noted(&format!("{ledger} lets go")).contains(&day)).await;
    }
    note_in(&ledger, format!("publish {day}"));
}

#[dag]
fn daily(ledger: String) {
    load(ledger) >> publish(ledger);
}

#[dag]
fn strict(ledger: String) {
    load(ledger).wait_for_downstream(true) >> publish(ledger);
}

fn start(
    engine: &Engine,
    world: &World,
    dag: Dag,
    ledger: &str,
    day: u32,
) -> JoinHandle<Result<RunReport, EngineError>> {
    let request = RunRequest {
        run_id: Some(format!("day-{day}")),
        run_type: RunType::Scheduled,
        logical_date: format!("2026-01-{day:02}T00:00:00Z").parse().ok(),
        params: super::object(serde_json::json!({"ledger": ledger})),
        ..RunRequest::default()
    };
    let (engine, observer, stop) = (engine.clone(), world.observer(), world.stop.clone());
    tokio::spawn(async move { engine.run(Arc::new(dag), request, observer, stop).await })
}

async fn ended(run: JoinHandle<Result<RunReport, EngineError>>) -> RunReport {
    tokio::time::timeout(Duration::from_secs(30), run).await.expect("it ends").unwrap().expect("it can be run")
}

/// Waits until `load` of this day is recorded as scheduled.
async fn is_scheduled(world: &World, dag_id: &str, day: u32) {
    let run_id = format!("day-{day}");
    for _ in 0..2000 {
        if let Some(stored) = world.store.run(dag_id, &run_id).await.unwrap() {
            let rows = world.store.instances(stored.pk).await.unwrap();
            let waits = rows.iter().any(|row| &*row.task_id == "load" && row.state == TaskState::Scheduled);
            // The run may have been read before its first step was kept.
            if waits && stored.run.state == RunStatus::Running {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("`load` of day {day} is not scheduled");
}

async fn why(world: &World, dag: &Dag, day: u32) -> Option<String> {
    let date = format!("2026-01-{day:02}T00:00:00Z").parse().ok();
    let why = History::of(&*world.store, dag, date).holds_back(0).await.unwrap();
    why.map(|why| why.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_day_waits_for_the_one_before() {
    let world = World::new().await;
    let engine = world.engine();
    note_in("past-days holds", "01");
    let first = start(&engine, &world, daily::dag(), "past-days", 1);
    super::until("the first is inside", || noted("past-days") == ["load 01"]).await;
    let third = start(&engine, &world, daily::dag(), "past-days", 3);
    is_scheduled(&world, "daily", 3).await;
    let second = start(&engine, &world, daily::dag(), "past-days", 2);
    is_scheduled(&world, "daily", 2).await;
    let said = why(&world, &daily::dag(), 2).await.unwrap();
    assert_eq!(said, "waits for load to succeed in the run before, day-1, where it is running (depends_on_past)");
    note_in("past-days lets go", "01");
    for run in [first, second, third] {
        assert_eq!(ended(run).await.run.state, RunStatus::Success);
    }
    let loads: Vec<String> = noted("past-days").into_iter().filter(|note| note.starts_with("load")).collect();
    assert_eq!(loads, ["load 01", "load 02", "load 03"]);
    assert_eq!(why(&world, &daily::dag(), 2).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_keeps_the_next_day_waiting_until_somebody_sees_to_it() {
    let world = World::new().await;
    let engine = world.engine();
    note_in("past-fails fails", "01");
    let first = ended(start(&engine, &world, daily::dag(), "past-fails", 1)).await;
    assert_eq!(first.run.state, RunStatus::Failed);
    let second = start(&engine, &world, daily::dag(), "past-fails", 2);
    is_scheduled(&world, "daily", 2).await;
    let said = why(&world, &daily::dag(), 2).await.unwrap();
    assert!(said.contains("in the run before, day-1, where it is failed: clear it there"), "{said}");
    // In another engine, as in another process: it is heard of when the store is asked again.
    let stored = world.stored(&daily::dag(), "day-1").await;
    let mark = |dag: &Dag, _: &_| {
        let key = flow_runtime::core::InstanceKey { task: dag.task_ix("load").unwrap(), map_index: -1 };
        vec![flow_runtime::core::Event::Marked(vec![key], TaskState::Success)]
    };
    world.engine().edit(&stored, mark).await.unwrap();
    assert_eq!(ended(second).await.run.state, RunStatus::Success);
    assert_eq!(noted("past-fails"), ["load 01", "load 02", "publish 02"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_below_may_have_to_end_as_well() {
    let world = World::new().await;
    let engine = world.engine();
    note_in("past-below holds below", "01");
    let first = start(&engine, &world, strict::dag(), "past-below", 1);
    super::until("the first has loaded", || noted("past-below") == ["load 01"]).await;
    let second = start(&engine, &world, strict::dag(), "past-below", 2);
    is_scheduled(&world, "strict", 2).await;
    let said = why(&world, &strict::dag(), 2).await.unwrap();
    assert!(said.starts_with("waits for publish to succeed in the run before, day-1"), "{said}");
    note_in("past-below lets go", "01");
    assert_eq!(ended(first).await.run.state, RunStatus::Success);
    assert_eq!(row(&ended(second).await, "load").state, TaskState::Success);
    assert_eq!(noted("past-below"), ["load 01", "publish 01", "load 02", "publish 02"]);
}

#[dag(id = "growing")]
fn small(ledger: String) {
    publish(ledger);
}

#[dag(id = "growing")]
fn grown(ledger: String) {
    publish(ledger);
    load(ledger);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_no_earlier_run_has_had_waits_for_nothing() {
    let world = World::new().await;
    let engine = world.engine();
    ended(start(&engine, &world, small::dag(), "past-new", 1)).await;
    let mut patient = grown::dag();
    patient.tasks[1].past.ignore_first = false;
    let date = "2026-01-02T00:00:00Z".parse().ok();
    let why = History::of(&*world.store, &patient, date).holds_back(1).await.unwrap().unwrap().to_string();
    assert_eq!(why, "waits for load in the run before, day-1, which has no such task (depends_on_past)");
    let second = ended(start(&engine, &world, grown::dag(), "past-new", 2)).await;
    assert_eq!(row(&second, "load").state, TaskState::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_can_be_stopped_and_goes_on_later() {
    let world = World::new().await;
    note_in("past-stopped fails", "01");
    ended(start(&world.engine(), &world, daily::dag(), "past-stopped", 1)).await;
    let second = start(&world.engine(), &world, daily::dag(), "past-stopped", 2);
    is_scheduled(&world, "daily", 2).await;
    world.stop.graceful.cancel();
    assert!(ended(second).await.interrupted);
    let world = World { stop: Default::default(), ..world };
    let stored = world.stored(&daily::dag(), "day-1").await;
    let skipped = |dag: &Dag, _: &_| {
        let key = flow_runtime::core::InstanceKey { task: dag.task_ix("load").unwrap(), map_index: -1 };
        vec![flow_runtime::core::Event::Marked(vec![key], TaskState::Skipped)]
    };
    world.engine().edit(&stored, skipped).await.unwrap();
    let second = world.resume(daily::dag(), "day-2").await;
    assert_eq!((second.run.state, row(&second, "load").try_number), (RunStatus::Success, 1));
}
