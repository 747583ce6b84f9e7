//! `clean` and `delete`: runs are deleted, with their logs and values.

use super::app::App;
use super::args::RunArg;
use super::exit::{CliError, Exit, Result};
use super::format::{date, plural};
use super::kept::{Because, kept};
use super::session::scheduler_may_live;
use super::table::Table;
use super::{lookup, session};
use crate::clock::{Clock as _, SystemClock};
use crate::executor::{Engine, EngineError};
use crate::store::{BackfillChange, BackfillState, MetadataStore, RunFilter, RunPk, StoredRun};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use flow_core::{DagRun, RunStatus};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// `delete`
#[derive(Debug, Args)]
pub struct Delete {
    /// The DAG; it may be gone from the program
    pub dag: String,
    /// This run alone; the DAG is not paused
    #[arg(long, value_name = "RUN", conflicts_with = "gone")]
    pub run: Option<String>,
    /// Do it; without this, tell what would be deleted
    #[arg(long)]
    pub yes: bool,
    /// No program has the DAG any more: forget which assets it waits for, too, although a scheduler may live that has it
    #[arg(long)]
    pub gone: bool,
}

/// `clean`
#[derive(Debug, Args)]
pub struct Clean {
    /// What has ended before this date, or so long ago: 2026-01-31, 30d
    #[arg(long, value_name = "DATE|TIME")]
    pub before: String,
    /// Runs of this DAG alone
    #[arg(long, value_name = "DAG")]
    pub dag: Option<String>,
    /// Tell what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Deletes what has ended before a date, but what would be done again without it.
pub fn clean(app: &App, args: &Clean) -> Result {
    let now = SystemClock.now();
    let before = before(&args.before, now)?;
    session::block_on(async {
        let Some(store) = app.store_to_read().await? else { return Err(lookup::no_runs(app, args.dag.as_deref())) };
        let states = vec![RunStatus::Success, RunStatus::Failed];
        let runs = store.runs(&RunFilter { dag_id: args.dag.clone(), states, ..RunFilter::default() }).await?;
        let old = |run: &StoredRun| run.run.end_date.unwrap_or(run.run.run_after) < before;
        let runs: Vec<StoredRun> = runs.into_iter().filter(old).collect();
        let known = |dag_id: &str| app.registry.dag(dag_id).map(|dag| (**dag).clone());
        let kept = kept(&*store, &known, &runs, now).await?;
        let (stay, runs): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| kept.contains_key(&run.pk));
        if args.dry_run {
            tell(app, &runs);
            tell_kept(app, &stay, &kept);
            app.out.note(format!(
                "{} would be deleted, with their logs and values; outputs that caches kept before then, and events of assets from \
                 before that nobody needs any more, would be forgotten",
                plural(runs.len(), "run")
            ));
            store.close().await;
            return Ok(Exit::Success);
        }
        let forgotten = store.forget_cached(args.dag.as_deref(), before).await?;
        remove(app, &store, runs).await?;
        tell_kept(app, &stay, &kept);
        app.out.note(format!("{} of the cache forgotten", plural(forgotten as usize, "output")));
        // Now, for those that the runs were made for are of no use without them.
        let forgotten = store.forget_asset_events(args.dag.as_deref(), before).await?;
        app.out.note(format!("{} of assets forgotten", plural(forgotten as usize, "event")));
        store.close().await;
        Ok(Exit::Success)
    })
}

/// Deletes all runs of a DAG, or one.
pub fn delete(app: &App, args: &Delete) -> Result {
    if let Some(run_id) = &args.run {
        return delete_one(app, &args.dag, run_id, args.yes);
    }
    session::block_on(async {
        let Some(store) = app.store_to_read().await? else {
            return Err(lookup::no_runs(app, (!args.gone).then_some(args.dag.as_str())));
        };
        let runs = store.runs(&RunFilter { dag_id: Some(args.dag.clone()), ..RunFilter::default() }).await?;
        let is_here = app.registry.dag(&args.dag).is_some();
        if args.gone && is_here {
            return Err(CliError::input(format!("--gone: this program has the DAG `{}`", args.dag)));
        }
        if runs.is_empty() && !args.gone {
            return Err(lookup::no_runs(app, Some(&args.dag)));
        }
        nobody_works(app, &*store, &runs).await?;
        if !args.yes {
            tell(app, &runs);
            app.out.note(format!("{} would be deleted; `--yes` does it", plural(runs.len(), "run")));
            store.close().await;
            return Ok(Exit::Success);
        }
        if is_here {
            // Or a scheduler would begin with its history anew.
            store.set_paused(&args.dag, true).await?;
            app.out.note(format!("{0} is paused: `{1}`", args.dag, app.command(&["unpause", &args.dag])));
        } else if args.gone || !scheduler_may_live(app) {
            // Nobody makes a run of it any more: what comes is not kept for it.
            store.await_assets(&[(args.dag.clone(), BTreeSet::new())].into()).await?;
            // Nobody could take its pause away by a program that does not know it. Without the word that it is gone, the pause of
            // another program's DAG stays.
            if args.gone && store.paused().await?.get(&args.dag) == Some(&true) {
                store.set_paused(&args.dag, false).await?;
            }
        } else {
            store.set_paused(&args.dag, true).await?;
            app.out.note(format!(
                "a scheduler of another program may have {0}: so it is paused, and what it waits for is kept for it as before; if none \
                 has it: `{1}`",
                args.dag,
                app.command(&["delete", &args.dag, "--yes", "--gone"])
            ));
        }
        for row in store.backfills(true).await?.into_iter().filter(|row| row.spec.dag_id == args.dag) {
            let (to, at) = (BackfillState::Cancelled, SystemClock.now());
            store.settle_backfill(&BackfillChange { id: row.id, from: row.state, to, at }).await?;
        }
        remove(app, &store, runs).await?;
        store.close().await;
        Ok(Exit::Success)
    })
}

fn delete_one(app: &App, dag: &str, run_id: &str, is_sure: bool) -> Result {
    session::block_on(async {
        let Some(store) = app.store_to_read().await? else { return Err(lookup::no_runs(app, Some(dag))) };
        let run = RunArg { run: run_id.to_owned(), dag: Some(dag.to_owned()) };
        let runs = vec![lookup::run(app, Some(&*store), &run).await?];
        // By then a part of its name, or `latest`, may mean another.
        let whole = &runs[0].run.run_id;
        if is_sure && whole != run_id {
            return Err(CliError::input(format!("`{run_id}` is not the whole id of a run of DAG `{dag}`"))
                .hint(format!("one that it may mean: `{}`", app.command(&["delete", dag, "--run", whole, "--yes"]))));
        }
        nobody_works(app, &*store, &runs).await?;
        let known = |dag_id: &str| app.registry.dag(dag_id).map(|dag| (**dag).clone());
        let kept = kept(&*store, &known, &runs, SystemClock.now()).await?;
        if is_sure {
            remove(app, &store, runs).await?;
        } else {
            tell(app, &runs);
            let how = app.command(&["delete", dag, "--run", &runs[0].run.run_id, "--yes"]);
            app.out.note(format!("it would be deleted: `{how}` does it"));
        }
        if let Some(because) = kept.values().next() {
            app.out.note(format!("it is {because}: `clean` would keep it"));
        }
        store.close().await;
        Ok(Exit::Success)
    })
}

/// Refuses runs that are being worked on.
async fn nobody_works(app: &App, store: &dyn MetadataStore, runs: &[StoredRun]) -> Result<()> {
    let holders = session::holders(app, store).await?;
    let Some(held) = runs.iter().find(|run| !run.run.state.is_finished() && !holders.left_alone(run)) else {
        return Ok(());
    };
    let DagRun { dag_id, run_id, .. } = &held.run;
    let cancel = app.command(&["cancel", run_id, "--dag", dag_id]);
    Err(CliError::input(format!("run `{run_id}` of DAG `{dag_id}` is being worked on"))
        .hint(format!("end it first, by `{cancel}`, and pause the DAG")))
}

/// Deletes these runs, but those that somebody works on, and the values that are of no use without them.
async fn remove(app: &App, store: &Arc<dyn MetadataStore>, runs: Vec<StoredRun>) -> Result<()> {
    let engine = Engine::new(store.clone(), app.registry.bodies().clone(), session::settings(app));
    let mut deleted = Vec::new();
    for run in runs {
        match engine.delete(&run).await {
            Ok(()) => deleted.push(run),
            // Somebody lets it run again just now.
            Err(EngineError::Held(why)) => app.out.note(why),
            Err(error) => return Err(error.into()),
        }
    }
    let swept = engine.sweep().await.map_err(CliError::from)?;
    tell(app, &deleted);
    app.out.note(format!(
        "{} deleted, and {} of values that no run refers to ({:.1} MB)",
        plural(deleted.len(), "run"),
        plural(swept.files as usize, "file"),
        swept.bytes as f64 / 1e6
    ));
    Ok(())
}

/// A date, or how long ago.
fn before(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    if let Ok(age) = flow_core::parse::duration(text) {
        let age = TimeDelta::from_std(age).ok().and_then(|age| now.checked_sub_signed(age));
        return age.ok_or_else(|| CliError::input(format!("--before: `{text}` is longer ago than dates go")));
    }
    flow_core::parse::date(text).map_err(|_| {
        CliError::input(format!(
            "--before: `{text}` is neither a date like `2026-01-31` nor a length of time like `30d`"
        ))
    })
}

/// What stays, and why: a line for each reason of a DAG.
fn tell_kept(app: &App, runs: &[StoredRun], kept: &BTreeMap<RunPk, Because>) {
    let mut groups: BTreeMap<(&str, Because), Vec<&str>> = BTreeMap::new();
    for (run, because) in runs.iter().filter_map(|run| Some((run, *kept.get(&run.pk)?))) {
        groups.entry((&run.run.dag_id, because)).or_default().push(&run.run.run_id);
    }
    for ((dag_id, because), runs) in groups {
        app.out.note(match runs[..] {
            [run] => format!("kept: {dag_id} {run}, {because}"),
            _ => format!("kept: {} of {dag_id}, each {because}", plural(runs.len(), "run")),
        });
    }
}

fn tell(app: &App, runs: &[StoredRun]) {
    let out = &app.out;
    if out.json {
        let ids = runs.iter().map(|run| json!({"dag_id": run.run.dag_id, "dag_run_id": run.run.run_id}));
        return out.json_pretty(&ids.collect::<Vec<_>>());
    }
    let mut table = Table::new(&["RUN", "DAG", "STATE", "ENDED"], &[0]);
    for run in runs {
        let run = &run.run;
        let ended = run.end_date.map_or(String::new(), date);
        table.row([run.run_id.clone(), run.dag_id.clone(), out.paint.run(run.state, run.state), ended]);
    }
    table.lines(out.width, out.paint).iter().for_each(|line| out.line(line));
}
