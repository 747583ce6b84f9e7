//! DAGs that are linked by an asset.

use flow_runtime::prelude::*;
use std::time::Duration;

const PARTS: Asset = Asset::new("parts");
const WHOLE: Asset = Asset::new("whole");

/// Takes a moment, so that a crash finds it before, in and after the commit of its end.
#[task(retries = 9, retry_delay = "50ms", outlets = [PARTS])]
async fn part(ctx: &Context) {
    tokio::time::sleep(Duration::from_millis(60)).await;
    ctx.made(&PARTS).rows(1);
}

/// Every second of a quarter of a minute.
#[dag(
    schedule = "* * * * * *",
    catchup = true,
    start_date = "2026-01-01",
    end_date = "2026-01-01T00:00:14",
    max_active_runs = 2
)]
pub fn parts() {
    part();
}

/// The numbers of the events that it was made for.
#[task(retries = 9, retry_delay = "50ms", outlets = [WHOLE])]
async fn assemble(ctx: &Context) -> Vec<i64> {
    tokio::time::sleep(Duration::from_millis(40)).await;
    ctx.triggering_events().iter().map(|event| event.id).collect()
}

/// Whenever a part has come.
#[dag(schedule = assets(PARTS))]
pub fn wholes() {
    assemble();
}

/// Whenever both have come.
#[dag(schedule = assets(PARTS & WHOLE))]
pub fn pairs() {
    assemble();
}

const GOODS: Asset = Asset::new("goods");

/// Makes some more.
#[task(outlets = [GOODS])]
async fn good() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// There are always some.
#[dag(schedule = "@continuous")]
pub fn goods() {
    good();
}

/// Takes longer than it takes to make some.
#[task]
async fn sell() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Whenever there are some, and every second.
#[dag(schedule = assets(GOODS).or("* * * * * *"), max_active_runs = 1)]
pub fn sales() {
    sell();
}
