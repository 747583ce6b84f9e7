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
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::Level;

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

enum LogFile {
    NotYet,
    Open(File),
    /// The try has ended; what a thread that was left behind still says is not its log any more.
    Closed,
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
            file: Mutex::new(LogFile::NotYet),
        }
    }

    /// Ends the log, with the cause of the end as its last line if there is one. What comes later is dropped.
    pub(crate) fn close(&self, cause: Option<&Cause>) {
        let mut file = self.file.lock();
        if matches!(*file, LogFile::Closed) {
            return;
        }
        if let Some(cause) = cause {
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
            self.append(&mut file, level, "flow.task", &cause.message, fields);
        }
        *file = LogFile::Closed;
    }

    fn append(&self, file: &mut LogFile, level: &str, logger: &str, message: &str, fields: Map<String, Value>) {
        let Some(path) = &self.path else { return };
        if matches!(file, LogFile::NotYet)
            && let Ok(opened) = open(path)
        {
            *file = LogFile::Open(opened);
        }
        // A log that cannot be written must not end a task that works.
        let LogFile::Open(file) = file else { return };
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
        drop(file.write_all(text.as_bytes()));
    }
}

impl EventSink for TryLog {
    /// Files one event, and streams it from info upwards.
    fn record(&self, level: Level, logger: &str, message: &str, fields: Map<String, Value>) {
        let mut file = self.file.lock();
        if matches!(*file, LogFile::Closed) {
            return;
        }
        let now = self.clock.now();
        if level <= Level::INFO {
            let hidden = |(name, value): (&String, &Value)| (name.clone(), secret::redact_value(value));
            drop(self.stream.try_send(RunEvent::Log {
                task_id: self.task_id.clone(),
                map_index: self.map_index,
                try_number: self.try_number,
                level: airflow_name(level),
                logger: logger.into(),
                message: secret::redact(message).into_owned(),
                fields: fields.iter().map(hidden).collect(),
                timestamp: now,
            }));
        }
        self.append(&mut file, airflow_name(level), logger, message, fields);
    }
}

fn open(path: &Path) -> std::io::Result<File> {
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
