//! Going on with a run that another process, or an earlier call, left behind.

use super::begin::Begun;
use super::commands;
use super::hold::{self, Hold};
use super::run_loop::pause_at;
use super::scope::{Params, lengths};
use super::{Again, Engine, EngineError};
use super::{build, obstacles, version};
use crate::secret;
#[cfg(feature = "cli")]
use crate::store::StoreError;
use crate::store::{CauseKind, InstanceRow, OrderRow, StoredRun};
use flow_core::dag_run::SECRET_MARK;
use flow_core::params::{self, Extra};
use flow_core::version::differences;
use flow_core::{Dag, Event, InstanceKey, RunState, RunStatus, StoredInstance, TaskIx, TaskState, select, set_up_anew};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    let hold = hold::take(engine, &stored).await?;
    match go_on(engine, dag, stored, given, again, &hold).await {
        Ok(begun) => Ok(Begun { hold, ..begun }),
        Err(error) => {
            hold.release().await;
            Err(error)
        }
    }
}

/// Reads what there is of a run that is held, and what of it is to be done.
async fn go_on(
    engine: &Engine,
    dag: Arc<Dag>,
    stored: StoredRun,
    given: Map<String, Value>,
    again: Again,
    hold: &Hold,
) -> Result<Begun, EngineError> {
    let run_id = stored.run.run_id.clone();
    // Before it was held, others may have ended the run; from then on, nobody can.
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

    let epoch = hold.epoch(engine, stored.pk).await?;
    let rows = engine.store.instances(stored.pk).await?;
    let params = fitting(engine, (&made_from, &dag), &stored, &rows, &again, given).await?;
    let pause_at = pause_at(&dag, &stored.run);
    let (present, dag) = (dag, made_from);
    let state = restored(&dag, &stored, &rows, &params.lengths());
    let lost = state.in_flight();
    let orders = engine.store.orders().await?;
    let orders: Vec<OrderRow> = orders.into_iter().filter(|order| order.run == stored.pk).collect();
    let settled: Vec<i64> = orders.iter().map(|order| order.id).collect();
    let mut events: Vec<Event> = orders.into_iter().map(|order| order.event).collect();
    commands::end(engine, &dag, &run_id, &lost).await;
    let mut keeps_steps = BTreeSet::new();
    if let Again::These(wanted) = &again {
        events.push(Event::Cleared(select(&dag, &state, wanted)));
    } else if stored.run.state == RunStatus::Failed {
        let failed: Vec<InstanceKey> = rows.iter().filter(|row| runs_again(row)).filter_map(keys(&dag)).collect();
        if failed.is_empty() {
            return Err(EngineError::NotResumable(format!(
                "run `{run_id}` has failed, but none of its tasks has: let some run again (`clear`), or say that it is \
                 well as it is (`mark {run_id} success`)"
            )));
        }
        let (set_up, without) = set_up_anew(&dag, &state, &failed);
        if !set_up.is_empty() {
            let key = keys(&dag);
            let stay = rows.iter().filter(|row| key(row).is_none_or(|key| !set_up.contains(&key)));
            let stay: Vec<InstanceRow> = stay.cloned().collect();
            check_version(engine, (&dag, &present), &stored, &stay, &again).await?;
        }
        // A person who orders a clear means it; and what was done with something that is gone is to be done again.
        if settled.is_empty() {
            let goes_on = |key: &&InstanceKey| !set_up.contains(*key) && !without.contains(*key);
            keeps_steps = failed.iter().filter(goes_on).copied().collect();
        }
        let again: BTreeSet<InstanceKey> = failed.into_iter().chain(set_up).collect();
        events.push(Event::Cleared(again.into_iter().collect()));
    }
    Ok(Begun {
        dag,
        run: stored.run,
        pk: stored.pk,
        epoch,
        params,
        state,
        rows,
        events,
        lost,
        keeps_steps,
        settled,
        resumed: true,
        ending: stored.ending,
        pause_at,
        hold: Hold::Free,
    })
}

/// Why [`resume`] would refuse to go on with what is unfinished of a run that nobody works on. Nothing is changed.
#[cfg(feature = "cli")]
pub(super) async fn refusal(
    engine: &Engine,
    present: &Dag,
    (stored, made_from, rows): (&StoredRun, &Dag, &[InstanceRow]),
    given: Map<String, Value>,
) -> Result<Option<EngineError>, StoreError> {
    let given = Params::conceal(present, given).values;
    match fitting(engine, (made_from, present), stored, rows, &Again::Nothing, given).await {
        Ok(_) => Ok(None),
        Err(EngineError::Store(error)) => Err(error),
        Err(error) => Ok(Some(error)),
    }
}

/// The params of a run that this program can go on with; refuses any other.
async fn fitting(
    engine: &Engine,
    (made_from, present): (&Dag, &Dag),
    stored: &StoredRun,
    rows: &[InstanceRow],
    again: &Again,
    given: Map<String, Value>,
) -> Result<Params, EngineError> {
    check_version(engine, (made_from, present), stored, rows, again).await?;
    obstacles::check(engine, made_from)?;
    Ok(Params::conceal(made_from, complete(made_from, &stored.run.conf, given)?))
}

/// The run goes on with its own tasks and edges; refuses it where the functions behind them have changed.
async fn check_version(
    engine: &Engine,
    (made_from, present): (&Dag, &Dag),
    stored: &StoredRun,
    rows: &[InstanceRow],
    again: &Again,
) -> Result<(), EngineError> {
    // What is to run again may draw in others.
    let rows = if matches!(again, Again::These(_)) { &[] } else { rows };
    let misfits = version::misfits(engine, made_from, rows);
    if misfits.is_empty() {
        return Ok(());
    }
    let mut text = format!("what run `{}` was made from has changed: {}", stored.run.run_id, misfits.join("; "));
    let others = differences(made_from, present);
    if !others.is_empty() {
        text.push_str(&format!(" (in its DAG `{}` of today {})", present.dag_id, others.join(", ")));
    }
    text.push_str(&build::told(engine, &stored.dag_version).await?);
    text.push_str("; go on with it by the program that it was made by, or start a new run");
    Err(EngineError::DagChanged(text))
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
    let state = RunState::restore(dag, stored.run.state, instances, lengths);
    state.with_logical_date(stored.run.logical_date).with_ending(stored.ending.as_ref().map(|ending| ending.state))
}

/// The instance of a row, if the DAG still has its task.
pub(super) fn keys(dag: &Dag) -> impl Fn(&InstanceRow) -> Option<InstanceKey> {
    let tasks: HashMap<&str, TaskIx> =
        dag.tasks.iter().enumerate().map(|(t, def)| (def.task_id.as_str(), t as TaskIx)).collect();
    move |row| tasks.get(&*row.task_id).map(|&task| InstanceKey { task, map_index: row.map_index })
}

/// Of a failed run: what failed, and what was skipped only since the run took too long.
pub(crate) fn runs_again(row: &InstanceRow) -> bool {
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
