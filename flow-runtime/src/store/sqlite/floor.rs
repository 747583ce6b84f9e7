//! What the smallest commits cost by themselves: the floor that a durable run is measured against.

use super::{Durability, open};
use crate::store::{Result, StoreError};
use std::path::Path;
use std::time::{Duration, Instant};

/// The time of so many commits of one small row each, one after the other, into a new file here with the settings of the
/// store.
///
/// # Errors
/// As [`SqliteStore::open`](super::SqliteStore::open).
pub async fn bare_commits(path: &Path, durability: Durability, commits: u64) -> Result<Duration> {
    let failed = |e: sqlx::Error| StoreError::Backend(e.to_string());
    let mut connection = open::bare(path, durability).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS floor (n INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        .execute(&mut connection)
        .await
        .map_err(failed)?;
    let began = Instant::now();
    for n in 0..commits {
        let row = sqlx::query("INSERT OR REPLACE INTO floor VALUES (?, 'success')").bind(n.cast_signed());
        row.execute(&mut connection).await.map_err(failed)?;
    }
    let took = began.elapsed();
    sqlx::Connection::close(connection).await.map_err(failed)?;
    Ok(took)
}
