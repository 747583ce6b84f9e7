//! Why a DAG has no run now that it might have.

use super::NAMES;
use super::sight::Sight;
use crate::cli::assets;
use crate::cli::coming::coming;
use crate::cli::exit::{CliError, Result};
use crate::cli::scheduler::no_runs;
use crate::clock::{Clock, SystemClock};
use crate::store::{MetadataStore, StoredRun};
use crate::timetable;
use chrono::{DateTime, Utc};
use flow_core::{AssetExpr, Dag, RunType, Schedule, Waiting, parse};
use std::collections::BTreeSet;
use std::time::Duration;

/// What its state, the settings, its schedule and its unfinished runs say; those that cannot go on are none of these.
pub async fn of_schedule(sight: &Sight<'_>, dag: &Dag, open: &[&StoredRun]) -> Result<Vec<Waiting>> {
    let mut found = Vec::new();
    if sight.is_paused(&dag.dag_id) {
        found.push(Waiting::Paused);
    }
    let lacks = no_runs(sight.app, dag);
    if !lacks.is_empty() {
        found.push(Waiting::CannotRun { why: lacks.join("; ") });
    }
    if dag.schedule.is_none() {
        found.push(Waiting::NoSchedule);
        return Ok(found);
    }
    let store = sight.store();
    let timetable = timetable::of(dag).map_err(|e| CliError::input(e.to_string()))?;
    let now = SystemClock.now();
    let next = coming(store, dag, now, 1).await?.runs.pop();
    let limit = if timetable.foresees() { dag.max_active_runs } else { 1 };
    // Those of backfills take no place away.
    let open: Vec<&StoredRun> = open.iter().copied().filter(|run| run.run.run_type != RunType::Backfill).collect();
    let full = |limit: u32| {
        let runs = open.iter().take(NAMES).map(|run| run.run.run_id.clone()).collect();
        (open.len() >= limit as usize).then_some(Waiting::MaxActiveRuns { limit, runs })
    };
    let assets = match dag.schedule.as_ref().and_then(Schedule::waits_for) {
        Some(when) => {
            let not_yet = not_yet(dag, when, &have_come(store, &dag.dag_id).await?, now);
            Some(not_yet.or_else(|| full(dag.max_active_runs)).unwrap_or(Waiting::AssetsCome))
        }
        None => None,
    };
    let times = match next {
        // Assets may come for ever.
        None if assets.is_some() => None,
        None => Some(Waiting::NoMoreRuns),
        Some(run) if run.run_after > now => Some(later(run.run_after, now)),
        Some(run) => Some(full(limit).unwrap_or(Waiting::RunDue { due: run.run_after })),
    };
    found.extend(assets);
    if let Some(times) = times.filter(|times| !found.contains(times)) {
        found.push(times);
    }
    let is_due = found.iter().any(|reason| matches!(reason, Waiting::AssetsCome | Waiting::RunDue { .. }));
    match sight.scheduler {
        Some(false) => found.push(Waiting::NoScheduler),
        None if is_due => found.push(Waiting::SchedulerUnseen),
        Some(true) | None => {}
    }
    Ok(found)
}

/// Why there is no run for what has come, as long as there may be none.
fn not_yet(dag: &Dag, when: &AssetExpr, come: &BTreeSet<String>, now: DateTime<Utc>) -> Option<Waiting> {
    if dag.end_date.is_some_and(|end| end < now) {
        return Some(Waiting::NoMoreRuns);
    }
    if let Some(missing) = when.missing(&|asset| come.contains(asset)) {
        let there = when.names().into_iter().filter(|asset| come.contains(*asset)).take(NAMES);
        return Some(Waiting::Assets { missing: missing.to_string(), come: there.map(String::from).collect() });
    }
    dag.start_date.filter(|start| *start > now).map(|start| later(start, now))
}

fn later(due: DateTime<Utc>, now: DateTime<Utc>) -> Waiting {
    let wait = (due - now).to_std().unwrap_or_default();
    Waiting::NextRun { due, wait: parse::human(Duration::from_secs(wait.as_secs())) }
}

/// The assets that have come since the DAG had a run for them.
async fn have_come(store: Option<&dyn MetadataStore>, dag_id: &str) -> Result<BTreeSet<String>> {
    let Some(store) = store else { return Ok(BTreeSet::new()) };
    Ok(assets::come(store.pending_assets().await?).remove(dag_id).unwrap_or_default())
}
