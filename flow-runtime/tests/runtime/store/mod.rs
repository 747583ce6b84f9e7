//! Every store, by one suite.

mod postgres;
mod sqlite;

async fn memory() -> Option<(flow_runtime::store::MemoryStore, ())> {
    Some((flow_runtime::store::MemoryStore::new(), ()))
}

flow_runtime::store_conformance!(in_memory, memory());
flow_runtime::store_conformance!(in_sqlite, async { Some(sqlite::fresh().await) });
flow_runtime::store_conformance!(in_postgres, postgres::fresh());
flow_runtime::store_conformance!(in_postgres_behind_pgbouncer, postgres::fresh_behind_pooler());
