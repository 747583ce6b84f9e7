//! `scheduler`: runs DAGs by themselves, until it is stopped. `pause` and `unpause`, `next`: whether, and when.

use super::app::App;
use super::args::{Dags, Next, ParamArgs};
use super::coming::{Coming, coming};
use super::exit::{CliError, Exit, Result};
use super::format::{clock, date, one_line, plural, took, until};
use super::observe::Watch;
use super::prints::Prints;
use super::session::Bodies;
use super::style::glyph;
use super::table::Table;
use super::view::cause;
use super::{assets, lookup, params, session, signals};
use crate::clock::{Clock as _, SystemClock};
use crate::executor::{CacheUse, EngineError, obstacles};
use crate::notify::Deliverer;
use crate::run_event::{RunEvent, label};
use crate::scheduler::{Listener, ScheduledDag, Scheduler, Told};
use crate::store::{MetadataStore, RunFilter, StoredRun};
use crate::telemetry;
use flow_core::{Dag, DagRun, RunStatus, TaskState, Waiting};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes the runs that are due, and goes on with what was left behind.
pub fn scheduler(app: &App) -> Result {
    telemetry::init_with(&app.config.log_level);
    let bodies = Bodies::start(app)?;
    session::block_on(async {
        let store = app.store().await?;
        let (stop, watch) = (bodies.stop(), Arc::new(Watch::Json(app.out.clone())));
        let dags: Vec<ScheduledDag> = app.registry.dags().filter_map(|dag| scheduled(app, dag)).collect();
        let paused = store.paused().await?;
        let engine = session::engine(app, store.clone(), &bodies, CacheUse::Reuse);
        let tells = Deliverer::start(&engine);
        let prints = Prints::redirect(&watch);
        // From here on Ctrl-C is heard, as the greeting says.
        let signals = signals::listen(&bodies, watch);
        greet(app, &dags, &paused);
        let scheduler = Scheduler::new(engine, dags, app.config.paused_at_creation, listener(app), stop.clone());
        let scheduler = scheduler.map_err(|e| CliError::input(e.to_string()))?;
        let ended = scheduler.run().await;
        signals.end().await;
        drop(prints);
        // Dropped half-way, it stops at once.
        let _ = stop.at_once.run_until_cancelled(tells.stop()).await;
        // The last word matters less than that it ends.
        let left = stop.at_once.run_until_cancelled(unfinished(app, &*store)).await.and_then(Result::ok);
        let _ = stop.at_once.run_until_cancelled(store.close()).await;
        match ended {
            Ok(()) => {
                app.out.note(match left {
                    Some(left) => stopped(&left, |words| app.command(words)),
                    None => "stopped".into(),
                });
                Ok(Exit::Success)
            }
            Err(EngineError::Held(why)) => {
                Err(CliError::input(why).hint("stop that one first, or give this one another home folder by --home"))
            }
            Err(error) => Err(error.into()),
        }
    })
}

/// The runs that a scheduler of this program would go on with, the oldest first.
async fn unfinished(app: &App, store: &dyn MetadataStore) -> Result<Vec<DagRun>> {
    let states = vec![RunStatus::Queued, RunStatus::Running];
    let open = store.runs(&RunFilter { states, ..RunFilter::default() }).await?;
    let (holders, paused) = (session::holders(app, store).await?, store.paused().await?);
    let waits = |run: &StoredRun| {
        let dag_id = &run.run.dag_id;
        let paused = paused.get(dag_id).copied().unwrap_or(app.config.paused_at_creation);
        !paused && app.registry.dag(dag_id).is_some() && holders.left_alone(run)
    };
    Ok(open.into_iter().rev().filter(waits).map(|run| run.run).collect())
}

/// What is left undone, and how it goes on.
fn stopped(left: &[DagRun], command: impl Fn(&[&str]) -> String) -> String {
    const NAMES: usize = 3;
    let [first, ..] = left else { return "stopped; nothing is left that a scheduler would go on with".into() };
    let word = |state| if state == RunStatus::Queued { ", not begun" } else { "" };
    let named = left.iter().take(NAMES).map(|run| format!("  {} {}{}\n", run.dag_id, run.run_id, word(run.state)));
    let more = match left.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!("  and {more} more: `{}`\n", command(&["runs", "--state", "interrupted"])),
    };
    let resume = command(&["run", &first.dag_id, "--resume", &first.run_id]);
    format!(
        "stopped; {} left unfinished:\n{}{more}a scheduler goes on with what is left when it starts, and `{resume}` with one run",
        match left.len() {
            1 => "1 run is".into(),
            many => format!("{many} runs are"),
        },
        named.collect::<String>(),
    )
}

/// What the scheduler needs to know of a DAG. All are there, also those without a schedule: their runs are gone on with.
fn scheduled(app: &App, dag: &Arc<Dag>) -> Option<ScheduledDag> {
    let obstacles = obstacles(dag, app.registry.bodies(), &session::settings(app));
    if !obstacles.is_empty() {
        app.out.note(format!("DAG `{}` cannot run: {}", dag.dag_id, obstacles.join("; ")));
        return None;
    }
    let resolved = app.params(dag, &ParamArgs::default()).and_then(|resolved| params::complete(dag, resolved));
    Some(ScheduledDag { dag: dag.clone(), params: resolved.map_err(|error| error.message.clone()) })
}

/// What keeps runs of a DAG from being made by this program under these settings, as its scheduler would find it: a sentence each.
pub fn no_runs(app: &App, dag: &Dag) -> Vec<String> {
    let mut found = obstacles(dag, app.registry.bodies(), &session::settings(app));
    let params = session::set_params(app, dag).and_then(|resolved| match dag.schedule {
        Some(_) => params::complete(dag, resolved).map(drop),
        // Whoever asks for a run may give what is missing.
        None => Ok(()),
    });
    found.extend(params.err().iter().flat_map(|error| error.message.lines()).map(String::from));
    found
}

fn greet(app: &App, dags: &[ScheduledDag], said: &BTreeMap<String, bool>) {
    let is_paused = |id: &str| said.get(id).copied().unwrap_or(app.config.paused_at_creation);
    let own = || dags.iter().filter(|dag| dag.dag.schedule.is_some());
    let paused: Vec<&str> = own().map(|dag| dag.dag.dag_id.as_str()).filter(|id| is_paused(id)).collect();
    if app.out.json {
        let ids: Vec<&str> = dags.iter().map(|dag| dag.dag.dag_id.as_str()).collect();
        let line = json!({"event": "scheduler_started", "dags": ids, "paused": paused, "timestamp": SystemClock.now()});
        return app.out.json_line(&line);
    }
    app.out.note(format!(
        "the scheduler looks after {} with a schedule, of {} in all; Ctrl-C stops it",
        plural(own().count(), "DAG"),
        dags.len()
    ));
    if !paused.is_empty() {
        app.out.note(format!("paused: {} (`{}`)", paused.join(", "), app.command(&["unpause", paused[0]])));
    }
}

/// Tells of runs as lines, or as JSON.
pub fn listener(app: &App) -> Listener {
    let out = app.out.clone();
    Arc::new(move |told| match told {
        Told::Note(text) if out.json => out.json_line(&json!({"event": "note", "message": text})),
        Told::Note(text) => out.note(text),
        Told::Event { dag_id, run_id, event } if out.json => {
            let mut line = serde_json::to_value(event).unwrap_or_default();
            line["dag_id"] = (*dag_id).into();
            line["dag_run_id"] = (*run_id).into();
            out.json_line(&line);
        }
        Told::Event { dag_id, run_id, event } => {
            if let Some(line) = line(dag_id, run_id, event, out.paint) {
                out.line(line);
            }
        }
    })
}

/// The beginnings and ends of runs, and what went wrong.
fn line(dag_id: &str, run_id: &str, event: &RunEvent, paint: super::style::Paint) -> Option<String> {
    let head = |at| format!("{} {} {run_id}", paint.dim(clock(at)), paint.bold(dag_id));
    match event {
        RunEvent::RunStarted { resumed, timestamp, .. } => {
            Some(format!("{} {}", head(*timestamp), if *resumed { "goes on" } else { "started" }))
        }
        RunEvent::RunEnded { state, duration, timestamp, .. } => {
            let how = if state.is_finished() { paint.run(*state, state) } else { paint.warn("interrupted") };
            Some(format!("{} {how} after {}", head(*timestamp), took(*duration)))
        }
        RunEvent::TaskState { task_id, map_index, state, cause: Some(ended_by), due, timestamp, .. }
            if matches!(state, TaskState::Failed | TaskState::UpForRetry) =>
        {
            let again = due.map_or(String::new(), |due| format!(", again in {}", until(*timestamp, due)));
            let task = paint.task(*state, format!("{} {}", glyph(*state), label(task_id, *map_index)));
            Some(format!("{} {task}: {}{again}", head(*timestamp), one_line(&cause(ended_by))))
        }
        // What a task says is in its log, but that it is not.
        RunEvent::Log { task_id, map_index, logger, message, timestamp, .. } if logger == telemetry::LOG => {
            Some(format!("{} {}: {}", head(*timestamp), paint.warn(label(task_id, *map_index)), one_line(message)))
        }
        _ => None,
    }
}

/// Says that DAGs make no runs by themselves, or do again.
pub fn pause(app: &App, args: &Dags, paused: bool) -> Result {
    let dags = args.dags.iter().map(|name| lookup::dag(app, Some(name))).collect::<Result<Vec<_>>>()?;
    session::block_on(async {
        let store = app.store().await?;
        for dag in &dags {
            store.set_paused(&dag.dag_id, paused).await?;
        }
        store.close().await;
        Ok(())
    })?;
    if app.out.json {
        let states = dags.iter().map(|dag| json!({"dag_id": dag.dag_id, "is_paused": paused}));
        app.out.json_pretty(&states.collect::<Vec<_>>());
    } else {
        let verb =
            if paused { "is paused: the scheduler makes no run of it" } else { "goes on: the scheduler runs it" };
        dags.iter().for_each(|dag| app.out.line(format!("{} {verb}", dag.dag_id)));
    }
    Ok(Exit::Success)
}

/// Shows the runs that a DAG will have by itself.
pub fn next(app: &App, args: &Next) -> Result {
    let dag = lookup::dag(app, args.dag.as_deref())?;
    let now = SystemClock.now();
    let (Coming { runs, taken }, paused) = session::block_on(async {
        let store = app.store_to_read().await?;
        let coming = coming(store.as_deref(), dag, now, args.number as usize).await?;
        let said = match &store {
            Some(store) => store.paused().await?.get(&dag.dag_id).copied(),
            None => None,
        };
        if let Some(store) = store {
            store.close().await;
        }
        Ok((coming, said.unwrap_or(app.config.paused_at_creation)))
    })?;
    let out = &app.out;
    if out.json {
        let runs = runs.iter().map(|run| {
            json!({
                "dag_id": dag.dag_id,
                "logical_date": run.logical_date,
                "data_interval_start": run.data_interval.start,
                "data_interval_end": run.data_interval.end,
                "run_after": run.run_after,
            })
        });
        out.json_pretty(&runs.collect::<Vec<_>>());
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["RUN AFTER", "IN", "LOGICAL DATE", "DATA INTERVAL"], &[]);
    for run in &runs {
        let interval = run.data_interval;
        let span = if interval.start == interval.end {
            String::new()
        } else {
            format!("{} to {}", date(interval.start), date(interval.end))
        };
        let wait = if run.run_after <= now { "due".into() } else { until(now, run.run_after) };
        table.row([date(run.run_after), wait, date(run.logical_date), span]);
    }
    table.lines(out.width, out.paint).iter().for_each(|line| out.line(line));
    match taken {
        0 => {}
        1 => out.note("left out: 1 date has a run already, which somebody asked for; the scheduler passes over it"),
        many => out.note(format!(
            "left out: {many} dates have a run already, which somebody asked for; the scheduler passes over them"
        )),
    }
    let lacks = no_runs(app, dag);
    if !lacks.is_empty() {
        out.note(format!("{} {}", dag.dag_id, Waiting::CannotRun { why: lacks.join("; ") }));
    }
    let waiting = assets::waiting_now(app, dag)?;
    match &dag.schedule {
        Some(_) if paused && waiting.is_some() => {
            let waiting = waiting.unwrap_or_default();
            out.note(format!("{waiting}, but the DAG is paused: see `{}`", app.command(&["unpause", &dag.dag_id])));
        }
        Some(_) if waiting.is_some() => out.note(waiting.unwrap_or_default()),
        None => out.note(format!("{} has no schedule: it runs when somebody asks", dag.dag_id)),
        Some(schedule) if runs.is_empty() => out.note(format!("{} ({schedule}) will not run any more", dag.dag_id)),
        Some(_) if paused => {
            out.note(format!("it is paused: none of them is made before `{}`", app.command(&["unpause", &dag.dag_id])));
        }
        Some(_) => {}
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_core::RunType;

    fn run(run_id: &str, state: RunStatus) -> DagRun {
        DagRun {
            dag_id: "taxi".into(),
            run_id: run_id.into(),
            run_type: RunType::Scheduled,
            state,
            logical_date: None,
            data_interval: None,
            run_after: chrono::DateTime::UNIX_EPOCH,
            start_date: None,
            end_date: None,
            conf: serde_json::Map::new(),
        }
    }

    #[test]
    fn the_last_word_names_what_is_left_and_how_it_goes_on() {
        let said = |left: &[DagRun]| stopped(left, |words| format!("dags {}", words.join(" ")));
        assert_eq!(said(&[]), "stopped; nothing is left that a scheduler would go on with");
        let mut left = vec![run("a", RunStatus::Running)];
        assert_eq!(
            said(&left),
            "stopped; 1 run is left unfinished:\n  taxi a\n\
             a scheduler goes on with what is left when it starts, and `dags run taxi --resume a` with one run"
        );
        left.extend(["b", "c", "d", "e"].map(|id| run(id, RunStatus::Queued)));
        let said = said(&left);
        assert!(said.starts_with("stopped; 5 runs are left unfinished:\n  taxi a\n  taxi b, not begun\n"), "{said}");
        assert!(
            said.contains("\n  and 2 more: `dags runs --state interrupted`\n") && !said.contains("taxi d"),
            "{said}"
        );
    }
}
