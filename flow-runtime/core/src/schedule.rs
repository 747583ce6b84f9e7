//! When a DAG runs by itself, as the author wrote it.

use crate::parse;
use crate::timetable::CronExpression;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When a DAG runs by itself: a preset, a cron expression, or a fixed interval. It is stored as its text.
///
/// | text | meaning |
/// |---|---|
/// | `@once` | one run, and no other |
/// | `@continuous` | the next run when the one before has ended |
/// | `@hourly` `@daily` `@weekly` `@monthly` `@quarterly` `@yearly` (`@annually`) | at the start of each |
/// | `0 6 * * 1-5` | cron: minute, hour, day of month, month, day of week, and seconds as an optional sixth field |
/// | `every 10m` | a fixed interval |
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
    /// A fixed interval.
    Every(Duration),
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

    /// What it says.
    pub fn kind(&self) -> &ScheduleKind {
        &self.kind
    }

    /// The text, as the author wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn kind(text: &str) -> Result<ScheduleKind, String> {
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
        ] {
            let schedule = Schedule::parse(text).expect(text);
            assert_eq!(schedule.kind(), &kind, "{text}");
            assert_eq!(schedule.to_string(), text.trim());
            let stored = serde_json::to_string(&schedule).expect("it is a string");
            assert_eq!(serde_json::from_str::<Schedule>(&stored).expect(text), schedule);
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
        ] {
            let error = Schedule::parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(serde_json::from_str::<Schedule>("\"61 * * * *\"").is_err());
    }
}
