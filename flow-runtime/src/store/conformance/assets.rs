//! Who waits for assets, and the runs that are made for what has come.

use super::{Store, at, begin, commit, dag, dag_run};
use crate::store::{
    AssetEventFilter, AssetEventRow, AssetEventWrite, PendingAsset, RunCommit, RunPk, StoreError, Term, Terms,
};
use flow_core::RunType;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

async fn waits(store: &Store, dag_id: &str, assets: &[&str]) {
    let assets: BTreeSet<String> = assets.iter().map(ToString::to_string).collect();
    store.await_assets(&BTreeMap::from([(dag_id.to_string(), assets)])).await.unwrap();
}

async fn emit(store: &Store, asset: &str) -> i64 {
    store.put_asset_event(asset, "{\"wo\":\"Köln\"}", at(1)).await.unwrap()
}

/// DAG, asset, number of events, latest event.
async fn pending(store: &Store) -> Vec<(String, String, u64, i64)> {
    let all = store.pending_assets().await.unwrap();
    all.into_iter().map(|PendingAsset { dag_id, asset, events, latest }| (dag_id, asset, events, latest)).collect()
}

fn seen(events: &[i64]) -> Terms<'_> {
    Terms { owner: "me", seen: events, ..Terms::default() }
}

async fn made_for(store: &Store, run: RunPk) -> Vec<i64> {
    let filter = AssetEventFilter { run: Some(run), ..AssetEventFilter::default() };
    store.asset_events(&filter).await.unwrap().into_iter().map(|event| event.id).collect()
}

fn row(dag_id: &str, asset: &str, events: u64, latest: i64) -> (String, String, u64, i64) {
    (dag_id.into(), asset.into(), events, latest)
}

/// From the moment it waits; an event of a person and one of a commit alike; not of what it waits for no more.
pub async fn what_comes_is_pending_for_whoever_waits(store: Store) {
    emit(&store, "trips").await;
    waits(&store, "taxi", &["trips", "wetter ☂"]).await;
    waits(&store, "other", &["trips"]).await;
    assert!(pending(&store).await.is_empty(), "what came before nobody waited does not count");
    emit(&store, "nobody's").await;
    let first = emit(&store, "trips").await;
    let held = begin(&store, "one").await;
    let made = AssetEventWrite {
        asset: "wetter ☂".into(),
        task_id: "t".into(),
        map_index: -1,
        try_number: 1,
        extra: "{}".into(),
        timestamp: at(2),
    };
    let with_event = RunCommit { asset_events: vec![made.clone(), made], ..commit(held) };
    for again in [with_event.clone(), with_event] {
        store.commit(&[again]).await.unwrap();
    }
    let second = emit(&store, "trips").await;
    let of = |asset: &str| AssetEventFilter { asset: Some(asset.into()), ..AssetEventFilter::default() };
    let weather = store.asset_events(&of("wetter ☂")).await.unwrap()[0].id;
    assert!(first < weather && weather < second);
    let all = [row("other", "trips", 2, second), row("taxi", "trips", 2, second), row("taxi", "wetter ☂", 1, weather)];
    assert_eq!(pending(&store).await, all);
    // Said again, nothing is lost; said otherwise, only that.
    waits(&store, "taxi", &["wetter ☂", "trips"]).await;
    assert_eq!(pending(&store).await, all);
    waits(&store, "taxi", &["wetter ☂"]).await;
    let third = emit(&store, "trips").await;
    assert_eq!(pending(&store).await, [row("other", "trips", 3, third), row("taxi", "wetter ☂", 1, weather)]);
    store.await_assets(&BTreeMap::new()).await.unwrap();
    waits(&store, "taxi", &[]).await;
    assert_eq!(pending(&store).await, [row("other", "trips", 3, third)]);
}

/// Deleted and made again under its id, a run makes its assets anew: nobody mistakes that for what the first has told.
pub async fn a_run_that_is_made_again_tells_of_its_assets_again(store: Store) {
    waits(&store, "other", &["trips"]).await;
    let mut events = 0;
    for _ in 0..2 {
        let held = begin(&store, "one").await;
        for _ in 0..2 {
            let made = AssetEventWrite {
                asset: "trips".into(),
                task_id: "t".into(),
                map_index: -1,
                try_number: 1,
                extra: "{}".into(),
                timestamp: at(2),
            };
            store.commit(&[RunCommit { asset_events: vec![made], ..commit(held) }]).await.unwrap();
        }
        events += 1;
        assert_eq!(store.asset_events(&AssetEventFilter::default()).await.unwrap().len(), events);
        assert_eq!(pending(&store).await[0].2, events as u64);
        store.delete_run(held.0, held.1).await.unwrap();
    }
    let makers = store.asset_events(&AssetEventFilter::default()).await.unwrap();
    assert_eq!(makers[0].made_by, makers[1].made_by, "they are told apart by what is not shown");
}

/// And its DAG waits for what comes then. Whoever has seen what is pending no more makes none.
pub async fn a_run_takes_all_that_is_pending(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    waits(&store, "taxi", &["a", "b"]).await;
    waits(&store, "other", &["a"]).await;
    let (a, b, again) = (emit(&store, "a").await, emit(&store, "b").await, emit(&store, "a").await);
    let run = |run_id: &str| flow_core::DagRun { run_type: RunType::AssetTriggered, ..dag_run("taxi", run_id) };
    let refused = store.make_run(&run("none"), &version, &seen(&[a, 1_000_000])).await;
    assert_eq!(refused, Err(StoreError::EventsTaken { dag_id: "taxi".into() }));
    let taken = store.create_run(&run("first"), &version, "me").await.unwrap();
    let refused = store.make_run(&run("first"), &version, &seen(&[a, b])).await;
    assert!(matches!(refused, Err(StoreError::RunExists { .. })), "{refused:?}");
    assert_eq!(
        pending(&store).await,
        [row("other", "a", 2, again), row("taxi", "a", 2, again), row("taxi", "b", 1, b)]
    );
    let (pk, epoch) = store.make_run(&run("second"), &version, &seen(&[a, b])).await.unwrap();
    assert_eq!(made_for(&store, pk).await, [a, b, again]);
    assert!(made_for(&store, taken.0).await.is_empty());
    assert_eq!(pending(&store).await, [row("other", "a", 2, again)]);
    let refused = store.make_run(&run("third"), &version, &seen(&[a, b])).await;
    assert_eq!(refused, Err(StoreError::EventsTaken { dag_id: "taxi".into() }));
    assert_eq!(store.run("taxi", "third").await.unwrap(), None);
    let next = emit(&store, "a").await;
    let (later, _) = store.make_run(&run("third"), &version, &seen(&[next])).await.unwrap();
    assert_eq!((made_for(&store, later).await, made_for(&store, pk).await.len()), (vec![next], 3));
    let refused = store.make_run(&dag_run("other", "r"), "no such hash", &seen(&[next])).await;
    assert!(matches!(refused, Err(StoreError::NoSuchDagVersion(_))), "{refused:?}");
    assert_eq!(pending(&store).await, [row("other", "a", 3, next)]);
    store.delete_run(pk, epoch).await.unwrap();
    assert!(made_for(&store, pk).await.is_empty());
}

/// At the same time, as several schedulers would.
pub async fn many_take_what_is_pending_and_one_gets_it(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    waits(&store, "taxi", &["a"]).await;
    let event = emit(&store, "a").await;
    let ask = async |n: usize| {
        let run = dag_run("taxi", &format!("run {n}"));
        store.make_run(&run, &version, &seen(&[event])).await
    };
    let answers = futures::future::join_all((0..8).map(ask)).await;
    let made: Vec<_> = answers.iter().flatten().collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|a| a.is_ok() || matches!(a, Err(StoreError::EventsTaken { .. }))), "{answers:?}");
    assert_eq!(made_for(&store, made[0].0).await, [event]);
}

/// Whatever does not hold, nothing is made and nothing is taken.
pub async fn a_run_for_assets_is_made_on_the_other_terms_as_well(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    waits(&store, "taxi", &["a"]).await;
    waits(&store, "other", &["a"]).await;
    let event = emit(&store, "a").await;
    let run = |run_id: &str| flow_core::DagRun { run_type: RunType::AssetTriggered, ..dag_run("taxi", run_id) };
    let before = [row("other", "a", 1, event), row("taxi", "a", 1, event)];
    store.create_run(&dag_run("taxi", "by hand"), &version, "me").await.unwrap();
    let events = [event];
    let full = Terms { max_active: Some(1), ..seen(&events) };
    let refused = store.make_run(&run("one"), &version, &full).await;
    assert_eq!(refused, Err(StoreError::TooManyActive { dag_id: "taxi".into(), most: 1 }));
    let overtaken = Terms { after: Some(Some(RunPk(77))), ..seen(&events) };
    let refused = store.make_run(&run("one"), &version, &overtaken).await;
    assert_eq!(refused, Err(StoreError::Overtaken { dag_id: "taxi".into() }));
    assert_eq!((pending(&store).await, store.run("taxi", "one").await.unwrap()), (before.to_vec(), None));

    let lease = Term { length: Duration::from_secs(3600), now: at(1) };
    let stuck = ["by hand".to_string()];
    let terms = Terms { lease: Some(lease), not_counted: &stuck, after: Some(None), ..full };
    let (pk, _) = store.make_run(&run("one"), &version, &terms).await.unwrap();
    let held: Vec<RunPk> = store.held(at(2)).await.unwrap().into_iter().map(|held| held.run).collect();
    assert_eq!((made_for(&store, pk).await, held), (vec![event], vec![pk]));
    assert_eq!(pending(&store).await, before[..1]);
    // Who comes too late hears that, and not that there are too many.
    let refused = store.make_run(&run("two"), &version, &terms).await;
    assert_eq!(refused, Err(StoreError::EventsTaken { dag_id: "taxi".into() }));
}

/// One of each; and the events of one, the newest first.
pub async fn the_latest_events_of_assets(store: Store) {
    assert!(store.latest_asset_events().await.unwrap().is_empty());
    let (first, other, last) = (emit(&store, "b").await, emit(&store, "a").await, emit(&store, "b").await);
    let ids = |events: Vec<AssetEventRow>| events.into_iter().map(|event| event.id).collect::<Vec<_>>();
    let latest = store.latest_asset_events().await.unwrap();
    assert_eq!((latest[0].made_by.clone(), latest[0].extra["wo"].as_str()), (None, Some("Köln")));
    assert_eq!(ids(latest), [other, last]);
    let filter = AssetEventFilter { asset: Some("b".into()), newest_first: true, ..AssetEventFilter::default() };
    assert_eq!(ids(store.asset_events(&filter).await.unwrap()), [last, first]);
    assert_eq!(ids(store.asset_events(&AssetEventFilter { limit: 1, ..filter }).await.unwrap()), [last]);
}

/// Not the latest of an asset, nor what somebody has not had a run of yet, nor what a run was made for.
pub async fn old_asset_events_that_nobody_needs_are_forgotten(store: Store) {
    let version = store.put_dag(&dag("taxi")).await.unwrap();
    let held = begin(&store, "maker").await;
    let made = |asset: &str, map_index, micros| AssetEventWrite {
        asset: asset.into(),
        task_id: "t".into(),
        map_index,
        try_number: 1,
        extra: "{}".into(),
        timestamp: at(micros),
    };
    let there = async || {
        let all = store.asset_events(&AssetEventFilter::default()).await.unwrap();
        all.iter().map(|event| event.id).collect::<Vec<_>>()
    };
    let by_hand = emit(&store, "a").await;
    store.commit(&[RunCommit { asset_events: vec![made("a", 0, 1), made("a", 1, 9)], ..commit(held) }]).await.unwrap();
    waits(&store, "taxi", &["b"]).await;
    let ran_for = emit(&store, "b").await;
    let (run, epoch) = store.make_run(&dag_run("taxi", "for b"), &version, &seen(&[ran_for])).await.unwrap();
    let (waiting, latest) = (emit(&store, "b").await, emit(&store, "b").await);
    let (old, young) = (by_hand + 1, by_hand + 2);
    assert_eq!(there().await, [by_hand, old, young, ran_for, waiting, latest]);
    // Made at that instant is not made before it.
    assert_eq!(store.forget_asset_events(None, at(1)).await.unwrap(), 0);
    assert_eq!(store.forget_asset_events(Some("other"), at(2)).await.unwrap(), 0);
    assert_eq!(store.forget_asset_events(Some("taxi"), at(2)).await.unwrap(), 1);
    assert_eq!(there().await, [by_hand, young, ran_for, waiting, latest]);
    assert_eq!(store.forget_asset_events(None, at(100)).await.unwrap(), 1);
    assert_eq!(there().await, [young, ran_for, waiting, latest]);
    assert_eq!(pending(&store).await, [row("taxi", "b", 2, latest)]);
    store.delete_run(run, epoch).await.unwrap();
    waits(&store, "taxi", &[]).await;
    assert_eq!(store.forget_asset_events(None, at(100)).await.unwrap(), 2);
    assert_eq!(there().await, [young, latest]);
    assert!(latest < emit(&store, "b").await, "no number is given twice");
}
