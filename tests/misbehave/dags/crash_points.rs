//! A DAG in which everything happens that is written down, for a program that dies at each write.

use flow_runtime::prelude::*;
use std::io::Write as _;
use std::time::Duration;

/// Notes in a file of the home folder what was really done.
fn note(ctx: &Context, what: &str) -> Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(ctx.home().join("ledger"))?;
    let index = ctx.map_index().map_or(String::new(), |index| format!("[{index}]"));
    // In one piece: others write as well.
    let line = format!("{} {}{index} {} {what}\n", ctx.run_id(), ctx.task_id(), ctx.try_number());
    Ok(file.write_all(line.as_bytes())?)
}

/// Two steps, the second of which fails at first.
#[task(retries = 100, retry_delay = "1ms")]
async fn in_steps(ctx: &Context) -> Result<Vec<u32>> {
    let one: u32 = ctx.step("one", || async { note(ctx, "one").map(|()| 1) }).await?;
    let two: u32 = ctx.step("two", || async { note(ctx, "two").map(|()| 2) }).await?;
    Ok(vec![one, two])
}

/// Sleeps and waits.
#[task(retries = 100, retry_delay = "1ms")]
async fn patient(ctx: &Context, number: u32) -> Result<u32> {
    note(ctx, "begins")?;
    ctx.sleep_until(ctx.began() + Duration::from_millis(20))?;
    if number == 1 {
        ctx.emit(&format!("go {}", ctx.run_id()), &number).await?;
    }
    let first: u32 = ctx.wait_for(&format!("go {}", ctx.run_id())).await?;
    Ok(number + first)
}

/// Looks twice.
#[sensor(poke_interval = "10ms", timeout = "1m", retries = 100, retry_delay = "1ms")]
fn twice(ctx: &Context) -> Result<bool> {
    note(ctx, "looks")?;
    Ok(ctx.now() >= ctx.began() + Duration::from_millis(10))
}

/// The end.
#[task(retries = 100, retry_delay = "1ms")]
fn sum(ctx: &Context, numbers: &[u32]) -> Result<u32> {
    note(ctx, "sums")?;
    Ok(numbers.iter().sum())
}

/// Two ticks of all that.
#[dag(
    schedule = "* * * * * *",
    catchup = true,
    start_date = "2026-01-01",
    end_date = "2026-01-01T00:00:01",
    max_active_runs = 1
)]
pub fn crash_points() {
    let waited = patient::expand(each(in_steps()));
    twice() >> sum(waited);
}

/// Has a slot of a pool for longer than a third of a lease.
#[task(retries = 100, retry_delay = "1ms", pool = "api")]
async fn has_a_slot(ctx: &Context, number: u32) -> Result<u32> {
    note(ctx, "begins")?;
    tokio::time::sleep(Duration::from_millis(900)).await;
    note(ctx, "ends")?;
    Ok(number)
}

/// Two ticks of tasks that share limits with other processes.
#[dag(
    schedule = "* * * * * *",
    catchup = true,
    start_date = "2026-01-01",
    end_date = "2026-01-01T00:00:01",
    max_active_runs = 1
)]
pub fn shared_slots() {
    sum(has_a_slot::expand(each(vec![2u32, 3]))).pool("api").pool_slots(2);
}

/// Goes on when it is told to by a file.
#[task(retries = 100, retry_delay = "1ms")]
async fn waits_to_go(ctx: &Context) -> Result<u32> {
    note(ctx, "begins")?;
    while !ctx.home().join("go").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        ensure!(!ctx.is_cancelled(), "it was told to stop");
    }
    note(ctx, "ends")?;
    Ok(5)
}

/// Is under way until somebody lets it go.
#[dag]
pub fn held_up() {
    sum(one_more(waits_to_go()));
}

/// In a list.
#[task]
fn one_more(number: u32) -> Vec<u32> {
    vec![number, 1]
}
