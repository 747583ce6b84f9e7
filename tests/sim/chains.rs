//! What is run for dates that have passed, and what waits for the run before.

use crate::ledger::{Running, work};
use flow_runtime::prelude::*;

#[task(wait_for_downstream)]
async fn first(ctx: &Context) -> Result<u64> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    Ok(running.returns(1))
}

#[task(trigger_rule = "none_failed")]
async fn second(ctx: &Context, before: Option<u64>) -> Result<u64> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    Ok(running.returns(before.unwrap_or_default() + 1))
}

#[task(depends_on_past, trigger_rule = "none_failed")]
async fn third(ctx: &Context, before: Option<u64>) -> Result<u64> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    Ok(running.returns(before.unwrap_or_default() + 1))
}

/// Each run waits for parts of the one before.
#[dag(
    schedule = "* * * * *",
    catchup = true,
    start_date = "2025-12-31T23:58",
    end_date = "2026-01-01T00:05",
    max_active_runs = 3,
    on_success = log,
    defaults(retries = 1000, retry_delay = "2s")
)]
pub fn chain() {
    third(second(first()));
}

#[task]
async fn fill(ctx: &Context) -> Result<Vec<u64>> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    let n = running.fate(ctx).below(2);
    Ok(running.returns((0..=n).collect()))
}

#[task(max_active = 2)]
async fn drop_of(ctx: &Context, number: u64) -> Result<u64> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    Ok(running.returns(number))
}

/// Only the latest date has a run by itself: the others are filled in.
#[dag(
    schedule = "* * * * *",
    start_date = "2025-12-31T23:50",
    end_date = "2026-01-01T00:08",
    max_active_runs = 2,
    on_success = log,
    defaults(retries = 1000, retry_delay = "2s")
)]
pub fn gaps() {
    drop_of::expand(each(fill()));
}
