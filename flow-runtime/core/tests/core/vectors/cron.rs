//! Timetables: which runs they make, and when.

use super::{Verdict, check, text};
use chrono::{DateTime, Offset, TimeDelta, TimeZone, Utc};
use flow_core::dag_run::DataInterval;
use flow_core::parse;
use flow_core::timetable::{
    Cron, CronDataInterval, CronTrigger, DeltaDataInterval, DeltaTrigger, Every, FirstRun, MultipleCronTrigger,
    NextRun, Restriction, Timetable, runs_between, upcoming, zone,
};
use serde_json::Value;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const CALENDAR: Verdict = Verdict::Skipped("steps of months and years, for which flow has cron");

#[test]
fn vectors_cron() {
    check("cron.jsonl", |line| match text(&line["kind"]) {
        "trigger" | "multi_trigger" => fires(line),
        "interval" | "delta_interval" | "delta_trigger" => intervals(line),
        "next" => next(line),
        "manual_interval" => manual_interval(line),
        "validate" => validate(line),
        kind => Verdict::Differs(format!("a kind that nobody knows: {kind}")),
    });
}

/// Every run from a start date on.
fn fires(line: &Value) -> Verdict {
    let Some(timetable) = timetable(text(&line["kind"]), line) else { return CALENDAR };
    let expected = dates(&line["fires"]);
    let found = from_start(timetable.as_ref(), line, expected.len());
    let agrees = found.iter().zip(&expected).all(|(run, fire)| *run == NextRun::at(*fire));
    Verdict::of(agrees && found.len() == expected.len(), || format!("{:?}", logical_dates(&found)))
}

fn intervals(line: &Value) -> Verdict {
    let Some(timetable) = timetable(text(&line["kind"]), line) else { return CALENDAR };
    let expected: Vec<DataInterval> = line["intervals"].as_array().expect("a list").iter().map(interval).collect();
    let found = from_start(timetable.as_ref(), line, expected.len());
    let agrees = found.iter().zip(&expected).all(|(run, i)| *run == NextRun::over(i.start, i.end));
    if !agrees && expected.windows(2).any(|pair| pair[0].end != pair[1].start) {
        return Verdict::OnPurpose("Airflow's intervals overlap or leave a hole where a clock is changed");
    }
    Verdict::of(agrees && found.len() == expected.len(), || format!("{:?}", logical_dates(&found)))
}

fn next(line: &Value) -> Verdict {
    let Some(timetable) = timetable(text(&line["timetable"]), line) else { return CALENDAR };
    let last = line["last"].is_array().then(|| interval(&line["last"]));
    let restriction = Restriction {
        earliest: line["earliest"].as_str().map(date),
        latest: line["latest"].as_str().map(date),
        catchup: line["catchup"].as_bool().expect("a bool"),
    };
    let expected = line["next"].is_object().then(|| NextRun {
        logical_date: date(text(&line["next"]["logical_date"])),
        data_interval: DataInterval {
            start: date(text(&line["next"]["start"])),
            end: date(text(&line["next"]["end"])),
        },
        run_after: date(text(&line["next"]["run_after"])),
    });
    let now = date(text(&line["now"]));
    let found = timetable.next(last, &restriction, now);
    let begins = last.is_none() && restriction.earliest.is_none() && text(&line["timetable"]).starts_with("trigger");
    if found != expected && begins && loses_time(line, now) {
        return Verdict::OnPurpose("Airflow takes a tick ahead for the latest where a clock is put forward");
    }
    Verdict::of(found == expected, || format!("{found:?}"))
}

fn manual_interval(line: &Value) -> Verdict {
    let Some(timetable) = timetable(text(&line["timetable"]), line) else { return CALENDAR };
    let found = timetable.manual_interval(date(text(&line["run_after"])));
    let expected = DataInterval { start: date(text(&line["start"])), end: date(text(&line["end"])) };
    if found != expected && expected.start == expected.end && loses_time(line, expected.end) {
        return Verdict::OnPurpose("Airflow's interval is empty where a clock is put forward");
    }
    Verdict::of(found == expected, || format!("{found:?}"))
}

fn validate(line: &Value) -> Verdict {
    let written = text(&line["cron"]);
    let is_taken = flow_core::Schedule::parse(written).is_ok();
    if line["trigger"] != is_taken {
        return match written {
            "0 0 LW * *" => Verdict::OnPurpose("the last working day of a month can be asked for"),
            "0 0 * * 1,3#2" => Verdict::OnPurpose("weekdays can be listed beside the second of another"),
            _ => Verdict::Differs(format!("taken: {is_taken}")),
        };
    }
    if !is_taken {
        return Verdict::Agrees;
    }
    let now = date("2026-01-30T09:30:20Z");
    let restriction = Restriction { earliest: Some(now), latest: None, catchup: true };
    let runs = |kind: &str| -> Vec<DateTime<Utc>> {
        let timetable = timetable(kind, line).expect("a cron expression");
        upcoming(timetable.as_ref(), None, restriction, now).take(6).map(|run| run.run_after).collect()
    };
    let found = (runs("trigger"), runs("interval"));
    let expected = (dates(&line["trigger_fires"]), dates(&line["interval_fires"]));
    Verdict::of(found == expected, || format!("{found:?}"))
}

/// Is the clock put forward on the day of this instant? That is where Airflow's steps backwards lead ahead.
fn loses_time(line: &Value, instant: DateTime<Utc>) -> bool {
    let zone = zone(line["tz"].as_str()).expect("a time zone");
    let offset = |instant: DateTime<Utc>| zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
    let half = TimeDelta::hours(12);
    offset(instant + half).local_minus_utc() > offset(instant - half).local_minus_utc()
}

/// The timetable by the name it has in the vectors; none for steps of the calendar.
fn timetable(name: &str, line: &Value) -> Option<Box<dyn Timetable>> {
    let preset = |text: &str| match flow_core::Schedule::parse(text).expect(text).kind() {
        flow_core::schedule::ScheduleKind::Cron(cron) => cron.clone(),
        _ => panic!("{text} is no cron expression"),
    };
    let zone = line["tz"].as_str();
    let cron = |text: &str| Cron::parse(&preset(text), zone).expect(text);
    let one = || cron(text(&line["cron"]));
    let every = |text: &str| {
        let seconds = match text {
            "PT25M" => 25 * MINUTE,
            "PT1H" => HOUR,
            "P1D" => DAY,
            // In UTC, where the vectors have it, days of the calendar are as long as any.
            "rel P2D" => 2 * DAY,
            "P7D" => 7 * DAY,
            _ => return None,
        };
        Every::new(Duration::from_secs(seconds)).ok()
    };
    let delta = || every(text(&line["delta"]));
    Some(match name {
        "trigger" => Box::new(CronTrigger::new(one())),
        "trigger_interval_1d" => Box::new(CronTrigger::new(one()).interval(Duration::from_secs(DAY))),
        "trigger_immediately" => Box::new(CronTrigger::new(one()).first_run(FirstRun::Latest)),
        "trigger_immediately_10m" => {
            Box::new(CronTrigger::new(one()).first_run(FirstRun::Within(Duration::from_secs(10 * MINUTE))))
        }
        "multi_trigger" => {
            let crons = line["crons"].as_array().expect("a list").iter();
            let triggers = crons.map(|c| CronTrigger::new(cron(text(c)))).collect();
            Box::new(MultipleCronTrigger::new(triggers).expect("more than none"))
        }
        "interval" => Box::new(CronDataInterval::new(one())),
        "delta_interval" => Box::new(DeltaDataInterval::new(delta()?)),
        "delta_trigger" => Box::new(DeltaTrigger::new(delta()?)),
        _ => panic!("a timetable that nobody knows: {name}"),
    })
}

fn from_start(timetable: &dyn Timetable, line: &Value, count: usize) -> Vec<NextRun> {
    runs_between(timetable, date(text(&line["start"])), DateTime::<Utc>::MAX_UTC).take(count).collect()
}

fn logical_dates(runs: &[NextRun]) -> Vec<String> {
    runs.iter().map(|run| run.logical_date.format("%FT%TZ").to_string()).collect()
}

fn date(text: &str) -> DateTime<Utc> {
    parse::date(text).expect(text)
}

fn dates(list: &Value) -> Vec<DateTime<Utc>> {
    list.as_array().into_iter().flatten().map(|d| date(text(d))).collect()
}

fn interval(pair: &Value) -> DataInterval {
    DataInterval { start: date(text(&pair[0])), end: date(text(&pair[1])) }
}
