//! Decisions by date and time, for `.when(..)`. They go by the run's logical date, so that a run of last week decides as it
//! would have then; a run without one goes by the present.

use crate::context::Context;
use crate::error::{Result, TaskError};
use crate::{task, value};
use chrono::{DateTime, Datelike as _, NaiveTime, Utc};
use flow_core::parse;
use flow_core::timetable::zone;

/// A day of the week.
#[value]
#[derive(Copy, Eq, Hash)]
#[allow(missing_docs, reason = "they have their names")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// Is it Saturday or Sunday?
    pub fn is_weekend(self) -> bool {
        matches!(self, Weekday::Saturday | Weekday::Sunday)
    }
}

impl From<chrono::Weekday> for Weekday {
    fn from(day: chrono::Weekday) -> Weekday {
        match day {
            chrono::Weekday::Mon => Weekday::Monday,
            chrono::Weekday::Tue => Weekday::Tuesday,
            chrono::Weekday::Wed => Weekday::Wednesday,
            chrono::Weekday::Thu => Weekday::Thursday,
            chrono::Weekday::Fri => Weekday::Friday,
            chrono::Weekday::Sat => Weekday::Saturday,
            chrono::Weekday::Sun => Weekday::Sunday,
        }
    }
}

fn about(ctx: &Context) -> DateTime<Utc> {
    ctx.logical_date().unwrap_or_else(|| ctx.now())
}

/// The day of the week on which the run is, in a time zone: `"UTC"`, `"Europe/Berlin"`.
///
/// # Errors
/// A time zone that is none.
#[task]
pub fn day_of_week(ctx: &Context, timezone: String) -> Result<Weekday> {
    let zone = zone(Some(&timezone)).map_err(|e| TaskError::fail(e.to_string()))?;
    Ok(about(ctx).with_timezone(&zone).weekday().into())
}

/// Is it Saturday or Sunday where the run is?
///
/// # Errors
/// A time zone that is none.
#[task]
pub fn is_weekend(ctx: &Context, timezone: String) -> Result<bool> {
    day_of_week(ctx, timezone).map(Weekday::is_weekend)
}

/// Is the time of day of the run between two: from the first on (`"22:00"`), before the second (`"06:00"`, of the next morning
/// if it is the smaller one), in a time zone?
///
/// # Errors
/// A time or a time zone that is none.
#[task]
pub fn is_time_between(ctx: &Context, from: String, to: String, timezone: String) -> Result<bool> {
    let zone = zone(Some(&timezone)).map_err(|e| TaskError::fail(e.to_string()))?;
    let (from, to) = (time(&from)?, time(&to)?);
    let at = about(ctx).with_timezone(&zone).time();
    Ok(if from <= to { (from..to).contains(&at) } else { at >= from || at < to })
}

/// Is the run from the first instant on (`"2026-01-01"`, or with a time), and before the second?
///
/// # Errors
/// A date that is none.
#[task]
pub fn is_between(ctx: &Context, from: String, to: String) -> Result<bool> {
    let date = |text: &str| parse::date(text).map_err(TaskError::fail);
    Ok((date(&from)?..date(&to)?).contains(&about(ctx)))
}

/// Reads `06:00` or `06:00:30`.
pub(crate) fn time(text: &str) -> Result<NaiveTime> {
    let read = NaiveTime::parse_from_str(text, "%H:%M").or_else(|_| NaiveTime::parse_from_str(text, "%H:%M:%S"));
    read.map_err(|_| TaskError::fail(format!("`{text}` is no time of day: write it like 06:00 or 23:59:30")))
}
