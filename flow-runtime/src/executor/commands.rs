//! The commands that tasks have started (see [`operators`](crate::operators)), when the process that ran them is gone.

use super::Engine;
use flow_core::{Dag, TryRef};

/// Ends the commands that lost tries have left behind: nobody waits for them any more, and the next try may do their work.
#[cfg(unix)]
pub(super) async fn end(engine: &Engine, dag: &Dag, run_id: &str, lost: &[TryRef]) {
    use super::offspring::{Mark, kill_marked};
    // In a simulation no process has been lost that could have left anything.
    if lost.is_empty() || !engine.settings.threads {
        return;
    }
    let mark = |of: &TryRef| {
        let ids = [dag.dag_id.as_str(), run_id, dag.tasks[of.key.task as usize].task_id.as_str()];
        Mark::of_commands(&engine.settings.home, ids, of.key.map_index, of.try_number)
    };
    let marks: Vec<Mark> = lost.iter().map(mark).collect();
    // It looks at every process there is.
    match tokio::task::spawn_blocking(move || kill_marked(&marks)).await {
        Ok(1..) => tracing::warn!("ended what commands of run `{run_id}` were left of the process that ran it before"),
        Ok(0) => {}
        Err(error) => tracing::warn!("what run `{run_id}` has left behind could not be looked for: {error}"),
    }
}

#[cfg(not(unix))]
pub(super) async fn end(_: &Engine, _: &Dag, _: &str, _: &[TryRef]) {}
