//! A person changes a run while somebody works on it.

use super::{World, note, noted, row, until, value};
use flow_runtime::core::{Event, InstanceKey, RunStatus, Selection, TaskState, select};
use flow_runtime::executor::{Changed, RunRequest};
use flow_runtime::prelude::*;
use flow_runtime::run_event::RunEvent;
use flow_runtime::scheduler::{ScheduledDag, Scheduler};
use flow_runtime::store::faulty::{Faults, FaultyStore};
use flow_runtime::store::{CauseKind, StoreError};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Takes long, unless it has been cleared.
#[task]
async fn slow(ctx: &Context) -> Result<u32> {
    note(ctx, format!("slow {}", ctx.try_number()));
    if ctx.try_number() == 1 {
        std::future::pending::<()>().await;
    }
    Ok(ctx.try_number())
}

#[task]
async fn other(ctx: &Context) -> Result<u32> {
    note(ctx, format!("other {}", ctx.try_number()));
    while !noted(ctx.run_id()).contains(&"go".to_string()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(1)
}

#[task]
async fn below(ctx: &Context, n: Option<u32>) -> Result<Option<u32>> {
    note(ctx, format!("below {}", ctx.try_number()));
    Ok(n)
}

#[dag]
fn ordered() {
    below(slow());
    other();
}

const SLOW: InstanceKey = InstanceKey { task: 0, map_index: -1 };

/// A run under way, which is changed by these events once its tasks run.
async fn changed(run_id: &str, event: Event, then: impl AsyncFnOnce(&World)) -> super::Ran {
    let mut world = World::new().await;
    world.settings.grace = Duration::from_millis(100);
    let dag = Arc::new(ordered::dag());
    let request = RunRequest { run_id: Some(run_id.into()), ..RunRequest::default() };
    let engine = world.engine();
    let running = engine.run(dag.clone(), request, world.observer(), world.stop.clone());
    let person = async {
        until("both run", || noted(run_id).len() == 2).await;
        let stored = world.stored(&dag, run_id).await;
        // Another process, as far as the engine knows.
        let changed = world.engine().change(&stored, |_, _| vec![event.clone()]).await.unwrap();
        assert!(matches!(changed, Changed::CarriedOut), "{changed:?}");
        assert!(world.store.orders().await.unwrap().is_empty());
        then(&world).await;
    };
    let (report, ()) = tokio::join!(running, person);
    world.with_values(report.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_runs_is_cleared_and_others_run_on() {
    let ran = changed("orders-clear", Event::Cleared(vec![SLOW]), async |world| {
        until("it runs again", || noted("orders-clear").contains(&"below 1".to_string())).await;
        let tries =
            world.store.tries(world.stored(&ordered::dag(), "orders-clear").await.pk, Some("slow")).await.unwrap();
        assert_eq!(tries.iter().map(|t| t.try_number).collect::<Vec<_>>(), [1, 2]);
        super::note_in("orders-clear", "go");
    })
    .await;
    assert_eq!((ran.run.state, value(&ran, "below")), (RunStatus::Success, json!(2)));
    assert_eq!(row(&ran, "other").try_number, 1, "nobody touched it");
    assert_eq!(noted("orders-clear").iter().filter(|n| n.starts_with("slow")).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_runs_is_marked_and_what_follows_starts_once() {
    let ran = changed("orders-mark", Event::Marked(vec![SLOW], TaskState::Success), async |_| {
        until("what follows has started", || noted("orders-mark").contains(&"below 1".to_string())).await;
        super::note_in("orders-mark", "go");
    })
    .await;
    assert_eq!((ran.run.state, row(&ran, "slow").state), (RunStatus::Success, TaskState::Success));
    assert_eq!(noted("orders-mark").iter().filter(|n| n.starts_with("below")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_and_says_so() {
    let ran = changed("orders-cancel", Event::RunMarked(RunStatus::Failed), async |_| {}).await;
    assert_eq!(ran.run.state, RunStatus::Failed);
    let cause = row(&ran, "slow").cause.clone().unwrap();
    assert_eq!(
        (row(&ran, "slow").state, cause.message.as_str()),
        (TaskState::Failed, "somebody ended its run, as failed")
    );
    assert_eq!(row(&ran, "below").state, TaskState::Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_nobody_came_to_is_carried_out_by_the_next() {
    let world = World::new().await;
    let run = world.run(ordered::dag(), "orders-left");
    tokio::select! {
        _ = run => panic!("it should not end"),
        () = until("both run", || noted("orders-left").len() == 2) => {}
    }
    let stored = world.stored(&ordered::dag(), "orders-left").await;
    let mark = Event::Marked(vec![SLOW], TaskState::Skipped);
    world.store.put_order(stored.pk, &mark, chrono::DateTime::UNIX_EPOCH).await.unwrap();
    super::note_in("orders-left", "go");
    let ran = world.resume(ordered::dag(), "orders-left").await;
    assert_eq!(row(&ran, "slow").state, TaskState::Skipped);
    assert!(world.store.orders().await.unwrap().is_empty());
}

/// Does not listen: its first try ends when it is let go.
#[task]
fn stubborn(ctx: &Context) -> u32 {
    note(ctx, format!("begin {}", ctx.try_number()));
    while ctx.try_number() == 1 && !noted(ctx.run_id()).contains(&"go".to_string()) {
        std::thread::sleep(Duration::from_millis(5));
    }
    note(ctx, format!("end {}", ctx.try_number()));
    ctx.try_number()
}

#[dag]
fn stubbornly() {
    stubborn();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_cancelled_is_cleared_before_its_tries_have_ended() {
    let (mut world, run_id) = (World::new().await, "orders-anew");
    world.settings.grace = Duration::from_secs(60);
    let dag = Arc::new(stubbornly::dag());
    let request = RunRequest { run_id: Some(run_id.into()), ..RunRequest::default() };
    let engine = world.engine();
    let running = engine.run(dag.clone(), request, world.observer(), world.stop.clone());
    let person = async {
        until("it runs", || noted(run_id).len() == 1).await;
        let stored = world.stored(&dag, run_id).await;
        for event in [Event::RunMarked(RunStatus::Failed), Event::Cleared(vec![SLOW])] {
            let changed = world.engine().change(&stored, |_, _| vec![event.clone()]).await.unwrap();
            assert!(matches!(changed, Changed::CarriedOut), "{changed:?}");
        }
        super::note_in(run_id, "go");
    };
    let (report, ()) = tokio::join!(running, person);
    let ran = world.with_values(report.expect("it goes on")).await;
    assert_eq!((ran.run.state, value(&ran, "stubborn")), (RunStatus::Success, json!(2)));
    assert_eq!(noted(run_id), ["begin 1", "go", "end 1", "begin 2", "end 2"], "never two tries at once");
}

#[task(setup)]
fn opens(ctx: &Context) -> u32 {
    note(ctx, "open");
    1
}

#[task(teardown)]
fn closes(ctx: &Context) {
    note(ctx, "close");
}

#[dag]
fn set_up() {
    let (opened, work) = (opens(), stubborn().retries(1));
    let closed = closes().teardown_of(opened);
    opened >> work >> closed;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_up_is_taken_away_once_a_cancelled_body_is_gone() {
    let (mut world, run_id) = (World::new().await, "orders-teardown");
    world.settings.grace = Duration::from_secs(60);
    let dag = Arc::new(set_up::dag());
    let request = RunRequest { run_id: Some(run_id.into()), ..RunRequest::default() };
    let engine = world.engine();
    let running = engine.run(dag.clone(), request, world.observer(), world.stop.clone());
    let person = async {
        until("it runs", || noted(run_id).len() == 2).await;
        let stored = world.stored(&dag, run_id).await;
        let changed = world.engine().change(&stored, |_, _| vec![Event::RunMarked(RunStatus::Failed)]).await.unwrap();
        assert!(matches!(changed, Changed::CarriedOut), "{changed:?}");
        assert_eq!(world.stored(&dag, run_id).await.run.state, RunStatus::Running);
        super::note_in(run_id, "go");
    };
    let (report, ()) = tokio::join!(running, person);
    let ran = world.with_values(report.expect("it ends")).await;
    assert_eq!(noted(run_id), ["open", "begin 1", "go", "end 1", "close"]);
    assert_eq!(ran.run.state, RunStatus::Failed);
    let states = ["opens", "stubborn", "closes"].map(|task| row(&ran, task).state);
    assert_eq!(states, [TaskState::Success, TaskState::Failed, TaskState::Success]);
    assert_eq!(row(&ran, "closes").cause, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_works_on_is_taken_away_by_whoever_takes_it_next() {
    let (world, run_id) = (World::new().await, "orders-teardown-left");
    tokio::select! {
        _ = world.run(set_up::dag(), run_id) => panic!("it should not end"),
        () = until("it runs", || noted(run_id).len() == 2) => {}
    }
    let stored = world.stored(&set_up::dag(), run_id).await;
    let cancel = |_: &_, _: &_| vec![Event::RunMarked(RunStatus::Failed)];
    let Changed::Made(edited) = world.engine().change(&stored, cancel).await.unwrap() else { panic!("nobody has it") };
    assert_eq!(edited.status, RunStatus::Running);
    super::note_in(run_id, "go");
    let ran = world.resume(set_up::dag(), run_id).await;
    assert_eq!(ran.run.state, RunStatus::Failed);
    assert!(noted(run_id).contains(&"close".to_string()), "{:?}", noted(run_id));
}

/// Gives other elements the second time.
#[task]
fn gives(ctx: &Context) -> Vec<u32> {
    if ctx.try_number() == 1 { vec![1, 2, 3] } else { vec![7, 8] }
}

#[task]
async fn of_each(ctx: &Context, n: u32) -> u32 {
    note(ctx, format!("try {} of {n}", ctx.try_number()));
    if n == 1 && ctx.try_number() == 1 {
        std::future::pending::<()>().await;
    }
    n
}

#[task]
fn together(all: Vec<u32>) -> Vec<u32> {
    all
}

/// Has a value the first time alone.
#[task]
fn once(ctx: &Context) -> Result<u32> {
    if ctx.try_number() > 1 {
        return Err(TaskError::skip("nothing any more"));
    }
    Ok(5)
}

#[dag]
fn made_anew() {
    together(of_each::expand(each(gives())));
    below(once()).trigger_rule(TriggerRule::AllDone);
    other();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_task_that_was_cleared_sees_what_it_gives_now() {
    let (mut world, run_id) = (World::new().await, "orders-made-anew");
    world.settings.grace = Duration::from_millis(100);
    let dag = Arc::new(made_anew::dag());
    let request = RunRequest { run_id: Some(run_id.into()), ..RunRequest::default() };
    let engine = world.engine();
    let running = engine.run(dag.clone(), request, world.observer(), world.stop.clone());
    let person = async {
        let both = |is: &[&str]| is.iter().all(|is| noted(run_id).contains(&is.to_string()));
        until("all of it has begun", || both(&["try 1 of 1", "below 1", "other 1"])).await;
        let stored = world.stored(&dag, run_id).await;
        let clear = |dag: &flow_runtime::core::Dag, state: &_| {
            let tasks = ["gives", "once"].map(|id| (dag.task_ix(id).unwrap(), None)).into();
            let wanted = Selection { tasks, downstream: true, ..Selection::default() };
            vec![Event::Cleared(select(dag, state, &wanted))]
        };
        let changed = world.engine().change(&stored, clear).await.unwrap();
        assert!(matches!(changed, Changed::CarriedOut), "{changed:?}");
        super::note_in(run_id, "go");
    };
    let (report, ()) = tokio::join!(running, person);
    let ran = world.with_values(report.unwrap()).await;
    assert_eq!((ran.run.state, value(&ran, "together")), (RunStatus::Success, json!([7, 8])));
    assert_eq!(value(&ran, "below"), json!(null), "it was skipped this time");
}

/// Sensors that look when they are let, and have ended at whatever moment the engine asks.
static LET: Semaphore = Semaphore::const_new(1);
static WAITING: AtomicUsize = AtomicUsize::new(0);

#[sensor(poke_interval = "0s", timeout = "6s")]
async fn restless() -> Result<bool> {
    WAITING.fetch_add(1, Relaxed);
    let permit = LET.acquire().await;
    WAITING.fetch_sub(1, Relaxed);
    permit?.forget();
    Ok(false)
}

#[task(timeout = "50ms")]
async fn hangs() {
    std::future::pending::<()>().await;
}

#[dag]
fn busy() {
    restless().id("one");
    restless().id("other");
    hangs();
}

/// While something is written, a look ends.
struct Busy;

#[async_trait::async_trait]
impl Faults for Busy {
    async fn before(&self, call: &'static str) -> Result<(), StoreError> {
        let waiting = WAITING.load(Relaxed);
        if call == "commit" && waiting > 0 {
            LET.add_permits(1);
            while WAITING.load(Relaxed) == waiting {
                tokio::task::yield_now().await;
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn after(&self, _: &'static str) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_run_in_which_tries_end_all_the_time_hears_of_orders_and_timeouts() {
    let (mut world, run_id) = (World::new().await, "orders-busy");
    world.settings.grace = Duration::from_millis(100);
    world.store = Arc::new(FaultyStore::new(world.store.clone(), Arc::new(Busy)));
    let dag = Arc::new(busy::dag());
    let request = RunRequest { run_id: Some(run_id.into()), ..RunRequest::default() };
    let engine = world.engine();
    let running = engine.run(dag.clone(), request, world.observer(), world.stop.clone());
    let person = async {
        let has_begun = || world.events.lock().iter().any(|e| matches!(e, RunEvent::TaskState { .. }));
        until("it has begun", has_begun).await;
        let stored = world.stored(&dag, run_id).await;
        world.engine().change(&stored, |_, _| vec![Event::RunMarked(RunStatus::Failed)]).await.unwrap();
    };
    let (report, ()) = tokio::join!(running, person);
    let ran = world.with_values(report.unwrap()).await;
    let cause = |task: &str| row(&ran, task).cause.clone().map(|cause| cause.kind);
    let (cancelled, timeout) = (Some(CauseKind::Cancelled), Some(CauseKind::Timeout));
    assert_eq!([cause("one"), cause("other"), cause("hangs")], [cancelled, cancelled, timeout]);
}

#[dag]
fn brief() {
    other();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_a_run_that_has_ended_is_carried_out_by_the_next_scheduler() {
    let world = World::new().await;
    let dag = Arc::new(brief::dag());
    super::note_in("orders-late", "go");
    let request = RunRequest { run_id: Some("orders-late".into()), ..RunRequest::default() };
    let report = world.engine().run(dag.clone(), request, world.observer(), world.stop.clone()).await.unwrap();
    assert_eq!(report.run.state, RunStatus::Success);
    // Whoever has given it was killed before the run had ended.
    let now = report.run.run_after;
    world.store.put_order(report.pk, &Event::Cleared(vec![SLOW]), now).await.unwrap();
    let owned = ScheduledDag { dag: dag.clone(), params: Ok(Default::default()) };
    let scheduler = Scheduler::new(world.engine(), [owned], false, Arc::new(|_| {}), world.stop.clone()).unwrap();
    scheduler.run_until(Some(now)).await.unwrap();
    assert!(world.store.orders().await.unwrap().is_empty());
    assert_eq!(noted("orders-late"), ["go", "other 1", "other 2"]);
    assert_eq!(world.stored(&dag, "orders-late").await.run.state, RunStatus::Success);
}
