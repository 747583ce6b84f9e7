//! Assets: what a task makes, once, in the commit of its success; and the DAGs that run for it.

use chrono::{DateTime, TimeDelta, Utc};
use flow_runtime::asset::AssetEvent;
use flow_runtime::core::{DagRun, RunType, TaskState};
use flow_runtime::prelude::*;
use flow_runtime::testing::{ScheduleReport, TestReport};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TRIPS: Asset = Asset::new("trips").uri("file://lake/trips");
const WEATHER: Asset = Asset::new("weather");
const NEWS: Asset = Asset::new("news");

#[task(retries = 1, retry_delay = "1m", outlets = [TRIPS, WEATHER])]
fn load(ctx: &Context) -> Result<()> {
    ctx.made(&TRIPS).rows(1).rows(u64::from(ctx.try_number())).bytes(7).schema(["at", "fare"]).extra("by", "night");
    ensure!(ctx.try_number() > 1, "not yet");
    Ok(())
}

#[task(outlets = [NEWS], inlets = [TRIPS])]
fn write(ctx: &Context, n: u32) -> Result<u32> {
    ctx.made(&NEWS).extra("n", n);
    if n == 1 {
        return Err(TaskError::skip("nothing new"));
    }
    ensure!(n != 2, "no news");
    Ok(n)
}

#[dag]
fn makes() {
    load() >> write::expand(each(vec![0, 1, 2, 3]));
}

fn short(events: &[AssetEvent]) -> Vec<(&str, i32, u32, Value)> {
    let of = |event: &AssetEvent| event.made_by.as_ref().map_or((-2, 0), |by| (by.map_index, by.try_number));
    events.iter().map(|e| (e.asset.as_str(), of(e).0, of(e).1, Value::Object(e.extra.clone()))).collect()
}

#[test]
fn each_success_is_an_event_of_each_outlet_and_nothing_else_is() {
    let run = makes::test().run_blocking().failed();
    assert_eq!(run.states("write"), [TaskState::Success, TaskState::Skipped, TaskState::Failed, TaskState::Success]);
    let events = short(run.asset_events());
    assert_eq!(events[0], ("trips", -1, 2, json!({"rows": 2, "bytes": 7, "schema": ["at", "fare"], "by": "night"})));
    assert_eq!(events[1], ("weather", -1, 2, json!({})));
    let mut mapped = events[2..].to_vec();
    mapped.sort_by_key(|event| event.1);
    assert_eq!(mapped, [("news", 0, 1, json!({"n": 0})), ("news", 3, 1, json!({"n": 3}))]);
    let dag = makes::dag();
    assert_eq!(dag.assets.iter().map(|asset| asset.name.as_str()).collect::<Vec<_>>(), ["news", "trips", "weather"]);
}

#[task]
fn boasts(ctx: &Context) {
    ctx.made(&TRIPS).rows(1);
}

#[task(outlets = [TRIPS])]
fn tells_all(ctx: &Context, key: Secret<String>) {
    ctx.made(&TRIPS).extra("key", key.expose());
}

#[dag]
fn tells(key: Secret<String>) {
    boasts();
    boasts().id("honest").outlets([TRIPS, TRIPS]);
    tells_all(key);
}

#[test]
fn who_tells_what_he_must_not_has_failed() {
    let run = tells::test().param("key", "open sesame").run_blocking().failed();
    assert!(run.cause("boasts").contains("`trips`, which is not among its outlets"), "{}", run.cause("boasts"));
    assert!(run.cause("tells_all").contains("holds a secret"), "{}", run.cause("tells_all"));
    assert_eq!(short(run.asset_events()), [("trips", -1, 1, json!({"rows": 1}))]);
}

#[test]
fn what_a_task_tells_can_be_asked_for_in_a_unit_test() {
    let ctx = Context::test();
    boasts(&ctx);
    assert_eq!(ctx.told_about(&TRIPS).map(Value::Object), Some(json!({"rows": 1})));
    assert_eq!(ctx.told_about(&NEWS), None);
}

#[task]
fn make(_which: String) {}

#[task]
fn what_came(ctx: &Context) -> Vec<(String, i64)> {
    ctx.triggering_events().iter().map(|event| (event.asset.clone(), event.id)).collect()
}

#[dag(schedule = "@hourly", start_date = "2026-01-01")]
fn hourly() {
    make("trips").outlets([TRIPS]);
}

#[dag(schedule = "0 */2 * * *", start_date = "2026-01-01")]
fn every_other_hour() {
    make("weather").outlets([WEATHER]);
}

#[dag(schedule = assets(TRIPS & WEATHER))]
fn both() {
    what_came();
}

#[dag(schedule = assets(TRIPS | WEATHER), max_active_runs = 1)]
fn either() {
    what_came();
}

#[dag(schedule = assets(NEWS).or("30 1 * * *"), start_date = "2026-01-01")]
fn news_or_time() {
    what_came();
}

fn six_hours() -> ScheduleReport {
    let dags = hourly::test().with(every_other_hour::test()).with(both::test()).with(either::test());
    dags.with(news_or_time::test()).scheduled_blocking("2026-01-01", "2026-01-01T05:59").succeeded()
}

#[test]
fn every_event_counts_once_for_every_dag_that_waits_for_it() {
    let report = six_hours();
    assert_eq!(report.asset_events().len(), 6 + 3);
    let came = |dag: &str| report.of(dag).values::<Vec<(String, i64)>>("what_came");
    // Each wanted both, and there were three of the one. What came of the other after it waits for more.
    assert_eq!(came("both").len(), 3, "{:?}", came("both"));
    let of = |came: &[(String, i64)], asset: &str| came.iter().filter(|(name, _)| name == asset).count();
    assert!(came("both").iter().all(|came| of(came, "weather") == 1 && of(came, "trips") >= 1), "{:?}", came("both"));
    let all = |dag: &str| came(dag).concat();
    for dag in ["both", "either"] {
        let ids: BTreeSet<i64> = all(dag).iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), all(dag).len(), "{dag}: {:?}", all(dag));
    }
    assert_eq!(all("either").len(), 6 + 3);
    let runs: Vec<DagRun> = report.of("both").runs().cloned().collect();
    assert!(runs.iter().all(|run| run.run_type == RunType::AssetTriggered && run.logical_date.is_none()));
    assert!(runs.iter().all(|run| run.run_id.starts_with("asset_triggered__2026-01-01T0")), "{runs:?}");
    let times: Vec<DateTime<Utc>> = report.of("news_or_time").logical_dates();
    assert_eq!(times, [DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(1_767_231_000)]);
}

#[test]
fn a_run_of_what_has_come_in_a_test() {
    let run = |test: flow_runtime::testing::TestRun| -> TestReport { test.run_blocking().succeeded() };
    let names = |came: Vec<(String, i64)>| came.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let made = run(both::test().triggered_by(&TRIPS, json!({"rows": 3})).triggered_by(&WEATHER, json!({})));
    assert_eq!(names(made.value("what_came")), ["trips", "weather"]);
    assert!(names(run(both::test()).value("what_came")).is_empty());
    let scheduled = either::test().triggered_by(&TRIPS, json!({})).triggered_by(&TRIPS, json!({"rows": 0}));
    let scheduled = scheduled.scheduled_blocking("2026-01-01", "2026-01-02").succeeded();
    assert_eq!(names(scheduled.values::<Vec<(String, i64)>>("what_came").concat()), ["trips"; 2]);
}
