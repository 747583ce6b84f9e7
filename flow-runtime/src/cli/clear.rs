//! `clear`: tasks of a run run again, and with `--past` and `--future` the same ones of the runs before and after it.

use super::app::App;
use super::args::{Clear, TaskArgs};
use super::exit::{CliError, Exit, Result};
use super::format::plural;
use super::{edit, lookup, session};
use crate::executor::{Changed, Engine, run_state};
use crate::run_event::paused;
use crate::store::{InstanceRow, MetadataStore, RunFilter, StoredRun};
use flow_core::{Dag, Event, Selection, select};
use std::sync::Arc;

/// What is meant of one run.
struct Meant {
    stored: StoredRun,
    /// The version that the run was made from.
    dag: Dag,
    wanted: Selection,
    /// The instances as they are.
    rows: Vec<InstanceRow>,
    /// It was left to the process that works on the run, which has not come to it yet.
    is_ordered: bool,
}

/// Lets tasks run again; without `--yes` it tells which.
pub fn clear(app: &App, args: &Clear) -> Result {
    session::block_on(async {
        let (store, stored, dag) = edit::found(app, &args.run).await?;
        let mut meant = meant(&*store, (stored, dag), args).await?;
        if args.yes && !meant.is_empty() {
            let cleared = carry_out(app, &store, &mut meant, args.tasks.downstream).await;
            store.close().await;
            return cleared.map(|()| Exit::Success);
        }
        tell(app, &meant);
        let how = if meant.is_empty() { "" } else { "; `--yes` does it" };
        app.out.note(format!("{} would be cleared{how}", count(&meant)));
        store.close().await;
        Ok(Exit::Success)
    })
}

/// The runs of which anything is meant, by logical date.
async fn meant(store: &dyn MetadataStore, (stored, dag): (StoredRun, Dag), args: &Clear) -> Result<Vec<Meant>> {
    let only_failed = args.only_failed;
    let wanted = Selection { only_failed, ..edit::selection(&dag, &args.tasks)? };
    let rows = store.instances(stored.pk).await?;
    edit::is_there(&dag, &rows, &wanted)?;
    let others = around(store, &stored, args).await?;
    let mut all = vec![Meant { stored, dag, wanted, rows, is_ordered: false }];
    for stored in others {
        let (dag, rows) = (store.dag_version(&stored.dag_version).await?, store.instances(stored.pk).await?);
        if let Some(wanted) = there(&dag, &args.tasks) {
            let wanted = Selection { only_failed, ..wanted };
            all.push(Meant { stored, dag, wanted, rows, is_ordered: false });
        }
    }
    for one in &mut all {
        let keys = select(&one.dag, &run_state(&one.dag, &one.stored, &one.rows), &one.wanted);
        one.rows = edit::of(&one.dag, std::mem::take(&mut one.rows), &keys);
    }
    all.retain(|one| !one.rows.is_empty());
    all.sort_by_key(|one| one.stored.run.logical_date);
    Ok(all)
}

/// The runs of the same DAG that are about an earlier or a later instant, as far as they are asked for.
async fn around(store: &dyn MetadataStore, stored: &StoredRun, args: &Clear) -> Result<Vec<StoredRun>> {
    if !args.past && !args.future {
        return Ok(Vec::new());
    }
    let run = &stored.run;
    let Some(date) = run.logical_date else {
        let message = format!("run `{}` has no logical date, so no run is before or after it", run.run_id);
        return Err(CliError::input(message).hint("leave out --past and --future"));
    };
    let mut runs = store.runs(&RunFilter { dag_id: Some(run.dag_id.clone()), ..RunFilter::default() }).await?;
    let is_asked_for = |other| (args.past && other < date) || (args.future && other > date);
    runs.retain(|other| other.run.logical_date.is_some_and(is_asked_for));
    Ok(runs)
}

/// The same tasks in the version of another run, which may lack some of them; `None` if it has none.
fn there(dag: &Dag, args: &TaskArgs) -> Option<Selection> {
    let mut known = args.clone();
    known.tasks.retain(|name| lookup::tasks(dag, std::slice::from_ref(name)).is_ok());
    if known.tasks.is_empty() && !args.tasks.is_empty() {
        return None;
    }
    edit::selection(dag, &known).ok()
}

/// Clears them, one run after the other, and tells what has become of them: also of those before one that cannot be.
async fn carry_out(app: &App, store: &Arc<dyn MetadataStore>, meant: &mut Vec<Meant>, with_below: bool) -> Result<()> {
    let engine = edit::engine(app, store);
    let (mut notes, mut open, mut held_back) = (Vec::new(), Vec::new(), 0);
    let mut done = 0;
    let mut failure = None;
    for one in meant.iter_mut() {
        match clear_one(&engine, &**store, one).await {
            Ok(Changed::Made(edited)) => {
                held_back += edited.held_back;
                notes.extend(edited.has_paused.map(|failures| paused(&one.stored.run.dag_id, failures)));
                if !edited.status.is_finished() {
                    open.push(one.stored.run.run_id.clone());
                }
            }
            Ok(ordered) => {
                notes.push(format!("{}: {}", one.stored.run.run_id, edit::carried_out(&ordered)));
            }
            Err(error) => {
                let run_id = &one.stored.run.run_id;
                failure = Some(error.hint(format!("run `{run_id}` and what comes after it are as they were")));
                break;
            }
        }
        done += 1;
    }
    meant.truncate(done);
    if done > 0 {
        tell(app, meant);
    }
    if meant.iter().any(|one| !one.is_ordered) {
        app.out.note(format!("\n{} cleared", count(meant)));
    }
    if held_back > 0 && !with_below {
        let stay = if held_back == 1 { "stays" } else { "stay" };
        let what = plural(held_back, "task instance");
        app.out.note(format!("{what} {stay} upstream_failed: what is below them runs as well with --downstream"));
    }
    notes.into_iter().for_each(|note| app.out.note(note));
    if let Some(one) = meant.first() {
        edit::go_on(app, &**store, &one.stored.run.dag_id, &open).await?;
    }
    failure.map_or(Ok(()), Err)
}

/// Clears what is meant of this run, whose rows are then as they are now.
async fn clear_one(engine: &Engine, store: &dyn MetadataStore, one: &mut Meant) -> Result<Changed> {
    let clear = |dag: &Dag, state: &_| vec![Event::Cleared(select(dag, state, &one.wanted))];
    let changed = engine.change(&one.stored, clear).await?;
    one.is_ordered = matches!(changed, Changed::Ordered);
    one.rows = match &changed {
        Changed::Made(edited) => edited.changed.clone(),
        Changed::CarriedOut | Changed::Ordered => {
            let meant = |row: &InstanceRow| {
                one.rows.iter().any(|old| old.task_id == row.task_id && old.map_index == row.map_index)
            };
            store.instances(one.stored.pk).await?.into_iter().filter(meant).collect()
        }
    };
    Ok(changed)
}

fn tell(app: &App, meant: &[Meant]) {
    let told: Vec<_> = meant.iter().map(|one| (&one.stored, &one.dag, &one.rows[..])).collect();
    edit::tell(app, &told);
}

/// `3 task instances`, `6 task instances of 2 runs`: without those that are not cleared yet.
fn count(meant: &[Meant]) -> String {
    let meant: Vec<&Meant> = meant.iter().filter(|one| !one.is_ordered).collect();
    let instances = plural(meant.iter().map(|one| one.rows.len()).sum(), "task instance");
    if meant.len() < 2 { instances } else { format!("{instances} of {}", plural(meant.len(), "run")) }
}
