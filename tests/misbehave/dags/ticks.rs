//! DAGs that run by themselves, every second.

use flow_runtime::prelude::*;
use std::time::Duration;

/// Takes a moment, so that a crash finds it.
#[task(retries = 3, retry_delay = "100ms")]
pub async fn first(ctx: &Context) -> Result<String> {
    tokio::time::sleep(Duration::from_millis(150)).await;
    Ok(ctx.logical_date().map_or(String::new(), |date| date.to_rfc3339()))
}

/// The same.
#[task(retries = 3, retry_delay = "100ms")]
pub async fn second(date: &str) -> usize {
    tokio::time::sleep(Duration::from_millis(150)).await;
    date.len()
}

/// At every second.
#[dag(
    schedule = "* * * * * *",
    catchup = true,
    start_date = "2026-01-01",
    end_date = "2026-01-01T00:00:20",
    max_active_runs = 3
)]
pub fn twenty_seconds() {
    second(first());
}

/// Every second from now on.
#[dag(schedule = "* * * * * *")]
pub fn each_second() {
    second(first());
}

/// One after the other.
#[dag(schedule = "@continuous")]
pub fn again_and_again() {
    second(first());
}

/// Once.
#[dag(schedule = "@once")]
pub fn once() {
    second(first());
}

/// Fails on odd days, until the file is there.
#[task]
fn needs_a_file(ctx: &Context, file: &str) -> Result<u32> {
    let day = ctx.logical_date().map_or(0, |at| chrono_day(at.timestamp()));
    ensure!(day.is_multiple_of(2) || std::path::Path::new(file).exists(), "day {day}: {file} is not there yet");
    std::thread::sleep(Duration::from_millis(20));
    Ok(day)
}

/// Days since 1970.
fn chrono_day(seconds: i64) -> u32 {
    u32::try_from(seconds / 86_400).unwrap_or_default()
}

/// A day.
#[dag(schedule = "@daily", start_date = "2020-01-01")]
pub fn days(
    /// What it needs.
    #[default("there")]
    file: String,
) {
    needs_a_file(file);
}

/// A day that waits for the day before; when somebody asks.
#[dag]
pub fn days_in_line(
    /// What it needs.
    #[default("there")]
    file: String,
) {
    needs_a_file(file).depends_on_past(true);
}

/// A run with a password in a plain param.
#[dag(schedule = "@once")]
pub fn with_url(
    /// Where.
    #[default("nowhere")]
    url: String,
) {
    second(slowly(url));
}

/// Takes its time.
#[task(retries = 5, retry_delay = "100ms")]
async fn slowly(url: &str) -> String {
    tokio::time::sleep(Duration::from_millis(700)).await;
    url.rsplit('@').next().unwrap_or_default().to_string()
}

/// Always fails.
#[task]
fn fails() -> Result<()> {
    bail!("as ever")
}

/// Twice in a row is enough.
#[dag(
    schedule = "* * * * * *",
    catchup = true,
    start_date = "2026-01-01",
    end_date = "2026-01-01T00:00:20",
    max_active_runs = 1,
    max_consecutive_failed_dag_runs = 2
)]
pub fn keeps_failing() {
    fails();
}
