//! What the child and its children print, on its way into the log of the try.

use crate::lines::Lines;
use crate::telemetry::{EventSink as _, TryLog};
use parking_lot::Mutex;
use serde_json::Map;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tracing::Level;

/// The last lines that are kept for the cause of a death.
const KEPT: usize = 2;

/// The last lines that were printed.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock();
        lines.push_back(line.trim().to_string());
        if lines.len() > KEPT {
            lines.pop_front();
        }
    }

    /// They, in one sentence; nothing if nothing was printed.
    pub(super) fn text(&self) -> String {
        Vec::from(self.0.lock().clone()).join("; ")
    }
}

/// Files every line of a stream, until it ends.
pub(super) async fn file(mut stream: impl AsyncRead + Unpin, level: Level, logger: &str, log: Arc<TryLog>, tail: Tail) {
    let mut lines = Lines::default();
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        lines.push(&chunk[..read], |text| line(text, level, logger, &log, &tail));
    }
    lines.finish(|text| line(text, level, logger, &log, &tail));
}

fn line(bytes: &[u8], level: Level, logger: &str, log: &TryLog, tail: &Tail) {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\r');
    if text.trim().is_empty() {
        return;
    }
    tail.push(text);
    log.record(level, logger, text, Map::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let tail = Tail::default();
        ["a", "b", "c\t"].iter().for_each(|line| tail.push(line));
        assert_eq!(tail.text(), "b; c");
    }
}
