//! Backfills: what was asked for, its states, and who works on it.

use super::{Store, at, dag, dag_run};
use crate::store::{BackfillChange, BackfillSpec, BackfillState, Reprocess, StoreError, Term, Terms};
use serde_json::json;
use std::time::Duration;

fn spec(dag_id: &str) -> BackfillSpec {
    BackfillSpec {
        dag_id: dag_id.into(),
        from: at(-86_400_000_001),
        to: at(7),
        reprocess: Reprocess::Failed,
        backwards: true,
        max_active_runs: u32::MAX,
        conf: json!({"ort": "Köln \"1\" 🚕", "n": [1, null]}).as_object().cloned().unwrap_or_default(),
    }
}

/// All of it, the newest first; those that are over are left out if one asks.
pub async fn every_field_of_a_backfill_comes_back(store: Store) {
    let plain = BackfillSpec { backwards: false, reprocess: Reprocess::None, max_active_runs: 1, ..spec("b") };
    let one = store.put_backfill(&spec("ä"), at(3)).await.unwrap();
    let two = store.put_backfill(&plain, at(4)).await.unwrap();
    assert!(two > one);
    let rows = store.backfills(false).await.unwrap();
    let found: Vec<_> = rows.iter().map(|row| (row.id, &row.spec, row.state, row.created, row.ended)).collect();
    let running = BackfillState::Running;
    assert_eq!(found, [(two, &plain, running, at(4), None), (one, &spec("ä"), running, at(3), None)]);
    let change = BackfillChange { id: two, from: running, to: BackfillState::Done, at: at(9) };
    assert!(store.settle_backfill(&change).await.unwrap());
    assert_eq!(store.backfills(false).await.unwrap()[0].ended, Some(at(9)));
    assert_eq!(store.backfills(true).await.unwrap().iter().map(|row| row.id).collect::<Vec<_>>(), [one]);
}

/// From the state that is named alone; whoever comes second changes nothing.
pub async fn a_backfill_changes_its_state_once(store: Store) {
    use BackfillState::{Cancelled, Done, Paused, Running};
    let id = store.put_backfill(&spec("d"), at(0)).await.unwrap();
    let settle = async |from, to| store.settle_backfill(&BackfillChange { id, from, to, at: at(1) }).await.unwrap();
    for (from, to, changed) in [
        (Paused, Running, false),
        (Running, Paused, true),
        (Running, Done, false),
        (Paused, Running, true),
        (Running, Cancelled, true),
        (Running, Paused, false),
        (Paused, Running, false),
    ] {
        assert_eq!(settle(from, to).await, changed, "{from:?} {to:?}");
    }
    let row = store.backfills(false).await.unwrap().remove(0);
    assert_eq!((row.state, row.ended), (Cancelled, Some(at(1))));
    let none = BackfillChange { id: id + 1, from: Running, to: Done, at: at(1) };
    assert!(!store.settle_backfill(&none).await.unwrap());
}

/// One has it at a time, as often as it likes, until it gives it back; nobody has one that does not run.
pub async fn a_backfill_has_one_owner_at_a_time(store: Store) {
    let id = store.put_backfill(&spec("d"), at(0)).await.unwrap();
    let hold = async |owner: &str, seconds| {
        store.hold_backfill(id, owner, Term { length: Duration::from_secs(seconds), now: at(0) }).await.unwrap()
    };
    assert!(hold("one", 1000).await && hold("one", 1000).await);
    assert!(!hold("two", 1000).await);
    assert_eq!(store.backfills(true).await.unwrap()[0].owner.as_deref(), Some("one"));
    let held = async || store.held_backfills(at(1)).await.unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(held().await, [(id, "one".to_owned())]);
    assert!(hold("one", 0).await, "given back");
    assert_eq!(held().await, []);
    assert!(hold("two", 1000).await && !hold("one", 1000).await);
    let pause = BackfillChange { id, from: BackfillState::Running, to: BackfillState::Paused, at: at(1) };
    assert!(store.settle_backfill(&pause).await.unwrap());
    assert!(!hold("two", 1000).await);
}

/// A run is made for a backfill by nobody but whoever had it last, also once his hold is over, and for none that was stopped.
pub async fn a_run_is_made_for_a_backfill_by_its_owner_alone(store: Store) {
    let version = store.put_dag(&dag("d")).await.unwrap();
    let id = store.put_backfill(&spec("d"), at(0)).await.unwrap();
    let make = async |owner: &str, run_id: &str| {
        let terms = Terms { owner, backfill: Some(id), ..Terms::default() };
        store.make_run(&dag_run("d", run_id), &version, &terms).await.map(drop)
    };
    let lost = Err(StoreError::BackfillLost(id));
    assert_eq!(make("one", "a").await, lost, "nobody has it");
    let hold = async |owner: &str| store.hold_backfill(id, owner, Term { length: Duration::ZERO, now: at(0) }).await;
    assert!(hold("one").await.unwrap());
    assert_eq!(make("one", "a").await, Ok(()));
    assert_eq!(make("two", "b").await, lost);
    assert!(hold("two").await.unwrap());
    assert_eq!((make("one", "b").await, make("two", "b").await), (lost.clone(), Ok(())));
    let pause = BackfillChange { id, from: BackfillState::Running, to: BackfillState::Paused, at: at(1) };
    assert!(store.settle_backfill(&pause).await.unwrap());
    assert_eq!(make("two", "c").await, lost);
    assert_eq!(store.run("d", "c").await, Ok(None));
}
