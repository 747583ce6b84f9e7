//! What is run where there is not enough for all: pools, keys, rates, and limits of tasks and of runs.

use crate::ledger::{Running, work};
use flow_runtime::prelude::*;
use std::time::Duration;

/// The pools of the world that have their slots from the operator.
pub const POOLS: [(&str, u32); 2] = [("narrow", 3), ("desk", 1)];

#[task(at_once(1, key = "picks"))]
async fn pick(ctx: &Context) -> Result<Vec<u64>> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    let n = running.fate(ctx).below(4);
    Ok(running.returns((0..=n).collect()))
}

#[task(pool = "narrow", pool_slots = 2, at_once(1, key = "pull {number}"), rate("10/2m", key = "pulls"))]
async fn pull(ctx: &Context, number: u64) -> Result<u64> {
    let running = Running::about(ctx, &[("number", number)]);
    work(ctx, &running).await?;
    Ok(running.returns(number))
}

#[task(max_active = 2, max_active_per_run = 1, at_once(1, key = "call {number}"), rate("7/90s", key = "calls"))]
async fn call(ctx: &Context, number: u64) -> Result<u64> {
    let running = Running::about(ctx, &[("number", number)]);
    work(ctx, &running).await?;
    Ok(running.returns(number))
}

#[sensor(poke_interval = "5s", timeout = "10d", pool = "narrow")]
async fn stands(ctx: &Context) -> Result<Option<u64>> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    let there = ctx.now() >= ctx.began() + Duration::from_secs(12);
    Ok(there.then(|| running.returns(1)))
}

#[task(pool = "desk", priority = 5)]
async fn sign(ctx: &Context, numbers: Vec<u64>) -> Result<u64> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    Ok(running.returns(numbers.iter().sum()))
}

/// Many that want the same.
#[dag(
    schedule = "* * * * *",
    catchup = true,
    start_date = "2026-01-01T00:00",
    end_date = "2026-01-01T00:04",
    max_active_runs = 3,
    max_active_tasks = 3,
    on_success = log,
    defaults(retries = 1000, retry_delay = "2s", on_retry = log, on_success = [log, "ops"])
)]
pub fn crowd() {
    let numbers = pick();
    let (pulled, called) = (pull::expand(each(numbers)), call::expand(each(numbers)));
    let signed = sign(pulled);
    called >> signed;
    stands() >> signed;
}

/// Others that want it too, and go before them.
#[dag(
    schedule = "*/2 * * * *",
    catchup = true,
    start_date = "2026-01-01T00:00",
    end_date = "2026-01-01T00:04",
    max_active_runs = 2,
    deadline = "3m",
    on_deadline = log,
    defaults(retries = 1000, retry_delay = "2s", priority = 3, on_success = log)
)]
pub fn rush() {
    sign(vec![pull(0u64), pull(1u64), call(0u64)]);
}
