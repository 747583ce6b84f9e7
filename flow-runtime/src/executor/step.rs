//! One step of a run: plan, admit, commit; only then start bodies and tell the observer.

use super::edit::{ByHand, ending, is_by_hand};
use super::outcome::TryEnd;
use super::past::History;
use super::run_loop::{Flight, Happened, RunLoop, deadline, seconds};
use super::scope::Scope;
use super::try_runner::{self, Job};
use super::{Engine, EngineError};
use crate::made::Notes;
use crate::run_event::RunEvent;
use crate::secret;
use crate::store::{
    AssetEventWrite, CacheWrite, Cause, CauseKind, RETURN_VALUE, RunCommit, SlotAsk, SlotClaim, XComWrite,
};
use crate::telemetry::{TryLog, TryLogParts};
use chrono::{DateTime, Utc};
use flow_core::dag::TaskKind;
use flow_core::trigger_rule::Decision;
use flow_core::{Event, InstanceKey, Plan, RunStatus, TaskIx, TaskState, Transition, TryRef, because, decide, plan};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
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
    by_hand: ByHand,
    /// A person has ordered a part of it.
    is_order: bool,
    /// The orders that this step carries out.
    settled: Vec<i64>,
    status: RunStatus,
    /// It has paused the DAG, as one failure of so many.
    has_paused: Option<u32>,
}

impl RunLoop {
    /// Takes in what happened, and starts what follows.
    pub(super) async fn step(&mut self, happened: Happened) -> Result<(), EngineError> {
        self.queue.let_wait();
        self.name().await;
        let (mut step, events) = self.open(happened);
        self.rows.forget_cleared(&events);
        self.plan(&mut step, &events);
        if self.state.status() == RunStatus::Queued {
            // A run that was cleared begins anew, and so does its time.
            self.deadline = deadline(&self.scope.dag, Duration::ZERO);
            self.plan(&mut step, &[]);
        }
        self.ask_the_past(&step).await?;
        let starts = self.start(&mut step).await?;
        self.more = (step.ends.keys().any(|&k| self.is_scheduled(k)) || self.unnamed.is_due()) && !self.stopping;
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
        let Happened { ends, mut events, settled } = happened;
        let timed_out = events.contains(&Event::RunTimedOut);
        let mut step = Step {
            now,
            ends: BTreeMap::new(),
            stopped: timed_out.then(|| RunLoop::too_long(&self.scope.dag)),
            by_hand: ByHand::of(&events),
            is_order: events.iter().any(Event::is_order),
            settled,
            status: self.state.status(),
            has_paused: None,
        };
        let mut ended = Vec::with_capacity(ends.len());
        for end in ends {
            if let Some(flight) = self.flights.remove(&end.of) {
                self.queue.release(end.of.key);
                if self.behind.remove(&end.of.key) {
                    self.wait(end.of.key, false);
                }
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
        self.let_take_away();
        ended.append(&mut events);
        (step, ended)
    }

    /// Teardowns that waited for bodies which were told to end wait for slots, now that those are gone.
    fn let_take_away(&mut self) {
        if self.behind.is_empty() || self.flights.values().any(Flight::is_told_to_end) {
            return;
        }
        let is_free = |key: &InstanceKey| self.is_teardown(key.task) && !self.flights.keys().any(|of| of.key == *key);
        let free: Vec<InstanceKey> = self.behind.iter().copied().filter(is_free).collect();
        for key in free {
            self.behind.remove(&key);
            self.wait(key, false);
        }
    }

    fn is_teardown(&self, task: TaskIx) -> bool {
        matches!(self.scope.dag.tasks[task as usize].kind, TaskKind::Teardown { .. })
    }

    /// Why the rest of a run ends that stops at the first failure.
    fn first_failure(&self, step: &Step, plan: &Plan) -> Option<Cause> {
        let failed = |change: &&Transition| {
            let has_failed = change.to == TaskState::Failed && step.ends.contains_key(&change.key);
            has_failed && !self.is_teardown(change.key.task)
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
            let by_hand = step.by_hand.cause(change.key, change.to);
            let stopped = by_hand.as_ref().or(step.stopped.as_ref()).or(first_failure.as_ref());
            self.rows.apply(&self.scope.ids, known, step.now, end, stopped);
            if change.from == TaskState::Scheduled && !change.to.is_in_flight() {
                self.queue.forget(change.key);
                self.past.forget(change.key);
                self.unnamed.forget(change.key);
                self.behind.remove(&change.key);
            }
            if change.from == TaskState::Success && change.to != TaskState::Success {
                // In this order: who has seen the output gone sees that this was said.
                self.scope.lists.forget_all();
                self.scope.outputs.forget(change.key);
            }
            let row = self.rows.get(change.key);
            self.awaited.note(change.key, row.and_then(|row| row.event.clone()));
            if let (Some(end), Some(row)) = (end, row) {
                self.owed.try_ended(&dag.tasks[change.key.task as usize], row, &end.outcome, step.now);
            }
        }
        for of in plan.cancel {
            if let Some(flight) = self.flights.get(&of) {
                flight.cancel.cancel();
                self.be_patient();
            }
        }
        for key in plan.ready {
            let try_number = self.state.instance(key).map_or(0, |i| i.try_number);
            // What is taken away may be in use until whoever was told to end is gone.
            let is_in_use = self.is_teardown(key.task) && self.flights.values().any(Flight::is_told_to_end);
            if is_in_use || self.flights.contains_key(&TryRef { key, try_number }) {
                self.behind.insert(key);
                continue;
            }
            // An instance whose try ended in this very step waits from the next one on: its row can hold only one.
            self.wait(key, step.ends.contains_key(&key));
        }
        self.wake_at = plan.wake_at;
    }

    /// Lets wait for a slot what has waited for the past long enough.
    async fn ask_the_past(&mut self, step: &Step) -> Result<(), EngineError> {
        if self.stopping || !self.past.waits() {
            return Ok(());
        }
        let (scope, slots) = (&self.scope, &self.scope.engine.slots);
        let history = History::of(&*scope.engine.store, &scope.dag, scope.logical_date);
        for key in self.past.ask(history, &slots.news).await? {
            self.wait_for_a_slot(key, step.ends.contains_key(&key));
        }
        Ok(())
    }

    /// Lets go whoever may.
    async fn start(&mut self, step: &mut Step) -> Result<Vec<TryRef>, EngineError> {
        if self.stopping {
            self.queue.close();
            return Ok(Vec::new());
        }
        if self.state.status() != RunStatus::Running {
            self.queue.withdraw();
            return Ok(Vec::new());
        }
        let mut keys = self.queue.admit();
        self.ask_the_others(&mut keys).await?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let dispatched: Vec<Event> = keys.iter().map(|&key| Event::Dispatched(key)).collect();
        self.plan(step, &dispatched);
        let number = |key: &InstanceKey| self.state.instance(*key).map_or(0, |i| i.try_number);
        let starts: Vec<TryRef> = keys.iter().map(|k| TryRef { key: *k, try_number: number(k) }).collect();
        let started: Vec<Event> = starts.iter().map(|&of| Event::Started(of)).collect();
        self.plan(step, &started);
        Ok(starts)
    }

    /// Leaves those that may go also by limits which tasks in other processes share; the rest waits again.
    async fn ask_the_others(&mut self, keys: &mut Vec<InstanceKey>) -> Result<(), EngineError> {
        let Engine { store, settings, keeper, clock, .. } = &self.scope.engine;
        // A pool that nobody has set bounds what one process does. And without leases nobody knows for how long a part is held;
        // a start is no part that comes back.
        let pools = (keeper.is_some() && store.shares_slots()).then_some(&settings.pools);
        let (asking, asks): (Vec<InstanceKey>, Vec<SlotAsk>) =
            self.queue.asks(keys, &self.scope.ids, pools).into_iter().unzip();
        if asks.is_empty() {
            return Ok(());
        }
        let (owner, now) = (self.scope.engine.owner(), clock.now());
        let (run, epoch, backfill) = (self.scope.pk, self.epoch, self.queue.is_of_backfill());
        let claim = SlotClaim { run, epoch, owner: &owner, backfill, asks: &asks, now };
        for refusal in store.take_slots(&claim).await? {
            let Some(key) = asking.get(refusal.place) else { continue };
            keys.retain(|other| other != key);
            self.queue.put_back(*key, &refusal.limit, refusal.again);
        }
        Ok(())
    }

    fn is_scheduled(&self, key: InstanceKey) -> bool {
        self.state.instance(key).is_some_and(|i| i.state == TaskState::Scheduled)
    }

    /// Makes all that durable, in one transaction; nothing to keep, no transaction.
    async fn commit(&mut self, step: &mut Step) -> Result<(), EngineError> {
        let status = self.state.status();
        let (mut xcoms, mut cached) = (Vec::new(), Vec::new());
        for end in step.ends.values_mut() {
            let Some(kept) = &mut end.value else { continue };
            if let Some(value) = kept.stored.take() {
                let (task_id, map_index) = (self.scope.ids.task(end.of.key.task), end.of.key.map_index);
                if let Some(key) = kept.cache_key.take() {
                    let (task_id, value) = (task_id.clone(), value.clone());
                    cached.push(CacheWrite { key, task_id, map_index, value, timestamp: step.now });
                }
                xcoms.push(XComWrite { task_id, map_index, key: RETURN_VALUE.into(), value, timestamp: step.now });
            }
        }
        let asset_events = self.asset_events(step);
        let makes_assets = !asset_events.is_empty();
        let changed: Vec<InstanceKey> = self.rows.changed().collect();
        self.owed.look_at_the_clock(&self.scope.dag, status, step.now);
        let ended = self.ending.clone();
        self.ending = ending(&self.state, ended.as_ref(), step.stopped.as_ref());
        // Whoever ends a run by hand knows of it.
        if status != step.status && !step.by_hand.is_of_run() {
            let stopped = ended.as_ref().map(|ended| &ended.cause).or(step.stopped.as_ref());
            self.owed.run_is(&self.scope.dag, status, (&self.rows, stopped), step.now);
        }
        let callbacks = self.owed.take();
        let owes = !callbacks.is_empty();
        self.rows.keep_steps(&std::mem::take(&mut self.keeps_steps));
        let commit = RunCommit {
            is_order: step.is_order,
            callbacks,
            status: (status != step.status || self.ending != ended).then_some((status, step.now)),
            ending: self.ending.clone(),
            // A person who ends it may want what he says.
            pause_at: self.pause_at.filter(|_| !step.by_hand.is_of_run() && !ended.as_ref().is_some_and(is_by_hand)),
            settled: std::mem::take(&mut step.settled),
            forgotten: self.rows.take_forgotten(),
            instances: self.rows.take_writes(),
            xcoms,
            asset_events,
            cached,
            ..RunCommit::new(self.scope.pk, self.epoch)
        };
        if !commit.is_empty() {
            let paused = self.scope.engine.store.commit(&[commit]).await?;
            step.has_paused = self.pause_at.filter(|_| !paused.is_empty());
            self.has_paused = step.has_paused.or(self.has_paused);
        }
        if makes_assets {
            self.scope.engine.assets_made.notify_one();
        }
        if changed.iter().any(|&key| self.rows.get(key).is_some_and(|row| self.past.is_news(key, row.state))) {
            self.scope.engine.slots.news.tell(&self.scope.dag.dag_id);
        }
        if owes {
            self.scope.engine.owes.send_replace(());
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

    /// An event of each asset that a task makes, if its try is the success of the instance.
    fn asset_events(&self, step: &Step) -> Vec<AssetEventWrite> {
        let mut events = Vec::new();
        for (key, end) in &step.ends {
            let row = self.rows.get(*key).filter(|row| row.state == TaskState::Success);
            let (Some(row), Some(kept)) = (row, &end.value) else { continue };
            let outlets = &self.scope.dag.tasks[key.task as usize].outlets;
            events.extend(outlets.iter().zip(&kept.made).map(|(asset, extra)| AssetEventWrite {
                asset: asset.as_str().into(),
                task_id: row.task_id.clone(),
                map_index: key.map_index,
                try_number: end.of.try_number,
                extra: extra.clone(),
                timestamp: step.now,
            }));
        }
        events
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
        let last_look = self.scope.engine.settings.last_look;
        for of in starts {
            let cancel = self.lost.as_ref().map_or_else(CancellationToken::new, CancellationToken::child_token);
            let log = self.scope.log(of);
            let began = self.rows.get(of.key).and_then(|row| row.start_date).unwrap_or(self.scope.run_start);
            // Between its turn and now a person may have cleared or marked what it follows.
            let is_bereft = decide(&self.scope.dag, &self.state, of.key) != Decision::Run;
            let job = Job {
                of,
                anew: (!is_bereft).then(|| self.scope.lists.anew()),
                tries: self.rows.get(of.key).map_or(1, |row| row.max_tries.saturating_add(1)),
                began,
                lengths: self.state.lengths(of.key.task).unwrap_or_default(),
                cancel: cancel.clone(),
                log: log.clone(),
                told: Notes::default(),
            };
            self.queue.started(of.key);
            let body = try_runner::run(self.scope.clone(), job, self.lost.clone());
            let abort = match &self.scope.engine.settings.bodies {
                Some(threads) => self.tries.spawn_on(body, threads),
                None => self.tries.spawn(body),
            };
            let task = &self.scope.dag.tasks[of.key.task as usize];
            let timeout = match &task.sensor {
                // It ends by itself, unless its last look hangs.
                Some(policy) => Some(self.scope.engine.clock.until(policy.deadline(began)).saturating_add(last_look)),
                None => task.timeout,
            };
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
            // Of a try that was lost nobody knows when it ended.
            let is_lost = row.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Lost);
            let ended = row.end_date.filter(|_| !is_lost);
            let duration = row.start_date.zip(ended).map(|(from, to)| seconds(from, to));
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
        if let Some(failures) = step.has_paused {
            let (dag_id, dag_run_id) = (self.scope.dag.dag_id.clone(), self.scope.run_id.clone());
            (self.observer)(&RunEvent::DagPaused { dag_id, dag_run_id, failures, timestamp: step.now });
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
