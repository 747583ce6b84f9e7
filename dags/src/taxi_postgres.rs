//! New York's yellow taxi trips: web -> CSV -> Postgres, by COPY.

use crate::source::{Columns, SAMPLE};
use flow_runtime::data::{Download, LoadReport, Loaded, Summary};
use flow_runtime::operators::Connection;
use flow_runtime::prelude::*;
use flow_runtime::tasks::{self, Load};

/// The database of a run that names none: a file in the home folder.
const EMBEDDED: &str = "sqlite://warehouse.db";

fn database(url: Option<&Secret<String>>) -> &str {
    url.map_or(EMBEDDED, |url| url.expose())
}

/// Copies the CSV file into a table; rows of an earlier load of the same URL are replaced. A table that has other types is left as it
/// is, and the error tells them.
#[task]
pub async fn ingest(
    ctx: &Context,
    csv: &Download,
    columns: Columns,
    database_url: Option<Secret<String>>,
    table: String,
) -> Result<Loaded> {
    let schema = columns.schema(&csv.path)?;
    let database = Connection::new(database(database_url.as_ref()));
    let loaded = tasks::load_file(ctx, csv.into(), database, Load::into(table).schema(schema)).await?;
    let (LoadReport { url, table, rows, replaced, .. }, source) = (loaded, csv.url.clone());
    Ok(Loaded { url, table, source, rows, replaced })
}

/// Looks at the rows that arrived.
#[task]
pub async fn verify(ctx: &Context, loaded: &Loaded, database_url: Option<Secret<String>>) -> Result<Summary> {
    let place = ctx.place(database(database_url.as_ref()))?;
    let summary = place.warehouse()?.summarise(&loaded.table, Some(&loaded.source)).await?;
    ensure!(summary.rows == loaded.rows, "{} rows were loaded, and {} are there", loaded.rows, summary.rows);
    Ok(summary)
}

/// Yellow taxi trips of one month, from the web to Postgres, or to SQLite where no database is given.
#[dag(tags = ["taxi", "postgres"], defaults(retries = 2, retry_delay = "5s"))]
pub fn taxi_postgres(
    /// Where the CSV file lies: http(s)://, file://, .csv or .csv.gz.
    #[default(SAMPLE)]
    url: String,
    /// How its columns get their types.
    #[default(Columns::Yellow)]
    columns: Columns,
    /// The database: postgres://USER:PASSWORD@HOST/NAME or conn:NAME; a SQLite file in the home folder when none is given.
    database_url: Option<Secret<String>>,
    /// The table that gets the trips.
    #[default("yellow_taxi_trips")]
    table: String,
) {
    let csv = tasks::download(url).retries(3).retry_delay("10s").retry_backoff(2.0);
    let loaded = ingest(csv, columns, database_url, table);
    verify(loaded, database_url);
}
