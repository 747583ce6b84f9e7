//! What is told outside is written by the commit that makes it true: once, wherever a crash comes.

use super::{World, note, noted};
use flow_runtime::Notifier;
use flow_runtime::core::{Event, InstanceKey, RunStatus, TaskState, UNMAPPED};
use flow_runtime::executor::Changed;
use flow_runtime::prelude::*;
use flow_runtime::store::faulty::{Faults, FaultyStore};
use flow_runtime::store::{CallbackFilter, CallbackRow, InstanceRow, RunFilter, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

#[task(retries = 1, retry_delay = "0s", on_retry = log, on_success = [log, command("true")], on_failure = log)]
fn second_time(ctx: &Context) -> Result<u32> {
    ensure!(ctx.try_number() > 1, "not yet");
    Ok(7)
}

#[task(on_failure = "ops", on_skipped = log)]
fn fails(n: u32) -> Result<()> {
    bail!("{n} is no number for https://ada:planted-pass-1@example.com")
}

#[task(on_skipped = log)]
fn skips() -> Result<()> {
    Err(TaskError::skip("nothing to do"))
}

#[task(on_failure = log, on_skipped = log, on_success = log)]
fn never() {}

#[dag(on_failure = ["ops", log, "ops"], on_success = log)]
fn tells() {
    fails(second_time()) >> never();
    skips();
}

/// `event task#try -> who`, in no order.
fn told(rows: &[CallbackRow]) -> Vec<String> {
    let short = |row: &CallbackRow| {
        let of = &row.callback;
        let to: Notifier = serde_json::from_str(&of.notifier).unwrap();
        format!("{} {}#{} -> {to}", of.event, of.task_id, of.try_number)
    };
    let mut told: Vec<String> = rows.iter().map(short).collect();
    told.sort();
    told
}

const ALL: [&str; 7] = [
    "failure #0 -> log",
    "failure #0 -> ops",
    "failure fails#1 -> ops",
    "retry second_time#1 -> log",
    "skipped skips#1 -> log",
    "success second_time#2 -> command true",
    "success second_time#2 -> log",
];

async fn owed(world: &World) -> Vec<CallbackRow> {
    world.store.callbacks(CallbackFilter::default()).await.unwrap()
}

async fn world() -> World {
    let mut world = World::new().await;
    world.settings.notifiers.insert("ops".into(), flow_runtime::notify::Channel::Log);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_told_once_to_each_with_all_that_is_known() {
    let world = world().await;
    assert_eq!(world.run(tells::dag(), "tells").await.run.state, RunStatus::Failed);
    let rows = owed(&world).await;
    assert_eq!(told(&rows), ALL);
    let payload = |event: &str, task: &str| -> serde_json::Value {
        let row = rows.iter().find(|row| &*row.callback.event == event && &*row.callback.task_id == task).unwrap();
        serde_json::from_str(&row.callback.payload).unwrap()
    };
    let failure = payload("failure", "fails");
    for (field, value) in [
        ("event", "failure".into()),
        ("dag_id", "tells".into()),
        ("dag_run_id", "tells".into()),
        ("run_type", "manual".into()),
        ("task_id", "fails".into()),
        ("map_index", serde_json::json!(-1)),
        ("try_number", 1.into()),
        ("tries", 1.into()),
        ("state", "failed".into()),
        ("cause", serde_json::json!({"kind": "error", "message": "7 is no number for https://ada:***@example.com"})),
    ] {
        assert_eq!(failure[field], value, "{field}: {failure}");
    }
    let run = payload("failure", "");
    assert_eq!(run["failed_tasks"], serde_json::json!(["fails"]), "{run}");
    assert_eq!(run["cause"]["message"], "fails failed: 7 is no number for https://ada:***@example.com");
    assert_eq!(payload("retry", "second_time")["tries"], 2);
    let keys: BTreeSet<String> = rows
        .iter()
        .map(|row| serde_json::from_str::<serde_json::Value>(&row.callback.payload).unwrap()["key"].to_string())
        .collect();
    assert_eq!(keys.len(), rows.len(), "each has a key of its own");
}

/// Lets so many commits through; the one after that never returns: applied, or not.
struct Mortal {
    lives: AtomicI64,
    applies_the_last: bool,
    /// Told when it does not return.
    dies: tokio::sync::Notify,
}

impl Mortal {
    async fn count(&self, call: &str, applied: bool) {
        if call == "commit" && applied == self.applies_the_last && self.lives.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.dies.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait::async_trait]
impl Faults for Mortal {
    async fn before(&self, call: &'static str) -> Result<(), StoreError> {
        self.count(call, false).await;
        Ok(())
    }

    async fn after(&self, call: &'static str) -> Result<(), StoreError> {
        self.count(call, true).await;
        Ok(())
    }
}

/// Fails at any rate, also when its try is lost: each try is an event of its own.
#[task(retries = 2, retry_delay = "0s", on_retry = log, on_failure = log)]
fn always(ctx: &Context) -> Result<()> {
    bail!("try {}", ctx.try_number())
}

#[task(on_success = log)]
fn fine() {}

#[dag(on_failure = log)]
fn crashes() {
    fine() >> always();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_or_after_any_commit_loses_nothing_and_tells_nothing_twice() {
    let mut crashed = 0;
    for (lives, applies_the_last) in (0..12).flat_map(|lives| [(lives, false), (lives, true)]) {
        let mut world = world().await;
        let inner = world.store.clone();
        let mortal =
            Arc::new(Mortal { lives: AtomicI64::new(lives), applies_the_last, dies: tokio::sync::Notify::new() });
        world.store = Arc::new(FaultyStore::new(inner.clone(), mortal.clone()));
        let run_id = format!("crash-{lives}-{applies_the_last}");
        let ended = tokio::select! {
            report = world.run(crashes::dag(), &run_id) => {
                assert_eq!(report.run.state, RunStatus::Failed);
                true
            }
            () = mortal.dies.notified() => false,
        };
        crashed += u32::from(!ended);
        world.store = inner;
        let stored = world.store.run("crashes", &run_id).await.unwrap().unwrap();
        if !stored.run.state.is_finished() {
            let report = world.resume(crashes::dag(), &run_id).await;
            assert_eq!(report.run.state, RunStatus::Failed, "{run_id}");
        }
        let rows = owed(&world).await;
        let tries = world.store.tries(stored.pk, Some("always")).await.unwrap();
        // What the record says of each try is what was told, and once.
        let of_try = |row: &InstanceRow| match row.state {
            TaskState::UpForRetry => Some(format!("retry always#{} -> log", row.try_number)),
            TaskState::Failed => Some(format!("failure always#{} -> log", row.try_number)),
            _ => None,
        };
        let mut want: Vec<String> = tries.iter().filter_map(of_try).collect();
        let fine = world.store.tries(stored.pk, Some("fine")).await.unwrap();
        let won = fine.iter().filter(|row| row.state == TaskState::Success);
        want.extend(won.map(|row| format!("success fine#{} -> log", row.try_number)));
        want.push("failure #0 -> log".into());
        want.sort();
        assert_eq!(told(&rows), want, "{run_id}: {tries:?} {fine:?}");
    }
    assert!(crashed >= 8, "it crashed in {crashed} places alone");
}

#[task(on_failure = log, on_success = log)]
async fn waits_for_ever(ctx: &Context) {
    note(ctx, "inside");
    std::future::pending::<()>().await;
}

#[dag(on_failure = log, on_success = log)]
fn left_behind() {
    waits_for_ever();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_does_tells_nobody_but_a_loss_is_told() {
    let world = world().await;
    let run = world.run(left_behind::dag(), "told-by-hand");
    tokio::select! {
        _ = run => panic!("it should not end"),
        () = super::until("the task is inside", || !noted("told-by-hand").is_empty()) => {}
    }
    let key = InstanceKey { task: 0, map_index: UNMAPPED };
    let stored = world.stored(&left_behind::dag(), "told-by-hand").await;
    let edit = async |event: Event| world.engine().edit(&stored, |_, _| vec![event]).await.unwrap();
    edit(Event::Marked(vec![key], TaskState::Success)).await;
    assert_eq!(told(&owed(&world).await), ["failure waits_for_ever#1 -> log"], "the process died");
    for event in [Event::Cleared(vec![key]), Event::Marked(vec![key], TaskState::Failed), Event::Cleared(vec![key])] {
        edit(event).await;
    }
    edit(Event::RunMarked(RunStatus::Failed)).await;
    assert_eq!(owed(&world).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_a_person_ends_tells_nobody() {
    let world = world().await;
    let run = world.run(left_behind::dag(), "told-by-order");
    let order = async {
        super::until("the task is inside", || !noted("told-by-order").is_empty()).await;
        let stored = world.stored(&left_behind::dag(), "told-by-order").await;
        let engine = world.engine();
        let changed = engine.change(&stored, |_, _| vec![Event::RunMarked(RunStatus::Failed)]).await.unwrap();
        assert!(matches!(changed, Changed::CarriedOut), "{changed:?}");
    };
    let (report, ()) = tokio::join!(run, order);
    assert_eq!((report.run.state, owed(&world).await.len()), (RunStatus::Failed, 0));
}

#[task]
fn quick() {}

#[dag(deadline = "1h", on_deadline = log, on_success = log)]
fn late() {
    quick();
}

#[task(retries = 3, retry_delay = "50m")]
fn slow(ctx: &Context) -> Result<()> {
    ensure!(ctx.try_number() == 4, "not yet");
    Ok(())
}

#[dag(deadline = "1h", on_deadline = ["ops", log], on_success = log)]
fn slow_run() {
    slow();
}

#[dag(deadline = "1h", deadline_from = "logical_date", on_deadline = log)]
fn about_a_date() {
    quick();
}

#[test]
fn a_deadline_is_told_once_and_the_run_goes_on() {
    let in_time = late::test().run_blocking().succeeded();
    assert_eq!(in_time.notified().iter().map(ToString::to_string).collect::<Vec<_>>(), ["success of the run to log"]);
    let late = slow_run::test().starts_at("2026-01-01T10:00").run_blocking().succeeded();
    let told: Vec<String> = late.notified().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["deadline of the run to ops", "deadline of the run to log", "success of the run to log"]);
    let first = &late.notified()[0];
    assert_eq!(first.payload["deadline"].as_str().map(|at| &at[..16]), Some("2026-01-01T11:00"));
    assert_eq!(first.payload["timestamp"], first.payload["deadline"]);
    assert!(first.sentence().starts_with("slow_run: the run is not done by its deadline, 2026-01-01T11:00"));
    // That of a date is long past.
    let old = about_a_date::test().logical_date("2020-01-01").run_blocking().succeeded();
    assert_eq!(old.notified()[0].payload["deadline"], "2020-01-01T01:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_while_nobody_works_on_the_run_is_told_once() {
    use flow_runtime::clock::{Clock, SkippingClock};
    let world = world().await;
    let dag = Arc::new(slow_run::dag());
    let request = || flow_runtime::executor::RunRequest { run_id: Some("late".into()), ..Default::default() };
    // Dropped before its first retry is due, and gone on with two hours later.
    let engine = world.engine();
    let begun = engine.run(dag.clone(), request(), world.observer(), world.stop.clone());
    let is_waiting = || {
        let waits = |e: &flow_runtime::run_event::RunEvent| {
            matches!(e, flow_runtime::run_event::RunEvent::TaskState { state: TaskState::UpForRetry, .. })
        };
        world.events.lock().iter().any(waits)
    };
    tokio::select! {
        _ = begun => panic!("it should wait"),
        () = super::until("it waits", is_waiting) => {}
    }
    assert_eq!(owed(&world).await.len(), 0);
    let clock = SkippingClock::starting_at(flow_runtime::clock::SystemClock.now() + chrono::TimeDelta::hours(2));
    let engine = world.engine().with_clock(Arc::new(clock));
    let (stored, again) = (world.stored(&dag, "late").await, flow_runtime::executor::Again::Nothing);
    let report = engine.resume(dag.clone(), stored, Default::default(), again, world.observer(), world.stop.clone());
    assert_eq!(report.await.unwrap().run.state, RunStatus::Success);
    assert_eq!(told(&owed(&world).await), ["deadline #0 -> log", "deadline #0 -> ops", "success #0 -> log"]);
}

#[test]
fn what_cannot_be_told_is_refused_when_the_dag_is_built() {
    let wire = |_: &flow_runtime::builder::DagScope| {
        quick::node().on_failure([Notifier::named("o p")]);
    };
    let build = |dag: DagBuilder| dag.build(wire).unwrap_err();
    let error = build(
        DagBuilder::new("d")
            .deadline("2h")
            .on_failure([Notifier::webhook("https://ada:planted-pass-2@example.com/x"), Notifier::webhook("nowhere")]),
    );
    let text = error.to_string();
    for said in [
        "it has a deadline, and nobody is told of it: say whom by `on_deadline`",
        "on_failure: holds a password: give it a name in `[notifiers]` of flow.toml",
        "on_failure: a webhook has a URL that begins with `https://` or `http://`, not `nowhere`",
        "task `quick`: on_failure: `o p` cannot name a notifier",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("planted-pass-2"), "{text}");
    let error = build(DagBuilder::new("d").on_deadline([Notifier::Log]));
    assert!(error.to_string().contains("it has `on_deadline`, and no deadline"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_flow_toml_does_not_have_is_told_before_a_run_is_made() {
    let world = World::new().await;
    let error = world.try_run(tells::dag(), "nobody", serde_json::Value::Null).await.unwrap_err().to_string();
    assert!(
        error.contains("`[notifiers]` of flow.toml has no `ops`; it names none: asked for by on_failure, and 2 more"),
        "{error}"
    );
    assert!(world.store.runs(&RunFilter::default()).await.unwrap().is_empty());
}
