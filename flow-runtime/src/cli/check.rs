//! `check`: everything that can be found out without running, for CI.

use super::app::{self, App};
use super::args::{Global, ParamArgs};
use super::exit::{CliError, Exit, Result};
use super::format::plural;
use super::output::Output;
use super::{params, session};
use crate::executor::obstacles;
use crate::registry::Registry;
use flow_core::{Dag, Extra};
use serde_json::json;
use std::sync::Arc;

/// Checks the DAGs and the settings, and tells everything that is wrong at once.
pub fn check(program: String, global: &Global, out: Arc<Output>) -> Result {
    let mut problems = Vec::new();
    let mut take = |error: CliError| problems.push(error.message);
    let registry =
        Registry::collect().map_err(|error| error.0.into_iter().map(CliError::input).for_each(&mut take)).ok();
    let config = app::settings(global, None).map_err(&mut take).ok();
    let mut checked = Vec::new();
    if let (Some(registry), Some(config)) = (registry, config) {
        let app = App { registry, config, out: out.clone(), program };
        problems.extend(app::unknown_dags(&app.registry, &app.config));
        for (dag_id, broken) in app.registry.broken() {
            problems.extend(broken.error.problems.iter().map(|problem| format!("DAG `{dag_id}`: {problem}")));
        }
        for dag in app.registry.dags() {
            checked.push(dag.dag_id.clone());
            problems.extend(problems_of(&app, dag));
        }
    }
    problems.dedup();
    if out.json {
        out.json_pretty(&json!({"dags": checked, "problems": problems}));
    } else if problems.is_empty() {
        out.line(format!("{} {} checked: nothing is wrong", out.paint.good("✔"), plural(checked.len(), "DAG")));
    } else {
        problems.iter().for_each(|problem| out.line(format!("{} {problem}", out.paint.bad("✘"))));
        out.line(format!("\n{}", plural(problems.len(), "problem")));
    }
    Ok(if problems.is_empty() { Exit::Success } else { Exit::BadInput })
}

fn problems_of(app: &App, dag: &Dag) -> Vec<String> {
    let of_dag = |problem: String| format!("DAG `{}`: {problem}", dag.dag_id);
    let lines = |error: CliError| error.message.lines().map(String::from).collect::<Vec<_>>();
    let mut problems = match app.params(dag, &ParamArgs::default()) {
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
    let defaults = flow_core::params::check_defaults(&dag.params, false).err().into_iter().flatten();
    problems.extend(defaults.map(|problem| of_dag(problem.to_string())));
    problems.extend(obstacles(dag, app.registry.bodies(), &session::settings(app)).into_iter().map(of_dag));
    if dag.catchup && dag.schedule.is_some() && dag.start_date.is_none() {
        problems.push(of_dag("it catches up, and has no start_date to catch up from".into()));
    }
    problems
}
