//! Tasks that end their process, or will not end.

#![allow(clippy::print_stdout)]

use flow_runtime::prelude::*;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

/// Aborts.
#[task(isolation = "process")]
fn aborts() {
    std::process::abort();
}

/// Needs more stack than there is.
#[task(isolation = "process")]
fn overflows() -> u64 {
    fn deeper(n: u64) -> u64 {
        let room = black_box([n; 512]);
        if n == u64::MAX { 0 } else { deeper(n + 1) + room[1] }
    }
    deeper(0)
}

/// Exits as if all were well.
#[task(isolation = "process")]
fn exits() -> u32 {
    std::process::exit(0)
}

/// Is killed, as by a system that is out of memory.
#[task(isolation = "process")]
fn killed() -> Result<()> {
    let me = std::process::id().to_string();
    Command::new("kill").args(["-9", &me]).status()?;
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

/// Panics.
#[task(isolation = "process")]
async fn panics() {
    panic!("no rain today");
}

/// Returns an error that no retry would mend.
#[task(isolation = "process", retries = 3)]
fn gives_up() -> Result<()> {
    Err(TaskError::fail("there is nothing to be done"))
}

/// Asks to be skipped.
#[task(isolation = "process")]
fn skips() -> Result<u32> {
    Err(TaskError::skip("no data"))
}

/// Needs more time than it has, and hears nothing.
#[task(isolation = "process", timeout = "300ms")]
fn hangs(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

/// Leaves two children: one in its process group, one in a session of its own. Both bear a mark in their arguments.
#[task(isolation = "process")]
fn leaves_children(mark: &str) -> Result<u32> {
    Command::new("sh").args(["-c", "sleep 600; :", mark]).spawn()?;
    let mut apart = Command::new("setsid").args(["sh", "-c", "sleep 600; :", mark]).spawn()?;
    apart.try_wait()?;
    // Long enough for the second to be a process of its own.
    std::thread::sleep(Duration::from_millis(100));
    Ok(2)
}

/// Knows its try, gets values, and gives one.
#[task(isolation = "process")]
async fn works(ctx: &Context, numbers: Vec<u32>, text: &str) -> Result<String> {
    info!(given = numbers.len(), "inside");
    debug!("not asked for");
    ctx.progress().set(1, Some(2));
    ctx.progress().set(2, Some(2));
    ensure!(ctx.dag_id() == "values" && ctx.task_id() == "works" && ctx.param::<String>("text")? == text, "{ctx:?}");
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(format!("{text}{}", numbers.iter().sum::<u32>()))
}

/// Process of the one that runs it.
#[task]
fn beside() -> u32 {
    std::process::id()
}

/// Waits until it is told to stop.
#[task(isolation = "process")]
fn listens(ctx: &Context) -> Result<()> {
    while !ctx.is_cancelled() {
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("it was told to stop")
}

/// Every way to end badly; the tasks beside them are not touched.
#[dag]
pub fn ends() {
    aborts();
    overflows();
    exits();
    killed();
    panics();
    gives_up();
    skips();
    beside();
}

/// Values and context on both sides of the socket.
#[dag]
pub fn values(
    /// Comes through.
    #[default("sum ")]
    text: String,
) {
    works(vec![1, 2, 3], text);
}

/// A timeout that nobody heeds.
#[dag]
pub fn timeout() {
    hangs(600);
}

/// A task whose children live on.
#[dag]
pub fn children(
    /// In the arguments of the children.
    mark: String,
) {
    leaves_children(mark);
}

/// A task that ends when it is told to.
#[dag]
pub fn stops() {
    listens();
}

/// A task that does not, with its children.
#[dag]
pub fn deaf(
    /// In the arguments of the children.
    mark: String,
) {
    hangs(600).timeout("10m").after(leaves_children_and_stays(mark));
}

/// Leaves children, and stays.
#[task(isolation = "process")]
fn leaves_children_and_stays(mark: &str) -> Result<()> {
    Command::new("sh").args(["-c", "sleep 600; :", mark]).spawn()?;
    Command::new("setsid").args(["sh", "-c", "sleep 600; :", mark]).spawn()?;
    println!("they are there");
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}
