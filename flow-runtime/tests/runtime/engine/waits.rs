//! Tasks that wait: sensors, sleeps, events; and steps, which outlive the try that did them.

use super::{World, note, noted, row, until, value};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::executor::{Again, RunRequest};
use flow_runtime::prelude::*;
use flow_runtime::run_event::RunEvent;
use flow_runtime::store::{CauseKind, InstanceRow};
use serde_json::{Map, json};
use std::sync::Arc;
use std::time::Duration;

#[sensor(poke_interval = "5ms")]
async fn comes(ctx: &Context, looks: u32) -> Result<Option<String>> {
    note(ctx, format!("look of try {}", ctx.try_number()));
    let looked = noted(ctx.run_id()).len() as u32;
    Ok((looked >= looks).then(|| format!("after {looked}")))
}

#[sensor(poke_interval = "5ms", mode = "poke")]
fn comes_too(ctx: &Context) -> bool {
    note(ctx, "look");
    noted(ctx.run_id()).len() >= 3
}

#[task]
fn says(found: &str) -> String {
    format!("found {found}")
}

#[dag]
fn looking() {
    says(comes(3u32));
}

#[dag]
fn poking() {
    comes_too() >> says("it");
}

fn seen(world: &World, task: &str) -> Vec<TaskState> {
    let events = world.events.lock();
    let of_task = events.iter().filter_map(|event| match event {
        RunEvent::TaskState { task_id, state, .. } if **task_id == *task => Some(*state),
        _ => None,
    });
    of_task.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_looks_until_it_is_there_and_gives_what_it_found() {
    let world = World::new().await;
    let ran = world.run(looking::dag(), "waits-looks").await;
    assert_eq!(ran.run.state, RunStatus::Success);
    assert_eq!(value(&ran, "says"), json!("found after 3"));
    assert_eq!(noted("waits-looks"), ["look of try 1"; 3]);
    assert_eq!(world.store.tries(ran.pk, Some("comes")).await.unwrap().len(), 1, "one try");
    use TaskState::{Running, Success, UpForReschedule};
    let want = [Running, UpForReschedule, Running, UpForReschedule, Running, Success];
    assert_eq!(seen(&world, "comes").into_iter().filter(|s| *s != TaskState::Scheduled).collect::<Vec<_>>(), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_may_keep_its_slot() {
    let world = World::new().await;
    let ran = world.run(poking::dag(), "waits-pokes").await;
    assert_eq!((ran.run.state, noted("waits-pokes").len()), (RunStatus::Success, 3));
    assert!(!seen(&world, "comes_too").contains(&TaskState::UpForReschedule));
}

#[sensor(poke_interval = "1ms", timeout = "20ms")]
async fn never_comes() -> bool {
    false
}

#[dag(defaults(retries = 3))]
fn in_vain() {
    never_comes().id("fails");
    never_comes().id("pokes").mode(SensorMode::Poke);
    never_comes().id("is_skipped").soft_fail(true) >> says("nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_waits_in_vain_fails_for_good_or_is_skipped() {
    let world = World::new().await;
    let ran = world.run(in_vain::dag(), "waits-in-vain").await;
    for task in ["fails", "pokes"] {
        let (row, cause) = (row(&ran, task), row(&ran, task).cause.clone().unwrap());
        assert_eq!((row.state, row.try_number, cause.kind), (TaskState::Failed, 1, CauseKind::Timeout), "{task}");
        assert!(cause.message.contains("has not come in 20ms"), "{cause:?}");
    }
    assert_eq!((row(&ran, "is_skipped").state, row(&ran, "says").state), (TaskState::Skipped, TaskState::Skipped));
}

/// Never comes back from a look.
#[sensor(poke_interval = "1h", timeout = "20ms")]
async fn hangs(ctx: &Context) -> bool {
    note(ctx, "look");
    std::future::pending().await
}

#[dag(defaults(retries = 3))]
fn hung() {
    hangs().id("gives_back");
    hangs().id("keeps").mode(SensorMode::Poke);
    hangs().id("is_skipped").soft_fail(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_hangs_ends_a_while_after_the_deadline() {
    let mut world = World::new().await;
    world.settings.last_look = Duration::from_millis(200);
    let begun = std::time::Instant::now();
    let ran = world.run(hung::dag(), "waits-hung").await;
    for task in ["gives_back", "keeps"] {
        let (row, cause) = (row(&ran, task), row(&ran, task).cause.clone().unwrap());
        assert_eq!((row.state, row.try_number, cause.kind), (TaskState::Failed, 1, CauseKind::Timeout), "{task}");
    }
    assert_eq!(row(&ran, "is_skipped").state, TaskState::Skipped);
    assert!(begun.elapsed() >= Duration::from_millis(220), "{:?}", begun.elapsed());
    assert_eq!(noted("waits-hung"), ["look"; 3]);
}

#[dag]
fn hung_for_long() {
    hangs().id("gives_back").timeout("1h");
    hangs().id("keeps").mode(SensorMode::Poke).timeout("1h");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_look_that_hangs_it_is_heard_that_all_is_to_stop() {
    for (run_id, at_once) in [("waits-hung-grace", false), ("waits-hung-at-once", true)] {
        let mut world = World::new().await;
        world.settings.grace = if at_once { Duration::from_secs(3600) } else { Duration::from_millis(50) };
        let stop = world.stop.clone();
        let stopper = async {
            until("both look", || noted(run_id).len() == 2).await;
            stop.graceful.cancel();
            if at_once {
                stop.at_once.cancel();
            }
        };
        let (ran, ()) = tokio::join!(world.run(hung_for_long::dag(), run_id), stopper);
        assert!(ran.interrupted);
        let is_back = |row: &InstanceRow| {
            row.state == TaskState::Scheduled && row.cause.as_ref().map(|c| c.kind) == Some(CauseKind::Cancelled)
        };
        assert!(ran.instances.iter().all(is_back), "{run_id}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_look_that_hangs_it_is_heard_that_the_run_is_cancelled() {
    let (mut world, run_id) = (World::new().await, "waits-hung-cancelled");
    world.settings.grace = Duration::from_millis(50);
    let dag = Arc::new(hung_for_long::dag());
    let request = RunRequest { run_id: Some(run_id.into()), ..RunRequest::default() };
    let engine = world.engine();
    let running = engine.run(dag.clone(), request, world.observer(), world.stop.clone());
    let person = async {
        until("both look", || noted(run_id).len() == 2).await;
        let stored = world.stored(&dag, run_id).await;
        let cancel = |_: &_, _: &_| vec![flow_runtime::core::Event::RunMarked(RunStatus::Failed)];
        world.engine().change(&stored, cancel).await.unwrap();
    };
    let (report, ()) = tokio::join!(running, person);
    let report = report.unwrap();
    assert_eq!(report.run.state, RunStatus::Failed);
    assert!(report.instances.iter().all(|row| row.state == TaskState::Failed), "{report:?}");
}

/// Says that it has heard of its end.
#[sensor(poke_interval = "1h")]
async fn listens(ctx: &Context) -> bool {
    note(ctx, "look");
    ctx.cancel().cancelled().await;
    note(ctx, "told");
    false
}

#[dag]
fn listening() {
    listens().id("gives_back");
    listens().id("keeps").mode(SensorMode::Poke);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_is_told_at_once_and_there_is_no_other() {
    let (mut world, run_id) = (World::new().await, "waits-told");
    world.settings.grace = Duration::from_secs(3600);
    let stop = world.stop.graceful.clone();
    let stopper = async {
        until("both look", || noted(run_id).len() == 2).await;
        stop.cancel();
    };
    let (ran, ()) = tokio::join!(world.run(listening::dag(), run_id), stopper);
    assert!(ran.interrupted);
    assert_eq!(noted(run_id), ["look", "look", "told", "told"]);
    assert!(ran.instances.iter().all(|row| !row.state.is_in_flight() && !row.state.is_finished()), "{ran:?}");
}

#[task]
async fn sleeps(ctx: &Context) -> Result<String> {
    note(ctx, "body");
    let until = ctx.began() + chrono_ms(80);
    ctx.sleep_until(until)?;
    ensure!(ctx.now() >= until, "it woke too early");
    Ok(format!("try {}", ctx.try_number()))
}

fn chrono_ms(ms: i64) -> chrono::TimeDelta {
    chrono::TimeDelta::milliseconds(ms)
}

#[task]
async fn works(ctx: &Context) {
    note(ctx, "work");
}

#[dag]
fn one_slot() {
    sleeps() >> says("b");
    works();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sleeps_holds_no_slot() {
    let mut world = World::new().await;
    world.settings.parallelism = 1;
    let ran = world.run(one_slot::dag(), "waits-sleeps").await;
    assert_eq!(ran.run.state, RunStatus::Success);
    assert_eq!(
        (value(&ran, "sleeps"), noted("waits-sleeps")),
        (json!("try 1"), ["body", "work", "body"].map(String::from).into())
    );
    assert!(seen(&world, "sleeps").contains(&TaskState::Deferred));
    assert_eq!(world.store.tries(ran.pk, Some("sleeps")).await.unwrap().len(), 1);
}

#[task]
async fn asks(ctx: &Context) -> Result<String> {
    note(ctx, "asked");
    let by: String = ctx.wait_for(&format!("approved {}", ctx.run_id())).await?;
    Ok(format!("approved by {by}"))
}

#[task]
async fn approves(ctx: &Context) -> Result<bool> {
    ctx.emit(&format!("approved {}", ctx.run_id()), &"Ada").await
}

#[dag]
fn approval() {
    asks();
}

#[dag]
fn both() {
    asks();
    approves();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_task_wakes() {
    let mut world = World::new().await;
    world.settings.parallelism = 1;
    let ran = world.run(both::dag(), "waits-both").await;
    assert_eq!((ran.run.state, value(&ran, "asks")), (RunStatus::Success, json!("approved by Ada")));
    assert_eq!(row(&ran, "asks").event, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_has_happened_is_not_waited_for() {
    let world = World::new().await;
    world.store.put_event("approved waits-before", "\"Bob\"", chrono::DateTime::UNIX_EPOCH).await.unwrap();
    let ran = world.run(approval::dag(), "waits-before").await;
    assert_eq!((value(&ran, "asks"), noted("waits-before").len()), (json!("approved by Bob"), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_it_waits_on_and_wakes() {
    let world = World::new().await;
    let dag = Arc::new(approval::dag());
    let request = RunRequest { run_id: Some("waits-crash".into()), ..RunRequest::default() };
    let engine = world.engine();
    let first = tokio::spawn({
        let (engine, dag, observer, stop) = (engine.clone(), dag.clone(), world.observer(), world.stop.clone());
        async move { engine.run(dag, request, observer, stop).await }
    });
    until("it is deferred", || seen(&world, "asks").contains(&TaskState::Deferred)).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());

    let stored = world.stored(&dag, "waits-crash").await;
    let rows = world.store.instances(stored.pk).await.unwrap();
    assert_eq!((rows[0].state, rows[0].event.as_deref()), (TaskState::Deferred, Some("approved waits-crash")));
    // Told by another process while nobody works on the run.
    world.store.put_event("approved waits-crash", "\"Eve\"", chrono::DateTime::UNIX_EPOCH).await.unwrap();
    let resumed = engine.resume(dag, stored, Map::new(), Again::Nothing, world.observer(), world.stop.clone());
    let ran = world.with_values(resumed.await.unwrap()).await;
    assert_eq!((ran.run.state, value(&ran, "asks")), (RunStatus::Success, json!("approved by Eve")));
    assert_eq!((noted("waits-crash").len(), row(&ran, "asks").try_number), (2, 1));
}

#[task]
async fn asks_for_a_while(ctx: &Context) -> Result<Option<u32>> {
    ctx.wait_for_until("this never happens", ctx.began() + chrono_ms(30)).await
}

#[dag]
fn impatient() {
    asks_for_a_while();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_without_the_event() {
    let world = World::new().await;
    let ran = world.run(impatient::dag(), "waits-impatient").await;
    assert_eq!((ran.run.state, row(&ran, "asks_for_a_while").state), (RunStatus::Success, TaskState::Success));
}

#[task(retries = 2, retry_delay = "1ms")]
async fn in_steps(ctx: &Context) -> Result<u32> {
    let one = ctx.step("one", || async { noting(ctx, "one", 1) }).await?;
    let two = ctx.step("two", || async { noting(ctx, "two", 2) }).await?;
    ensure!(ctx.try_number().is_multiple_of(3), "not yet");
    let three: u32 = ctx.step("three", || async { noting(ctx, "three", 3) }).await?;
    Ok(one + two + three)
}

fn noting(ctx: &Context, what: &str, value: u32) -> Result<u32> {
    note(ctx, format!("{what} in try {}", ctx.try_number()));
    Ok(value)
}

#[task]
fn in_blocking_steps(ctx: &Context, sum: u32) -> Result<u32> {
    ctx.step_blocking("add", || noting(ctx, "add", sum + 1))
}

#[dag]
fn stepping() {
    in_blocking_steps(in_steps());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_goes_on_behind_the_last_step_and_a_clear_forgets_them() {
    let world = World::new().await;
    let ran = world.run(stepping::dag(), "waits-steps").await;
    assert_eq!(value(&ran, "in_blocking_steps"), json!(7));
    let first = ["one in try 1", "two in try 1", "three in try 3", "add in try 1"];
    assert_eq!(noted("waits-steps"), first);
    let stored = world.stored(&stepping::dag(), "waits-steps").await;
    let engine = world.engine();
    let all = flow_runtime::core::Selection { tasks: [(0, None), (1, None)].into(), ..Default::default() };
    let again = engine.resume(
        Arc::new(stepping::dag()),
        stored,
        Map::new(),
        Again::These(all),
        world.observer(),
        world.stop.clone(),
    );
    assert_eq!(again.await.unwrap().run.state, RunStatus::Success);
    assert_eq!(noted("waits-steps")[4..], ["one in try 4", "two in try 4", "three in try 6", "add in try 2"]);
}

#[task]
async fn fails_behind_a_step(ctx: &Context) -> Result<u32> {
    let one = ctx.step("one", || async { noting(ctx, "one", 1) }).await?;
    ensure!(ctx.try_number() > 1, "not yet");
    Ok(one)
}

#[dag]
fn failing() {
    fails_behind_a_step();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_that_is_resumed_goes_on_behind_the_last_step() {
    let world = World::new().await;
    assert_eq!(world.run(failing::dag(), "waits-resumed").await.run.state, RunStatus::Failed);
    assert_eq!(world.resume(failing::dag(), "waits-resumed").await.run.state, RunStatus::Success);
    assert_eq!(noted("waits-resumed"), ["one in try 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_while_nobody_listens_is_heard_within_two_seconds() {
    let world = World::new().await;
    let (dag, store) = (Arc::new(approval::dag()), world.store.clone());
    let request = RunRequest { run_id: Some("waits-other".into()), ..RunRequest::default() };
    let run = world.engine();
    let running = run.run(dag, request, world.observer(), world.stop.clone());
    let telling = async {
        until("it is deferred", || seen(&world, "asks").contains(&TaskState::Deferred)).await;
        // Not through the engine: as another process does.
        store.put_event("approved waits-other", "\"Joe\"", chrono::DateTime::UNIX_EPOCH).await.unwrap();
    };
    let (report, ()) = tokio::join!(running, telling);
    assert_eq!(report.unwrap().run.state, RunStatus::Success);
}

#[test]
fn under_the_clock_of_a_test_days_take_no_time() {
    let run = days::test().event("go", 5u32).run_blocking().succeeded();
    assert_eq!((run.value::<u32>("waits_days"), run.tries("waits_days")), (5, 1));
}

#[task]
async fn waits_days(ctx: &Context) -> Result<u32> {
    ctx.sleep_until(ctx.began() + chrono::TimeDelta::days(3))?;
    ctx.wait_for("go").await
}

#[sensor(poke_interval = "1h", mode = "poke")]
async fn a_day_later(ctx: &Context) -> bool {
    ctx.now() - ctx.began() >= chrono::TimeDelta::days(1)
}

#[dag]
fn days() {
    waits_days();
    a_day_later();
}

#[test]
#[should_panic(expected = "waits for the event `approved waits-never`")]
fn in_a_test_an_event_that_nobody_tells_is_an_error() {
    approval::test().run_id("waits-never").run_blocking();
}

#[test]
fn a_look_that_was_no_sensors_is_refused() {
    let error = DagBuilder::new("d")
        .build(|_| {
            says::node("x").poke_interval(Duration::from_secs(1));
        })
        .unwrap_err();
    assert!(error.to_string().contains("task `says` is no sensor, and has no `poke_interval`"), "{error}");
}

#[task]
async fn asks_a_person(ctx: &Context) -> Result<String> {
    let number: u32 = ctx.step("ask", || async { anyhow::Ok(ctx.try_number()) }).await?;
    note(ctx, format!("asked by try {number}"));
    ctx.wait_for(&format!("answer {}", ctx.run_id())).await
}

#[dag]
fn asking_a_person() {
    asks_a_person();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_cleared_while_it_waits_does_its_steps_again() {
    let (world, run_id) = (World::new().await, "waits-cleared");
    let dag = Arc::new(asking_a_person::dag());
    let request = RunRequest { run_id: Some(run_id.into()), ..RunRequest::default() };
    let engine = world.engine();
    let running = engine.run(dag.clone(), request, world.observer(), world.stop.clone());
    let person = async {
        until("it waits", || seen(&world, "asks_a_person").contains(&TaskState::Deferred)).await;
        let stored = world.stored(&dag, run_id).await;
        let key = flow_runtime::core::InstanceKey { task: 0, map_index: -1 };
        let clear = |_: &_, _: &_| vec![flow_runtime::core::Event::Cleared(vec![key])];
        world.engine().change(&stored, clear).await.unwrap();
        until("it has begun anew", || noted(run_id).len() == 2).await;
        engine.emit(&format!("answer {run_id}"), "\"yes\"").await.unwrap();
    };
    let (report, ()) = tokio::join!(running, person);
    assert_eq!(report.unwrap().run.state, RunStatus::Success);
    assert_eq!(noted(run_id), ["asked by try 1", "asked by try 2", "asked by try 2"]);
}
