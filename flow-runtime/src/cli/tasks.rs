//! `tasks`: the task instances of a run, their tries, and why what does not run does not.

use super::app::App;
use super::args::Tasks;
use super::exit::{Exit, Result};
use super::format::{clock, date, one_line, seconds, took};
use super::reasons::{Known, Reasons, Surroundings, reasons};
use super::style::{Paint, glyph};
use super::table::Table;
use super::view::{cause, span};
use super::{describe, lookup, session};
use crate::executor::short;
use crate::run_event::label;
use crate::store::{BuildRow, InstanceRow};
use flow_core::{Dag, InstanceKey, RunStatus, TaskIx, TaskState, UNMAPPED};
use std::collections::HashMap;

/// What is known about a run.
struct Facts {
    run: Known,
    /// Every try of each.
    tries: Vec<InstanceRow>,
    /// The builds that make runs like it.
    builds: Vec<BuildRow>,
}

/// Prints every task instance of a run; with several tries, each of them.
pub fn tasks(app: &App, args: &Tasks) -> Result {
    let (facts, reasons) = session::block_on(async {
        let store = app.store_to_read().await?;
        let stored = lookup::run(app, store.as_deref(), &args.run).await?;
        let Some(store) = store else { return Err(lookup::no_runs(app, None)) };
        let tries = store.tries(stored.pk, None).await?;
        let builds = store.builds(&stored.dag_version).await?;
        let facts = Facts { run: Known::of(app, &*store, stored).await?, tries, builds };
        let reasons = reasons(&*store, &facts.run, &mut Surroundings::new(app)).await?;
        store.close().await;
        Ok((facts, reasons))
    })?;
    let interrupted = facts.run.is_left;
    let out = &app.out;
    if out.json {
        out.json_pretty(&json(&facts, &reasons));
        return Ok(Exit::Success);
    }
    let run = &facts.run.stored.run;
    // One that is queued waits for somebody: it was cleared, or its process ended before it began.
    let left = interrupted && run.state == RunStatus::Running;
    let state = if left { out.paint.warn("interrupted") } else { out.paint.run(run.state, run.state) };
    let holder = facts.run.holder.as_ref();
    let by = holder.map_or(String::new(), |who| out.paint.dim(format!("  ({who})")).to_string());
    out.line(format!("{} {}  {state}{by}", out.paint.bold(&run.dag_id), run.run_id));
    out.line(format!("{}\n", out.paint.dim(version(&facts.run.stored.dag_version, &facts.builds))));
    for line in table(&facts, &reasons, out.paint).lines(out.width, out.paint) {
        out.line(line);
    }
    if interrupted {
        out.note(format!(
            "\n{}; go on with it by `{}`",
            if left { "its process has ended" } else { "nobody works on it" },
            app.command(&["run", "--resume", &run.run_id])
        ));
    }
    Ok(Exit::Success)
}

/// A version of a DAG, and the builds that make runs of it.
pub fn version(hash: &str, builds: &[BuildRow]) -> String {
    let builds = builds.iter().map(|row| format!(", build {} since {}", short(&row.build), date(row.first_seen)));
    format!("version {}{}", short(hash), builds.collect::<String>())
}

fn table(facts: &Facts, reasons: &Reasons, paint: Paint) -> Table {
    let mut table = Table::new(&["TASK", "ABOUT", "STATE", "TRY", "STARTED", "TOOK", "WHY"], &[6, 1, 0]);
    let mut of_task: HashMap<&str, Vec<&InstanceRow>> = HashMap::new();
    for row in facts.tries.iter().filter(|row| row.state != TaskState::Removed) {
        of_task.entry(&row.task_id).or_default().push(row);
    }
    for task in order(&facts.run.dag) {
        let task_id = &facts.run.dag.tasks[task as usize].task_id;
        let tries = of_task.remove(task_id.as_str()).unwrap_or_default();
        for (n, row) in tries.iter().enumerate() {
            // The present row comes last of its instance; the reason is its.
            let present = tries.get(n + 1).is_none_or(|next| next.map_index != row.map_index);
            let key = InstanceKey { task, map_index: row.map_index };
            table.row(line(row, reasons.get(&key).filter(|_| present).map(ToString::to_string), paint));
        }
        // What nothing has happened to has no row yet.
        let key = InstanceKey { task, map_index: UNMAPPED };
        if let (true, Some(reason)) = (tries.is_empty(), reasons.get(&key)) {
            let state = paint.task(TaskState::None, format!("{} {}", glyph(TaskState::None), TaskState::None));
            table.row([
                task_id.clone(),
                String::new(),
                state,
                String::new(),
                String::new(),
                String::new(),
                reason.to_string(),
            ]);
        }
    }
    table
}

/// The tasks, each after what it waits for.
fn order(dag: &Dag) -> Vec<TaskIx> {
    dag.topological().unwrap_or_else(|_| (0..dag.tasks.len() as u32).collect())
}

fn line(row: &InstanceRow, reason: Option<String>, paint: Paint) -> [String; 7] {
    let ended = span(row).map(|(start, end)| took(seconds(start, end)));
    // One that was cleared still has the number of the try before, which has a row of its own.
    let tries = row.start_date.map_or(String::new(), |_| {
        format!("{}/{}", row.try_number, row.max_tries.saturating_add(1).max(row.try_number))
    });
    let said = row.cause.as_ref().map(|why| one_line(&cause(why)));
    // What the try ended by comes first; of one that skipped itself it says all.
    let why: Vec<String> = match (said, reason) {
        (Some(said), _) if row.state.is_finished() => vec![said],
        (said, reason) => said.into_iter().chain(reason).collect(),
    };
    [
        label(&row.task_id, row.map_index),
        row.label.as_deref().unwrap_or_default().to_string(),
        paint.task(row.state, format!("{} {}", glyph(row.state), row.state)),
        tries,
        row.start_date.map_or(String::new(), clock),
        ended.unwrap_or_default(),
        why.join("; "),
    ]
}

fn json(facts: &Facts, reasons: &Reasons) -> Vec<serde_json::Value> {
    let mut tried: HashMap<(&str, i32), Vec<&InstanceRow>> = HashMap::new();
    for row in &facts.tries {
        tried.entry((&row.task_id, row.map_index)).or_default().push(row);
    }
    let describe = |row: &InstanceRow| {
        let mut found = describe::instance(&facts.run.stored, row, facts.run.dag.task(&row.task_id));
        let tries = tried.get(&(&*row.task_id, row.map_index)).into_iter().flatten();
        let tries: Vec<_> = tries.filter(|t| t.start_date.is_some()).map(|t| describe::attempt(t)).collect();
        let key = facts.run.dag.task_ix(&row.task_id).map(|task| InstanceKey { task, map_index: row.map_index });
        found["tries"] = tries.into();
        found["why"] = key.and_then(|key| reasons.get(&key)).map(ToString::to_string).into();
        found
    };
    let place: HashMap<&str, usize> = order(&facts.run.dag)
        .into_iter()
        .zip(0..)
        .map(|(task, n)| (facts.run.dag.tasks[task as usize].task_id.as_str(), n))
        .collect();
    let mut rows: Vec<&InstanceRow> = facts.run.rows.iter().filter(|row| row.state != TaskState::Removed).collect();
    rows.sort_by_key(|row| (place.get(&*row.task_id).copied().unwrap_or(usize::MAX), row.map_index));
    rows.into_iter().map(describe).collect()
}
