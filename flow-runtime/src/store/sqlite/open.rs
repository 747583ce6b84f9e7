//! Opening the file: checks, WAL mode, schema.

use super::error;
use super::writer::Writer;
use super::{Durability, READERS, statements};
use crate::store::sql::Failure;
use crate::store::{Result, StoreError, faulty};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection, SqlitePool};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The schema, step by step; a database's `user_version` says how many of them it has seen. Never edit one that was
/// released: add one.
const MIGRATIONS: [&str; 6] = [
    include_str!("../../../migrations/sqlite/0001_first.sql"),
    include_str!("../../../migrations/sqlite/0002_dag.sql"),
    include_str!("../../../migrations/sqlite/0003_time.sql"),
    include_str!("../../../migrations/sqlite/0004_order.sql"),
    include_str!("../../../migrations/sqlite/0005_rate.sql"),
    include_str!("../../../migrations/sqlite/0006_ending.sql"),
];

/// `application_id` of a database of flow: "flow" in ASCII.
const APPLICATION_ID: i64 = 0x666c_6f77;

/// Time between two attempts to switch a file to WAL mode, which SQLite itself does not wait for.
const WAL_RETRY: Duration = Duration::from_millis(20);

pub(super) struct Opened {
    pub(super) path: Arc<PathBuf>,
    pub(super) writer: Writer,
    pub(super) readers: SqlitePool,
}

pub(super) async fn open(path: &Path, durability: Durability, busy_timeout: Duration) -> Result<Opened> {
    // Absolute, so that a later change of the working folder moves nothing, and no name looks like a `file:` URI.
    let path = std::path::absolute(path).map_err(|e| no_folder(path, &e))?;
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(|e| no_folder(&path, &e))?;
    }
    let basic = basic(&path, busy_timeout);
    let writing = writing(&basic, durability);
    let mut connection = SqliteConnection::connect_with(&writing).await.map_err(|e| error::explain(&path, &e))?;
    prepare(&mut connection, &path, busy_timeout).await.map_err(|e| e.told(|e| error::explain(&path, e)))?;
    arm(&mut connection).await.map_err(|e| error::explain(&path, &e))?;

    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .test_before_acquire(false) // a hop to another thread, and the file does not hang up
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(basic.pragma("query_only", "ON"));
    let path = Arc::new(path);
    let writer = Writer::new(path.clone(), writing, connection);
    Ok(Opened { path, writer, readers })
}

fn basic(path: &Path, busy_timeout: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(busy_timeout)
        .foreign_keys(true)
        // Statements are SQL without values, but thousands a second of them; and what nobody logs cannot leak.
        .disable_statement_logging()
}

fn writing(basic: &SqliteConnectOptions, durability: Durability) -> SqliteConnectOptions {
    (basic.clone().create_if_missing(true))
        .synchronous(match durability {
            Durability::Process => SqliteSynchronous::Normal,
            Durability::Power => SqliteSynchronous::Full,
        })
        .pragma("cache_size", "-16000") // KiB; the default of 2 MB spills large commits early
        .pragma("temp_store", "MEMORY")
        .pragma("journal_size_limit", "67108864") // bytes; a log grown by a large commit is cut again
}

/// A connection with all settings of the one that writes, and nothing else.
pub(super) async fn bare(path: &Path, durability: Durability) -> Result<SqliteConnection> {
    let options = writing(&basic(path, super::BUSY_TIMEOUT), durability);
    let connected = SqliteConnection::connect_with(&options.journal_mode(SqliteJournalMode::Wal)).await;
    connected.map_err(|e| error::explain(path, &e))
}

/// A connection that can run [`statements`].
pub(super) async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let mut connection = SqliteConnection::connect_with(options).await?;
    arm(&mut connection).await?;
    Ok(connection)
}

/// Makes the temporary views and triggers that commits, and what is to be started, go through.
async fn arm(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    for view in [statements::COMMIT_VIEW, statements::SLOT_VIEW] {
        sqlx::raw_sql(view).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn prepare(
    connection: &mut SqliteConnection,
    path: &Path,
    patience: Duration,
) -> std::result::Result<(), Failure> {
    // Looked at before anything is changed: a file of somebody else stays as it is.
    let found = version(connection, path).await?;
    enter_wal(connection, patience).await?;
    if found == MIGRATIONS.len() {
        return Ok(());
    }
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let done = migrate(connection, path).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = sqlx::raw_sql(end).execute(connection).await;
    done?;
    ended?;
    faulty::passes("migrated", 1, "after");
    Ok(())
}

/// Inside a transaction: applies the steps that are missing.
async fn migrate(connection: &mut SqliteConnection, path: &Path) -> std::result::Result<(), Failure> {
    // Asked again now that nobody else can write: another process may have been faster.
    let found = version(connection, path).await?;
    for (number, step) in (1..).zip(MIGRATIONS).skip(found) {
        faulty::passes("migrate", number, "before");
        sqlx::raw_sql(step).execute(&mut *connection).await?;
    }
    // PRAGMA takes no parameters; both numbers are constants.
    let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}", MIGRATIONS.len());
    sqlx::raw_sql(AssertSqlSafe(stamp)).execute(connection).await?;
    faulty::passes("migrated", 1, "before");
    Ok(())
}

/// How many migrations there are.
pub(super) fn known() -> u64 {
    MIGRATIONS.len() as u64
}

/// How many migrations the file has seen; an error if it is not flow's.
pub(super) async fn seen(connection: &mut SqliteConnection, path: &Path) -> std::result::Result<u64, Failure> {
    let sql = "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema) \
               FROM pragma_user_version, pragma_application_id";
    let row = sqlx::query(sql).persistent(false).fetch_one(connection).await?;
    let (version, application, objects): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if version == 0 && application == 0 && objects == 0 {
        return Ok(0);
    }
    if application != APPLICATION_ID {
        let text = format!("{} is a SQLite database, but not one of flow: choose another file", path.display());
        return Err(StoreError::Backend(text).into());
    }
    Ok(u64::try_from(version).unwrap_or(u64::MAX))
}

/// The same; an error if it is a newer flow's as well.
async fn version(connection: &mut SqliteConnection, path: &Path) -> std::result::Result<usize, Failure> {
    let version = seen(connection, path).await?;
    let (file, known) = (path.display(), known());
    match usize::try_from(version) {
        Ok(seen) if version <= known => Ok(seen),
        _ => Err(StoreError::Backend(format!(
            "the metadata database {file} was written by a newer flow (its schema is {version}, this flow knows {known}): \
             update flow, or choose another file"
        ))
        .into()),
    }
}

/// Switches the file to WAL mode, once for ever. SQLite's busy timeout does not cover this: two processes that make the
/// same file at the same time would see BUSY.
async fn enter_wal(connection: &mut SqliteConnection, patience: Duration) -> std::result::Result<(), Failure> {
    let mut attempts = patience.as_millis() / WAL_RETRY.as_millis();
    loop {
        let mode = sqlx::query("PRAGMA journal_mode = WAL").persistent(false).fetch_all(&mut *connection).await;
        match mode {
            Ok(rows) => {
                let mode: String = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
                if mode.eq_ignore_ascii_case("wal") {
                    return Ok(());
                }
                let text = format!(
                    "SQLite cannot keep a write-ahead log here (its journal mode stays `{mode}`): choose a file on a local disk"
                );
                return Err(StoreError::Backend(text).into());
            }
            Err(e) if error::is_busy(&e) && attempts > 0 => attempts -= 1,
            Err(e) => return Err(e.into()),
        }
        tokio::time::sleep(WAL_RETRY).await;
    }
}

fn no_folder(path: &Path, e: &std::io::Error) -> StoreError {
    StoreError::Backend(format!(
        "the folder of the metadata database {} cannot be made: see that this user may write there, or choose another file ({e})",
        path.display()
    ))
}
