//! Makes a CSV file of trips that nobody made. The sample that is kept beside the pipelines was made, and is made again, by
//!
//! ```text
//! cargo run -p dags --example gen_yellow -- dags/data/yellow_tripdata_2021-01_sample.csv.gz 2000 202101
//! ```
//!
//! Arguments: `OUT.csv[.gz] [ROWS] [SEED]`; 1,369,765 rows (those of the real file) and seed 202101 unless said. The same
//! arguments make the same rows on every machine.

use dags::generated;
use dags::month::Month;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

const MONTH: Month = Month::new(2021, 1);
const SEED: u64 = 202_101;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let parse = |at: usize, default: u64| arguments.get(at).map_or(Some(default), |text| text.parse().ok());
    let (Some(path), Some(rows), Some(seed)) = (arguments.first(), parse(1, generated::REAL_ROWS), parse(2, SEED))
    else {
        let _ = writeln!(std::io::stderr(), "usage: gen_yellow OUT.csv[.gz] [ROWS] [SEED]");
        return ExitCode::from(2);
    };
    let written = File::create(path).map(BufWriter::new).and_then(|mut file| {
        if path.ends_with(".gz") {
            let mut packed = GzEncoder::new(file, Compression::best());
            generated::write(&mut packed, MONTH, rows, seed)?;
            packed.finish()?.flush()
        } else {
            generated::write(&mut file, MONTH, rows, seed)?;
            file.flush()
        }
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{path}: {error}");
            ExitCode::FAILURE
        }
    }
}
