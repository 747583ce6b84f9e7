//! `bench`: what the engine costs, in tasks that do nothing, beside what the same work costs without it.
//!
//! Each row is measured in a process of its own, so that memory and caches are its own as well.

mod due;
mod floor;
mod row;
mod shape;

use super::args::Bench;
use super::exit::{CliError, Exit, Result};
use super::output::Output;
use super::table::Table;
use row::Measured;
use serde_json::Value;
use shape::Shape;
pub use shape::Store;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Measures, and prints a table.
pub fn bench(args: &Bench, out: &Output) -> Result {
    if let Some(number) = args.rows.iter().find_map(|text| text.strip_prefix("due:")) {
        return due(number, args, out);
    }
    if args.database.is_some() {
        return Err(CliError::input(
            "`--database` is for DAGs that are due in the same second: write `bench due:1000`",
        ));
    }
    if let Some(row) = &args.row {
        let measured = row::measure(row, args)?;
        out.json_line(&measured);
        return Ok(Exit::Success);
    }
    let rows = match &args.rows[..] {
        [] => Shape::usual(args.large),
        given => given.iter().map(|text| Shape::parse(text)).collect::<Result<Vec<_>>>()?,
    };
    let stores: Vec<Store> = match &args.store[..] {
        [] => vec![Store::Memory, Store::Process, Store::Power],
        given => given.to_vec(),
    };
    let mut measured = Vec::new();
    for shape in rows {
        for store in stores.iter().filter(|store| args.rows.len() + args.store.len() > 0 || shape.is_usual(**store)) {
            out.note(format!("measuring {shape} in {store} ..."));
            measured.push(apart(&format!("{shape}/{store}"), args)?);
        }
    }
    let list = list_cold()?;
    if out.json {
        out.json_pretty(&serde_json::json!({"rows": measured, "list_seconds": list}));
        return Ok(Exit::Success);
    }
    for line in table(&measured).lines(out.width, out.paint) {
        out.line(line);
    }
    out.line(format!("\n`list`, from start to exit: {}", millis(list)));
    out.note(
        "\nfloor: in memory as many bare tokio tasks, joined in the same shape; in a file as many bare commits through sqlx, \
         and as many bare fdatasyncs, as the run made commits. Wall, CPU and floors are medians.",
    );
    if cfg!(debug_assertions) {
        out.note("this program is built without optimisation: measure with `cargo run --release`");
    }
    Ok(Exit::Success)
}

/// How late DAGs are that are due in the same second.
fn due(number: &str, args: &Bench, out: &Output) -> Result {
    let dags = number.parse().ok().filter(|n| (1..=100_000).contains(n));
    let dags =
        dags.ok_or_else(|| CliError::input(format!("`due:{number}`: write the number of DAGs, like due:1000")))?;
    let late = due::measure(dags, args, out)?;
    if out.json {
        out.json_pretty(&late);
        return Ok(Exit::Success);
    }
    out.line(format!(
        "{dags} DAGs due in the same second, in {}: all runs made after {}, all ended after {}",
        late.store,
        millis(late.all_made),
        millis(late.all_ended)
    ));
    let [start, start_most, link, link_most] =
        [late.start_p50, late.start_p99, late.link_p50, late.link_p99].map(millis);
    out.line(format!("a run that is due every second: its first body begins after {start} (p50), {start_most} (p99)"));
    out.line(format!("from one body of a chain to the next: {link} (p50), {link_most} (p99)"));
    out.line(format!(
        "idle: {:.2} % of a core; peak memory of all this {:.0} MB",
        late.idle * 100.0,
        late.peak as f64 / 1e6
    ));
    Ok(Exit::Success)
}

/// One row, in a process of its own.
fn apart(row: &str, args: &Bench) -> Result<Measured> {
    let failed =
        |what: &dyn std::fmt::Display| CliError::outside(format!("the row {row} could not be measured: {what}"));
    let program = std::env::current_exe().map_err(|e| failed(&e))?;
    let mut command = Command::new(program);
    command.args(["bench", "--row", row]).stderr(Stdio::inherit());
    if let Some(repeat) = args.repeat {
        command.args(["--repeat", &repeat.to_string()]);
    }
    if let Some(folder) = &args.folder {
        command.arg("--folder").arg(folder);
    }
    let output = command.output().map_err(|e| failed(&e))?;
    if !output.status.success() {
        return Err(failed(&output.status));
    }
    let value: Value = serde_json::from_slice(&output.stdout).map_err(|e| failed(&e))?;
    serde_json::from_value(value).map_err(|e| failed(&e))
}

/// The median time of `list`, from the start of the process to its end, in seconds.
fn list_cold() -> Result<f64> {
    let failed = |e: std::io::Error| CliError::outside(format!("`list` could not be measured: {e}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        Command::new(&program).arg("list").stdout(Stdio::null()).stderr(Stdio::null()).status().map_err(failed)?;
        times.push(began.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

fn table(rows: &[Measured]) -> Table {
    let head = [
        "SHAPE",
        "STORE",
        "TASKS",
        "WALL",
        "PER TASK",
        "CPU",
        "PEAK",
        "COMMITS",
        "FLOOR",
        "RATIO",
        "FDATASYNC",
        "RATIO ",
    ];
    let mut table = Table::new(&head, &[]);
    let ratio = |floor: f64, wall: f64| if floor > 0.0 { format!("{:.1}x", wall / floor) } else { String::new() };
    for row in rows {
        table.row([
            row.shape.clone(),
            row.store.clone(),
            row.tasks.to_string(),
            millis(row.wall),
            format!("{:.1} µs", row.wall * 1e6 / row.tasks as f64),
            millis(row.cpu),
            format!("{:.0} MB", row.peak as f64 / 1e6),
            row.commits.map_or(String::new(), |n| n.to_string()),
            millis(row.floor),
            ratio(row.floor, row.wall),
            row.syncs.map_or(String::new(), millis),
            row.syncs.map_or(String::new(), |syncs| ratio(syncs, row.wall)),
        ]);
    }
    table
}

fn millis(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

/// The middle one.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// A folder for measuring, on the disk that is meant.
fn folder(args: &Bench) -> Result<tempfile::TempDir> {
    let here = args.folder.as_deref().unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".flow-bench-")
        .tempdir_in(here)
        .map_err(|e| CliError::outside(format!("no folder could be made in `{}`: {e}", here.display())))
}
