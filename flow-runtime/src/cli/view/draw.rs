//! Drawing a [`RunView`](super::RunView): one line a task, none wider than the terminal, no more than it is high.

use super::{Progress, Row, RunView};
use crate::cli::format::{count, countdown, middle_cut, plural, short, took};
use crate::cli::pretty::brief;
use crate::cli::style::{Paint, glyph, spinner};
use chrono::{DateTime, Utc};
use flow_core::{RunStatus, TaskState};

/// No name of a task takes more columns than this, nor more than its share of the terminal.
const WIDEST_NAME: usize = 48;
/// Columns of a progress bar.
const BAR: usize = 16;

impl RunView {
    /// The lines at this instant; the first says how the run is.
    pub fn draw(&self, now: DateTime<Utc>, width: usize, height: usize, paint: Paint) -> Vec<String> {
        let age = self.began.map_or(String::new(), |began| took(seconds(began, now)));
        let done = self.rows.iter().filter(|row| row.finished()).count();
        let state = if self.stopping { paint.warn("stopping") } else { paint.run(self.state, self.state) };
        let head =
            format!("{}  {}  {state}  {done}/{} done  {age}", paint.bold(&self.dag_id), self.run_id, self.rows.len());
        let shown = self.shown(height.saturating_sub(2));
        let name = self
            .rows
            .iter()
            .map(|r| console::measure_text_width(&r.task_id))
            .max()
            .unwrap_or(0)
            .min(WIDEST_NAME)
            .min(width * 2 / 5);
        let mut lines = vec![head];
        lines.extend(shown.iter().map(|&i| self.line(&self.rows[i], name, now, paint)));
        let hidden = self.rows.len() - shown.len();
        if hidden > 0 {
            lines.push(paint.dim(format!("  .. and {}", plural(hidden, "more task"))));
        }
        lines.into_iter().map(|line| console::truncate_str(&line, width, "…").into_owned()).collect()
    }

    /// The rows there is room for: what moves and what failed first, then what waits, then what is done.
    fn shown(&self, room: usize) -> Vec<usize> {
        if self.rows.len() <= room + 1 {
            return (0..self.rows.len()).collect();
        }
        let rank = |row: &Row| match row.one.state {
            _ if row.counted(TaskState::is_in_flight) > 0 => 0,
            state if state.is_in_flight() || state.is_waiting() || state.is_failure() => 0,
            TaskState::None | TaskState::Scheduled => 1,
            _ => 2,
        };
        let mut rows: Vec<usize> = (0..self.rows.len()).collect();
        rows.sort_by_key(|&i| (rank(&self.rows[i]), i));
        rows.truncate(room);
        rows.sort_unstable();
        rows
    }

    fn line(&self, row: &Row, name: usize, now: DateTime<Utc>, paint: Paint) -> String {
        let state = row.state();
        let mark = match state {
            TaskState::Running if self.state == RunStatus::Running => spinner((now.timestamp_millis() / 100) as u128),
            state => glyph(state),
        };
        let id = console::pad_str(&middle_cut(&row.task_id, name), name, console::Alignment::Left, None).into_owned();
        let id = if matches!(state, TaskState::None) { paint.dim(id) } else { id };
        let what = if row.instances.is_empty() { self.what(row, now, paint) } else { mapped(row, now, paint) };
        format!("  {} {id}  {what}", paint.task(state, mark)).trim_end().to_string()
    }

    fn what(&self, row: &Row, now: DateTime<Utc>, paint: Paint) -> String {
        use TaskState::*;
        let one = &row.one;
        let time = one.took.map_or(String::new(), |t| format!("{:>7}", took(t)));
        let tries = if one.tries > 1 { format!("  try {} of {}", one.try_number, one.tries) } else { String::new() };
        let why = one.cause.as_deref().map_or(String::new(), |why| short(why, 200));
        match one.state {
            None => {
                let waits = row.upstream.iter().map(|&i| &self.rows[i]).filter(|up| !up.finished());
                let waits: Vec<&str> = waits.map(|up| up.task_id.as_str()).collect();
                let waits = if waits.is_empty() { String::new() } else { format!("waits for {}", waits.join(", ")) };
                paint.dim(waits)
            }
            Scheduled | Queued => paint.dim("waits for a slot"),
            Running | Restarting => {
                let age = one.began.map_or(String::new(), |began| format!("{:>7}", took(seconds(began, now))));
                let progress = one.progress.map_or(String::new(), |p| format!("  {}", bar(p, paint)));
                let tries = if one.try_number > 1 { tries } else { String::new() };
                format!("{age}{progress}{}", paint.warn(tries))
            }
            Success => {
                if !why.is_empty() {
                    return format!("{time}  {}", paint.dim(why));
                }
                let value = one.value.as_deref().filter(|v| *v != "null").map_or(String::new(), |v| brief(v, 200));
                format!("{time}  {}", paint.dim(value))
            }
            Failed => format!("{time}{tries}  {}", paint.bad(why)),
            UpForRetry => {
                let due = one.due.map_or(String::new(), |due| format!(" in {}", countdown(now, due)));
                paint.warn(format!("try {} of {}{due}: {why}", one.try_number + 1, one.tries))
            }
            UpstreamFailed => paint.warn(why),
            Skipped => paint.dim(if why.is_empty() { "skipped".into() } else { why }),
            UpForReschedule => {
                let due = one.due.map_or(String::new(), |due| format!(" in {}", countdown(now, due)));
                paint.warn(format!("looks again{due}"))
            }
            other => paint.dim(other),
        }
    }
}

impl Row {
    /// Of a mapped task: what says most about all its instances.
    fn state(&self) -> TaskState {
        use TaskState::*;
        if self.instances.is_empty() {
            return self.one.state;
        }
        let order = [
            Running,
            UpForRetry,
            Queued,
            Scheduled,
            UpForReschedule,
            Deferred,
            AwaitingInput,
            None,
            Failed,
            UpstreamFailed,
        ];
        let first = order.into_iter().find(|s| self.counts[*s as usize] > 0);
        first.unwrap_or(if self.counts[Success as usize] > 0 { Success } else { Skipped })
    }
}

/// `58/100 done, 4 running, 1 failed: connection refused`
fn mapped(row: &Row, now: DateTime<Utc>, paint: Paint) -> String {
    let total = row.instances.len();
    let done = row.counted(TaskState::is_finished);
    let age = match (row.one.began, row.one.took) {
        (Some(began), _) if done < total as u32 => format!("{:>7}  ", took(seconds(began, now))),
        _ => String::new(),
    };
    let mut words = vec![format!("{age}{done}/{total} done")];
    for state in
        [TaskState::Running, TaskState::UpForRetry, TaskState::Failed, TaskState::UpstreamFailed, TaskState::Skipped]
    {
        let n = row.counts[state as usize];
        if n > 0 {
            words.push(paint.task(state, format!("{n} {}", state.name().replace('_', " "))));
        }
    }
    let why = row
        .one
        .cause
        .as_deref()
        .filter(|_| row.counted(TaskState::is_failure) + row.counts[TaskState::UpForRetry as usize] > 0);
    format!("{}{}", words.join(", "), why.map_or(String::new(), |why| paint.dim(format!(": {}", short(why, 200)))))
}

/// `━━━━━━━───────── 43%  12.3M/28.6M  3.1M/s`; the task's own units, whatever they are.
fn bar(progress: Progress, paint: Paint) -> String {
    let rate = progress.rate().map_or(String::new(), |r| format!("  {}/s", count(r as u64)));
    let Some(total) = progress.total.filter(|t| *t > 0) else { return format!("{}{rate}", count(progress.done)) };
    let part = (progress.done as f64 / total as f64).min(1.0);
    let full = (part * BAR as f64) as usize;
    let bar = format!("{}{}", paint.busy("━".repeat(full)), paint.dim("─".repeat(BAR - full)));
    format!("{bar} {:>3}%  {}/{}{rate}", (part * 100.0) as u32, count(progress.done), count(total))
}

fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    crate::cli::format::seconds(from, to)
}
