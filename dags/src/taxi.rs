//! New York's yellow taxi trips: web -> CSV -> parquet -> lake -> warehouse -> summary.

use crate::source::{Columns, SAMPLE};
use flow_runtime::Unit;
use flow_runtime::data::{self, Download, LoadReport, ParquetFile, ParquetOptions, Uploaded};
use flow_runtime::prelude::*;
use flow_runtime::tasks;

/// What became of the trips.
#[value]
pub struct Report {
    rows: u64,
    bytes: u64,
    seconds: f64,
    first_rows: Vec<Vec<Option<String>>>,
}

/// Turns CSV into parquet, in bounded memory. (`tasks::parquetize_with` takes a schema that is known when the DAG is written; here a
/// param decides.)
#[task]
pub fn parquetize(ctx: &Context, csv: &Download, columns: Columns) -> Result<ParquetFile> {
    ensure!(
        csv.is_there(),
        TaskError::Fail(format!("{} is no longer what it was: clear `download`", csv.path.display()))
    );
    // Each content has a folder of its own: what a later run downloads takes nothing away from this one.
    let folder = csv.path.with_file_name(&csv.sha256[..12]);
    std::fs::create_dir_all(&folder)?;
    let target = folder.join(csv.path.file_name().unwrap_or_default()).with_extension("parquet");
    let schema = columns.schema(&csv.path)?;
    let mut options = ParquetOptions::default();
    if let Some(memory) = ctx.memory() {
        options = options.within(memory);
    }
    Ok(data::parquetize(&csv.path, target, &schema, &options, &ctx.counting(Unit::Bytes))?.of(&csv.url))
}

/// Looks at the table: rows, bytes, time, first rows.
#[task]
pub async fn summary(ctx: &Context, object: &Uploaded, loaded: &LoadReport, warehouse: String) -> Result<Report> {
    let table = ctx.place(&warehouse)?.warehouse()?.summarise(&loaded.table, object.source.as_deref()).await?;
    let seconds = ctx.elapsed().as_secs_f64();
    Ok(Report { rows: table.rows, bytes: object.bytes, seconds, first_rows: table.first_rows })
}

/// Yellow taxi trips of one month, from the web to a table.
#[dag(default, schedule = "@monthly", start_date = "2021-01-01", tags = ["taxi"], defaults(retries = 2, retry_delay = "5s"))]
pub fn taxi(
    /// Where the CSV file lies: http(s)://, file://, .csv or .csv.gz; `{date:%Y-%m}` in it is the month of the run.
    #[default(SAMPLE)]
    url: String,
    /// How its columns get their types.
    #[default(Columns::Yellow)]
    columns: Columns,
    /// The lake: a folder (from the home folder, unless absolute), gs://, s3:// or az://, or conn:NAME.
    #[default("lake")]
    lake: String,
    /// The warehouse: sqlite://FILE (from the home folder, unless absolute), bigquery://PROJECT/DATASET, or conn:NAME.
    #[default("sqlite://warehouse.db")]
    warehouse: String,
    /// The table that gets the trips.
    #[default("trips")]
    table: String,
) {
    let csv = tasks::download(url).retries(3).retry_delay("10s").retry_backoff(2.0);
    let object = tasks::upload(parquetize(csv, columns), lake);
    let loaded = tasks::load(object, warehouse, table);
    summary(object, loaded, warehouse);
}
