//! `runs`: what has run.

use super::app::App;
use super::args::{Runs, Wanted};
use super::exit::{Exit, Result};
use super::format::{date, seconds, took};
use super::table::Table;
use super::{describe, lookup, session};
use crate::executor::Holders;
use crate::store::{RunFilter, StoredRun};
use flow_core::RunStatus;

/// Lists runs, the newest first.
pub fn runs(app: &App, args: &Runs) -> Result {
    // The store does not know which runs are left behind: those that may be are looked at one by one.
    let open = |state: &RunStatus| !state.is_finished();
    let mut states: Vec<RunStatus> =
        args.state.iter().filter_map(|w| if let Wanted::State(s) = w { Some(*s) } else { None }).collect();
    let left = args.state.contains(&Wanted::Interrupted);
    let looked_at = left || states.iter().any(open);
    if left {
        states.extend([RunStatus::Queued, RunStatus::Running]);
    }
    let limit = if looked_at { 0 } else { args.limit };
    let filter = RunFilter { dag_id: args.dag.clone(), states, limit, ..RunFilter::default() };
    let (mut runs, holders) = session::block_on(async {
        let Some(store) = app.store_to_read().await? else { return Ok((Vec::new(), Holders::Nobody)) };
        let runs = store.runs(&filter).await?;
        let holders = session::holders(app, &*store).await?;
        store.close().await;
        Ok((runs, holders))
    })?;
    if looked_at {
        runs.retain(|run| {
            let state = Wanted::State(run.run.state);
            args.state.contains(&if holders.left_alone(run) { Wanted::Interrupted } else { state })
        });
        runs.truncate(if args.limit == 0 { usize::MAX } else { args.limit as usize });
    }
    if runs.is_empty() && args.dag.is_some() {
        // A DAG that is gone may have runs; one that never was has none.
        lookup::dag(app, args.dag.as_deref())?;
    }
    let out = &app.out;
    if out.json {
        out.json_pretty(&runs.iter().map(|r| describe::run(r, &holders)).collect::<Vec<_>>());
        return Ok(Exit::Success);
    }
    if runs.is_empty() {
        if !args.state.is_empty() {
            out.note("no run is in that state; all of them: leave out --state");
            return Ok(Exit::Success);
        }
        out.note(format!("no run yet ({}); start one by `{}`", app.config.records(), app.command(&["run"])));
        return Ok(Exit::Success);
    }
    for line in table(app, &runs, &holders).lines(out.width, out.paint) {
        out.line(line);
    }
    if args.limit > 0 && runs.len() >= args.limit as usize {
        out.note(out.paint_err.dim(format!("the newest {}; all of them: --limit 0", args.limit)));
    }
    Ok(Exit::Success)
}

fn table(app: &App, runs: &[StoredRun], holders: &Holders) -> Table {
    let paint = app.out.paint;
    let mut table = Table::new(&["RUN", "DAG", "STATE", "STARTED", "TOOK", "LOGICAL DATE", "HELD BY"], &[6, 0, 1]);
    for stored in runs {
        let run = &stored.run;
        let state = if run.state == RunStatus::Running && holders.left_alone(stored) {
            paint.warn("interrupted")
        } else {
            paint.run(run.state, run.state)
        };
        let ended = run.start_date.zip(run.end_date).map(|(start, end)| took(seconds(start, end)));
        table.row([
            run.run_id.clone(),
            run.dag_id.clone(),
            state,
            run.start_date.map_or(String::new(), date),
            ended.unwrap_or_default(),
            run.logical_date.map_or(String::new(), date),
            holders.holder(stored).unwrap_or_default(),
        ]);
    }
    table
}
