//! `why`: every reason that something waits, and when it clears. It only reads, and works while a scheduler does.

use super::app::App;
use super::args::{RunArg, Why};
use super::coming::coming;
use super::exit::{CliError, Exit, Result};
use super::reasons::{Known, Reason, Surroundings, reasons};
use super::{assets, lookup, session};
use crate::clock::{Clock, SystemClock};
use crate::run_event::label;
use crate::store::{BackfillRow, BackfillState, MetadataStore, RunFilter, StoredRun};
use crate::timetable;
use flow_core::{Dag, InstanceKey, RunStatus, RunType, Schedule, TaskIx, TaskState, Waiting, parse};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Most runs that a reason names.
const NAMES: usize = 10;

/// Of what something is said.
#[derive(Debug, Clone)]
struct Subject {
    dag_id: String,
    run_id: Option<String>,
    /// The task, and its place in a mapped list.
    task: Option<(String, i32)>,
}

/// What is said, and of what.
type Said = Vec<(Subject, Reason)>;

/// What was asked, and is there.
enum Asked {
    All,
    Dag(String),
    Run(Box<StoredRun>),
}

/// Says why things wait.
pub fn why(app: &App, args: &Why) -> Result {
    let (said, note) = session::block_on(async {
        let store = app.store_to_read().await?;
        let answer = match (asked(app, store.as_deref(), args).await?, store.as_deref()) {
            (Asked::Run(stored), Some(store)) => of_run(app, store, *stored, args.task.as_deref()).await?,
            (Asked::Dag(dag_id), store) => (of_dags(app, store, Some(&dag_id)).await?, None),
            (_, store) => (of_dags(app, store, None).await?, None),
        };
        if let Some(store) = store {
            store.close().await;
        }
        Ok(answer)
    })?;
    let out = &app.out;
    if out.json {
        out.json_pretty(&said.iter().map(described).collect::<Vec<_>>());
        return Ok(Exit::Success);
    }
    for line in lines(app, args, &said) {
        out.line(line);
    }
    if said.is_empty() {
        out.note(note.unwrap_or_else(|| "nothing waits".into()));
    }
    Ok(Exit::Success)
}

async fn asked(app: &App, store: Option<&dyn MetadataStore>, args: &Why) -> Result<Asked> {
    let Some(what) = &args.what else { return Ok(Asked::All) };
    if args.dag.is_none() && (app.registry.dag(what).is_some() || app.registry.broken().contains_key(what)) {
        if let Some(task) = &args.task {
            return Err(CliError::input(format!("`{what}` is a DAG: to ask for the task `{task}`, name a run"))
                .hint(format!("of the latest one: `{}`", app.command(&["why", "latest", task, "--dag", what]))));
        }
        return Ok(Asked::Dag(lookup::dag(app, Some(what))?.dag_id.clone()));
    }
    let arg = RunArg { run: what.clone(), dag: args.dag.clone() };
    Ok(Asked::Run(Box::new(lookup::run(app, store, &arg).await?)))
}

/// Everything about a run; and what to say where nothing of it waits.
async fn of_run(
    app: &App,
    store: &dyn MetadataStore,
    stored: StoredRun,
    task: Option<&str>,
) -> Result<(Said, Option<String>)> {
    let run = Known::of(app, store, stored).await?;
    let wanted = task.map(|task| lookup::tasks(&run.dag, &[task.to_string()])).transpose()?;
    let mut said = Said::new();
    said.extend(of_the_run(app, store, &run).await?);
    let all = of_instances(store, &run, &mut Surroundings::new(app)).await?;
    let is_wanted = |subject: &Subject, reason: &Reason| match (&wanted, &subject.task) {
        // Who asks for a task is also told why it was never tried.
        (Some(wanted), Some((task_id, _))) => run.dag.task_ix(task_id).is_some_and(|task| wanted.contains(&task)),
        _ => matches!(reason, Reason::Waiting(_)),
    };
    said.extend(all.into_iter().filter(|(subject, reason)| is_wanted(subject, reason)));
    let note = match task {
        Some(task) => {
            let rows = run.rows.iter().filter(|row| *row.task_id == *task);
            let states: Vec<&str> = rows.map(|row| row.state.name()).collect();
            format!("{task} does not wait: it is {}", if states.is_empty() { "none".into() } else { states.join(", ") })
        }
        None => {
            let why = run.stored.ending.as_ref().map_or(String::new(), |how| format!(" ({})", how.cause.message));
            format!("nothing of it waits: the run is {}{why}", run.stored.run.state)
        }
    };
    Ok((said, Some(note)))
}

/// Why a run is being ended, if it is, and why nobody works on it, if nobody does.
async fn of_the_run(app: &App, store: &dyn MetadataStore, run: &Known) -> Result<Said> {
    let (dag_id, run_id) = (run.dag.dag_id.clone(), Some(run.stored.run.run_id.clone()));
    let subject = Subject { dag_id, run_id, task: None };
    let ending = run.stored.ending.iter().filter(|_| !run.stored.run.state.is_finished());
    let ending = ending.map(|how| Waiting::Ending { why: how.cause.message.clone(), state: how.state });
    let mut said: Said = ending.map(|waiting| (subject.clone(), Reason::Waiting(waiting))).collect();
    if !run.is_left {
        return Ok(said);
    }
    let scheduler = session::scheduler_may_live(app);
    let paused = store.paused().await?.get(&run.dag.dag_id).copied().unwrap_or(app.config.paused_at_creation);
    let reason = if scheduler && paused { Waiting::Paused } else { Waiting::Unattended { scheduler } };
    said.push((subject, Reason::Waiting(reason)));
    Ok(said)
}

/// The reasons of the instances of a run, each task after what it waits for.
async fn of_instances(store: &dyn MetadataStore, run: &Known, around: &mut Surroundings<'_>) -> Result<Said> {
    let found = reasons(store, run, around).await?;
    let order = run.dag.topological().unwrap_or_else(|_| (0..run.dag.tasks.len() as TaskIx).collect());
    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(n, task)| place[*task as usize] = n);
    let mut found: Vec<(InstanceKey, Reason)> = found.into_iter().collect();
    found.sort_by_key(|(key, _)| (place[key.task as usize], key.map_index));
    let subject = |key: InstanceKey| Subject {
        dag_id: run.dag.dag_id.clone(),
        run_id: Some(run.stored.run.run_id.clone()),
        task: Some((run.dag.tasks[key.task as usize].task_id.clone(), key.map_index)),
    };
    Ok(found.into_iter().map(|(key, reason)| (subject(key), reason)).collect())
}

/// Everything about all DAGs, or one, and their unfinished runs. What only waits for other tasks of its run is left out:
/// what those wait for is said.
async fn of_dags(app: &App, store: Option<&dyn MetadataStore>, only: Option<&str>) -> Result<Said> {
    let mut open: BTreeMap<String, Vec<StoredRun>> = BTreeMap::new();
    let mut paused = BTreeMap::new();
    if let Some(store) = store {
        let states = vec![RunStatus::Queued, RunStatus::Running];
        let filter = RunFilter { dag_id: only.map(String::from), states, ..RunFilter::default() };
        // The oldest first.
        for run in store.runs(&filter).await?.into_iter().rev() {
            open.entry(run.run.dag_id.clone()).or_default().push(run);
        }
        paused = store.paused().await?;
    }
    let mut said = Said::new();
    for dag in app.registry.dags().filter(|dag| only.is_none_or(|id| dag.dag_id == id)) {
        let is_paused = paused.get(&dag.dag_id).copied().unwrap_or(app.config.paused_at_creation);
        let runs = open.get(&dag.dag_id).map(Vec::as_slice).unwrap_or_default();
        let subject = Subject { dag_id: dag.dag_id.clone(), run_id: None, task: None };
        let reasons = of_schedule(app, store, dag, is_paused, runs).await?;
        said.extend(reasons.into_iter().map(|reason| (subject.clone(), Reason::Waiting(reason))));
    }
    if let Some(store) = store {
        let wanted =
            |row: &BackfillRow| row.state == BackfillState::Paused && only.is_none_or(|id| row.spec.dag_id == id);
        said.extend(store.backfills(true).await?.into_iter().rev().filter(wanted).map(|row| {
            let subject = Subject { dag_id: row.spec.dag_id, run_id: None, task: None };
            (subject, Reason::Waiting(Waiting::BackfillPaused { backfill: row.id }))
        }));
    }
    let mut around = Surroundings::new(app);
    for stored in open.into_values().flatten() {
        let Some(store) = store else { break };
        let run = Known::of(app, store, stored).await?;
        said.extend(of_the_run(app, store, &run).await?);
        let follows = |reason: &Reason| {
            use Waiting::{List, Resume, Run, Setup, Upstream};
            let Reason::Waiting(waiting) = reason else { return true };
            matches!(waiting, Run | Resume | Upstream { .. } | Setup { .. } | List { .. })
        };
        said.extend(of_instances(store, &run, &mut around).await?.into_iter().filter(|(_, reason)| !follows(reason)));
    }
    Ok(said)
}

/// Why a DAG has no run now that it might have.
async fn of_schedule(
    app: &App,
    store: Option<&dyn MetadataStore>,
    dag: &Dag,
    is_paused: bool,
    open: &[StoredRun],
) -> Result<Vec<Waiting>> {
    let mut found = Vec::new();
    if is_paused {
        found.push(Waiting::Paused);
    }
    if dag.schedule.is_none() {
        found.push(Waiting::NoSchedule);
        return Ok(found);
    }
    let timetable = timetable::of(dag).map_err(|e| CliError::input(e.to_string()))?;
    let now = SystemClock.now();
    let next = coming(store, dag, now, 1).await?.runs.pop();
    let limit = if timetable.foresees() { dag.max_active_runs } else { 1 };
    // Those of backfills take no place away.
    let open: Vec<&StoredRun> = open.iter().filter(|run| run.run.run_type != RunType::Backfill).collect();
    let full = |limit: u32| {
        let runs = open.iter().take(NAMES).map(|run| run.run.run_id.clone()).collect();
        (open.len() >= limit as usize).then_some(Waiting::MaxActiveRuns { limit, runs })
    };
    let assets = match dag.schedule.as_ref().and_then(Schedule::waits_for) {
        Some(when) => {
            let come = have_come(store, &dag.dag_id).await?;
            let missing = when.missing(&|asset| come.contains(asset)).map(|missing| missing.to_string());
            let there = when.names().into_iter().filter(|asset| come.contains(*asset)).take(NAMES);
            let not_yet = missing.map(|missing| Waiting::Assets { missing, come: there.map(String::from).collect() });
            Some(not_yet.or_else(|| full(dag.max_active_runs)).unwrap_or(Waiting::AssetsCome))
        }
        None => None,
    };
    let times = match next {
        // Assets may come for ever.
        None if assets.is_some() => None,
        None => Some(Waiting::NoMoreRuns),
        Some(run) if run.run_after > now => {
            let wait = (run.run_after - now).to_std().unwrap_or_default();
            let wait = parse::human(std::time::Duration::from_secs(wait.as_secs()));
            Some(Waiting::NextRun { due: run.run_after, wait })
        }
        Some(run) => Some(full(limit).unwrap_or(Waiting::RunDue { due: run.run_after })),
    };
    found.extend(assets);
    if let Some(times) = times.filter(|times| !found.contains(times)) {
        found.push(times);
    }
    if !session::scheduler_may_live(app) {
        found.push(Waiting::NoScheduler);
    }
    Ok(found)
}

/// The assets that have come since the DAG had a run for them.
async fn have_come(store: Option<&dyn MetadataStore>, dag_id: &str) -> Result<BTreeSet<String>> {
    let Some(store) = store else { return Ok(BTreeSet::new()) };
    Ok(assets::come(store.pending_assets().await?).remove(dag_id).unwrap_or_default())
}

fn described((subject, reason): &(Subject, Reason)) -> Value {
    let task = subject.task.as_ref();
    json!({
        "dag_id": subject.dag_id,
        "dag_run_id": subject.run_id,
        "task_id": task.map(|(task_id, _)| task_id),
        "map_index": task.map(|(_, map_index)| map_index),
        "why": reason.to_string(),
        "reason": reason,
    })
}

/// One line each; instances of a task that wait for the same share one.
fn lines(app: &App, args: &Why, said: &Said) -> Vec<String> {
    let paint = app.out.paint;
    let mut lines: Vec<(String, String, usize)> = Vec::new();
    for (subject, reason) in said {
        let of = match &subject.run_id {
            // Who has named a run knows it.
            Some(_) if args.what.as_deref() != Some(&subject.dag_id) && args.what.is_some() => String::new(),
            Some(run_id) => format!("{} {run_id} ", paint.bold(&subject.dag_id)),
            None => format!("{} ", paint.bold(&subject.dag_id)),
        };
        let sentence = reason.to_string();
        match &subject.task {
            None if of.is_empty() => lines.push((String::new(), format!("the run {sentence}"), 0)),
            None => lines.push((String::new(), format!("{of}{sentence}"), 0)),
            Some((task_id, map_index)) => {
                let state = paint.task(TaskState::Scheduled, label(task_id, *map_index));
                match lines.last_mut() {
                    Some((task, same, more)) if *task == *task_id && same.ends_with(&format!(": {sentence}")) => {
                        *more += 1
                    }
                    _ => lines.push((task_id.clone(), format!("{of}{state}: {sentence}"), 0)),
                }
            }
        }
    }
    let more = |(_, line, more): (String, String, usize)| match more {
        0 => line,
        more => format!("{line} (and so do {more} more instances of it)"),
    };
    lines.into_iter().map(more).collect()
}
