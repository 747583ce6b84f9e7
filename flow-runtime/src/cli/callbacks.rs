//! `callbacks`: what somebody outside is to be told, or was. And the end of a command, which waits a little for its own.

use super::app::App;
use super::args::{Callbacks, RunArg};
use super::exit::{CliError, Exit, Result};
use super::format::{date, one_line, plural, until};
use super::table::Table;
use super::{lookup, session};
use crate::clock::{Clock as _, SystemClock};
use crate::executor::{RunReport, Stop};
use crate::notify::Deliverer;
use crate::run_event::label;
use crate::scheduler::backfill::Filled;
use crate::secret;
use crate::store::{CallbackFilter, CallbackRow, CallbackState, MetadataStore, RunPk};
use flow_core::Notifier;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// How long a command waits at its end until what its runs owe is told.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rows of one question.
const PAGE: u32 = 1000;

/// Lists what is owed, told and given up, the oldest first.
pub fn callbacks(app: &App, args: &Callbacks) -> Result {
    let rows = session::block_on(async {
        let store = app.store_to_read().await?;
        let run = match &args.run {
            Some(run) => {
                let arg = RunArg { run: run.clone(), dag: args.dag.clone() };
                Some(lookup::run(app, store.as_deref(), &arg).await?.pk)
            }
            None => None,
        };
        let Some(store) = store else { return Ok(VecDeque::new()) };
        let rows = latest(&*store, run, args).await?;
        store.close().await;
        Ok(rows)
    })?;
    let out = &app.out;
    if out.json {
        out.json_pretty(&rows.iter().map(json_of).collect::<Vec<_>>());
        return Ok(Exit::Success);
    }
    if rows.is_empty() {
        out.note(match args.state {
            Some(state) => format!(
                "nothing of what was to be told is {}; all of it: `{}`",
                state.name(),
                app.command(&["callbacks"])
            ),
            None => "nobody was to be told anything; a DAG says whom by `#[task(on_failure = \"ops\")]`".into(),
        });
        return Ok(Exit::Success);
    }
    for line in table(app, &rows).lines(out.width, out.paint) {
        out.line(line);
    }
    if args.limit > 0 && rows.len() >= args.limit as usize {
        out.note(out.paint_err.dim(format!("the latest {}; all of them: --limit 0", args.limit)));
    }
    Ok(Exit::Success)
}

async fn latest(store: &dyn MetadataStore, run: Option<RunPk>, args: &Callbacks) -> Result<VecDeque<CallbackRow>> {
    let (mut kept, mut after) = (VecDeque::new(), 0);
    loop {
        let page = store.callbacks(CallbackFilter { run, after, limit: PAGE, due_at: None }).await?;
        let is_last = page.len() < PAGE as usize;
        after = page.last().map_or(after, |row| row.id);
        kept.extend(page.into_iter().filter(|row| args.state.is_none_or(|state| state == row.state)));
        if args.limit > 0 {
            let beyond = kept.len().saturating_sub(args.limit as usize);
            kept.drain(..beyond);
        }
        if is_last {
            return Ok(kept);
        }
    }
}

fn payload(row: &CallbackRow) -> Map<String, Value> {
    serde_json::from_str(&row.callback.payload).unwrap_or_default()
}

fn json_of(row: &CallbackRow) -> Value {
    let (callback, payload) = (&row.callback, payload(row));
    let is_of_task = !callback.task_id.is_empty();
    json!({
        "id": row.id,
        "key": payload.get("key"),
        "dag_id": payload.get("dag_id"),
        "dag_run_id": payload.get("dag_run_id"),
        "task_id": is_of_task.then_some(&callback.task_id),
        "map_index": is_of_task.then_some(callback.map_index),
        "try_number": is_of_task.then_some(callback.try_number),
        "event": callback.event,
        "notifier": serde_json::from_str::<Value>(&callback.notifier).unwrap_or_default(),
        "state": row.state,
        "attempts": row.attempts,
        "due": (row.state == CallbackState::Pending).then_some(row.due),
        "error": row.error.as_deref().map(secret::redact),
        "timestamp": callback.timestamp,
        "payload": payload,
    })
}

fn table(app: &App, rows: &VecDeque<CallbackRow>) -> Table {
    let (paint, now) = (app.out.paint, SystemClock.now());
    let mut table = Table::new(&["WHEN", "RUN", "WHAT", "TO", "STATE", "ATTEMPTS", "WHY"], &[1, 2]);
    for row in rows {
        let callback = &row.callback;
        let what = match &*callback.task_id {
            "" => callback.event.to_string(),
            task => format!("{} of {}", callback.event, label(task, callback.map_index)),
        };
        let to = serde_json::from_str::<Notifier>(&callback.notifier).map_or(String::new(), |to| to.to_string());
        let state = match row.state {
            CallbackState::Success => paint.good("told"),
            CallbackState::Failed => paint.bad("failed"),
            CallbackState::Pending if row.due > now => paint.warn(format!("again in {}", until(now, row.due))),
            CallbackState::Pending => paint.warn("pending"),
        };
        table.row([
            date(callback.timestamp),
            payload(row).get("dag_run_id").and_then(Value::as_str).unwrap_or_default().to_string(),
            what,
            secret::redact(&to).into_owned(),
            state,
            row.attempts.to_string(),
            row.error.as_deref().map_or(String::new(), |error| one_line(&secret::redact(error))),
        ]);
    }
    table
}

/// Waits a little until what a run owes is told, and not once it is to stop at once; what is not told is left to whoever comes
/// next.
pub async fn settle(app: &App, tells: Deliverer, report: &RunReport, stop: &Stop) -> Result<()> {
    settle_these(app, tells, &[report], stop).await
}

/// The same for many runs.
pub async fn settle_all(app: &App, tells: Deliverer, filled: &[Filled], stop: &Stop) -> Result<()> {
    let reports: Vec<&RunReport> = filled.iter().filter_map(|one| one.ended.as_ref().ok()).collect();
    settle_these(app, tells, &reports, stop).await
}

async fn settle_these(app: &App, tells: Deliverer, reports: &[&RunReport], stop: &Stop) -> Result<()> {
    let waited = async {
        let (mut left, mut of) = (0, None);
        let end = std::time::Instant::now() + PATIENCE;
        for report in reports {
            let patience = end.saturating_duration_since(std::time::Instant::now());
            let owed = tells.wait_for(report.pk, patience).await.map_err(CliError::from)?;
            of = of.or((owed > 0).then_some(&report.run.run_id));
            left += owed;
        }
        tells.stop().await;
        Ok::<_, CliError>((left, of))
    };
    // What is told just then is dropped.
    let Some(waited) = stop.at_once.run_until_cancelled(waited).await else { return Ok(()) };
    let (left, of) = waited?;
    if let Some(run_id) = of {
        app.out.note(format!(
            "{} not told yet: the scheduler, or the next run, goes on with that; see `{}`",
            plural(left, "notification"),
            app.command(&["callbacks", run_id])
        ));
    }
    Ok(())
}

/// Says what a run in memory would have told: nobody is.
pub async fn mention(app: &App, store: &dyn MetadataStore, run: RunPk) -> Result<()> {
    const MOST: usize = 10;
    let rows = store.callbacks(CallbackFilter { run: Some(run), ..CallbackFilter::default() }).await?;
    for row in rows.iter().take(MOST) {
        let to = serde_json::from_str::<Notifier>(&row.callback.notifier).map_or(String::new(), |to| to.to_string());
        let line = format!("would tell {to}: {}", crate::notify::sentence(&payload(row)));
        app.out.note(secret::redact(&line));
    }
    if rows.len() > MOST {
        app.out.note(format!("and {} more", plural(rows.len() - MOST, "notification")));
    }
    Ok(())
}
