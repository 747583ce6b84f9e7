//! Going on with a run that another process, or an earlier call, left behind.

use super::begin::{Begun, hold};
use super::scope::{Params, lengths};
use super::{Again, Engine, EngineError};
use super::{lease, obstacles};
use crate::secret;
use crate::store::{CauseKind, InstanceRow, StoredRun};
use flow_core::dag::TaskDef;
use flow_core::dag_run::SECRET_MARK;
use flow_core::params::{self, Extra};
use flow_core::{Dag, Event, InstanceKey, RunState, RunStatus, StoredInstance, TaskIx, TaskState, select};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Takes a run over.
pub(super) async fn resume(
    engine: &Engine,
    dag: Arc<Dag>,
    stored: StoredRun,
    given: Map<String, Value>,
    again: Again,
) -> Result<Begun, EngineError> {
    let given = Params::conceal(&dag, given).values;
    let run_id = stored.run.run_id.clone();
    // Before the lock is taken, others may end the run; after it, nobody can.
    let lease = hold(engine, &stored.run)?;
    let stored = engine.store.run(&stored.run.dag_id, &run_id).await?.unwrap_or(stored);
    match (stored.run.state, &again) {
        (RunStatus::Success, Again::Nothing | Again::Failed) => {
            let message = format!("run `{run_id}` has succeeded: there is nothing to go on with");
            return Err(EngineError::NotResumable(message));
        }
        (RunStatus::Failed, Again::Nothing) => {
            let message = format!("run `{run_id}` has failed: only what is unfinished was to go on");
            return Err(EngineError::NotResumable(message));
        }
        _ => {}
    }
    let made_from = Arc::new(engine.store.dag_version(&stored.dag_version).await?);
    if let Some(difference) = difference(&made_from, &of_the_same_tasks(&made_from, &dag)) {
        return Err(EngineError::DagChanged(format!(
            "run `{run_id}` cannot go on, for DAG `{}` has changed since it was made: {difference}; start a new run",
            dag.dag_id
        )));
    }
    let dag = made_from;
    obstacles::check(engine, &dag)?;
    let params = Params::conceal(&dag, complete(&dag, &stored.run.conf, given)?);

    let epoch = engine.store.acquire_run(stored.pk, &lease::owner()).await?;
    let rows = engine.store.instances(stored.pk).await?;
    let state = restored(&dag, &stored, &rows, &params.lengths());
    let lost = state.in_flight();
    let mut events = Vec::new();
    if let Again::These(wanted) = again {
        events.push(Event::Cleared(select(&dag, &state, &wanted)));
    } else if stored.run.state == RunStatus::Failed {
        let again: Vec<InstanceKey> = rows.iter().filter(|row| runs_again(row)).filter_map(keys(&dag)).collect();
        if again.is_empty() {
            return Err(EngineError::NotResumable(format!(
                "run `{run_id}` has failed, but none of its tasks has: let some run again (`clear`), or say that it is \
                 well as it is (`mark {run_id} success`)"
            )));
        }
        events.push(Event::Cleared(again));
    }
    Ok(Begun { dag, run: stored.run, pk: stored.pk, epoch, params, state, rows, events, lost, resumed: true, lease })
}

/// What the planner knows about a run, from its rows; for those who explain. `dag` is the version that the run was made
/// from.
pub fn run_state(dag: &Dag, stored: &StoredRun, rows: &[InstanceRow]) -> RunState {
    restored(dag, stored, rows, &lengths(&stored.run.conf))
}

fn restored(dag: &Dag, stored: &StoredRun, rows: &[InstanceRow], lengths: &BTreeMap<String, u32>) -> RunState {
    let key = keys(dag);
    let instances = rows.iter().filter_map(|row| {
        Some(StoredInstance {
            key: key(row)?,
            state: row.state,
            try_number: row.try_number,
            max_tries: row.max_tries,
            due: row.due,
            report: row.report.clone(),
        })
    });
    RunState::restore(dag, stored.run.state, instances, lengths).with_logical_date(stored.run.logical_date)
}

/// The instance of a row, if the DAG still has its task.
pub(super) fn keys(dag: &Dag) -> impl Fn(&InstanceRow) -> Option<InstanceKey> {
    let tasks: HashMap<&str, TaskIx> =
        dag.tasks.iter().enumerate().map(|(t, def)| (def.task_id.as_str(), t as TaskIx)).collect();
    move |row| tasks.get(&*row.task_id).map(|&task| InstanceKey { task, map_index: row.map_index })
}

/// Of a failed run: what failed, and what was skipped only since the run took too long.
fn runs_again(row: &InstanceRow) -> bool {
    let stopped = row.cause.as_ref().is_some_and(|c| c.kind == CauseKind::Cancelled);
    row.state.is_failure() || (row.state == TaskState::Skipped && stopped)
}

/// The params of the run, with its secrets as they are given now.
fn complete(
    dag: &Dag,
    conf: &Map<String, Value>,
    given: Map<String, Value>,
) -> Result<Map<String, Value>, EngineError> {
    let mut values = conf.clone();
    let mut problems = Vec::new();
    for (name, _) in conf.iter().filter(|(name, value)| secret::is_redacted(value) && !given.contains_key(*name)) {
        problems.push(format!("the param `{name}` holds a secret, which was not stored with the run: give it again"));
    }
    for (name, value) in given {
        let is_secret = dag.params.iter().any(|p| p.secret && p.name == name);
        match values.get(&name) {
            Some(stored) if *stored == value => {}
            Some(stored) if is_secret && *stored == *SECRET_MARK => drop(values.insert(name, value)),
            Some(stored) if !is_secret && *stored == secret::redact_value(&value) => drop(values.insert(name, value)),
            Some(_) => problems.push(format!(
                "the param `{name}` of a run that goes on cannot be changed: leave it out, or start a new run"
            )),
            None => problems.push(format!("the run has no param `{name}`")),
        }
    }
    if problems.is_empty() {
        match params::check(&dag.params, &values, Extra::Allow) {
            Ok(values) => return Ok(values),
            Err(more) => problems.extend(more.iter().map(ToString::to_string)),
        }
    }
    Err(EngineError::Params(problems))
}

/// The present DAG; of a run of some of its tasks, that part of it.
fn of_the_same_tasks(made_from: &Dag, present: &Arc<Dag>) -> Arc<Dag> {
    if !made_from.partial {
        return present.clone();
    }
    let tasks = made_from.tasks.iter().filter_map(|task| present.task_ix(&task.task_id));
    // A part that cannot be made is other than it was.
    flow_core::part(present, &tasks.collect()).map_or_else(|_| present.clone(), Arc::new)
}

/// The first difference between two versions of a DAG that matters to a run under way.
fn difference(old: &Dag, new: &Dag) -> Option<String> {
    for task in &old.tasks {
        let Some(now) = new.task(&task.task_id) else {
            return Some(format!("task `{}` is gone", task.task_id));
        };
        if task.body != now.body {
            return Some(format!("task `{}` is the function `{}` now, not `{}`", task.task_id, now.body, task.body));
        }
        if !same_wiring((old, task), (new, now)) {
            return Some(format!("task `{}` has other arguments, upstream tasks or conditions", task.task_id));
        }
    }
    let added = new.tasks.iter().find(|t| old.task(&t.task_id).is_none());
    added.map(|t| format!("task `{}` is new", t.task_id)).or_else(|| {
        let order = old.tasks.iter().zip(&new.tasks).find(|(a, b)| a.task_id != b.task_id);
        order.map(|(a, _)| format!("task `{}` stands in another place", a.task_id))
    })
}

fn same_wiring((old_dag, old): (&Dag, &TaskDef), (new_dag, new): (&Dag, &TaskDef)) -> bool {
    let upstream = |dag: &Dag, task: &TaskDef| -> Vec<String> {
        let mut ids: Vec<String> = task.upstream.iter().map(|&u| dag.tasks[u as usize].task_id.clone()).collect();
        ids.sort();
        ids
    };
    // Sources and conditions name tasks by index: they are compared by it, and so is the order of the tasks.
    upstream(old_dag, old) == upstream(new_dag, new)
        && old.inputs == new.inputs
        && old.conditions == new.conditions
        && (old.mapped, old.kind, old.trigger_rule) == (new.mapped, new.kind, new.trigger_rule)
}
