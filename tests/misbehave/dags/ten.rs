//! Schedules of all kinds, over stretches of time that are long past.

use super::ticks::{first, second};
use flow_runtime::prelude::*;

/// Every seventh second of two minutes.
#[dag(schedule = "* * * * * */7", catchup = true, start_date = "2026-01-01", end_date = "2026-01-01T00:01:59")]
pub fn sevenths() {
    second(first());
}

/// Each five minutes of an hour.
#[dag(
    schedule = "every 5m",
    catchup = true,
    start_date = "2026-01-01",
    end_date = "2026-01-01T01:00",
    max_active_runs = 4
)]
pub fn five_minutes() {
    second(first());
}

/// Nights in which the clocks change.
#[dag(
    schedule = "30 2 * * *",
    timezone = "Europe/Berlin",
    catchup = true,
    start_date = "2026-03-25",
    end_date = "2026-04-01"
)]
pub fn nights() {
    second(first());
}

/// Three dates.
#[dag(
    schedule = ["2026-01-01", "2026-02-14T10:00", "2026-03-01"],
    catchup = true,
    start_date = "2025-01-01",
    max_active_runs = 1
)]
pub fn dates() {
    second(first());
}

/// The hours of half a day, each about the time before it.
#[dag(
    schedule = "@hourly",
    data_intervals = true,
    catchup = true,
    start_date = "2026-01-01",
    end_date = "2026-01-01T11:00",
    max_active_runs = 5
)]
pub fn hours() {
    second(first());
}
