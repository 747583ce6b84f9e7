//! What the taxi DAGs share: where their trips come from, and how the columns get their types.

use flow_runtime::data::{self, Schema};
use flow_runtime::prelude::*;
use std::path::Path;

/// Two thousand generated trips with the true 18 columns, so that the first run needs no network.
pub const SAMPLE: &str = concat!("file://", env!("CARGO_MANIFEST_DIR"), "/data/yellow_tripdata_2021-01_sample.csv.gz");

/// How the columns of a CSV file get their types.
#[value]
#[derive(Copy)]
#[serde(rename_all = "snake_case")]
pub enum Columns {
    /// The 18 columns of yellow_tripdata, as published.
    Yellow,
    /// Guessed from the first rows; for files with other columns.
    Infer,
}

impl Columns {
    /// The schema of this file. Reads its first rows where it must guess, and blocks meanwhile.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn schema(self, csv: &Path) -> data::Result<Schema> {
        match self {
            Columns::Yellow => Ok(Schema::yellow_tripdata()),
            Columns::Infer => Schema::infer(csv),
        }
    }
}
