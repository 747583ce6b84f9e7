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
use super::{lookup, params, session, signals};
use crate::executor::{EngineError, Stop};
use crate::scheduler::ScheduledDag;
use crate::scheduler::backfill::{self, BackfillError, BackfillRequest, Fill, Filled, Reprocess};
use crate::telemetry;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use flow_core::{Dag, RunStatus, timetable};
use serde_json::json;
use std::sync::Arc;

/// Fills in what is missing between two dates.
pub fn backfill(app: &App, args: &args::Backfill) -> Result {
    telemetry::init_with(&app.config.log_level);
    let dag = lookup::dag(app, Some(&args.dag))?;
    let resolved = app.params(dag, &args.params)?;
    let dag = ScheduledDag { dag: dag.clone(), params: Ok(params::complete(dag, resolved)?) };
    let request = BackfillRequest {
        from: instant("--from", &args.from, &dag.dag)?,
        to: last_instant(&args.to, &dag.dag)?,
        reprocess: args.reprocess.into(),
        backwards: args.backwards,
    };
    if request.to < request.from {
        return Err(CliError::input("--to lies before --from"));
    }
    let most = args.max_active_runs.unwrap_or(dag.dag.max_active_runs) as usize;
    let bodies = Bodies::start(app)?;
    session::block_on(async {
        let store = app.store().await?;
        let fills = backfill::plan(&*store, &dag, &request).await.map_err(|error| match error {
            BackfillError::Store(error) => error.into(),
            error => CliError::input(error.to_string()),
        })?;
        if args.dry_run {
            tell(app, &fills);
            store.close().await;
            return Ok(Exit::Success);
        }
        let work = fills.iter().filter(|fill| fill.is_work()).count();
        app.out.note(format!("{} of {} to run, {most} at one time at most", work, plural(fills.len(), "date")));
        let (stop, watch) = (Stop::default(), Arc::new(Watch::Json(app.out.clone())));
        let engine = session::engine(app, store.clone(), &bodies);
        let prints = Prints::redirect(&watch);
        let signals = signals::listen(stop.clone(), watch);
        let filled = backfill::run(&engine, &dag, fills, most, &listener(app), &stop).await;
        signals.abort();
        drop(prints);
        store.close().await;
        sum_up(app, args, work, &filled)
    })
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

fn tell(app: &App, fills: &[Fill]) {
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

fn sum_up(app: &App, args: &args::Backfill, work: usize, filled: &[Filled]) -> Result {
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
    let elsewhere = filled.iter().filter(|one| one.is_elsewhere()).count();
    let refused = filled.iter().filter(|one| one.ended.is_err() && !one.is_elsewhere()).count();
    let left = work - well - failed - refused - elsewhere;
    app.out.note(format!(
        "\n{well} succeeded, {failed} failed, {elsewhere} left to others, {} not run to the end",
        left + refused
    ));
    if left > 0 {
        app.out.note("the same command goes on with what is left");
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
