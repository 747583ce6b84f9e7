//! Every store, by one suite.

pub(crate) mod postgres;
mod sqlite;

use flow_runtime::core::admit::Share;
use flow_runtime::store::{MetadataStore, SlotAsk, SlotClaim};
use std::time::Duration;

/// The steps of a store's schema, in their order.
fn steps(store: &str) -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(store);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let is_step = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('0');
    let mut steps: Vec<_> = files.filter(is_step).collect();
    steps.sort();
    steps.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// A run as the first schema had it; `number` is how a database is made to take the number of a row from us.
fn kept(number: &str) -> String {
    format!(
        "INSERT INTO dag_version (hash, dag_id, json) VALUES ('h', 'taxi', '{{}}');
         INSERT INTO dag_run (id, dag_id, run_id, run_type, state, run_after, conf, dag_version, owner, epoch) {number}
         VALUES (7, 'taxi', 'one', 'manual', 'success', 1, '{{}}', 'h', 'me', 3);"
    )
}

/// That run is there, and what came with later schemas works.
async fn is_kept(store: &dyn MetadataStore) {
    let run = store.run("taxi", "one").await.unwrap().unwrap();
    assert_eq!((run.pk.0, run.epoch.0, run.owner.as_deref()), (7, 3, Some("me")));
    store.set_paused("taxi", true).await.unwrap();
    let share = Share { name: "rate api".into(), units: 1, most: 1, span: Some(Duration::from_secs(3600)) };
    let ask = SlotAsk { task_id: "download".into(), map_index: -1, weight: 1, shares: vec![share] };
    let now = chrono::DateTime::UNIX_EPOCH;
    let claim = SlotClaim { run: run.pk, epoch: run.epoch, owner: "me", backfill: true, asks: &[ask], now };
    assert_eq!(store.take_slots(&claim).await.unwrap(), []);
    assert_eq!(store.starts("rate api", 9).await.unwrap().len(), 1);
}

async fn memory() -> Option<(flow_runtime::store::MemoryStore, ())> {
    Some((flow_runtime::store::MemoryStore::new(), ()))
}

flow_runtime::store_conformance!(in_memory, memory());
flow_runtime::store_conformance!(in_sqlite, async { Some(sqlite::fresh().await) });
flow_runtime::store_conformance!(in_postgres, postgres::fresh());
flow_runtime::store_conformance!(in_postgres_behind_pgbouncer, postgres::fresh_behind_pooler());
