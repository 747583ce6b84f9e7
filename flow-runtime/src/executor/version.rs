//! A run goes on with the tasks and edges that it was made from, whatever its DAG looks like today. Can this program do that?

use super::Engine;
use crate::registry::TaskSpec;
use crate::store::InstanceRow;
use flow_core::{Dag, TaskDef, TaskState};

/// What keeps this program from going on with a run: of each task that may still run, how its function has changed. A sentence
/// each.
pub(super) fn misfits(engine: &Engine, made_from: &Dag, rows: &[InstanceRow]) -> Vec<String> {
    let is_over = |state: TaskState| matches!(state, TaskState::Success | TaskState::Skipped | TaskState::Removed);
    let done = |task: &TaskDef| {
        let mut own = rows.iter().filter(|row| *row.task_id == *task.task_id).peekable();
        own.peek().is_some() && own.all(|row| is_over(row.state))
    };
    let may_run = made_from.tasks.iter().filter(|task| !done(task));
    may_run.flat_map(|task| misfit(engine, task)).collect()
}

fn misfit(engine: &Engine, task: &TaskDef) -> Vec<String> {
    if engine.replacements.contains_key(&task.task_id) {
        return Vec::new();
    }
    let id = &task.task_id;
    match engine.bodies.spec(&task.body) {
        Some(spec) => differences(task, spec),
        None if engine.bodies.get(&task.body).is_some() => Vec::new(),
        None => vec![format!("task `{id}`: the function `{}` is gone", task.body)],
    }
}

/// How a function takes and gives other things than it did when the run was made.
fn differences(task: &TaskDef, spec: &TaskSpec) -> Vec<String> {
    let id = &task.task_id;
    let mut found = Vec::new();
    if task.inputs.len() != spec.args.len() {
        let (was, is) = (task.inputs.len(), spec.args.len());
        return vec![format!("task `{id}` took {was} arguments, and takes {is} now")];
    }
    for (input, arg) in task.inputs.iter().zip(spec.args) {
        if (input.name.as_str(), input.type_name.as_str()) != (arg.name, arg.type_name) {
            found.push(format!(
                "task `{id}` took `{}: {}`, and takes `{}: {}` now",
                input.name, input.type_name, arg.name, arg.type_name
            ));
        }
    }
    if task.output != spec.output {
        found.push(format!("task `{id}` gave `{}`, and gives `{}` now", task.output, spec.output));
    }
    found
}
