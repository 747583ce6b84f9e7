//! What Postgres answers, in sentences that say which database, what is wrong and what to try.

use crate::store::StoreError;
use sqlx::Error;
use sqlx::postgres::PgDatabaseError;

/// The commit function raised it: an epoch is old, or there is no such run.
const FENCED: &str = "FL001";
/// The commit function raised it: something would come where it cannot come by itself.
const ILLEGAL: &str = "FL002";

// Error codes; see the appendix of PostgreSQL's manual.
const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK: &str = "40P01";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const QUERY_CANCELED: &str = "57014";
const IDLE_IN_TRANSACTION: &str = "25P03";
const TOO_MANY_CONNECTIONS: &str = "53300";
const READ_ONLY: &str = "25006";
const DISK_FULL: &str = "53100";
const WRONG_PASSWORD: [&str; 2] = ["28P01", "28000"];
const NO_SUCH_DATABASE: &str = "3D000";
const NO_PRIVILEGE: &str = "42501";

/// Postgres' code of what it answered.
pub(super) fn code(e: &Error) -> Option<String> {
    e.as_database_error()?.code().map(Into::into)
}

/// A later attempt may go well: the connection is gone, the server restarts or hands over, somebody else was in the way.
pub(super) fn passes(e: &Error) -> bool {
    match e {
        Error::Io(_) | Error::PoolTimedOut | Error::Protocol(_) | Error::WorkerCrashed => true,
        _ => code(e).is_some_and(|code| {
            // Class 08: the connection; 57P0x: the server restarts, or ended an idle connection.
            code.starts_with("08")
                || code.starts_with("57P0")
                || [
                    SERIALIZATION_FAILURE,
                    DEADLOCK,
                    LOCK_NOT_AVAILABLE,
                    QUERY_CANCELED,
                    IDLE_IN_TRANSACTION,
                    TOO_MANY_CONNECTIONS,
                    READ_ONLY,
                ]
                .contains(&&*code)
        }),
    }
}

/// The connection may be used no more.
pub(super) fn loses_connection(e: &Error) -> bool {
    match code(e) {
        Some(code) => {
            code.starts_with("08") || code.starts_with("57P") || code == READ_ONLY || code == IDLE_IN_TRANSACTION
        }
        None => true,
    }
}

/// The guard of a commit raised it.
pub(super) fn is_fenced(e: &Error) -> bool {
    code(e).is_some_and(|code| code == FENCED)
}

/// A smaller transaction, or one without the culprit, may still succeed: data that Postgres refuses (class 22), a constraint
/// (class 23), a limit (class 54), or the guard.
pub(super) fn is_about_content(e: &Error) -> bool {
    let spoils = |code: String| code == ILLEGAL || ["22", "23", "54"].iter().any(|class| code.starts_with(class));
    is_fenced(e) || code(e).is_some_and(spoils)
}

/// The error as a sentence. Of Postgres' own only the message is told: its details may hold values.
pub(super) fn explain(place: &str, e: &Error) -> StoreError {
    let said = match e.as_database_error().and_then(|d| d.try_downcast_ref::<PgDatabaseError>()) {
        Some(database) => database.message().to_owned(),
        None => e.to_string(),
    };
    let code = code(e);
    let text = match code.as_deref() {
        Some(ILLEGAL) => return StoreError::IllegalMove(said),
        Some(code) if WRONG_PASSWORD.contains(&code) => {
            format!("the metadata database {place} does not let this user in: check user and password ({said})")
        }
        Some(NO_SUCH_DATABASE) => {
            format!("the metadata database {place} does not exist: make it by `createdb` ({said})")
        }
        Some(NO_PRIVILEGE) => format!(
            "the metadata database {place} does not allow it: give this user the right to make tables in its schema, or bring it up to date by `dags db migrate` as the one who owns what flow has there ({said})"
        ),
        Some(TOO_MANY_CONNECTIONS) => {
            format!(
                "the metadata database {place} has no connection left: raise max_connections, or put a pooler before it"
            )
        }
        Some(READ_ONLY) => {
            format!("the metadata database {place} is a standby: name the server that may be written to")
        }
        Some(DISK_FULL) => format!("there is no room on the disk of the metadata database {place}: make room ({said})"),
        Some(QUERY_CANCELED) => format!(
            "the metadata database {place} gave up what took longer than its statement_timeout: raise it for this user ({said})"
        ),
        Some(code) => format!("the metadata database {place}: {said} (code {code})"),
        None => match e {
            Error::Io(_) | Error::PoolTimedOut => {
                format!(
                    "the metadata database {place} cannot be reached: see that it runs, and that the address is right ({said})"
                )
            }
            Error::Tls(_) => format!("the metadata database {place}: no secure connection: {said}"),
            Error::PoolClosed | Error::WorkerCrashed => format!("the metadata database {place} was closed"),
            Error::ColumnDecode { .. } | Error::Decode(_) => return StoreError::Corrupt(format!("{place}: {said}")),
            _ => format!("the metadata database {place}: {said}"),
        },
    };
    StoreError::Backend(text)
}
