//! Every store, by one suite.

mod sqlite;

async fn memory() -> (flow_runtime::store::MemoryStore, ()) {
    (flow_runtime::store::MemoryStore::new(), ())
}

flow_runtime::store_conformance!(in_memory, memory());
flow_runtime::store_conformance!(in_sqlite, sqlite::fresh());
