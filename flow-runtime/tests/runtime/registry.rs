//! What a program's DAGs must be before anything starts.

use flow_runtime::builder::DagError;
use flow_runtime::core::{Dag, TaskDef};
use flow_runtime::prelude::*;
use flow_runtime::registry::{Body, DagSpec, Registry, TaskOptions, TaskSpec};
use flow_runtime::value::Erased;

fn nothing(_: flow_runtime::value::Inputs, _: Context) -> Result<Erased> {
    Erased::new(())
}

const fn spec(file: &'static str, line: u32) -> TaskSpec {
    TaskSpec {
        name: "load",
        body: "dags::load",
        doc: None,
        file,
        line,
        output: "()",
        args: &[],
        options: TaskOptions::NONE,
        run: Body::Blocking(nothing),
        cache: None,
    }
}

static ONE: TaskSpec = spec("dags/src/a.rs", 3);
static TWO: TaskSpec = spec("dags/src/b.rs", 7);

fn dag(id: &str, default: bool) -> Dag {
    let mut dag = Dag::new(id);
    dag.tasks.push(TaskDef::new("load", "dags::load"));
    dag.is_default = default;
    dag
}

fn good() -> Result<Dag, DagError> {
    Ok(dag("good", true))
}

fn other() -> Result<Dag, DagError> {
    Ok(dag("other", true))
}

fn broken() -> Result<Dag, DagError> {
    DagBuilder::new("broken").build(|_| {})
}

fn named(dag_id: &'static str, file: &'static str, build: fn() -> Result<Dag, DagError>) -> DagSpec {
    DagSpec { dag_id, file, line: 9, build }
}

#[test]
fn an_empty_program_says_what_is_missing() {
    let error = Registry::from_specs(Vec::new(), Vec::new()).unwrap_err().to_string();
    assert!(error.contains("this program has no DAG") && error.contains("use my_dags as _;"), "{error}");
}

#[test]
fn two_of_one_name_are_refused_with_both_places() {
    let dags = vec![named("good", "dags/src/a.rs", good), named("good", "dags/src/b.rs", good)];
    let error = Registry::from_specs(vec![&TWO, &ONE], dags).unwrap_err().to_string();
    assert!(error.contains("two tasks are called `dags::load`: at dags/src/a.rs:3 and at dags/src/b.rs:7"), "{error}");
    assert!(error.contains("two DAGs are called `good`: at dags/src/a.rs:9 and at dags/src/b.rs:9"), "{error}");
}

#[test]
fn there_is_one_default() {
    let dags = vec![named("good", "a.rs", good), named("other", "b.rs", other)];
    let error = Registry::from_specs(vec![&ONE], dags).unwrap_err().to_string();
    assert!(error.contains("only one DAG can be the default, and 2 are: good, other"), "{error}");
    let registry = Registry::from_specs(vec![&ONE], vec![named("good", "a.rs", good)]).unwrap();
    assert_eq!(registry.default_dag().unwrap().dag_id, "good");
}

#[test]
fn a_dag_that_cannot_be_built_is_no_reason_not_to_run_the_others() {
    let dags =
        vec![named("good", "a.rs", good), named("broken", "c.rs", broken), named("panics", "d.rs", || panic!("oh"))];
    let registry = Registry::from_specs(vec![&ONE], dags).unwrap();
    assert_eq!(registry.dags().map(|d| d.dag_id.as_str()).collect::<Vec<_>>(), ["good"]);
    let broken: Vec<String> = registry.broken().values().map(|b| format!("{}: {}", b.place, b.error)).collect();
    assert!(broken[0].starts_with("c.rs:9: DAG `broken` cannot be built") && broken[0].contains("it has no task"));
    assert!(broken[1].contains("d.rs:9") && broken[1].contains("its body panicked"), "{broken:?}");
}

/// Everything linked into this test is registered, whichever module it stands in.
#[test]
fn tasks_register_themselves() {
    assert!(flow_runtime::registry::Bodies::collect().get("runtime::engine::order::one").is_some());
    assert!(flow_runtime::registry::dag_places().any(|(id, place)| id == "diamond" && place.file.contains("order.rs")));
}
