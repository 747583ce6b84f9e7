//! One row of the table: a shape in a store, run some times.

use super::super::args::Bench;
use super::super::exit::{CliError, Result};
use super::super::session;
use super::shape::{Shape, Store};
use super::{floor, folder, median};
use crate::executor::{Engine, EngineSettings, RunRequest, Stop};
use crate::store::{Durability, MemoryStore, MetadataStore};
use clap::ValueEnum as _;
use flow_core::RunStatus;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What was measured. Times are medians in seconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub shape: String,
    pub store: String,
    /// Task instances of a run.
    pub tasks: u64,
    /// Runs that were measured; one before them was not.
    pub runs: u32,
    /// From the request to the report.
    pub wall: f64,
    /// Of all threads.
    pub cpu: f64,
    /// Most memory that the process has had, in bytes.
    pub peak: u64,
    /// Commits of a run.
    pub commits: Option<u64>,
    /// The same without an engine: bare tokio tasks, or bare commits.
    pub floor: f64,
    /// As many bare fdatasyncs as there were commits, where each commit waits for the disk.
    pub syncs: Option<f64>,
}

/// Measures one row: `chain:100/process`.
pub fn measure(row: &str, args: &Bench) -> Result<Measured> {
    let (shape, store) = row.split_once('/').ok_or_else(|| CliError::input(format!("`{row}` is no row")))?;
    let shape = Shape::parse(shape)?;
    let store = Store::from_str(store, false).map_err(CliError::input)?;
    let runs = args.repeat.unwrap_or(match shape.tasks() {
        0..=200 => 30,
        201..=20_000 => 10,
        _ => 3,
    });
    session::block_on(run(shape, store, runs, args))
}

async fn run(shape: Shape, kind: Store, runs: u32, args: &Bench) -> Result<Measured> {
    let folder = folder(args)?;
    let opened = open(kind, folder.path()).await?;
    // A runtime of their own, as the bodies of every run by the command line have.
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let threads = threads.map_err(|e| CliError::outside(e.to_string()))?;
    let settings = EngineSettings { bodies: Some(threads.handle().clone()), ..EngineSettings::new(folder.path()) };
    let engine = Engine::new(opened.store.clone(), Shape::bodies(), settings);
    let dag = Arc::new(shape.dag());
    let (mut walls, mut cpus, mut commits) = (Vec::new(), Vec::new(), 0);
    for number in 0..=runs {
        let request = RunRequest { run_id: Some(format!("run{number}")), ..RunRequest::default() };
        let (before, cpu, began) = (opened.transactions(), cpu_seconds(), Instant::now());
        let report = engine.run(dag.clone(), request, Arc::new(|_| {}), Stop::default()).await?;
        let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        commits = opened.transactions() - before;
        if report.run.state != RunStatus::Success || report.instances.len() as u64 != shape.tasks() {
            return Err(CliError::outside(format!("{shape} did not succeed: it is no measure")));
        }
        // The first warms up.
        if number > 0 {
            walls.push(wall);
            cpus.push(cpu);
        }
    }
    let peak = peak();
    let (mut floors, mut syncs) = (Vec::new(), Vec::new());
    for number in 0..runs.clamp(3, 10) {
        match kind {
            Store::Memory => floors.push(floor::spawns(shape, threads.handle()).await.as_secs_f64()),
            _ => floors.push(bare(kind, folder.path(), commits).await?),
        }
        if kind == Store::Power {
            let file = folder.path().join(format!("syncs{number}"));
            let took = floor::syncs(&file, commits).map_err(|e| CliError::outside(e.to_string()))?;
            syncs.push(took.as_secs_f64());
        }
    }
    opened.store.close().await;
    threads.shutdown_background();
    Ok(Measured {
        shape: shape.to_string(),
        store: kind.to_string(),
        tasks: shape.tasks(),
        runs,
        wall: median(walls),
        cpu: median(cpus),
        peak,
        commits: (kind != Store::Memory).then_some(commits),
        floor: median(floors),
        syncs: (!syncs.is_empty()).then(|| median(syncs)),
    })
}

fn durability(kind: Store) -> Durability {
    if kind == Store::Power { Durability::Power } else { Durability::Process }
}

pub(super) struct Opened {
    pub(super) store: Arc<dyn MetadataStore>,
    #[cfg(feature = "sqlite")]
    file: Option<Arc<crate::store::SqliteStore>>,
}

#[cfg(feature = "sqlite")]
pub(super) async fn open(kind: Store, folder: &Path) -> Result<Opened> {
    if kind == Store::Memory {
        return Ok(Opened { store: Arc::new(MemoryStore::new()), file: None });
    }
    let file = crate::store::SqliteStore::open(&folder.join("flow.db"), durability(kind)).await?;
    let file = Arc::new(file);
    Ok(Opened { store: file.clone(), file: Some(file) })
}

#[cfg(feature = "sqlite")]
async fn bare(kind: Store, folder: &Path, commits: u64) -> Result<f64> {
    let took = crate::store::sqlite::bare_commits(&folder.join("floor.db"), durability(kind), commits).await?;
    Ok(took.as_secs_f64())
}

#[cfg(feature = "sqlite")]
impl Opened {
    fn transactions(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.transactions())
    }
}

#[cfg(not(feature = "sqlite"))]
pub(super) async fn open(kind: Store, _: &Path) -> Result<Opened> {
    match kind {
        Store::Memory => Ok(Opened { store: Arc::new(MemoryStore::new()) }),
        _ => Err(CliError::input("this program was built without SQLite: measure in memory")),
    }
}

#[cfg(not(feature = "sqlite"))]
async fn bare(kind: Store, _: &Path, _: u64) -> Result<f64> {
    let _ = durability(kind);
    Ok(0.0)
}

#[cfg(not(feature = "sqlite"))]
impl Opened {
    fn transactions(&self) -> u64 {
        0
    }
}

/// CPU time of this process so far.
#[cfg(unix)]
pub(super) fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(not(unix))]
pub(super) fn cpu_seconds() -> f64 {
    0.0
}

/// Most memory that this process has had, in bytes; 0 where the system does not tell.
pub(super) fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}
