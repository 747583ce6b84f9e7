//! What is run: a bit of everything that waits, fails, maps and cleans up.

use crate::ledger::{self, Running, work};
use flow_runtime::prelude::*;
use std::time::Duration;

#[task]
async fn list(ctx: &Context) -> Result<Vec<u64>> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    let n = running.fate(ctx).below(4);
    Ok(running.returns((0..=n).collect()))
}

#[task]
async fn item(ctx: &Context, number: u64) -> Result<u64> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    if running.fate(ctx).chance(100) {
        return Err(TaskError::skip("as it was drawn"));
    }
    Ok(running.returns(number * 2))
}

/// What `sum` and `last` make.
pub const SUMS: Asset = Asset::new("sums");

#[task(trigger_rule = "none_failed", outlets = [SUMS])]
async fn sum(ctx: &Context, numbers: Option<Vec<u64>>) -> Result<u64> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    Ok(running.returns(numbers.unwrap_or_default().iter().sum()))
}

#[task(setup)]
async fn open(ctx: &Context) -> Result<()> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    running.returns(());
    Ok(())
}

#[task(teardown)]
async fn close(ctx: &Context) -> Result<()> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    running.returns(());
    Ok(())
}

/// Every minute, several runs at one time.
#[dag(
    schedule = "* * * * *",
    catchup = true,
    start_date = "2026-01-01T00:00",
    end_date = "2026-01-01T00:07",
    max_active_runs = 3,
    deadline = "4m",
    on_deadline = log,
    on_success = log,
    defaults(retries = 1000, retry_delay = "2s", on_retry = log, on_success = [log, "ops"], on_skipped = log)
)]
pub fn mapped() {
    let (begin, numbers) = (open(), list());
    let all = sum(item::expand(each(numbers)));
    let end = close().teardown_of(begin);
    begin >> numbers;
    all >> end;
}

#[task]
async fn in_steps(ctx: &Context) -> Result<u64> {
    let mut sum = 0;
    for n in 0..4u64 {
        let running = Running::begin(ctx);
        sum += ctx
            .step(&format!("{n}"), || async {
                work(ctx, &running).await?;
                let done = (ledger::name(ctx), n.to_string(), ctx.try_number());
                ledger::with(|ledger| ledger.steps.push(done));
                anyhow::Ok(n)
            })
            .await?;
    }
    let running = Running::begin(ctx);
    Ok(running.returns(sum))
}

#[task]
async fn sleeper(ctx: &Context, sum: u64) -> Result<u64> {
    let running = Running::begin(ctx);
    ctx.sleep_until(ctx.began() + Duration::from_secs(40))?;
    ensure!(ctx.now() >= ctx.began() + Duration::from_secs(40), "it woke too early");
    work(ctx, &running).await?;
    ctx.emit(&format!("slept {}", ctx.run_id()), &sum).await?;
    Ok(running.returns(sum))
}

#[task]
async fn waiter(ctx: &Context) -> Result<u64> {
    let running = Running::begin(ctx);
    let sum: u64 = ctx.wait_for(&format!("slept {}", ctx.run_id())).await?;
    work(ctx, &running).await?;
    Ok(running.returns(sum))
}

#[sensor(poke_interval = "7s", timeout = "10d")]
async fn looks(ctx: &Context) -> Result<Option<u64>> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    let there = ctx.now() >= ctx.began() + Duration::from_secs(20);
    Ok(there.then(|| running.returns(1)))
}

#[task(outlets = [SUMS])]
async fn last(ctx: &Context, sums: Vec<u64>) -> Result<u64> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    Ok(running.returns(sums.iter().sum()))
}

/// One run after the other.
#[dag(
    schedule = "*/2 * * * *",
    catchup = true,
    start_date = "2026-01-01T00:00",
    end_date = "2026-01-01T00:06",
    max_active_runs = 1,
    deadline = "5m",
    deadline_from = "logical_date",
    on_deadline = log,
    on_failure = log,
    on_success = log,
    defaults(retries = 1000, retry_delay = "2s", on_retry = log, on_success = log, on_failure = log)
)]
pub fn waits() {
    let sum = in_steps();
    last([sleeper(sum), waiter(), looks()]);
}

#[task]
async fn follow(ctx: &Context) -> Result<Vec<i64>> {
    let running = Running::begin(ctx);
    work(ctx, &running).await?;
    Ok(running.returns(ctx.triggering_events().iter().map(|event| event.id).collect()))
}

/// Whenever there are sums.
#[dag(schedule = assets(SUMS), max_active_runs = 2, defaults(retries = 1000, retry_delay = "2s"))]
pub fn follows() {
    follow();
}
