//! DAGs that run by themselves, every second.

use flow_runtime::prelude::*;
use std::time::Duration;

/// Takes a moment, so that a crash finds it.
#[task(retries = 3, retry_delay = "100ms")]
async fn first(ctx: &Context) -> Result<String> {
    tokio::time::sleep(Duration::from_millis(150)).await;
    Ok(ctx.logical_date().map_or(String::new(), |date| date.to_rfc3339()))
}

/// The same.
#[task(retries = 3, retry_delay = "100ms")]
async fn second(date: &str) -> usize {
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
