//! `list`: the DAGs of the project.

use super::app::App;
use super::exit::{Exit, Result};
use super::format::first_line;
use super::table::Table;
use super::{describe, session};
use crate::secret;
use flow_core::Dag;
use std::collections::BTreeMap;

/// Prints every DAG on one line.
pub fn list(app: &App) -> Result {
    let out = &app.out;
    let paused = paused(app);
    let is_paused = |dag: &Dag| paused.get(&dag.dag_id).copied().unwrap_or(app.config.paused_at_creation);
    if out.json {
        let built = app.registry.dags().map(|dag| {
            let mut described = describe::dag(dag);
            described.insert("is_paused".into(), is_paused(dag).into());
            described
        });
        let broken = app.registry.broken().values().map(describe::broken);
        out.json_pretty(&built.chain(broken).collect::<Vec<_>>());
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["DAG", "SCHEDULE", "TASKS", "TAGS", "WHAT IT DOES"], &[4, 3]);
    for dag in app.registry.dags() {
        let mark = if dag.is_default { " *" } else { "" };
        table.row([
            format!("{}{mark}", dag.dag_id),
            dag.schedule.as_ref().map_or(String::new(), |schedule| {
                format!("{schedule}{}", if is_paused(dag) { " (paused)" } else { "" })
            }),
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

/// What was said of each DAG. A store that cannot be read is no reason to list none.
fn paused(app: &App) -> BTreeMap<String, bool> {
    let read = session::block_on(async {
        let Some(store) = app.store_to_read().await? else { return Ok(BTreeMap::new()) };
        let paused = store.paused().await?;
        store.close().await;
        Ok(paused)
    });
    read.unwrap_or_else(|error| {
        app.out.note(format!("which DAGs are paused is not known: {}", error.message));
        BTreeMap::new()
    })
}
