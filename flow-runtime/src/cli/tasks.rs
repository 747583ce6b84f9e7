//! `tasks`: the task instances of a run, their tries, and why what does not run does not.

use super::app::App;
use super::args::Tasks;
use super::exit::{Exit, Result};
use super::format::{clock, one_line, seconds, took};
use super::run::is_interrupted;
use super::style::{Paint, glyph};
use super::table::Table;
use super::view::cause;
use super::{describe, lookup, session};
use crate::clock::{Clock, SystemClock};
use crate::executor::run_state;
use crate::run_event::label;
use crate::store::{InstanceRow, StoredRun};
use flow_core::{Dag, InstanceKey, TaskState, UNMAPPED, why};

/// What is known about a run.
struct Facts {
    stored: StoredRun,
    /// The version of the DAG that the run was made from.
    dag: Dag,
    /// The latest try of each instance.
    rows: Vec<InstanceRow>,
    /// Every try of each.
    tries: Vec<InstanceRow>,
}

/// Prints every task instance of a run; with several tries, each of them.
pub fn tasks(app: &App, args: &Tasks) -> Result {
    let facts = session::block_on(app, async {
        let store = app.store_to_read().await?;
        let stored = lookup::run(app, store.as_deref(), &args.run).await?;
        let Some(store) = store else { return Err(lookup::no_runs(app, None)) };
        let facts = Facts {
            dag: store.dag_version(&stored.dag_version).await?,
            rows: store.instances(stored.pk).await?,
            tries: store.tries(stored.pk, None).await?,
            stored,
        };
        store.close().await;
        Ok(facts)
    })?;
    let interrupted = is_interrupted(app, &facts.stored);
    let out = &app.out;
    if out.json {
        out.json_pretty(&json(&facts, interrupted));
        return Ok(Exit::Success);
    }
    let run = &facts.stored.run;
    let state = if interrupted { out.paint.warn("interrupted") } else { out.paint.run(run.state, run.state) };
    out.line(format!("{} {}  {state}\n", out.paint.bold(&run.dag_id), run.run_id));
    for line in table(&facts, interrupted, out.paint).lines(out.width, out.paint) {
        out.line(line);
    }
    if interrupted {
        out.note(format!(
            "\nits process has ended; go on with it by `{}`",
            app.command(&["run", "--resume", &run.run_id])
        ));
    }
    Ok(Exit::Success)
}

/// The reason of each instance that does not run.
fn reasons(facts: &Facts, interrupted: bool) -> Vec<(InstanceKey, String)> {
    if facts.stored.run.state.is_finished() {
        return Vec::new();
    }
    let state = run_state(&facts.dag, &facts.stored, &facts.rows);
    let now = SystemClock.now();
    let mut found = Vec::new();
    for task in 0..facts.dag.tasks.len() as u32 {
        for (map_index, instance) in state.instances(task) {
            let key = InstanceKey { task, map_index };
            let reason = match why(&facts.dag, &state, key, now) {
                _ if interrupted && instance.state.is_in_flight() => Some("its process ended while it ran".to_string()),
                Some(_) if interrupted && instance.state == TaskState::Scheduled => {
                    Some("waits for the run to be resumed".into())
                }
                Some(reason) => Some(reason.to_string()),
                None => None,
            };
            found.extend(reason.map(|reason| (key, reason)));
        }
    }
    found
}

fn table(facts: &Facts, interrupted: bool, paint: Paint) -> Table {
    let mut table = Table::new(&["TASK", "STATE", "TRY", "STARTED", "TOOK", "WHY"], &[5, 0]);
    let reasons = reasons(facts, interrupted);
    let order = facts.dag.topological().unwrap_or_else(|_| (0..facts.dag.tasks.len() as u32).collect());
    for task in order {
        let task_id = &facts.dag.tasks[task as usize].task_id;
        let tries: Vec<&InstanceRow> =
            facts.tries.iter().filter(|r| *r.task_id == **task_id && r.state != TaskState::Removed).collect();
        for row in &tries {
            // The present row comes last of its instance; the reason is its.
            let present = facts.rows.iter().any(|r| {
                r.task_id == row.task_id
                    && r.map_index == row.map_index
                    && r.try_number == row.try_number
                    && r.state == row.state
            });
            let key = InstanceKey { task, map_index: row.map_index };
            let reason = reasons.iter().find(|(k, _)| present && *k == key).map(|(_, reason)| reason.clone());
            table.row(line(row, reason, paint));
        }
        // An instance that nothing has happened to has no row yet.
        let waiting =
            reasons.iter().filter(|(k, _)| k.task == task && !tries.iter().any(|r| r.map_index == k.map_index));
        for (key, reason) in waiting.filter(|(k, _)| k.map_index == UNMAPPED || tries.is_empty()) {
            let name = label(task_id, key.map_index);
            let state = paint.task(TaskState::None, format!("{} {}", glyph(TaskState::None), TaskState::None));
            table.row([name, state, String::new(), String::new(), String::new(), reason.clone()]);
        }
    }
    table
}

fn line(row: &InstanceRow, reason: Option<String>, paint: Paint) -> [String; 6] {
    let ended = row.start_date.zip(row.end_date).map(|(start, end)| took(seconds(start, end)));
    let tries = if row.try_number > 0 {
        format!("{}/{}", row.try_number, row.max_tries.saturating_add(1).max(row.try_number))
    } else {
        String::new()
    };
    let said = row.cause.as_ref().map(|why| one_line(&cause(why)));
    [
        label(&row.task_id, row.map_index),
        paint.task(row.state, format!("{} {}", glyph(row.state), row.state)),
        tries,
        row.start_date.map_or(String::new(), clock),
        ended.unwrap_or_default(),
        reason.or(said).unwrap_or_default(),
    ]
}

fn json(facts: &Facts, interrupted: bool) -> Vec<serde_json::Value> {
    let reasons = reasons(facts, interrupted);
    let describe = |row: &InstanceRow| {
        let mut found = describe::instance(&facts.stored, row, facts.dag.task(&row.task_id));
        let earlier = facts
            .tries
            .iter()
            .filter(|t| t.task_id == row.task_id && t.map_index == row.map_index && t.try_number < row.try_number);
        let earlier: Vec<_> = earlier.map(describe::attempt).collect();
        let waits = reasons
            .iter()
            .find(|(k, _)| facts.dag.task_ix(&row.task_id) == Some(k.task) && k.map_index == row.map_index);
        found["tries"] = earlier.into();
        found["why"] = waits.map(|(_, reason)| reason.as_str()).into();
        found
    };
    facts.rows.iter().filter(|row| row.state != TaskState::Removed).map(describe).collect()
}
