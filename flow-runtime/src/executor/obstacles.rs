//! Is everything there that a DAG names? Asked before a run is made: later, its tasks would wait forever.

use super::{Engine, EngineError, EngineSettings};
use crate::notify::Channel;
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
    for task in dag.tasks.iter().filter(|t| t.max_active == Some(0) || t.max_active_per_run == Some(0)) {
        let id = &task.task_id;
        found.push(format!("task `{id}` may never run: max_active must be at least 1{}", place(task)));
    }
    if settings.notifies {
        found.extend(untold(dag, settings));
    }
    if settings.parallelism == 0 || dag.max_active_tasks == 0 {
        found.push("no task may run: parallelism and max_active_tasks must be at least 1".into());
    }
    found
}

/// Who cannot be told, each once, and the first that names them.
fn untold(dag: &Dag, settings: &EngineSettings) -> Vec<String> {
    let of_dag = dag.notify.iter().map(|told| (None, told));
    let of_tasks = dag.tasks.iter().flat_map(|task| task.notify.iter().map(move |told| (Some(task), told)));
    let mut found: Vec<(String, String, usize)> = Vec::new();
    for (task, (occasion, to)) in of_dag.chain(of_tasks) {
        for why in to.iter().filter_map(|one| Channel::of(one, &settings.notifiers).err()) {
            if let Some((.., times)) = found.iter_mut().find(|(known, ..)| *known == why) {
                *times += 1;
                continue;
            }
            let option = occasion.option();
            let whose =
                task.map_or(option.to_string(), |task| format!("{option} of `{}`{}", task.task_id, place(task)));
            found.push((why, whose, 0));
        }
    }
    let more = |times| if times == 0 { String::new() } else { format!(", and {times} more") };
    found.into_iter().map(|(why, whose, times)| format!("{why}: asked for by {whose}{}", more(times))).collect()
}

/// ` (dags/src/taxi.rs:12)`
fn place(task: &TaskDef) -> String {
    task.place.as_ref().map_or(String::new(), |place| format!(" ({place})"))
}
