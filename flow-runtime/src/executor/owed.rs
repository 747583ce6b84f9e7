//! What somebody outside is to be told: gathered while a step is taken, and written by its very commit.

use super::rows::Rows;
use crate::secret;
use crate::store::{CallbackWrite, Cause, InstanceRow};
use chrono::{DateTime, Utc};
use flow_core::dag::TaskDef;
use flow_core::{Dag, DagRun, Notifier, Occasion, Outcome, RunStatus, UNMAPPED};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Most failed tasks that are named when a run has failed.
const NAMED: usize = 10;

/// What is owed of one run, and not written yet.
pub(super) struct Owed {
    run: DagRun,
    /// When the run began, once it has.
    start: Option<DateTime<Utc>>,
    /// Its deadline is looked at, and nobody was told yet.
    is_watched: bool,
    /// By when it should be done, if that is still to be looked at.
    deadline: Option<DateTime<Utc>>,
    list: Vec<CallbackWrite>,
}

impl Owed {
    /// Nothing yet.
    pub(super) fn of(dag: &Dag, run: &DagRun) -> Owed {
        // Once it has ended, or a person has let tasks of it run again, it is late for no fault of its own.
        let goes_on = run.state == RunStatus::Running || run.start_date.is_none();
        let is_watched = dag.deadline.is_some() && goes_on;
        // Any other begins anew.
        let start = run.start_date.filter(|_| run.state == RunStatus::Running);
        let mut owed = Owed { run: run.clone(), start, is_watched, deadline: None, list: Vec::new() };
        owed.find_deadline(dag);
        owed
    }

    fn find_deadline(&mut self, dag: &Dag) {
        let deadline = dag.deadline.filter(|_| self.is_watched);
        self.deadline = deadline.zip(self.start).map(|(deadline, start)| deadline.of(&self.run, start));
    }

    /// The instant at which somebody must be told that the run is not done.
    pub(super) fn deadline(&self) -> Option<DateTime<Utc>> {
        self.deadline
    }

    /// A try has ended, and left this row behind.
    pub(super) fn try_ended(&mut self, task: &TaskDef, row: &InstanceRow, outcome: &Outcome, now: DateTime<Utc>) {
        let Some(occasion) = Occasion::of_try(outcome, row.state) else { return };
        let Some(to) = task.notify.get(&occasion) else { return };
        let payload = json!({
            "task_id": row.task_id,
            "map_index": row.map_index,
            "label": row.label,
            "try_number": row.try_number,
            "tries": row.max_tries.saturating_add(1),
            "state": row.state,
            "cause": row.cause,
            "due": row.due,
            "start_date": row.start_date,
            "end_date": row.end_date,
        });
        self.owe(occasion, to, (&row.task_id, row.map_index, row.try_number), payload, now);
    }

    /// The run has come to another state; `stopped` is why the rest of it ended, if it was stopped.
    pub(super) fn run_is(
        &mut self,
        dag: &Dag,
        status: RunStatus,
        (rows, stopped): (&Rows, Option<&Cause>),
        now: DateTime<Utc>,
    ) {
        if status == RunStatus::Running && self.start.is_none() {
            self.start = Some(now);
            self.find_deadline(dag);
        }
        let Some(occasion) = Occasion::of_run(status) else { return };
        let Some(to) = dag.notify.get(&occasion) else { return };
        let failed = || rows.failures().map(|row| crate::run_event::label(&row.task_id, row.map_index));
        let first = rows.failures().next();
        let of_task = |row: &InstanceRow| {
            let name = crate::run_event::label(&row.task_id, row.map_index);
            let why = row.cause.as_ref().map_or(String::new(), |cause| format!(": {}", cause.message));
            let others = match failed().count() {
                1 => String::new(),
                n => format!(", and {} more", n - 1),
            };
            let kind = row.cause.as_ref().map(|cause| cause.kind);
            json!({"kind": kind, "message": format!("{name} failed{why}{others}")})
        };
        let cause = match occasion {
            Occasion::Failure => stopped.map(|cause| json!(cause)).or(first.map(of_task)),
            _ => None,
        };
        let payload = json!({
            "state": status,
            "cause": cause,
            "failed_tasks": failed().take(NAMED).collect::<Vec<_>>(),
            "start_date": self.start,
            "end_date": now,
        });
        self.owe(occasion, to, ("", UNMAPPED, 0), payload, now);
    }

    /// Tells that the run is not done by its deadline, if that is so: once, for what is told bears the deadline's own instant,
    /// and the same is not written twice, whoever goes on with the run.
    pub(super) fn look_at_the_clock(&mut self, dag: &Dag, status: RunStatus, now: DateTime<Utc>) {
        let Some(deadline) = self.deadline.filter(|deadline| *deadline <= now) else { return };
        (self.deadline, self.is_watched) = (None, false);
        let to = dag.notify.get(&Occasion::Deadline).map_or(&[][..], Vec::as_slice);
        let payload = json!({"state": status, "deadline": deadline, "start_date": self.start});
        self.owe(Occasion::Deadline, to, ("", UNMAPPED, 0), payload, deadline);
    }

    /// What is to be written, once.
    pub(super) fn take(&mut self) -> Vec<CallbackWrite> {
        std::mem::take(&mut self.list)
    }

    fn owe(
        &mut self,
        occasion: Occasion,
        to: &[Notifier],
        (task_id, map_index, try_number): (&str, i32, u32),
        about: Value,
        timestamp: DateTime<Utc>,
    ) {
        let run = &self.run;
        let mut payload = json!({
            "event": occasion,
            "dag_id": run.dag_id,
            "dag_run_id": run.run_id,
            "run_type": run.run_type,
            "logical_date": run.logical_date,
            "data_interval_start": run.data_interval.map(|interval| interval.start),
            "data_interval_end": run.data_interval.map(|interval| interval.end),
            "run_after": run.run_after,
            "timestamp": timestamp,
        });
        if let (Value::Object(payload), Value::Object(about)) = (&mut payload, about) {
            payload.extend(about);
        }
        let Value::Object(payload) = secret::redact_value(&payload) else { return };
        let payload: Map<String, Value> = payload.into_iter().filter(|(_, value)| !value.is_null()).collect();
        let mut known = Vec::new();
        // Named twice it is told once.
        for notifier in to {
            let notifier = json!(notifier).to_string();
            if known.contains(&notifier) {
                continue;
            }
            let same = json!([
                run.dag_id,
                run.run_id,
                task_id,
                map_index,
                try_number,
                occasion,
                notifier,
                timestamp.timestamp_micros()
            ]);
            let mut payload = payload.clone();
            payload.insert("key".into(), Value::String(key(&same.to_string())));
            self.list.push(CallbackWrite {
                task_id: task_id.into(),
                map_index,
                try_number,
                event: Arc::from(occasion.name()),
                notifier: notifier.as_str().into(),
                payload: Value::Object(payload).to_string().into(),
                timestamp,
            });
            known.push(notifier);
        }
    }
}

/// By what a receiver knows again what it has heard.
fn key(of: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(of.as_bytes())[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
