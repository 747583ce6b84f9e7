//! A store in a Postgres database, for many processes on many machines.
//!
//! One connection writes, owned by one background task; a pool of others reads. A commit is one call of a function in the
//! database, so that it costs one way there and back. No prepared statement outlives its transaction, so that a pooler
//! that hands out connections by the transaction (PgBouncer) may stand between.
//!
//! What passes by itself (a lost connection, a restart, a deadlock, a serialization failure, a statement timeout) is tried
//! again for a while before it becomes an error. A commit carries a name of its own: tried again after its answer was lost, it
//! is not applied twice.

mod apart;
mod error;
mod leases;
mod listen;
mod open;
mod retry;
mod writer;

use super::sql::questions::{self, Question};
use super::sql::writer::Writes;
use super::sql::{Database, Failure};
use super::{Renewer, Result, Schema};
pub use apart::DatabaseApart;
use futures::StreamExt as _;
use retry::{Patience, in_time};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgRow};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long what passes by itself is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections that read.
const READERS: u32 = 4;

/// A [`MetadataStore`] in a Postgres database.
///
/// It lives on the tokio runtime in which it was opened. Dropping it lets the writer finish what was handed to it;
/// [`MetadataStore::close`] waits for that.
#[derive(Debug)]
pub struct PostgresStore {
    writes: Writes,
    readers: PgPool,
    options: PgConnectOptions,
    patience: Patience,
    /// Where the database is, without a password.
    place: Arc<str>,
}

impl PostgresStore {
    /// Opens the database at this URL (`postgres://user:password@host/database`, with the parameters of libpq), and brings
    /// an older schema up to date. Its tables are made in the first schema of the search path.
    ///
    /// # Errors
    /// [`StoreError::Backend`] with a sentence, which never holds the password: when the URL is none, the server
    /// cannot be reached, it refuses, the database is in another encoding than UTF-8, or was written by a newer flow.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(url: &str) -> Result<PostgresStore> {
        PostgresStore::open_patiently(url, PATIENCE).await
    }

    /// [`PostgresStore::open`] with another patience with what passes by itself.
    ///
    /// # Errors
    /// As those of [`PostgresStore::open`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open_patiently(url: &str, patience: Duration) -> Result<PostgresStore> {
        let patience = Patience(patience);
        Ok(PostgresStore::of(open::open(open::address(url)?, patience).await?, patience))
    }

    fn of(opened: open::Opened, patience: Patience) -> PostgresStore {
        let writes = Writes::to(opened.writer, opened.place.to_string());
        let (readers, options) = (opened.readers, opened.options);
        PostgresStore { writes, readers, options, patience, place: opened.place }
    }

    /// How far the schema of the database at this URL is. Nothing is changed. What passes by itself is tried again for so long.
    ///
    /// # Errors
    /// As those of [`PostgresStore::open`], save for a newer schema, which is told of.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn schema(url: &str, patience: Duration) -> Result<Schema> {
        open::schema(url, Patience(patience)).await
    }

    async fn ask_once<T: Send>(
        &self,
        question: Question,
        read: &mut (impl FnMut(&PgRow) -> std::result::Result<T, Failure> + Send),
    ) -> std::result::Result<Vec<T>, Failure> {
        let mut transaction = self.readers.begin().await?;
        let mut found = Vec::new();
        let mut rows = questions::bound!(question).persistent(false).fetch(&mut *transaction);
        while let Some(row) = rows.next().await {
            found.push(read(&row?)?);
        }
        drop(rows);
        transaction.commit().await?;
        Ok(found)
    }
}

impl Database for PostgresStore {
    type Row = PgRow;

    const NOW: Option<&'static str> = Some(leases::NOW);

    const SHARES_SLOTS: bool = true;

    fn writes(&self) -> &Writes {
        &self.writes
    }

    fn own_renewer(&self) -> Option<Box<dyn Renewer>> {
        let (options, place) = (self.options.clone(), self.place.clone());
        Some(Box::new(leases::OwnRenewer { options, place, connection: None }))
    }

    fn listen(&self) -> Option<watch::Receiver<()>> {
        Some(listen::listen(self.options.clone()))
    }

    /// Read in a transaction of its own.
    async fn ask<T: Send>(
        &self,
        question: Question,
        mut read: impl FnMut(&PgRow) -> std::result::Result<T, Failure> + Send,
    ) -> Result<Vec<T>> {
        let mut attempts = self.patience.attempts();
        loop {
            match in_time(self.ask_once(question.clone(), &mut read)).await {
                Err(Failure::Sqlx(e)) if attempts.again(&e).await => {}
                answer => return answer.map_err(|failure| failure.told(|e| error::explain(&self.place, e))),
            }
        }
    }

    async fn close_readers(&self) {
        self.readers.close().await;
    }
}
