//! New York's yellow taxi trips over many months: each month on its own way from the web to the warehouse.

use crate::generated;
use crate::month::Month;
use crate::source::Columns;
use crate::taxi::parquetize;
use flow_runtime::data::LoadReport;
use flow_runtime::prelude::*;
use flow_runtime::tasks;
use std::fs::{self, File};
use std::io::{BufWriter, Write};

/// Which months, and where their files are.
#[params]
pub struct Range {
    /// The first month.
    #[default(Month::new(2021, 1))]
    pub from: Month,
    /// The last month, which is taken in too.
    #[default(Month::new(2021, 12))]
    pub to: Month,
    /// Where the CSV files lie; `{month}` stands for a month like 2021-01. Trips are generated when this is not given.
    pub url: Option<String>,
    /// How many trips to generate for each month.
    #[default(2_000_u64)]
    pub trips: u64,
}

/// What became of all months.
#[value]
pub struct Total {
    months: usize,
    rows: u64,
    /// Rows of the largest month.
    most: u64,
}

/// The months from the first to the last.
#[task]
pub fn months(from: Month, to: Month) -> Result<Vec<Month>> {
    if from > to {
        return Err(TaskError::fail(format!("no month lies from {from} to {to}")));
    }
    Ok(from.through(to).collect())
}

/// Where the file of a month is; without a URL it is generated first.
#[task]
pub fn locate(ctx: &Context, month: Month, url: Option<String>, trips: u64) -> Result<String> {
    if let Some(url) = url {
        ensure!(url.contains("{month}"), TaskError::Fail(format!("`{url}` names no {{month}}: all would be the same")));
        return Ok(url.replace("{month}", &month.to_string()));
    }
    let folder = ctx.home().join("generated");
    let (path, beside) = (folder.join(format!("{month}-{trips}.csv")), folder.join(format!("{month}-{trips}.part")));
    if !path.exists() {
        fs::create_dir_all(&folder)?;
        let mut file = BufWriter::new(File::create(&beside)?);
        let seed = month.to_string().bytes().fold(0, |seed, byte| seed * 131 + u64::from(byte));
        generated::write(&mut file, month, trips, seed)?;
        file.flush()?;
        fs::rename(&beside, &path)?;
    }
    Ok(format!("file://{}", fs::canonicalize(path)?.display()))
}

/// Adds the months up, and looks whether the table agrees.
#[task]
pub async fn total(ctx: &Context, loaded: &[LoadReport], warehouse: String, table: String) -> Result<Total> {
    let rows = loaded.iter().map(|month| month.rows).sum();
    let there = ctx.place(&warehouse)?.warehouse()?.count(&table, None).await?.unwrap_or(0);
    // It may hold months of other runs.
    ensure!(there >= rows, "the table has {there} rows, and {rows} were loaded");
    Ok(Total { months: loaded.len(), rows, most: loaded.iter().map(|month| month.rows).max().unwrap_or(0) })
}

/// One month, from the web to the table.
#[task_group]
pub fn month(
    month: Month,
    url: Option<String>,
    trips: u64,
    columns: Columns,
    lake: String,
    warehouse: String,
    table: String,
) -> Node<LoadReport> {
    let csv = tasks::download(locate(month, url, trips)).retries(3).retry_delay("2s").retry_backoff(2.0);
    let object = tasks::upload(parquetize(csv, columns), lake);
    tasks::load(object, warehouse, table)
}

/// Yellow taxi trips of many months, each on its own, into one table.
#[dag(tags = ["taxi"], max_active_tasks = 8, defaults(retries = 2, retry_delay = "2s"))]
pub fn taxi_months(
    #[params] range: Range,
    /// How the columns get their types.
    #[default(Columns::Yellow)]
    columns: Columns,
    /// The lake: a folder (from the home folder, unless absolute), gs://, s3:// or az://, or conn:NAME.
    #[default("lake")]
    lake: String,
    /// The warehouse: sqlite://FILE (from the home folder, unless absolute), bigquery://PROJECT/DATASET, or conn:NAME.
    #[default("sqlite://warehouse.db")]
    warehouse: String,
    /// The table that gets the trips.
    #[default("trips_by_month")]
    table: String,
) {
    let months = months(range.from, range.to);
    let loaded = month::expand(each(months), range.url, range.trips, columns, lake, warehouse, table);
    total(loaded, warehouse, table);
}
