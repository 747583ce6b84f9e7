//! A run as lines, for a pipe or a log: `12:00:01 download  running  try 1/4`.

use super::format::{clock, one_line, took, until};
use super::pretty::brief;
use super::style::Paint;
use super::view::cause;
use crate::run_event::{RunEvent, label};
use flow_core::{Dag, TaskState};
use serde_json::Value;

/// Columns of the longest name of a state.
const STATE: usize = {
    let (mut widest, mut i) = (0, 0);
    while i < TaskState::ALL.len() {
        let width = TaskState::ALL[i].name().len();
        widest = if width > widest { width } else { widest };
        i += 1;
    }
    widest
};

/// Events as lines, in columns.
#[derive(Debug, Clone, Copy)]
pub struct Plain {
    name: usize,
    paint: Paint,
}

impl Plain {
    /// Columns wide enough for the tasks of this DAG.
    pub fn new(dag: &Dag, paint: Paint) -> Plain {
        let width = |mapped: bool| if mapped { 4 } else { 0 };
        let name = dag.tasks.iter().map(|t| t.task_id.chars().count() + width(t.mapped)).max().unwrap_or(0).min(40);
        Plain { name, paint }
    }

    /// The line of this event; some events have none.
    pub fn line(&self, event: &RunEvent) -> Option<String> {
        use TaskState::*;
        let Plain { name, paint } = *self;
        match event {
            RunEvent::RunStarted { dag_id, dag_run_id, resumed, timestamp } => {
                let verb = if *resumed { "goes on" } else { "started" };
                Some(format!("{} run {dag_run_id} of {dag_id} {verb}", paint.dim(clock(*timestamp))))
            }
            RunEvent::TaskState { state: None | Scheduled | Queued, .. } => Option::None,
            RunEvent::TaskState {
                task_id,
                map_index,
                state,
                try_number,
                tries,
                duration,
                due,
                cause: ended_by,
                why,
                label: about,
                value,
                timestamp,
            } => {
                let why = ended_by.as_ref().map(|by| one_line(&cause(by))).or(why.clone());
                let mut words = Vec::new();
                if *try_number > 0 {
                    words.push(format!("try {try_number}/{tries}"));
                }
                words.extend(duration.map(took));
                if let Some(due) = due {
                    words.push(format!("again in {}", until(*timestamp, *due)));
                }
                words.extend(about.as_deref().map(str::to_string));
                words.extend(why);
                words.extend(value.as_deref().filter(|v| *v != "null").map(|v| brief(v, 120)));
                let label = label(task_id, *map_index);
                let state = paint.task(*state, format!("{:<STATE$}", state.name()));
                Some(
                    format!("{} {label:<name$}  {state}  {}", paint.dim(clock(*timestamp)), words.join("  "))
                        .trim_end()
                        .to_string(),
                )
            }
            // Of a pause the summary tells.
            RunEvent::Progress { .. } | RunEvent::DagPaused { .. } => Option::None,
            RunEvent::Log { timestamp, .. } => {
                Some(format!("{} {}", paint.dim(clock(*timestamp)), log(event, name, paint)?))
            }
            RunEvent::RunEnded { dag_id, dag_run_id, state, duration, timestamp } => {
                let said = if state.is_finished() { state.name() } else { "interrupted" };
                let said = paint.run(*state, said);
                Some(format!(
                    "{} run {dag_run_id} of {dag_id} {said} after {}",
                    paint.dim(clock(*timestamp)),
                    took(*duration)
                ))
            }
        }
    }
}

/// `download  INFO   so many rows`: what a task logged.
pub fn log(event: &RunEvent, name: usize, paint: Paint) -> Option<String> {
    let RunEvent::Log { task_id, map_index, level, message, fields, .. } = event else { return None };
    let mut words =
        vec![format!("{:<name$}  {}  {}", label(task_id, *map_index), self::level(level, paint), one_line(message))];
    words.extend(fields.iter().map(|field| paint.dim(self::field(field))));
    Some(words.join(" "))
}

/// A level in five columns.
pub fn level(level: &str, paint: Paint) -> String {
    match level {
        "error" => paint.bad("ERROR"),
        "warning" => paint.warn("WARN "),
        other => paint.dim(format!("{:<5}", other.to_uppercase())),
    }
}

/// `rows=7`
pub fn field((name, value): (&String, &Value)) -> String {
    match value {
        Value::String(text) => format!("{name}={}", one_line(text)),
        other => format!("{name}={other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Cause, CauseKind};
    use chrono::DateTime;
    use flow_core::{RunStatus, TaskDef};
    use serde_json::Map;
    use std::time::Duration;

    #[test]
    fn one_line_an_event() {
        let mut dag = Dag::new("taxi");
        dag.tasks = vec![TaskDef::new("download", "d"), TaskDef::new("load", "l")];
        let plain = Plain::new(&dag, Paint(false));
        let timestamp = DateTime::UNIX_EPOCH + Duration::from_secs(43_201);
        let task = |state, map_index, cause, value: Option<&str>| RunEvent::TaskState {
            task_id: "load".into(),
            map_index,
            state,
            try_number: 1,
            tries: 4,
            duration: (state != TaskState::Running).then_some(1.25),
            due: (state == TaskState::UpForRetry).then_some(timestamp + Duration::from_secs(9)),
            cause,
            why: (state == TaskState::Skipped).then(|| "choose did not give true".into()),
            label: (map_index >= 0).then(|| "month=feb".into()),
            value: value.map(Into::into),
            timestamp,
        };
        let refused = Some(Cause { kind: CauseKind::Panic, message: "a\nb".into(), place: Some("src/x.rs:4".into()) });
        let (dag_id, dag_run_id) = ("taxi".to_string(), "r1".to_string());
        for (event, line) in [
            (
                RunEvent::RunStarted {
                    dag_id: dag_id.clone(),
                    dag_run_id: dag_run_id.clone(),
                    resumed: false,
                    timestamp,
                },
                "run r1 of taxi started",
            ),
            (task(TaskState::Running, -1, None, None), "load      running            try 1/4"),
            (
                task(TaskState::UpForRetry, -1, refused, None),
                "load      up_for_retry       try 1/4  1.3s  again in 9s  a b (src/x.rs:4)",
            ),
            (task(TaskState::UpForReschedule, -1, None, None), "load      up_for_reschedule  try 1/4  1.3s"),
            (
                task(TaskState::Skipped, -1, None, None),
                "load      skipped            try 1/4  1.3s  choose did not give true",
            ),
            (task(TaskState::Success, 2, None, Some("3")), "load[2]   success            try 1/4  1.3s  month=feb  3"),
            (
                RunEvent::Log {
                    task_id: "load".into(),
                    map_index: -1,
                    try_number: 1,
                    level: "warning",
                    logger: "dags::taxi".into(),
                    message: "odd\nrow".into(),
                    fields: Map::from_iter([("n".to_string(), 3.into())]),
                    timestamp,
                },
                "load      WARN   odd row n=3",
            ),
            (
                RunEvent::RunEnded { dag_id, dag_run_id, state: RunStatus::Running, duration: 3.0, timestamp },
                "run r1 of taxi interrupted after 3.0s",
            ),
        ] {
            assert_eq!(plain.line(&event), Some(format!("12:00:01 {line}")));
        }
        assert_eq!(plain.line(&task(TaskState::Scheduled, -1, None, None)), None);
    }
}
