//! Outputs that are kept for later runs.

use super::{Store, at, begin, commit, dag, dag_run, xcom};
use crate::store::{CacheRow, CacheWrite, RunCommit, StoreError, XComValue};

fn output(key: &str, map_index: i32, json: &str, micros: i64) -> CacheWrite {
    let value = xcom("t", map_index, json).value;
    CacheWrite { key: key.into(), task_id: "lädt \"1\"".into(), map_index, value, timestamp: at(micros) }
}

/// With all that is known of it, also when its run is deleted; its file is needed, too.
pub async fn an_output_is_kept_for_later_runs(store: Store) {
    let held = begin(&store, "one").await;
    let far = CacheWrite {
        value: XComValue { sha256: "abc".into(), inline: None, size: 1 << 40, type_name: "Straße<T>".into() },
        ..output("far", -1, "", 7)
    };
    let cached = vec![output("near", 3, "{\"größe\":\"🚕\"}", 5), far.clone()];
    store.commit(&[RunCommit { cached: cached.clone(), ..commit(held) }]).await.unwrap();
    store.delete_run(held.0, held.1).await.unwrap();
    for made in cached {
        let (dag_id, run_id, task_id) = ("taxi".into(), "one".into(), made.task_id.to_string());
        let CacheWrite { key, map_index, value, timestamp, .. } = made;
        let row = CacheRow { dag_id, run_id, task_id, map_index, value, timestamp };
        assert_eq!(store.cached(&key).await.unwrap(), Some(row));
    }
    assert_eq!(store.cached("Near").await.unwrap(), None);
    assert_eq!(store.spilled().await.unwrap(), ["abc".to_owned()].into());
    // A commit that is refused keeps nothing.
    let late = RunCommit { cached: vec![output("late", -1, "1", 9)], ..commit(held) };
    assert_eq!(store.commit(&[late]).await, Err(StoreError::NoSuchRun(held.0.0)));
    assert_eq!(store.cached("late").await.unwrap(), None);
}

/// Of one commit as of several.
pub async fn of_one_key_the_last_output_counts(store: Store) {
    let (one, two) = (begin(&store, "one").await, begin(&store, "two").await);
    let cached = |held, cached| RunCommit { cached, ..commit(held) };
    let of = async |key: &str| {
        let row = store.cached(key).await.unwrap().unwrap();
        (row.run_id, row.map_index, row.value.inline.unwrap().to_string(), row.timestamp)
    };
    store.commit(&[cached(one, vec![output("k", 0, "1", 1), output("k", 1, "2", 2)])]).await.unwrap();
    assert_eq!(of("k").await, ("one".into(), 1, "2".into(), at(2)));
    store
        .commit(&[cached(one, vec![output("k", 2, "3", 3)]), cached(two, vec![output("k", 3, "4", 1)])])
        .await
        .unwrap();
    assert_eq!(of("k").await, ("two".into(), 3, "4".into(), at(1)));
}

/// Those made before the instant, of one DAG or of all.
pub async fn old_outputs_are_forgotten(store: Store) {
    let taxi = begin(&store, "one").await;
    let version = store.put_dag(&dag("other")).await.unwrap();
    let other = store.create_run(&dag_run("other", "one"), &version, "me").await.unwrap();
    let cached = |held, cached| RunCommit { cached, ..commit(held) };
    store.commit(&[cached(taxi, vec![output("a", -1, "1", 1), output("b", -1, "1", 2)])]).await.unwrap();
    store.commit(&[cached(other, vec![output("c", -1, "1", 1)])]).await.unwrap();
    let there = async || {
        let mut there = String::new();
        for key in ["a", "b", "c"] {
            there.push_str(if store.cached(key).await.unwrap().is_some() { key } else { "-" });
        }
        there
    };
    assert_eq!(store.forget_cached(Some("taxi"), at(2)).await.unwrap(), 1);
    assert_eq!(there().await, "-bc");
    assert_eq!(store.forget_cached(None, at(2)).await.unwrap(), 1);
    assert_eq!(there().await, "-b-");
    assert_eq!(store.forget_cached(None, at(3)).await.unwrap(), 1);
}
