//! What the builder makes of a wiring, and what it refuses.

use flow_runtime::builder::DagError;
use flow_runtime::prelude::*;
use std::time::Duration;

/// Adds.
#[task(retries = 2, retry_delay = "1m", pool = "warehouse")]
fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[task(id = "renamed", doc = "Other words.")]
fn named() {}

#[task]
fn reads(value: Option<u32>) {
    let _ = value;
}

#[task(trigger_rule = "all_done")]
fn needs(value: u32) {
    let _ = value;
}

fn problems(result: Result<flow_runtime::core::Dag, DagError>) -> String {
    result.unwrap_err().problems.join("\n")
}

#[test]
fn options_come_from_the_call_then_the_task_then_the_dag_then_flow() {
    use flow_runtime::registry::TaskOptions;
    let defaults = TaskOptions { retries: Some(7), timeout: Some(Duration::from_secs(5)), ..TaskOptions::NONE };
    let dag = DagBuilder::new("options").defaults(defaults).build(|_| {
        add::node(1u32, 2u32);
        add::node(1u32, 2u32).retries(9).pool("other").retry_delay("2h").trigger_rule(TriggerRule::OneDone);
        named::node();
    });
    let dag = dag.unwrap();
    let [first, second, third] = &dag.tasks[..] else { panic!("{dag:?}") };
    assert_eq!((first.retry.retries, first.retry.delay), (2, Duration::from_secs(60)));
    assert_eq!((first.timeout, first.pool.as_str()), (Some(Duration::from_secs(5)), "warehouse"));
    assert_eq!((second.task_id.as_str(), second.retry.retries, second.pool.as_str()), ("add__1", 9, "other"));
    assert_eq!((second.retry.delay, second.trigger_rule), (Duration::from_secs(7200), TriggerRule::OneDone));
    assert_eq!(
        (third.task_id.as_str(), third.retry.retries, third.doc.as_deref()),
        ("renamed", 7, Some("Other words."))
    );
}

#[test]
fn a_circle_is_told_task_by_task() {
    let error = problems(DagBuilder::new("circle").build(|_| {
        let (a, b, c) = (named::node().id("a"), named::node().id("b"), named::node().id("c"));
        let _ = a >> b >> c;
        let _ = c >> a;
    }));
    assert!(error.contains("its tasks wait for each other in a circle: "), "{error}");
    assert!(["a >> b >> c >> a", "b >> c >> a >> b", "c >> a >> b >> c"].iter().any(|c| error.contains(c)), "{error}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let builder = DagBuilder::new("bad id").schedule("every now and then").start_date("2021-02-30");
    let error = problems(builder.build(|_| {
        let one = named::node().id("one");
        named::node().id("one");
        named::node().id("no blanks");
        one.retry_delay("soon");
        needs::node(add::node(1u32, 2u32));
    }));
    for said in [
        "`bad id` cannot be a DAG id",
        "schedule: ",
        "start_date: ",
        "two tasks are called `one`: the first is at ",
        "`no blanks` cannot be a task id",
        "`soon` is not a duration",
        "task `needs` has trigger rule `all_done`, which can start it although `add` gave no value",
        "builder.rs:",
    ] {
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn a_node_of_another_dag_is_refused() {
    let mut stolen = None;
    DagBuilder::new("one").build(|_| stolen = Some(add::node(1u32, 2u32))).unwrap();
    let error = problems(DagBuilder::new("two").build(|_| {
        reads::node(stolen.unwrap());
    }));
    assert!(error.contains("a node of another DAG was used in `two`"), "{error}");
}

#[test]
#[should_panic(expected = "a task was called outside of a DAG")]
fn a_task_call_outside_of_a_dag_panics() {
    named::node();
}

#[test]
fn a_password_has_no_place_in_a_dag() {
    #[task]
    fn connect(url: String) {
        drop(url);
    }
    let error = problems(DagBuilder::new("open").build(|dag| {
        let url = dag.param::<String>("url").default("postgres://ada:hunter2@h/db").add();
        connect::node(url);
        connect::node("s3://key:hunter2@bucket");
    }));
    assert!(error.contains("the default of param `url` holds a password"), "{error}");
    assert!(error.contains("argument `url` of task `connect__1` holds a password"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn params_know_their_type_doc_and_default() {
    #[task]
    fn takes(day: String, limit: Option<u32>, key: Secret<String>) {
        drop((day, limit, key));
    }
    /// Params.
    #[dag]
    fn with_params(
        /// The day.
        /// In full.
        #[default("monday")]
        day: String,
        limit: Option<u32>,
        key: Secret<String>,
    ) {
        takes(day, limit, key);
    }
    let dag = with_params::dag();
    let [day, limit, key] = &dag.params[..] else { panic!("{:?}", dag.params) };
    assert_eq!((day.doc.as_deref(), &day.schema["type"]), (Some("The day.\nIn full."), &"string".into()));
    assert_eq!(day.default, Some("monday".into()));
    assert_eq!(
        (limit.type_name.as_str(), &limit.default, limit.secret),
        ("Option<u32>", &Some(serde_json::Value::Null), false)
    );
    assert_eq!((key.type_name.as_str(), key.secret), ("Secret<String>", true));
    assert_eq!(dag.param_readers()["key"], ["takes"]);
}
