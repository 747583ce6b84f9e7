//! What a run looks like at this moment: fed with events, drawn as lines. No clock, no terminal: both are arguments.

mod draw;

use super::format;
use crate::run_event::RunEvent;
use crate::store::{Cause, CauseKind, InstanceRow};
use chrono::{DateTime, Utc};
use flow_core::{Dag, RunStatus, TaskState};
use std::collections::HashMap;
use std::sync::Arc;

/// A run on its way.
#[derive(Debug)]
pub struct RunView {
    dag_id: String,
    run_id: String,
    state: RunStatus,
    /// Somebody asked it to stop.
    stopping: bool,
    began: Option<DateTime<Utc>>,
    rows: Vec<Row>,
    /// Where the row of a task is.
    index: HashMap<String, usize>,
}

/// One task: a line of the view.
#[derive(Debug)]
struct Row {
    task_id: String,
    /// Rows of its upstream tasks.
    upstream: Vec<usize>,
    mapped: bool,
    one: Instance,
    /// State of each instance of a mapped task, and how many are in which.
    instances: HashMap<i32, TaskState>,
    counts: [u32; TaskState::ALL.len()],
}

/// The present try of one instance (of a mapped task: the last one heard of).
#[derive(Debug, Default)]
struct Instance {
    state: TaskState,
    try_number: u32,
    tries: u32,
    began: Option<DateTime<Utc>>,
    took: Option<f64>,
    due: Option<DateTime<Utc>>,
    cause: Option<String>,
    value: Option<Arc<str>>,
    progress: Option<Progress>,
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    done: u64,
    total: Option<u64>,
    first: (DateTime<Utc>, u64),
    last: DateTime<Utc>,
}

impl Progress {
    /// Units a second, once there is something to divide by.
    fn rate(&self) -> Option<f64> {
        let seconds = format::seconds(self.first.0, self.last);
        (seconds >= 0.5 && self.done > self.first.1).then(|| (self.done - self.first.1) as f64 / seconds)
    }
}

impl RunView {
    /// Before the first event; tasks in topological order.
    pub fn new(dag: &Dag) -> RunView {
        let order = dag.topological().unwrap_or_else(|_| (0..dag.tasks.len() as u32).collect());
        let index: HashMap<String, usize> =
            order.iter().enumerate().map(|(row, &ix)| (dag.tasks[ix as usize].task_id.clone(), row)).collect();
        let row = |&ix: &u32| {
            let task = &dag.tasks[ix as usize];
            Row {
                task_id: task.task_id.clone(),
                upstream: task.upstream.iter().map(|&up| index[&dag.tasks[up as usize].task_id]).collect(),
                mapped: task.mapped,
                one: Instance::default(),
                instances: HashMap::new(),
                counts: [0; TaskState::ALL.len()],
            }
        };
        let rows = order.iter().map(row).collect();
        RunView {
            dag_id: dag.dag_id.clone(),
            run_id: String::new(),
            state: RunStatus::Queued,
            stopping: false,
            began: None,
            rows,
            index,
        }
    }

    /// What is known of a run that goes on.
    pub fn seed(&mut self, rows: &[InstanceRow]) {
        for row in rows {
            let Some(view) = self.index.get(&*row.task_id).map(|&i| &mut self.rows[i]) else { continue };
            view.count(row.map_index, row.state);
            view.one = Instance {
                state: row.state,
                try_number: row.try_number,
                tries: row.max_tries.saturating_add(1),
                began: row.start_date,
                took: span(row).map(|(start, end)| format::seconds(start, end)),
                due: row.due,
                cause: row.cause.as_ref().filter(|_| !view.mapped || row.state != TaskState::Success).map(cause),
                value: None,
                progress: None,
            };
        }
    }

    /// Somebody asked the run to stop.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Takes an event in.
    pub fn apply(&mut self, event: &RunEvent, now: DateTime<Utc>) {
        match event {
            RunEvent::RunStarted { dag_run_id, timestamp, .. } => {
                self.run_id.clone_from(dag_run_id);
                self.state = RunStatus::Running;
                self.began = Some(*timestamp);
            }
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
                label: _,
                value,
                timestamp,
            } => {
                let Some(row) = self.index.get(&**task_id).map(|&i| &mut self.rows[i]) else { return };
                row.count(*map_index, *state);
                // An instance that succeeded says nothing of those that failed.
                let ended_by = ended_by.as_ref().filter(|_| !row.mapped || *state != TaskState::Success);
                let one = &mut row.one;
                if *state == TaskState::Running {
                    one.began = Some(if row.mapped { one.began.unwrap_or(*timestamp) } else { *timestamp });
                    one.progress = None;
                }
                (one.state, one.try_number, one.tries, one.due) = (*state, *try_number, *tries, *due);
                one.took = duration.or(if *state == TaskState::Running { None } else { one.took });
                one.value = value.clone().or(one.value.take());
                one.cause = match ended_by.map(cause).or(why.clone()) {
                    Some(why) => Some(why),
                    // Of a mapped task the last failure stays in view.
                    None => one
                        .cause
                        .take()
                        .filter(|_| row.mapped || !matches!(state, TaskState::Running | TaskState::Success)),
                };
            }
            RunEvent::Progress { task_id, done, total, .. } => {
                let Some(row) = self.index.get(&**task_id).map(|&i| &mut self.rows[i]) else { return };
                let first = row.one.progress.map_or((now, *done), |p| p.first);
                row.one.progress = Some(Progress { done: *done, total: *total, first, last: now });
            }
            RunEvent::Log { .. } | RunEvent::DagPaused { .. } => {}
            RunEvent::RunEnded { state, .. } => (self.state, self.stopping) = (*state, false),
        }
    }
}

impl Row {
    fn count(&mut self, map_index: i32, state: TaskState) {
        if map_index < 0 {
            return;
        }
        self.mapped = true;
        if let Some(before) = self.instances.insert(map_index, state) {
            self.counts[before as usize] -= 1;
        }
        self.counts[state as usize] += 1;
    }

    fn finished(&self) -> bool {
        self.one.state.is_finished() && (self.instances.len() as u32 == self.counted(TaskState::is_finished))
    }

    fn counted(&self, which: impl Fn(TaskState) -> bool) -> u32 {
        TaskState::ALL.into_iter().filter(|s| which(*s)).map(|s| self.counts[s as usize]).sum()
    }
}

/// From when to when the latest try of an instance was under way. When one ended that was lost, nobody knows.
pub fn span(row: &InstanceRow) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let is_lost = row.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Lost);
    row.start_date.zip(row.end_date).filter(|_| !is_lost)
}

/// `no such table (src/taxi.rs:40)`
pub fn cause(cause: &Cause) -> String {
    match &cause.place {
        Some(place) => format!("{} ({place})", cause.message),
        None => cause.message.clone(),
    }
}

#[cfg(test)]
mod tests;
