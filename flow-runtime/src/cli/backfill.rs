//! `backfill`: the runs that a schedule would have made over a stretch of time, here and now.

use super::app::App;
use super::args;
use super::exit::{CliError, Exit, Result};
use super::format::{date, plural};
use super::observe::Watch;
use super::prints::Prints;
use super::scheduler::listener;
use super::session::Bodies;
use super::table::Table;
use super::{backfills, callbacks, lookup, params, session, signals};
use crate::clock::{Clock as _, SystemClock};
use crate::executor::{CacheUse, EngineError};
use crate::notify::Deliverer;
use crate::scheduler::ScheduledDag;
use crate::scheduler::backfill::{self, BackfillError, Ended, Fill, Filled, Reprocess};
use crate::scheduler::stretch::Stretch;
use crate::store::{BackfillRow, BackfillSpec, BackfillState, MetadataStore, StoreError};
use crate::{secret, telemetry};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use flow_core::{Dag, RunStatus, timetable};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Fills in what is missing between two dates; or does something with a backfill that is there.
pub fn backfill(app: &App, args: &args::Backfill) -> Result {
    match &args.command {
        Some(command) => return backfills::command(app, command),
        None => telemetry::init_with(&app.config.log_level),
    }
    let dag = lookup::dag(app, args.dag.as_deref())?;
    let resolved = app.params(dag, &args.params)?;
    let params = params::complete(dag, resolved)?;
    let spec = BackfillSpec {
        dag_id: dag.dag_id.clone(),
        from: instant("--from", args.from.as_deref().unwrap_or_default(), dag)?,
        to: last_instant(args.to.as_deref().unwrap_or_default(), dag)?,
        reprocess: args.reprocess.into(),
        backwards: args.backwards,
        max_active_runs: args.max_active_runs.unwrap_or(dag.max_active_runs),
        conf: without_secrets(dag, &params),
    };
    let dag = ScheduledDag { dag: dag.clone(), params: Ok(params) };
    if spec.to < spec.from {
        return Err(CliError::input("--to lies before --from"));
    }
    if let Some(task) = dag.dag.tasks.iter().find(|task| args.backwards && !task.past.is_none()) {
        let sentence = format!("--backwards: task `{}` waits for the run before, which would come after", task.task_id);
        return Err(CliError::input(sentence).hint("leave out --backwards"));
    }
    let bodies = Bodies::start(app)?;
    session::block_on(async {
        let store = app.store().await?;
        let there = same(&*store, &spec).await?;
        let since = there.as_ref().map_or_else(|| SystemClock.now(), |row| row.created);
        let fills = backfill::plan(&*store, &dag, &spec, since).await.map_err(refused)?;
        let stretch = Stretch::of(&dag.dag, &spec, since).map_err(refused)?;
        let left_out = stretch.left_out();
        if fills.is_empty() {
            return Err(no_dates(app, &dag.dag, &spec, &stretch));
        }
        if !left_out.is_none() {
            app.out.note(format!("left out: {left_out}"));
        }
        if args.dry_run {
            tell(app, &fills);
            store.close().await;
            return Ok(Exit::Success);
        }
        let work = fills.iter().filter(|fill| fill.is_work()).count();
        let row = match there {
            Some(row) if row.state == BackfillState::Paused => {
                let id = row.id.to_string();
                return Err(CliError::input(format!("backfill {id}, which asks for the same, is paused"))
                    .hint(format!("go on with it by `{}`", app.command(&["backfill", "unpause", &id]))));
            }
            // As many at one time as is said now.
            Some(row) => BackfillRow { spec: spec.clone(), ..row },
            None => made(&*store, &spec, since).await?,
        };
        let most = spec.max_active_runs;
        let dates = plural(fills.len(), "date");
        app.out.note(format!("backfill {}: {work} of {dates} to run, {most} at one time at most", row.id));
        if args.detach {
            app.out.note(format!(
                "it is left to the scheduler; see `{}`",
                app.command(&["backfill", "show", &row.id.to_string()])
            ));
            store.close().await;
            return Ok(Exit::Success);
        }
        let (stop, watch) = (bodies.stop(), Arc::new(Watch::Json(app.out.clone())));
        let engine = session::engine(app, store.clone(), &bodies, CacheUse::Reuse);
        let tells = Deliverer::start(&engine);
        let prints = Prints::redirect(&watch);
        let signals = signals::listen(&bodies, watch);
        let worked = backfill::work_on(&engine, &dag, &row, &listener(app), &stop).await;
        signals.end().await;
        drop(prints);
        let (filled, ended) = worked?;
        callbacks::settle_all(app, tells, &filled, &stop).await?;
        let _ = stop.at_once.run_until_cancelled(store.close()).await;
        sum_up(app, args, (row.id, ended), work, &filled)
    })
}

/// The backfill that asks for this and is not over.
async fn same(store: &dyn MetadataStore, spec: &BackfillSpec) -> Result<Option<BackfillRow>> {
    let wanted =
        |row: &BackfillRow| BackfillSpec { max_active_runs: spec.max_active_runs, ..row.spec.clone() } == *spec;
    // Of several the first: it knows of all that has ended since.
    Ok(store.backfills(true).await?.into_iter().rev().find(wanted))
}

async fn made(store: &dyn MetadataStore, spec: &BackfillSpec, created: DateTime<Utc>) -> Result<BackfillRow> {
    let id = store.put_backfill(spec, created).await?;
    let (spec, state) = (spec.clone(), BackfillState::Running);
    Ok(BackfillRow { id, spec, state, created, ended: None, owner: None })
}

fn refused(error: BackfillError) -> CliError {
    match error {
        BackfillError::Store(error) => error.into(),
        error => CliError::input(error.to_string()),
    }
}

/// Why nothing of what was asked for can be filled in, and where there is something.
fn no_dates(app: &App, dag: &Dag, spec: &BackfillSpec, stretch: &Stretch) -> CliError {
    let (from, to, left_out) = (date(spec.from), date(spec.to), stretch.left_out());
    if left_out.is_none() {
        let schedule = dag.schedule.as_ref().map_or("", |schedule| schedule.as_str());
        let hint = match stretch.nearest() {
            (Some(before), Some(after)) => format!("the nearest are {} and {}", date(before), date(after)),
            (Some(before), None) => format!("its last is {}", date(before)),
            (None, Some(after)) => format!("its first is {}", date(after)),
            (None, None) => "it has none at all".into(),
        };
        let sentence = format!("DAG `{}` has no date from {from} to {to}: its schedule is `{schedule}`", dag.dag_id);
        return CliError::input(sentence).hint(hint);
    }
    let sentence = format!("no date of DAG `{}` from {from} to {to} can be filled in: {left_out}", dag.dag_id);
    let mut error = CliError::input(sentence);
    if left_out.ahead > 0 {
        let next = app.command(&["next", &dag.dag_id]);
        error = error.hint(format!("the scheduler makes the runs of what is ahead when they are due: see `{next}`"));
    }
    if left_out.before.is_some() || left_out.after.is_some() {
        let run = app.command(&["run", &dag.dag_id, "--logical-date", "DATE"]);
        error = error.hint(format!("one run about any date: `{run}`"));
    }
    error
}

/// The params as they may be stored.
fn without_secrets(dag: &Dag, params: &Map<String, Value>) -> Map<String, Value> {
    let is_secret = |name: &str| dag.params.iter().any(|param| param.secret && param.name == name);
    let stored = |(name, value): (&String, &Value)| {
        let value = if is_secret(name) { Value::from(secret::MARK) } else { secret::redact_value(value) };
        (name.clone(), value)
    };
    params.iter().map(stored).collect()
}

/// A date as the clocks of the DAG's time zone tell it.
fn instant(flag: &str, text: &str, dag: &Dag) -> Result<DateTime<Utc>> {
    let zone = timetable::zone(dag.timezone.as_deref()).map_err(|e| CliError::input(e.to_string()))?;
    flow_core::parse::date_in(text, zone).map_err(|why| CliError::input(format!("{flag}: {why}")))
}

/// The same; a day means all of it.
fn last_instant(text: &str, dag: &Dag) -> Result<DateTime<Utc>> {
    match text.trim().parse::<NaiveDate>().ok().and_then(|day| day.succ_opt()) {
        Some(next) => Ok(instant("--to", &next.to_string(), dag)? - TimeDelta::microseconds(1)),
        None => instant("--to", text, dag),
    }
}

/// What becomes of each date.
pub fn tell(app: &App, fills: &[Fill]) {
    let out = &app.out;
    let what = |fill: &Fill| match fill {
        Fill::Make(_) => ("make", None),
        Fill::GoOn(run) => ("go on", Some(run.run.run_id.clone())),
        Fill::Retry(run) => ("run what failed", Some(run.run.run_id.clone())),
        Fill::Again(run) => ("run again", Some(run.run.run_id.clone())),
        Fill::Leave(run) => ("leave", Some(run.run.run_id.clone())),
    };
    if out.json {
        let described = fills.iter().map(|fill| {
            let (action, run_id) = what(fill);
            json!({"logical_date": fill.logical_date(), "action": action, "dag_run_id": run_id})
        });
        return out.json_pretty(&described.collect::<Vec<_>>());
    }
    let mut table = Table::new(&["LOGICAL DATE", "WHAT", "RUN"], &[2]);
    for fill in fills {
        let (action, run_id) = what(fill);
        table.row([fill.logical_date().map_or(String::new(), date), action.into(), run_id.unwrap_or_default()]);
    }
    table.lines(out.width, out.paint).iter().for_each(|line| out.line(line));
    out.note(format!("{} would be run", plural(fills.iter().filter(|fill| fill.is_work()).count(), "date")));
}

fn sum_up(app: &App, args: &args::Backfill, (id, ended): (i64, Ended), work: usize, filled: &[Filled]) -> Result {
    let state = |filled: &Filled| filled.ended.as_ref().ok().map(|report| report.run.state);
    let with = |wanted| filled.iter().filter(|one| state(one) == Some(wanted)).count();
    let (well, failed) = (with(RunStatus::Success), with(RunStatus::Failed));
    for one in filled {
        match &one.ended {
            Err(error) if one.is_elsewhere() => app.out.note(format!("run {} was left as it is: {error}", one.run_id)),
            Err(error) => app.out.note(format!("run {} was not brought to its end: {error}", one.run_id)),
            Ok(_) => {}
        }
    }
    // Of one that was stopped nobody runs what was refused here.
    let is_stopped = matches!(ended, Ended::Paused | Ended::Cancelled);
    let is_refused = |one: &&Filled| matches!(one.ended, Err(EngineError::Store(StoreError::BackfillLost(_))));
    let stopped = filled.iter().filter(|one| is_stopped && is_refused(one)).count();
    let elsewhere = filled.iter().filter(|one| one.is_elsewhere()).count() - stopped;
    let refused = filled.iter().filter(|one| one.ended.is_err() && !one.is_elsewhere()).count();
    // Somebody may have let further runs of its dates run again meanwhile.
    let left = work.saturating_sub(well + failed + refused + elsewhere);
    app.out.note(format!(
        "\n{well} succeeded, {failed} failed, {elsewhere} left to others, {} not run to the end",
        left + refused
    ));
    match ended {
        Ended::Paused => {
            let command = app.command(&["backfill", "unpause", &id.to_string()]);
            app.out
                .note(format!("it was paused; after `{command}` the same command, or the scheduler, goes on with it"));
            return Ok(Exit::Interrupted);
        }
        Ended::Cancelled => app.out.note("it was cancelled"),
        Ended::Elsewhere => app.out.note("another process goes on with it"),
        Ended::Left | Ended::Done => {}
    }
    if left > 0 {
        if ended == Ended::Left {
            app.out.note("the same command, or the scheduler, goes on with what is left");
        }
        return Ok(Exit::Interrupted);
    }
    let first = filled.iter().filter(|one| !one.is_elsewhere()).find_map(|one| one.ended.as_ref().err());
    match first {
        Some(EngineError::Store(_) | EngineError::Io(_)) => Err(CliError::outside("not every date was run: see above")),
        Some(_) => Err(CliError::input("not every date was run: see above")),
        None if failed > 0 => {
            if args.reprocess == args::ReprocessArg::None {
                app.out.note("what failed runs again by the same command with `--reprocess failed`");
            }
            Ok(Exit::RunFailed)
        }
        None => Ok(Exit::Success),
    }
}

impl From<args::ReprocessArg> for Reprocess {
    fn from(given: args::ReprocessArg) -> Reprocess {
        match given {
            args::ReprocessArg::None => Reprocess::None,
            args::ReprocessArg::Failed => Reprocess::Failed,
            args::ReprocessArg::Completed => Reprocess::Completed,
        }
    }
}
