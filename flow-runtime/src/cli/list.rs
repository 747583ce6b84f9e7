//! `list`: the DAGs of the project.

use super::app::App;
use super::exit::{Exit, Result};
use super::format::first_line;
use super::table::Table;
use super::{assets, describe, session};
use crate::secret;
use flow_core::Dag;
use std::collections::{BTreeMap, BTreeSet};

/// Prints every DAG on one line.
pub fn list(app: &App) -> Result {
    let out = &app.out;
    let Known { paused, come } = known(app);
    let waiting = |dag: &Dag| assets::waiting(dag, come.get(&dag.dag_id));
    let is_paused = |dag: &Dag| paused.get(&dag.dag_id).copied().unwrap_or(app.config.paused_at_creation);
    if out.json {
        let built = app.registry.dags().map(|dag| {
            let mut described = describe::dag(dag);
            described.insert("is_paused".into(), is_paused(dag).into());
            described.insert("waiting".into(), waiting(dag).into());
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
                // What is waited for is the schedule itself, until some of it has come.
                let has_come = come.contains_key(&dag.dag_id);
                let waiting = waiting(dag).filter(|_| has_come).map_or(String::new(), |text| format!(": {text}"));
                format!("{schedule}{waiting}{}", if is_paused(dag) { " (paused)" } else { "" })
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

/// What the store knows about DAGs.
#[derive(Default)]
struct Known {
    /// What was said of each: is it paused?
    paused: BTreeMap<String, bool>,
    /// The assets that have come for each.
    come: BTreeMap<String, BTreeSet<String>>,
}

/// A store that cannot be read is no reason to list none.
fn known(app: &App) -> Known {
    let read = session::block_on(async {
        let Some(store) = app.store_to_read().await? else { return Ok(Known::default()) };
        let known = Known { paused: store.paused().await?, come: assets::come(store.pending_assets().await?) };
        store.close().await;
        Ok(known)
    });
    read.unwrap_or_else(|error| {
        app.out.note(format!("which DAGs are paused, and what they wait for, is not known: {}", error.message));
        Known::default()
    })
}
