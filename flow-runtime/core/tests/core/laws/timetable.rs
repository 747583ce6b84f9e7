//! Laws of timetables, in every zone and at every hour.

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use flow_core::dag_run::DataInterval;
use flow_core::timetable::{
    Cron, CronDataInterval, CronTrigger, DeltaDataInterval, DeltaTrigger, Every, NextRun, Restriction, Timetable,
    runs_between, upcoming, zone,
};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;
use std::time::Duration;

/// Clocks that change by an hour, by half of one and by two, at night and at midnight; and some that never do.
const ZONES: [&str; 8] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "America/Santiago",
    "Asia/Kathmandu",
    "Africa/Cairo",
];

/// Zones whose clocks change by whole hours.
const WHOLE_HOURS: [&str; 4] = ["America/New_York", "Europe/Berlin", "Antarctica/Troll", "America/Santiago"];

fn crons() -> impl Strategy<Value = Cron> {
    crons_in(ZONES.to_vec())
}

fn crons_in(zones: Vec<&'static str>) -> impl Strategy<Value = Cron> {
    let some = [
        "* * * * *",
        "*/7 * * * *",
        "30 * * * *",
        "5-59/20 * * * *",
        "*/30 2 * * *",
        "*/30 1-3 * * *",
        "0 */2 * * *",
        "0 2,3 * * *",
        "0 22-2 * * *",
        "15 0 * * *",
        "0 0 * * 1/2",
        "30 2 L * *",
        "0 0 13 * 5",
        "30 1 * 3,11 0",
        "0 0 29 2 *",
        "*/10 * * * * 7,37",
    ];
    let any = (0..60u32, 0..24u32).prop_map(|(minute, hour)| format!("{minute} {hour} * * *"));
    let text = prop_oneof![select(some.to_vec()).prop_map(String::from), any];
    (text, select(zones)).prop_map(|(text, zone)| Cron::parse(&text, Some(zone)).expect("an expression"))
}

fn every() -> impl Strategy<Value = Every> {
    (1..40_000_000_000u64).prop_map(|micros| Every::new(Duration::from_micros(micros)).expect("a step"))
}

fn timetables() -> impl Strategy<Value = Box<dyn Timetable>> {
    fn boxed(timetable: impl Timetable + 'static) -> Box<dyn Timetable> {
        Box::new(timetable)
    }
    prop_oneof![
        crons().prop_map(|cron| boxed(CronTrigger::new(cron))),
        crons().prop_map(|cron| boxed(CronDataInterval::new(cron))),
        every().prop_map(|step| boxed(DeltaTrigger::new(step))),
        every().prop_map(|step| boxed(DeltaDataInterval::new(step))),
    ]
}

/// In ten years; often close to where clocks are changed in one of the zones.
fn instants() -> impl Strategy<Value = DateTime<Utc>> {
    let changes =
        [1_741_503_600, 1_743_296_400, 1_743_865_200, 1_757_217_600, 1_759_591_800, 1_761_440_400, 1_762_063_200];
    let near = (select(changes.to_vec()), -9_000..9_000i64).prop_map(|(change, apart)| change + apart);
    let seconds = prop_oneof![near, 1_600_000_000..1_915_000_000i64];
    (seconds, select(vec![0, 0, 1, 500_000])).prop_map(|(seconds, micros)| {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds) + TimeDelta::microseconds(micros)
    })
}

fn since(start: DateTime<Utc>, catchup: bool) -> Restriction {
    Restriction { earliest: Some(start), latest: None, catchup }
}

proptest! {
    #![proptest_config(super::cases(512))]

    #[test]
    fn runs_ascend(timetable in timetables(), start in instants(), catchup in any::<bool>(), ahead in 0..100_000i64) {
        let now = start + TimeDelta::seconds(ahead);
        let runs: Vec<_> = upcoming(timetable.as_ref(), None, since(start, catchup), now).take(40).collect();
        prop_assert_eq!(runs.len(), 40);
        prop_assert!(runs[0].data_interval.start >= start || !catchup);
        for pair in runs.windows(2) {
            prop_assert!(pair[0].logical_date < pair[1].logical_date, "{:?}", pair);
            prop_assert!(pair[0].run_after < pair[1].run_after, "{:?}", pair);
        }
    }

    #[test]
    fn data_intervals_are_contiguous(cron in crons(), step in every(), start in instants()) {
        for timetable in [&CronDataInterval::new(cron.clone()) as &dyn Timetable, &DeltaDataInterval::new(step)] {
            let runs: Vec<_> = runs_between(timetable, start, DateTime::<Utc>::MAX_UTC).take(60).collect();
            prop_assert_eq!(runs.len(), 60);
            for run in &runs {
                prop_assert!(run.data_interval.start < run.data_interval.end, "{:?}", run);
                prop_assert_eq!(*run, NextRun::over(run.data_interval.start, run.data_interval.end));
            }
            for pair in runs.windows(2) {
                prop_assert_eq!(pair[0].data_interval.end, pair[1].data_interval.start);
            }
        }
    }

    #[test]
    fn the_next_is_after_the_last_whatever_that_was(
        timetable in timetables(),
        start in instants(),
        length in prop_oneof![Just(0), 0..2_000_000i64],
        earliest in prop::option::of(instants()),
        now in instants(),
        catchup in any::<bool>(),
    ) {
        let last = DataInterval { start, end: start + TimeDelta::seconds(length) };
        let restriction = Restriction { earliest, latest: None, catchup };
        let run = timetable.next(Some(last), &restriction, now).expect("there is always a next");
        prop_assert!(run.logical_date > last.start, "{:?}", run);
        prop_assert_eq!(Some(run), timetable.next(Some(last), &restriction, now));
    }

    #[test]
    fn with_catchup_every_day_has_its_tick_once(
        (minute, hour) in (0..60u32, 0..24u32),
        name in select(ZONES.to_vec()),
        start in instants(),
    ) {
        let cron = Cron::parse(&format!("{minute} {hour} * * *"), Some(name)).expect("an expression");
        let zone: Tz = zone(Some(name)).expect("a zone");
        let runs: Vec<_> = runs_between(&CronTrigger::new(cron), start, start + TimeDelta::days(400)).collect();
        let local: Vec<_> = runs.iter().map(|run| run.logical_date.with_timezone(&zone).naive_local()).collect();
        for pair in local.windows(2) {
            prop_assert_eq!(pair[1].date(), pair[0].date().succ_opt().expect("a day"));
        }
        let moved = local.iter().filter(|at| (at.hour(), at.minute()) != (hour, minute)).count();
        prop_assert!(moved <= 2, "clocks are put forward once a year: {moved}");
    }

    #[test]
    fn with_catchup_every_hour_that_passes_has_its_tick_once(
        minute in 0..60u32,
        name in select(WHOLE_HOURS.to_vec()),
        start in instants(),
    ) {
        let cron = Cron::parse(&format!("{minute} * * * *"), Some(name)).expect("an expression");
        let end = start + TimeDelta::days(3);
        let runs: Vec<_> = runs_between(&CronTrigger::new(cron), start, end).map(|run| run.logical_date).collect();
        let once: BTreeSet<_> = runs.iter().copied().collect();
        prop_assert_eq!(once.len(), runs.len());
        let whole_minutes = (0..=3 * 24 * 60).filter_map(|n| {
            let at = start.with_second(0)?.with_nanosecond(0)? + TimeDelta::minutes(n);
            (at.minute() == minute && (start..=end).contains(&at)).then_some(at)
        });
        prop_assert_eq!(runs, whole_minutes.collect::<Vec<_>>());
    }

    #[test]
    fn without_catchup_only_the_latest_that_is_due_runs(
        // Where a clock changes by half an hour, ticks that step by elapsed time (`*/7`) lie elsewhere counted from behind
        // than from before: that is Airflow's rule, and either is taken for the latest.
        cron in crons_in(ZONES.into_iter().filter(|zone| *zone != "Australia/Lord_Howe").collect()),
        start in instants(),
        ahead in prop_oneof![0..20_000i64, 0..200_000i64],
        by_interval in any::<bool>(),
    ) {
        let timetable: Box<dyn Timetable> = match by_interval {
            true => Box::new(CronDataInterval::new(cron)),
            false => Box::new(CronTrigger::new(cron)),
        };
        let now = start + TimeDelta::seconds(ahead);
        let run = timetable.next(None, &since(start, false), now).expect("a run");
        let owed = runs_between(timetable.as_ref(), start, now).take_while(|run| run.run_after <= now).last();
        match owed {
            Some(owed) => prop_assert!(run.run_after <= now && run.run_after >= owed.run_after, "{run:?} for {owed:?}"),
            None => prop_assert!(run.run_after > now, "{run:?} was not owed"),
        }
        // And when it has run, it does not run again.
        let next = timetable.next(Some(run.data_interval), &since(start, false), now).expect("a run");
        prop_assert!(next.run_after > now.max(run.run_after), "{next:?} after {run:?}");
    }

    #[test]
    fn a_backfill_is_what_catchup_would_have_run(
        timetable in timetables(),
        start in instants(),
        seconds in 0..500_000i64,
    ) {
        let end = start + TimeDelta::seconds(seconds);
        let filled: Vec<_> = runs_between(timetable.as_ref(), start, end).take(200).collect();
        let caught: Vec<_> = upcoming(timetable.as_ref(), None, since(start, true), end)
            .take_while(|run| run.run_after.min(run.data_interval.start) <= end)
            .take(200)
            .collect();
        prop_assert_eq!(filled, caught);
    }
}
