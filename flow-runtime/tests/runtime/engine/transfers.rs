//! What flow-data is at when its try is over: it hears of that, and leaves nothing half-made.

use super::{World, note, noted};
use flow_runtime::core::RunStatus;
use flow_runtime::data::{self, ParquetOptions, Schema, Type};
use flow_runtime::prelude::*;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A CSV file that keeps a conversion busy for a while.
fn big(folder: &Path) -> PathBuf {
    let mut csv = String::from("id,note\n");
    (0..400_000).for_each(|n| writeln!(csv, "{n},note {n}").unwrap());
    let path = folder.join("big.csv");
    std::fs::write(&path, csv).unwrap();
    path
}

fn convert(ctx: &Context, csv: &Path) -> Result<()> {
    note(ctx, "begins");
    let schema = Schema::new([("id", Type::Int), ("note", Type::Text)]);
    let outcome = data::parquetize(csv, csv.with_extension("parquet"), &schema, &ParquetOptions::default(), ctx);
    note(ctx, if matches!(outcome, Err(data::Error::Cancelled)) { "cancelled" } else { "whole" });
    outcome?;
    Ok(())
}

#[task(timeout = "100ms")]
fn converts_briefly(ctx: &Context, csv: PathBuf) -> Result<()> {
    convert(ctx, &csv)
}

#[dag]
fn too_long_for_its_task(csv: PathBuf) {
    converts_briefly(csv);
}

#[task]
fn converts(ctx: &Context, csv: PathBuf) -> Result<()> {
    convert(ctx, &csv)
}

#[dag(dagrun_timeout = "100ms")]
fn too_long_for_its_run(csv: PathBuf) {
    converts(csv);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_takes_too_long_ends_and_leaves_no_file() {
    for (dag, run_id) in [
        (too_long_for_its_task::dag(), "transfers-task-timeout"),
        (too_long_for_its_run::dag(), "transfers-run-timeout"),
    ] {
        let world = World::new().await;
        let folder = tempfile::tempdir().unwrap();
        let report = world.try_run(dag, run_id, json!({"csv": big(folder.path())})).await.unwrap();
        assert_eq!(report.run.state, RunStatus::Failed, "{run_id}");
        super::until("the conversion has ended", || noted(run_id).len() == 2).await;
        assert_eq!(noted(run_id), ["begins", "cancelled"], "{run_id}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{run_id}: there is more than the CSV file");
    }
}

#[task]
async fn downloads(ctx: &Context, url: String) -> Result<()> {
    note(ctx, "begins");
    let outcome = data::download_to(&url, ctx.home().join("f"), ctx).await;
    note(ctx, if matches!(outcome, Err(data::Error::Cancelled)) { "cancelled" } else { "something else" });
    outcome?;
    Ok(())
}

#[dag(dagrun_timeout = "100ms")]
fn waits_for_a_server(url: String) {
    downloads(url);
}

/// An async function of flow-data listens, so that the grace of the try is not used up.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_hears_that_its_run_is_over() {
    let mut world = World::new().await;
    world.settings.grace = Duration::from_secs(3_600);
    // Takes the connection, and says nothing.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/f", server.local_addr().unwrap());
    let report = world.try_run(waits_for_a_server::dag(), "transfers-grace", json!({"url": url})).await.unwrap();
    assert_eq!(report.run.state, RunStatus::Failed);
    assert_eq!(noted("transfers-grace"), ["begins", "cancelled"]);
    assert!(!world.home.path().join("f").exists() && !world.home.path().join("f.part").exists());
}
