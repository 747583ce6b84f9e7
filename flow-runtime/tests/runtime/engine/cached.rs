//! Outputs of earlier runs that are reused, and when they are not.

use super::{World, note, note_in, noted, row, value};
use chrono::{DateTime, Utc};
use flow_runtime::clock::{Clock, SystemClock};
use flow_runtime::core::{Dag, RunStatus, Selection, TaskState};
use flow_runtime::executor::{Again, CacheUse, Engine, RunRequest, value_path};
use flow_runtime::prelude::*;
use flow_runtime::store::CauseKind;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

impl World {
    async fn run_with(&self, dag: Dag, run_id: &str, params: Value) -> super::Ran {
        self.try_run(dag, run_id, params).await.expect("it can be run")
    }
}

#[task(cache = "7d")]
fn double(ctx: &Context, n: u32) -> u32 {
    note(ctx, format!("double {n}"));
    n * 2
}

#[dag]
fn doubled(n: u32) {
    double(n);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_of_the_same_inputs_is_reused_and_says_where_it_is_from() {
    let world = World::new().await;
    let first = world.run_with(doubled::dag(), "cached-1", json!({"n": 4})).await;
    let second = world.run_with(doubled::dag(), "cached-2", json!({"n": 4})).await;
    let third = world.run_with(doubled::dag(), "cached-3", json!({"n": 5})).await;
    assert_eq!((noted("cached-1"), noted("cached-3")), (vec!["double 4".to_string()], vec!["double 5".to_string()]));
    assert_eq!(noted("cached-2"), Vec::<String>::new(), "it did not run");
    let values = [&first, &second, &third].map(|run| value(run, "double"));
    assert_eq!(values, [json!(8), json!(8), json!(10)]);
    let reused = row(&second, "double");
    assert_eq!((reused.state, reused.try_number), (TaskState::Success, 1));
    let cause = reused.cause.as_ref().unwrap();
    assert_eq!(cause.kind, CauseKind::Cached);
    let from = "cached: reused from `double` of run `cached-1` of `doubled`, made at ";
    assert!(cause.message.starts_with(from), "{}", cause.message);
    assert!(row(&first, "double").cause.is_none() && row(&third, "double").cause.is_none());
    let log = world.home.path().join("logs/dag_id=doubled/run_id=cached-2/task_id=double/attempt=1.log");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("\"level\":\"info\"") && log.contains("\"cause\":\"cached\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_it_reuses_nothing() {
    let mut world = World::new().await;
    for (run_id, cache, runs) in [
        ("cached-off", CacheUse::Off, true),
        ("cached-after-off", CacheUse::Reuse, true),
        ("cached-renew", CacheUse::Renew, true),
        ("cached-after-renew", CacheUse::Reuse, false),
    ] {
        world.settings.cache = cache;
        let run = world.run_with(doubled::dag(), run_id, json!({"n": 7})).await;
        assert_eq!(noted(run_id).len(), usize::from(runs), "{run_id}");
        if !runs {
            let message = &row(&run, "double").cause.as_ref().unwrap().message;
            assert!(message.contains("`cached-renew`"), "{message}");
        }
    }
}

/// A clock that is ahead.
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + self.0
    }
}

#[task(cache = "always")]
fn forever(ctx: &Context, n: u32) -> u32 {
    note(ctx, "forever");
    n
}

#[dag]
fn aging(n: u32) {
    double(n);
    forever(n);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_too_old_is_made_anew() {
    let world = World::new().await;
    let day = Duration::from_secs(86_400);
    for (run_id, days, made) in [
        ("cached-age-0", 0, vec!["double 1", "forever"]),
        ("cached-age-6", 6, vec![]),
        ("cached-age-7", 7, vec!["double 1"]),
        // Its age counts from when it was made, not from when it was reused.
        ("cached-age-13", 13, vec![]),
        ("cached-age-15", 15, vec!["double 1"]),
    ] {
        let engine = world.engine().with_clock(Arc::new(Ahead(day * days)));
        let params = super::object(json!({"n": 1}));
        let request = RunRequest { run_id: Some(run_id.into()), params, ..RunRequest::default() };
        let report = engine.run(Arc::new(aging::dag()), request, world.observer(), world.stop.clone()).await.unwrap();
        assert_eq!(report.run.state, RunStatus::Success);
        let mut seen = noted(run_id);
        seen.sort();
        assert_eq!(seen, made, "{run_id}");
    }
}

mod one {
    use super::*;

    #[task(cache = "always", cache_version = "1")]
    pub fn versioned(ctx: &Context, n: u32) -> u32 {
        note(ctx, "versioned 1");
        n
    }
}

#[task(cache = "always", cache_on = "build")]
fn built(ctx: &Context, n: u32) -> u32 {
    note(ctx, "built");
    n
}

#[dag]
fn versions(n: u32) {
    one::versioned(n);
    built(n);
}

/// What the macro has noted of a function here, with a part of it changed, is that of another version of the program.
fn changed(change: impl FnOnce(&mut flow_runtime::registry::CacheSpec)) -> &'static flow_runtime::registry::TaskSpec {
    let found = flow_runtime::registry::task_specs().find(|spec| spec.body.ends_with("one::versioned")).unwrap();
    let flow_runtime::registry::TaskSpec { name, body, doc, file, line, output, args, options, run, cache } = *found;
    let mut cache = cache.unwrap();
    change(&mut cache);
    let cache = Some(cache);
    let spec = flow_runtime::registry::TaskSpec { name, body, doc, file, line, output, args, options, run, cache };
    Box::leak(Box::new(spec))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_task_makes_its_output_anew() {
    let world = World::new().await;
    world.run_with(versions::dag(), "cached-v1", json!({"n": 1})).await;
    world.run_with(versions::dag(), "cached-v1-again", json!({"n": 1})).await;
    assert_eq!((noted("cached-v1").len(), noted("cached-v1-again").len()), (2, 0));
    let dags = || {
        vec![flow_runtime::registry::DagSpec { dag_id: "versions", file: "", line: 0, build: || Ok(versions::dag()) }]
    };
    for (run_id, spec, runs) in [
        ("cached-same", changed(|_| {}), false),
        ("cached-v2", changed(|cache| cache.version = Some("2")), true),
        ("cached-no-version", changed(|cache| cache.version = None), true),
        ("cached-other-text", changed(|cache| cache.code = "another"), true),
    ] {
        let built = flow_runtime::registry::task_specs().find(|spec| spec.body.ends_with("cached::built")).unwrap();
        let registry = flow_runtime::registry::Registry::from_specs(vec![spec, built], dags()).unwrap();
        let engine = Engine::new(world.store.clone(), registry.bodies().clone(), world.settings.clone());
        let params = super::object(json!({"n": 1}));
        let request = RunRequest { run_id: Some(run_id.into()), params, ..RunRequest::default() };
        engine.run(Arc::new(versions::dag()), request, world.observer(), world.stop.clone()).await.unwrap();
        assert_eq!(noted(run_id).len(), usize::from(runs), "{run_id}");
    }
}

#[task(cache = "always", retries = 1, retry_delay = "0s")]
fn flaky(ctx: &Context, name: String) -> Result<u32> {
    note_in(&name, "flaky");
    ensure!(noted(&name).len() != 1, "not the first time");
    Ok(ctx.try_number())
}

#[dag]
fn failing(name: String) {
    flaky(name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_reuses_nothing_and_leaves_its_output_for_others() {
    let world = World::new().await;
    let params = json!({"name": "cached-flaky-notes"});
    let first = world.run_with(failing::dag(), "cached-flaky", params.clone()).await;
    let second = world.run_with(failing::dag(), "cached-flaky-2", params).await;
    assert_eq!(noted("cached-flaky-notes").len(), 2, "two tries of the first run");
    assert_eq!((value(&first, "flaky"), value(&second, "flaky")), (json!(2), json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_clears_runs_again() {
    let world = World::new().await;
    world.run_with(doubled::dag(), "cached-before", json!({"n": 9})).await;
    let reused = world.run_with(doubled::dag(), "cached-cleared", json!({"n": 9})).await;
    assert!(row(&reused, "double").cause.is_some());
    let stored = world.stored(&doubled::dag(), "cached-cleared").await;
    let again = Again::These(Selection { tasks: [(0, None)].into(), ..Selection::default() });
    let dag = Arc::new(doubled::dag());
    let engine = world.engine();
    let resumed = engine.resume(dag, stored, Map::new(), again, world.observer(), world.stop.clone());
    let report = world.with_values(resumed.await.unwrap()).await;
    assert_eq!(noted("cached-cleared"), ["double 9"]);
    let row = row(&report, "double");
    assert_eq!((row.state, row.try_number, &row.cause), (TaskState::Success, 2, &None));
    let tries = world.store.tries(report.pk, None).await.unwrap();
    assert_eq!(tries[0].cause.as_ref().unwrap().kind, CauseKind::Cached, "the history tells of the first");
}

#[task(cache = "always", cache_key = noted(&shelf).last().cloned(), cache_if = |path: &PathBuf| path.exists())]
fn fetch(ctx: &Context, shelf: &str) -> Result<PathBuf> {
    note(ctx, format!("fetch from {shelf}"));
    let path = ctx.home().join("fetched");
    std::fs::write(&path, "content")?;
    Ok(path)
}

#[dag]
fn fetching(shelf: String) {
    fetch(shelf);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_says_what_else_its_output_depends_on_and_whether_it_is_good() {
    let world = World::new().await;
    let shelf = "cached-shelf";
    let fetches = async |run_id: &str| {
        let run = world.run_with(fetching::dag(), run_id, json!({"shelf": shelf})).await;
        assert_eq!(run.run.state, RunStatus::Success, "{run:?}");
        noted(run_id).len()
    };
    // Nobody knows what is on the shelf: nothing is reused, nothing is kept.
    assert_eq!((fetches("cached-none-1").await, fetches("cached-none-2").await), (1, 1));
    note_in(shelf, "v1");
    assert_eq!((fetches("cached-key-1").await, fetches("cached-key-2").await), (1, 0));
    note_in(shelf, "v2");
    assert_eq!((fetches("cached-key-3").await, fetches("cached-key-4").await), (1, 0));
    std::fs::remove_file(world.home.path().join("fetched")).unwrap();
    assert_eq!((fetches("cached-gone-1").await, fetches("cached-gone-2").await), (1, 0));
}

#[task(cache = "always")]
fn large(ctx: &Context, bytes: usize) -> String {
    note(ctx, "large");
    "x".repeat(bytes)
}

#[task]
fn length(text: &str) -> usize {
    text.len()
}

#[dag]
fn spilling() {
    length(large(50_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_whose_file_is_gone_is_made_anew() {
    let world = World::new().await;
    let first = world.run(spilling::dag(), "cached-large-1").await;
    let second = world.run(spilling::dag(), "cached-large-2").await;
    assert_eq!((noted("cached-large-2").len(), value(&second, "length")), (0, json!(50_000)));
    let large = first.values.iter().find(|v| v.task_id == "large").unwrap();
    std::fs::remove_file(value_path(world.home.path(), &large.value.sha256)).unwrap();
    let third = world.run(spilling::dag(), "cached-large-3").await;
    assert_eq!((noted("cached-large-3").len(), value(&third, "length")), (1, json!(50_000)));
    assert!(row(&third, "large").cause.is_none());
}

#[test]
fn a_setup_has_no_cache() {
    let wrong = DagBuilder::new("wrong").build(|_| {
        double::node(1u32).as_setup();
    });
    assert!(wrong.unwrap_err().to_string().contains("task `double` has a cache, and so it cannot be a setup"));
}

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[task(cache = "always")]
fn log_in(password: &Secret<String>) -> usize {
    SEEN.lock().push(password.expose().clone());
    password.expose().len()
}

#[dag]
fn logging_in(password: Secret<String>) {
    log_in(password);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_counts_and_is_nowhere() {
    let world = World::new().await;
    let (one, other) = ("hunter2-cached", "hunter3-cached");
    for (run_id, password) in [("cached-secret-1", one), ("cached-secret-2", one), ("cached-secret-3", other)] {
        world.run_with(logging_in::dag(), run_id, json!({"password": password})).await;
    }
    assert_eq!(*SEEN.lock(), [one, other]);
    world.store.close().await;
    let database = std::fs::read(world.home.path().join("flow.db")).unwrap();
    let holds = |text: &str| database.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("cached-secret-3") && !holds(one) && !holds(other));
}

#[task(cache = "always")]
fn counts(ctx: &Context, of: HashMap<String, u32>) {
    note(ctx, format!("{}", of.len()));
}

#[dag]
fn mapped(list: Vec<u32>, many: HashMap<String, u32>) {
    double::expand(each(list));
    counts(many);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instance_has_its_own_key_and_nothing_is_an_output_too() {
    let world = World::new().await;
    let many: HashMap<String, u32> = (0..20).map(|n| (format!("{n}"), n)).collect();
    let params = |list: &[u32]| json!({"list": list, "many": many});
    world.run_with(mapped::dag(), "cached-mapped-1", params(&[1, 2])).await;
    let second = world.run_with(mapped::dag(), "cached-mapped-2", params(&[2, 3, 1])).await;
    assert_eq!(noted("cached-mapped-2"), ["double 3"]);
    let causes: Vec<_> = second.instances.iter().filter_map(|row| row.cause.as_ref()).collect();
    let from = |task: &str| causes.iter().filter(|cause| cause.message.contains(&format!("`{task}`"))).count();
    assert_eq!((from("double[1]"), from("double[0]"), from("counts")), (1, 1, 1), "{causes:?}");
}

#[task]
fn id_of(n: u32) -> u128 {
    u128::MAX - u128::from(n)
}

fn many_of(n: u32) -> HashMap<u32, u32> {
    (0..20).map(|key| (key, n)).collect()
}

#[task(cache = "always", cache_key = many_of(1))]
fn found(ctx: &Context, id: u128) -> String {
    note(ctx, "found");
    id.to_string()
}

#[dag]
fn finding(n: u32) {
    found(id_of(n));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_digit_of_an_argument_counts_and_the_order_of_a_map_does_not() {
    let world = World::new().await;
    for (run_id, n, runs) in [("cached-id-1", 0, 1), ("cached-id-2", 1, 1), ("cached-id-3", 0, 0)] {
        let run = world.run_with(finding::dag(), run_id, json!({"n": n})).await;
        assert_eq!(value(&run, "found"), json!((u128::MAX - n).to_string()), "{run_id}");
        assert_eq!(noted(run_id).len(), runs, "{run_id}");
    }
}

fn never(n: u32) -> u32 {
    panic!("no {n}")
}

#[task(cache = "always", cache_key = never(n))]
fn unkeyed(n: u32) -> u32 {
    n
}

#[task(cache = "always", cache_key = Err::<u32, _>(anyhow!("no tag"))?)]
async fn untagged(n: u32) -> u32 {
    n
}

#[dag]
fn keyless() {
    unkeyed(1);
    untagged(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_made_fails_the_try() {
    let world = World::new().await;
    let run = world.run(keyless::dag(), "cached-keyless").await;
    let why = |task: &str| {
        let row = row(&run, task);
        assert_eq!(row.state, TaskState::Failed);
        let cause = row.cause.as_ref().unwrap();
        (cause.kind, cause.message.clone())
    };
    assert_eq!(why("unkeyed"), (CauseKind::Panic, "no 1".to_string()));
    assert_eq!(why("untagged"), (CauseKind::Error, "its cache_key cannot be made: no tag".to_string()));
}

const SHELF: Asset = Asset::new("cached-shelf");

#[task(cache = "always", outlets = [SHELF])]
fn stock(n: u32) -> u32 {
    n
}

#[dag]
fn stocking() {
    stock(1u32);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_run_makes_no_asset_anew() {
    let world = World::new().await;
    world.run(stocking::dag(), "cached-stock-1").await;
    let second = world.run(stocking::dag(), "cached-stock-2").await;
    assert_eq!(row(&second, "stock").cause.as_ref().map(|cause| cause.kind), Some(CauseKind::Cached));
    let events = world.store.asset_events(&Default::default()).await.unwrap();
    let makers: Vec<&str> = events.iter().filter_map(|e| e.made_by.as_ref()).map(|by| by.run_id.as_str()).collect();
    assert_eq!(makers, ["cached-stock-1"]);
}

#[dag(schedule = "0 0 */2 * *")]
fn nightly() {
    double(21u32);
}

#[test]
fn runs_of_one_test_share_a_cache_by_its_clock() {
    let nights = || nightly::test().scheduled_blocking("2026-03-01", "2026-03-15").succeeded();
    // Another test begins with nothing.
    for report in [nights(), nights()] {
        assert_eq!(
            (report.runs().len(), report.reused("double")),
            (8, 6),
            "it is made on the 1st, and anew on the 9th"
        );
        assert_eq!(report.values::<u32>("double"), [42; 8]);
    }
    let replaced = nightly::test().returns("double", 1u32).scheduled_blocking("2026-03-01", "2026-03-15").succeeded();
    assert_eq!((replaced.reused("double"), replaced.values::<u32>("double")), (0, vec![1; 8]));
    let run = nightly::test().run_blocking().succeeded();
    assert_eq!(run.value::<u32>("double"), 42);
}
