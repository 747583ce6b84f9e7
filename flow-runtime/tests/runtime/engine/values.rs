//! Values on their way: shared in memory, kept in the store, spilled by hash.

use super::{World, note, noted, row, value};
use flow_runtime::core::{RunStatus, TaskState};
use flow_runtime::executor::{read_value, value_path};
use flow_runtime::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

static DECODED: AtomicUsize = AtomicUsize::new(0);
static CLONED: AtomicUsize = AtomicUsize::new(0);

/// Counts how often it is made from text, or copied.
#[derive(Serialize)]
pub struct Big(Vec<u8>);

impl<'de> Deserialize<'de> for Big {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::SeqCst);
        Vec::deserialize(d).map(Big)
    }
}

impl Clone for Big {
    fn clone(&self) -> Self {
        CLONED.fetch_add(1, Ordering::SeqCst);
        Big(self.0.clone())
    }
}

#[task]
fn big() -> Big {
    Big(vec![7; 1000])
}

#[task]
fn length(ctx: &Context, big: &Big) -> usize {
    note(ctx, format!("{:p}", big.0.as_ptr()));
    big.0.len()
}

#[task]
fn owned(big: Big) -> usize {
    big.0.len()
}

#[dag]
fn shared() {
    let big = big();
    for _ in 0..3 {
        length(big);
    }
    owned(big);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_shared_in_one_process() {
    let world = World::new().await;
    let report = world.run(shared::dag(), "values-shared").await;
    assert_eq!(report.run.state, RunStatus::Success);
    let seen = noted("values-shared");
    assert!(seen.iter().all(|p| *p == seen[0]), "one and the same: {seen:?}");
    assert_eq!((DECODED.load(Ordering::SeqCst), CLONED.load(Ordering::SeqCst)), (0, 1));
    assert_eq!(value(&report, "owned"), json!(1000));
}

#[task]
fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[task]
fn read(ctx: &Context, text: String) -> Result<usize> {
    ensure!(!noted(ctx.run_id()).is_empty(), "not yet");
    Ok(text.len())
}

#[dag]
fn spilled() {
    read(text(100_000)).retries(0);
    text(10).id("small");
    text(100_000).id("same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_lies_in_one_file_under_its_hash_and_is_found_again() {
    let world = World::new().await;
    let report = world.run(spilled::dag(), "values-spilled").await;
    assert_eq!(report.run.state, RunStatus::Failed);
    let find = |id: &str| report.values.iter().find(|v| v.task_id == id).unwrap().value.clone();
    let large = find("text");
    assert_eq!((large.inline.as_deref(), large.size, &*large.type_name), (None, 100_002, "String"));
    assert_eq!(read_value(world.home.path(), &large).unwrap().len(), 100_002);
    assert_eq!(find("same").sha256, large.sha256);
    assert!(find("small").inline.is_some());
    // Another process finds it by its row.
    make_ready("values-spilled");
    let report = world.resume(spilled::dag(), "values-spilled").await;
    assert_eq!((report.run.state, value(&report, "read")), (RunStatus::Success, json!(100_000)));
    assert_eq!(row(&report, "text").try_number, 1, "what has succeeded is not run again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_value_is_noticed_and_not_passed_on() {
    let world = World::new().await;
    let report = world.run(spilled::dag(), "values-damaged").await;
    let large = report.values.iter().find(|v| v.task_id == "text").unwrap();
    let path = value_path(world.home.path(), &large.value.sha256);
    std::fs::write(&path, "\"y\"").unwrap();
    make_ready("values-damaged");
    let report = world.resume(spilled::dag(), "values-damaged").await;
    let row = row(&report, "read");
    assert_eq!(row.state, TaskState::Failed);
    assert!(row.cause.as_ref().unwrap().message.contains("is damaged"), "{:?}", row.cause);
}

/// From now on `read` succeeds.
fn make_ready(run_id: &str) {
    super::LEDGER.lock().entry(run_id.into()).or_default().push("ready".into());
}

#[task]
fn nothing() {}

#[task]
fn maybe(some: bool) -> Option<u32> {
    some.then_some(4)
}

#[task(trigger_rule = "all_done")]
fn sees(ctx: &Context, a: Option<u32>, b: Option<Option<u32>>, c: Option<()>) {
    note(ctx, format!("{a:?} {b:?} {c:?}"));
}

#[dag]
fn empty() {
    sees(5u32, maybe(false), nothing());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_a_value_too() {
    let world = World::new().await;
    let report = world.run(empty::dag(), "values-empty").await;
    assert_eq!(report.run.state, RunStatus::Success, "{report:?}");
    // Nothing comes as `None`, or, as a value, as `Some` of it where the type can tell the two apart.
    assert_eq!(noted("values-empty"), ["Some(5) None None"]);
    assert!(report.values.iter().all(|v| v.task_id != "nothing"), "what says nothing is not stored");
}

#[task]
fn shown(ctx: &Context, day: String, counts: Vec<u32>) -> String {
    format!("{day} {counts:?} {}", ctx.param::<String>("place").unwrap_or_default())
}

#[dag]
fn params(#[default("monday")] day: String, counts: Vec<u32>) {
    shown(day, counts);
}

#[tokio::test(flavor = "multi_thread")]
async fn params_are_checked_before_anything_runs() {
    let mut world = World::new().await;
    world.settings.global_params.insert("place".into(), "Lisbon".into());
    let report = world.try_run(params::dag(), "values-params", json!({"counts": [1, 2]})).await.unwrap();
    assert_eq!(value(&report, "shown"), json!("monday [1, 2] Lisbon"));
    for (given, said) in [
        (json!({}), "counts"),
        (json!({"counts": [1], "dya": "x"}), "dya"),
        (json!({"counts": ["one"]}), "counts"),
        (json!({"counts": [1], "day": 7}), "day"),
    ] {
        let error = world.try_run(params::dag(), "values-wrong", given).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(world.store.runs(&Default::default()).await.unwrap().len(), 1);
}

#[task]
fn joined(words: &[String], between: &str) -> String {
    words.join(between)
}

#[task]
fn words() -> Vec<String> {
    vec!["a".into(), "b".into()]
}

#[task]
fn dash() -> String {
    "-".into()
}

#[dag]
fn slices() {
    joined(words(), dash());
    joined(["x", "y"], "+").id("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_takes_a_list_and_a_str_a_string() {
    assert_eq!(joined(&["a".into()], "-"), "a");
    let world = World::new().await;
    let report = world.run(slices::dag(), "values-slices").await;
    assert_eq!((value(&report, "joined"), value(&report, "written")), (json!("a-b"), json!("x+y")));
    let inputs: Vec<_> = slices::dag().task("joined").unwrap().inputs.iter().map(|i| i.type_name.clone()).collect();
    assert_eq!(inputs, ["Vec<String>", "String"]);
}
