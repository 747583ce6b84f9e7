//! How a try ends, what is recorded of that, and whether another follows.

use super::{World, note, noted, row};
use flow_runtime::clock::SkippingClock;
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::executor::RunRequest;
use flow_runtime::prelude::*;
use flow_runtime::store::CauseKind;
use std::sync::Arc;
use std::time::Duration;

#[task(retries = 2, retry_delay = "2s", retry_backoff = 3.0)]
async fn third_time(ctx: &Context) -> Result<u32> {
    ensure!(ctx.try_number() == 3, "not at try {} of {}", ctx.try_number(), ctx.tries());
    Ok(7)
}

#[dag]
fn retried() {
    third_time();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_that_fails_is_followed_by_the_next_after_a_growing_wait() {
    // By a clock that leaves out the waits.
    let world = World::new().await;
    let clock = Arc::new(SkippingClock::starting_at(chrono::DateTime::UNIX_EPOCH));
    let request = RunRequest { run_id: Some("ends-retried".into()), ..RunRequest::default() };
    let engine = world.engine().with_clock(clock);
    let report = engine.run(Arc::new(retried::dag()), request, world.observer(), Default::default()).await.unwrap();
    assert_eq!(report.run.state, RunStatus::Success);
    let tries = world.store.tries(report.pk, Some("third_time")).await.unwrap();
    let seen: Vec<_> = tries.iter().map(|t| (t.try_number, t.state.name())).collect();
    assert_eq!(seen, [(1, "up_for_retry"), (2, "up_for_retry"), (3, "success")]);
    assert_eq!(tries[0].cause.as_ref().unwrap().message, "not at try 1 of 3");
    assert_eq!(tries[1].cause.as_ref().unwrap().message, "not at try 2 of 3");
    assert_eq!(tries[2].cause, None);
    // Jitter lies between once and twice the base: 2 to 4 s, then 6 to 12 s.
    let waits: Vec<i64> = tries[..2].iter().map(|t| (t.due.unwrap() - t.end_date.unwrap()).num_seconds()).collect();
    assert!((2..4).contains(&waits[0]) && (6..12).contains(&waits[1]), "{waits:?}");
    assert!(tries[1].start_date >= tries[0].due && tries[2].start_date >= tries[1].due, "{tries:?}");
}

#[dag(dagrun_timeout = "30m")]
fn impatient() {
    third_time().retry_delay("20m");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_is_left_out_is_a_part_of_what_a_run_may_take() {
    let world = World::new().await;
    let clock = Arc::new(SkippingClock::starting_at(chrono::DateTime::UNIX_EPOCH));
    let request = RunRequest { run_id: Some("ends-impatient".into()), ..RunRequest::default() };
    let engine = world.engine().with_clock(clock);
    let report = engine.run(Arc::new(impatient::dag()), request, world.observer(), Default::default()).await.unwrap();
    // The wait before the second or the third try ends it: 20 to 40 minutes, then 60 to 120.
    assert_eq!(report.run.state, RunStatus::Failed);
    let row = row(&report, "third_time");
    assert_eq!((row.state, row.try_number < 3), (TaskState::Skipped, true));
    assert!(row.cause.as_ref().unwrap().message.contains("dagrun_timeout of 30m"), "{row:?}");
    let minutes = (report.run.end_date.unwrap() - report.run.start_date.unwrap()).num_minutes();
    // Its start is a moment later than its time begins.
    assert!((29..=30).contains(&minutes), "it is skipped when it is late, and not later: {minutes}");
}

#[task(retries = 5)]
fn hopeless() -> Result<()> {
    Err(TaskError::fail("the table is gone")).context("loading")
}

#[task(retries = 5)]
fn nothing_to_do() -> Result<()> {
    Err(TaskError::skip("no data today"))
}

#[task]
fn below(ctx: &Context) {
    note(ctx, "below");
}

#[dag]
fn verbs() {
    hopeless().id("fails");
    nothing_to_do() >> below();
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_say_more_than_failed() {
    let world = World::new().await;
    let report = world.run(verbs::dag(), "ends-verbs").await;
    let (fails, skips) = (row(&report, "fails"), row(&report, "nothing_to_do"));
    assert_eq!((fails.state, fails.try_number), (TaskState::Failed, 1));
    assert_eq!(fails.cause.as_ref().unwrap().message, "loading: the table is gone");
    assert_eq!((skips.state, skips.cause.as_ref().unwrap().message.as_str()), (TaskState::Skipped, "no data today"));
    assert_eq!(row(&report, "below").state, TaskState::Skipped);
    assert_eq!(report.run.state, RunStatus::Failed);
}

#[task]
async fn looks_again(ctx: &Context) -> Result<u32> {
    note(ctx, ctx.try_number().to_string());
    if noted(ctx.run_id()).len() < 3 {
        return Err(TaskError::reschedule(Duration::from_millis(15)));
    }
    Ok(1)
}

#[dag]
fn rescheduled() {
    looks_again();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescheduled_try_goes_on_as_the_same_try() {
    let world = World::new().await;
    let report = world.run(rescheduled::dag(), "ends-rescheduled").await;
    assert_eq!(report.run.state, RunStatus::Success);
    assert_eq!(noted("ends-rescheduled"), ["1", "1", "1"]);
    assert_eq!(world.store.tries(report.pk, None).await.unwrap().len(), 1);
}

#[task]
fn panics(numbers: Vec<u32>) -> u32 {
    numbers[7]
}

#[task]
async fn panics_too() {
    tokio::time::sleep(Duration::from_millis(1)).await;
    panic!("async {}", "panic");
}

#[dag]
fn panicking() {
    panics(vec![1u32]);
    panics_too();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failed_try_with_message_and_place() {
    let world = World::new().await;
    let report = world.run(panicking::dag(), "ends-panics").await;
    for (task, said) in [("panics", "index out of bounds"), ("panics_too", "async panic")] {
        let cause = row(&report, task).cause.clone().unwrap();
        assert_eq!((row(&report, task).state, cause.kind), (TaskState::Failed, CauseKind::Panic));
        assert!(cause.message.contains(said), "{}", cause.message);
        assert!(cause.place.as_ref().unwrap().contains("ends.rs:"), "{:?}", cause.place);
    }
}

#[task(timeout = "30ms")]
async fn sleeps(ctx: &Context) {
    let guard = Guard(ctx.clone());
    tokio::time::sleep(Duration::from_secs(600)).await;
    drop(guard);
}

/// Notes that it was dropped.
struct Guard(Context);

impl Drop for Guard {
    fn drop(&mut self) {
        note(&self.0, "dropped");
    }
}

#[task(timeout = "30ms")]
fn blocks(ctx: &Context) {
    while !ctx.is_cancelled() {
        std::thread::sleep(Duration::from_millis(2));
    }
    note(ctx, "told");
}

#[dag]
fn slow() {
    sleeps();
    blocks();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_a_try_and_tells_a_body_that_blocks() {
    let world = World::new().await;
    let report = world.run(slow::dag(), "ends-slow").await;
    for task in ["sleeps", "blocks"] {
        let cause = row(&report, task).cause.clone().unwrap();
        assert_eq!((row(&report, task).state, cause.kind), (TaskState::Failed, CauseKind::Timeout));
        assert_eq!(cause.message, "the try took longer than its timeout of 30ms");
    }
    super::until("both were told", || noted("ends-slow").len() == 2).await;
}

#[dag(dagrun_timeout = "50ms")]
fn overdue() {
    below() >> sleeps().timeout("1h") >> below();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_fails_and_skips_the_rest() {
    let world = World::new().await;
    let report = world.run(overdue::dag(), "ends-overdue").await;
    assert_eq!(report.run.state, RunStatus::Failed);
    for task in ["sleeps", "below__1"] {
        let row = row(&report, task);
        let said = &row.cause.as_ref().unwrap().message;
        assert_eq!(
            (row.state, said.as_str()),
            (TaskState::Skipped, "the run took longer than its dagrun_timeout of 50ms")
        );
    }
    assert_eq!(row(&report, "below").state, TaskState::Success);
}

#[cfg(feature = "data")]
#[task(retries = 3)]
async fn fetches(ctx: &Context) -> Result<()> {
    note(ctx, "try");
    let missing = format!("file://{}/nothing.csv", ctx.home().display());
    flow_runtime::data::download(&missing, ctx.home(), ctx).await.context("fetching")?;
    Ok(())
}

#[cfg(feature = "data")]
#[dag]
fn missing() {
    fetches();
}

#[cfg(feature = "data")]
#[tokio::test(flavor = "multi_thread")]
async fn what_no_retry_can_mend_is_not_retried() {
    let world = World::new().await;
    let report = world.run(missing::dag(), "ends-missing").await;
    assert_eq!((report.run.state, noted("ends-missing").len()), (RunStatus::Failed, 1));
    let said = &row(&report, "fetches").cause.as_ref().unwrap().message;
    assert!(said.starts_with("fetching: ") && said.contains("nothing.csv"), "{said}");
}

/// Blocks the thread it is on, though it is async: what nobody should do, and somebody does.
#[task(timeout = "40ms", retries = 1, retry_delay = "1s")]
async fn blocks_async(ctx: &Context) -> Result<u32> {
    if ctx.try_number() == 1 {
        std::thread::sleep(Duration::from_millis(400));
    }
    Ok(ctx.try_number())
}

#[dag]
fn blocked() {
    blocks_async();
    blocks_async();
    below();
}

#[test]
fn a_timeout_comes_though_every_thread_for_bodies_is_blocked() {
    let builder = || tokio::runtime::Builder::new_multi_thread();
    let bodies = builder().worker_threads(2).enable_all().build().unwrap();
    let runtime = builder().worker_threads(1).enable_all().build().unwrap();
    let report = runtime.block_on(async {
        let mut world = World::new().await;
        world.settings.bodies = Some(bodies.handle().clone());
        world.settings.grace = Duration::from_millis(50);
        let report = world.run(blocked::dag(), "ends-blocked").await;
        let tries = world.store.tries(report.pk, Some("blocks_async")).await.unwrap();
        let seen: Vec<_> = tries.iter().map(|t| (t.try_number, t.state.name())).collect();
        assert_eq!(seen, [(1, "up_for_retry"), (2, "success")]);
        assert_eq!(tries[0].cause.as_ref().unwrap().kind, CauseKind::Timeout);
        report
    });
    assert_eq!(report.run.state, RunStatus::Success);
    bodies.shutdown_background();
}

#[task]
fn chatters(ctx: &Context) {
    while !ctx.is_cancelled() {
        info!("on and on");
    }
}

#[task(retries = 1, retry_delay = "0s")]
fn second_time(ctx: &Context) -> Result<()> {
    ensure!(ctx.try_number() == 2, "once more");
    Ok(())
}

#[dag(dagrun_timeout = "300ms")]
fn loud() {
    chatters();
    chatters();
    second_time() >> below();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_logs_without_end_holds_up_nothing() {
    let mut world = World::new().await;
    world.settings.logs = false;
    let report = world.run(loud::dag(), "ends-loud").await;
    assert_eq!(report.run.state, RunStatus::Failed);
    assert_eq!(noted("ends-loud"), ["below"], "it ran while the others spoke");
}

#[task]
fn speaks_elsewhere(word: Secret<String>) -> Result<f64> {
    let word = word.expose().clone();
    std::thread::spawn(move || tracing::error!("from another thread: {word}")).join().unwrap();
    Ok(f64::NAN)
}

#[dag]
fn elsewhere(word: Secret<String>) {
    speaks_elsewhere(word);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_json_cannot_hold_fails_for_good() {
    let world = World::new().await;
    let params = serde_json::json!({"word": "elsewhere-4711"});
    let report = world.try_run(elsewhere::dag(), "ends-nan", params).await.unwrap();
    let cause = row(&report, "speaks_elsewhere").cause.clone().unwrap();
    assert_eq!(cause.kind, CauseKind::Output);
    assert!(cause.message.contains("NaN or infinite"), "{}", cause.message);
}

#[task]
async fn goes_on(ctx: &Context) -> Result<()> {
    ctx.cancel().cancelled().await;
    bail!("it was told to stop")
}

#[task]
fn breaks() -> Result<()> {
    std::thread::sleep(Duration::from_millis(30));
    bail!("no more")
}

#[task(setup)]
fn opens() -> u32 {
    1
}

#[task(teardown)]
fn closes(_opened: u32) {}

#[task]
fn never_starts() {}

#[dag(fail_fast = true)]
fn stops_at_once() {
    let opened = opens();
    let breaks = breaks().after(opened);
    let goes_on = goes_on().after(opened);
    breaks >> never_starts();
    let later = goes_on >> never_starts().id("later");
    closes(opened) << [breaks, later];
}

#[test]
fn the_first_failure_ends_the_rest_but_no_teardown() {
    use flow_runtime::core::TaskState::{Failed, Success, UpstreamFailed};
    let run = stops_at_once::test().run_blocking().failed();
    let states = ["breaks", "goes_on", "never_starts", "later", "closes"].map(|task| run.state(task));
    assert_eq!(states, [Failed, Failed, UpstreamFailed, UpstreamFailed, Success]);
    assert_eq!(run.cause("breaks"), "no more");
    assert_eq!(run.cause("goes_on"), "`breaks` failed, and this DAG stops at the first failure (fail_fast)");
}
