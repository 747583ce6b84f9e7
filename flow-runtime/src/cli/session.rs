//! What a command that touches runs needs: a tokio runtime, the metadata store, the engine over it.

use super::app::App;
use super::exit::{CliError, Result};
use super::params::{self, Given, Origin, Resolved};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::executor::{self, Askable, CacheUse, Engine, EngineError, EngineSettings, Holders, Stop};
use crate::notify;
use crate::quote::quoted;
use crate::store::{BackfillRow, MetadataStore};
use flow_core::Dag;
use serde_json::Map;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads for bodies that block, besides one for each that may run: those of tries that were given up go on for a while.
const SPARE_THREADS: usize = 480;

/// Runs this to its end on a tokio runtime of its own: of this thread alone, for engine and store hand each other work
/// thousands of times a second, and to wake another thread for it would cost more than the work.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(no_threads)?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// The threads of tasks: apart from those of the engine, so that a task that blocks them holds up nothing else.
pub struct Bodies {
    runtime: Option<Runtime>,
    stop: Stop,
}

impl Bodies {
    /// Starts them.
    pub fn start(app: &App) -> Result<Bodies> {
        let threads = app.config.parallelism.saturating_add(SPARE_THREADS);
        let runtime = Builder::new_multi_thread().enable_all().max_blocking_threads(threads).build();
        runtime.map(|runtime| Bodies { runtime: Some(runtime), stop: Stop::default() }).map_err(no_threads)
    }

    /// How what runs on them is stopped. Whoever stops it at once does not wait for what is cleaned up, either.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Where to run a body.
    pub fn handle(&self) -> Option<Handle> {
        self.runtime.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for Bodies {
    /// What tries that were cancelled have to clean up is waited for, a thread that a given-up try has left behind is not.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            executor::settle(&runtime, &self.stop.at_once);
            runtime.shutdown_background();
            executor::end_offspring();
        }
    }
}

fn no_threads(error: std::io::Error) -> CliError {
    CliError::outside(format!("no threads could be started: {error}"))
}

/// The metadata store of these settings, made if need be.
pub async fn open_store(config: &Config) -> Result<Arc<dyn MetadataStore>> {
    with_faults(match &config.postgres {
        Some(address) => open_postgres(address.expose()).await?,
        None => open_embedded(config).await?,
    })
}

#[cfg(feature = "postgres")]
async fn open_postgres(address: &str) -> Result<Arc<dyn MetadataStore>> {
    Ok(Arc::new(crate::store::PostgresStore::open(address).await?))
}

#[cfg(not(feature = "postgres"))]
async fn open_postgres(_: &str) -> Result<Arc<dyn MetadataStore>> {
    Err(CliError::input("this program was built without Postgres, which `database` asks for")
        .hint("give flow-runtime the feature `postgres` in Cargo.toml, or leave `database` out"))
}

#[cfg(feature = "sqlite")]
async fn open_embedded(config: &Config) -> Result<Arc<dyn MetadataStore>> {
    Ok(Arc::new(crate::store::SqliteStore::open(&config.database(), config.durability).await?))
}

#[cfg(not(feature = "sqlite"))]
async fn open_embedded(_: &Config) -> Result<Arc<dyn MetadataStore>> {
    Err(CliError::input("this program was built without a metadata store, so it keeps no runs")
        .hint("give flow-runtime the feature `sqlite` in Cargo.toml, or run in memory by `test`"))
}

/// The store, which kills this process where a test wants it.
#[cfg(feature = "failpoints")]
fn with_faults(store: Arc<dyn MetadataStore>) -> Result<Arc<dyn MetadataStore>> {
    use crate::store::faulty::{CrashAt, FaultyStore};
    Ok(match CrashAt::of_variable().map_err(CliError::input)? {
        Some(crash) => Arc::new(FaultyStore::new(store, Arc::new(crash))),
        None => store,
    })
}

#[cfg(not(feature = "failpoints"))]
fn with_faults(store: Arc<dyn MetadataStore>) -> Result<Arc<dyn MetadataStore>> {
    Ok(store)
}

/// The settings of the engine that are in force.
pub fn settings(app: &App) -> EngineSettings {
    let on_postgres = app.config.postgres.is_some();
    EngineSettings {
        // Another machine sees neither the locks nor the files of this home folder.
        lease: on_postgres.then_some(app.config.lease),
        locks: !on_postgres,
        spill: !on_postgres,
        parallelism: app.config.parallelism,
        pools: app.config.pools.clone(),
        grace: app.config.grace,
        task_memory: app.config.task_memory,
        global_params: app.global_params(),
        notifiers: app.config.notifiers.clone(),
        connections: app.config.connections.clone().into(),
        program: this_program(),
        called: app.config.home_is_said.then(|| called_at(&app.config.home)),
        ..EngineSettings::new(&app.config.home)
    }
}

/// Who works on which run.
pub async fn holders(app: &App, store: &dyn MetadataStore) -> Result<Holders> {
    Ok(match app.config.postgres {
        Some(_) => Holders::of_leases(store, SystemClock.now()).await?,
        None => Holders::Locks(app.config.home.clone()),
    })
}

/// A command that finds this home folder, wherever one stands.
fn called_at(home: &Path) -> String {
    let home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
    format!("{} --home {}", quoted(&notify::program()), quoted(&home.display().to_string()))
}

/// Who works on which backfill, of those that somebody works on, for people.
pub async fn backfill_holders(
    app: &App,
    store: &dyn MetadataStore,
    rows: &[BackfillRow],
) -> Result<BTreeMap<i64, String>> {
    if app.config.postgres.is_some() {
        return Ok(store.held_backfills(SystemClock.now()).await?);
    }
    let locked = rows.iter().filter(|row| executor::is_kind_held(&app.config.home, &format!("backfill-{}", row.id)));
    let owner = |row: &BackfillRow| row.owner.clone().unwrap_or_else(|| "another process".into());
    Ok(locked.map(|row| (row.id, owner(row))).collect())
}

/// Does a scheduler work on these records? On Postgres it may be on any machine, and leaves no trace that it lives: `None`.
pub fn scheduler_lives(app: &App) -> Option<bool> {
    app.config.postgres.is_none().then(|| executor::is_kind_held(&app.config.home, "scheduler"))
}

/// May one work on them?
pub fn scheduler_may_live(app: &App) -> bool {
    scheduler_lives(app).unwrap_or(true)
}

/// The file that this process was started from, even if another lies in its place by now.
fn this_program() -> Option<PathBuf> {
    let myself = Path::new("/proc/self/exe");
    if myself.exists() { Some(myself.into()) } else { std::env::current_exe().ok() }
}

/// The engine over this store.
pub fn engine(app: &App, store: Arc<dyn MetadataStore>, bodies: &Bodies, cache: CacheUse) -> Engine {
    let settings = EngineSettings { bodies: bodies.handle(), cache, ..settings(app) };
    Engine::new(store, app.registry.bodies().clone(), settings).with_dags(askables(app))
}

/// The DAGs of this program.
pub fn askables(app: &App) -> impl Iterator<Item = Askable> {
    app.registry.dags().map(|dag| askable(app, dag))
}

/// The params of a DAG with what flow.toml and the environment say of them; nothing is told of what is strange there.
pub fn set_params<'d>(app: &App, dag: &'d Dag) -> Result<Vec<Resolved<'d>>> {
    let env = |name: &str| std::env::var(name).ok();
    params::resolve(dag, &Given { config: &app.config, env: &env, json: Map::new(), flags: &[] })
}

/// A DAG, for tasks that ask for a run of it: with what is set of its params.
fn askable(app: &App, dag: &Arc<Dag>) -> Askable {
    let resolved = set_params(app, dag).map_err(|error| error.message);
    let said = resolved.map(|params| {
        let said = params.into_iter().filter(|param| param.origin != Origin::Default);
        said.filter_map(|param| Some((param.def.name.clone(), param.value?))).collect()
    });
    (dag.clone(), said)
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> CliError {
        match error {
            EngineError::Store(error) => error.into(),
            EngineError::Io(_) | EngineError::Stuck(_) | EngineError::LeaseLost(_) => {
                CliError::outside(error.to_string())
            }
            EngineError::Unrunnable(_) => {
                CliError::input(error.to_string()).hint("pools and their slots are set by `[pools]` in flow.toml")
            }
            _ => CliError::input(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_for_others_finds_the_home_folder_from_anywhere() {
        assert!(called_at(Path::new("/srv/my flow")).ends_with(" --home '/srv/my flow'"));
        let here = std::env::current_dir().unwrap().join("h").display().to_string();
        assert!(called_at(Path::new("h")).ends_with(&format!(" --home {}", quoted(&here))));
    }
}
