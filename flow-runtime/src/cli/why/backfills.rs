//! Why backfills are not done: who works on each, what is left of it, and what holds it back.

use super::NAMES;
use super::in_one_line;
use super::sight::Sight;
use crate::cli::exit::Result;
use crate::cli::{params, session};
use crate::executor::obstacles;
use crate::scheduler::backfill::{self, BackfillError, Fill};
use crate::scheduler::{ScheduledDag, params_of};
use crate::store::{BackfillRow, BackfillState, MetadataStore, RunPk};
use flow_core::params::{Extra, check};
use flow_core::{Dag, Waiting};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The reasons of all backfills that are open, or those of one DAG, with the DAG of each. The runs that are given up take no place.
pub async fn of_backfills(
    sight: &Sight<'_>,
    store: &dyn MetadataStore,
    only: Option<&str>,
    given_up: &BTreeMap<RunPk, String>,
) -> Result<Vec<(String, Waiting)>> {
    let mut rows = store.backfills(true).await?;
    rows.retain(|row| only.is_none_or(|id| row.spec.dag_id == id));
    let mut holders = session::backfill_holders(sight.app, store, &rows).await?;
    let mut found = Vec::new();
    // The oldest first.
    for row in rows.iter().rev() {
        let reasons = of_backfill(sight, store, row, holders.remove(&row.id), given_up).await?;
        found.extend(reasons.into_iter().map(|reason| (row.spec.dag_id.clone(), reason)));
    }
    Ok(found)
}

async fn of_backfill(
    sight: &Sight<'_>,
    store: &dyn MetadataStore,
    row: &BackfillRow,
    holder: Option<String>,
    given_up: &BTreeMap<RunPk, String>,
) -> Result<Vec<Waiting>> {
    let (backfill, limit) = (row.id, row.spec.max_active_runs.max(1));
    let (work, cannot) = match planned(sight, store, row).await? {
        Ok((dag, work)) => (Some(work), cannot_go_on(sight, &dag, row)),
        Err(why) => (None, Some(why)),
    };
    let left = work.as_ref().map(|work| u32::try_from(work.len()).unwrap_or(u32::MAX));
    let mut found = Vec::new();
    match (row.state, left) {
        (BackfillState::Paused, left) => found.push(Waiting::BackfillPaused { backfill, left }),
        // Nobody will work on it.
        (_, None) => {}
        (_, Some(_)) if holder.is_none() && cannot.is_some() => {}
        (_, Some(left)) => {
            let (paused, scheduler) = (sight.is_paused(&row.spec.dag_id), sight.scheduler);
            found.push(Waiting::Backfill { backfill, left, holder, paused, scheduler });
        }
    }
    found.extend(cannot.map(|why| Waiting::BackfillCannotGoOn { backfill, why }));
    let work = work.filter(|_| row.state == BackfillState::Running).unwrap_or_default();
    let unfinished = work.iter().filter_map(|fill| match fill {
        Fill::GoOn(run) if !given_up.contains_key(&run.pk) => Some(run.run.run_id.clone()),
        _ => None,
    });
    let unfinished: Vec<String> = unfinished.collect();
    // More than it was asked for with: the same command, given once more, has said another number.
    if unfinished.len() == limit as usize && work.len() > unfinished.len() {
        let runs = unfinished.into_iter().take(NAMES).collect();
        found.push(Waiting::BackfillFull { backfill, limit, runs });
    }
    Ok(found)
}

/// Its DAG, and what is left to run of it; or why that cannot be told.
async fn planned(
    sight: &Sight<'_>,
    store: &dyn MetadataStore,
    row: &BackfillRow,
) -> Result<std::result::Result<(Arc<Dag>, Vec<Fill>), String>> {
    let (registry, dag_id) = (&sight.app.registry, &row.spec.dag_id);
    let Some(dag) = registry.dag(dag_id) else {
        return Ok(Err(match registry.broken().get(dag_id) {
            Some(broken) => in_one_line(&broken.error),
            None => format!("there is no DAG `{dag_id}`"),
        }));
    };
    let scheduled = ScheduledDag { dag: dag.clone(), params: Ok(row.spec.conf.clone()) };
    match backfill::plan(store, &scheduled, &row.spec, row.created).await {
        Ok(fills) => Ok(Ok((dag.clone(), fills.into_iter().filter(Fill::is_work).collect()))),
        Err(BackfillError::Store(error)) => Err(error.into()),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Why a scheduler of this program can make no run of it.
fn cannot_go_on(sight: &Sight<'_>, dag: &Dag, row: &BackfillRow) -> Option<String> {
    let app = sight.app;
    let obstacles = obstacles(dag, app.registry.bodies(), &session::settings(app));
    if !obstacles.is_empty() {
        return Some(obstacles.join("; "));
    }
    let own = session::set_params(app, dag).and_then(|resolved| params::complete(dag, resolved));
    match params_of(row, &own.map_err(|error| error.message)) {
        Err(why) => Some(in_one_line(&why)),
        Ok(params) => {
            let problems = check(&dag.params, &params, Extra::Refuse).err()?;
            Some(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
    }
}
