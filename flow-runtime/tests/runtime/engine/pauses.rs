//! A DAG whose scheduled runs keep failing is paused: by its limit of today, and by one commit, which says so.

use super::{World, note, noted, until};
use flow_runtime::core::{Dag, RunStatus, RunType};
use flow_runtime::executor::{Engine, RunReport, RunRequest};
use flow_runtime::prelude::*;
use flow_runtime::run_event::RunEvent;
use flow_runtime::scheduler::{ScheduledDag, Scheduler, Told};
use flow_runtime::store::faulty::{Faults, FaultyStore};
use flow_runtime::store::{MetadataStore, StoreError};
use parking_lot::Mutex;
use serde_json::Map;
use std::sync::Arc;

#[task]
fn fails() -> Result<()> {
    bail!("never")
}

#[dag(schedule = "@once")]
fn failing() {
    fails();
}

#[task]
async fn hangs(ctx: &Context) {
    note(ctx, "hangs");
    std::future::pending::<()>().await;
}

#[dag(schedule = "@once")]
fn hanging() {
    hangs();
}

/// The same DAG with this limit.
fn with_limit(mut dag: Dag, failures: u32) -> Dag {
    dag.max_consecutive_failed_dag_runs = failures;
    dag
}

fn scheduled(run_id: &str) -> RunRequest {
    RunRequest { run_id: Some(run_id.into()), run_type: RunType::Scheduled, ..RunRequest::default() }
}

async fn run(world: &World, dag: Dag, run_id: &str) -> RunReport {
    let engine = world.engine();
    engine.run(Arc::new(dag), scheduled(run_id), world.observer(), world.stop.clone()).await.unwrap()
}

async fn is_paused(world: &World, dag_id: &str) -> bool {
    world.store.paused().await.unwrap().get(dag_id) == Some(&true)
}

fn told(world: &World) -> Vec<u32> {
    let failures = |event: &RunEvent| match event {
        RunEvent::DagPaused { failures, .. } => Some(*failures),
        _ => None,
    };
    world.events.lock().iter().filter_map(failures).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_counts_by_the_limit_of_today() {
    let world = World::new().await;
    let first = run(&world, with_limit(failing::dag(), 1), "pauses-old").await;
    assert_eq!((first.run.state, first.has_paused), (RunStatus::Failed, Some(1)));
    assert!(is_paused(&world, "failing").await && told(&world) == [1]);
    world.store.set_paused("failing", false).await.unwrap();
    let again = world.resume(with_limit(failing::dag(), 2), "pauses-old").await;
    assert_eq!((again.run.state, again.has_paused), (RunStatus::Failed, None), "two in a row would be too many");
    assert!(!is_paused(&world, "failing").await);
    let second = run(&world, with_limit(failing::dag(), 0), "pauses-new").await;
    assert_eq!(second.has_paused, None);
    let again = world.resume(with_limit(failing::dag(), 2), "pauses-new").await;
    assert_eq!(again.has_paused, Some(2));
    assert!(is_paused(&world, "failing").await && told(&world) == [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_process_has_died_counts_by_the_limit_of_today() {
    let world = World::new().await;
    let engine = world.engine();
    let old = Arc::new(with_limit(hanging::dag(), 0));
    let begun = engine.run(old.clone(), scheduled("pauses-died"), world.observer(), world.stop.clone());
    tokio::select! {
        _ = begun => panic!("it should hang"),
        () = until("it hangs", || noted("pauses-died").len() == 1) => {}
    }
    let engine: Engine = world.engine().with_dags([(Arc::new(with_limit(hanging::dag(), 1)), Ok(Map::new()))]);
    let edited = engine.edit(&world.stored(&old, "pauses-died").await, |_, _| Vec::new()).await.unwrap();
    assert_eq!((edited.status, edited.has_paused), (RunStatus::Failed, Some(1)));
    assert!(is_paused(&world, "hanging").await);
}

/// A person who lets the DAG go on in the very moment in which it is paused.
struct Person(Arc<dyn MetadataStore>);

#[async_trait::async_trait]
impl Faults for Person {
    async fn before(&self, _: &'static str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn after(&self, call: &'static str) -> Result<(), StoreError> {
        if call == "commit" { self.0.set_paused("failing", false).await } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_pause_is_told_by_whoever_has_made_it_and_by_nobody_else() {
    let mut world = World::new().await;
    let notes = Arc::new(Mutex::new(Vec::new()));
    let scheduler = |world: &World, most| {
        let notes = notes.clone();
        let owned = ScheduledDag { dag: Arc::new(with_limit(failing::dag(), most)), params: Ok(Map::new()) };
        let listener = Arc::new(move |told: &Told<'_>| {
            if let Told::Note(text) = told {
                notes.lock().push(text.clone());
            }
        });
        Scheduler::new(world.engine(), [owned], false, listener, world.stop.clone()).unwrap()
    };
    world.store = Arc::new(FaultyStore::new(world.store.clone(), Arc::new(Person(world.store.clone()))));
    let now = flow_runtime::clock::Clock::now(&flow_runtime::clock::SystemClock);
    scheduler(&world, 1).run_until(Some(now)).await.unwrap();
    assert!(!is_paused(&world, "failing").await);
    let said = "DAG `failing` is paused: its last scheduled run has failed (max_consecutive_failed_dag_runs)";
    assert_eq!(*notes.lock(), [said]);
}
