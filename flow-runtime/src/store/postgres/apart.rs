//! A database beside those that are there, for measuring: nothing that somebody keeps on that server is touched.

use super::open::{self, address, place};
use super::retry::{Patience, in_time};
use super::{PATIENCE, PostgresStore, error};
use crate::store::sql::encode::fresh_name;
use crate::store::{Result, StoreError};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// An empty database of a name that nobody has, on the server of another one.
#[derive(Debug)]
pub struct DatabaseApart {
    /// Of the database that is there.
    there: PgConnectOptions,
    name: String,
}

impl DatabaseApart {
    /// Makes it, on the server of the database at this URL, in which nothing is read or written.
    ///
    /// # Errors
    /// [`StoreError::Backend`] with a sentence, without the password: as [`PostgresStore::open`], or when this user may make no databases.
    pub async fn make(url: &str) -> Result<DatabaseApart> {
        let apart = DatabaseApart { there: address(url)?, name: format!("flow_bench_{:x}", fresh_name()) };
        // Of an encoding that flow takes, whatever is usual on that server.
        let sql =
            format!("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'", apart.name);
        apart.say(&sql).await.map_err(|e| apart.explain("made", &e))?;
        Ok(apart)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A store in it.
    ///
    /// # Errors
    /// As those of [`PostgresStore::open`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(&self) -> Result<PostgresStore> {
        let patience = Patience(PATIENCE);
        Ok(PostgresStore::of(open::open(self.there.clone().database(&self.name), patience).await?, patience))
    }

    /// Drops it, whoever is still connected to it.
    ///
    /// # Errors
    /// [`StoreError::Backend`] with a sentence that names it.
    pub async fn remove(self) -> Result<()> {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        self.say(&sql).await.map_err(|e| self.explain("dropped", &e))
    }

    /// Each by itself: no database is made or dropped in a transaction.
    async fn say(&self, sql: &str) -> sqlx::Result<()> {
        let said = async {
            let mut connection = PgConnection::connect_with(&self.there).await?;
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
            connection.close().await
        };
        in_time(said).await
    }

    fn explain(&self, what: &str, e: &sqlx::Error) -> StoreError {
        let why = error::explain(&place(&self.there), e);
        StoreError::Backend(format!("the database {} could not be {what}: {why}", self.name))
    }
}
