//! What a commit leaves for later: steps, events, what must be told.

use super::{Store, at, begin, commit, plain, rows, write};
use crate::store::{
    AssetEventFilter, AssetEventWrite, CallbackChange, CallbackFilter, CallbackState, CallbackWrite, MadeBy, RunCommit,
    RunPk, StepWrite, StoreError, Term,
};
use flow_core::{Event, InstanceKey, RunStatus, TaskState};
use serde_json::json;
use std::time::Duration;

fn step(name: &str, try_number: u32, value: &str) -> StepWrite {
    let (name, value) = (name.into(), value.into());
    StepWrite { task_id: "t".into(), map_index: -1, try_number, name, value, timestamp: at(1) }
}

/// The first write of a step counts; a try that is not running, or is another one, writes none.
pub async fn a_step_is_kept_once_and_only_of_a_try_that_runs(store: Store) {
    let held = begin(&store, "one").await;
    let steps = |steps: Vec<StepWrite>| RunCommit { steps, ..commit(held) };
    store.commit(&[steps(vec![step("before", 1, "0")])]).await.unwrap();
    let running =
        rows(held, [write(plain("t", -1, TaskState::Running, 2)), write(plain("u", 0, TaskState::Queued, 1))]);
    // In the very commit that begins the try it counts already.
    store.commit(&[RunCommit { steps: vec![step("ä 🚕", 2, "{\"n\":1}")], ..running }]).await.unwrap();
    let other = StepWrite { task_id: "u".into(), map_index: 0, ..step("queued", 1, "0") };
    let many = vec![step("b", 2, "[null]"), step("ä 🚕", 2, "9"), step("old", 1, "0"), step("new", 3, "0"), other];
    store.commit(&[steps(many)]).await.unwrap();
    let kept: Vec<_> =
        store.steps(held.0, "t", -1).await.unwrap().into_iter().map(|(n, v)| (n, v.to_string())).collect();
    assert_eq!(kept, [("b".to_string(), "[null]".to_string()), ("ä 🚕".into(), "{\"n\":1}".into())]);
    for (task_id, map_index) in [("u", 0), ("t", 0), ("none", -1)] {
        assert!(store.steps(held.0, task_id, map_index).await.unwrap().is_empty(), "{task_id}");
    }
    let stale = RunCommit { epoch: crate::store::Epoch(7), ..steps(vec![step("c", 2, "0")]) };
    assert!(matches!(store.commit(&[stale]).await, Err(StoreError::Fenced { .. })));
}

/// Those of the instances that are named, and of no other; they go with their run as well.
pub async fn steps_are_forgotten(store: Store) {
    let held = begin(&store, "one").await;
    let begins = [("t", -1), ("t", 0), ("u", -1)].map(|(task, map)| write(plain(task, map, TaskState::Running, 1)));
    store.commit(&[rows(held, begins)]).await.unwrap();
    let of = |task: &str, map_index| StepWrite { task_id: task.into(), map_index, ..step("s", 1, "1") };
    let steps = vec![of("t", -1), of("t", 0), of("u", -1)];
    store.commit(&[RunCommit { steps, ..commit(held) }]).await.unwrap();
    store.commit(&[RunCommit { forgotten: vec![("t".into(), -1), ("v".into(), 3)], ..commit(held) }]).await.unwrap();
    let count = async |task, map_index| store.steps(held.0, task, map_index).await.unwrap().len();
    assert_eq!((count("t", -1).await, count("t", 0).await, count("u", -1).await), (0, 1, 1));
    // Forgotten and finished in one commit: it is there.
    let both = RunCommit { forgotten: vec![("t".into(), 0)], steps: vec![of("t", 0)], ..commit(held) };
    store.commit(&[both]).await.unwrap();
    assert_eq!(count("t", 0).await, 1);
    store.delete_run(held.0, held.1).await.unwrap();
    assert_eq!(count("t", 0).await, 0);
}

/// The first payload counts, and it is told that it was there; names are compared as they are.
pub async fn an_event_happens_once(store: Store) {
    assert!(store.put_event("genehmigt 🚕", "{\"by\":\"Ada\"}", at(1)).await.unwrap());
    assert!(!store.put_event("genehmigt 🚕", "null", at(2)).await.unwrap());
    assert!(store.put_event("", "1", at(3)).await.unwrap());
    let names: Vec<String> = (0..2500).map(|n| format!("never {n}")).collect();
    let mut asked: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(store.events(&asked).await.unwrap().is_empty());
    asked.extend(["genehmigt 🚕", "Genehmigt 🚕", ""]);
    let found: Vec<_> = store.events(&asked).await.unwrap().into_iter().map(|(n, p)| (n, p.to_string())).collect();
    assert_eq!(found, [(String::new(), "1".to_string()), ("genehmigt 🚕".into(), "{\"by\":\"Ada\"}".into())]);
    assert!(store.events(&[]).await.unwrap().is_empty());
}

/// Of a try and an asset there is one; they come in their order, and stay when their run is deleted.
pub async fn an_asset_event_is_kept_once_and_outlives_its_run(store: Store) {
    let held = begin(&store, "one").await;
    let made = |asset: &str, map_index, try_number| AssetEventWrite {
        asset: asset.into(),
        task_id: "t".into(),
        map_index,
        try_number,
        extra: "{\"rows\":3,\"wo\":\"Köln\"}".into(),
        timestamp: at(4),
    };
    let asset_events = vec![made("trips", -1, 1), made("b", -1, 1), made("trips", -1, 1), made("trips", -1, 2)];
    let commit_of = |asset_events| RunCommit { asset_events, ..commit(held) };
    store.commit(&[commit_of(asset_events.clone())]).await.unwrap();
    store.commit(&[commit_of(vec![made("trips", -1, 1), made("trips", 0, 1)])]).await.unwrap();
    store.delete_run(held.0, held.1).await.unwrap();
    let all = store.asset_events(&AssetEventFilter::default()).await.unwrap();
    let short: Vec<_> = all.iter().map(|e| (e.asset.as_str(), e.made_by.as_ref().unwrap().map_index)).collect();
    assert_eq!(short, [("trips", -1), ("b", -1), ("trips", -1), ("trips", 0)]);
    assert!(all.windows(2).all(|two| two[0].id < two[1].id));
    let (dag_id, run_id, task_id) = ("taxi".to_string(), "one".to_string(), "t".to_string());
    assert_eq!(all[2].made_by, Some(MadeBy { dag_id, run_id, task_id, map_index: -1, try_number: 2 }));
    assert_eq!((json!(all[0].extra), all[0].timestamp), (json!({"rows": 3, "wo": "Köln"}), at(4)));
    let filter =
        AssetEventFilter { asset: Some("trips".into()), after: all[0].id, limit: 1, ..AssetEventFilter::default() };
    assert_eq!(store.asset_events(&filter).await.unwrap(), all[2..3]);
}

fn callback(event: &str, seconds: i64) -> CallbackWrite {
    CallbackWrite {
        task_id: "t".into(),
        map_index: 2,
        try_number: 1,
        event: event.into(),
        notifier: "{\"log\":null}".into(),
        payload: "{\"was\":\"Größe\"}".into(),
        timestamp: at(seconds * 1_000_000),
    }
}

/// It is pending from its commit on, and due at once; the same once more is the same one; it goes with its run.
pub async fn a_callback_is_owed_once(store: Store) {
    let (held, other) = (begin(&store, "one").await, begin(&store, "two").await);
    let owed = |held, callbacks| RunCommit { callbacks, ..commit(held) };
    let (first, second) = (callback("failure", 1), callback("retry", 2));
    store.commit(&[owed(held, vec![second.clone(), first.clone(), second.clone()])]).await.unwrap();
    // What exactly is told may be another text the second time: it is told as it was first.
    let in_other_words = CallbackWrite { payload: "{}".into(), ..first.clone() };
    store.commit(&[owed(held, vec![in_other_words]), owed(other, vec![first.clone()])]).await.unwrap();
    let all = store.callbacks(CallbackFilter::default()).await.unwrap();
    let short: Vec<_> = all.iter().map(|row| (row.run, row.callback.clone())).collect();
    assert_eq!(short, [(held.0, second.clone()), (held.0, first.clone()), (other.0, first)]);
    // A store that has a clock may take an earlier instant, if that is not there yet.
    assert!(all.iter().all(|row| row.due <= row.callback.timestamp));
    assert!(all.iter().all(|row| row.state == CallbackState::Pending && row.attempts == 0 && row.error.is_none()));
    let due = CallbackFilter { run: Some(held.0), due_at: Some(at(2_000_000)), ..CallbackFilter::default() };
    assert_eq!(store.callbacks(due).await.unwrap(), all[..2]);
    assert_eq!(store.callbacks(CallbackFilter { limit: 1, ..CallbackFilter::default() }).await.unwrap(), all[..1]);
    let after = CallbackFilter { after: all[0].id, limit: 1, ..CallbackFilter::default() };
    assert_eq!(store.callbacks(after).await.unwrap(), all[1..2]);
    store.delete_run(held.0, held.1).await.unwrap();
    assert_eq!(store.callbacks(CallbackFilter::default()).await.unwrap(), all[2..]);
}

/// Of two who take it at the same time one gets it; who was given up meanwhile has no say; what is settled stays so.
pub async fn a_callback_is_taken_by_one_and_settled_once(store: Store) {
    let held = begin(&store, "one").await;
    let callbacks = vec![callback("failure", 1), callback("retry", 1)];
    store.commit(&[RunCommit { callbacks, ..commit(held) }]).await.unwrap();
    let all = store.callbacks(CallbackFilter::default()).await.unwrap();
    let take = |seconds| CallbackChange {
        id: all[0].id,
        tried: 0,
        state: CallbackState::Pending,
        attempts: 1,
        // Only a store without a clock goes by the instant.
        due: Term { length: Duration::from_secs(seconds), now: at(1_000_000) },
        error: None,
    };
    let (one, other) = (take(3600), take(7200));
    let (one, other) = tokio::join!(store.settle_callback(&one), store.settle_callback(&other));
    assert_ne!(one.unwrap(), other.unwrap(), "one of them gets it");
    let due = async || {
        let due = CallbackFilter { due_at: Some(at(60_000_000)), ..CallbackFilter::default() };
        store.callbacks(due).await.unwrap().into_iter().map(|row| row.callback.event.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(due().await, ["retry"], "it is taken");
    let told = CallbackChange { state: CallbackState::Success, ..take(0) };
    assert!(!store.settle_callback(&told).await.unwrap(), "it has been taken since");
    let failed = CallbackChange { tried: 1, attempts: 1, error: Some("nobody \"answers\" 🚕".into()), ..take(0) };
    assert!(store.settle_callback(&failed).await.unwrap());
    let row = &store.callbacks(CallbackFilter::default()).await.unwrap()[0];
    assert_eq!((row.state, row.attempts), (CallbackState::Pending, 1));
    assert_eq!(due().await, ["failure", "retry"], "its time is over");
    assert_eq!(row.error.as_deref(), Some("nobody \"answers\" 🚕"));
    let told = CallbackChange { tried: 1, attempts: 2, error: None, ..told };
    assert!(store.settle_callback(&told).await.unwrap());
    for tried in [1, 2] {
        let late = CallbackChange { tried, ..failed.clone() };
        assert!(!store.settle_callback(&late).await.unwrap(), "it is settled");
    }
    let after = store.callbacks(CallbackFilter::default()).await.unwrap();
    assert_eq!((after[0].state, after[0].attempts, &after[0].error), (CallbackState::Success, 2, &None));
    assert_eq!(after[1], all[1], "no other is touched");
    assert_eq!(due().await, ["retry"]);
    let none = CallbackChange { id: i64::MAX, ..take(0) };
    assert!(!store.settle_callback(&none).await.unwrap());
}

/// Every order comes back as it was, in its order, until a commit of its run settles it; it goes with its run.
pub async fn an_order_stays_until_it_is_settled(store: Store) {
    let (held, other) = (begin(&store, "one").await, begin(&store, "two").await);
    let key = InstanceKey { task: 3, map_index: -1 };
    let events = [
        Event::Cleared(vec![key, InstanceKey { task: 0, map_index: 7 }]),
        Event::Marked(vec![key], TaskState::Success),
        Event::RunMarked(RunStatus::Failed),
    ];
    let mut ids = Vec::new();
    for event in &events {
        ids.push(store.put_order(held.0, event, at(1)).await.unwrap());
    }
    ids.push(store.put_order(other.0, &events[0], at(1)).await.unwrap());
    assert!(ids.windows(2).all(|two| two[0] < two[1]), "{ids:?}");
    assert_eq!(store.put_order(RunPk(4711), &events[0], at(1)).await, Err(StoreError::NoSuchRun(4711)));
    let left =
        async || store.orders().await.unwrap().into_iter().map(|order| (order.run, order.event)).collect::<Vec<_>>();
    let all = [
        (held.0, events[0].clone()),
        (held.0, events[1].clone()),
        (held.0, events[2].clone()),
        (other.0, events[0].clone()),
    ];
    assert_eq!(left().await, all);
    // Not those of another run, and none by an old epoch.
    store.commit(&[RunCommit { settled: vec![ids[1], ids[3], 4711], ..commit(held) }]).await.unwrap();
    let stale = RunCommit { settled: vec![ids[0]], ..commit((held.0, crate::store::Epoch(9))) };
    assert!(store.commit(&[stale]).await.is_err());
    assert_eq!(left().await, [all[0].clone(), all[2].clone(), all[3].clone()]);
    store.delete_run(held.0, held.1).await.unwrap();
    assert_eq!(left().await, [all[3].clone()]);
}
