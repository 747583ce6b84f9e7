//! Two versions of a DAG: what is different?

use crate::dag::{Dag, TaskDef};

/// What a person would say is different in the newer version, a sentence each: tasks that came or went, other functions, other
/// wiring. Words, dates and schedules are no matter of the structure. Empty if there is nothing.
pub fn differences(old: &Dag, new: &Dag) -> Vec<String> {
    let mut found = Vec::new();
    for task in &old.tasks {
        let id = &task.task_id;
        let Some(now) = new.task(id) else {
            found.push(format!("task `{id}` is gone"));
            continue;
        };
        if task.body != now.body {
            found.push(format!("task `{id}` is the function `{}` now, not `{}`", now.body, task.body));
        }
        let (before, after) = (upstream(old, task), upstream(new, now));
        if before != after {
            found.push(format!("task `{id}` follows {} now, not {}", listed(&after), listed(&before)));
        }
        if wiring(old, task) != wiring(new, now) {
            found.push(format!("task `{id}` has other arguments or conditions"));
        }
        if (task.mapped, task.kind, task.trigger_rule) != (now.mapped, now.kind, now.trigger_rule) {
            found.push(format!("task `{id}` is mapped, set up or triggered in another way"));
        }
    }
    let added = new.tasks.iter().filter(|task| old.task(&task.task_id).is_none());
    found.extend(added.map(|task| format!("task `{}` is new", task.task_id)));
    found
}

/// The ids of the direct upstream tasks, sorted.
fn upstream<'d>(dag: &'d Dag, task: &TaskDef) -> Vec<&'d str> {
    let mut ids: Vec<&str> = task.upstream.iter().map(|&u| dag.tasks[u as usize].task_id.as_str()).collect();
    ids.sort_unstable();
    ids
}

/// The arguments and conditions, with tasks named by their ids: by their places they would change with every new task.
fn wiring(dag: &Dag, task: &TaskDef) -> String {
    let mut json = serde_json::json!({"inputs": task.inputs, "conditions": task.conditions});
    name_tasks(dag, &mut json);
    json.to_string()
}

fn name_tasks(dag: &Dag, json: &mut serde_json::Value) {
    use serde_json::Value;
    const BY_PLACE: [&str; 5] = ["output", "optional_output", "field", "optional_field", "upstream"];
    let name = |value: &mut Value| {
        let task = value.as_u64().and_then(|place| dag.tasks.get(usize::try_from(place).ok()?));
        if let Some(task) = task {
            *value = Value::from(task.task_id.as_str());
        }
    };
    match json {
        // A value that an author wrote is left as it is.
        Value::Object(map) if map.contains_key("literal") => {}
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Value::Number(_) if BY_PLACE.contains(&key.as_str()) => name(value),
                    Value::Array(pair) if BY_PLACE.contains(&key.as_str()) => {
                        pair.first_mut().into_iter().for_each(name)
                    }
                    Value::Null | Value::Bool(_) | Value::String(_) | Value::Number(_) if key == "equals" => {}
                    other => name_tasks(dag, other),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| name_tasks(dag, value)),
        _ => {}
    }
}

fn listed(ids: &[&str]) -> String {
    if ids.is_empty() { "nothing".into() } else { ids.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dag::{Input, Source};

    fn task(id: &str, upstream: &[u32]) -> TaskDef {
        let input = |&u: &u32| Input { name: "x".into(), type_name: "u8".into(), source: Source::Output(u) };
        let inputs = upstream.iter().map(input).collect();
        TaskDef { upstream: upstream.into(), inputs, ..TaskDef::new(id, format!("m::{id}")) }
    }

    fn dag(tasks: Vec<TaskDef>) -> Dag {
        Dag { tasks, ..Dag::new("d") }
    }

    #[test]
    fn a_new_task_changes_the_places_of_others_and_not_their_wiring() {
        let old = dag(vec![task("a", &[]), task("b", &[0])]);
        let new = dag(vec![task("first", &[]), task("a", &[]), task("b", &[1])]);
        assert_eq!(differences(&old, &new), ["task `first` is new"]);
        assert_eq!(differences(&new, &old), ["task `first` is gone"]);
        let words = Dag { doc: Some("New words.".into()), catchup: true, ..old.clone() };
        assert!(differences(&old, &words).is_empty());
    }

    #[test]
    fn other_functions_and_other_wiring_are_told() {
        let old = dag(vec![task("a", &[]), task("b", &[]), task("c", &[0])]);
        let mut new = dag(vec![task("a", &[]), task("b", &[]), task("c", &[1])]);
        new.tasks[0].body = "m::other".into();
        new.tasks[1].trigger_rule = crate::TriggerRule::AllDone;
        assert_eq!(
            differences(&old, &new),
            [
                "task `a` is the function `m::other` now, not `m::a`",
                "task `b` is mapped, set up or triggered in another way",
                "task `c` follows b now, not a",
                "task `c` has other arguments or conditions",
            ]
        );
    }
}
