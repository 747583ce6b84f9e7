//! What the same work costs without an engine.

use super::shape::Shape;
use std::fs::File;
use std::io::{Result, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// As many tokio tasks that do nothing, joined in the same shape, on the threads where the bodies of tasks run.
pub async fn spawns(shape: Shape, threads: &Handle) -> Duration {
    let began = Instant::now();
    match shape {
        Shape::Chain(n) => {
            for _ in 0..n {
                drop(threads.spawn(async {}).await);
            }
        }
        Shape::Wide(n) | Shape::Fan(n) => {
            drop(threads.spawn(async {}).await);
            let all: Vec<_> = (0..n).map(|_| threads.spawn(async {})).collect();
            for task in all {
                drop(task.await);
            }
            drop(threads.spawn(async {}).await);
        }
    }
    began.elapsed()
}

/// So many small writes to the end of a file, each brought to the disk.
pub fn syncs(path: &Path, number: u64) -> Result<Duration> {
    let mut file = File::create(path)?;
    let page = [7; 4096];
    let began = Instant::now();
    for _ in 0..number {
        file.write_all(&page)?;
        file.sync_data()?;
    }
    Ok(began.elapsed())
}
