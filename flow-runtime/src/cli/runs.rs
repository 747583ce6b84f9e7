//! `runs`: what has run.

use super::app::App;
use super::args::Runs;
use super::exit::{Exit, Result};
use super::format::{date, seconds, took};
use super::run::is_interrupted;
use super::table::Table;
use super::{describe, lookup, session};
use crate::store::{RunFilter, StoredRun};

/// Lists runs, the newest first.
pub fn runs(app: &App, args: &Runs) -> Result {
    let filter =
        RunFilter { dag_id: args.dag.clone(), states: args.state.clone(), limit: args.limit, ..RunFilter::default() };
    let runs = session::block_on(async {
        let Some(store) = app.store_to_read().await? else { return Ok(Vec::new()) };
        let runs = store.runs(&filter).await?;
        store.close().await;
        Ok(runs)
    })?;
    if runs.is_empty() && args.dag.is_some() {
        // A DAG that is gone may have runs; one that never was has none.
        lookup::dag(app, args.dag.as_deref())?;
    }
    let out = &app.out;
    if out.json {
        out.json_pretty(&runs.iter().map(|r| describe::run(r, is_interrupted(app, r))).collect::<Vec<_>>());
        return Ok(Exit::Success);
    }
    if runs.is_empty() {
        out.note(format!("no run yet in {}; start one by `{}`", app.config.home.display(), app.command(&["run"])));
        return Ok(Exit::Success);
    }
    for line in table(app, &runs).lines(out.width, out.paint) {
        out.line(line);
    }
    if args.limit > 0 && runs.len() >= args.limit as usize {
        out.note(out.paint_err.dim(format!("the newest {}; all of them: --limit 0", args.limit)));
    }
    Ok(Exit::Success)
}

fn table(app: &App, runs: &[StoredRun]) -> Table {
    let paint = app.out.paint;
    let mut table = Table::new(&["RUN", "DAG", "STATE", "STARTED", "TOOK", "LOGICAL DATE"], &[0, 1]);
    for stored in runs {
        let run = &stored.run;
        let state =
            if is_interrupted(app, stored) { paint.warn("interrupted") } else { paint.run(run.state, run.state) };
        let ended = run.start_date.zip(run.end_date).map(|(start, end)| took(seconds(start, end)));
        table.row([
            run.run_id.clone(),
            run.dag_id.clone(),
            state,
            run.start_date.map_or(String::new(), date),
            ended.unwrap_or_default(),
            run.logical_date.map_or(String::new(), date),
        ]);
    }
    table
}
