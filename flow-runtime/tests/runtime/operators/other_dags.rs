//! Runs of other DAGs: asked for, and waited for.

use crate::engine::{World, object, row, until, value};
use chrono::{DateTime, TimeDelta, Utc};
use flow_runtime::core::{Dag, RunStatus, Selection, TaskState};
use flow_runtime::executor::{Again, History, RunReport, RunRequest, Stop};
use flow_runtime::operators::{self, TriggerDag};
use flow_runtime::prelude::*;
use flow_runtime::run_event::RunEvent;
use flow_runtime::scheduler::{ScheduledDag, Scheduler};
use flow_runtime::sensors::{self, OtherDag};
use flow_runtime::store::RunFilter;
use serde_json::{Map, json};
use std::sync::Arc;

#[task]
fn doubles(n: u32, who: String) -> Result<u32> {
    ensure!(n < 100, "{who} asks for too much");
    Ok(n * 2)
}

#[dag]
fn worker(n: u32, #[default("nobody")] who: String) {
    doubles(n, who);
}

#[task]
fn wanted(n: u32) -> TriggerDag {
    TriggerDag::new("worker").param("n", n).wait()
}

#[dag(defaults(retries = 1, retry_delay = "1ms"))]
fn asker(n: u32) {
    operators::trigger_dag_with(wanted(n)) >> operators::empty();
}

/// Engine and scheduler over one store, until the asker's run has ended.
async fn asked(world: &World, run_id: &str, n: u32) -> RunReport {
    let engine = world.engine().with_dags([(Arc::new(worker::dag()), Ok(object(json!({"who": "the config"}))))]);
    let dags = [ScheduledDag { dag: Arc::new(worker::dag()), params: Ok(Map::new()) }];
    let stop = Stop::default();
    let scheduler = Scheduler::new(engine.clone(), dags, false, Arc::new(|_| {}), stop.clone()).unwrap();
    let scheduling = tokio::spawn(scheduler.run());
    let request = RunRequest { run_id: Some(run_id.into()), params: object(json!({"n": n})), ..RunRequest::default() };
    let report = engine.run(Arc::new(asker::dag()), request, world.observer(), Stop::default()).await.unwrap();
    stop.graceful.cancel();
    scheduling.await.unwrap().unwrap();
    report
}

async fn worker_runs(world: &World) -> Vec<flow_runtime::store::StoredRun> {
    let filter = RunFilter { dag_id: Some("worker".into()), ..RunFilter::default() };
    world.store.runs(&filter).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_asked_for_once_and_waited_for() {
    let world = World::new().await;
    let ran = world.with_values(asked(&world, "asks-once", 7).await).await;
    assert_eq!(ran.run.state, RunStatus::Success, "{:#?}", ran.instances);
    let runs = worker_runs(&world).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(value(&ran, "trigger_dag_with"), json!(runs[0].run.run_id));
    assert_eq!((&runs[0].run.conf["n"], &runs[0].run.conf["who"]), (&json!(7), &json!("the config")));
    assert_eq!(runs[0].run.state, RunStatus::Success);
    // It gave its slot back meanwhile, and that cost no try.
    assert_eq!(row(&ran, "trigger_dag_with").try_number, 1);
    let events = format!("{:?}", world.events.lock());
    assert!(events.contains("UpForReschedule") && events.contains("without one"), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_fails_the_task_and_a_clear_asks_for_another() {
    let world = World::new().await;
    let ran = asked(&world, "asks-much", 100).await;
    let task = row(&ran, "trigger_dag_with");
    let message = &task.cause.as_ref().unwrap().message;
    assert_eq!((ran.run.state, task.try_number), (RunStatus::Failed, 1), "no retry would mend it");
    assert!(message.contains("of DAG `worker` has failed"), "{message}");
    assert_eq!(worker_runs(&world).await.len(), 1);
    // Whoever resumes what failed looks at the same run again, which may have been mended since.
    let resumed = world.resume(asker::dag(), "asks-much").await;
    assert_eq!((resumed.run.state, worker_runs(&world).await.len()), (RunStatus::Failed, 1));
    // Cleared, it asks for another.
    let engine = world.engine().with_dags([(Arc::new(worker::dag()), Ok(Map::new()))]);
    let stored = world.stored(&asker::dag(), "asks-much").await;
    let stop = world.stop.clone();
    let tasks = (0..asker::dag().tasks.len() as u32).map(|task| (task, None)).collect();
    let all = Again::These(Selection { tasks, ..Selection::default() });
    let resumed = engine.resume(Arc::new(asker::dag()), stored, Map::new(), all, world.observer(), stop.clone());
    let stopping = async {
        while worker_runs(&world).await.len() < 2 {
            tokio::task::yield_now().await;
        }
        stop.graceful.cancel();
    };
    let (resumed, ()) = tokio::join!(resumed, stopping);
    assert!(resumed.unwrap().interrupted);
}

#[dag]
fn sender() {
    operators::trigger_dag_with(once());
}

#[task]
fn once() -> TriggerDag {
    TriggerDag::new("worker").param("n", 1).param("who", "a sender")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_deleted_and_made_again_asks_for_a_run_of_its_own() {
    let world = World::new().await;
    let engine = world.engine().with_dags([(Arc::new(worker::dag()), Ok(Map::new()))]);
    for runs in [1, 2] {
        let request = RunRequest { run_id: Some("asks-anew".into()), ..RunRequest::default() };
        let report = engine.run(Arc::new(sender::dag()), request, world.observer(), world.stop.clone()).await.unwrap();
        assert_eq!(report.run.state, RunStatus::Success, "{:#?}", report.instances);
        assert_eq!(worker_runs(&world).await.len(), runs);
        engine.delete(&world.stored(&sender::dag(), "asks-anew").await).await.unwrap();
    }
}

#[dag]
fn lost() {
    operators::trigger_dag("nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dag_that_is_not_there_is_named() {
    let world = World::new().await;
    let ran = world.run(lost::dag(), "asks-nowhere").await;
    let message = row(&ran, "trigger_dag").cause.clone().unwrap().message;
    assert!(message.contains("there is no DAG `nowhere`"), "{message}");
}

#[dag]
fn watcher() {
    sensors::other_dag("worker").poke_interval("5ms") >> operators::empty();
    sensors::other_task("worker", "doubles").poke_interval("5ms");
    sensors::other_dag_with(OtherDag::new("worker").earlier("1d").failed([TaskState::Failed]))
        .id("yesterday")
        .poke_interval("5ms");
    let skipping = OtherDag::new("worker").task("doubles").earlier("1d").skipped([TaskState::Failed]);
    sensors::other_dag_with(skipping).id("skips");
    let either = OtherDag::new("worker").earlier("1d").allowed([TaskState::Success, TaskState::Failed]);
    sensors::other_dag_with(either).id("either");
    sensors::other_task("worker", "halves").id("no_such_task").poke_interval("5ms");
}

async fn run_of(world: &World, dag: Dag, run_id: &str, date: &str, n: u32) {
    let request = RunRequest {
        run_id: Some(run_id.into()),
        logical_date: Some(date.parse().unwrap()),
        params: object(json!({"n": n})),
        ..RunRequest::default()
    };
    world.engine().run(Arc::new(dag), request, world.observer(), world.stop.clone()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_of_another_dag_about_the_same_date_is_waited_for() {
    let world = World::new().await;
    run_of(&world, worker::dag(), "yesterdays", "2026-02-28T00:00:00Z", 100).await;
    let request = RunRequest {
        run_id: Some("watches".into()),
        logical_date: Some("2026-03-01T00:00:00Z".parse().unwrap()),
        ..RunRequest::default()
    };
    let engine = world.engine();
    let watching = engine.run(Arc::new(watcher::dag()), request, world.observer(), world.stop.clone());
    let working = async {
        until("it has looked in vain", || {
            let events = world.events.lock();
            events.iter().any(|e| format!("{e:?}").contains("UpForReschedule"))
        })
        .await;
        run_of(&world, worker::dag(), "todays", "2026-03-01T00:00:00Z", 1).await;
    };
    let (ran, ()) = tokio::join!(watching, working);
    let ran = ran.unwrap();
    let states =
        ["other_dag", "other_task", "yesterday", "skips", "either", "no_such_task"].map(|task| row(&ran, task).state);
    use TaskState::{Failed, Skipped, Success};
    assert_eq!(states, [Success, Success, Failed, Skipped, Success, Failed], "{:#?}", ran.instances);
    assert!(row(&ran, "yesterday").cause.as_ref().unwrap().message.contains("is failed"));
    assert!(
        row(&ran, "no_such_task").cause.as_ref().unwrap().message.contains("has no task `halves`; there are: doubles")
    );
}

/// A list that is shorter each time it is made.
#[task]
fn shrinking(ctx: &Context) -> Vec<u32> {
    (0..4 - ctx.try_number()).collect()
}

#[task]
fn handles(n: u32) -> u32 {
    n
}

#[dag]
fn many() {
    handles::expand(each(shrinking()));
}

#[dag]
fn waits_for_many() {
    sensors::other_task("many", "handles").timeout("10ms").poke_interval("1ms").soft_fail(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_removed_is_not_waited_for() {
    let world = World::new().await;
    let date: DateTime<Utc> = "2026-03-01T00:00:00Z".parse().unwrap();
    let about =
        |run_id: &str| RunRequest { run_id: Some(run_id.into()), logical_date: Some(date), ..RunRequest::default() };
    let engine = world.engine();
    engine.run(Arc::new(many::dag()), about("shrinks"), world.observer(), world.stop.clone()).await.unwrap();
    let stored = world.stored(&many::dag(), "shrinks").await;
    let tasks = (0..many::dag().tasks.len() as u32).map(|task| (task, None)).collect();
    let all = Again::These(Selection { tasks, ..Selection::default() });
    let again = engine.resume(Arc::new(many::dag()), stored, Map::new(), all, world.observer(), world.stop.clone());
    let again = again.await.unwrap();
    let states: Vec<_> = again.instances.iter().filter(|row| &*row.task_id == "handles").map(|row| row.state).collect();
    use TaskState::{Removed, Success};
    assert!(states.ends_with(&[Success, Success, Removed]), "{states:?}");
    let waited = engine.run(Arc::new(waits_for_many::dag()), about("waits"), world.observer(), world.stop.clone());
    let waited = waited.await.unwrap();
    assert_eq!(row(&waited, "other_task").state, Success, "{:?}", waited.instances);
}

#[task]
async fn opens(ctx: &Context, n: u32) -> Result<u32> {
    if n > 0 {
        ctx.wait_for::<()>("the door opens").await?;
    }
    Ok(n)
}

#[task_group]
fn door(n: u32) {
    handles(opens(n)).depends_on_past(true);
}

#[dag]
fn doors() {
    door::expand(each(0..3u32));
    door::expand(each(shrinking()));
}

#[dag]
fn waits_for_doors() {
    for task in ["door.handles", "door__1.handles"] {
        sensors::other_task("doors", task).id(task).timeout("10ms").poke_interval("1ms").soft_fail(true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_has_not_begun_is_waited_for() {
    let world = World::new().await;
    let date: DateTime<Utc> = "2026-03-01T00:00:00Z".parse().unwrap();
    let about =
        |run_id: &str| RunRequest { run_id: Some(run_id.into()), logical_date: Some(date), ..RunRequest::default() };
    let engine = world.engine();
    let running = engine.run(Arc::new(doors::dag()), about("opens"), world.observer(), world.stop.clone());
    let looking = async {
        until("the first of each is through", || {
            let events = world.events.lock();
            let through = events.iter().filter(|e| match e {
                RunEvent::TaskState { task_id, state: TaskState::Success, .. } => task_id.ends_with(".handles"),
                _ => false,
            });
            through.count() == 2
        })
        .await;
        let waits = engine.run(Arc::new(waits_for_doors::dag()), about("waits"), world.observer(), Stop::default());
        let waited = waits.await.unwrap();
        // The next run waits for them in the same way.
        let dag = doors::dag();
        let mut history = History::of(&*world.store, &dag, Some(date + TimeDelta::days(1)));
        let mut held = Vec::new();
        for task in ["door.handles", "door__1.handles"] {
            held.push(history.holds_back(dag.task_ix(task).unwrap()).await.unwrap().is_some());
        }
        world.stop.graceful.cancel();
        (waited, held)
    };
    let (_, (waited, held)) = tokio::join!(running, looking);
    let states = ["door.handles", "door__1.handles"].map(|task| row(&waited, task).state);
    assert_eq!((states, &held[..]), ([TaskState::Skipped; 2], &[true; 2][..]), "{:?}", waited.instances);
}
