//! DAGs that tell somebody outside what becomes of them.

use flow_runtime::prelude::*;
use std::time::Duration;

/// Fails now and then, and at last succeeds.
#[task(retries = 5, retry_delay = "50ms", on_retry = "hook", on_success = "hook", on_failure = "hook")]
async fn tried(ctx: &Context) -> Result<u32> {
    tokio::time::sleep(Duration::from_millis(60)).await;
    ensure!(ctx.try_number() > 1, "not at the first try");
    Ok(ctx.try_number())
}

/// Fails.
#[task(on_failure = "hook")]
async fn in_vain(tries: u32) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(60)).await;
    bail!("in vain, after {tries} tries")
}

/// At every second, for ten.
#[dag(
    schedule = "* * * * * *",
    catchup = true,
    start_date = "2026-01-01",
    end_date = "2026-01-01T00:00:09",
    max_active_runs = 3,
    on_failure = "hook"
)]
pub fn ten_seconds() {
    in_vain(tried());
}

/// Tells at its end, by itself.
#[dag(on_failure = ["hook", log], on_success = "hook")]
pub fn once_told() {
    in_vain(tried());
}
