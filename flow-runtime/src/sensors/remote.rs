//! Waiting for objects, servers and rows.
//!
//! What cannot be reached, or is busy, is not there yet: the next look follows. What is refused fails the try at once.

use crate::connection::Place;
use crate::context::Context;
use crate::error::{Result, TaskError};
use crate::operators::{Connection, Http};
use crate::sensor;
use chrono::{DateTime, Utc};
use flow_data::{Error, Lake, Object, redact};
use serde_json::Value;
use std::time::Duration;

/// How long one look waits for a store that cannot be reached: it has a slot meanwhile, and the next look waits without one.
const PATIENCE: Duration = Duration::from_secs(3);

/// The lake to look into.
fn lake(place: &Place) -> Lake {
    place.lake().with_patience(PATIENCE)
}

/// What was seen, or nothing yet where nothing could be.
fn seen<T>(looked: flow_data::Result<T>) -> Result<Option<T>> {
    match looked {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if is_not_there(&error) => {
            tracing::info!("not there yet: {error}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Can it not be reached for now, or has nobody made the database's file yet?
fn is_not_there(error: &Error) -> bool {
    // The words of SQLite and Postgres, and of their driver where no server answers. What else a database says is about the query,
    // which would be waited for in vain; a file that is not there is waited for here alone.
    const WORDS: [&str; 8] = [
        "unable to open database file",
        "database is locked",
        "error communicating with database",
        "the database system is",
        "terminating connection",
        "too many clients",
        "too many connections",
        "remaining connection slots",
    ];
    match error {
        // BigQuery tells what is busy or not reached from what it refuses.
        Error::Database { url, permanent: false, .. } if url.starts_with("bigquery:") => true,
        Error::Database { message, .. } => WORDS.iter().any(|words| message.contains(words)),
        Error::Cancelled => false,
        other => !other.is_permanent(),
    }
}

/// Waits for an object in a store (`gs://bucket/key`, `s3://..`, `az://..`, `file://..`, `conn:lake/key`), and gives its URL. Whose rights it has
/// is what a connection or the environment says, as for [`Lake`]. A store that cannot be reached, or is busy, has it not yet.
///
/// # Errors
/// A URL that is no store's; a store that refuses.
#[sensor]
pub async fn object_exists(ctx: &Context, url: String) -> Result<Option<String>> {
    let place = ctx.place(&url)?;
    let size = seen(lake(&place).size(place.url()).await)?;
    Ok(size.flatten().map(|bytes| {
        tracing::info!(bytes, "{} is there", place.shown());
        redact(place.url())
    }))
}

/// Waits for objects whose URLs begin with this and that were written since the data interval of the run began (by the store's
/// clock), and gives them all, in the order of their names. A run that is about no date (one by hand without a logical date, one
/// that an asset has started) takes any: its interval is the instant in which it was made.
///
/// # Errors
/// As those of [`object_exists`].
#[sensor]
pub async fn new_objects(ctx: &Context, prefix: String) -> Result<Option<Vec<Object>>> {
    let about_a_date = ctx.logical_date().is_some();
    let since = ctx.data_interval().filter(|span| about_a_date || span.start < span.end).map(|span| span.start);
    written_since(ctx, &prefix, since).await
}

/// [`new_objects`] since another instant: `2026-01-31`, or with a time.
///
/// # Errors
/// As those of [`object_exists`]; a date that is none.
#[sensor]
pub async fn objects_since(ctx: &Context, prefix: String, since: String) -> Result<Option<Vec<Object>>> {
    let since = flow_core::parse::date(&since).map_err(TaskError::fail)?;
    written_since(ctx, &prefix, Some(since)).await
}

async fn written_since(ctx: &Context, prefix: &str, since: Option<DateTime<Utc>>) -> Result<Option<Vec<Object>>> {
    let place = ctx.place(prefix)?;
    let Some(mut found) = seen(lake(&place).list(place.url()).await)? else { return Ok(None) };
    found.retain(|object| since.is_none_or(|since| object.modified >= since));
    tracing::info!(objects = found.len(), "looked at {}", place.shown());
    Ok(Some(found).filter(|found| !found.is_empty()))
}

/// Waits until a table has so many rows at least, and gives how many it has. A table that is not there has none, nor has one in a
/// database that cannot be reached.
///
/// # Errors
/// The database refuses.
#[sensor]
pub async fn row_count(ctx: &Context, database: Connection, table: String, at_least: u64) -> Result<Option<u64>> {
    let counted = ctx.place(database.expose())?.warehouse()?.count(&table, None).await;
    let Some(rows) = seen(counted)? else { return Ok(None) };
    tracing::info!("`{table}` has {}", rows.map_or("not been made".into(), |rows| format!("{rows} rows")));
    Ok(rows.filter(|rows| *rows >= at_least))
}

/// Waits until a table has rows with this value in this column: a day that has been loaded, say. Gives how many. A database that
/// cannot be reached has none yet.
///
/// # Errors
/// There is no such column; the database refuses.
#[sensor]
pub async fn partition_present(
    ctx: &Context,
    database: Connection,
    table: String,
    column: String,
    value: String,
) -> Result<Option<u64>> {
    let warehouse = ctx.place(database.expose())?.warehouse()?;
    let rows = seen(warehouse.count(&table, Some((&column, &value))).await)?;
    Ok(rows.flatten().filter(|rows| *rows > 0))
}

/// Waits until a `GET` of this URL is answered by a status from 200 to 299. See [`http_with`].
///
/// # Errors
/// As those of [`http_with`].
#[sensor]
pub async fn http(ctx: &Context, url: String) -> Result<bool> {
    answers(ctx, &Http::get(url), "").await
}

/// Waits until a request is answered as it expects, and the answer contains this text (`""` for any answer). A server that cannot be
/// reached, or answers with another status, is not there yet; one that answers 401 or 403 will not be.
///
/// # Errors
/// Those two; a URL, method or header that is none; an answer that is too large.
#[sensor]
pub async fn http_with(ctx: &Context, request: Http, contains: String) -> Result<bool> {
    answers(ctx, &request, &contains).await
}

async fn answers(ctx: &Context, request: &Http, contains: &str) -> Result<bool> {
    let reply = match request.exchange(ctx, &[]).await {
        Ok(reply) => reply,
        Err(error) => match error.downcast_ref::<Error>() {
            Some(Error::Request { .. }) => {
                tracing::info!("not there yet: {error}");
                return Ok(false);
            }
            _ => return Err(error),
        },
    };
    if !request.is_expected(reply.status) {
        let error = request.status_error(&reply);
        if matches!(reply.status, 401 | 403) {
            return Err(error.into());
        }
        tracing::info!("not there yet: {error}");
        return Ok(false);
    }
    let there = String::from_utf8_lossy(&reply.body).contains(contains);
    if !there {
        tracing::info!("not there yet: {} does not say `{}`", redact(&request.url), contains);
    }
    Ok(there)
}

/// Waits until the first value of the first row that a query gives is something: not null, not false, not 0, and no empty text.
/// Whatever the query writes is taken back. A database that cannot be reached, or whose file is not there, is not there yet.
///
/// # Errors
/// The database refuses.
#[sensor]
pub async fn sql(ctx: &Context, connection: Connection, query: String) -> Result<bool> {
    let answer = seen(ctx.place(connection.expose())?.warehouse()?.ask(&query).await)?;
    Ok(answer.is_some_and(|answer| answer.first().is_some_and(is_something)))
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        // A `numeric` is a text, with as many zeros as its column has places.
        Value::String(text) => {
            let zeros = text.strip_prefix("0.").unwrap_or_default();
            !(text.is_empty() || text == "0" || (!zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0')))
        }
        Value::Array(_) | Value::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_may_pass_is_waited_for() {
        let database =
            |message: &str, permanent| Error::Database { url: String::new(), message: message.into(), permanent };
        let store = |permanent| Error::Store { url: String::new(), message: String::new(), permanent };
        let status = |status| Error::Status { status, url: String::new(), hint: String::new() };
        assert!(is_not_there(&store(false)) && !is_not_there(&store(true)));
        assert!(is_not_there(&status(503)) && !is_not_there(&status(403)));
        assert!(is_not_there(&database("unable to open database file", true)));
        assert!(is_not_there(&database("the database system is starting up", false)));
        let bigquery = |permanent| Error::Database {
            url: "bigquery://p/d".into(),
            message: "the server answered 503 (backendError)".into(),
            permanent,
        };
        assert!(is_not_there(&bigquery(false)) && !is_not_there(&bigquery(true)));
        let strange = "cannot execute CREATE TABLE in a read-only transaction";
        assert!(!is_not_there(&database(strange, false)) && !is_not_there(&Error::Cancelled));
    }

    #[test]
    fn nothing_is_null_false_zero_or_empty() {
        for nothing in [json!(null), json!(false), json!(0), json!(0.0), json!(""), json!("0"), json!("0.00")] {
            assert!(!is_something(&nothing), "{nothing}");
        }
        for something in [json!(true), json!(-1), json!(0.1), json!("no"), json!("0.01"), json!("0."), json!([])] {
            assert!(is_something(&something), "{something}");
        }
    }
}
