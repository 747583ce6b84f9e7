//! Why does it not run? Each reason prints as one sentence for people.

use crate::dag::{Dag, TaskDef};
use crate::event::{InstanceKey, UNMAPPED};
use crate::parse;
use crate::plan::decide;
use crate::run::{Length, RunState};
use crate::state::{RunStatus, TaskState};
use crate::trigger_rule::{Decision, TriggerRule};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most names in one reason.
const NAMES: usize = 10;

/// Why an instance (or a whole mapped task) does not run. Each prints as a sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[non_exhaustive]
pub enum Waiting {
    /// Its run was not started yet.
    Run,
    /// Its trigger rule waits for these upstream tasks.
    Upstream {
        /// The rule.
        rule: TriggerRule,
        /// Ids of upstream tasks that have not finished, at most 10.
        unfinished: Vec<String>,
    },
    /// A setup in whose scope it lies has not succeeded.
    Setup {
        /// Ids of those setups, at most 10.
        unfinished: Vec<String>,
    },
    /// All upstream tasks have finished, and its trigger rule can never hold.
    Stuck {
        /// The rule.
        rule: TriggerRule,
    },
    /// The list that it is mapped over is not known yet.
    List {
        /// Ids of the tasks that make it, at most 10.
        unfinished: Vec<String>,
    },
    /// It failed and is due again at this instant.
    Retry {
        /// When.
        due: DateTime<Utc>,
        /// How long that is from now, for people.
        wait: String,
    },
    /// It asked to be looked at again at this instant.
    Reschedule {
        /// When.
        due: DateTime<Utc>,
        /// How long that is from now, for people.
        wait: String,
    },
    /// It may run, and waits for a slot.
    Slot,
    /// All slots of its pool are taken, or too few are free.
    Pool {
        /// The pool.
        pool: String,
        /// Slots of the pool.
        slots: u32,
        /// Slots that are free.
        open: u32,
        /// Slots that it needs.
        needs: u32,
    },
    /// Its pool does not exist.
    NoPool {
        /// The pool.
        pool: String,
    },
    /// The DAG has as many task instances in flight as it may.
    ActiveTasks {
        /// The DAG.
        dag_id: String,
        /// Its limit.
        limit: u32,
    },
    /// As many task instances are in flight as may be at all.
    Parallelism {
        /// The limit.
        limit: u32,
    },
    /// An executor has it, and has not begun.
    Executor,
    /// It was cleared while it ran, and its old try has not stopped yet.
    Stopping,
    /// A trigger must fire first.
    Trigger,
    /// A person must answer first.
    Answer,
}

/// Why an instance does not run at `now`; `None` if it runs or has finished, or is not there.
///
/// An instance that only waits for a slot gets [`Waiting::Slot`]; [`Limits::refuses`](crate::admit::Limits::refuses)
/// knows which limit holds it back.
pub fn why(dag: &Dag, run: &RunState, key: InstanceKey, now: DateTime<Utc>) -> Option<Waiting> {
    let instance = run.instance(key)?;
    let def = dag.tasks.get(key.task as usize)?;
    let due = instance.due.unwrap_or(now);
    let wait = || parse::human((due - now).to_std().unwrap_or_default());
    match instance.state {
        TaskState::None if run.status().is_finished() => None,
        TaskState::None if run.status() == RunStatus::Queued => Some(Waiting::Run),
        TaskState::None => Some(undecided(dag, run, key, def)),
        TaskState::Scheduled => Some(Waiting::Slot),
        TaskState::Queued => Some(Waiting::Executor),
        TaskState::Restarting => Some(Waiting::Stopping),
        TaskState::UpForRetry => Some(Waiting::Retry { due, wait: wait() }),
        TaskState::UpForReschedule => Some(Waiting::Reschedule { due, wait: wait() }),
        TaskState::Deferred => Some(Waiting::Trigger),
        TaskState::AwaitingInput => Some(Waiting::Answer),
        TaskState::Running
        | TaskState::Success
        | TaskState::Failed
        | TaskState::Skipped
        | TaskState::UpstreamFailed
        | TaskState::Removed => None,
    }
}

fn undecided(dag: &Dag, run: &RunState, key: InstanceKey, def: &TaskDef) -> Waiting {
    let node = &run.graph.nodes[key.task as usize];
    let unfinished = |tasks: &mut dyn Iterator<Item = u32>| -> Vec<String> {
        let open =
            tasks.filter(|&u| is_open(run, u, key, node.up_beside.contains(&u) || node.work_beside.contains(&u)));
        open.take(NAMES).filter_map(|u| dag.tasks.get(u as usize)).map(|t| t.task_id.clone()).collect()
    };
    if decide(dag, run, key) == Decision::Run {
        // Only a list that is still to come holds back what may run.
        let list = node.mapped && key.map_index == UNMAPPED && run.task_length(key.task) == Length::Pending;
        let mut makers = node.axes.iter().flat_map(|axis| axis.tasks());
        return if list { Waiting::List { unfinished: unfinished(&mut makers) } } else { Waiting::Slot };
    }
    let holds = |w: &u32| run.graph.nodes[*w as usize].held.contains(&key.task) || node.work_beside.contains(w);
    let work = (0..dag.tasks.len() as u32).filter(holds);
    let upstream = unfinished(&mut def.upstream.iter().copied().chain(work));
    if !upstream.is_empty() {
        return Waiting::Upstream { rule: def.trigger_rule, unfinished: upstream };
    }
    let mut setups = (0..dag.tasks.len() as u32).filter(|&s| {
        let setup = &run.graph.nodes[s as usize];
        setup.scope.contains(&key.task) || setup.scope_beside.contains(&key.task)
    });
    let setups = unfinished(&mut setups);
    if setups.is_empty() { Waiting::Stuck { rule: def.trigger_rule } } else { Waiting::Setup { unfinished: setups } }
}

/// Has this upstream task anything unfinished that the instance waits for?
fn is_open(run: &RunState, task: u32, key: InstanceKey, beside: bool) -> bool {
    if beside && let Some(i) = run.instance(InstanceKey { task, ..key }) {
        return !i.state.is_finished();
    }
    run.tasks.get(task as usize).is_some_and(|t| t.own.unfinished() > 0)
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |due: &DateTime<Utc>| due.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        match self {
            Waiting::Run => write!(f, "its run has not started yet"),
            Waiting::Upstream { rule, unfinished } => {
                write!(f, "waits for {} to finish (trigger rule {rule})", names(unfinished))
            }
            Waiting::Setup { unfinished } => {
                write!(f, "waits for its setup {} to succeed", names(unfinished))
            }
            Waiting::Stuck { rule } => {
                write!(
                    f,
                    "can never start: everything upstream has finished, and the trigger rule {rule} does not hold"
                )
            }
            Waiting::List { unfinished } => {
                write!(f, "waits for {} to make the list that it is mapped over", names(unfinished))
            }
            Waiting::Retry { due, wait } => {
                write!(f, "failed, and is tried again in {wait}, at {}", at(due))
            }
            Waiting::Reschedule { due, wait } => write!(f, "looks again in {wait}, at {}", at(due)),
            Waiting::Slot => write!(f, "may run, and waits for a slot"),
            Waiting::Pool { pool, slots, needs, .. } if needs > slots => {
                write!(f, "needs {needs} slots of the pool {pool}, which has {slots} in all")
            }
            Waiting::Pool { pool, slots, open, needs } => {
                write!(f, "needs {needs} of the {slots} slots of the pool {pool}, {open} of them free")
            }
            Waiting::NoPool { pool } => write!(f, "its pool {pool} does not exist"),
            Waiting::ActiveTasks { dag_id, limit } => {
                write!(f, "{dag_id} has as many tasks in flight as it may (max_active_tasks is {limit})")
            }
            Waiting::Parallelism { limit } => {
                write!(f, "as many tasks are in flight as may be at one time (parallelism is {limit})")
            }
            Waiting::Executor => write!(f, "was handed to the executor, and waits for a worker to begin"),
            Waiting::Stopping => write!(f, "was cleared while it ran, and waits for its old try to stop"),
            Waiting::Trigger => write!(f, "waits for its trigger to fire"),
            Waiting::Answer => write!(f, "waits for a person's answer"),
        }
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn names(ids: &[String]) -> String {
    match ids {
        [] => "something".into(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
