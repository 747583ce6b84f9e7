//! How a run went: one line a task, why something failed, and what to do next.

use super::app::App;
use super::format::{one_line, plural, took};
use super::pretty::brief;
use super::run::Kept;
use super::style::{Paint, glyph};
use super::table::Table;
use super::view::{cause, span};
use crate::executor::{RunReport, runs_again};
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
                // One that an earlier try gave, before the task was cleared, is none of this one.
                let value = values.get(task.task_id.as_str()).filter(|_| row.state == TaskState::Success);
                let is_cached = row.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Cached);
                let tries = match row.start_date {
                    None => String::new(),
                    Some(_) if is_cached => "cached".to_string(),
                    Some(_) => row.try_number.to_string(),
                };
                table.row(cells(
                    &task.task_id,
                    row.state,
                    tries,
                    duration(&[row]),
                    value.map_or(String::new(), |value| shown(value)),
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

/// How long their latest tries took: the time in which at least one of them was under way.
fn duration(rows: &[&InstanceRow]) -> String {
    let mut spans: Vec<_> = rows.iter().filter_map(|row| span(row)).collect();
    spans.sort_unstable();
    let Some(&(mut busy_until, _)) = spans.first() else { return String::new() };
    let mut seconds = 0.0;
    for (start, end) in spans.into_iter().filter(|(start, end)| start <= end) {
        if end > busy_until {
            seconds += super::format::seconds(start.max(busy_until), end);
            busy_until = end;
        }
    }
    took(seconds)
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
    let took = took.map_or(String::new(), |took| format!(" in {took}"));
    let why = report.ending.as_ref().filter(|_| run.state.is_finished());
    let why = why.map_or(String::new(), |how| format!(" ({})", how.cause.message));
    format!("{} {}: {word}{took}{why}", paint.bold(&run.dag_id), run.run_id)
}

/// A try that was under way when its process ended has been an attempt, for some tasks the only one.
fn lost(report: &RunReport) -> Option<String> {
    let is_lost = |row: &&InstanceRow| {
        row.state == TaskState::Failed && row.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Lost)
    };
    let row = report.instances.iter().find(is_lost).filter(|_| report.run.state == RunStatus::Failed)?;
    let label = label(&row.task_id, row.map_index);
    Some(format!("  {label} was interrupted, and has no retry left: resuming once more runs it anew"))
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
    notes.extend(lost(report));
    // One that was ended may have done all its work before.
    let has_more = run.state == RunStatus::Failed && report.instances.iter().any(runs_again);
    if report.interrupted || has_more {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Cause, RETURN_VALUE, RunPk, XComValue};
    use chrono::{DateTime, TimeDelta, Utc};
    use flow_core::event::Report;
    use flow_core::{DagRun, RunType, TaskDef};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn row(task_id: &str, map_index: i32, state: TaskState, span: Option<(i64, i64)>) -> InstanceRow {
        InstanceRow {
            task_id: task_id.into(),
            map_index,
            state,
            try_number: 2,
            max_tries: 3,
            due: None,
            start_date: span.map(|(start, _)| at(start)),
            end_date: span.map(|(_, end)| at(end)),
            cause: None,
            report: Report::default(),
            label: None,
            event: None,
        }
    }

    fn value(task_id: &str) -> XComRow {
        let value = XComValue { type_name: "u8".into(), size: 1, sha256: "".into(), inline: Some("7".into()) };
        XComRow { task_id: task_id.into(), map_index: -1, key: RETURN_VALUE.into(), value, timestamp: at(0) }
    }

    /// Everything was cleared, and every task but `d` had given a value before; then `b` failed.
    #[test]
    fn a_table_tells_of_the_latest_tries_alone() {
        let mut dag = Dag::new("taxi");
        dag.tasks = ["a", "b", "c", "d", "e"].map(|id| TaskDef::new(id, id)).to_vec();
        let mut gone = row("e", -1, TaskState::Failed, Some((0, 9000)));
        gone.cause = Some(Cause { kind: CauseKind::Lost, message: "its process ended".into(), place: None });
        let instances = vec![
            row("a", -1, TaskState::Success, Some((10, 12))),
            row("b", -1, TaskState::Failed, Some((12, 15))),
            row("c", -1, TaskState::UpstreamFailed, None),
            // The second ran a day later, the third beside the first and a little longer.
            row("d", 0, TaskState::Success, Some((0, 4))),
            row("d", 1, TaskState::Success, Some((86_400, 86_403))),
            row("d", 2, TaskState::Success, Some((2, 6))),
            gone,
        ];
        let run = DagRun {
            dag_id: "taxi".into(),
            run_id: "one".into(),
            run_type: RunType::Manual,
            state: RunStatus::Failed,
            logical_date: None,
            data_interval: None,
            run_after: at(0),
            start_date: None,
            end_date: None,
            conf: serde_json::Map::new(),
        };
        let report = RunReport { run, pk: RunPk(1), interrupted: false, has_paused: None, instances, ending: None };
        let lines = table(&dag, &report, &["a", "b", "c"].map(value), Paint(false)).lines(None, Paint(false));
        assert_eq!(
            lines,
            [
                "TASK  STATE              TRIES    TOOK  VALUE",
                "a     ✔ success          2        2.0s  7",
                "b     ✘ failed           2        3.0s",
                "c     ⊘ upstream_failed",
                "d ×3  ✔ success          up to 2  9.0s  3 success",
                "e     ✘ failed           2",
            ]
        );
        assert_eq!(
            lost(&report).as_deref(),
            Some("  e was interrupted, and has no retry left: resuming once more runs it anew")
        );
    }
}
