//! What a command that touches runs needs: a tokio runtime, the metadata store, the engine over it.

use super::app::App;
use super::exit::{CliError, Result};
use crate::config::Config;
use crate::executor::{Engine, EngineError, EngineSettings};
use crate::store::MetadataStore;
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
pub struct Bodies(Option<Runtime>);

impl Bodies {
    /// Starts them.
    pub fn start(app: &App) -> Result<Bodies> {
        let threads = app.config.parallelism.saturating_add(SPARE_THREADS);
        let runtime = Builder::new_multi_thread().enable_all().max_blocking_threads(threads).build();
        runtime.map(|runtime| Bodies(Some(runtime))).map_err(no_threads)
    }

    /// Where to run a body.
    pub fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for Bodies {
    /// A thread that a given-up try has left behind is not waited for.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn no_threads(error: std::io::Error) -> CliError {
    CliError::outside(format!("no threads could be started: {error}"))
}

/// The metadata store of these settings, made if need be.
#[cfg(feature = "sqlite")]
pub async fn open_store(config: &Config) -> Result<Arc<dyn MetadataStore>> {
    Ok(Arc::new(crate::store::SqliteStore::open(&config.database(), config.durability).await?))
}

/// The metadata store of these settings, made if need be.
#[cfg(not(feature = "sqlite"))]
pub async fn open_store(_: &Config) -> Result<Arc<dyn MetadataStore>> {
    Err(CliError::input("this program was built without a metadata store, so it keeps no runs")
        .hint("give flow-runtime the feature `sqlite` in Cargo.toml, or run in memory by `test`"))
}

/// The settings of the engine that are in force.
pub fn settings(app: &App) -> EngineSettings {
    EngineSettings {
        parallelism: app.config.parallelism,
        pools: app.config.pools.clone(),
        grace: app.config.grace,
        global_params: app.global_params(),
        program: this_program(),
        ..EngineSettings::new(&app.config.home)
    }
}

/// The file that this process was started from, even if another lies in its place by now.
fn this_program() -> Option<PathBuf> {
    let myself = Path::new("/proc/self/exe");
    if myself.exists() { Some(myself.into()) } else { std::env::current_exe().ok() }
}

/// The engine over this store.
pub fn engine(app: &App, store: Arc<dyn MetadataStore>, bodies: &Bodies) -> Engine {
    let settings = EngineSettings { bodies: bodies.handle(), ..settings(app) };
    Engine::new(store, app.registry.bodies().clone(), settings)
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> CliError {
        match error {
            EngineError::Store(error) => error.into(),
            EngineError::Io(_) | EngineError::Stuck(_) => CliError::outside(error.to_string()),
            EngineError::Unrunnable(_) => {
                CliError::input(error.to_string()).hint("pools and their slots are set by `[pools]` in flow.toml")
            }
            _ => CliError::input(error.to_string()),
        }
    }
}
