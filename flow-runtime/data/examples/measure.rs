//! Times one operation and tells the peak memory, to repeat what the documentation claims:
//!
//! ```text
//! cargo run --release -p flow-data --example measure -- parquet CSV OUT [NAME=TYPE ..]
//! cargo run --release -p flow-data --example measure -- csv DATABASE_URL TABLE CSV
//! cargo run --release -p flow-data --example measure -- load DATABASE_URL TABLE PARQUET
//! cargo run --release -p flow-data --example measure -- into DATABASE_URL TABLE FILE [connections=N] [unlogged] [raw] [replace]
//! cargo run --release -p flow-data --example measure -- unload DATABASE_URL TABLE PARQUET
//! cargo run --release -p flow-data --example measure -- show DATABASE_URL TABLE
//! cargo run --release -p flow-data --example measure -- download URL FOLDER
//! cargo run --release -p flow-data --example measure -- upload FILE URL
//! cargo run --release -p flow-data --example measure -- fetch URL FILE
//! ```
//!
//! CSV files are taken as yellow taxi trips unless their columns are stated, `fare=decimal(12,2)`; with `infer-parquet` and `infer-csv`
//! their types are guessed. Memory is read from `/proc` and told on Linux only.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use flow_data::{
    Error, Input, Mode, ParquetOptions, Schema, Select, TableLoadOptions, UnloadOptions, Warehouse, download, fetch,
    load_csv, load_parquet, parquetize, summarise, upload,
};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let started = Instant::now();
    let outcome = run(&arguments).await;
    let seconds = started.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    let written = match &outcome {
        Ok(told) => writeln!(out, "{seconds:.4} s, {}\n{told}", memory()),
        Err(error) => writeln!(out, "failed after {seconds:.2} s: {error}"),
    };
    ExitCode::from(u8::from(written.is_err() || outcome.is_err()))
}

async fn run(arguments: &[&str]) -> Result<String, Error> {
    let schema = match *arguments {
        ["infer-parquet", csv, _] | ["infer-csv", _, _, csv] => Schema::infer(csv)?,
        ["parquet", _, _, ref columns @ ..] if !columns.is_empty() => schema(columns)?,
        _ => Schema::yellow_tripdata(),
    };
    match *arguments {
        ["parquet", csv, parquet, ..] | ["infer-parquet", csv, parquet] => {
            let (csv, parquet) = (csv.to_owned(), parquet.to_owned());
            let work = move || parquetize(csv, parquet, &schema, &ParquetOptions::default(), &());
            let file = tokio::task::spawn_blocking(work).await.map_err(|e| Error::Invalid(e.to_string()))??;
            Ok(format!("{} rows, {} bytes", file.rows, file.bytes))
        }
        ["csv" | "infer-csv", url, table, csv] => {
            Ok(format!("{:?}", load_csv(url, table, csv, &schema, "measure", &()).await?))
        }
        ["into", url, table, file, ref options @ ..] => {
            let file = if file.ends_with(".parquet") { Input::parquet(file) } else { Input::csv(file, &schema) };
            let report = Warehouse::open(url)?.load(&file, table, &stated(options)?, &()).await?;
            Ok(format!("{report:?}"))
        }
        ["unload", url, table, parquet] => {
            let (table, options) = (Select::Table(table.to_owned()), UnloadOptions::default());
            Ok(format!("{:?}", Warehouse::open(url)?.unload(&table, parquet, &options, &()).await?))
        }
        ["load", url, table, parquet] => Ok(format!("{:?}", load_parquet(url, table, parquet, "measure", &()).await?)),
        ["download", url, folder] => Ok(format!("{:?}", download(url, folder, &()).await?)),
        ["upload", file, url] => Ok(format!("{:?}", upload(file, url, &()).await?)),
        ["fetch", url, file] => Ok(format!("{:?}", fetch(url, file, &()).await?)),
        ["show", url, table] => Ok(format!("{:#?}", summarise(url, table, None).await?)),
        _ => Err(Error::Invalid("see the comment at the top of this example for its arguments".into())),
    }
}

fn schema(words: &[&str]) -> Result<Schema, Error> {
    let column = |word: &&str| {
        let (name, kind) = word.rsplit_once('=').ok_or_else(|| Error::Invalid(format!("`{word}` is no NAME=TYPE")))?;
        Ok((name.to_owned(), kind.parse()?))
    };
    Ok(Schema::new(words.iter().map(column).collect::<Result<Vec<_>, Error>>()?))
}

fn stated(words: &[&str]) -> Result<TableLoadOptions, Error> {
    let mut options = TableLoadOptions::default();
    for word in words {
        match word.split_once('=') {
            Some(("connections", n)) => {
                options.connections = n.parse().map_err(|_| Error::Invalid(format!("`{n}` is no number")))?;
            }
            None if *word == "unlogged" => options.unlogged = true,
            None if *word == "raw" => options.raw_csv = true,
            None if *word == "replace" => options.mode = Mode::Replace,
            _ => return Err(Error::Invalid(format!("`{word}` is no option"))),
        }
    }
    Ok(options)
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok());
    peak.map_or("peak memory unknown".into(), |kib| format!("peak {} MiB", kib >> 10))
}
