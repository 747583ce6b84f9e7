//! `backfill list`, `show`, `pause`, `unpause`, `cancel`.

use super::app::App;
use super::args::{BackfillCancel, BackfillCommand};
use super::edit::{carried_out, engine};
use super::exit::{CliError, Exit, Result};
use super::format::{date, plural};
use super::kept::is_of;
use super::table::Table;
use super::{lookup, session};
use crate::clock::{Clock as _, SystemClock};
use crate::executor::Changed;
use crate::scheduler::ScheduledDag;
use crate::scheduler::backfill;
use crate::scheduler::stretch::Stretch;
use crate::store::{BackfillChange, BackfillRow, BackfillState, MetadataStore, RunFilter, RunPk, StoredRun};
use flow_core::{Dag, Event, RunState, RunStatus, RunType};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Does something with backfills that are there.
pub fn command(app: &App, command: &BackfillCommand) -> Result {
    session::block_on(async {
        let store = app.store().await?;
        match command {
            BackfillCommand::List => list(app, &store.backfills(false).await?),
            BackfillCommand::Show(of) => show(app, &*store, &found(app, &*store, of.id).await?).await?,
            BackfillCommand::Pause(of) => {
                change(app, &*store, of.id, BackfillState::Paused).await?;
                app.out.note("no more of its runs begin; those under way go on");
            }
            BackfillCommand::Unpause(of) => {
                change(app, &*store, of.id, BackfillState::Running).await?;
                app.out.note("the scheduler goes on with it, or the command that asked for it, given once more");
            }
            BackfillCommand::Cancel(args) => cancel(app, &store, args).await?,
        }
        store.close().await;
        Ok(Exit::Success)
    })
}

async fn found(app: &App, store: &dyn MetadataStore, id: i64) -> Result<BackfillRow> {
    let row = store.backfills(false).await?.into_iter().find(|row| row.id == id);
    row.ok_or_else(|| {
        CliError::input(format!("there is no backfill {id}"))
            .hint(format!("those that there are: `{}`", app.command(&["backfill", "list"])))
    })
}

/// Brings it to this state, from whichever it may come.
async fn change(app: &App, store: &dyn MetadataStore, id: i64, to: BackfillState) -> Result<BackfillRow> {
    loop {
        let row = found(app, store, id).await?;
        if !row.state.is_open() || row.state == to {
            return Err(CliError::input(format!("backfill {id} is {}", row.state.name())));
        }
        let settled = BackfillChange { id, from: row.state, to, at: SystemClock.now() };
        // Not, if somebody else has changed it in this moment.
        if store.settle_backfill(&settled).await? {
            app.out.line(format!("backfill {id} of {} is {}", row.spec.dag_id, to.name()));
            return Ok(row);
        }
    }
}

async fn cancel(app: &App, store: &Arc<dyn MetadataStore>, args: &BackfillCancel) -> Result<()> {
    let id = args.of.id;
    let row = match found(app, &**store, id).await? {
        // Whoever has cancelled it before may still want the rest to end.
        row if args.now && row.state == BackfillState::Cancelled => row,
        _ => change(app, &**store, id, BackfillState::Cancelled).await?,
    };
    let waited = end_what_waits(app, store, &row).await?;
    app.out.note(format!("no more of its runs begin; {} that waited to begin failed", plural(waited.len(), "run")));
    if args.now {
        end_what_is_under_way(app, store, &row, &waited).await?;
    }
    Ok(())
}

/// The unfinished runs that are for it alone: of its dates, and not of those of another backfill that is not over.
async fn open_runs(store: &dyn MetadataStore, row: &BackfillRow) -> Result<Vec<StoredRun>> {
    let dag_id = &row.spec.dag_id;
    let filter = RunFilter {
        dag_id: Some(dag_id.clone()),
        states: vec![RunStatus::Queued, RunStatus::Running],
        run_types: vec![RunType::Backfill],
        ..RunFilter::default()
    };
    let mut others = store.backfills(true).await?;
    others.retain(|other| other.id != row.id);
    let is_own = |date| is_of(row, dag_id, date) && !others.iter().any(|other| is_of(other, dag_id, date));
    let runs = store.runs(&filter).await?.into_iter();
    Ok(runs.filter(|run| run.run.logical_date.is_some_and(is_own)).collect())
}

fn has_failed(_: &Dag, run: &RunState) -> Vec<Event> {
    // It may have ended in this moment.
    if run.status().is_finished() { Vec::new() } else { vec![Event::RunMarked(RunStatus::Failed)] }
}

/// Its runs that have not begun have failed, as by `cancel`.
async fn end_what_waits(app: &App, store: &Arc<dyn MetadataStore>, row: &BackfillRow) -> Result<BTreeSet<RunPk>> {
    let engine = engine(app, store);
    let mut ended = BTreeSet::new();
    let waits = |run: &&StoredRun| run.run.state == RunStatus::Queued && run.run.start_date.is_none();
    for run in open_runs(&**store, row).await?.iter().filter(waits) {
        engine.change(run, has_failed).await?;
        ended.insert(run.pk);
    }
    Ok(ended)
}

/// Its runs that have begun are ended, as by `cancel`: all at one time, for whoever works on one may let wait. But those that were
/// told to end a moment ago: told twice, they would leave their teardowns.
async fn end_what_is_under_way(
    app: &App,
    store: &Arc<dyn MetadataStore>,
    row: &BackfillRow,
    told: &BTreeSet<RunPk>,
) -> Result<()> {
    let engine = engine(app, store);
    let mut runs = open_runs(&**store, row).await?;
    runs.retain(|run| !told.contains(&run.pk));
    let changes = futures::future::join_all(runs.iter().map(|run| engine.change(run, has_failed))).await;
    let (mut failed, mut ending, mut ordered) = (0, 0, 0);
    for (run, changed) in runs.iter().zip(changes) {
        let changed = changed?;
        let now = store.run(&run.run.dag_id, &run.run.run_id).await?;
        match (now.map(|now| now.run.state), changed) {
            (Some(RunStatus::Failed), _) => failed += 1,
            // It was quicker, or is deleted.
            (Some(RunStatus::Success) | None, _) => {}
            (_, Changed::Ordered) => ordered += 1,
            _ => ending += 1,
        }
    }
    let out = &app.out;
    out.note(format!("{} under way failed", plural(failed, "run")));
    if ending > 0 {
        out.note(format!("of {}, teardowns of what is set up are left to run", plural(ending, "run")));
    }
    if ordered > 0 {
        out.note(format!("{} more: {}", plural(ordered, "run"), carried_out(&Changed::Ordered)));
    }
    Ok(())
}

fn described(row: &BackfillRow) -> Value {
    json!({
        "id": row.id,
        "dag_id": row.spec.dag_id,
        "from_date": row.spec.from,
        "to_date": row.spec.to,
        "reprocess_behavior": row.spec.reprocess,
        "run_backwards": row.spec.backwards,
        "max_active_runs": row.spec.max_active_runs,
        "dag_run_conf": row.spec.conf,
        "state": row.state,
        "is_paused": row.state == BackfillState::Paused,
        "created_at": row.created,
        "completed_at": row.ended,
    })
}

fn list(app: &App, rows: &[BackfillRow]) {
    let out = &app.out;
    if out.json {
        return out.json_pretty(&rows.iter().map(described).collect::<Vec<_>>());
    }
    if rows.is_empty() {
        return out.note(format!("no backfill yet; see `{}`", app.command(&["backfill", "--help"])));
    }
    let mut table = Table::new(&["ID", "DAG", "STATE", "FROM", "TO", "ASKED FOR", "REPROCESS"], &[1]);
    for row in rows {
        let state = match row.state {
            BackfillState::Running => out.paint.good(row.state.name()),
            BackfillState::Paused | BackfillState::Cancelled => out.paint.warn(row.state.name()),
            BackfillState::Done => row.state.name().into(),
        };
        let reprocess = row.spec.reprocess.name();
        table.row([
            row.id.to_string(),
            row.spec.dag_id.clone(),
            state,
            date(row.spec.from),
            date(row.spec.to),
            date(row.created),
            if reprocess == "none" { String::new() } else { reprocess.into() },
        ]);
    }
    table.lines(out.width, out.paint).iter().for_each(|line| out.line(line));
}

async fn show(app: &App, store: &dyn MetadataStore, row: &BackfillRow) -> Result<()> {
    let dag = lookup::dag(app, Some(&row.spec.dag_id))?;
    let dag = ScheduledDag { dag: dag.clone(), params: Ok(row.spec.conf.clone()) };
    let fills = backfill::plan(store, &dag, &row.spec, row.created).await;
    let fills = fills.map_err(|error| CliError::input(error.to_string()))?;
    let left = fills.iter().filter(|fill| fill.is_work()).count();
    let left_out = Stretch::of(&dag.dag, &row.spec, row.created).map(|stretch| stretch.left_out());
    let left_out = left_out.map_err(|error| CliError::input(error.to_string()))?;
    let out = &app.out;
    if out.json {
        let dates: Vec<Value> = fills
            .iter()
            .map(|fill| {
                let run = fill.run();
                json!({"logical_date": fill.logical_date(), "dag_run_id": run.map(|run| &run.run.run_id),
                    "state": run.map(|run| run.run.state), "is_left": fill.is_work()})
            })
            .collect();
        let mut all = described(row);
        all["dates"] = dates.into();
        out.json_pretty(&all);
        return Ok(());
    }
    let order = if row.spec.backwards { ", backwards" } else { "" };
    out.line(format!(
        "backfill {} of {}  {}\n{} to {}{order}, {} at one time at most, reprocess {}\n",
        row.id,
        out.paint.bold(&row.spec.dag_id),
        row.state.name(),
        date(row.spec.from),
        date(row.spec.to),
        row.spec.max_active_runs,
        row.spec.reprocess.name()
    ));
    let mut table = Table::new(&["LOGICAL DATE", "STATE", "RUN"], &[2]);
    for fill in &fills {
        let state = match (fill.run(), fill.is_work()) {
            (None, _) => "not begun".into(),
            (Some(run), true) if run.run.state.is_finished() => format!("{}, runs again", run.run.state),
            (Some(run), _) => out.paint.run(run.run.state, run.run.state),
        };
        let run_id = fill.run().map_or(String::new(), |run| run.run.run_id.clone());
        table.row([fill.logical_date().map_or(String::new(), date), state, run_id]);
    }
    table.lines(out.width, out.paint).iter().for_each(|line| out.line(line));
    out.note(format!("{} of {} left", left, plural(fills.len(), "date")));
    if !left_out.is_none() {
        out.note(format!("left out: {left_out}"));
    }
    Ok(())
}
