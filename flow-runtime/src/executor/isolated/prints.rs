//! What the child and its children print, on its way into the log of the try.

use crate::telemetry::{EventSink as _, TryLog};
use parking_lot::Mutex;
use serde_json::Map;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tracing::Level;

/// A line without end is cut here.
const LONGEST: usize = 64 * 1024;
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
    let mut pending = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        pending.extend_from_slice(&chunk[..read]);
        let mut begin = 0;
        while let Some(end) = end_of_line(&pending[begin..]) {
            line(&pending[begin..begin + end], level, logger, &log, &tail);
            begin += end + usize::from(pending[begin + end] == b'\n');
        }
        pending.drain(..begin);
    }
    if !pending.is_empty() {
        line(&pending, level, logger, &log, &tail);
    }
}

fn end_of_line(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n').or((bytes.len() > LONGEST).then_some(LONGEST))
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
    fn lines_end_at_a_break_or_where_they_are_too_long() {
        assert_eq!(end_of_line(b"ab\ncd"), Some(2));
        assert_eq!(end_of_line(b"ab"), None);
        assert_eq!(end_of_line(&vec![b'x'; LONGEST + 1]), Some(LONGEST));
    }

    #[test]
    fn the_last_lines_are_kept() {
        let tail = Tail::default();
        ["a", "b", "c\t"].iter().for_each(|line| tail.push(line));
        assert_eq!(tail.text(), "b; c");
    }
}
