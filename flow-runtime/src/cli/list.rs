//! `list`: the DAGs of the project.

use super::app::App;
use super::describe;
use super::exit::{Exit, Result};
use super::format::first_line;
use super::table::Table;
use crate::secret;

/// Prints every DAG on one line.
pub fn list(app: &App) -> Result {
    let out = &app.out;
    if out.json {
        let built = app.registry.dags().map(|dag| describe::dag(dag));
        let broken = app.registry.broken().values().map(describe::broken);
        out.json_pretty(&built.chain(broken).collect::<Vec<_>>());
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["DAG", "SCHEDULE", "TASKS", "TAGS", "WHAT IT DOES"], &[4, 3]);
    for dag in app.registry.dags() {
        let mark = if dag.is_default { " *" } else { "" };
        table.row([
            format!("{}{mark}", dag.dag_id),
            dag.schedule.as_ref().map_or(String::new(), ToString::to_string),
            dag.tasks.len().to_string(),
            dag.tags.join(", "),
            first_line(dag.doc.as_deref()).to_string(),
        ]);
    }
    for line in table.lines(out.width, out.paint) {
        out.line(line);
    }
    for broken in app.registry.broken().values() {
        let error = broken.error.to_string();
        out.note(format!("{} {} ({})", out.paint_err.bad("✘"), secret::redact(&error), broken.place));
    }
    if app.registry.default_dag().is_some() {
        out.note(
            out.paint_err.dim(format!("* the default: what `{}` alone runs", app.program.trim_end_matches(" --"))),
        );
    }
    Ok(Exit::Success)
}
