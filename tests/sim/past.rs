//! Who waits for the run before does not begin before it.

use crate::laws::Seen;
use crate::wishes::Wishes;
use flow_runtime::core::{Dag, TaskState};
use flow_runtime::store::StoredRun;

/// May an instance of this task begin now, as far as the run before goes?
pub fn lets_begin(now: &Seen, dag: &Dag, (run, task_id): (&StoredRun, &str), wishes: &Wishes) -> Result<(), String> {
    let Some(task) = dag.task_ix(task_id) else { return Ok(()) };
    let past = dag.tasks[task as usize].past;
    if !past.depends_on_past && !past.wait_for_downstream {
        return Ok(());
    }
    let earlier = |other: &&StoredRun| {
        other.run.dag_id == run.run.dag_id
            && other.run.logical_date.is_some()
            && other.run.logical_date < run.run.logical_date
    };
    let Some(before) = now.runs.values().filter(earlier).max_by_key(|other| other.run.logical_date) else {
        return Ok(());
    };
    // One that came later may have come after the look; so may what a person wants of it.
    let is_another = before.pk > run.pk || wishes.some_of_dag_were_deleted(&dag.dag_id);
    if is_another || wishes.was_cleared(before.pk.0) {
        return Ok(());
    }
    let below = dag.downstream().into_iter().nth(task as usize).unwrap_or_default();
    let below = below.into_iter().filter(|_| past.wait_for_downstream);
    for needed in std::iter::once(task).chain(below) {
        let needed = &dag.tasks[needed as usize].task_id;
        let mut states = now.of_run(before.pk.0).filter(|row| *row.task_id == **needed).map(|row| row.state).peekable();
        let is_well = |state| matches!(state, TaskState::Success | TaskState::Skipped | TaskState::Removed);
        if states.peek().is_none() || !states.all(is_well) {
            let (id, other) = (&run.run.run_id, &before.run.run_id);
            return Err(format!("{task_id} of {id} begins, and {needed} of {other} before it is not done"));
        }
    }
    Ok(())
}
