//! Staging tables of Postgres: their names, and that none is left.

use sha2::{Digest, Sha256};
use sqlx::{PgConnection, query_scalar};

use super::loading::Job;
use super::postgres::{connect, run};
use super::table::{Table, literal};
use crate::settled::leave;

/// How the name of every staging table begins.
const PREFIX: &str = "_flow_data_staging_";

/// The staging table of a load. The same load, tried again, has the same.
#[derive(Debug, Clone)]
pub(super) struct Staging {
    pub(super) table: Table,
    /// How the names of all staging tables for the same table begin.
    family: String,
    /// Who holds this advisory lock may use the table, or drop it.
    lock: i64,
}

impl Staging {
    pub(super) fn new(job: &Job<'_>, target: &Table) -> Self {
        let family = format!("{PREFIX}{:08x}_", hash(&[&target.sql()]) as u32);
        let lock = hash(&[
            &target.sql(),
            job.turn().as_deref().unwrap_or_default(),
            job.options.key.as_deref().unwrap_or_default(),
        ]);
        let table = Table { schema: target.schema.clone(), name: format!("{family}{lock:016x}") };
        Self { table, family, lock }
    }

    /// Takes the lock until the transaction ends.
    pub(super) async fn own(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        run(conn, &format!("SELECT pg_advisory_xact_lock({})", self.lock)).await.map(drop)
    }

    /// Drops what killed loads of the same table left: staging tables that nobody holds the lock of. `but_own`: except
    /// the one that this load will use.
    pub(super) async fn drop_leftovers(&self, conn: &mut PgConnection, but_own: bool) -> sqlx::Result<()> {
        let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r' \
                   AND starts_with(relname::text, $2)";
        let schema = self.table.schema.as_deref().map(super::table::quote).unwrap_or_default();
        let names: Vec<String> = query_scalar(sql).bind(schema).bind(&self.family).fetch_all(&mut *conn).await?;
        for name in names.into_iter().filter(|name| !but_own || *name != self.table.name) {
            let Ok(lock) = u64::from_str_radix(&name[self.family.len()..], 16) else {
                continue;
            };
            let free: bool = query_scalar("SELECT pg_try_advisory_xact_lock($1)")
                .bind(lock.cast_signed())
                .fetch_one(&mut *conn)
                .await?;
            if free {
                let table = Table { schema: self.table.schema.clone(), name };
                tracing::info!("dropping {}, which an interrupted load left", table.sql());
                run(conn, &format!("DROP TABLE IF EXISTS {}", table.sql())).await?;
            }
        }
        Ok(())
    }
}

fn hash(parts: &[&str]) -> i64 {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let bytes = digest.finalize();
    i64::from_be_bytes(std::array::from_fn(|n| bytes[n]))
}

/// The lock that loads take turns by.
pub(super) async fn lock(conn: &mut PgConnection, what: &str) -> sqlx::Result<()> {
    let sql = format!("SELECT pg_advisory_xact_lock(hashtextextended({}, 0))", literal(&format!("flow-data {what}")));
    run(conn, &sql.replace('\0', "/")).await.map(drop)
}

/// Drops a staging table that other connections have seen, when a load ends before its transaction did.
pub(super) struct Cleanup {
    of: Option<(String, Staging)>,
}

impl Cleanup {
    pub(super) fn new(url: &str, staging: &Staging, shared: bool) -> Self {
        Self { of: shared.then(|| (url.to_owned(), staging.clone())) }
    }

    /// The transaction that dropped it has ended.
    pub(super) fn disarm(mut self) {
        self.of = None;
    }

    /// Drops it. The error that led here matters more than one of this; the next load drops what is left.
    pub(super) async fn now(mut self) {
        if let Some((url, staging)) = &self.of {
            let _ = drop_now(url, staging).await;
        }
        // Not before: should this be given up meanwhile, the rest is left to the background.
        self.of = None;
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some((url, staging)) = self.of.take() {
            // What is left all the same, the next load drops.
            leave(async move { drop(drop_now(&url, &staging).await) });
        }
    }
}

async fn drop_now(url: &str, staging: &Staging) -> crate::Result<()> {
    use sqlx::Connection;
    let mut conn = connect(url).await?;
    let failed = super::postgres::failed(url);
    let mut tx = conn.begin().await.map_err(&failed)?;
    // The load that is ending lets go of it when the server has noticed; a new try may have taken it meanwhile, and is
    // waited for: it drops the table itself.
    staging.own(&mut tx).await.map_err(&failed)?;
    run(&mut tx, &format!("DROP TABLE IF EXISTS {}", staging.table.sql())).await.map_err(&failed)?;
    tx.commit().await.map_err(&failed)?;
    conn.close().await.map_err(&failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_where_a_part_ends() {
        assert_eq!(hash(&["a", "bc"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["a", "bc"]), hash(&["ab", "c"]));
        assert_ne!(hash(&["a", ""]), hash(&["a"]));
    }
}
