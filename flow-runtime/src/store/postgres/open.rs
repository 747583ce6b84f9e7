//! Opening a database: the address, checks, the schema.

use super::error;
use super::retry::{Patience, in_time};
use super::writer::Writer;
use crate::store::{Result, Schema, StoreError, faulty};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Row};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// The schema, step by step; the table `flow_schema` says how many of them a database has seen. Never edit one that was
/// released: add one.
const MIGRATIONS: [&str; 5] = [
    include_str!("../../../migrations/postgres/0001_first.sql"),
    include_str!("../../../migrations/postgres/0002_dag.sql"),
    include_str!("../../../migrations/postgres/0003_time.sql"),
    include_str!("../../../migrations/postgres/0004_order.sql"),
    include_str!("../../../migrations/postgres/0005_ending.sql"),
];

/// What the store asks for: put into a database that has not seen all steps, or has an earlier edition of it. One that has a later
/// edition keeps that: it answers all that this one does, as long as the schema is the same.
const FUNCTIONS: &str = include_str!("../../../migrations/postgres/functions.sql");

/// Which edition of the functions this is, as they say themselves: one more with each change of them.
const EDITION: i64 = 5;

/// The advisory lock under which the schema is changed: "flow" in ASCII.
const SCHEMA_LOCK: i64 = 0x666c_6f77;

/// The isolation that the functions of the schema are written for.
const READ_COMMITTED: &str = "read committed";

/// How long to wait for a connection of the pool.
const ACQUIRE: Duration = Duration::from_secs(10);

pub(super) struct Opened {
    pub(super) place: Arc<str>,
    pub(super) writer: Writer,
    pub(super) readers: PgPool,
    pub(super) options: PgConnectOptions,
}

pub(super) async fn open(options: PgConnectOptions, patience: Patience) -> Result<Opened> {
    let place: Arc<str> = place(&options).into();
    let mut attempts = patience.attempts();
    let prepared = loop {
        match in_time(prepare(&options)).await {
            Err(e) if !is_refused(&e) && attempts.again(&e).await => {}
            answer => break answer,
        }
    };
    let connection = prepared.map_err(|e| error::explain(&place, &e))?.map_err(|what| wrong(&place, &what))?;
    let readers = PgPoolOptions::new()
        .max_connections(super::READERS)
        .acquire_timeout(ACQUIRE)
        .connect_lazy_with(options.clone());
    let writer = Writer::new(place.clone(), options.clone(), connection, patience);
    Ok(Opened { place, writer, readers, options })
}

/// Nobody listens there: at the start that is rather a wrong address than a server that restarts.
fn is_refused(e: &sqlx::Error) -> bool {
    matches!(e, sqlx::Error::Io(e) if e.kind() == ErrorKind::ConnectionRefused)
}

fn wrong(place: &str, what: &str) -> StoreError {
    StoreError::Backend(format!("the metadata database {place} {what}"))
}

pub(super) fn address(url: &str) -> Result<PgConnectOptions> {
    let wrong = |why: &str| {
        let example = "postgres://user:password@host:5432/database";
        StoreError::Backend(format!("the address of the metadata database {why}: write it like {example}"))
    };
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("postgres" | "postgresql")) {
        return Err(wrong("does not begin with postgres://"));
    }
    // What the parser says may hold a part of the password.
    let options: PgConnectOptions = url.parse().map_err(|_| wrong("cannot be read"))?;
    // Values are in the statements: what nobody logs cannot leak. A pooler refuses what it does not know of at the start of a
    // connection (floats are none of our types), and gives a prepared statement to the next client's transaction.
    Ok(options
        .application_name("flow")
        .extra_float_digits(None)
        .statement_cache_capacity(0)
        .disable_statement_logging())
}

/// Where it is, for people; without a password.
pub(super) fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{database} at {}", socket.display()),
        None => format!("{database} at {}:{}", options.get_host(), options.get_port()),
    }
}

/// A connection to a database of the present schema; or why it cannot be one.
async fn prepare(options: &PgConnectOptions) -> sqlx::Result<std::result::Result<PgConnection, String>> {
    let mut connection = PgConnection::connect_with(options).await?;
    let mut transaction = connection.begin().await?;
    let about = "SELECT current_setting('server_encoding'), current_setting('transaction_isolation')";
    let row = sqlx::query(about).persistent(false).fetch_one(&mut *transaction).await?;
    let (encoding, isolation): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    if isolation != READ_COMMITTED {
        return Ok(Err(format!(
            "isolates transactions by `{isolation}`, and what was waited for would not be seen: set \
             default_transaction_isolation to '{READ_COMMITTED}' for this user"
        )));
    }
    if encoding != "UTF8" {
        return Ok(Err(format!("is in the encoding {encoding}: make one in UTF8")));
    }
    let is_current = has_schema(&mut transaction).await? && seen(&mut transaction).await? == MIGRATIONS.len();
    if is_current && edition(&mut transaction).await? >= EDITION {
        transaction.commit().await?;
        return Ok(Ok(connection));
    }
    // Several processes may start at the same time: what there is is looked at once more when it is this one's turn.
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").persistent(false);
    lock.bind(SCHEMA_LOCK).execute(&mut *transaction).await?;
    let is_there = has_schema(&mut transaction).await?;
    let seen = if is_there { seen(&mut transaction).await? } else { 0 };
    let known = MIGRATIONS.len();
    if seen > known {
        return Ok(Err(format!(
            "was written by a newer flow (its schema is {seen}, this flow knows {known}): update flow"
        )));
    }
    if !is_there {
        sqlx::raw_sql("CREATE TABLE flow_schema (version BIGINT NOT NULL)").execute(&mut *transaction).await?;
        sqlx::raw_sql("INSERT INTO flow_schema VALUES (0)").execute(&mut *transaction).await?;
    }
    keep_together(&mut transaction).await?;
    if seen < known || edition(&mut transaction).await? < EDITION {
        for (number, step) in (1..).zip(MIGRATIONS.into_iter().chain([FUNCTIONS])).skip(seen) {
            faulty::passes("migrate", number, "before");
            sqlx::raw_sql(step).execute(&mut *transaction).await?;
        }
        let stamp = sqlx::query("UPDATE flow_schema SET version = $1").persistent(false);
        stamp.bind(known as i64).execute(&mut *transaction).await?;
    }
    faulty::passes("migrated", 1, "before");
    transaction.commit().await?;
    faulty::passes("migrated", 1, "after");
    // By the search path of everybody.
    let mut transaction = connection.begin().await?;
    let hides = edition(&mut transaction).await? < EDITION;
    transaction.commit().await?;
    if hides {
        return Ok(Err("has functions of an earlier flow in another schema, which comes first in the search path of this user and hides \
             those that are with the tables: drop there what is called flow_.., or put that schema behind"
            .into()));
    }
    Ok(Ok(connection))
}

/// How far the schema is; nothing is changed.
pub(super) async fn schema(url: &str, patience: Patience) -> Result<Schema> {
    let options = address(url)?;
    let mut attempts = patience.attempts();
    let looked = async || {
        let mut connection = PgConnection::connect_with(&options).await?;
        // In a transaction: a pooler may give each statement another connection.
        let mut transaction = connection.begin().await?;
        let seen = if has_schema(&mut transaction).await? { seen(&mut transaction).await? } else { 0 };
        transaction.commit().await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(seen as u64)
    };
    loop {
        match in_time(looked()).await {
            Err(e) if !is_refused(&e) && attempts.again(&e).await => {}
            Err(e) => return Err(error::explain(&place(&options), &e)),
            Ok(seen) => return Ok(Schema { seen, known: MIGRATIONS.len() as u64 }),
        }
    }
}

/// Is the table there that says how many migrations the database has seen?
async fn has_schema(connection: &mut PgConnection) -> sqlx::Result<bool> {
    // Asked of the table of tables: `to_regclass` answers from what this connection remembers, which may be that there was none
    // before it waited for its turn.
    let about = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'flow_schema' AND pg_table_is_visible(oid))";
    sqlx::query(about).persistent(false).fetch_one(connection).await?.try_get(0)
}

/// To the end of the transaction, what is made is made in the schema of the tables: another one may come first in the search path,
/// and what is in it would hide what is with the tables.
async fn keep_together(connection: &mut PgConnection) -> sqlx::Result<()> {
    let stay = "SELECT set_config('search_path', quote_ident(nspname), true)
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relname = 'flow_schema' AND pg_table_is_visible(pg_class.oid)";
    sqlx::query(stay).persistent(false).execute(connection).await.map(drop)
}

/// Which edition of the functions the database has; 0 for those that did not say so yet, and for none.
async fn edition(connection: &mut PgConnection) -> sqlx::Result<i64> {
    let about = "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = 'flow_edition' AND pg_function_is_visible(oid))";
    if !sqlx::query(about).persistent(false).fetch_one(&mut *connection).await?.try_get::<bool, _>(0)? {
        return Ok(0);
    }
    sqlx::query("SELECT flow_edition()").persistent(false).fetch_one(connection).await?.try_get(0)
}

/// How many migrations the database has seen.
async fn seen(connection: &mut PgConnection) -> sqlx::Result<usize> {
    let row = sqlx::query("SELECT version FROM flow_schema").persistent(false).fetch_one(connection).await?;
    let version: i64 = row.try_get(0)?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// Whoever changes the functions says so, by one edition more; else a database that has them keeps the old ones.
    #[test]
    fn each_change_of_the_functions_is_an_edition() {
        let sum: String = Sha256::digest(FUNCTIONS)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (EDITION, sum.as_str()),
            (5, "80dcf5f50fbdeff9"),
            "raise EDITION, and what flow_edition() says; then note the sum here"
        );
        assert!(FUNCTIONS.contains(&format!("AS $$ SELECT {EDITION}::BIGINT $$")), "flow_edition() says another");
    }
}
