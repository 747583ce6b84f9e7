//! New York's yellow taxi trips on their way back: warehouse -> parquet -> lake.

use flow_runtime::prelude::*;
use flow_runtime::tasks;

/// What a query of the warehouse gives, as a parquet file in the lake.
#[dag(tags = ["taxi"], defaults(retries = 2, retry_delay = "5s"))]
pub fn taxi_extract(
    /// The warehouse: sqlite://FILE (from the home folder, unless absolute), postgres://.., bigquery://PROJECT/DATASET, or conn:NAME.
    #[default("sqlite://warehouse.db")]
    warehouse: String,
    /// What is asked: SQL, or a table by its name.
    #[default("trips")]
    query: String,
    /// The file: a path (from the home folder, unless absolute), gs://, s3:// or az://, or conn:NAME/..; a template of `upload_as`.
    #[default("lake/extract.parquet")]
    to: String,
) {
    tasks::upload_as(tasks::unload(warehouse, query), to);
}
