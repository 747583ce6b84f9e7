//! `logs`: what one try logged, and why it ended; with `-f` as it happens.

use super::app::App;
use super::args::Logs;
use super::exit::{CliError, Exit, Result};
use super::format::{clock, one_line};
use super::style::Paint;
use super::view::cause;
use super::{lookup, plain, session};
use crate::secret;
use crate::store::{InstanceRow, MetadataStore, StoredRun};
use crate::telemetry::log_path;
use chrono::{DateTime, Utc};
use flow_core::TaskState;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::time::Duration;

/// Time between two looks at a log that is followed.
const LOOK: Duration = Duration::from_millis(200);

/// Prints the log of a try.
pub fn logs(app: &App, args: &Logs) -> Result {
    session::block_on(async {
        let store = app.store_to_read().await?;
        let stored = lookup::run(app, store.as_deref(), &args.run).await?;
        let Some(store) = store else { return Err(lookup::no_runs(app, None)) };
        let told = tell(app, args, &*store, &stored).await;
        store.close().await;
        told
    })
}

async fn tell(app: &App, args: &Logs, store: &dyn MetadataStore, stored: &StoredRun) -> Result {
    let Some(row) = begun(app, args, store, stored).await? else {
        return Err(CliError::input(format!("task `{}` has not begun in this run", args.task))
            .hint(format!("see why by `{}`", app.command(&["tasks", &stored.run.run_id]))));
    };
    let number = args.try_number.unwrap_or(row.try_number);
    let mut reader = Reader::new(app, stored, &row, number);
    let mut lines = reader.more()?;
    let mut shown = lines.len();
    if !args.follow {
        print(app, &lines, false);
    } else {
        loop {
            print(app, &lines, true);
            // Asked before the file is read once more: what was written up to the end is then read as well.
            let over = !is_under_way(app, args, store, stored, number).await?;
            tokio::time::sleep(if over { Duration::ZERO } else { LOOK }).await;
            lines = reader.more()?;
            shown += lines.len();
            if over {
                print(app, &lines, true);
                break;
            }
        }
    }
    if shown == 0 {
        app.out.note(silence(app, args, store, stored, &row, number).await?);
    }
    Ok(Exit::Success)
}

/// The instance that is meant, once it has begun: with `-f` that is waited for.
async fn begun(app: &App, args: &Logs, store: &dyn MetadataStore, stored: &StoredRun) -> Result<Option<InstanceRow>> {
    let dag = store.dag_version(&stored.dag_version).await?;
    loop {
        let rows = store.instances(stored.pk).await?;
        let rows: Vec<&InstanceRow> = lookup::task(&rows, &args.task, Some(&dag))?
            .into_iter()
            .filter(|r| r.state != TaskState::Removed)
            .collect();
        let row = if rows.is_empty() { None } else { Some(lookup::instance(&rows, args.map_index)?) };
        if let Some(row) = row.filter(|row| row.try_number > 0) {
            if let Some(number) = args.try_number.filter(|n| *n > row.try_number) {
                return Err(CliError::input(format!("task `{}` has had no try {number}", args.task))
                    .hint(format!("its latest is try {}", row.try_number)));
            }
            return Ok(Some(row.clone()));
        }
        let run = store.run(&stored.run.dag_id, &stored.run.run_id).await?;
        let holders = session::holders(app, store).await?;
        let alive = run.is_some_and(|run| !run.run.state.is_finished() && !holders.left_alone(&run));
        if !args.follow || !alive {
            return Ok(None);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Does this very try still run?
async fn is_under_way(
    app: &App,
    args: &Logs,
    store: &dyn MetadataStore,
    stored: &StoredRun,
    number: u32,
) -> Result<bool> {
    let rows = store.instances(stored.pk).await?;
    let row = rows.iter().find(|r| {
        *r.task_id == *args.task && args.map_index.is_none_or(|i| i == r.map_index) && r.state != TaskState::Removed
    });
    let runs = row.is_some_and(|r| r.try_number == number && r.state.is_in_flight());
    Ok(runs && session::holders(app, store).await?.holds(stored))
}

/// What there is to say about a try without a log.
async fn silence(
    app: &App,
    args: &Logs,
    store: &dyn MetadataStore,
    stored: &StoredRun,
    row: &InstanceRow,
    number: u32,
) -> Result<String> {
    let tries = store.tries(stored.pk, Some(&args.task)).await?;
    let own = tries.iter().find(|t| t.map_index == row.map_index && t.try_number == number).unwrap_or(row);
    let why = own.cause.as_ref().map_or(String::new(), |why| format!(": {}", one_line(&cause(why))));
    let died = own.state.is_in_flight() && !session::holders(app, store).await?.holds(stored);
    let end =
        if died { "its process ended while it ran".to_string() } else { format!("its state is {}{why}", own.state) };
    let elsewhere = match (&app.config.postgres, &stored.owner) {
        (Some(_), Some(owner)) => format!(" on this machine (logs lie where a run was worked on, last by {owner})"),
        _ => String::new(),
    };
    Ok(format!("try {number} of task `{}` logged nothing{elsewhere}; {end}", args.task))
}

/// Reads a log as it grows.
struct Reader {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Reader {
    fn new(app: &App, stored: &StoredRun, row: &InstanceRow, number: u32) -> Reader {
        let run = &stored.run;
        let path = log_path(&app.config.home, &run.dag_id, &run.run_id, &row.task_id, row.map_index, number);
        Reader { path, file: None, rest: Vec::new() }
    }

    /// The lines that are new.
    fn more(&mut self) -> Result<Vec<String>> {
        let failed = |e: std::io::Error| CliError::outside(format!("cannot read the log {}: {e}", self.path.display()));
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(e) => return Err(failed(e)),
            }
        }
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut self.rest).map_err(failed)?;
        }
        let whole = self.rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        // A process that was killed may have left half a character behind.
        Ok(String::from_utf8_lossy(&lines).lines().map(String::from).collect())
    }
}

fn print(app: &App, lines: &[String], follow: bool) {
    let out = &app.out;
    let redacted = lines.iter().map(|line| secret::redact(line));
    match (out.json, follow) {
        (true, true) => redacted.for_each(|line| out.line(line)),
        (true, false) => out.json_pretty(&redacted.map(|l| parsed(&l)).collect::<Vec<_>>()),
        (false, _) => redacted.for_each(|line| out.line(pretty(&line, out.paint))),
    }
}

fn parsed(line: &str) -> Map<String, Value> {
    // A line cut off by a kill is shown as it is.
    serde_json::from_str(line).unwrap_or_else(|_| Map::from_iter([("event".to_string(), Value::from(line))]))
}

/// `09:30:20 INFO  so many rows  rows=7`
fn pretty(line: &str, paint: Paint) -> String {
    let mut fields = parsed(line);
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let (at, level, event) = (take("timestamp"), take("level"), take("event"));
    let (logger, _) = (take("logger"), take("try_number"));
    let at = at.parse::<DateTime<Utc>>().map_or(String::new(), clock);
    let mut words = vec![paint.dim(at), plain::level(&level, paint), event];
    if logger == "flow.task" {
        // The end of the try is no event of the author's code.
        words.extend(fields.get("place").and_then(Value::as_str).map(|place| format!("({place})")));
    } else {
        words.extend(fields.iter().map(|field| paint.dim(plain::field(field))));
    }
    words.join(" ").trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_without_what_is_known() {
        let line = r#"{"timestamp":"2026-01-31T09:30:20.5Z","level":"info","logger":"dags::taxi","event":"loaded","try_number":1,"rows":7,"table":"trips"}"#;
        assert_eq!(pretty(line, Paint(false)), "09:30:20 INFO  loaded rows=7 table=trips");
        let end = r#"{"timestamp":"2026-01-31T09:30:20Z","level":"error","logger":"flow.task","event":"no such table","try_number":1,"cause":"panic","place":"src/a.rs:7"}"#;
        assert_eq!(pretty(end, Paint(false)), "09:30:20 ERROR no such table (src/a.rs:7)");
        assert_eq!(pretty("{\"half", Paint(false)), "       {\"half");
    }

    #[test]
    fn a_growing_log_is_read_by_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attempt=1.log");
        let mut reader = Reader { path: path.clone(), file: None, rest: Vec::new() };
        assert!(reader.more().unwrap().is_empty());
        std::fs::write(&path, "one\ntw").unwrap();
        assert_eq!(reader.more().unwrap(), ["one"]);
        use std::io::Write as _;
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"o\nthree\n").unwrap();
        assert_eq!(reader.more().unwrap(), ["two", "three"]);
    }
}
