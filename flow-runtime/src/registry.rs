//! Every task and every DAG of the program, collected from all its files by `inventory`.
//!
//! `inventory` promises no order, so the registry sorts; and it registers nothing from a crate that the binary never
//! names, hence the `use my_dags as _;` of a project's `main.rs`.

use crate::asset::Asset;
use crate::builder::DagError;
use crate::context::Context;
pub use crate::notify::{NotifierSpec, NotifyOptions};
use crate::value::{Erased, Inputs};
use flow_core::dag::{Dag, Isolation, Place, TaskKind, WeightRule};
use flow_core::sensor::{SensorMode, SensorPolicy};
use flow_core::trigger_rule::TriggerRule;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A task as its author wrote it: what `#[task]` registers.
#[derive(Debug)]
pub struct TaskSpec {
    /// Name of the function.
    pub name: &'static str,
    /// Key of the body: module path and name, unique in a program.
    pub body: &'static str,
    /// The doc comment.
    pub doc: Option<&'static str>,
    /// File of the function.
    pub file: &'static str,
    /// Line of the function.
    pub line: u32,
    /// The type of its output, as written; `()` for none.
    pub output: &'static str,
    /// Its arguments (the context is not one of them).
    pub args: &'static [ArgSpec],
    /// The options of `#[task(..)]`.
    pub options: TaskOptions,
    /// The function behind one signature.
    pub run: Body,
    /// How its outputs are reused, if they are.
    pub cache: Option<CacheSpec>,
}

/// How outputs of a task are reused in later runs: `#[task(cache = "7d")]`.
#[derive(Debug, Clone, Copy)]
pub struct CacheSpec {
    /// How old an output may be; `None` for any age.
    pub age: Option<Duration>,
    /// SHA-256 of the function's text, or whatever else changes with it.
    pub code: &'static str,
    /// What its author calls this version of it.
    pub version: Option<&'static str>,
    /// Outputs of another build of the program are not reused.
    pub on_build: bool,
    /// Gives, from the arguments, what else belongs to the key; JSON `null` for "do not reuse anything this time".
    pub key: Option<Body>,
    /// May this output still be used? Where it cannot be decoded any more, it may not.
    pub holds: fn(&Erased) -> bool,
}

/// Name and type of an argument, as written.
#[derive(Debug, Clone, Copy)]
pub struct ArgSpec {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub type_name: &'static str,
}

/// Options of a task that were given; what is `None` comes from the DAG's default, else from flow's.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TaskOptions {
    /// Name of the task in a DAG, instead of the function's.
    pub id: Option<&'static str>,
    /// Tries after the first.
    pub retries: Option<u32>,
    /// Time until the next try.
    pub retry_delay: Option<Duration>,
    /// Each further wait is this many times the one before.
    pub retry_backoff: Option<f64>,
    /// Longest wait.
    pub max_retry_delay: Option<Duration>,
    /// Longest time a try may take.
    pub timeout: Option<Duration>,
    /// When it may start.
    pub trigger_rule: Option<TriggerRule>,
    /// The pool that holds its slots.
    pub pool: Option<&'static str>,
    /// Slots one try takes.
    pub pool_slots: Option<u32>,
    /// Most instances in flight at one time, of all runs of the DAG.
    pub max_active: Option<u32>,
    /// Most instances in flight at one time in one run.
    pub max_active_per_run: Option<u32>,
    /// Most tries at one time with the same key.
    pub at_once: Option<AtOnceOption>,
    /// Most starts in a span of time with the same key.
    pub rate: Option<RateOption>,
    /// It waits for its own success in the run before.
    pub depends_on_past: Option<bool>,
    /// It waits for the success of what is right below it in the run before.
    pub wait_for_downstream: Option<bool>,
    /// It waits for nothing where no earlier run has it.
    pub ignore_first_depends_on_past: Option<bool>,
    /// Its own weight.
    pub priority: Option<i64>,
    /// How the weights around it count.
    pub weight_rule: Option<WeightRule>,
    /// The workers that may run it.
    pub queue: Option<&'static str>,
    /// Ordinary work, or setup, or teardown.
    pub kind: Option<TaskKind>,
    /// Where its tries run.
    pub isolation: Option<Isolation>,
    /// The assets that it makes.
    pub outlets: &'static [Asset],
    /// The assets that it reads.
    pub inlets: &'static [Asset],
    /// Who is told what becomes of its tries.
    pub notify: NotifyOptions,
    /// How it looks, if it is a sensor.
    pub sensor: SensorOptions,
}

/// Options of a sensor that were given.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SensorOptions {
    /// Is it one?
    pub is_sensor: bool,
    /// Time from one look to the next.
    pub poke_interval: Option<Duration>,
    /// Each further wait is this many times the one before.
    pub poke_backoff: Option<f64>,
    /// Longest wait between two looks.
    pub max_poke_interval: Option<Duration>,
    /// What it does between two looks.
    pub mode: Option<SensorMode>,
    /// Whoever waits in vain is skipped.
    pub soft_fail: Option<bool>,
}

impl SensorOptions {
    /// Of what is no sensor. (`Default`, for constants.)
    pub const NONE: SensorOptions = SensorOptions {
        is_sensor: false,
        poke_interval: None,
        poke_backoff: None,
        max_poke_interval: None,
        mode: None,
        soft_fail: None,
    };

    /// How it looks, and for how long at most.
    pub(crate) fn policy(&self, timeout: Option<Duration>) -> Option<SensorPolicy> {
        let basic = SensorPolicy::default();
        self.is_sensor.then(|| SensorPolicy {
            poke_interval: self.poke_interval.unwrap_or(basic.poke_interval),
            backoff: self.poke_backoff.unwrap_or(basic.backoff),
            max_interval: self.max_poke_interval,
            timeout: timeout.unwrap_or(basic.timeout),
            mode: self.mode.unwrap_or_default(),
            soft_fail: self.soft_fail.unwrap_or_default(),
        })
    }
}

/// `at_once(1, key = "load {table}")`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtOnceOption {
    /// How many.
    pub most: u32,
    /// The key, as it is written.
    pub key: &'static str,
}

/// `rate("10/s", key = "api")`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateOption {
    /// How many.
    pub starts: u32,
    /// In how long.
    pub span: Duration,
    /// The key, as it is written.
    pub key: &'static str,
}

impl TaskOptions {
    /// Nothing given. (`Default`, for constants.)
    pub const NONE: TaskOptions = TaskOptions {
        id: None,
        retries: None,
        retry_delay: None,
        retry_backoff: None,
        max_retry_delay: None,
        timeout: None,
        trigger_rule: None,
        pool: None,
        pool_slots: None,
        max_active: None,
        max_active_per_run: None,
        at_once: None,
        rate: None,
        depends_on_past: None,
        wait_for_downstream: None,
        ignore_first_depends_on_past: None,
        priority: None,
        weight_rule: None,
        queue: None,
        kind: None,
        isolation: None,
        outlets: &[],
        inlets: &[],
        notify: NotifyOptions::NONE,
        sensor: SensorOptions::NONE,
    };

    /// These, and for what is not given here, those. (The id, the kind and the assets are a task's own.)
    pub fn or(&self, otherwise: &TaskOptions) -> TaskOptions {
        TaskOptions {
            id: self.id,
            retries: self.retries.or(otherwise.retries),
            retry_delay: self.retry_delay.or(otherwise.retry_delay),
            retry_backoff: self.retry_backoff.or(otherwise.retry_backoff),
            max_retry_delay: self.max_retry_delay.or(otherwise.max_retry_delay),
            timeout: self.timeout.or(otherwise.timeout),
            trigger_rule: self.trigger_rule.or(otherwise.trigger_rule),
            pool: self.pool.or(otherwise.pool),
            pool_slots: self.pool_slots.or(otherwise.pool_slots),
            max_active: self.max_active.or(otherwise.max_active),
            max_active_per_run: self.max_active_per_run.or(otherwise.max_active_per_run),
            at_once: self.at_once.or(otherwise.at_once),
            rate: self.rate.or(otherwise.rate),
            depends_on_past: self.depends_on_past.or(otherwise.depends_on_past),
            wait_for_downstream: self.wait_for_downstream.or(otherwise.wait_for_downstream),
            ignore_first_depends_on_past: self.ignore_first_depends_on_past.or(otherwise.ignore_first_depends_on_past),
            priority: self.priority.or(otherwise.priority),
            weight_rule: self.weight_rule.or(otherwise.weight_rule),
            queue: self.queue.or(otherwise.queue),
            kind: self.kind,
            isolation: self.isolation.or(otherwise.isolation),
            outlets: self.outlets,
            inlets: self.inlets,
            notify: self.notify.or(&otherwise.notify),
            sensor: self.sensor,
        }
    }
}

/// A task's function behind one signature.
#[derive(Clone, Copy)]
pub enum Body {
    /// An `async fn`: polled on tokio's threads.
    Async(fn(Inputs, Context) -> BoxFuture<'static, anyhow::Result<Erased>>),
    /// A plain `fn`: run on a thread where it may block.
    Blocking(fn(Inputs, Context) -> anyhow::Result<Erased>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Body::Async(_) => "Body::Async",
            Body::Blocking(_) => "Body::Blocking",
        })
    }
}

impl TaskSpec {
    /// Where the function stands.
    pub fn place(&self) -> Place {
        Place { file: self.file.into(), line: self.line }
    }
}

/// A DAG as its author wrote it: what `#[dag]` registers.
#[derive(Debug, Clone, Copy)]
pub struct DagSpec {
    /// Its id.
    pub dag_id: &'static str,
    /// File of the function.
    pub file: &'static str,
    /// Line of the function.
    pub line: u32,
    /// Builds it.
    pub build: fn() -> Result<Dag, DagError>,
}

/// What `inventory` collects for tasks.
pub struct TaskEntry(pub &'static TaskSpec);
/// What `inventory` collects for DAGs.
pub struct DagEntry(pub DagSpec);

inventory::collect!(TaskEntry);
inventory::collect!(DagEntry);

/// Every task that is linked into this program.
pub fn task_specs() -> impl Iterator<Item = &'static TaskSpec> {
    inventory::iter::<TaskEntry>.into_iter().map(|entry| entry.0)
}

/// Id and place of every DAG that is linked into this program, whether it can be built or not.
pub fn dag_places() -> impl Iterator<Item = (&'static str, Place)> {
    let entries = inventory::iter::<DagEntry>.into_iter();
    entries.map(|e| (e.0.dag_id, Place { file: e.0.file.into(), line: e.0.line }))
}

/// All DAGs and all bodies of a program, sorted and checked.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    dags: BTreeMap<String, Arc<Dag>>,
    broken: BTreeMap<String, BrokenDag>,
    bodies: Bodies,
}

/// A DAG that cannot be built. It is no reason not to run the others.
#[derive(Debug, Clone)]
pub struct BrokenDag {
    /// Where its function stands.
    pub place: Place,
    /// Why.
    pub error: DagError,
}

/// The functions behind the keys in [`flow_core::TaskDef::body`].
#[derive(Debug, Clone, Default)]
pub struct Bodies {
    bodies: BTreeMap<&'static str, Body>,
    /// What the functions take and give, of those that `#[task]` has registered.
    specs: BTreeMap<&'static str, &'static TaskSpec>,
}

impl Bodies {
    /// The bodies of all `#[task]` functions linked into this program. Of two of the same key the later wins; only
    /// [`Registry::collect`] complains.
    pub fn collect() -> Bodies {
        let mut bodies = Bodies::default();
        for spec in task_specs() {
            bodies.bodies.insert(spec.body, spec.run);
            bodies.specs.insert(spec.body, spec);
        }
        bodies
    }

    /// The function of this key.
    pub fn get(&self, key: &str) -> Option<Body> {
        self.bodies.get(key).copied()
    }

    /// What the function of this key takes and gives, if `#[task]` has registered it.
    pub(crate) fn spec(&self, key: &str) -> Option<&'static TaskSpec> {
        self.specs.get(key).copied()
    }

    /// Puts a function in the place of another (in tests), or adds one.
    pub fn insert(&mut self, key: &'static str, body: Body) {
        self.specs.remove(key);
        self.bodies.insert(key, body);
    }
}

/// Why none of a program's DAGs can be used; each problem names its places.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct RegistryError(pub Vec<String>);

impl Registry {
    /// Collects and builds everything that is linked into this program.
    ///
    /// # Errors
    /// No DAG at all, two DAGs or two bodies of one name, more than one default DAG. (A DAG that cannot be built is among
    /// [`Registry::broken`].)
    pub fn collect() -> Result<Registry, RegistryError> {
        let tasks: Vec<&'static TaskSpec> = task_specs().collect();
        let dags: Vec<DagSpec> = inventory::iter::<DagEntry>.into_iter().map(|e| e.0).collect();
        Registry::from_specs(tasks, dags)
    }

    /// As [`Registry::collect`], from these.
    ///
    /// # Errors
    /// As for [`Registry::collect`].
    pub fn from_specs(mut tasks: Vec<&'static TaskSpec>, mut dags: Vec<DagSpec>) -> Result<Registry, RegistryError> {
        tasks.sort_by_key(|t| (t.body, t.file, t.line));
        dags.sort_by_key(|d| (d.dag_id, d.file, d.line));
        let mut problems = Vec::new();
        if dags.is_empty() {
            problems.push(
                "this program has no DAG: write one with `#[dag]`, and make sure that `main.rs` names the crate it is in \
                 (`use my_dags as _;`), or the linker leaves it out"
                    .to_string(),
            );
        }
        for pair in tasks.windows(2).filter(|p| p[0].body == p[1].body) {
            problems.push(format!(
                "two tasks are called `{}`: at {} and at {}",
                pair[0].body,
                pair[0].place(),
                pair[1].place()
            ));
        }
        for pair in dags.windows(2).filter(|p| p[0].dag_id == p[1].dag_id) {
            let (a, b) = (&pair[0], &pair[1]);
            problems.push(format!(
                "two DAGs are called `{}`: at {}:{} and at {}:{}; give one of them another name by `#[dag(id = \"..\")]`",
                a.dag_id, a.file, a.line, b.file, b.line
            ));
        }
        let bodies = Bodies {
            bodies: tasks.iter().map(|t| (t.body, t.run)).collect(),
            specs: tasks.iter().map(|t| (t.body, *t)).collect(),
        };
        let mut built = BTreeMap::new();
        let mut broken = BTreeMap::new();
        for spec in &dags {
            let place = Place { file: spec.file.into(), line: spec.line };
            match std::panic::catch_unwind(spec.build) {
                Ok(Ok(dag)) => drop(built.insert(dag.dag_id.clone(), Arc::new(dag))),
                Ok(Err(error)) => drop(broken.insert(spec.dag_id.to_string(), BrokenDag { place, error })),
                // The message is on stderr already, with its place.
                Err(_) => {
                    let problem = format!("its body panicked ({place}): it runs whenever the program starts");
                    let error = DagError { dag_id: spec.dag_id.into(), problems: vec![problem] };
                    broken.insert(spec.dag_id.to_string(), BrokenDag { place, error });
                }
            }
        }
        let defaults: Vec<&str> = built.values().filter(|d| d.is_default).map(|d| d.dag_id.as_str()).collect();
        if defaults.len() > 1 {
            problems.push(format!(
                "only one DAG can be the default, and {} are: {}",
                defaults.len(),
                defaults.join(", ")
            ));
        }
        if problems.is_empty() { Ok(Registry { dags: built, broken, bodies }) } else { Err(RegistryError(problems)) }
    }

    /// All DAGs, by id.
    pub fn dags(&self) -> impl Iterator<Item = &Arc<Dag>> {
        self.dags.values()
    }

    /// Those that cannot be built, by id.
    pub fn broken(&self) -> &BTreeMap<String, BrokenDag> {
        &self.broken
    }

    /// The DAG of this id.
    pub fn dag(&self, dag_id: &str) -> Option<&Arc<Dag>> {
        self.dags.get(dag_id)
    }

    /// The DAG that runs when nothing is said.
    pub fn default_dag(&self) -> Option<&Arc<Dag>> {
        self.dags.values().find(|d| d.is_default)
    }

    /// All functions.
    pub fn bodies(&self) -> &Bodies {
        &self.bodies
    }
}
