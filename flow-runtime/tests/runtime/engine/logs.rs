//! What a try logs is filed under its number, and streamed.

use super::World;
use flow_runtime::Unit;
use flow_runtime::clock::{Clock, SkippingClock};
use flow_runtime::core::RunStatus;
use flow_runtime::executor::{EngineSettings, RunRequest};
use flow_runtime::prelude::*;
use flow_runtime::run_event::RunEvent;
use flow_runtime::telemetry::read_log;
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

#[task(retries = 1, retry_delay = "1ms")]
async fn speaks(ctx: &Context) -> Result<()> {
    info!(rows = 7, name = "ada", "try {} speaks", ctx.try_number());
    tokio::time::sleep(Duration::from_millis(1)).await;
    helper();
    debug!("too quiet");
    ensure!(ctx.try_number() == 2, "once more");
    Ok(())
}

fn helper() {
    let span = tracing::info_span!("inner");
    span.in_scope(|| warn!("from a helper"));
}

#[task]
fn silent() {}

#[dag]
fn talk() {
    speaks();
    silent();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_has_its_own_file_and_the_cause_is_its_last_line() {
    let world = World::new().await;
    world.run(talk::dag(), "logs-talk").await;
    let lines = |task: &str, number: u32| -> Vec<Value> {
        let lines = read_log(world.home.path(), "talk", "logs-talk", task, -1, number).unwrap();
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let first = lines("speaks", 1);
    assert_eq!(first.len(), 3, "{first:?}");
    assert_eq!(
        (&first[0]["event"], &first[0]["rows"], &first[0]["name"]),
        (&"try 1 speaks".into(), &7.into(), &"ada".into())
    );
    assert_eq!((&first[0]["level"], &first[0]["try_number"]), (&"info".into(), &1.into()));
    assert_eq!((&first[1]["event"], &first[1]["level"]), (&"from a helper".into(), &"warning".into()));
    assert_eq!((&first[2]["event"], &first[2]["cause"]), (&"once more".into(), &"error".into()));
    assert_eq!(lines("speaks", 2).len(), 2);
    let silent = flow_runtime::telemetry::log_path(world.home.path(), "talk", "logs-talk", "silent", -1, 1);
    assert!(!silent.exists(), "a try that logs nothing makes no file");

    let streamed = world.events.lock().iter().filter(|e| matches!(e, RunEvent::Log { .. })).count();
    assert_eq!(streamed, 4);
}

#[task]
async fn counts(ctx: &Context) {
    for n in 0..=100 {
        ctx.progress().set(n, Some(100));
    }
}

#[dag]
fn counting() {
    counts();
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_thinned_and_the_last_report_is_kept() {
    let world = World::new().await;
    world.run(counting::dag(), "logs-counting").await;
    let events = world.events.lock();
    let told: Vec<u64> = events
        .iter()
        .filter_map(|e| match e {
            RunEvent::Progress { done, total: Some(100), .. } => Some(*done),
            _ => None,
        })
        .collect();
    assert!(told.len() < 20 && told.last() == Some(&100), "{told:?}");
}

/// The clock of the run with the long task.
static CLOCK: LazyLock<Arc<SkippingClock>> = LazyLock::new(|| Arc::new(SkippingClock::starting_at(Default::default())));

/// Takes a minute, by that clock.
#[task]
fn long(ctx: &Context) {
    let progress = ctx.progress().counting(Unit::Bytes);
    progress.set(0, Some(47_100_000));
    CLOCK.skip_to(CLOCK.now() + Duration::from_secs(60));
    progress.set(12_034_567, Some(47_100_000));
}

#[dag]
fn lasting() {
    long();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_try_has_its_progress_in_its_log_too() {
    let world = World::new().await;
    let request = RunRequest { run_id: Some("logs-lasting".into()), ..RunRequest::default() };
    let engine = world.engine().with_clock(CLOCK.clone());
    engine.run(Arc::new(lasting::dag()), request, world.observer(), world.stop.clone()).await.unwrap();
    let log = read_log(world.home.path(), "lasting", "logs-lasting", "long", -1, 1).unwrap();
    let lines: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["event"], &lines[0]["level"], &lines[0]["logger"]),
        (&"12.0 MB of 47.1 MB (25 %)".into(), &"info".into(), &"flow.progress".into())
    );
    // Whoever looks on hears the same line, and knows what it is.
    let events = world.events.lock();
    let told = |event: &&RunEvent| matches!(event, RunEvent::Log { message, logger, .. } if message == "12.0 MB of 47.1 MB (25 %)" && logger == "flow.progress");
    assert_eq!(events.iter().filter(told).count(), 1, "{events:?}");
}

#[task]
fn writes_at_home(ctx: &Context) -> Result<()> {
    std::fs::write(ctx.home().join("mine.txt"), "7")?;
    Ok(())
}

#[dag]
fn at_home() {
    writes_at_home();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_home_folder_is_there_before_a_task_runs() {
    let mut world = World::new().await;
    // As with the records in Postgres: nothing else is written there before.
    let home = world.home.path().join("fresh/home");
    let settings = EngineSettings::new(&home);
    world.settings = EngineSettings { locks: false, spill: false, ..settings };
    let ran = world.run(at_home::dag(), "at-home").await;
    assert_eq!(ran.run.state, RunStatus::Success, "{:?}", ran.instances);
    assert!(home.join("mine.txt").exists());
}
