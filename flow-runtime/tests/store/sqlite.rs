//! What only a store in a file can get wrong.

use flow_runtime::store::{Durability, SqliteStore};
use tempfile::TempDir;

/// An empty store in a folder that vanishes.
pub async fn fresh() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(&folder.path().join("new/flow.db"), Durability::Process).await.expect("open");
    (store, folder)
}
