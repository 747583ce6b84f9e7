//! The log of one try: a file of JSON lines, made when the first line comes, and a stream to whoever looks on.

use super::layer::EventSink;
use super::path::log_path;
use crate::clock::Clock;
use crate::run_event::RunEvent;
use crate::secret;
use crate::store::{Cause, CauseKind};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::Level;

/// By what the engine tells that a log cannot be written.
pub(crate) const LOGGER: &str = "flow.log";

/// Whose log it is, and where it goes.
pub(crate) struct TryLogParts<'a> {
    /// The home folder; `None` writes no file.
    pub(crate) home: Option<&'a Path>,
    pub(crate) dag_id: &'a str,
    pub(crate) run_id: &'a str,
    pub(crate) task_id: Arc<str>,
    pub(crate) map_index: i32,
    pub(crate) try_number: u32,
    pub(crate) clock: Arc<dyn Clock>,
    /// Who looks on. A line for which there is no room is not streamed; the file has it.
    pub(crate) stream: mpsc::Sender<RunEvent>,
}

/// The log of one try.
pub(crate) struct TryLog {
    path: Option<PathBuf>,
    task_id: Arc<str>,
    map_index: i32,
    try_number: u32,
    clock: Arc<dyn Clock>,
    stream: mpsc::Sender<RunEvent>,
    file: Mutex<LogFile>,
}

/// The file, and what is missing from it.
struct LogFile {
    open: Option<File>,
    /// The try has ended; what a thread that was left behind still says is not its log any more.
    is_closed: bool,
    /// Lines that could not be written since the last one that could.
    missing: u64,
    /// Whoever looks on knows that lines are missing.
    is_told: bool,
}

impl TryLog {
    pub(crate) fn new(parts: TryLogParts<'_>) -> TryLog {
        let TryLogParts { home, dag_id, run_id, task_id, map_index, try_number, clock, stream } = parts;
        TryLog {
            path: home.map(|home| log_path(home, dag_id, run_id, &task_id, map_index, try_number)),
            task_id,
            map_index,
            try_number,
            clock,
            stream,
            file: Mutex::new(LogFile { open: None, is_closed: false, missing: 0, is_told: false }),
        }
    }

    /// Ends the log, with the cause of the end as its last line if there is one. What comes later is dropped.
    pub(crate) fn close(&self, cause: Option<&Cause>) {
        let mut file = self.file.lock();
        if file.is_closed {
            return;
        }
        let last = cause.map(|cause| {
            let level = match cause.kind {
                CauseKind::Cached => "info",
                CauseKind::Skipped | CauseKind::Cancelled => "warning",
                _ => "error",
            };
            let mut fields = Map::new();
            fields.insert("cause".into(), serde_json::to_value(cause.kind).unwrap_or_default());
            if let Some(place) = &cause.place {
                fields.insert("place".into(), Value::String(place.clone()));
            }
            self.line(level, "flow.task", &cause.message, fields)
        });
        if last.is_some() || file.missing > 0 {
            self.append(&mut file, last);
        }
        (file.open, file.is_closed) = (None, true);
    }

    /// Files a line, behind how many are missing before it. A log that cannot be written must not end a task that works: whoever looks
    /// on is told, and the next line is tried again.
    fn append(&self, file: &mut LogFile, line: Option<String>) {
        let Some(path) = &self.path else { return };
        let gap = (file.missing > 0).then(|| {
            let lines = if file.missing == 1 { "a line is".into() } else { format!("{} lines are", file.missing) };
            let message = format!("{lines} missing here: the log could not be written");
            self.line("warning", LOGGER, &message, Map::new())
        });
        let lost = u64::from(line.is_some());
        match write(path, &mut file.open, &(gap.unwrap_or_default() + &line.unwrap_or_default())) {
            Ok(()) => (file.missing, file.is_told) = (0, false),
            Err(e) => {
                file.missing += lost;
                // Where there is no room for it now, it is told with the next line.
                file.is_told = file.is_told || self.tell(path, &e);
            }
        }
    }

    /// Tells whoever looks on that lines are missing; says whether it could.
    fn tell(&self, path: &Path, e: &io::Error) -> bool {
        let message = format!(
            "the log of this try cannot be written ({e}), so that lines are missing from it: make room in {}, or see that this user \
             may write there",
            path.parent().unwrap_or(path).display()
        );
        self.stream.try_send(self.event("warning", LOGGER, &message, Map::new())).is_ok()
    }

    /// A line of the file.
    fn line(&self, level: &str, logger: &str, message: &str, fields: Map<String, Value>) -> String {
        let mut line = Map::new();
        line.insert("timestamp".into(), serde_json::to_value(self.clock.now()).unwrap_or_default());
        line.insert("level".into(), Value::String(level.into()));
        line.insert("logger".into(), Value::String(logger.into()));
        line.insert("event".into(), Value::String(message.into()));
        line.insert("try_number".into(), self.try_number.into());
        for (mut name, value) in fields {
            // A field that is called like one of ours stands beside it.
            while line.contains_key(&name) {
                name.push('_');
            }
            line.insert(name, value);
        }
        let mut text = secret::redact_value(&Value::Object(line)).to_string();
        text.push('\n');
        text
    }

    /// What whoever looks on is told.
    fn event(&self, level: &'static str, logger: &str, message: &str, fields: Map<String, Value>) -> RunEvent {
        RunEvent::Log {
            task_id: self.task_id.clone(),
            map_index: self.map_index,
            try_number: self.try_number,
            level,
            logger: logger.into(),
            message: secret::redact(message).into_owned(),
            fields,
            timestamp: self.clock.now(),
        }
    }
}

impl EventSink for TryLog {
    /// Files one event, and streams it from info upwards.
    fn record(&self, level: Level, logger: &str, message: &str, fields: Map<String, Value>) {
        let mut file = self.file.lock();
        if file.is_closed {
            return;
        }
        let name = airflow_name(level);
        if level <= Level::INFO {
            let hidden = |(name, value): (&String, &Value)| (name.clone(), secret::redact_value(value));
            drop(self.stream.try_send(self.event(name, logger, message, fields.iter().map(hidden).collect())));
        }
        if self.path.is_some() {
            let line = self.line(name, logger, message, fields);
            self.append(&mut file, Some(line));
        }
    }
}

/// Writes whole lines, or nothing: half a line would spoil the one that comes behind it.
fn write(path: &Path, file: &mut Option<File>, lines: &str) -> io::Result<()> {
    let file = match file {
        Some(file) => file,
        None => file.insert(open(path)?),
    };
    let before = file.metadata()?.len();
    file.write_all(lines.as_bytes()).inspect_err(|_| drop(file.set_len(before)))
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// Airflow's names: `warning` for `WARN`, all in small letters.
fn airflow_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}
