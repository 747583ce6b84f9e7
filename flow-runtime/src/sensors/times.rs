//! Waiting for an instant: the task is deferred until it has come.

use crate::context::Context;
use crate::error::{Result, TaskError};
use crate::operators::dates;
use crate::task;
use chrono::{DateTime, TimeDelta, Utc};
use flow_core::parse;
use flow_core::timetable::zone;

/// Waits until this instant (`2026-01-31T06:00`, in UTC or with an offset), and gives it.
///
/// # Errors
/// A date that is none. (Deferral is an error of its own kind.)
#[task]
pub fn at(ctx: &Context, instant: String) -> Result<DateTime<Utc>> {
    let instant = parse::date(&instant).map_err(TaskError::fail)?;
    ctx.sleep_until(instant)?;
    Ok(instant)
}

/// Waits until so long (`30m`, `1h 30m`) after the end of the run's data interval, and gives that instant. A run without an
/// interval counts from its logical date, and without one from the beginning of the try.
///
/// # Errors
/// A time that is none. (Deferral is an error of its own kind.)
#[task]
pub fn after(ctx: &Context, delay: String) -> Result<DateTime<Utc>> {
    let delay = parse::duration(&delay).map_err(TaskError::fail)?;
    let end = ctx.data_interval().map(|interval| interval.end).or(ctx.logical_date()).unwrap_or_else(|| ctx.began());
    let instant = TimeDelta::from_std(delay).ok().and_then(|delay| end.checked_add_signed(delay));
    let instant = instant.ok_or_else(|| TaskError::fail("that is beyond all dates"))?;
    ctx.sleep_until(instant)?;
    Ok(instant)
}

/// Waits until it is this time (`06:00`, `06:00:30`) of the day on which the task began, in a time zone (`UTC`, `Europe/Berlin`),
/// and gives that instant. If it has passed when the task begins, it waits for nothing.
///
/// # Errors
/// A time or a time zone that is none. (Deferral is an error of its own kind.)
#[task]
pub fn time_of_day(ctx: &Context, time: String, timezone: String) -> Result<DateTime<Utc>> {
    let zone = zone(Some(&timezone)).map_err(|e| TaskError::fail(e.to_string()))?;
    let day = ctx.began().with_timezone(&zone).date_naive();
    let text = format!("{day}T{}", dates::time(&time)?);
    let instant = parse::date_in(&text, zone).map_err(TaskError::fail)?;
    ctx.sleep_until(instant)?;
    Ok(instant)
}
