//! Why does it not run? Each reason prints as one sentence for people. [`why`] knows those inside of a run; those around
//! it (limits, the past, who works on it, the schedule) are known to the shells, which give them by the same type.

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

/// Why an instance (or a whole mapped task), a run or a DAG does not run. Each prints as a sentence without its subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[non_exhaustive]
pub enum Waiting {
    /// Of a DAG or a run of it: a person has paused the DAG.
    Paused,
    /// Of a DAG: a person has paused a backfill of it.
    BackfillPaused {
        /// Its number.
        backfill: i64,
        /// Dates that are left, where they can be told.
        left: Option<u32>,
    },
    /// Of a DAG: a backfill of it has dates left.
    Backfill {
        /// Its number.
        backfill: i64,
        /// Dates that are left.
        left: u32,
        /// Who works on it: host and process.
        holder: Option<String>,
        /// The DAG is paused: only a command works on it.
        paused: bool,
        /// A scheduler is there, and works on it if nobody does; `None` where that cannot be seen.
        scheduler: Option<bool>,
    },
    /// Of a DAG: a backfill of it has as many unfinished runs as it may.
    BackfillFull {
        /// Its number.
        backfill: i64,
        /// The limit.
        limit: u32,
        /// Ids of the runs that must end first, at most 10.
        runs: Vec<String>,
    },
    /// Of a DAG: a backfill of it cannot go on.
    BackfillCannotGoOn {
        /// Its number.
        backfill: i64,
        /// Why, as a sentence.
        why: String,
    },
    /// Of a DAG: no run of it can be made.
    CannotRun {
        /// Why, as sentences.
        why: String,
    },
    /// Of a DAG: nothing makes runs of it.
    NoSchedule,
    /// Of a DAG: its schedule asks for no more runs.
    NoMoreRuns,
    /// Of a DAG: it has a run once more assets have come.
    Assets {
        /// What must come: `weather | news`.
        missing: String,
        /// Those that have come, at most 10.
        come: Vec<String>,
    },
    /// Of a DAG: the assets that it waits for have come, and a run will be made.
    AssetsCome,
    /// Of a DAG: its next run is made at this instant.
    NextRun {
        /// When.
        due: DateTime<Utc>,
        /// How long that is from now, for people.
        wait: String,
    },
    /// Of a DAG: a run is due since this instant, and will be made.
    RunDue {
        /// Since when.
        due: DateTime<Utc>,
    },
    /// Of a DAG: a run is due, and it has as many unfinished ones as it may.
    MaxActiveRuns {
        /// The limit.
        limit: u32,
        /// Ids of the runs that must end first, at most 10.
        runs: Vec<String>,
    },
    /// Of a DAG: runs are made by a scheduler, and none works on this home folder.
    NoScheduler,
    /// Of a DAG: runs are made by a scheduler, and whether one works cannot be seen.
    SchedulerUnseen,
    /// Of a run: no process works on it.
    Unattended {
        /// A scheduler is there, and will go on with it; `None` where that cannot be seen.
        scheduler: Option<bool>,
    },
    /// Of a run: no process works on it, and none can.
    CannotGoOn {
        /// Why, as sentences.
        why: String,
    },
    /// Of a run: it is being ended, and is unfinished as long as something is to be taken away.
    Ending {
        /// Why, as a sentence.
        why: String,
        /// Its state then.
        state: RunStatus,
    },
    /// No process works on its run.
    Resume,
    /// The process that ran it has ended, and nobody has taken note of it yet.
    Lost,
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
    /// It waits for what becomes of a task in the run before (depends_on_past, wait_for_downstream).
    Past {
        /// The run before.
        run_id: String,
        /// The task there: the same, or one right below it.
        task_id: String,
        /// The state of an instance of it that has not ended well; `None` if that run has no such task.
        state: Option<TaskState>,
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
        /// Who has the slots, where that is known: `load of run scheduled__2026-01-31T00:00:00+00:00`, at most 10.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holders: Vec<String>,
    },
    /// Its pool does not exist.
    NoPool {
        /// The pool.
        pool: String,
    },
    /// Its run has as many task instances in flight as it may.
    ActiveTasks {
        /// The DAG.
        dag_id: String,
        /// Its limit.
        limit: u32,
    },
    /// As many instances of its task are in flight in all runs of the DAG as may be.
    MaxActive {
        /// The limit of the task.
        limit: u32,
        /// Who has them, where that is known, at most 10.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holders: Vec<String>,
    },
    /// As many instances of its task are in flight in its run as may be.
    MaxActivePerRun {
        /// The limit of the task.
        limit: u32,
    },
    /// As many tries with its key are in flight as may be.
    AtOnce {
        /// The key.
        key: String,
        /// The limit.
        limit: u32,
        /// Who has the key, where that is known, at most 10.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holders: Vec<String>,
    },
    /// As many tries with its key were started as may be in a span of time.
    Rate {
        /// The key.
        key: String,
        /// How many may be started ..
        limit: u32,
        /// .. in how long, for people.
        span: String,
        /// When the next may be, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<DateTime<Utc>>,
    },
    /// Tasks in other processes have what is left of a limit.
    Elsewhere {
        /// The limit, by its [name](crate::admit::Share::name).
        limit: String,
        /// When it is asked for again.
        due: DateTime<Utc>,
    },
    /// As many task instances are in flight as may be at all.
    Parallelism {
        /// The limit.
        limit: u32,
        /// Who is in flight, where that is known, at most 10.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holders: Vec<String>,
    },
    /// An executor has it, and has not begun.
    Executor,
    /// It was cleared while it ran, and its old try has not stopped yet.
    Stopping,
    /// It is deferred until this instant.
    Until {
        /// When.
        due: DateTime<Utc>,
        /// How long that is from now, for people.
        wait: String,
    },
    /// It is deferred until this event happens.
    Event {
        /// The event, if it is known here.
        event: Option<String>,
        /// It goes on then, even without the event.
        due: Option<DateTime<Utc>>,
    },
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
        TaskState::Deferred if instance.due.is_some() => Some(Waiting::Until { due, wait: wait() }),
        TaskState::Deferred => Some(Waiting::Event { event: None, due: None }),
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
            Waiting::Paused => write!(f, "is paused: nothing of it is begun until somebody unpauses the DAG"),
            Waiting::BackfillPaused { backfill, left } => {
                write!(f, "has a backfill that is paused: `backfill unpause {backfill}` goes on with it")?;
                left.map_or(Ok(()), |left| write!(f, " ({} left)", dates(left)))
            }
            Waiting::Backfill { backfill, left, holder, paused, scheduler } => {
                write!(f, "has {} left of backfill {backfill}: ", dates(*left))?;
                match (holder, paused, scheduler) {
                    (Some(holder), ..) => write!(f, "{holder} works on it"),
                    (None, true, _) => write!(
                        f,
                        "nobody works on it while the DAG is paused, unless the command that asked for it is given once more"
                    ),
                    (None, false, Some(true)) => write!(f, "the scheduler works on it from its next look on"),
                    (None, false, Some(false)) => write!(
                        f,
                        "nobody works on it until a scheduler does, or the command that asked for it is given once more"
                    ),
                    (None, false, None) => {
                        write!(f, "nobody works on it; a scheduler that runs does from its next look on ({UNSEEN})")
                    }
                }
            }
            Waiting::BackfillFull { backfill, limit, runs } => write!(
                f,
                "has as many unfinished runs of backfill {backfill} as it may (its --max-active-runs is {limit}): the \
                 next is made when one of these has ended: {}",
                names(runs)
            ),
            Waiting::BackfillCannotGoOn { backfill, why } => {
                write!(f, "has backfill {backfill}, which cannot go on by {SETTINGS}: {why}; {OTHERS}")
            }
            Waiting::CannotRun { why } => write!(f, "can have no run by {SETTINGS}: {why}; {OTHERS}"),
            Waiting::NoSchedule => write!(f, "has no schedule: it runs when somebody asks"),
            Waiting::NoMoreRuns => write!(f, "will not run any more: its schedule has come to its end"),
            Waiting::Assets { missing, come } => {
                write!(f, "waits for {missing}")?;
                match &come[..] {
                    [] => Ok(()),
                    [one] => write!(f, "; {one} has come"),
                    most => write!(f, "; {} have come", names(most)),
                }
            }
            Waiting::AssetsCome => write!(f, "has a run that is due, for what it waits for has come, and not made yet"),
            Waiting::NextRun { due, wait } => write!(f, "runs next in {wait}, at {}", at(due)),
            Waiting::RunDue { due } => write!(f, "has a run that is due since {}, and not made yet", at(due)),
            Waiting::MaxActiveRuns { limit, runs } => write!(
                f,
                "has as many runs as it may (max_active_runs is {limit}): the next is made when one of these has ended: {}",
                names(runs)
            ),
            Waiting::NoScheduler => write!(f, "makes no runs by itself: no scheduler works on this home folder"),
            Waiting::SchedulerUnseen => write!(f, "has its runs made by a scheduler that runs ({UNSEEN})"),
            Waiting::CannotGoOn { why } => {
                write!(f, "cannot go on by {SETTINGS}: {why}; {OTHERS}, and `mark RUN failed` ends the run")
            }
            Waiting::Unattended { scheduler: Some(true) } => {
                write!(f, "waits for the scheduler, which goes on with it at its next look")
            }
            Waiting::Unattended { scheduler: None } => {
                write!(f, "waits for a scheduler: one that runs goes on with it at its next look ({UNSEEN})")
            }
            Waiting::Unattended { scheduler: Some(false) } => {
                write!(
                    f,
                    "waits for somebody to go on with it: no process works on it, and no scheduler on this home folder"
                )
            }
            Waiting::Ending { why, state } => {
                write!(f, "is being ended ({why}): it is {state} when what is set up is taken away")
            }
            Waiting::Resume => write!(f, "waits for the run to be resumed"),
            Waiting::Lost => write!(f, "its process ended while it ran"),
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
            Waiting::Past { run_id, task_id, state: None } => {
                write!(f, "waits for {task_id} in the run before, {run_id}, which has no such task (depends_on_past)")
            }
            Waiting::Past { run_id, task_id, state: Some(state) } if state.is_finished() => write!(
                f,
                "waits for {task_id} to succeed in the run before, {run_id}, where it is {state}: clear it there, or mark \
                 it as success (depends_on_past)"
            ),
            Waiting::Past { run_id, task_id, state: Some(state) } => {
                let is = if *state == TaskState::None { "not decided" } else { state.name() };
                write!(
                    f,
                    "waits for {task_id} to succeed in the run before, {run_id}, where it is {is} (depends_on_past)"
                )
            }
            Waiting::Slot => write!(f, "may run, and waits for a slot"),
            Waiting::Pool { pool, slots, needs, .. } if needs > slots => {
                write!(f, "needs {needs} slots of the pool {pool}, which has {slots} in all")
            }
            Waiting::Pool { pool, slots, open, needs, holders } => {
                write!(f, "needs {needs} of the {slots} slots of the pool {pool}, {open} of them free")?;
                held_by(f, holders)
            }
            Waiting::NoPool { pool } => write!(f, "its pool {pool} does not exist"),
            Waiting::ActiveTasks { dag_id, limit } => {
                write!(f, "its run has as many tasks in flight as it may (max_active_tasks of {dag_id} is {limit})")
            }
            Waiting::MaxActive { limit, holders } => {
                write!(f, "as many of it are in flight in all runs as may be (max_active is {limit})")?;
                held_by(f, holders)
            }
            Waiting::MaxActivePerRun { limit } => {
                write!(f, "its run has as many of it in flight as it may (max_active_per_run is {limit})")
            }
            Waiting::AtOnce { key, limit, holders } => {
                write!(f, "as many tries with the key `{key}` are in flight as may be at one time ({limit})")?;
                held_by(f, holders)
            }
            Waiting::Rate { key, limit, span, due } => {
                write!(f, "as many tries with the key `{key}` were started as may be ({limit} in {span})")?;
                due.map_or(Ok(()), |due| write!(f, ": the next is at {}", at(&due)))
            }
            Waiting::Elsewhere { limit, due } => {
                write!(
                    f,
                    "tasks in other processes have what is left of the limit `{limit}`: it is asked for again at {}",
                    at(due)
                )
            }
            Waiting::Parallelism { limit, holders } => {
                write!(f, "as many tasks are in flight as may be at one time (parallelism is {limit})")?;
                held_by(f, holders)
            }
            Waiting::Executor => write!(f, "was handed to the executor, and waits for a worker to begin"),
            Waiting::Stopping => write!(f, "was cleared while it ran, and waits for its old try to stop"),
            Waiting::Until { due, wait } => write!(f, "sleeps for {wait}, until {}", at(due)),
            Waiting::Event { event, due } => {
                match event {
                    Some(event) => write!(f, "waits for the event `{event}`")?,
                    None => f.write_str("waits for an event")?,
                }
                due.as_ref().map_or(Ok(()), |due| write!(f, ", and goes on without it at {}", at(due)))
            }
            Waiting::Answer => write!(f, "waits for a person's answer"),
        }
    }
}

/// What cannot be known of a scheduler on another machine.
const UNSEEN: &str = "whether one runs cannot be seen on Postgres";

/// By what it is told whether something can run ..
const SETTINGS: &str = "the program and the settings of this command";

/// .. and why that may be otherwise elsewhere.
const OTHERS: &str = "a scheduler goes by those with which it was started";

/// `1 date`, `12 dates`.
fn dates(count: u32) -> String {
    if count == 1 { "1 date".into() } else { format!("{count} dates") }
}

/// `: a and b have them`
fn held_by(f: &mut fmt::Formatter<'_>, holders: &[String]) -> fmt::Result {
    match holders {
        [] => Ok(()),
        [one] => write!(f, ": {one} is in flight"),
        many => write!(f, ": {} are in flight", names(many)),
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
