//! The DAG, the run and the task that a person means.

use super::app::App;
use super::args::RunArg;
use super::exit::{CliError, Result};
use super::format;
use crate::store::{InstanceRow, MetadataStore, RunFilter, StoredRun};
use crate::suggest;
use flow_core::{Dag, TaskIx};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The word for the newest run.
pub const LATEST: &str = "latest";

/// The DAG of this name, or the default one.
pub fn dag<'a>(app: &'a App, given: Option<&str>) -> Result<&'a Arc<Dag>> {
    let registry = &app.registry;
    let ids = || registry.dags().map(|d| d.dag_id.as_str());
    match given {
        Some(id) => registry.dag(id).ok_or_else(|| match registry.broken().get(id) {
            Some(broken) => {
                CliError::input(broken.error.to_string()).hint(format!("it is written at {}", broken.place))
            }
            None => CliError::input(format!("there is no DAG `{id}`")).hints(suggest::hints(id, "DAG", ids())),
        }),
        None => registry.default_dag().ok_or_else(|| {
            let broken: Vec<&str> = registry.broken().keys().map(String::as_str).collect();
            let error = CliError::input("no DAG is marked as default, so name one")
                .hint(format!("DAGs: {}", suggest::listed(&ids().collect::<Vec<_>>())));
            match &broken[..] {
                [] => error.hint("mark one by `#[dag(default)]`"),
                broken => error.hint(format!(
                    "{} cannot be built: see `{}`",
                    suggest::listed(broken),
                    app.command(&["check"])
                )),
            }
        }),
    }
}

/// What to say where nothing has run yet, or nothing of this DAG.
pub fn no_runs(app: &App, of: Option<&str>) -> CliError {
    let is_known = |id: &str| app.registry.dag(id).is_some() || app.registry.broken().contains_key(id);
    if let Some(Err(unknown)) = of.filter(|id| !is_known(id)).map(|id| dag(app, Some(id))) {
        return unknown.hint(app.config.records());
    }
    let of_dag = of.map_or(String::new(), |dag| format!(" of DAG `{dag}`"));
    let start: Vec<&str> = std::iter::once("run").chain(of).collect();
    CliError::input(format!("there is no run{of_dag} yet"))
        .hint(format!("start one by `{}`", app.command(&start)))
        .hint(app.config.records())
}

/// The run that is meant.
pub async fn run(app: &App, store: Option<&dyn MetadataStore>, arg: &RunArg) -> Result<StoredRun> {
    let filter = RunFilter { dag_id: arg.dag.clone(), ..RunFilter::default() };
    let runs = match store {
        Some(store) if arg.run == LATEST => store.runs(&RunFilter { limit: 1, ..filter }).await?,
        Some(store) => store.runs(&filter).await?,
        None => Vec::new(),
    };
    if runs.is_empty() && arg.dag.as_deref().is_some_and(|id| app.registry.dag(id).is_none()) {
        dag(app, arg.dag.as_deref())?;
    }
    choose(runs, arg, &app.program).map_err(|error| error.hint(app.config.records()))
}

/// The run of these (the newest first) that the word means.
fn choose(mut runs: Vec<StoredRun>, arg: &RunArg, program: &str) -> Result<StoredRun> {
    let of_dag = arg.dag.as_ref().map_or(String::new(), |dag| format!(" of DAG `{dag}`"));
    if runs.is_empty() {
        return Err(
            CliError::input(format!("there is no run{of_dag} yet")).hint(format!("start one by `{program} run`"))
        );
    }
    if arg.run == LATEST {
        return Ok(runs.swap_remove(0));
    }
    let mut matching: Vec<usize> = (0..runs.len()).filter(|&i| runs[i].run.run_id == arg.run).collect();
    if matching.is_empty() {
        matching = (0..runs.len()).filter(|&i| !arg.run.is_empty() && runs[i].run.run_id.contains(&arg.run)).collect();
    }
    match matching[..] {
        [one] => Ok(runs.swap_remove(one)),
        [] => {
            let ids = runs.iter().map(|r| r.run.run_id.as_str());
            let error = CliError::input(format!("there is no run `{}`{of_dag}", arg.run));
            let error = match suggest::nearest(&arg.run, ids) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            };
            Err(error.hint(format!(
                "the latest is `{}` of DAG `{}`; all: `{program} runs`",
                runs[0].run.run_id, runs[0].run.dag_id
            )))
        }
        _ => {
            const MOST: usize = 10;
            let error = CliError::input(format!("`{}` may be one of {} runs{of_dag}", arg.run, matching.len()));
            let shown = matching.iter().take(MOST).map(|&i| &runs[i].run);
            let error = error.hints(shown.map(|r| format!("{}  --dag {}  {}", r.run_id, r.dag_id, r.state)));
            let more = matching.len().saturating_sub(MOST);
            Err(if more > 0 { error.hint(format!("and {}", format::plural(more, "older one"))) } else { error })
        }
    }
}

/// The rows of this task in a run: all its instances.
pub fn task<'r>(rows: &'r [InstanceRow], task_id: &str, known: Option<&Dag>) -> Result<Vec<&'r InstanceRow>> {
    let found: Vec<&InstanceRow> = rows.iter().filter(|row| &*row.task_id == task_id).collect();
    if !found.is_empty() || known.is_some_and(|dag| dag.task(task_id).is_some()) {
        return Ok(found);
    }
    let mut ids: Vec<&str> = rows.iter().map(|row| &*row.task_id).collect();
    ids.dedup();
    Err(CliError::input(format!("the run has no task `{task_id}`")).hints(suggest::hints(task_id, "task", ids)))
}

/// The tasks of these names; the name of a group means all that lies in it.
pub fn tasks(dag: &Dag, names: &[String]) -> Result<BTreeSet<TaskIx>> {
    let mut found = BTreeSet::new();
    for name in names {
        let group = dag.groups.iter().position(|g| &g.group_id == name).map(|g| g as u32);
        let inside = |innermost: Option<u32>| {
            std::iter::successors(innermost, |g| dag.groups[*g as usize].parent).any(|g| Some(g) == group)
        };
        let meant = |t: &TaskIx| {
            let task = &dag.tasks[*t as usize];
            &task.task_id == name || (group.is_some() && inside(task.group))
        };
        let before = found.len();
        found.extend((0..dag.tasks.len() as TaskIx).filter(meant));
        if found.len() == before && dag.task(name).is_none() && group.is_none() {
            let ids = dag.tasks.iter().map(|t| t.task_id.as_str());
            return Err(CliError::input(format!("DAG `{}` has no task `{name}`", dag.dag_id))
                .hints(suggest::hints(name, "task", ids)));
        }
    }
    Ok(found)
}

/// The one instance that is meant, of several that were mapped.
pub fn instance<'r>(rows: &[&'r InstanceRow], map_index: Option<i32>) -> Result<&'r InstanceRow> {
    let Some(first) = rows.first() else { return Err(CliError::input("the task has not begun in this run")) };
    let mapped = rows.len() > 1 || first.map_index >= 0;
    match map_index {
        Some(index) if !mapped => {
            Err(CliError::input(format!("task `{}` is not mapped: leave out `--map-index {index}`", first.task_id)))
        }
        None if !mapped => Ok(first),
        None if rows.len() == 1 => Ok(first),
        None => Err(CliError::input(format!(
            "task `{}` has {} instances: name one by --map-index",
            first.task_id,
            rows.len()
        ))
        .hints(failing(rows))),
        Some(index) => rows.iter().find(|row| row.map_index == index).copied().ok_or_else(|| {
            let last = rows.iter().map(|row| row.map_index).max().unwrap_or(0);
            CliError::input(format!(
                "task `{}` has no instance {index}: its map indexes go from 0 to {last}",
                first.task_id
            ))
        }),
    }
}

fn failing(rows: &[&InstanceRow]) -> Option<String> {
    let failed: Vec<String> = rows.iter().filter(|r| r.state.is_failure()).map(|r| r.map_index.to_string()).collect();
    (!failed.is_empty()).then(|| format!("failed: {}", suggest::listed(&failed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Epoch, RunPk};
    use chrono::DateTime;
    use flow_core::{DagRun, RunStatus, RunType};

    fn stored(dag_id: &str, run_id: &str) -> StoredRun {
        let run = DagRun {
            dag_id: dag_id.into(),
            run_id: run_id.into(),
            run_type: RunType::Manual,
            state: RunStatus::Success,
            logical_date: None,
            data_interval: None,
            run_after: DateTime::UNIX_EPOCH,
            start_date: None,
            end_date: None,
            conf: Default::default(),
        };
        StoredRun { pk: RunPk(1), run, dag_version: String::new(), owner: None, epoch: Epoch(1), ending: None }
    }

    fn chosen(word: &str) -> std::result::Result<(String, String), CliError> {
        let runs = vec![
            stored("b", "manual__2026-02"),
            stored("a", "manual__2026-01"),
            stored("a", "nightly"),
            stored("b", "nightly"),
        ];
        let run = choose(runs, &RunArg { run: word.into(), dag: None }, "dags")?;
        Ok((run.run.dag_id, run.run.run_id))
    }

    #[test]
    fn a_run_is_meant_by_its_id_a_part_of_it_or_latest() {
        assert_eq!(chosen("latest"), Ok(("b".into(), "manual__2026-02".into())));
        assert_eq!(chosen("manual__2026-01"), Ok(("a".into(), "manual__2026-01".into())));
        assert_eq!(chosen("-01"), Ok(("a".into(), "manual__2026-01".into())));
    }

    #[test]
    fn an_ambiguous_run_is_listed_with_its_dags() {
        let error = chosen("nightly").unwrap_err();
        assert_eq!(error.message, "`nightly` may be one of 2 runs");
        assert_eq!(error.hints, ["nightly  --dag a  success", "nightly  --dag b  success"]);
        assert_eq!(chosen("2026").unwrap_err().hints.len(), 2);
    }

    #[test]
    fn an_unknown_run_is_answered_with_the_nearest_and_the_latest() {
        let error = chosen("nihgtly").unwrap_err();
        assert_eq!(error.message, "there is no run `nihgtly`");
        assert_eq!(
            error.hints,
            ["did you mean `nightly`?", "the latest is `manual__2026-02` of DAG `b`; all: `dags runs`"]
        );
        let error = choose(Vec::new(), &RunArg { run: "x".into(), dag: Some("a".into()) }, "dags").unwrap_err();
        assert_eq!(error.message, "there is no run of DAG `a` yet");
    }
}
