//! Why was it not run? The reasons of instances that were skipped, or cut off, without a try.

use crate::dag::{Dag, TaskIx};
use crate::event::InstanceKey;
use crate::plan::decide;
use crate::run::RunState;
use crate::state::TaskState;
use crate::trigger_rule::{Decision, TriggerRule};
use crate::waiting::names;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Most names in one reason.
const NAMES: usize = 10;

/// Why an instance was decided without a try. Each prints as a sentence without its subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[non_exhaustive]
pub enum Decided {
    /// `when(choice, value)`: the choice came out otherwise.
    Condition {
        /// The task that chose.
        upstream: String,
        /// What it should have given.
        equals: Value,
    },
    /// Because of these upstream tasks its trigger rule cannot hold.
    Upstream {
        /// The rule.
        rule: TriggerRule,
        /// The state they are in.
        state: TaskState,
        /// Their ids, at most 10.
        tasks: Vec<String>,
    },
    /// Its trigger rule cannot hold as its upstream has ended.
    Rule {
        /// The rule.
        rule: TriggerRule,
    },
    /// By what is above it now it would run: that ran again since, or a person has marked it.
    Overtaken,
    /// The list that it is mapped over has no element.
    EmptyList,
    /// There is no list to map over.
    NoList,
}

/// Why an instance that is skipped or upstream_failed was decided so; `None` for any other state. (A try that skipped
/// itself has its own cause, which the store keeps.)
pub fn because(dag: &Dag, run: &RunState, key: InstanceKey) -> Option<Decided> {
    let (instance, def) = (run.instance(key)?, dag.tasks.get(key.task as usize)?);
    let id = |task: TaskIx| dag.tasks.get(task as usize).map(|t| t.task_id.clone());
    let blamed = |wanted: fn(TaskState) -> bool| -> Vec<(TaskIx, TaskState)> {
        let in_state = |&u: &TaskIx| {
            let of_instance = InstanceKey { task: u, ..key };
            let beside = run.instance(of_instance).map(|i| i.state).filter(|s| wanted(*s));
            let any = TaskState::ALL.into_iter().zip(run.counts(u)).find(|(s, n)| *n > 0 && wanted(*s)).map(|(s, _)| s);
            beside.or(any).map(|state| (u, state))
        };
        def.upstream.iter().filter_map(in_state).collect()
    };
    let upstream = |blamed: Vec<(TaskIx, TaskState)>| {
        let state = blamed.first()?.1;
        let tasks = blamed.into_iter().take(NAMES).filter_map(|(u, _)| id(u)).collect();
        Some(Decided::Upstream { rule: def.trigger_rule, state, tasks })
    };
    let rule = || Some(Decided::Rule { rule: def.trigger_rule });
    let is_decided = matches!(instance.state, TaskState::Skipped | TaskState::UpstreamFailed);
    let has_list = !run.is_mapped(key.task) || run.length(key.task).is_some_and(|length| length > 0);
    if is_decided && has_list && decide(dag, run, key) == Decision::Run {
        return Some(Decided::Overtaken);
    }
    match instance.state {
        TaskState::Skipped => {
            let declined = def.conditions.iter().find(|c| run.declined(c.upstream, key));
            if let Some(condition) = declined {
                return Some(Decided::Condition {
                    upstream: id(condition.upstream)?,
                    equals: condition.equals.clone(),
                });
            }
            if run.length(key.task) == Some(0) && blamed(|s| s == TaskState::Skipped).is_empty() {
                return Some(Decided::EmptyList);
            }
            upstream(blamed(|s| s == TaskState::Skipped)).or_else(rule)
        }
        TaskState::UpstreamFailed => upstream(blamed(TaskState::is_failure)).or_else(|| {
            let no_list = run.is_mapped(key.task) && run.length(key.task).is_none();
            if no_list { Some(Decided::NoList) } else { rule() }
        }),
        _ => None,
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decided::Condition { upstream, equals } => write!(f, "{upstream} did not give {equals}"),
            Decided::Upstream { rule, state, tasks } => {
                let verb = match state {
                    TaskState::Skipped if tasks.len() == 1 => "was skipped",
                    TaskState::Skipped => "were skipped",
                    TaskState::UpstreamFailed => "could not run",
                    _ => "failed",
                };
                write!(f, "{} {verb} (trigger rule {rule})", names(tasks))
            }
            Decided::Rule { rule } => write!(f, "its upstream has ended, and its trigger rule {rule} does not hold"),
            Decided::Overtaken => f.write_str("by what is above it now it would run: a clear lets it"),
            Decided::EmptyList => f.write_str("the list that it is mapped over is empty"),
            Decided::NoList => f.write_str("there is no list to map it over"),
        }
    }
}
