//! DAGs, runs and task instances as JSON, under the field names of Airflow's API.

use super::format;
use super::params::Resolved;
use super::show::Scope;
use crate::executor::Holders;
use crate::graph::edges::{self, Kind};
use crate::registry::BrokenDag;
use crate::store::{BuildRow, InstanceRow, StoredRun, XComRow};
use flow_core::dag::{GroupDef, Source, TaskKind};
use flow_core::{Dag, TaskDef, TaskState};
use serde_json::{Map, Value, json};

/// A DAG in a listing.
pub fn dag(dag: &Dag) -> Map<String, Value> {
    let tags: Vec<Value> = dag.tags.iter().map(|tag| json!({"name": tag, "dag_id": dag.dag_id})).collect();
    object(json!({
        "dag_id": dag.dag_id,
        "description": dag.doc.as_deref().map(|doc| format::first_line(Some(doc))),
        "fileloc": dag.place.as_ref().map(|p| &p.file),
        "line": dag.place.as_ref().map(|p| p.line),
        "is_default": dag.is_default,
        "has_import_errors": false,
        "timetable_summary": dag.schedule.as_ref().map(|s| s.as_str()),
        "timezone": dag.timezone.as_deref().unwrap_or("UTC"),
        "catchup": dag.catchup,
        "data_intervals": dag.data_intervals,
        "tags": tags,
        "max_active_runs": dag.max_active_runs,
        "max_active_tasks": dag.max_active_tasks,
        "task_count": dag.tasks.len(),
    }))
}

/// A DAG that cannot be built, in a listing.
pub fn broken(broken: &BrokenDag) -> Map<String, Value> {
    let problems: Vec<_> = broken.error.problems.iter().map(|problem| crate::secret::redact(problem)).collect();
    object(json!({
        "dag_id": broken.error.dag_id,
        "fileloc": broken.place.file,
        "line": broken.place.line,
        "has_import_errors": true,
        "import_errors": problems,
    }))
}

/// Everything about a DAG; `version` is its hash, with the builds that have made runs of it.
pub fn dag_details(dag: &Dag, params: &[(Resolved<'_>, Scope)], version: &(String, Vec<BuildRow>)) -> Value {
    let mut all = self::dag(dag);
    let down = dag.downstream();
    let ids = |list: &[u32]| list.iter().map(|&ix| dag.tasks[ix as usize].task_id.as_str()).collect::<Vec<_>>();
    let tasks: Vec<Value> =
        dag.tasks.iter().zip(&down).map(|(t, down)| task(dag, t, &ids(&t.upstream), &ids(down))).collect();
    let edges: Vec<Value> = edges::edges(dag)
        .into_iter()
        .map(|edge| match edge.kind {
            Kind::Data { output, argument, input, each } => json!({"from": edge.from, "to": edge.to, "kind": "data",
                "output_type": output, "argument": argument, "argument_type": input, "each": each}),
            Kind::When(value) => json!({"from": edge.from, "to": edge.to, "kind": "when", "equals": value}),
            Kind::Order => json!({"from": edge.from, "to": edge.to, "kind": "order"}),
        })
        .collect();
    let builds = version.1.iter().map(|row| json!({"build": row.build, "first_seen": row.first_seen}));
    all.extend(object(json!({
        "dag_version": version.0,
        "builds": builds.collect::<Vec<_>>(),
        "doc_md": dag.doc,
        "start_date": dag.start_date,
        "end_date": dag.end_date,
        "catchup": dag.catchup,
        "dag_run_timeout": dag.dagrun_timeout.map(|d| d.as_secs_f64()),
        "deadline": dag.deadline.map(|d| json!({"seconds": d.after.as_secs_f64(), "from": d.from})),
        "notifiers": dag.notify,
        "params": params.iter().map(|(p, scope)| (p.def.name.clone(), param(p, scope))).collect::<Map<_, _>>(),
        "tasks": tasks,
        "groups": dag.groups.iter().map(|g| group(dag, g)).collect::<Vec<_>>(),
        "edges": edges,
    })));
    Value::Object(all)
}

fn param(param: &Resolved<'_>, scope: &Scope) -> Value {
    let hidden = |value: &Value| if param.def.secret { json!("***") } else { crate::secret::redact_value(value) };
    json!({
        "value": param.shown(),
        "source": param.origin.to_string(),
        "description": param.def.doc,
        "type": param.def.type_name,
        "schema": param.def.schema,
        "default": param.def.default.as_ref().map(hidden),
        "required": param.def.default.is_none(),
        "secret": param.def.secret,
        "global": scope.global,
        "shared_with": scope.shared_with,
        "read_by": scope.read_by,
    })
}

fn group(dag: &Dag, group: &GroupDef) -> Value {
    let lists: Vec<&str> = group.lists.iter().map(|list| list.name.as_str()).collect();
    json!({
        "group_id": group.group_id,
        "parent_group_id": group.parent.map(|g| &dag.groups[g as usize].group_id),
        "doc_md": group.doc,
        "is_mapped": group.mapped,
        "mapped_over": lists,
    })
}

fn task(dag: &Dag, task: &TaskDef, up: &[&str], down: &[&str]) -> Value {
    let seconds = |d: Option<std::time::Duration>| d.map(|d| d.as_secs_f64());
    let input = |source: &Source| crate::secret::redact(&edges::source(dag, source)).into_owned();
    let inputs =
        task.inputs.iter().map(|i| json!({"argument": i.name, "type": i.type_name, "source": input(&i.source)}));
    json!({
        "task_id": task.task_id,
        "doc_md": task.doc,
        "fileloc": task.place.as_ref().map(|p| &p.file),
        "line": task.place.as_ref().map(|p| p.line),
        "output_type": task.output,
        "inputs": inputs.collect::<Vec<_>>(),
        "upstream_task_ids": up,
        "downstream_task_ids": down,
        "group_id": task.group.map(|g| &dag.groups[g as usize].group_id),
        "is_setup": task.kind == TaskKind::Setup,
        "is_teardown": matches!(task.kind, TaskKind::Teardown { .. }),
        "is_mapped": task.mapped,
        "trigger_rule": task.trigger_rule,
        "retries": task.retry.retries,
        "retry_delay": task.retry.delay.as_secs_f64(),
        "retry_exponential_backoff": task.retry.backoff,
        "max_retry_delay": seconds(task.retry.max_delay),
        "execution_timeout": seconds(task.timeout),
        "notifiers": task.notify,
        "pool": task.pool,
        "pool_slots": task.pool_slots,
        "max_active_tis_per_dag": task.max_active,
        "max_active_tis_per_dagrun": task.max_active_per_run,
        "at_once": task.at_once,
        "rate": task.rate,
        "depends_on_past": task.past.depends_on_past || task.past.wait_for_downstream,
        "wait_for_downstream": task.past.wait_for_downstream,
        "priority_weight": task.priority,
        "weight_rule": task.weight_rule,
        "queue": task.queue,
        "isolation": task.isolation,
        "outlets": task.outlets,
        "inlets": task.inlets,
    })
}

/// A run.
pub fn run(stored: &StoredRun, holders: &Holders) -> Value {
    let run = &stored.run;
    let ended = run.start_date.zip(run.end_date).map(|(start, end)| format::seconds(start, end));
    json!({
        "dag_id": run.dag_id,
        "dag_run_id": run.run_id,
        "run_type": run.run_type,
        "state": run.state,
        "interrupted": holders.left_alone(stored),
        "held_by": holders.holder(stored),
        "logical_date": run.logical_date,
        "data_interval_start": run.data_interval.map(|i| i.start),
        "data_interval_end": run.data_interval.map(|i| i.end),
        "run_after": run.run_after,
        "queued_at": run.run_after,
        "start_date": run.start_date,
        "end_date": run.end_date,
        "duration": ended,
        "conf": crate::secret::redact_value(&Value::Object(run.conf.clone())),
        "dag_version": stored.dag_version,
    })
}

/// A task instance.
pub fn instance(stored: &StoredRun, row: &InstanceRow, def: Option<&TaskDef>) -> Value {
    let took = row.start_date.zip(row.end_date).map(|(start, end)| format::seconds(start, end));
    json!({
        "dag_id": stored.run.dag_id,
        "dag_run_id": stored.run.run_id,
        "task_id": row.task_id,
        "map_index": row.map_index,
        "rendered_map_index": row.label,
        "state": (row.state != TaskState::None).then_some(row.state),
        "try_number": row.try_number,
        "max_tries": row.max_tries,
        "start_date": row.start_date,
        "end_date": row.end_date,
        "duration": took,
        "due": row.due,
        "cause": row.cause,
        "logical_date": stored.run.logical_date,
        "run_after": stored.run.run_after,
        "pool": def.map(|d| &d.pool),
        "pool_slots": def.map(|d| d.pool_slots),
        "queue": def.map(|d| &d.queue),
        "priority_weight": def.map(|d| d.priority),
    })
}

/// One try of a task instance.
pub fn attempt(row: &InstanceRow) -> Value {
    let took = row.start_date.zip(row.end_date).map(|(start, end)| format::seconds(start, end));
    json!({
        "try_number": row.try_number,
        "state": row.state,
        "start_date": row.start_date,
        "end_date": row.end_date,
        "duration": took,
        "cause": row.cause,
    })
}

/// A value.
pub fn xcom(stored: &StoredRun, row: &XComRow, value: Value) -> Value {
    json!({
        "dag_id": stored.run.dag_id,
        "dag_run_id": stored.run.run_id,
        "run_id": stored.run.run_id,
        "task_id": row.task_id,
        "map_index": row.map_index,
        "key": row.key,
        "timestamp": row.timestamp,
        "type": row.value.type_name,
        "size": row.value.size,
        "sha256": row.value.sha256,
        "value": value,
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
