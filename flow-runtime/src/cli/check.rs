//! `check`: everything that can be found out without running, for CI.

use super::app::{self, App};
use super::args::{Global, ParamArgs};
use super::exit::{CliError, Exit, Result};
use super::format::plural;
use super::output::Output;
use super::{database, params, session};
use crate::executor::obstacles;
use crate::registry::Registry;
use crate::secret;
use flow_core::{Dag, Extra};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Checks the DAGs and the settings, and tells everything that is wrong at once.
pub fn check(program: String, global: &Global, out: Arc<Output>) -> Result {
    let mut problems = Vec::new();
    let mut take = |error: CliError| problems.push(error.message);
    let registry =
        Registry::collect().map_err(|error| error.0.into_iter().map(CliError::input).for_each(&mut take)).ok();
    let config = app::settings(global, None).map_err(&mut take).ok();
    config.iter().for_each(|config| app::mention_slips(config, &out));
    let (mut checked, mut answered, mut notes) = (Vec::new(), None, Vec::new());
    if let (Some(registry), Some(config)) = (registry, config) {
        let app = App { registry, config, out: out.clone(), program };
        problems.extend(app::unknown_dags(&app.registry, &app.config));
        for (dag_id, broken) in app.registry.broken() {
            problems.extend(broken.error.problems.iter().map(|problem| format!("DAG `{dag_id}`: {problem}")));
        }
        for dag in app.registry.dags() {
            checked.push(dag.dag_id.clone());
            problems.extend(problems_of(&app, dag));
            notes.extend(queues(dag));
        }
        problems.extend(two_places(&app.registry));
        // No problem of the project: where this is checked, nobody may have the keys.
        let broken = app.config.connections.broken();
        notes.extend(broken.map(|(name, why)| format!("connection `{name}` cannot be used on this machine: {why}")));
        match database::looked_at(&app) {
            Ok(found) if found.is_newer() => {
                problems.push(format!(
                    "{}; it was written by a newer flow: update flow",
                    database::sentence(&app.config.records(), found)
                ));
            }
            Ok(found) => answered = Some((app.config.records(), found)),
            Err(error) => problems.push(error.message),
        }
    }
    problems.dedup();
    if out.json {
        let database = answered.map(|(place, schema)| database::describe(&place, schema));
        out.json_pretty(&json!({"dags": checked, "problems": problems, "notes": notes, "database": database}));
        return Ok(if problems.is_empty() { Exit::Success } else { Exit::BadInput });
    }
    let good = |text: String| out.line(format!("{} {text}", out.paint.good("✔")));
    if problems.is_empty() {
        good(format!("{} checked: nothing is wrong", plural(checked.len(), "DAG")));
    }
    if let Some((place, schema)) = answered {
        good(database::sentence(&place, schema));
    }
    notes.iter().for_each(|note| out.note(format!("{} {note}", out.paint_err.warn("!"))));
    if !problems.is_empty() {
        problems.iter().for_each(|problem| out.line(format!("{} {problem}", out.paint.bad("✘"))));
        out.line(format!("\n{}", plural(problems.len(), "problem")));
    }
    Ok(if problems.is_empty() { Exit::Success } else { Exit::BadInput })
}

/// Assets that one DAG puts here and another there.
fn two_places(registry: &Registry) -> Vec<String> {
    let mut known: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut problems = Vec::new();
    for dag in registry.dags() {
        for asset in &dag.assets {
            let Some(uri) = &asset.uri else { continue };
            let (first, place) = *known.entry(&asset.name).or_insert((&dag.dag_id, uri));
            if place != uri {
                problems.push(format!(
                    "asset `{}` lies at `{}` for DAG `{first}`, and at `{}` for DAG `{}`: let both use one constant",
                    asset.name,
                    secret::redact(place),
                    secret::redact(uri),
                    dag.dag_id
                ));
            }
        }
    }
    problems
}

/// What to say of the queues that a DAG names.
fn queues(dag: &Dag) -> Option<String> {
    const DEFAULT: &str = "default";
    let named: BTreeSet<&str> = dag.tasks.iter().map(|task| &*task.queue).filter(|queue| *queue != DEFAULT).collect();
    let names: Vec<String> = named.into_iter().map(|queue| format!("`{queue}`")).collect();
    (!names.is_empty()).then(|| {
        format!(
            "DAG `{}` names {} {}: queues matter once workers take tasks; here every queue is worked by this process",
            dag.dag_id,
            if names.len() == 1 { "the queue" } else { "the queues" },
            names.join(", ")
        )
    })
}

fn problems_of(app: &App, dag: &Dag) -> Vec<String> {
    let of_dag = |problem: String| format!("DAG `{}`: {problem}", dag.dag_id);
    let lines = |error: CliError| error.message.lines().map(String::from).collect::<Vec<_>>();
    let resolved = app.params(dag, &ParamArgs::default());
    let known = &app.config.connections;
    let given = resolved.iter().flatten().filter_map(|param| param.value.as_ref());
    // Written down in the DAG, or given by flow.toml or a variable.
    let written = serde_json::to_value(dag).unwrap_or_default();
    let named: BTreeSet<_> = given.chain([&written]).flat_map(|value| known.problems(value)).collect();
    let mut problems = match resolved {
        Err(error) => lines(error),
        // Nobody is there to give a param when a timetable starts the run.
        Ok(resolved) if dag.schedule.is_some() => params::complete(dag, resolved).map_or_else(
            |error| {
                lines(error)
                    .into_iter()
                    .map(|p| format!("{p}; it is scheduled, and nobody is there to give one: set it in flow.toml or by its variable"))
                    .collect()
            },
            |_| Vec::new(),
        ),
        Ok(resolved) => {
            let given: Vec<_> = resolved.into_iter().filter_map(|p| Some((p.def.clone(), p.value?))).collect();
            let values = given.iter().map(|(def, value)| (def.name.clone(), value.clone())).collect();
            let defs: Vec<_> = given.into_iter().map(|(def, _)| def).collect();
            let wrong = flow_core::params::check(&defs, &values, Extra::Allow).err();
            wrong.into_iter().flatten().map(|problem| of_dag(problem.to_string())).collect()
        }
    };
    problems.extend(named.into_iter().map(of_dag));
    let defaults = flow_core::params::check_defaults(&dag.params, false).err().into_iter().flatten();
    problems.extend(defaults.map(|problem| of_dag(problem.to_string())));
    problems.extend(obstacles(dag, app.registry.bodies(), &session::settings(app)).into_iter().map(of_dag));
    if dag.catchup && dag.schedule.is_some() && dag.start_date.is_none() {
        problems.push(of_dag("it catches up, and has no start_date to catch up from".into()));
    }
    problems
}
