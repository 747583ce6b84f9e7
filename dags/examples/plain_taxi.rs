//! What the DAG `taxi` does, without an engine: the same calls in a plain `main`. `just speeds` runs both on the same file, which
//! tells what the engine costs.
//!
//! ```text
//! cargo run --release -p dags --example plain_taxi -- URL FOLDER
//! ```

use flow_runtime::data::{self, Input, Mode, SOURCE_COLUMN, Schema, TableLoadOptions, Warehouse};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [url, folder] = arguments.as_slice() else {
        return Err("usage: plain_taxi URL FOLDER".into());
    };
    let folder = PathBuf::from(folder);
    let csv = data::download(url, folder.join("downloads"), &()).await?;
    let (source, target) = (csv.path.clone(), csv.path.with_extension("parquet"));
    let work = move || data::parquetize(&source, target, &Schema::yellow_tripdata(), &Default::default(), &());
    let parquet = tokio::task::spawn_blocking(work).await??;
    let name = parquet.path.file_name().ok_or("the file has no name")?.to_string_lossy();
    let object = data::upload(&parquet.path, &format!("{}/lake/{name}", folder.display()), &()).await?;
    let warehouse = format!("sqlite://{}/warehouse.db", folder.display());
    let warehouse = Warehouse::open(&warehouse)?.with_scratch(folder.join("fetched"));
    let mut options = TableLoadOptions::default();
    options.mode = Mode::Partition { column: SOURCE_COLUMN.into(), value: object.url.clone() };
    let loaded = warehouse.load(&Input::object(&object.url), "trips", &options, &()).await?;
    let table = warehouse.summarise(&loaded.table, Some(&object.url)).await?;
    writeln!(std::io::stdout(), "{} rows, {} bytes", table.rows, object.bytes)?;
    Ok(())
}
