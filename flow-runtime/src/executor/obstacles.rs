//! Is everything there that a DAG names? Asked before a run is made: later, its tasks would wait forever.

use super::{Engine, EngineError, EngineSettings};
use crate::registry::Bodies;
use flow_core::{Dag, TaskDef};

/// What keeps this DAG from running in this program, under these settings: functions, pools, slots. A sentence each.
pub fn obstacles(dag: &Dag, bodies: &Bodies, settings: &EngineSettings) -> Vec<String> {
    find(dag, settings, |task| bodies.get(&task.body).is_some())
}

/// The same for an engine, some of whose functions may be replaced.
pub(super) fn check(engine: &Engine, dag: &Dag) -> Result<(), EngineError> {
    let has_body =
        |task: &TaskDef| engine.bodies.get(&task.body).is_some() || engine.replacements.contains_key(&task.task_id);
    let found = find(dag, &engine.settings, has_body);
    if found.is_empty() { Ok(()) } else { Err(EngineError::Unrunnable(found)) }
}

fn find(dag: &Dag, settings: &EngineSettings, has_body: impl Fn(&TaskDef) -> bool) -> Vec<String> {
    let pools = settings.all_pools();
    let mut found = Vec::new();
    for task in &dag.tasks {
        let (id, pool) = (&task.task_id, &task.pool);
        if !has_body(task) {
            found.push(format!("task `{id}`: this program has no function `{}`{}", task.body, place(task)));
        }
        match pools.get(pool) {
            None => {
                let known = pools.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                found.push(format!("task `{id}`: there is no pool `{pool}` among {known}{}", place(task)));
            }
            Some(&slots) if task.pool_slots > slots => {
                found.push(format!(
                    "task `{id}` takes {} slots of the pool `{pool}`, which has {slots}{}",
                    task.pool_slots,
                    place(task)
                ));
            }
            Some(_) => {}
        }
    }
    if settings.parallelism == 0 || dag.max_active_tasks == 0 {
        found.push("no task may run: parallelism and max_active_tasks must be at least 1".into());
    }
    found
}

/// ` (dags/src/taxi.rs:12)`
fn place(task: &TaskDef) -> String {
    task.place.as_ref().map_or(String::new(), |place| format!(" ({place})"))
}
