//! How a run went: one line a task, why something failed, and what to do next.

use super::app::App;
use super::format::{one_line, plural, took};
use super::pretty::brief;
use super::run::Kept;
use super::style::{Paint, glyph};
use super::table::Table;
use super::view::cause;
use crate::executor::RunReport;
use crate::run_event::label;
use crate::secret;
use crate::store::{CauseKind, InstanceRow, XComRow};
use flow_core::{Dag, RunStatus, TaskState};
use std::collections::HashMap;

/// Longest value in the table; the terminal may allow less.
const VALUE: usize = 100;
/// Most failures that are told in full.
const FAILURES: usize = 10;

/// The lines of the summary, and what to say on the side; `values` are those of tasks that are not mapped.
pub fn of(app: &App, dag: &Dag, report: &RunReport, values: &[XComRow], kept: Kept) -> (Vec<String>, Vec<String>) {
    let paint = app.out.paint;
    let mut lines = vec![String::new()];
    lines.extend(table(dag, report, values, paint).lines(app.out.width, paint));
    lines.extend(failures(report, paint));
    lines.push(String::new());
    lines.push(verdict(report, paint));
    (lines, notes(app, report, kept))
}

/// One row per task; of a mapped task, how many instances ended how.
fn table(dag: &Dag, report: &RunReport, values: &[XComRow], paint: Paint) -> Table {
    let mut table = Table::new(&["TASK", "STATE", "TRIES", "TOOK", "VALUE"], &[4, 0]);
    let order = dag.topological().unwrap_or_else(|_| (0..dag.tasks.len() as u32).collect());
    let mut of_task: HashMap<&str, Vec<&InstanceRow>> = HashMap::new();
    for row in report.instances.iter().filter(|row| row.state != TaskState::Removed) {
        of_task.entry(&row.task_id).or_default().push(row);
    }
    let values: HashMap<&str, &XComRow> = values.iter().map(|value| (value.task_id.as_str(), value)).collect();
    for task in order.into_iter().map(|ix| &dag.tasks[ix as usize]) {
        let rows = of_task.remove(task.task_id.as_str()).unwrap_or_default();
        let mapped: Vec<&InstanceRow> = rows.iter().copied().filter(|r| r.map_index >= 0).collect();
        match (mapped.is_empty(), rows.first()) {
            (true, None) => {
                table.row(cells(&task.task_id, TaskState::None, String::new(), String::new(), String::new(), paint))
            }
            (true, Some(row)) => {
                let value = values.get(task.task_id.as_str()).copied();
                let is_cached = row.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Cached);
                let tries = match row.try_number {
                    0 => String::new(),
                    _ if is_cached => "cached".to_string(),
                    number => number.to_string(),
                };
                table.row(cells(
                    &task.task_id,
                    row.state,
                    tries,
                    duration(&[row]),
                    value.map_or(String::new(), shown),
                    paint,
                ));
            }
            (false, _) => table.row(of_mapped(&task.task_id, &mapped, paint)),
        }
    }
    table
}

fn of_mapped(task_id: &str, rows: &[&InstanceRow], paint: Paint) -> [String; 5] {
    let counted = |state: TaskState| rows.iter().filter(|r| r.state == state).count();
    let worst = [TaskState::Failed, TaskState::UpstreamFailed, TaskState::Running, TaskState::None, TaskState::Success];
    let state = worst.into_iter().find(|s| counted(*s) > 0).unwrap_or(rows[0].state);
    let counts = TaskState::ALL.into_iter().filter(|s| counted(*s) > 0);
    let counts: Vec<String> = counts.map(|s| format!("{} {}", counted(s), s.name())).collect();
    let most = rows.iter().map(|r| r.try_number).max().unwrap_or(0);
    let tries = if most > 1 { format!("up to {most}") } else { most.to_string() };
    cells(&format!("{task_id} ×{}", rows.len()), state, tries, duration(rows), counts.join(", "), paint)
}

fn cells(task: &str, state: TaskState, tries: String, took: String, value: String, paint: Paint) -> [String; 5] {
    let state = paint.task(state, format!("{} {}", glyph(state), state.name()));
    [task.to_string(), state, tries, took, value]
}

/// From the first start to the last end.
fn duration(rows: &[&InstanceRow]) -> String {
    let start = rows.iter().filter_map(|r| r.start_date).min();
    let end = rows.iter().filter_map(|r| r.end_date).max();
    start.zip(end).map_or(String::new(), |(start, end)| took(super::format::seconds(start, end)))
}

fn shown(value: &XComRow) -> String {
    match &value.value.inline {
        Some(text) if **text == *"null" => String::new(),
        Some(text) => brief(&secret::redact(text), VALUE),
        None => format!("{} ({} bytes)", value.value.type_name, value.value.size),
    }
}

/// Why each failed instance failed.
fn failures(report: &RunReport, paint: Paint) -> Vec<String> {
    let failed: Vec<&InstanceRow> = report.instances.iter().filter(|r| r.state == TaskState::Failed).collect();
    let mut lines = Vec::new();
    for row in failed.iter().take(FAILURES) {
        let label = label(&row.task_id, row.map_index);
        let try_of = format!("try {} of {}", row.try_number, row.max_tries.saturating_add(1).max(row.try_number));
        let why = row.cause.as_ref().map_or("no cause was recorded".into(), cause);
        lines.push(String::new());
        lines.push(format!("{} {}", paint.bad(format!("{label} failed")), paint.dim(format!("({try_of})"))));
        lines.extend(why.lines().map(|line| format!("  {}", one_line(line))));
    }
    if failed.len() > FAILURES {
        lines.push(format!("\n{} failed too", plural(failed.len() - FAILURES, "more instance")));
    }
    lines
}

fn verdict(report: &RunReport, paint: Paint) -> String {
    let run = &report.run;
    let word = if report.interrupted { paint.warn("interrupted") } else { paint.run(run.state, run.state.name()) };
    let took = run.start_date.zip(run.end_date).map(|(start, end)| took(super::format::seconds(start, end)));
    format!("{} {}: {word}{}", paint.bold(&run.dag_id), run.run_id, took.map_or(String::new(), |t| format!(" in {t}")))
}

/// What a person does next.
fn notes(app: &App, report: &RunReport, kept: Kept) -> Vec<String> {
    let run = &report.run;
    if kept == Kept::Nowhere {
        return Vec::new();
    }
    let mut notes = Vec::new();
    if let Some(row) = report.instances.iter().find(|r| r.state == TaskState::Failed) {
        let index = row.map_index.to_string();
        let mut words = vec!["logs", run.run_id.as_str(), &row.task_id];
        if row.map_index >= 0 {
            words.extend(["--map-index", &index]);
        }
        notes.push(format!("  its log:      {}", app.command(&words)));
    }
    if report.interrupted || run.state == RunStatus::Failed {
        let verb = if report.interrupted { "go on with it" } else { "run what failed again" };
        notes.push(format!("  {verb}: {}", app.command(&["run", "--resume", &run.run_id])));
    }
    notes
}

/// For a newcomer whose first run has gone well.
pub fn next_steps(app: &App) -> Vec<String> {
    let Some(dag) = app.registry.default_dag() else { return Vec::new() };
    let order = dag.topological().unwrap_or_default();
    let mut tasks = order.iter().map(|&ix| &dag.tasks[ix as usize]);
    let Some(first) = tasks.next().map(|t| t.task_id.as_str()) else { return Vec::new() };
    // The last that returns something to look at.
    let last = tasks.rfind(|t| t.output != "()").map_or(first, |t| t.task_id.as_str());
    let steps: [(&[&str], &str); 6] = [
        (&["list"], "every DAG of this project"),
        (&["show", &dag.dag_id], "its tasks, typed edges and params"),
        (&["tasks", "latest"], "what happened to each task"),
        (&["logs", "latest", first], "what a task logged"),
        (&["xcom", "latest", last], "what a task returned"),
        (&["new", "my_dag"], "a first DAG of your own"),
    ];
    let commands: Vec<String> = steps.iter().map(|(words, _)| app.command(words)).collect();
    let widest = commands.iter().map(String::len).max().unwrap_or(0);
    let mut lines = vec!["\nTry next:".to_string()];
    lines.extend(commands.iter().zip(&steps).map(|(command, (_, what))| format!("  {command:<widest$}   {what}")));
    lines
}
