//! What a command that touches runs needs: a tokio runtime, the metadata store, the engine over it.

use super::app::App;
use super::exit::{CliError, Result};
use crate::config::Config;
use crate::executor::{Engine, EngineError, EngineSettings};
use crate::store::MetadataStore;
use std::sync::Arc;

/// Threads for bodies that block, besides one for each that may run: those of tries that were given up go on for a while.
const SPARE_THREADS: usize = 480;

/// Runs this to its end on a tokio runtime of its own. A thread that a given-up try has left behind is not waited for.
pub fn block_on<T>(app: &App, work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(app.config.parallelism.saturating_add(SPARE_THREADS))
        .build()
        .map_err(|e| CliError::outside(format!("no threads could be started: {e}")))?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
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
        global_params: app.global_params(),
        ..EngineSettings::new(&app.config.home)
    }
}

/// The engine over this store.
pub fn engine(app: &App, store: Arc<dyn MetadataStore>) -> Engine {
    Engine::new(store, app.registry.bodies().clone(), settings(app))
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
