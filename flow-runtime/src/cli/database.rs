//! `db`: which database it is, how far its schema is, a copy of it.

use super::app::App;
use super::args::Db;
use super::exit::{CliError, Exit, Result};
use super::session;
use crate::store::Schema;
use serde_json::{Value, json};
use std::path::Path;
#[cfg(feature = "postgres")]
use std::time::Duration;

/// How long a database that does not answer is asked again, where a person waits for no more than that.
#[cfg(feature = "postgres")]
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks after the database.
pub fn db(app: &App, args: &Db) -> Result {
    match args {
        Db::Check => check(app),
        Db::Migrate => migrate(app),
        Db::Backup { file } => backup(app, file),
        Db::Clean(args) => super::clean::clean(app, args),
    }
}

/// How far the schema of the database of these settings is; nothing is changed.
pub fn looked_at(app: &App) -> Result<Schema> {
    session::block_on(schema(app))
}

async fn schema(app: &App) -> Result<Schema> {
    if let Some(address) = &app.config.postgres {
        #[cfg(feature = "postgres")]
        return Ok(crate::store::PostgresStore::schema(address.expose(), PATIENCE).await?);
        #[cfg(not(feature = "postgres"))]
        let _ = address;
    }
    #[cfg(feature = "sqlite")]
    if app.config.postgres.is_none() {
        return Ok(crate::store::SqliteStore::schema(&app.config.database()).await?);
    }
    // Says which feature is missing.
    session::open_store(&app.config).await.map(|_| Schema { seen: 0, known: 0 })
}

/// What there is to say about a database that this flow can work with.
pub fn sentence(place: &str, schema: Schema) -> String {
    let Schema { seen, known } = schema;
    match seen {
        0 => format!("{place} (no metadata yet)"),
        _ if schema.is_current() => format!("{place} (schema {seen}, which is current)"),
        _ => format!("{place} (schema {seen}, and this flow knows {known})"),
    }
}

/// The same for programs.
pub fn describe(place: &str, schema: Schema) -> Value {
    json!({
        "place": place,
        "schema": schema.seen,
        "known_schema": schema.known,
        "is_current": schema.is_current(),
    })
}

fn check(app: &App) -> Result {
    let (place, found) = (app.config.records(), looked_at(app)?);
    if app.out.json {
        app.out.json_pretty(&describe(&place, found));
    } else {
        let mark = if found.is_newer() { app.out.paint.bad("✘") } else { app.out.paint.good("✔") };
        app.out.line(format!("{mark} {}", sentence(&place, found)));
    }
    if found.is_newer() {
        return Err(CliError::input("the database was written by a newer flow").hint("update flow"));
    }
    if found.seen > 0 && !found.is_current() {
        app.out.note(format!("`{}` brings it up to date", app.command(&["db", "migrate"])));
        return Ok(Exit::BadInput);
    }
    Ok(Exit::Success)
}

fn migrate(app: &App) -> Result {
    let (before, after) = session::block_on(async {
        let before = schema(app).await?;
        app.store().await?.close().await;
        Ok((before, schema(app).await?))
    })?;
    let place = app.config.records();
    if app.out.json {
        let mut described = describe(&place, after);
        described["schema_before"] = before.seen.into();
        app.out.json_pretty(&described);
    } else if before == after {
        app.out.line(format!("{}: nothing to do", sentence(&place, after)));
    } else {
        app.out.line(format!("{place}: brought from schema {} to {}", before.seen, after.seen));
    }
    Ok(Exit::Success)
}

fn backup(app: &App, file: &Path) -> Result {
    if app.config.postgres.is_some() {
        return Err(CliError::input("a Postgres is copied by its own tools, which this program does not replace")
            .hint(format!(
                "pg_dump --format=custom --file={} \"$FLOW_DATABASE\"",
                crate::quote::quoted(&file.display().to_string())
            ))
            .hint("and put back by pg_restore, while no scheduler runs"));
    }
    let from = app.config.database();
    if !from.exists() {
        return Err(CliError::input("there is no metadata to be copied yet").hint(app.config.records()));
    }
    copy(&from, file)?;
    let size = file.metadata().map_or(0, |found| found.len());
    if app.out.json {
        app.out.json_pretty(&json!({"file": file, "bytes": size}));
    } else {
        app.out.line(format!("{} ({:.1} MB)", file.display(), size as f64 / 1e6));
        app.out.note(
            "values over 16 KiB and logs are not in it: copy the folders `xcom` and `logs` of the home folder as well",
        );
    }
    Ok(Exit::Success)
}

#[cfg(feature = "sqlite")]
fn copy(from: &Path, to: &Path) -> Result<()> {
    session::block_on(async { Ok(crate::store::SqliteStore::backup(from, to).await?) })
}

#[cfg(not(feature = "sqlite"))]
fn copy(_: &Path, _: &Path) -> Result<()> {
    Err(CliError::input("this program was built without SQLite"))
}
