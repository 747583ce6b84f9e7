//! New York's yellow taxi trips: web -> CSV -> parquet -> lake -> warehouse -> summary.

use crate::source::{Columns, SAMPLE};
use flow_runtime::data::{self, Download, Loaded, ParquetFile, Uploaded};
use flow_runtime::prelude::*;

/// What became of the trips.
#[value]
pub struct Report {
    rows: u64,
    bytes: u64,
    seconds: f64,
    first_rows: Vec<Vec<Option<String>>>,
}

/// Downloads the CSV file, or goes on where an earlier try stopped.
#[task(retries = 3, retry_delay = "10s", retry_backoff = 2.0)]
pub async fn download(ctx: &Context, url: String) -> Result<Download> {
    Ok(data::download(&url, ctx.home().join("downloads"), ctx).await?)
}

/// Turns CSV into parquet, in bounded memory, with a stated type for every column.
#[task]
pub fn parquetize(ctx: &Context, csv: &Download, columns: Columns) -> Result<ParquetFile> {
    let (schema, target) = (columns.schema(&csv.path)?, csv.path.with_extension("parquet"));
    Ok(data::parquetize(&csv.path, target, &schema, &Default::default(), ctx)?)
}

/// Puts the file into the lake: a folder, or an object store by its URL.
#[task]
pub async fn upload(ctx: &Context, parquet: &ParquetFile, lake: String) -> Result<Uploaded> {
    let name = parquet.path.file_name().context("the parquet file has no name")?.to_string_lossy();
    Ok(data::upload(&parquet.path, &format!("{}/{name}", ctx.in_home(&lake).trim_end_matches('/')), ctx).await?)
}

/// Loads the file from the lake into a table; rows of an earlier load of the same URL are replaced.
#[task]
pub async fn load(
    ctx: &Context,
    object: &Uploaded,
    csv: &Download,
    warehouse: String,
    table: String,
) -> Result<Loaded> {
    let local = data::fetch(&object.url, csv.path.with_extension("fetched.parquet"), &()).await?;
    Ok(data::load_parquet(&ctx.in_home(&warehouse), &table, &local.path, &csv.url, ctx).await?)
}

/// Looks at the table: rows, bytes, time, first rows.
#[task]
pub async fn summary(ctx: &Context, object: &Uploaded, loaded: &Loaded, warehouse: String) -> Result<Report> {
    let table = data::summarise(&ctx.in_home(&warehouse), &loaded.table, Some(&loaded.source)).await?;
    let seconds = ctx.elapsed().as_secs_f64();
    Ok(Report { rows: table.rows, bytes: object.bytes, seconds, first_rows: table.first_rows })
}

/// Yellow taxi trips of one month, from the web to a table.
#[dag(default, schedule = "@monthly", start_date = "2021-01-01", tags = ["taxi"], defaults(retries = 2, retry_delay = "5s"))]
pub fn taxi(
    /// Where the CSV file lies: http(s)://, file://, .csv or .csv.gz.
    #[default(SAMPLE)]
    url: String,
    /// How its columns get their types.
    #[default(Columns::Yellow)]
    columns: Columns,
    /// The lake: a folder (inside the home folder unless absolute), gs://, s3:// or az://.
    #[default("lake")]
    lake: String,
    /// The warehouse: sqlite://FILE (inside the home folder unless absolute) or postgres://.
    #[default("sqlite://warehouse.db")]
    warehouse: String,
    /// The table that gets the trips.
    #[default("trips")]
    table: String,
) {
    let csv = download(url);
    let object = upload(parquetize(csv, columns), lake);
    let loaded = load(object, csv, warehouse, table);
    summary(object, loaded, warehouse);
}
