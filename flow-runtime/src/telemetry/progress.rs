//! How far a try is, as a line of its log now and then.

use super::layer::{EventSink, try_span};
use crate::clock::Clock;
use crate::context::Unit;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// What these lines are logged by: who shows progress in another way leaves them out.
pub(crate) const LOGGER: &str = "flow.progress";

/// The age of a try whose first line is due: most are over by then, and tell what they did.
const FIRST: Duration = Duration::from_secs(5);
/// Shortest time from one line to the next.
const PAUSE: Duration = Duration::from_secs(10);

/// Tells the log of a try how far it is, by the way that its events go.
pub(crate) struct ProgressLog {
    sink: Arc<dyn EventSink>,
    task_id: Arc<str>,
    map_index: i32,
    try_number: u32,
    clock: Arc<dyn Clock>,
    began: DateTime<Utc>,
    /// The age at which the next line may be written.
    due: Mutex<Duration>,
}

impl ProgressLog {
    /// For the try that begins now.
    pub(crate) fn new(
        sink: Arc<dyn EventSink>,
        task_id: Arc<str>,
        map_index: i32,
        try_number: u32,
        clock: Arc<dyn Clock>,
    ) -> ProgressLog {
        let began = clock.now();
        ProgressLog { sink, task_id, map_index, try_number, clock, began, due: Mutex::new(FIRST) }
    }

    /// Hears of it, from any thread.
    pub(crate) fn hear(&self, done: u64, total: Option<u64>, unit: Option<Unit>) {
        let age = (self.clock.now() - self.began).to_std().unwrap_or_default();
        self.hear_at(age, done, total, unit);
    }

    fn hear_at(&self, age: Duration, done: u64, total: Option<u64>, unit: Option<Unit>) {
        {
            let mut due = self.due.lock();
            if age < *due {
                return;
            }
            *due = age + PAUSE;
        }
        // The thread may be one that knows nothing of the try.
        let span = try_span(&self.sink, &self.task_id, self.map_index, self.try_number);
        span.in_scope(|| tracing::info!(target: LOGGER, "{}", line(done, total, unit)));
    }
}

/// `12.0 MB of 47.1 MB (25 %)`, `7 of 9 rows (77 %)`, `7`.
fn line(done: u64, total: Option<u64>, unit: Option<Unit>) -> String {
    let number = |n: u64| match unit {
        Some(Unit::Bytes) => bytes(n),
        Some(Unit::Rows) | None => n.to_string(),
    };
    let rows = if unit == Some(Unit::Rows) { " rows" } else { "" };
    match total.filter(|total| *total > 0) {
        Some(total) => {
            let percent = u128::from(done.min(total)) * 100 / u128::from(total);
            format!("{} of {}{rows} ({percent} %)", number(done), number(total))
        }
        None => format!("{}{rows}", number(done)),
    }
}

fn bytes(n: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", n as f64 / *size as f64),
        None => format!("{n} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::telemetry::TaskLayer;
    use serde_json::{Map, Value};
    use tracing::Level;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Default)]
    struct Said(Mutex<Vec<String>>);

    impl EventSink for Said {
        fn record(&self, level: Level, logger: &str, message: &str, _: Map<String, Value>) {
            self.0.lock().push(format!("{level} {logger}: {message}"));
        }
    }

    #[test]
    fn a_long_try_says_a_line_now_and_then() {
        let said = Arc::new(Said::default());
        let log = ProgressLog::new(said.clone(), "load".into(), -1, 1, Arc::new(SystemClock));
        let subscriber = tracing_subscriber::registry().with(TaskLayer);
        tracing::subscriber::with_default(subscriber, || {
            for millis in 0..60_000 {
                log.hear_at(Duration::from_millis(millis), millis * 1_000, Some(60_000_000), Some(Unit::Bytes));
            }
        });
        let lines: Vec<String> = [(5, 8), (15, 25), (25, 41), (35, 58), (45, 75), (55, 91)]
            .iter()
            .map(|(mb, percent)| format!("INFO flow.progress: {mb}.0 MB of 60.0 MB ({percent} %)"))
            .collect();
        assert_eq!(*said.0.lock(), lines);
    }

    #[test]
    fn what_is_counted_is_named() {
        for (done, total, unit, text) in [
            (12_034_567, Some(47_100_000), Some(Unit::Bytes), "12.0 MB of 47.1 MB (25 %)"),
            (950, None, Some(Unit::Bytes), "950 B"),
            (7, Some(9), Some(Unit::Rows), "7 of 9 rows (77 %)"),
            (7, None, Some(Unit::Rows), "7 rows"),
            (3, Some(4), None, "3 of 4 (75 %)"),
            (5, Some(4), None, "5 of 4 (100 %)"),
            (5, Some(0), None, "5"),
            (u64::MAX, Some(u64::MAX), None, "18446744073709551615 of 18446744073709551615 (100 %)"),
        ] {
            assert_eq!(line(done, total, unit), text);
        }
    }
}
