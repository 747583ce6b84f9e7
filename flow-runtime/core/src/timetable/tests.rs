//! Given a timetable and what ran before, when somebody asks at an instant, then this is the next run.

use super::*;
use chrono::TimeDelta;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

fn at(text: &str) -> DateTime<Utc> {
    parse::date(text).unwrap_or_else(|why| panic!("{why}"))
}

fn interval(start: &str, end: &str) -> DataInterval {
    DataInterval { start: at(start), end: at(end) }
}

fn scheduled(schedule: &str, timezone: &str) -> Box<dyn Timetable> {
    of_schedule(&Schedule::parse(schedule).expect(schedule), Some(timezone)).expect(timezone)
}

fn by_intervals(cron: &str, timezone: &str) -> Box<dyn Timetable> {
    Box::new(CronDataInterval::new(Cron::parse(cron, Some(timezone)).expect(cron)))
}

fn days(list: &[&str]) -> Box<dyn Timetable> {
    Box::new(Events::new(list.iter().map(|day| at(day))))
}

/// From `earliest` to `latest`; empty where nothing was said.
fn bounds(earliest: &str, latest: &str, catchup: bool) -> Restriction {
    let said = |text: &str| (!text.is_empty()).then(|| at(text));
    Restriction { earliest: said(earliest), latest: said(latest), catchup }
}

const OFF: bool = false;
const ON: bool = true;

type Case<'a> =
    (Box<dyn Timetable>, Option<(&'a str, &'a str)>, (&'a str, &'a str, bool), &'a str, Option<(&'a str, &'a str)>);

/// Timetable; last data interval; start date, end date, catchup; now; the data interval of the next run.
fn all_hold(cases: Vec<Case<'_>>) {
    for (timetable, last, (earliest, latest, catchup), now, expected) in cases {
        let last = last.map(|(start, end)| interval(start, end));
        let found = timetable.next(last, &bounds(earliest, latest, catchup), at(now));
        let expected = expected.map(|(start, end)| NextRun::over(at(start), at(end)));
        assert_eq!(found, expected, "{timetable:?} after {last:?} at {now}");
    }
}

#[test]
fn a_cron_expression_runs_at_its_ticks() {
    let daily = || scheduled("0 6 * * *", "UTC");
    let day = |d: &'static str| Some((d, d));
    all_hold(vec![
        // With catchup, from the first tick on, which the start date need not be.
        (daily(), None, ("2026-01-01T07:00", "", ON), "2026-02-01", day("2026-01-02T06:00")),
        (daily(), None, ("2026-01-01T06:00", "", ON), "2026-02-01", day("2026-01-01T06:00")),
        (daily(), day("2026-01-02T06:00"), ("2026-01-01", "", ON), "2026-02-01", day("2026-01-03T06:00")),
        // Without, the latest that is due; and when that has run, the one ahead.
        (daily(), None, ("2026-01-01", "", OFF), "2026-02-01", day("2026-01-31T06:00")),
        (daily(), day("2026-01-02T06:00"), ("2026-01-01", "", OFF), "2026-02-01", day("2026-01-31T06:00")),
        (daily(), day("2026-01-31T06:00"), ("2026-01-01", "", OFF), "2026-02-01", day("2026-02-01T06:00")),
        (daily(), None, ("2026-03-01", "", OFF), "2026-02-01", day("2026-03-01T06:00")),
        // Without a start date the latest counts only while it is recent.
        (daily(), None, ("", "", OFF), "2026-02-01T08:00", day("2026-02-01T06:00")),
        (daily(), None, ("", "", OFF), "2026-02-01T12:00", day("2026-02-02T06:00")),
        // The end date is in, and after it there is nothing.
        (daily(), day("2026-01-02T06:00"), ("", "2026-01-03T06:00", ON), "2026-02-01", day("2026-01-03T06:00")),
        (daily(), day("2026-01-03T06:00"), ("", "2026-01-03T06:00", ON), "2026-02-01", None),
        (daily(), None, ("2026-01-01", "2026-01-03T06:00", OFF), "2026-02-01", None),
    ]);
}

#[test]
fn data_intervals_run_when_they_end() {
    let daily = || by_intervals("0 0 * * *", "UTC");
    let weekly = || by_intervals("0 0 * * 0", "UTC");
    all_hold(vec![
        (daily(), None, ("2026-01-01T07:00", "", ON), "2026-02-01", Some(("2026-01-02", "2026-01-03"))),
        (daily(), None, ("2026-01-01", "", OFF), "2026-02-01T01:00", Some(("2026-01-31", "2026-02-01"))),
        (daily(), None, ("2026-01-01", "", OFF), "2026-02-01", Some(("2026-01-31", "2026-02-01"))),
        (daily(), None, ("", "", ON), "2026-02-01", None),
        (daily(), Some(("2026-01-31", "2026-02-01")), ("", "", OFF), "2026-02-01", Some(("2026-02-01", "2026-02-02"))),
        (
            daily(),
            Some(("2026-01-31", "2026-02-01")),
            ("", "2026-02-01", ON),
            "2026-03-01",
            Some(("2026-02-01", "2026-02-02")),
        ),
        (daily(), Some(("2026-02-01", "2026-02-02")), ("", "2026-02-01", ON), "2026-03-01", None),
        // The schedule was another one: from the tick before the end of the last interval, but not from its start.
        (weekly(), Some(("2026-02-03", "2026-02-04")), ("", "", ON), "2026-03-01", Some(("2026-02-08", "2026-02-15"))),
        (
            daily(),
            Some(("2026-02-01T05:00", "2026-02-02T05:00")),
            ("", "", ON),
            "2026-03-01",
            Some(("2026-02-02", "2026-02-03")),
        ),
    ]);
}

#[test]
fn fixed_steps_go_on_from_the_run_before() {
    let every = || scheduled("every 1h", "UTC");
    let hour = |h: &'static str| Some((h, h));
    let over = || Box::new(DeltaDataInterval::new(Every::new(Duration::from_secs(3600)).expect("an hour")));
    all_hold(vec![
        (every(), None, ("2026-01-01T00:07", "", ON), "2026-01-02", hour("2026-01-01T00:07")),
        (every(), hour("2026-01-01T00:07"), ("2026-01-01", "", ON), "2026-01-02", hour("2026-01-01T01:07")),
        (every(), None, ("", "", OFF), "2026-01-02T00:30", hour("2026-01-02T00:30")),
        (every(), hour("2026-01-02T00:07"), ("", "", OFF), "2026-01-02T00:30", hour("2026-01-02T01:07")),
        (every(), hour("2026-01-01T00:07"), ("", "", OFF), "2026-01-02T00:30", hour("2026-01-02T00:30")),
        (over(), None, ("2026-01-01", "", OFF), "2026-01-02T00:30", Some(("2026-01-01T23:00", "2026-01-02T00:00"))),
    ]);
}

#[test]
fn clocks_are_changed() {
    let ny = |cron| scheduled(cron, "America/New_York");
    let tick = |d: &'static str| Some((d, d));
    all_hold(vec![
        // 2:30 is skipped on 8 March, and moves to 3:30.
        (ny("30 2 * * *"), tick("2026-03-07T07:30"), ("", "", ON), "2027-01-01", tick("2026-03-08T07:30")),
        (ny("30 2 * * *"), tick("2026-03-08T07:30"), ("", "", ON), "2027-01-01", tick("2026-03-09T06:30")),
        // 1:30 comes twice on 1 November, and runs the second time.
        (ny("30 1 * * *"), tick("2026-10-31T05:30"), ("", "", ON), "2027-01-01", tick("2026-11-01T06:30")),
        (ny("30 1 * * *"), tick("2026-11-01T06:30"), ("", "", ON), "2027-01-01", tick("2026-11-02T06:30")),
        // What runs in every hour runs in both.
        (ny("30 * * * *"), tick("2026-11-01T05:30"), ("", "", ON), "2027-01-01", tick("2026-11-01T06:30")),
        (ny("30 * * * *"), tick("2026-03-08T06:30"), ("", "", ON), "2027-01-01", tick("2026-03-08T07:30")),
        // Samoa skipped a whole day, 30 December 2011: its run falls together with the one of the 31st.
        (
            scheduled("0 9 * * *", "Pacific/Apia"),
            tick("2011-12-29T19:00"),
            ("", "", ON),
            "2027-01-01",
            tick("2011-12-30T19:00"),
        ),
        // On Lord Howe, clocks are changed by half an hour; intervals go on where they ended all the same.
        (
            by_intervals("30 * * * *", "Australia/Lord_Howe"),
            Some(("2025-10-04T15:00", "2025-10-04T16:00")),
            ("", "", ON),
            "2027-01-01",
            Some(("2025-10-04T16:00", "2025-10-04T16:30")),
        ),
        // The latest interval is the one that ended with the first tick in the gap, in spite of a second one there.
        (
            by_intervals("*/30 2 * * *", "America/New_York"),
            None,
            ("2026-01-01", "", OFF),
            "2026-03-08T12:00",
            Some(("2026-03-07T07:30", "2026-03-08T07:00")),
        ),
    ]);
}

#[test]
fn once_is_once() {
    let once = || scheduled("@once", "UTC");
    all_hold(vec![
        (once(), None, ("", "", OFF), "2026-01-02", Some(("2026-01-02", "2026-01-02"))),
        (once(), None, ("2026-01-01", "", OFF), "2026-01-02", Some(("2026-01-01", "2026-01-01"))),
        (once(), None, ("2026-01-01", "2025-01-01", OFF), "2026-01-02", None),
        (once(), Some(("2026-01-01", "2026-01-01")), ("2026-01-01", "", ON), "2026-01-02", None),
        (Box::new(Never), None, ("2026-01-01", "", ON), "2026-01-02", None),
    ]);
}

#[test]
fn continuous_runs_are_about_the_time_since_the_last() {
    let on = || scheduled("@continuous", "UTC");
    let instant = "2026-01-02T00:00:00.000001Z";
    all_hold(vec![
        (on(), None, ("2026-01-01", "", OFF), "2026-01-02", Some(("2026-01-01", "2026-01-02"))),
        (
            on(),
            Some(("2026-01-01", "2026-01-02")),
            ("", "", OFF),
            "2026-01-02T01:00",
            Some(("2026-01-02", "2026-01-02T01:00")),
        ),
        (on(), Some(("2026-01-01", "2026-01-02")), ("", "2026-01-02", OFF), "2026-01-02T01:00", None),
        // Never about nothing: the next would have the same logical date.
        (on(), None, ("", "", OFF), "2026-01-02", Some(("2026-01-02", instant))),
        (on(), Some(("2026-01-02", instant)), ("", "", OFF), "2026-01-03", Some((instant, "2026-01-03"))),
    ]);
}

#[test]
fn listed_dates_run_in_order() {
    let list = || days(&["2026-03-01", "2026-01-01", "2026-02-01", "2026-01-01"]);
    let day = |d: &'static str| Some((d, d));
    all_hold(vec![
        (list(), None, ("", "", ON), "2026-06-01", day("2026-01-01")),
        (list(), day("2026-01-01"), ("", "", ON), "2026-06-01", day("2026-02-01")),
        (list(), day("2026-03-01"), ("", "", ON), "2026-06-01", None),
        (list(), None, ("2026-01-15", "", ON), "2026-06-01", day("2026-02-01")),
        (list(), None, ("2026-01-15", "2026-01-20", ON), "2026-06-01", None),
        (list(), None, ("", "", OFF), "2026-02-15", day("2026-03-01")),
        (list(), None, ("2026-01-01", "", OFF), "2026-02-15", day("2026-02-01")),
        (list(), day("2026-01-01"), ("", "", OFF), "2026-02-15", day("2026-02-01")),
        (list(), day("2026-02-01"), ("", "", OFF), "2026-02-15", day("2026-03-01")),
        (list(), None, ("", "", OFF), "2026-06-01", None),
        (days(&[]), None, ("", "", ON), "2026-06-01", None),
    ]);
}

#[test]
fn a_run_that_is_asked_for_has_an_interval() {
    let noon = at("2026-02-10T12:00");
    let restricted = Events::new([at("2026-02-01"), at("2026-03-01")]).restrict_to_events();
    assert_eq!(restricted.manual_interval(at("2026-01-01")), interval("2026-02-01", "2026-02-01"));
    for (timetable, expected) in [
        (scheduled("@daily", "UTC"), DataInterval { start: noon, end: noon }),
        (by_intervals("0 0 * * *", "UTC"), interval("2026-02-09", "2026-02-10")),
        (by_intervals("0 0 30 2 *", "UTC"), DataInterval { start: noon, end: noon }),
        (days(&["2026-02-01"]), DataInterval { start: noon, end: noon }),
        (Box::new(restricted), interval("2026-02-01", "2026-02-01")),
        (scheduled("@once", "UTC"), DataInterval { start: noon, end: noon }),
    ] {
        assert_eq!(timetable.manual_interval(noon), expected, "{timetable:?}");
    }
}

#[test]
fn what_comes_can_be_listed() {
    let dates =
        |runs: Vec<NextRun>| runs.iter().map(|run| run.logical_date.format("%F").to_string()).collect::<Vec<_>>();
    let next = |timetable: &dyn Timetable, bounds: Restriction| {
        dates(upcoming(timetable, None, bounds, at("2026-02-10T12:00")).take(3).collect())
    };
    let monthly = scheduled("@monthly", "UTC");
    assert_eq!(next(monthly.as_ref(), bounds("2026-01-01", "", ON)), ["2026-01-01", "2026-02-01", "2026-03-01"]);
    assert_eq!(next(monthly.as_ref(), bounds("2026-01-01", "", OFF)), ["2026-02-01", "2026-03-01", "2026-04-01"]);
    assert_eq!(next(monthly.as_ref(), bounds("2026-01-01", "2026-03-31", OFF)), ["2026-02-01", "2026-03-01"]);
    assert_eq!(next(scheduled("@once", "UTC").as_ref(), bounds("", "", OFF)), ["2026-02-10"]);
    assert_eq!(next(scheduled("@continuous", "UTC").as_ref(), bounds("", "", OFF)), ["2026-02-10"]);
    assert!(next(scheduled("0 0 30 2 *", "UTC").as_ref(), bounds("2026-01-01", "", ON)).is_empty());

    let between = |timetable: &dyn Timetable, start, end| dates(runs_between(timetable, at(start), at(end)).collect());
    assert_eq!(between(monthly.as_ref(), "2026-01-02", "2026-03-01"), ["2026-02-01", "2026-03-01"]);
    assert!(between(monthly.as_ref(), "2026-03-01", "2026-01-01").is_empty());
    assert_eq!(between(scheduled("@continuous", "UTC").as_ref(), "2026-01-01", "2026-03-01"), ["2026-01-01"]);
}

/// A timetable of an author's own: at noon on the day after.
#[derive(Debug)]
struct NoonAfter;

impl Timetable for NoonAfter {
    fn next(&self, last: Option<DataInterval>, _: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
        let day = last.map_or(now, |last| last.end).date_naive().succ_opt()?;
        Some(NextRun::at(day.and_hms_opt(12, 0, 0)?.and_utc()))
    }
}

/// One that answers the same for ever.
#[derive(Debug)]
struct Stuck;

impl Timetable for Stuck {
    fn next(&self, _: Option<DataInterval>, _: &Restriction, now: DateTime<Utc>) -> Option<NextRun> {
        Some(NextRun::at(now))
    }
}

#[test]
fn an_author_can_write_one() {
    let (now, none) = (at("2026-02-10"), Restriction::default());
    let runs: Vec<_> = upcoming(&NoonAfter, None, none, now).take(2).collect();
    assert_eq!(runs, [NextRun::at(at("2026-02-11T12:00")), NextRun::at(at("2026-02-12T12:00"))]);
    assert_eq!(upcoming(&Stuck, None, none, now).count(), 1);
    assert_eq!(runs_between(&Stuck, now, now).count(), 1);
}

/// Steps that count how often they are asked.
#[derive(Debug)]
struct Counted(Cron, Arc<AtomicU32>);

impl Counted {
    fn ask<T>(&self, answer: T) -> T {
        self.1.fetch_add(1, Ordering::Relaxed);
        answer
    }
}

impl Steps for Counted {
    fn after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.ask(self.0.after(instant))
    }

    fn before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.ask(self.0.before(instant))
    }

    fn at_or_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.ask(self.0.at_or_after(instant))
    }

    fn at_or_before(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.ask(self.0.at_or_before(instant))
    }

    fn start_of_latest_interval(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.ask(self.0.start_of_latest_interval(now))
    }
}

#[test]
fn years_of_minutes_are_not_walked() {
    let asked = Arc::new(AtomicU32::new(0));
    let minutely = || Counted(Cron::parse("* * * * *", Some("Europe/Berlin")).expect("an expression"), asked.clone());
    let (noon, minute) = (at("2026-02-10T12:00"), TimeDelta::minutes(1));
    for last in [None, Some(interval("1990-01-01", "1990-01-01T00:01"))] {
        let bounds = bounds("1990-01-01", "", OFF);
        let run = Trigger::new(minutely()).next(last, &bounds, at("2026-02-10T12:00:30"));
        assert_eq!(run, Some(NextRun::at(noon)));
        let run = DataIntervals::new(minutely()).next(last, &bounds, at("2026-02-10T12:00:30"));
        assert_eq!(run, Some(NextRun::over(noon - minute, noon)));
    }
    // In 36 years there are 19 million minutes.
    assert!(asked.load(Ordering::Relaxed) < 30, "{asked:?}");
}

#[test]
fn nothing_panics_at_the_ends_of_time() {
    let every = DeltaTrigger::new(Every::new(Duration::from_secs(3600)).expect("an hour"));
    for now in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        let last = Some(DataInterval { start: now, end: now });
        for timetable in [
            &every as &dyn Timetable,
            &every.clone().interval(Duration::MAX),
            &DeltaDataInterval::new(Every::new(Duration::from_micros(1)).expect("a microsecond")),
            &Continuous,
            &Once,
            scheduled("* * * * *", "UTC").as_ref(),
            by_intervals("0 0 * * *", "Europe/Berlin").as_ref(),
        ] {
            for last in [None, last] {
                for catchup in [OFF, ON] {
                    let bounds = Restriction { earliest: Some(now), latest: None, catchup };
                    timetable.next(last, &bounds, now);
                    timetable.manual_interval(now);
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let cron = Cron::parse("61 * * * *", None).expect_err("no minute");
    assert_eq!(cron.to_string(), "`61 * * * *` is not a cron expression: `61` is no minute (number out of bounds)");
    let zone = zone(Some("Europe/Berln")).expect_err("no such place").to_string();
    assert!(zone.starts_with("`Europe/Berln` is not a time zone: write a name"), "{zone}");
    for step in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        assert!(Every::new(step).expect_err("no step").to_string().starts_with("a timetable cannot go in steps of"));
    }
    assert_eq!(MultipleCronTrigger::new(Vec::new()), Err(TimetableError::NoCron));
}

#[test]
fn a_dag_has_a_timetable() {
    let mut dag = Dag::new("d");
    let (now, bounds) = (at("2026-07-01"), Restriction::of(&dag));
    assert_eq!(of(&dag).expect("never").next(None, &bounds, now), None);
    dag.schedule = Some(Schedule::parse("0 6 * * *").expect("a schedule"));
    dag.timezone = Some("Europe/Berlin".into());
    dag.start_date = Some(now - TimeDelta::days(7));
    let run = of(&dag).expect("daily").next(None, &Restriction::of(&dag), now);
    assert_eq!(run, Some(NextRun::at(at("2026-06-30T04:00"))));
    dag.timezone = Some("Atlantis".into());
    assert_eq!(of(&dag).map(drop).expect_err("sunk"), TimetableError::Zone("Atlantis".into()));
}

fn dag_of(schedule: Schedule) -> Dag {
    Dag { schedule: Some(schedule), timezone: Some("Europe/Berlin".into()), ..Dag::new("d") }
}

fn next_of(dag: &Dag, now: &str) -> Option<NextRun> {
    of(dag).expect("a timetable").next(None, &Restriction::of(dag), at(now))
}

#[test]
fn dates_and_several_expressions_are_told_by_the_clocks_of_the_dag() {
    let mut dag = dag_of(Schedule::list(&["2026-02-14T10:00", "2026-01-01"]).expect("dates"));
    dag.start_date = Some(at("2025-01-01"));
    dag.catchup = true;
    assert_eq!(next_of(&dag, "2026-07-01"), Some(NextRun::at(at("2025-12-31T23:00"))));
    let mut dag = dag_of(Schedule::list(&["0 6 * * *", "30 18 * * 5"]).expect("expressions"));
    dag.start_date = Some(at("2026-01-02T06:00")); // a Friday
    dag.catchup = true;
    let several = of(&dag).expect("several");
    let runs = upcoming(&*several, None, Restriction::of(&dag), at("2026-01-02")).take(3);
    let ticks: Vec<_> = runs.map(|run| run.logical_date).collect();
    assert_eq!(ticks, [at("2026-01-02T17:30"), at("2026-01-03T05:00"), at("2026-01-04T05:00")]);
}

#[test]
fn data_intervals_are_what_a_schedule_meant_before() {
    let mut dag = dag_of(Schedule::parse("@daily").expect("daily"));
    dag.data_intervals = true;
    let yesterday = NextRun::over(at("2026-06-29T22:00"), at("2026-06-30T22:00"));
    assert_eq!(next_of(&dag, "2026-07-01"), Some(yesterday));
    dag.schedule = Some(Schedule::parse("assets(a) or @daily").expect("or daily"));
    assert_eq!(next_of(&dag, "2026-07-01"), Some(yesterday));
    for text in ["@once", "on 2026-01-01", "assets(a)", "0 1 * * * or 0 2 * * *"] {
        dag.schedule = Some(Schedule::parse(text).expect(text));
        let error = of(&dag).map(drop).expect_err(text).to_string();
        assert!(error.starts_with(&format!("`{text}` has no data intervals")), "{error}");
    }
}

#[test]
fn a_timetable_of_an_authors_own_is_found_by_its_name() {
    let dag = dag_of(Schedule::parse("assets(a) or custom(days::Twelfth)").expect("custom"));
    let own = |name: &str| (name == "days::Twelfth").then(|| Box::new(Once) as Box<dyn Timetable>);
    let run = of_with(&dag, &own).expect("found").next(None, &Restriction::of(&dag), at("2026-07-01"));
    assert_eq!(run, Some(NextRun::at(at("2026-07-01"))));
    let error = of(&dag).map(drop).expect_err("not found").to_string();
    assert!(error.starts_with("this program has no timetable `days::Twelfth`: "), "{error}");
}
