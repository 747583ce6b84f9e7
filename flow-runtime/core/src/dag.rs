//! A DAG as data: what the macros and [`DagBuilder`](https://docs.rs/flow-runtime) make, what is stored with a run,
//! and all that the planner knows. It holds no code and no user value but literals.

use crate::asset::AssetDef;
use crate::notify::{Deadline, Notifiers};
use crate::schedule::Schedule;
use crate::sensor::SensorPolicy;
use crate::trigger_rule::TriggerRule;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Index of a task in [`Dag::tasks`]; an upstream task always has the smaller index once the DAG is built... unless edges
/// were drawn backwards by hand, so nothing may rely on it: ask [`Dag::topological`].
pub type TaskIx = u32;

/// One workflow: tasks, their edges, and when it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dag {
    /// Its name, unique in a project.
    pub dag_id: String,
    /// The doc comment of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// When it runs by itself; `None` means only when somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The time zone whose clocks a cron expression means, by its name in the tz database; `None` means UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// A run at the end of each interval between two ticks, whose logical date is the start: what a schedule meant before
    /// Airflow 3. Default false: a run at each tick.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub data_intervals: bool,
    /// No scheduled run before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<DateTime<Utc>>,
    /// No scheduled run after this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<DateTime<Utc>>,
    /// Make a run for every past tick since `start_date`. Default false, as in Airflow 3.
    #[serde(default)]
    pub catchup: bool,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Most runs in state running at one time. Default 16.
    pub max_active_runs: u32,
    /// Most task instances of a run in flight at one time. Default 16.
    pub max_active_tasks: u32,
    /// The first task that fails ends the run: what runs is stopped, all else is upstream_failed; teardowns run all the
    /// same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fail_fast: bool,
    /// So many scheduled runs in a row that failed pause the DAG; 0, the default, never does.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_consecutive_failed_dag_runs: u32,
    /// A run that takes longer fails, and what it has not finished is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dagrun_timeout: Option<Duration>,
    /// By when a run should be done; one that is not goes on, and that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// Who is told what becomes of its runs.
    #[serde(default, skip_serializing_if = "Notifiers::is_empty")]
    pub notify: Notifiers,
    /// What a person may set when a run starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<ParamDef>,
    /// The tasks, in the order in which the author called them.
    pub tasks: Vec<TaskDef>,
    /// Mapped task groups (and groups at large), by id; a task names the one it lies in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupDef>,
    /// The assets that it speaks of (its schedule, its tasks), each once, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<AssetDef>,
    /// The DAG that the binary runs when it is started without a word.
    #[serde(default)]
    pub is_default: bool,
    /// Where it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Only [`part`](crate::part()) of the tasks, for a run of those.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// A file and a line of the author's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Path as the compiler saw it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A value that a person may set when a run starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParamDef {
    /// Its name.
    pub name: String,
    /// The doc comment of the argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// The Rust type, as the author wrote it.
    pub type_name: String,
    /// JSON Schema of the type.
    pub schema: Value,
    /// The default; `None` means it must be given (a default of JSON null is `Some(Value::Null)`).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub default: Option<Value>,
    /// A `Secret<..>`: never stored and never shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Keeps an explicit JSON null apart from a missing key.
fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

/// One task of a DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDef {
    /// Its name, unique in the DAG.
    pub task_id: String,
    /// Key of the function that is its body: module path and name.
    pub body: String,
    /// The doc comment of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Ordinary work, or setup, or teardown.
    #[serde(default)]
    pub kind: TaskKind,
    /// When it may start.
    #[serde(default)]
    pub trigger_rule: TriggerRule,
    /// How often and how soon it is tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Longest time one try may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The pool that holds its slots. Default `default_pool`.
    pub pool: String,
    /// How many slots of the pool one try takes. Default 1.
    pub pool_slots: u32,
    /// Most instances of it in flight at one time, of all runs of the DAG.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_active: Option<u32>,
    /// Most instances of it in flight at one time in one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_active_per_run: Option<u32>,
    /// Most tries at one time with the same key, of all tasks, DAGs and runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<AtOnce>,
    /// Most tries that are started in a span of time with the same key, of all tasks, DAGs and runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Does it wait for what became of it in the run before?
    #[serde(default, skip_serializing_if = "Past::is_default")]
    pub past: Past,
    /// Its own weight; the larger total goes first. Default 1.
    pub priority: i64,
    /// How the weights around it count into its total.
    #[serde(default)]
    pub weight_rule: WeightRule,
    /// Name of the group of workers that may run it. Default `default`.
    pub queue: String,
    /// A sensor: how it looks whether what it waits for is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<SensorPolicy>,
    /// Where its tries run.
    #[serde(default, skip_serializing_if = "Isolation::is_none")]
    pub isolation: Isolation,
    /// Who is told what becomes of its tries.
    #[serde(default, skip_serializing_if = "Notifiers::is_empty")]
    pub notify: Notifiers,
    /// The arguments, in order (the context is not one of them).
    pub inputs: Vec<Input>,
    /// Direct upstream tasks, by data or by order, each once, ascending.
    pub upstream: Vec<TaskIx>,
    /// `x.when(choice, value)`: it is skipped when an upstream task's output differs from the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Mapped over lists: one instance per element (or per combination of elements).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mapped: bool,
    /// The innermost group it lies in, by index into [`Dag::groups`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Names of the assets that it makes: its success is an event of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlets: Vec<String>,
    /// Names of the assets that it reads, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inlets: Vec<String>,
    /// The Rust type of its output, as the author wrote it; `()` for none.
    pub output: String,
    /// Where the function was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A named group of tasks; a mapped group gives each of its tasks one instance per element.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GroupDef {
    /// Its id, with the ids of the groups around it: `outer.inner`.
    pub group_id: String,
    /// The doc comment of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// The group around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// Do the ids of its tasks begin with its own?
    #[serde(default)]
    pub prefix: bool,
    /// True for a group mapped over lists: its tasks depend on each other index by index.
    #[serde(default)]
    pub mapped: bool,
    /// The arguments that it is mapped over, each with its list, the first one slowest; where none is named, the lists
    /// that its tasks name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<Input>,
}

/// What a task is to the tasks around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum TaskKind {
    /// Ordinary work.
    #[default]
    Normal,
    /// Makes ready what the tasks in its scope need.
    Setup,
    /// Cleans up after its setups, however the work between ended.
    Teardown {
        /// Its failure fails the run (else it does not count).
        #[serde(default)]
        on_failure_fail_dagrun: bool,
    },
}

/// Where the tries of a task run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// In the process of the worker, beside others.
    #[default]
    None,
    /// Each in a process of its own, which can be ended whatever it does.
    Process,
}

impl Isolation {
    /// No isolation?
    pub fn is_none(&self) -> bool {
        *self == Isolation::None
    }
}

/// At most so many tries at one time that have the same key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AtOnce {
    /// How many.
    pub most: u32,
    /// The key: a [template](crate::key) over the task's arguments.
    pub key: String,
}

/// At most so many tries that have the same key are started in a span of time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// How many.
    pub starts: u32,
    /// In how long.
    pub span: Duration,
    /// The key: a [template](crate::key) over the task's arguments.
    pub key: String,
}

/// What a task waits for in the run of its DAG with the logical date before. The names are Airflow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Its own instances there must have succeeded, or been skipped.
    #[serde(default)]
    pub depends_on_past: bool,
    /// So must those of the tasks right below it. Implies the other.
    #[serde(default)]
    pub wait_for_downstream: bool,
    /// A task that no earlier run has had waits for nothing. Default true, as in Airflow.
    #[serde(default = "yes")]
    pub ignore_first: bool,
}

fn yes() -> bool {
    true
}

impl Default for Past {
    fn default() -> Self {
        Past { depends_on_past: false, wait_for_downstream: false, ignore_first: true }
    }
}

impl Past {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_default(&self) -> bool {
        *self == Past::default()
    }

    /// Does it wait for nothing?
    pub fn is_none(&self) -> bool {
        !self.depends_on_past && !self.wait_for_downstream
    }
}

/// How often a task is tried again, and how soon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Tries after the first. Default 0.
    pub retries: u32,
    /// Time until the next try. Default 5 minutes.
    pub delay: Duration,
    /// Each further wait is this many times the one before; 0 means no backoff. Default 0.
    pub backoff: f64,
    /// Longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { retries: 0, delay: Duration::from_secs(300), backoff: 0.0, max_delay: None }
    }
}

/// How the weights around a task count into its total weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightRule {
    /// Its own and all descendants'.
    #[default]
    Downstream,
    /// Its own and all ancestors'.
    Upstream,
    /// Its own alone.
    Absolute,
}

/// One argument of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Name of the argument.
    pub name: String,
    /// Its Rust type, as the author wrote it.
    pub type_name: String,
    /// Where its value comes from.
    pub source: Source,
}

/// Where the value of an argument comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Written in the DAG.
    Literal(Value),
    /// The output of a task (of all its instances in map-index order, when it is mapped).
    Output(TaskIx),
    /// The output of a task, or nothing when it gave none (`Option<T>`).
    OptionalOutput(TaskIx),
    /// One element of a task's tuple output, from 0.
    Field(TaskIx, u32),
    /// The same, or nothing when the task gave no output (`Option<T>`).
    OptionalField(TaskIx, u32),
    /// A param of the DAG.
    Param(String),
    /// A list of sources (`Vec<T>`).
    List(Vec<Source>),
    /// A struct, field by field.
    Record(BTreeMap<String, Source>),
    /// One element of a list per instance of a mapped task.
    Each(Box<Source>),
}

impl Source {
    /// The tasks whose output it reads, in order, with repetitions.
    pub fn tasks(&self) -> Vec<TaskIx> {
        match self {
            Source::Literal(_) | Source::Param(_) => Vec::new(),
            Source::Output(t) | Source::OptionalOutput(t) | Source::Field(t, _) | Source::OptionalField(t, _) => {
                vec![*t]
            }
            Source::List(list) => list.iter().flat_map(Source::tasks).collect(),
            Source::Record(fields) => fields.values().flat_map(Source::tasks).collect(),
            Source::Each(inner) => inner.tasks(),
        }
    }
}

/// The task runs only when `upstream`'s output equals `equals` (as JSON); else it is skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The task whose output is looked at; always one of the task's upstream tasks.
    pub upstream: TaskIx,
    /// The element of its tuple output that is looked at; else the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<u32>,
    /// The value it must have.
    pub equals: Value,
}

impl Dag {
    /// An empty DAG with every setting at its default.
    pub fn new(dag_id: impl Into<String>) -> Dag {
        Dag {
            dag_id: dag_id.into(),
            doc: None,
            schedule: None,
            timezone: None,
            data_intervals: false,
            start_date: None,
            end_date: None,
            catchup: false,
            tags: Vec::new(),
            max_active_runs: 16,
            max_active_tasks: 16,
            fail_fast: false,
            max_consecutive_failed_dag_runs: 0,
            dagrun_timeout: None,
            deadline: None,
            notify: Notifiers::new(),
            params: Vec::new(),
            tasks: Vec::new(),
            groups: Vec::new(),
            assets: Vec::new(),
            is_default: false,
            place: None,
            partial: false,
        }
    }

    /// The task with this id.
    pub fn task(&self, task_id: &str) -> Option<&TaskDef> {
        self.tasks.iter().find(|t| t.task_id == task_id)
    }

    /// The index of the task with this id.
    pub fn task_ix(&self, task_id: &str) -> Option<TaskIx> {
        self.tasks.iter().position(|t| t.task_id == task_id).map(|i| i as TaskIx)
    }

    /// For each task its direct downstream tasks, ascending.
    pub fn downstream(&self) -> Vec<Vec<TaskIx>> {
        let mut down = vec![Vec::new(); self.tasks.len()];
        for (t, def) in self.tasks.iter().enumerate() {
            for &u in &def.upstream {
                down[u as usize].push(t as TaskIx);
            }
        }
        down
    }

    /// All tasks, each after its upstream tasks, ties by index; `Err` with one cycle (task by task, each upstream of
    /// the next, the last upstream of the first) if there is one.
    pub fn topological(&self) -> Result<Vec<TaskIx>, Vec<TaskIx>> {
        let down = self.downstream();
        let mut missing: Vec<usize> = self.tasks.iter().map(|t| t.upstream.len()).collect();
        let mut ready: std::collections::BTreeSet<TaskIx> =
            (0..self.tasks.len() as TaskIx).filter(|&t| missing[t as usize] == 0).collect();
        let mut order = Vec::with_capacity(self.tasks.len());
        while let Some(t) = ready.pop_first() {
            order.push(t);
            for &d in &down[t as usize] {
                missing[d as usize] -= 1;
                if missing[d as usize] == 0 {
                    ready.insert(d);
                }
            }
        }
        if order.len() == self.tasks.len() { Ok(order) } else { Err(self.find_cycle(&missing)) }
    }

    /// Walks upstream among the tasks that stayed blocked until one comes twice.
    fn find_cycle(&self, missing: &[usize]) -> Vec<TaskIx> {
        let blocked = |t: TaskIx| missing[t as usize] > 0;
        let mut at = (0..self.tasks.len() as TaskIx).find(|&t| blocked(t)).expect("a blocked task");
        let mut path: Vec<TaskIx> = Vec::new();
        loop {
            if let Some(first) = path.iter().position(|&t| t == at) {
                let mut cycle = path.split_off(first);
                cycle.reverse();
                return cycle;
            }
            path.push(at);
            let ups = &self.tasks[at as usize].upstream;
            at = *ups.iter().find(|&&u| blocked(u)).expect("a blocked task has a blocked upstream");
        }
    }

    /// For each param the ids of the tasks that read it.
    pub fn param_readers(&self) -> BTreeMap<&str, Vec<&str>> {
        fn reads(source: &Source, name: &str) -> bool {
            match source {
                Source::Param(p) => p == name,
                Source::List(list) => list.iter().any(|s| reads(s, name)),
                Source::Record(fields) => fields.values().any(|s| reads(s, name)),
                Source::Each(inner) => reads(inner, name),
                _ => false,
            }
        }
        self.params
            .iter()
            .map(|p| {
                let readers = self.tasks.iter().filter(|t| t.inputs.iter().any(|i| reads(&i.source, &p.name)));
                (p.name.as_str(), readers.map(|t| t.task_id.as_str()).collect())
            })
            .collect()
    }
}

impl TaskDef {
    /// An ordinary task with every setting at its default.
    pub fn new(task_id: impl Into<String>, body: impl Into<String>) -> TaskDef {
        TaskDef {
            task_id: task_id.into(),
            body: body.into(),
            doc: None,
            kind: TaskKind::Normal,
            trigger_rule: TriggerRule::default(),
            retry: RetryPolicy::default(),
            timeout: None,
            pool: "default_pool".into(),
            pool_slots: 1,
            max_active: None,
            max_active_per_run: None,
            at_once: None,
            rate: None,
            past: Past::default(),
            priority: 1,
            weight_rule: WeightRule::default(),
            queue: "default".into(),
            sensor: None,
            isolation: Isolation::None,
            notify: Notifiers::new(),
            inputs: Vec::new(),
            upstream: Vec::new(),
            conditions: Vec::new(),
            mapped: false,
            group: None,
            outlets: Vec::new(),
            inlets: Vec::new(),
            output: "()".into(),
            place: None,
        }
    }
}
