//! One step of a run: plan, admit, commit; only then start bodies and tell the observer.

use super::EngineError;
use super::outcome::TryEnd;
use super::run_loop::{Flight, Happened, RunLoop, seconds};
use super::scope::Scope;
use super::try_runner::{self, Job};
use crate::run_event::RunEvent;
use crate::secret;
use crate::store::{Cause, CauseKind, RETURN_VALUE, RunCommit, XComWrite};
use crate::telemetry::{TryLog, TryLogParts};
use chrono::{DateTime, Utc};
use flow_core::dag::TaskKind;
use flow_core::{Event, InstanceKey, Plan, RunStatus, TaskIx, TaskState, Transition, TryRef, because, plan};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest value that an event carries, in bytes of JSON.
const SHOWN: usize = 1000;

/// What one step works with.
struct Step {
    now: DateTime<Utc>,
    /// The ends that count, by instance.
    ends: BTreeMap<InstanceKey, TryEnd>,
    stopped: Option<Cause>,
    status: RunStatus,
}

impl RunLoop {
    /// Takes in what happened, and starts what follows.
    pub(super) async fn step(&mut self, happened: Happened) -> Result<(), EngineError> {
        let gives_back = !happened.ends.is_empty();
        let (mut step, events) = self.open(happened);
        if gives_back && self.queue.has_company() {
            // The runs that wait for those slots are asked before this one takes them again.
            tokio::task::yield_now().await;
        }
        self.plan(&mut step, &events);
        if self.state.status() == RunStatus::Queued {
            // A run that was cleared begins anew.
            self.plan(&mut step, &[]);
        }
        let starts = self.start(&mut step);
        self.more = step.ends.keys().any(|&k| self.is_scheduled(k)) && !self.stopping;
        self.commit(&mut step).await?;
        self.let_go();
        // Told before a body can say anything.
        self.tell(&step);
        self.launch(starts);
        Ok(())
    }

    /// Frees the slots of what has ended, and sorts out the ends that still count.
    fn open(&mut self, happened: Happened) -> (Step, Vec<Event>) {
        let now = self.scope.engine.clock.now();
        let Happened { ends, mut events } = happened;
        let timed_out = events.contains(&Event::RunTimedOut);
        let mut step = Step {
            now,
            ends: BTreeMap::new(),
            stopped: timed_out.then(|| RunLoop::too_long(&self.scope.dag)),
            status: self.state.status(),
        };
        let mut ended = Vec::with_capacity(ends.len());
        for end in ends {
            if let Some(flight) = self.flights.remove(&end.of) {
                self.queue.release(&self.scope.dag, end.of.key.task);
                if let Some(at) = flight.times_out {
                    self.timeouts.remove(&(at, end.of));
                }
            }
            let present = self.state.instance(end.of.key);
            if present.is_some_and(|i| i.state.is_in_flight() && i.try_number == end.of.try_number) {
                ended.push(Event::Ended(end.of, end.outcome.clone()));
                step.ends.insert(end.of.key, end);
            }
        }
        ended.append(&mut events);
        (step, ended)
    }

    /// Why the rest of a run ends that stops at the first failure.
    fn first_failure(&self, step: &Step, plan: &Plan) -> Option<Cause> {
        let is_work = |task: TaskIx| !matches!(self.scope.dag.tasks[task as usize].kind, TaskKind::Teardown { .. });
        let failed = |change: &&Transition| {
            change.to == TaskState::Failed && step.ends.contains_key(&change.key) && is_work(change.key.task)
        };
        let key = plan.transitions.iter().find(failed)?.key;
        let message =
            format!("`{}` failed, and this DAG stops at the first failure (fail_fast)", self.scope.ids.task(key.task));
        Some(Cause { kind: CauseKind::Cancelled, message, place: None })
    }

    /// Asks the planner, and takes in its answer.
    fn plan(&mut self, step: &mut Step, events: &[Event]) {
        let dag = &self.scope.dag;
        let plan = plan(dag, &mut self.state, events, step.now);
        let first_failure = if dag.fail_fast { self.first_failure(step, &plan) } else { None };
        for change in &plan.transitions {
            let end = step.ends.get(&change.key).filter(|end| end.of.try_number == change.try_number);
            let known = (change, self.state.reported(change.key));
            let stopped = step.stopped.as_ref().or(first_failure.as_ref());
            self.rows.apply(&self.scope.ids, known, step.now, end, stopped);
            if change.from == TaskState::Scheduled {
                self.queue.forget(dag, change.key);
            }
        }
        for key in plan.ready {
            self.queue.push(dag, key);
        }
        self.wake_at = plan.wake_at;
        for of in plan.cancel {
            if let Some(flight) = self.flights.get(&of) {
                flight.cancel.cancel();
                self.be_patient();
            }
        }
    }

    /// Lets go whoever may. An instance whose try ended in this very step waits for the next: its row can hold only one.
    fn start(&mut self, step: &mut Step) -> Vec<TryRef> {
        if self.stopping || self.state.status() != RunStatus::Running {
            return Vec::new();
        }
        let keys = self.queue.admit(&self.scope.dag, |key| step.ends.contains_key(&key));
        if keys.is_empty() {
            return Vec::new();
        }
        let dispatched: Vec<Event> = keys.iter().map(|&key| Event::Dispatched(key)).collect();
        self.plan(step, &dispatched);
        let number = |key: &InstanceKey| self.state.instance(*key).map_or(0, |i| i.try_number);
        let starts: Vec<TryRef> = keys.iter().map(|k| TryRef { key: *k, try_number: number(k) }).collect();
        let started: Vec<Event> = starts.iter().map(|&of| Event::Started(of)).collect();
        self.plan(step, &started);
        starts
    }

    fn is_scheduled(&self, key: InstanceKey) -> bool {
        self.state.instance(key).is_some_and(|i| i.state == TaskState::Scheduled)
    }

    /// Makes all that durable, in one transaction; nothing to keep, no transaction.
    async fn commit(&mut self, step: &mut Step) -> Result<(), EngineError> {
        let status = self.state.status();
        let mut xcoms = Vec::new();
        for end in step.ends.values_mut() {
            let Some(kept) = &mut end.value else { continue };
            if let Some(value) = kept.stored.take() {
                xcoms.push(XComWrite {
                    task_id: self.scope.ids.task(end.of.key.task),
                    map_index: end.of.key.map_index,
                    key: RETURN_VALUE.into(),
                    value,
                    timestamp: step.now,
                });
            }
        }
        let changed: Vec<InstanceKey> = self.rows.changed().collect();
        let commit = RunCommit {
            run: self.scope.pk,
            epoch: self.epoch,
            status: (status != step.status).then_some((status, step.now)),
            instances: self.rows.take_writes(),
            xcoms,
        };
        if commit.status.is_some() || !commit.instances.is_empty() || !commit.xcoms.is_empty() {
            self.scope.engine.store.commit(&[commit]).await?;
        }
        self.changed = changed;
        for (key, end) in &step.ends {
            if let Some(kept) = &end.value {
                let needed = self.readers.wants(key.task);
                self.scope.outputs.put(*key, needed.then(|| kept.erased.clone()));
            }
        }
        Ok(())
    }

    /// Lets go of the values that nobody needs any more.
    fn let_go(&mut self) {
        let tasks: BTreeSet<TaskIx> = self.changed.iter().map(|key| key.task).collect();
        for task in tasks {
            let Some(free) = self.readers.look(&self.state, task) else {
                continue;
            };
            self.scope.lists.forget(task);
            free.into_iter().for_each(|source| self.scope.outputs.release(source));
        }
    }

    /// Starts the bodies of tries that are durable now.
    fn launch(&mut self, starts: Vec<TryRef>) {
        for of in starts {
            let cancel = CancellationToken::new();
            let log = self.scope.log(of);
            let job = Job {
                of,
                tries: self.rows.get(of.key).map_or(1, |row| row.max_tries.saturating_add(1)),
                lengths: self.state.lengths(of.key.task).unwrap_or_default(),
                cancel: cancel.clone(),
                log: log.clone(),
            };
            let body = try_runner::run(self.scope.clone(), job);
            let abort = match &self.scope.engine.settings.bodies {
                Some(threads) => self.tries.spawn_on(body, threads),
                None => self.tries.spawn(body),
            };
            let timeout = self.scope.dag.tasks[of.key.task as usize].timeout;
            let times_out = timeout.and_then(|t| Instant::now().checked_add(t));
            self.timeouts.extend(times_out.map(|at| (at, of)));
            let isolated = self.scope.program(of.key.task).is_some();
            self.flights.insert(of, Flight { abort, ending: None, isolated, times_out, cancel, log });
        }
    }

    /// Tells the observer what is durable now.
    fn tell(&mut self, step: &Step) {
        self.pass_hints();
        for key in std::mem::take(&mut self.changed) {
            let Some(row) = self.rows.get(key) else {
                continue;
            };
            let end = step.ends.get(&key);
            let text = end.and_then(|end| end.value.as_ref()).map(|kept| kept.erased.json());
            let duration = row.start_date.zip(row.end_date).map(|(from, to)| seconds(from, to));
            (self.observer)(&RunEvent::TaskState {
                task_id: row.task_id.clone(),
                map_index: row.map_index,
                state: row.state,
                try_number: row.try_number,
                tries: row.max_tries.saturating_add(1),
                duration: duration.filter(|_| end.is_some() || row.state.is_finished()),
                due: row.due.filter(|_| row.state.is_waiting()),
                cause: row.cause.clone(),
                why: row
                    .cause
                    .is_none()
                    .then(|| because(&self.scope.dag, &self.state, key))
                    .flatten()
                    .map(|w| w.to_string()),
                label: row.label.clone(),
                value: text.filter(|t| t.len() <= SHOWN).map(|t| secret::redact(t).into()),
                timestamp: step.now,
            });
        }
    }
}

impl Scope {
    /// The log of a try.
    pub(super) fn log(&self, of: TryRef) -> Arc<TryLog> {
        let settings = &self.engine.settings;
        Arc::new(TryLog::new(TryLogParts {
            home: settings.logs.then_some(settings.home.as_path()),
            dag_id: &self.dag.dag_id,
            run_id: &self.run_id,
            task_id: self.ids.task(of.key.task),
            map_index: of.key.map_index,
            try_number: of.try_number,
            clock: self.engine.clock.clone(),
            stream: self.hints.clone(),
        }))
    }
}
