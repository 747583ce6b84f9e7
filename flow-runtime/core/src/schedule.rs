//! When a DAG runs by itself, as the author wrote it.

use crate::asset::AssetExpr;
use crate::parse;
use crate::timetable::CronExpression;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When a DAG runs by itself: at times, or when assets have come. It is stored as its text.
///
/// | text | meaning |
/// |---|---|
/// | `@once` | one run, and no other |
/// | `@continuous` | the next run when the one before has ended |
/// | `@hourly` `@daily` `@weekly` `@monthly` `@quarterly` `@yearly` (`@annually`) | at the start of each |
/// | `0 6 * * 1-5` | cron: minute, hour, day of month, month, day of week, and seconds as an optional sixth field |
/// | `0 6 * * * or 30 18 * * 5` | at each tick of any of several cron expressions |
/// | `every 10m` | a fixed interval |
/// | `on 2026-01-01, 2026-02-14T10:00` | at these dates |
/// | `custom(reports::WorkingDays)` | as a timetable of the author's own says, which the program has under this name |
/// | `assets(trips & weather)` | when these assets have come since the run before; `\|` and brackets too |
/// | `assets(trips) or 0 6 * * *` | then, and at the ticks |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    text: String,
    kind: ScheduleKind,
}

/// What a [`Schedule`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScheduleKind {
    /// One run, and no other.
    Once,
    /// The next run when the one before has ended.
    Continuous,
    /// A cron expression of five fields, or of six with the seconds last (as in Airflow); presets are spelt out.
    Cron(String),
    /// Several cron expressions (at least two).
    Crons(Vec<String>),
    /// A fixed interval.
    Every(Duration),
    /// Dates, as they are written: which instants they are depends on the time zone.
    Dates(Vec<String>),
    /// The name of a timetable of the author's own.
    Custom(String),
    /// When these assets have come.
    Assets(AssetExpr),
    /// When these assets have come, and at times as well.
    AssetsOr(AssetExpr, Box<Schedule>),
}

/// Why a text is not a schedule; prints as one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a schedule: {why}")]
pub struct ParseError {
    text: String,
    why: String,
}

/// The presets that stand for a cron expression.
const PRESETS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@quarterly", "0 0 1 */3 *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl Schedule {
    /// Reads a preset, a cron expression or `every <duration>`.
    pub fn parse(text: &str) -> Result<Schedule, ParseError> {
        let text = text.trim();
        match kind(text) {
            Ok(kind) => Ok(Schedule { text: text.into(), kind }),
            Err(why) => Err(ParseError { text: text.into(), why }),
        }
    }

    /// Of several dates, or of several cron expressions.
    pub fn list<T: AsRef<str>>(texts: &[T]) -> Result<Schedule, ParseError> {
        let texts: Vec<&str> = texts.iter().map(|text| text.as_ref().trim()).collect();
        let refuse = |text: &str, why: String| Err(ParseError { text: text.into(), why });
        let Some(date) = texts.iter().find(|text| parse::date(text).is_ok()) else {
            if texts.is_empty() {
                return refuse(
                    "[]",
                    "the list is empty; leave the schedule out for a DAG that runs only when asked".into(),
                );
            }
            return Schedule::parse(&texts.join(OR));
        };
        match texts.iter().find(|text| parse::date(text).is_err()) {
            None => Schedule::parse(&format!("{ON}{}", texts.join(", "))),
            Some(other) if cron(other).is_ok() => {
                let why = format!("a list is of dates or of cron expressions, not of both, and `{date}` is a date");
                refuse(other, why)
            }
            Some(other) => refuse(other, format!("it is not a date, as `{date}` is")),
        }
    }

    /// As a timetable of the author's own says, which the program has under this name.
    pub fn custom(name: &str) -> Result<Schedule, ParseError> {
        Schedule::parse(&format!("custom({name})"))
    }

    /// When these assets have come.
    pub fn assets(when: AssetExpr) -> Schedule {
        Schedule { text: format!("assets({when})"), kind: ScheduleKind::Assets(when) }
    }

    /// When these assets have come, and at the times of another schedule as well.
    pub fn assets_or(when: AssetExpr, times: &Schedule) -> Result<Schedule, ParseError> {
        Schedule::parse(&format!("assets({when}){OR}{times}"))
    }

    /// The assets that it waits for, and in what company.
    pub fn waits_for(&self) -> Option<&AssetExpr> {
        match &self.kind {
            ScheduleKind::Assets(when) | ScheduleKind::AssetsOr(when, _) => Some(when),
            _ => None,
        }
    }

    /// Does it tell times at all?
    pub fn tells_times(&self) -> bool {
        !matches!(self.kind, ScheduleKind::Assets(_))
    }

    /// What it says.
    pub fn kind(&self) -> &ScheduleKind {
        &self.kind
    }

    /// The text, as the author wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Between alternatives.
const OR: &str = " or ";
/// Before dates.
const ON: &str = "on ";

/// The cron expression, presets spelt out.
fn cron(text: &str) -> Result<String, String> {
    match kind_of_one(text.trim())? {
        ScheduleKind::Cron(cron) => Ok(cron),
        _ => Err(format!("`{}` is not a cron expression, and only those are joined by `or`", text.trim())),
    }
}

fn kind(text: &str) -> Result<ScheduleKind, String> {
    if let Some(rest) = text.strip_prefix("assets(") {
        let (when, times) = match rest.split_once(&format!("){OR}")) {
            Some((when, times)) => (when, Some(times)),
            None => (rest.strip_suffix(')').ok_or("`assets(` is not closed")?, None),
        };
        let when = AssetExpr::parse(when)?;
        let Some(times) = times else { return Ok(ScheduleKind::Assets(when)) };
        let times = Schedule::parse(times).map_err(|e| e.to_string())?;
        return match times.kind {
            ScheduleKind::Once | ScheduleKind::Continuous | ScheduleKind::Assets(_) | ScheduleKind::AssetsOr(..) => {
                Err(format!(
                    "beside assets there may be a cron expression, `every ..` or dates, and `{times}` is none of them"
                ))
            }
            _ => Ok(ScheduleKind::AssetsOr(when, Box::new(times))),
        };
    }
    if let Some(rest) = text.strip_prefix("custom(") {
        let name = rest.strip_suffix(')').ok_or("`custom(` is not closed")?;
        let is_empty = name.trim().is_empty();
        return if is_empty { Err("it names no timetable".into()) } else { Ok(ScheduleKind::Custom(name.into())) };
    }
    if let Some(dates) = text.strip_prefix(ON) {
        let date = |date: &str| parse::date(date).map(|_| date.trim().to_owned());
        return dates.split(',').map(date).collect::<Result<_, _>>().map(ScheduleKind::Dates);
    }
    if text.contains(OR) {
        return text.split(OR).map(cron).collect::<Result<_, _>>().map(ScheduleKind::Crons);
    }
    kind_of_one(text)
}

fn kind_of_one(text: &str) -> Result<ScheduleKind, String> {
    match text {
        "" => {
            return Err("it is empty; leave the schedule out for a DAG that runs only when asked".into());
        }
        "@once" => return Ok(ScheduleKind::Once),
        "@continuous" => return Ok(ScheduleKind::Continuous),
        "@none" | "none" | "None" | "null" => {
            return Err("leave the schedule out for a DAG that runs only when asked".into());
        }
        _ => {}
    }
    if text.starts_with('@') {
        return match PRESETS.iter().find(|(name, _)| *name == text) {
            Some((_, cron)) => Ok(ScheduleKind::Cron((*cron).into())),
            None => Err("the presets are @once, @continuous, @hourly, @daily, @weekly, @monthly, @quarterly, \
                         @yearly and @annually"
                .into()),
        };
    }
    if let Some(preset) = preset_meant(text) {
        return Err(format!("write `{preset}`"));
    }
    if let Some(rest) = text.strip_prefix("every ") {
        let step = parse::duration(rest)?;
        return if step < Duration::from_secs(1) {
            Err("an interval is at least one second".into())
        } else {
            Ok(ScheduleKind::Every(step))
        };
    }
    CronExpression::parse(text).map(|cron| ScheduleKind::Cron(cron.to_string()))
}

/// The preset that somebody means by `daily` or `every day`.
fn preset_meant(text: &str) -> Option<&'static str> {
    let word = text.strip_prefix("every ").map_or(text, str::trim);
    let word = if word == "day" { "daily".into() } else { word.trim_end_matches("ly").to_owned() + "ly" };
    PRESETS.map(|(name, _)| name).into_iter().find(|name| name[1..] == word)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Schedule {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Schedule, ParseError> {
        Schedule::parse(text)
    }
}

impl TryFrom<String> for Schedule {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Schedule, ParseError> {
        Schedule::parse(&text)
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> String {
        schedule.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_authors_write_is_read() {
        let cron = |c: &str| ScheduleKind::Cron(c.into());
        for (text, kind) in [
            ("@once", ScheduleKind::Once),
            ("@continuous", ScheduleKind::Continuous),
            ("@monthly", cron("0 0 1 * *")),
            ("@annually", cron("0 0 1 1 *")),
            ("  0 6  * * 1-5 ", cron("0 6 * * 1-5")),
            ("*/5 * * * *", cron("*/5 * * * *")),
            ("0 2 * * sun#1", cron("0 2 * * sun#1")),
            ("0 0 L * *", cron("0 0 L * *")),
            ("0 0 1 1 * 30", cron("0 0 1 1 * 30")),
            ("every 10m", ScheduleKind::Every(Duration::from_secs(600))),
            ("0 6 * * *  or @weekly", ScheduleKind::Crons(vec!["0 6 * * *".into(), "0 0 * * 0".into()])),
            ("on 2026-01-01", ScheduleKind::Dates(vec!["2026-01-01".into()])),
            ("custom(days::Working::new(3))", ScheduleKind::Custom("days::Working::new(3)".into())),
            ("assets(a & (b | c))", ScheduleKind::Assets(AssetExpr::parse("a & (b | c)").expect("assets"))),
            (
                "assets((a | b) & c) or every 10m",
                ScheduleKind::AssetsOr(
                    AssetExpr::parse("(a | b) & c").expect("assets"),
                    Box::new(Schedule::parse("every 10m").expect("a schedule")),
                ),
            ),
        ] {
            let schedule = Schedule::parse(text).expect(text);
            assert_eq!(schedule.kind(), &kind, "{text}");
            assert_eq!(schedule.to_string(), text.trim());
            let stored = serde_json::to_string(&schedule).expect("it is a string");
            assert_eq!(serde_json::from_str::<Schedule>(&stored).expect(text), schedule);
        }
    }

    #[test]
    fn a_list_is_of_dates_or_of_cron_expressions() {
        let list = |texts: &[&str]| Schedule::list(texts).map(|list| list.to_string()).map_err(|e| e.to_string());
        assert_eq!(list(&["2026-01-01", "2026-02-14T10:00"]), Ok("on 2026-01-01, 2026-02-14T10:00".into()));
        assert_eq!(list(&["0 6 * * *", "@weekly"]), Ok("0 6 * * * or @weekly".into()));
        assert_eq!(list(&["0 6 * * *"]), Ok("0 6 * * *".into()));
        for (texts, why) in [
            (&[][..], "the list is empty"),
            (&["2026-01-01", "0 6 * * *"], "`0 6 * * *` is not a schedule: a list is of dates or of cron expressions"),
            (&["2026-01-01", "soon"], "it is not a date, as `2026-01-01` is"),
            (&["0 6 * * *", "every 10m"], "`every 10m` is not a cron expression"),
            (&["0 6 * * *", "2026-02-31"], "has 5 fields"),
        ] {
            let error = list(texts).expect_err("it is wrong");
            assert!(error.contains(why), "{texts:?}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_sentence() {
        for (text, why) in [
            ("", "it is empty"),
            ("@none", "leave the schedule out"),
            ("@fortnightly", "the presets are @once"),
            ("daily", "write `@daily`"),
            ("always", "has 5 fields"),
            ("* * * *", "and this has 4"),
            ("60 * * * *", "`60` is no minute (number out of bounds"),
            ("a * * * *", "`a` is no minute ("),
            ("0 25 * * *", "`25` is no hour ("),
            ("0 0 * * foo", "`foo` is no day of week ("),
            ("0 0 * * * 60", "`60` is no second ("),
            ("every day", "write `@daily`"),
            ("hourly", "write `@hourly`"),
            ("every month", "write `@monthly`"),
            ("every", "has 5 fields"),
            ("every 10", "has no unit"),
            ("every 0s", "at least one second"),
            ("every 5ms", "at least one second"),
            ("assets(a) or @continuous", "beside assets there may be"),
            ("assets(a", "is not closed"),
            ("custom()", "names no timetable"),
            ("on 2026-02-31", "is not a date"),
        ] {
            let error = Schedule::parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(serde_json::from_str::<Schedule>("\"61 * * * *\"").is_err());
    }
}
