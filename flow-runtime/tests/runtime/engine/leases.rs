//! Runs that are held by leases in the store.

use super::{World, note, noted, row, until};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::executor::{EngineError, Holders};
use flow_runtime::prelude::*;
use flow_runtime::store::{CauseKind, StoreError, Term};
use serde_json::json;
use std::time::Duration;

/// Notes it when it is dropped.
struct Dropped<'c>(&'c Context);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        note(self.0, format!("dropped {}", self.0.try_number()));
    }
}

#[task(retries = 1)]
async fn holds_on(ctx: &Context) -> Result<u32> {
    note(ctx, format!("try {}", ctx.try_number()));
    if ctx.try_number() == 1 {
        let _noted = Dropped(ctx);
        std::future::pending::<()>().await;
    }
    Ok(ctx.try_number())
}

#[dag]
fn patient() {
    holds_on();
}

/// A world whose runs are held by leases of this many seconds.
async fn leased(seconds: u64) -> World {
    let mut world = World::new().await;
    world.settings.lease = Some(Duration::from_secs(seconds));
    world
}

async fn holders(world: &World) -> Holders {
    Holders::of_leases(&*world.store, chrono::Utc::now()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_under_way_is_held_and_a_run_that_ended_is_free() {
    let world = leased(60).await;
    let run = world.run(patient::dag(), "leases-held");
    let other = async {
        until("the task is inside", || noted("leases-held").len() == 1).await;
        let stored = world.stored(&patient::dag(), "leases-held").await;
        let holders = holders(&world).await;
        assert!(holders.holds(&stored) && !holders.left_alone(&stored));
        assert_eq!(holders.holder(&stored), stored.owner);
        let error = world.try_resume(patient::dag(), "leases-held").await.unwrap_err();
        assert!(matches!(error, EngineError::Held(_)), "{error}");
        let said = error.to_string();
        assert!(said.contains("run `leases-held` of DAG `patient` is being worked on"), "{said}");
        assert!(
            said.contains(&format!("process {}", std::process::id())) && said.contains("its lease ends at"),
            "{said}"
        );
        let edited = world.engine().edit(&stored, |_, _| Vec::new()).await;
        assert!(matches!(edited, Err(EngineError::Held(_))));
        assert!(matches!(world.engine().delete(&stored).await, Err(EngineError::Held(_))));
    };
    tokio::select! {
        _ = run => panic!("it should not end"),
        () = other => {}
    }
    // It was dropped, as by a panic of the engine: its lease is given back without a word.
    let stored = world.stored(&patient::dag(), "leases-held").await;
    while holders(&world).await.holds(&stored) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = world.resume(patient::dag(), "leases-held").await;
    assert_eq!((report.run.state, super::value(&report, "holds_on")), (RunStatus::Success, json!(2)));
    assert!(!holders(&world).await.holds(&world.stored(&patient::dag(), "leases-held").await));
    assert!(!world.home.path().join("locks").exists(), "no file was locked");
    world.engine().delete(&stored).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_taken_from_its_process_is_let_go_with_its_tries() {
    let world = leased(1).await;
    let run = world.try_run(patient::dag(), "leases-taken", json!({}));
    let other = async {
        until("the task is inside", || noted("leases-taken").len() == 1).await;
        let stored = world.stored(&patient::dag(), "leases-taken").await;
        world.store.acquire_run(stored.pk, "somebody else").await.unwrap();
        stored
    };
    let (ended, stored) = tokio::join!(run, other);
    let error = ended.unwrap_err();
    assert!(matches!(error, EngineError::LeaseLost(_)), "{error}");
    until("its body is gone", || noted("leases-taken").contains(&"dropped 1".to_string())).await;
    let rows = world.store.instances(stored.pk).await.unwrap();
    assert_eq!(rows[0].state, TaskState::Running, "it has changed nothing more");
    // Whoever goes on with it takes the try for lost.
    let report = world.resume(patient::dag(), "leases-taken").await;
    assert_eq!((report.run.state, row(&report, "holds_on").try_number), (RunStatus::Success, 2));
    let tries = world.store.tries(report.pk, None).await.unwrap();
    assert_eq!(tries[0].cause.as_ref().map(|cause| cause.kind), Some(CauseKind::Lost));
}

#[task]
async fn takes_a_while(ctx: &Context) {
    note(ctx, "in");
    tokio::time::sleep(Duration::from_millis(2500)).await;
}

#[dag]
fn longer_than_its_lease() {
    takes_a_while();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_longer_than_its_lease_keeps_it() {
    let world = leased(1).await;
    let run = world.run(longer_than_its_lease::dag(), "leases-long");
    let thief = async {
        until("the task is inside", || !noted("leases-long").is_empty()).await;
        let pk = world.stored(&longer_than_its_lease::dag(), "leases-long").await.pk;
        loop {
            let term = Term { length: Duration::ZERO, now: chrono::Utc::now() };
            match world.store.take_run(pk, "thief", term).await {
                Err(StoreError::Held { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                // Free when it has ended, and not before.
                taken => return (taken, world.stored(&longer_than_its_lease::dag(), "leases-long").await.run.state),
            }
        }
    };
    let (report, (taken, state)) = tokio::join!(run, thief);
    assert_eq!((report.run.state, state), (RunStatus::Success, RunStatus::Success));
    taken.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_not_resumed_after_all_is_free_again() {
    let world = leased(60).await;
    world.run(longer_than_its_lease::dag(), "leases-done").await;
    let error = world.try_resume(longer_than_its_lease::dag(), "leases-done").await.unwrap_err();
    assert!(matches!(error, EngineError::NotResumable(_)), "{error}");
    let stored = world.stored(&longer_than_its_lease::dag(), "leases-done").await;
    assert!(!holders(&world).await.holds(&stored));
}
