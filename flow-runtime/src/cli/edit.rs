//! `mark` and `cancel`, and what `clear` shares with them: a person changes what is on record of a run; where somebody works on it, he is told to.

use super::app::App;
use super::args::{Mark, RunArg, TaskArgs};
use super::exit::{CliError, Exit, Result};
use super::format::plural;
use super::style::glyph;
use super::table::Table;
use super::{describe, lookup, session};
use crate::executor::{Changed, Engine, run_state};
use crate::run_event::{label, paused};
use crate::store::{InstanceRow, MetadataStore, StoredRun};
use flow_core::{Dag, Decided, Event, InstanceKey, RunStatus, Selection, TaskState, because, mapping, select};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Sets the state of tasks, or of the run.
pub fn mark(app: &App, args: &Mark) -> Result {
    session::block_on(async {
        let (store, stored, dag) = found(app, &args.run).await?;
        let engine = engine(app, &store);
        let changed = if args.tasks.tasks.is_empty() {
            let Some(status) = RunStatus::from_name(args.state.name()) else {
                return Err(CliError::input("a run is marked as success or failed; a task also as skipped"));
            };
            engine.change(&stored, |_, _| vec![Event::RunMarked(status)]).await?
        } else {
            let wanted = Selection { alone: true, ..selection(&dag, &args.tasks)? };
            is_there(&dag, &store.instances(stored.pk).await?, &wanted)?;
            let mark = |dag: &Dag, state: &_| vec![Event::Marked(select(dag, state, &wanted), args.state)];
            engine.change(&stored, mark).await?
        };
        let now = store.run(&stored.run.dag_id, &stored.run.run_id).await?;
        let is_ending =
            args.tasks.tasks.is_empty() && now.is_some_and(|now| now.ending.is_some() && !now.run.state.is_finished());
        let left =
            is_ending.then_some("teardowns of what is set up are left to run; once more, and they are ended too");
        match changed {
            Changed::Made(edited) => {
                tell(app, &[(&stored, &dag, &edited.changed)]);
                let count = plural(edited.changed.len(), "task instance");
                app.out.note(format!("\n{count} changed; the run is {}", edited.status));
                left.into_iter().for_each(|left| app.out.note(left));
                if let Some(failures) = edited.has_paused {
                    app.out.note(paused(&stored.run.dag_id, failures));
                }
                if !edited.status.is_finished() {
                    go_on(app, &*store, &stored.run.dag_id, std::slice::from_ref(&stored.run.run_id)).await?;
                } else if args.state == TaskState::Success && !args.tasks.tasks.is_empty() {
                    let rows = store.instances(stored.pk).await?;
                    could_not_run(app, &stored, (&dag, &rows));
                }
            }
            ordered => {
                tell(app, &[(&stored, &dag, &store.instances(stored.pk).await?)]);
                app.out.note(format!("\n{}", carried_out(&ordered)));
                left.into_iter().for_each(|left| app.out.note(left));
            }
        }
        store.close().await;
        Ok(Exit::Success)
    })
}

/// What was cut off by a failure stays so when that is marked: says how it is run, if nothing else is in its way.
fn could_not_run(app: &App, stored: &StoredRun, (dag, rows): (&Dag, &[InstanceRow])) {
    let state = run_state(dag, stored, rows);
    let can = |row: &&InstanceRow| {
        let task = dag.task_ix(&row.task_id);
        let key = task.map(|task| InstanceKey { task, map_index: row.map_index });
        row.cause.is_none() && key.and_then(|key| because(dag, &state, key)) == Some(Decided::Overtaken)
    };
    let tasks: BTreeSet<&str> = rows.iter().filter(can).map(|row| &*row.task_id).collect();
    if !tasks.is_empty() {
        let mut clear = vec!["clear", stored.run.run_id.as_str()];
        clear.extend(tasks.iter().copied());
        clear.push("-d");
        app.out.note(format!("what follows could not run: `{}` tells what would run again", app.command(&clear)));
    }
}

/// Ends a run: what of it is under way is stopped, and it has failed.
pub fn cancel(app: &App, run: &RunArg) -> Result {
    let stored = session::block_on(async {
        let (store, stored, _) = found(app, run).await?;
        store.close().await;
        Ok(stored.run)
    })?;
    if stored.state.is_finished() {
        let (run_id, state) = (&stored.run_id, stored.state.name());
        let other = if stored.state == RunStatus::Failed { RunStatus::Success } else { RunStatus::Failed };
        let how = format!("`mark {run_id} {other}` gives it another state");
        return Err(CliError::input(format!("run `{run_id}` has ended already, in state {state}: {how}")));
    }
    mark(app, &Mark { run: run.clone(), state: TaskState::Failed, tasks: TaskArgs::default() })
}

/// What became of an order.
pub(super) fn carried_out(changed: &Changed) -> &'static str {
    match changed {
        Changed::Made(_) | Changed::CarriedOut => "carried out by the process that works on the run",
        Changed::Ordered => {
            "the process that works on the run has not come to it yet, and will; so does whoever takes the run next"
        }
    }
}

/// The run that is meant, and the version of its DAG that it was made from.
pub(super) async fn found(app: &App, run: &RunArg) -> Result<(Arc<dyn MetadataStore>, StoredRun, Dag)> {
    let store = app.store_to_read().await?;
    let stored = lookup::run(app, store.as_deref(), run).await?;
    let Some(store) = store else { return Err(lookup::no_runs(app, None)) };
    let dag = store.dag_version(&stored.dag_version).await?;
    Ok((store, stored, dag))
}

/// The engine that changes the record.
pub(super) fn engine(app: &App, store: &Arc<dyn MetadataStore>) -> Engine {
    let settings = session::settings(app);
    Engine::new(store.clone(), app.registry.bodies().clone(), settings).with_dags(session::askables(app))
}

/// The tasks that are meant.
///
/// # Errors
/// A task that the DAG does not have, a map index of several tasks.
pub(super) fn selection(dag: &Dag, args: &TaskArgs) -> Result<Selection> {
    let tasks: Vec<u32> = if args.tasks.is_empty() {
        (0..dag.tasks.len() as u32).collect()
    } else {
        lookup::tasks(dag, &args.tasks)?.into_iter().collect()
    };
    let home = |task: &u32| mapping::home(dag, *task);
    let of_one_group =
        tasks.first().is_some_and(|first| home(first).is_some() && tasks.iter().all(|t| home(t) == home(first)));
    if args.map_index.is_some() && tasks.len() != 1 && !of_one_group {
        return Err(CliError::input("--map-index goes with one task, or with tasks of one mapped group"));
    }
    Ok(Selection {
        tasks: tasks.into_iter().map(|task| (task, args.map_index)).collect(),
        upstream: args.upstream,
        downstream: args.downstream,
        ..Selection::default()
    })
}

/// The one instance that is named must be one.
pub(super) fn is_there(dag: &Dag, rows: &[InstanceRow], wanted: &Selection) -> Result<()> {
    for (task, map_index) in &wanted.tasks {
        let id = &dag.tasks[*task as usize].task_id;
        let of_task: Vec<&InstanceRow> = rows.iter().filter(|row| *row.task_id == **id).collect();
        if map_index.is_some() {
            lookup::instance(&of_task, *map_index)?;
        }
    }
    Ok(())
}

/// The rows of these instances.
pub(super) fn of(dag: &Dag, rows: Vec<InstanceRow>, keys: &[InstanceKey]) -> Vec<InstanceRow> {
    let keys: BTreeSet<&InstanceKey> = keys.iter().collect();
    let task = |row: &InstanceRow| dag.task_ix(&row.task_id);
    let meant = |row: &InstanceRow| {
        task(row).is_some_and(|task| keys.contains(&InstanceKey { task, map_index: row.map_index }))
    };
    rows.into_iter().filter(meant).collect()
}

/// These rows of each run.
pub(super) fn tell(app: &App, told: &[(&StoredRun, &Dag, &[InstanceRow])]) {
    let out = &app.out;
    let rows = told.iter().flat_map(|(stored, dag, rows)| rows.iter().map(move |row| (stored, dag, row)));
    let rows = rows.filter(|(.., row)| row.state != TaskState::Removed);
    if out.json {
        let described = rows.map(|(stored, dag, row)| describe::instance(stored, row, dag.task(&row.task_id)));
        return out.json_pretty(&described.collect::<Vec<_>>());
    }
    let mut table = Table::new(&["RUN", "TASK", "STATE", "ABOUT"], &[1, 3, 0]);
    for (stored, _, row) in rows {
        let state = out.paint.task(row.state, format!("{} {}", glyph(row.state), row.state));
        let about = row.label.as_deref().unwrap_or_default().to_string();
        // Of a single run, whoever named it knows which.
        let run = if told.len() > 1 { stored.run.run_id.clone() } else { String::new() };
        table.row([run, label(&row.task_id, row.map_index), state, about]);
    }
    table.lines(out.width, out.paint).iter().for_each(|line| out.line(line));
}

/// Who goes on with these runs of a DAG, now that something of them is to run.
pub(super) async fn go_on(app: &App, store: &dyn MetadataStore, dag_id: &str, open: &[String]) -> Result<()> {
    let [first, rest @ ..] = open else { return Ok(()) };
    let by_hand = app.command(&["run", "--resume", first]);
    let (what, it) = match rest.len() {
        0 => ("the run", "it"),
        _ => ("the runs", "them"),
    };
    let by_hand = match rest.len() {
        0 => format!("`{by_hand}`"),
        more => format!("`{by_hand}`, and so with {more} more"),
    };
    if !session::scheduler_may_live(app) || app.registry.dag(dag_id).is_none() {
        app.out.note(format!("go on with {what} by {by_hand}"));
        return Ok(());
    }
    let is_paused = store.paused().await?.get(dag_id).copied().unwrap_or(app.config.paused_at_creation);
    // Nobody sees from here whether one works on the same database somewhere else.
    let who = if app.config.postgres.is_some() { "a scheduler, where one runs," } else { "the scheduler" };
    app.out.note(match is_paused {
        false => format!("{who} takes {it} up"),
        true => format!("{dag_id} is paused: {who} takes {it} up after `{}`", app.command(&["unpause", dag_id])),
    });
    if is_paused || app.config.postgres.is_some() {
        app.out.note(format!("without one: {by_hand}"));
    }
    Ok(())
}
