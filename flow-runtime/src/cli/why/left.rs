//! Runs that are unfinished and that nobody works on: who goes on with them, or why nobody can.
//!
//! A scheduler that has tried to go on with a run in vain leaves it alone from then on. It remembers that, and nobody else knows it; so
//! what it must have found is looked for anew.

use super::in_one_line;
use super::sight::Sight;
use crate::cli::exit::Result;
use crate::cli::reasons::Known;
use crate::cli::{params, session};
use crate::executor::obstacles;
use crate::scheduler::secrets;
use crate::store::{RunPk, StoredRun};
use flow_core::Waiting;
use std::collections::BTreeMap;

/// Why a run is being ended, if it is, and why nobody works on it, if nobody does.
pub async fn of_run(sight: &Sight<'_>, run: &Known) -> Result<Vec<Waiting>> {
    let ending = run.stored.ending.iter().filter(|_| !run.stored.run.state.is_finished());
    let ending = ending.map(|how| Waiting::Ending { why: how.cause.message.clone(), state: how.state });
    let mut found: Vec<Waiting> = ending.collect();
    if !run.is_left {
        return Ok(found);
    }
    let cannot = cannot_go_on(sight, run).await?;
    let is_held_back = cannot.is_some() || sight.is_paused(&run.dag.dag_id);
    if sight.is_paused(&run.dag.dag_id) {
        found.push(Waiting::Paused);
    }
    found.extend(cannot.map(|why| Waiting::CannotGoOn { why }));
    let scheduler = sight.scheduler;
    if !is_held_back || scheduler == Some(false) {
        found.push(Waiting::Unattended { scheduler });
    }
    Ok(found)
}

/// Those of these runs that nobody works on and this program cannot go on with, and why.
pub async fn given_up(sight: &Sight<'_>, open: &[StoredRun]) -> Result<BTreeMap<RunPk, String>> {
    let mut found = BTreeMap::new();
    let Some(store) = sight.store().filter(|_| !open.is_empty()) else { return Ok(found) };
    let holders = session::holders(sight.app, store).await?;
    for stored in open.iter().filter(|stored| holders.left_alone(stored)) {
        let run = Known::of(sight.app, store, stored.clone()).await?;
        found.extend(cannot_go_on(sight, &run).await?.map(|why| (stored.pk, why)));
    }
    Ok(found)
}

/// Why a scheduler of this program cannot go on with a run that nobody works on.
async fn cannot_go_on(sight: &Sight<'_>, run: &Known) -> Result<Option<String>> {
    let (app, dag_id) = (sight.app, &run.dag.dag_id);
    let Some(engine) = sight.engine() else { return Ok(None) };
    let Some(dag) = app.registry.dag(dag_id) else {
        return Ok(Some(match app.registry.broken().get(dag_id) {
            Some(broken) => format!("its DAG cannot be built: {}", in_one_line(&broken.error)),
            None => format!("there is no DAG `{dag_id}`"),
        }));
    };
    // Only what was not stored is given.
    let set = session::set_params(app, dag).and_then(|resolved| params::complete(dag, resolved));
    let given = set.map(|set| secrets(&run.stored, &set)).unwrap_or_default();
    if let Some(refusal) = engine.refusal(dag, (&run.stored, &run.dag, &run.rows), given).await? {
        return Ok(Some(in_one_line(&refusal)));
    }
    // It leaves a DAG alone that cannot run today, and with it runs of earlier versions.
    let obstacles = obstacles(dag, app.registry.bodies(), &session::settings(app));
    Ok((!obstacles.is_empty()).then(|| format!("its DAG cannot run any more: {}", obstacles.join("; "))))
}
