//! DAGs that run by themselves, a month of them in no time.

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use flow_runtime::core::{RunStatus, RunType, TaskState};
use flow_runtime::prelude::*;

#[task(retries = 1, retry_delay = "10m")]
fn about(ctx: &Context) -> Result<DateTime<Utc>> {
    let at = ctx.logical_date().ok_or_else(|| TaskError::fail("it is about no instant"))?;
    ensure!(ctx.try_number() > 1 || at.timestamp() % 7 != 0, "the first try of some fails");
    ensure!(ctx.now() >= at, "it is not yet {at}");
    Ok(at)
}

#[dag(schedule = "30 2 * * *", timezone = "Europe/Berlin", start_date = "2026-03-01")]
fn nightly() {
    about();
}

#[test]
fn a_month_of_nights_in_which_the_clocks_change() {
    let report = nightly::test().scheduled_blocking("2026-03-01", "2026-04-01").succeeded();
    let dates = report.logical_dates();
    assert_eq!(dates.len(), 31);
    assert_eq!(report.values::<DateTime<Utc>>("about"), dates);
    let at = |day: usize| dates[day - 1].format("%d %H:%M").to_string();
    // On the 29th the clock goes from 2 to 3: the tick is as much later.
    assert_eq!([at(28), at(29), at(30)], ["28 01:30", "29 01:30", "30 00:30"]);
    assert!(report.runs().all(|run| run.run_type == RunType::Scheduled && run.state == RunStatus::Success));
}

#[dag(schedule = "every 15m", start_date = "2026-01-01", max_active_runs = 4)]
fn quarters() {
    about();
}

#[test]
fn a_week_of_quarters_of_an_hour_each_of_them_once() {
    let report = quarters::test().scheduled_blocking("2026-01-01", "2026-01-07T23:59").succeeded();
    let dates = report.logical_dates();
    assert_eq!(dates.len(), 7 * 24 * 4);
    assert!(dates.windows(2).all(|two| two[1] - two[0] == TimeDelta::minutes(15)));
}

#[dag(schedule = "@daily", start_date = "2026-01-01", end_date = "2026-01-05", catchup = true)]
fn late() {
    about();
}

#[dag(schedule = "@daily", start_date = "2026-01-01", end_date = "2026-01-05")]
fn late_without_catchup() {
    about();
}

#[test]
fn what_was_missed_is_caught_up_with_or_left() {
    let days = |report: flow_runtime::testing::ScheduleReport| -> Vec<String> {
        report.succeeded().logical_dates().iter().map(|at| at.format("%d").to_string()).collect()
    };
    assert_eq!(days(late::test().scheduled_blocking("2026-01-03T12:00", "2026-02-01")), ["01", "02", "03", "04", "05"]);
    let left = late_without_catchup::test().scheduled_blocking("2026-01-03T12:00", "2026-02-01");
    assert_eq!(days(left), ["03", "04", "05"]);
}

#[task]
fn needs(key: Secret<String>) -> usize {
    key.expose().len()
}

#[dag(schedule = "@once")]
fn keyed(key: Secret<String>) {
    needs(key);
}

#[test]
fn params_and_replacements_hold_for_every_run() {
    let report = keyed::test().param("key", "open sesame").scheduled_blocking("2026-01-01", "2026-01-02").succeeded();
    assert_eq!(report.values::<usize>("needs"), [11]);
    let report = quarters::test()
        .replace("about", |call| Ok(call.context().data_interval().is_some()))
        .scheduled_blocking("2026-01-01", "2026-01-01T01:01")
        .succeeded();
    assert_eq!(report.values::<bool>("about"), [true; 5]);
}

#[test]
#[should_panic(expected = "key")]
fn a_param_that_is_missing_is_told() {
    keyed::test().scheduled_blocking("2026-01-01", "2026-01-02");
}

#[test]
#[should_panic(expected = "key")]
fn a_param_that_is_missing_is_told_although_another_dag_has_its_runs() {
    keyed::test().with(late::test()).scheduled_blocking("2026-01-01", "2026-01-03");
}

#[dag(
    schedule = "@daily",
    start_date = "2026-01-01",
    max_consecutive_failed_dag_runs = 3,
    on_failure = webhook("https://example.org/hook")
)]
fn keeps_failing() {
    about();
}

#[test]
fn what_keeps_failing_is_paused_and_the_report_tells_all_of_it() {
    let report = keeps_failing::test()
        .replace("about", |call| -> Result<()> {
            let day = call.context().logical_date().map(|at| at.to_rfc3339()).unwrap_or_default();
            ensure!(day.starts_with("2026-01-02"), "never again");
            Ok(())
        })
        .scheduled_blocking("2026-01-01", "2026-02-01");
    let [failed, success] = [TaskState::Failed, TaskState::Success];
    assert_eq!(report.states("about"), [failed, success, failed, failed, failed]);
    assert_eq!(report.tries("about"), [2, 1, 2, 2, 2]);
    let causes = report.causes("about");
    assert!(causes[0].contains("never again") && causes[1].is_empty() && causes.len() == 5, "{causes:?}");
    let told: Vec<String> = report.notified().map(ToString::to_string).collect();
    assert_eq!(told, ["failure of the run to webhook https://example.org/hook"; 4]);
    let paused = "DAG `keeps_failing` is paused: its last 3 scheduled runs have failed";
    assert!(report.notes().len() == 1 && report.notes()[0].starts_with(paused), "{:?}", report.notes());
    let panicked = std::panic::catch_unwind(|| report.succeeded()).unwrap_err();
    let said = panicked.downcast_ref::<String>().unwrap();
    assert!(said.contains("is failed\n  about: never again\n  DAG `keeps_failing`"), "{said}");
}

#[sensor(poke_interval = "10m", timeout = "2h")]
fn by_noon(ctx: &Context) -> bool {
    ctx.now().hour() >= 12
}

#[dag(schedule = "0 */6 * * *", start_date = "2026-01-01")]
fn four_times_a_day() {
    by_noon();
}

#[test]
fn sensors_look_and_give_up_in_no_time() {
    let report = four_times_a_day::test().scheduled_blocking("2026-01-01", "2026-01-01T18:00");
    let [failed, success] = [TaskState::Failed, TaskState::Success];
    assert_eq!(report.states("by_noon"), [failed, failed, success, success]);
    assert!(report.causes("by_noon")[0].contains("2h"), "{:?}", report.causes("by_noon"));
}
