//! What an operator may set.

use super::CacheUse;
use crate::connection::Connections;
use crate::notify::Channel;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The pool of tasks that name none.
pub(super) const DEFAULT_POOL: &str = "default_pool";
/// Its slots, unless they are set.
pub(super) const DEFAULT_SLOTS: u32 = 128;

/// What an operator may set. Start from [`EngineSettings::new`] or [`EngineSettings::in_memory`].
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// The home folder; `logs`, `xcom` and `locks` lie in it.
    pub home: PathBuf,
    /// Most tries at one time, of all runs of the engine. Default 32.
    pub parallelism: usize,
    /// Slots of each pool. `default_pool` is always there, with 128 slots unless it is set.
    pub pools: BTreeMap<String, u32>,
    /// How long a try that is told to end may go on. Default 10 seconds.
    pub grace: Duration,
    /// About how many bytes of data a task of [`tasks`](crate::tasks) keeps in memory: see
    /// [`Context::memory`](crate::Context::memory). Default `None`: what is quick.
    pub task_memory: Option<u64>,
    /// How long the last look of a sensor may take, which begins at its deadline: one that hangs ends then. Default 60 seconds.
    pub last_look: Duration,
    /// Write the log of each try under `logs`. Default true.
    pub logs: bool,
    /// JSON longer than this many bytes is kept in a file under `xcom`. Default 16 KiB.
    pub inline_max: usize,
    /// False keeps every value in its row, however long. Default true.
    pub spill: bool,
    /// Hold a lock under `locks` while a run is worked on, so that no other process takes it. Default true.
    pub locks: bool,
    /// Hold a lease of this length in the store instead, so that no other process takes the run, on whatever machine. It is
    /// renewed at a third of its length, by a thread of the engine; a run whose lease cannot be renewed is let go.
    /// Default `None`: locks say more where all processes share the home folder.
    pub lease: Option<Duration>,
    /// False is for a simulation, in which all is one thread and no process ever dies: leases are renewed where the engine itself
    /// runs, and not on a thread of their own, and what processes that died have left behind is not looked for. Default true.
    pub threads: bool,
    /// By what the store tells this process from the others. Two with one name each take for their own what the other holds: a
    /// backfill, a place among those that wait for a slot. Default `None`: the host and the number of the process.
    pub name: Option<String>,
    /// `[params]` of flow.toml: what every task may read besides its run's params.
    pub global_params: Map<String, Value>,
    /// `[notifiers]` of flow.toml: what the names stand for that DAGs tell by `on_failure = "ops"`.
    pub notifiers: BTreeMap<String, Channel>,
    /// `[connections]` of flow.toml: the places that have a name.
    pub connections: Arc<Connections>,
    /// False makes it no matter whether whom a DAG tells can be told: nobody is, unless somebody starts a
    /// [`Deliverer`](crate::notify::Deliverer). Default true.
    pub notifies: bool,
    /// What becomes of outputs of earlier runs, for tasks with `cache = ".."`. By default they are reused.
    pub cache: CacheUse,
    /// This program, for tasks with `isolation = "process"`: it is started once more for each of their tries, so its `main`
    /// must begin with [`serve`](super::serve). `None`, the default, runs them in this process like all others.
    pub program: Option<PathBuf>,
    /// How this program is called so that it finds these records, for those who are told of them elsewhere:
    /// `dags --home /srv/flow`. `None`, the default, is the name of this program alone.
    pub called: Option<String>,
    /// Where bodies run; by default where the engine itself does. A runtime of their own keeps commits, timeouts and
    /// signals alive while an async body blocks its threads.
    pub bodies: Option<tokio::runtime::Handle>,
}

impl EngineSettings {
    /// The defaults, with this home folder.
    pub fn new(home: impl Into<PathBuf>) -> EngineSettings {
        EngineSettings {
            home: home.into(),
            parallelism: 32,
            pools: BTreeMap::new(),
            grace: Duration::from_secs(10),
            task_memory: None,
            last_look: Duration::from_secs(60),
            logs: true,
            inline_max: 16 * 1024,
            spill: true,
            locks: true,
            lease: None,
            threads: true,
            name: None,
            global_params: Map::new(),
            notifiers: BTreeMap::new(),
            connections: Arc::default(),
            notifies: true,
            cache: CacheUse::Reuse,
            program: None,
            called: None,
            bodies: None,
        }
    }

    /// The same, with nothing written under the home folder by the engine itself, nobody told, and no cache.
    pub fn in_memory(home: impl Into<PathBuf>) -> EngineSettings {
        let cache = CacheUse::Off;
        EngineSettings { logs: false, spill: false, locks: false, notifies: false, cache, ..EngineSettings::new(home) }
    }

    /// All pools, the default one among them.
    pub(crate) fn all_pools(&self) -> BTreeMap<String, u32> {
        let mut pools = self.pools.clone();
        pools.entry(DEFAULT_POOL.into()).or_insert(DEFAULT_SLOTS);
        pools
    }
}

impl Default for EngineSettings {
    /// [`EngineSettings::new`] with the home folder `.flow`.
    fn default() -> Self {
        EngineSettings::new(".flow")
    }
}
