//! Looking after a file: how far its schema is, a copy of it.

use super::{SqliteStore, error, open};
use crate::store::{Result, Schema, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::path::Path;

impl SqliteStore {
    /// How far the schema of this file is. Nothing is changed; a file that is not there has seen nothing.
    ///
    /// # Errors
    /// [`StoreError::Backend`] with a sentence if it cannot be read, or is no database of flow.
    pub async fn schema(path: &Path) -> Result<Schema> {
        if !path.exists() {
            return Ok(Schema { seen: 0, known: open::known() });
        }
        let mut connection = connect(path).await?;
        let seen = open::seen(&mut connection, path).await.map_err(|e| e.told(|e| error::explain(path, e)))?;
        connection.close().await.map_err(|e| error::explain(path, &e))?;
        Ok(Schema { seen, known: open::known() })
    }

    /// Writes a copy of this database into a new file, while others use it: what was committed before is in it. It is there
    /// whole or not at all, and survives a power cut once this has returned.
    ///
    /// # Errors
    /// [`StoreError::Backend`] with a sentence if the database cannot be read, or if the copy is there already or cannot be
    /// written.
    pub async fn backup(path: &Path, to: &Path) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| {
            StoreError::Backend(format!("the copy {} cannot be written: {e}", to.display()))
        };
        if to.exists() {
            return Err(failed(&"there is a file of that name: choose another"));
        }
        let mut connection = connect(path).await?;
        open::seen(&mut connection, path).await.map_err(|e| e.told(|e| error::explain(path, e)))?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let beside = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
        let Some(name) = beside.path().to_str() else { return Err(failed(&"its path is not UTF-8")) };
        let copied = sqlx::query("VACUUM INTO ?").bind(name.to_owned()).execute(&mut connection).await;
        copied.map_err(|e| failed(&error::explain(path, &e)))?;
        connection.close().await.map_err(|e| error::explain(path, &e))?;
        beside.as_file().sync_all().map_err(|e| failed(&e))?;
        beside.persist_noclobber(to).map_err(|e| failed(&e.error))?;
        if cfg!(unix) {
            std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(&e))?;
        }
        Ok(())
    }
}

async fn connect(path: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(super::BUSY_TIMEOUT);
    options.disable_statement_logging().connect().await.map_err(|e| error::explain(path, &e))
}
