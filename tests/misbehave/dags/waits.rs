//! Tasks in processes of their own that step, wait, tell and look; and commands that outlive whoever started them.

use flow_runtime::operators::{self, TriggerDag};
use flow_runtime::prelude::*;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

/// Notes a word in `ledger` of the home folder.
fn note(ctx: &Context, what: &str) -> Result<()> {
    let path = PathBuf::from(ctx.in_home("ledger"));
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    // In one write: processes beside this one write as well.
    Ok(file.write_all(format!("{what}\n").as_bytes())?)
}

/// Takes a step, waits for an event, takes another.
#[task(isolation = "process")]
async fn asks(ctx: &Context) -> Result<String> {
    let number: u32 = ctx.step("number", || async { note(ctx, "number").map(|()| 7) }).await?;
    note(ctx, "waits")?;
    let by: String = ctx.wait_for(&format!("approved {}", ctx.run_id())).await?;
    let thanks = ctx.step("thanks", || async { note(ctx, "thanks").map(|()| format!("thanks, {by}")) }).await?;
    ensure!(!ctx.emit(&format!("approved {}", ctx.run_id()), &"nobody").await?, "it has happened already");
    Ok(format!("{number}: {thanks}"))
}

/// The same without `async`, told by a third.
#[task(isolation = "process")]
fn steps(ctx: &Context) -> Result<u32> {
    let one = ctx.step_blocking("one", || note(ctx, "one").map(|()| 1u32))?;
    if ctx.try_number() == 1 {
        bail!("not yet");
    }
    Ok(one + 1)
}

/// Tells.
#[task(isolation = "process")]
async fn tells(ctx: &Context) -> Result<bool> {
    ctx.emit(&format!("told {}", ctx.run_id()), &vec![3u32; 2]).await
}

/// Hears it.
#[task(isolation = "process")]
async fn hears(ctx: &Context) -> Result<Vec<u32>> {
    ctx.wait_for(&format!("told {}", ctx.run_id())).await
}

/// Looks for a file.
#[sensor(isolation = "process", poke_interval = "20ms", timeout = "1m")]
fn looks(ctx: &Context) -> Result<Option<String>> {
    note(ctx, "look")?;
    let looked = std::fs::read_to_string(ctx.in_home("ledger"))?;
    Ok((looked.matches("look").count() >= 3).then(|| "found".into()))
}

/// Sleeps a little.
#[task(isolation = "process")]
fn sleeps(ctx: &Context) -> Result<bool> {
    let until = ctx.began() + std::time::Duration::from_millis(50);
    ctx.sleep_until(until)?;
    Ok(ctx.now() >= until)
}

/// Everything that a process asks of the engine.
#[dag]
pub fn asking() {
    asks();
    steps().retries(1).retry_delay("10ms");
    tells();
    hears();
    looks();
    sleeps();
}

/// A command with a child that leaves its group; both bear a mark in their arguments.
#[task]
fn command(mark: &str) -> String {
    format!("setsid sh -c 'sleep 600; :' {mark} & sh -c 'sleep 600; :' {mark}")
}

/// A command that never ends.
#[dag]
pub fn commands(
    /// In the arguments of its processes.
    mark: String,
) {
    operators::bash(command(mark));
}

/// What it is asked for.
#[task]
fn doubles(n: u32) -> u32 {
    n * 2
}

/// Runs when it is asked for.
#[dag]
pub fn helps(
    /// What is doubled.
    n: u32,
) {
    doubles(n);
}

/// Asks for a run of another DAG, and waits for it.
#[task(isolation = "process")]
async fn asks_for_help(ctx: &Context) -> Result<String> {
    TriggerDag::new("helps").param("n", 21).wait().run(ctx).await
}

/// Needs a scheduler beside it.
#[dag]
pub fn needs_help() {
    asks_for_help();
}

/// As many instants, all of them the same.
#[task]
fn instants(n: u32, at: &str) -> Vec<String> {
    vec![at.into(); n as usize]
}

/// Sleeps until then.
#[task]
fn sleeps_until(ctx: &Context, at: &str) -> Result<()> {
    ctx.sleep_until(at.parse()?)
}

/// Many who sleep until one instant.
#[dag]
pub fn dormitory(
    /// How many.
    n: u32,
    /// Until when.
    at: String,
) {
    sleeps_until::expand(each(instants(n, at)));
}
