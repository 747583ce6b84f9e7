//! Schedules that are more than one text: lists, intervals, timetables of an author's own.

use chrono::{DateTime, Datelike as _, Days, Utc, Weekday};
use flow_runtime::core::{DataInterval, Schedule};
use flow_runtime::prelude::*;
use flow_runtime::testing::ScheduleReport;
use flow_runtime::timetable::{self, NextRun, Restriction, Timetable};

#[task]
fn about(ctx: &Context) -> Result<String> {
    let interval = ctx.data_interval().ok_or_else(|| TaskError::fail("it is about no time"))?;
    let form = "%d %H:%M";
    Ok(format!("{} - {}", interval.start.format(form), interval.end.format(form)))
}

fn intervals(report: ScheduleReport) -> Vec<String> {
    report.succeeded().values("about")
}

#[dag(schedule = ["2026-01-01", "2026-02-14T10:00"], timezone = "Europe/Berlin", start_date = "2025-01-01")]
fn feasts() {
    about();
}

#[test]
fn a_run_at_each_date_by_the_clocks_of_the_dag() {
    let report = feasts::test().scheduled_blocking("2025-12-01", "2026-12-01");
    assert_eq!(intervals(report), ["31 23:00 - 31 23:00", "14 09:00 - 14 09:00"]);
}

#[dag(schedule = ["0 6 * * *", "30 18 * * 5"], start_date = "2026-01-01")]
fn mornings_and_friday_evenings() {
    about();
}

#[test]
fn a_run_at_each_tick_of_any_expression() {
    let report = mornings_and_friday_evenings::test().scheduled_blocking("2026-01-02T06:00", "2026-01-03T12:00");
    assert_eq!(intervals(report), ["02 06:00 - 02 06:00", "02 18:30 - 02 18:30", "03 06:00 - 03 06:00"]);
}

#[dag(schedule = "@daily", data_intervals = true, start_date = "2026-01-01")]
fn yesterdays() {
    about();
}

#[test]
fn a_run_at_the_end_of_each_interval() {
    let report = yesterdays::test().scheduled_blocking("2026-01-02", "2026-01-03T12:00");
    assert_eq!(intervals(report), ["01 00:00 - 02 00:00", "02 00:00 - 03 00:00"]);
}

/// From one working day to the next, due at its end.
#[derive(Debug)]
struct WorkingDays {
    free: &'static [Weekday],
}

impl WorkingDays {
    const fn without(free: &'static [Weekday]) -> WorkingDays {
        WorkingDays { free }
    }

    fn after(&self, day: DateTime<Utc>) -> Option<DateTime<Utc>> {
        (1..=7).map(|n| day + Days::new(n)).find(|day| !self.free.contains(&day.weekday()))
    }
}

impl Timetable for WorkingDays {
    fn next(&self, last: Option<DataInterval>, bounds: &Restriction, _: DateTime<Utc>) -> Option<NextRun> {
        let start = last.map(|last| last.end).or(bounds.earliest)?;
        let end = self.after(start)?;
        bounds.latest.is_none_or(|latest| end <= latest).then(|| NextRun::over(start, end))
    }
}

#[dag(schedule = custom(WorkingDays::without(&[Weekday::Sat, Weekday::Sun])), start_date = "2026-01-01")]
fn working_days() {
    about();
}

#[test]
fn a_timetable_of_an_authors_own_is_found_again_by_its_name() {
    // The first of January was a Thursday.
    let report = working_days::test().scheduled_blocking("2026-01-01", "2026-01-06");
    assert_eq!(intervals(report), ["01 00:00 - 02 00:00", "02 00:00 - 05 00:00", "05 00:00 - 06 00:00"]);
    let dag = working_days::dag();
    let text = dag.schedule.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!(text, "custom(runtime::timetables::WorkingDays::without(&[Weekday::Sat, Weekday::Sun]))");
    // As another program would read it from the store.
    let stored = serde_json::to_string(&dag).expect("it is data").replace("WorkingDays", "LostDays");
    let stored = serde_json::from_str(&stored).expect("it is a DAG");
    let error = timetable::of(&stored).map(drop).expect_err("nobody has it").to_string();
    assert!(error.starts_with("this program has no timetable `runtime::timetables::LostDays::"), "{error}");
}

#[test]
fn what_makes_no_sense_is_said_when_the_dag_is_built() {
    let schedule = Schedule::custom("nobody::Has").expect("a name");
    let error = DagBuilder::new("d").schedule(schedule).build(|_| _ = about::node()).expect_err("unknown");
    assert!(error.to_string().contains("schedule: this program has no timetable `nobody::Has`"), "{error}");
    let dag = DagBuilder::new("d").schedule(["2026-01-01"]).data_intervals(true);
    let error = dag.build(|_| _ = about::node()).expect_err("no intervals");
    assert!(error.to_string().contains("`on 2026-01-01` has no data intervals"), "{error}");
    let never = ["0 0 30 2 *", "0 0 31 4,6,9,11 *"];
    for schedule in never {
        let error = DagBuilder::new("d").schedule(schedule).build(|_| _ = about::node()).expect_err("never");
        assert!(error.to_string().contains(&format!("schedule: `{schedule}` never comes")), "{error}");
    }
    let error = DagBuilder::new("d").schedule(["@daily", never[0]]).build(|_| _ = about::node());
    assert!(error.expect_err("one of them never").to_string().contains("`0 0 30 2 *` never comes"));
    assert!(DagBuilder::new("d").schedule("0 0 29 2 *").build(|_| _ = about::node()).is_ok(), "every four years");
    let error = DagBuilder::new("d").schedule(["@daily", "2026-01-01"]).build(|_| _ = about::node());
    assert!(error.expect_err("mixed").to_string().contains("a list is of dates or of cron expressions"));
}
