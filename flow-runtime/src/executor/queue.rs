//! The scheduled instances of a run that wait for a slot, and its tries that have one.

use super::Engine;
use super::ids::Ids;
use super::keys;
use super::slots::{Seat, Slots};
use crate::clock::Clock;
use crate::store::SlotAsk;
use chrono::{DateTime, TimeDelta, Utc};
use flow_core::{Candidate, Dag, DagRun, InstanceKey, Needs, RunType, TaskIx};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The part that a run has in the slots of its engine.
pub(super) struct Queue {
    slots: Arc<Slots>,
    clock: Arc<dyn Clock>,
    seat: Seat,
    wake: Arc<Notify>,
    backfill: bool,
    run_after: DateTime<Utc>,
    weights: Vec<i64>,
    /// Of each task; tasks that need the same share it.
    needs: Vec<Arc<Needs>>,
    /// Of instances whose keys are made of their arguments, as long as they wait or have a slot.
    keyed: HashMap<InstanceKey, Arc<Needs>>,
    /// Instances whose try ended in the present step: they wait from the next one on.
    held: Vec<InstanceKey>,
    /// What has a slot.
    taken: Vec<Taken>,
    /// When something may go that waits for nothing but its rate.
    due: Option<DateTime<Utc>>,
    /// Nothing of this run goes any more.
    closed: bool,
}

/// A try that has a slot.
struct Taken {
    key: InstanceKey,
    needs: Arc<Needs>,
    started: bool,
}

impl Queue {
    pub(super) fn new(engine: &Engine, dag: &Dag, run: &DagRun) -> Queue {
        let (seat, wake) = engine.slots.join();
        Queue {
            slots: engine.slots.clone(),
            clock: engine.clock.clone(),
            seat,
            wake,
            backfill: run.run_type == RunType::Backfill,
            run_after: run.run_after,
            weights: flow_core::priority::weights(dag),
            needs: needs(dag),
            keyed: HashMap::new(),
            held: Vec::new(),
            taken: Vec::new(),
            due: None,
            closed: false,
        }
    }

    /// What this task needs, if its keys are made of its arguments: then each instance needs something else, and has to be
    /// told by [`Queue::name`] what, before it can wait.
    pub(super) fn is_to_be_named(&self, task: TaskIx) -> Option<&Arc<Needs>> {
        self.needs.get(task as usize).filter(|needs| !keys::arguments(needs).is_empty())
    }

    /// Says what an instance needs that [is to be named](Queue::is_to_be_named).
    pub(super) fn name(&mut self, key: InstanceKey, needs: Needs) {
        self.keyed.insert(key, Arc::new(needs));
    }

    /// An instance waits for a slot from now on; one that is `held`, from the next call of [`Queue::let_wait`] on.
    pub(super) fn push(&mut self, key: InstanceKey, held: bool) {
        if held {
            self.held.push(key);
        } else if !self.closed
            && let Some(needs) = self.needs_of(key)
        {
            let (run, backfill, run_after) = (self.seat, self.backfill, self.run_after);
            let weight = self.weight(key.task);
            self.slots.push(Candidate { run, key, needs, weight, backfill, run_after });
        }
    }

    /// What was held back waits like all else.
    pub(super) fn let_wait(&mut self) {
        for key in std::mem::take(&mut self.held) {
            self.push(key, false);
        }
    }

    fn needs_of(&self, key: InstanceKey) -> Option<Arc<Needs>> {
        let own = if self.keyed.is_empty() { None } else { self.keyed.get(&key) };
        own.or_else(|| self.needs.get(key.task as usize)).cloned()
    }

    fn weight(&self, task: TaskIx) -> i64 {
        self.weights.get(task as usize).copied().unwrap_or(1)
    }

    /// Those that go now. They have their slots, and wait no longer.
    pub(super) fn admit(&mut self) -> Vec<InstanceKey> {
        let (mut gone, due) = self.slots.fetch(self.seat, self.clock.now());
        self.due = due;
        // They may have been dealt one by one.
        gone.sort();
        // Only where there is a rate it matters whether it has started.
        let taken =
            |one: &Candidate<Seat>| Taken { key: one.key, needs: one.needs.clone(), started: one.needs.rate.is_none() };
        self.taken.extend(gone.iter().map(taken));
        gone.into_iter().map(|one| one.key).collect()
    }

    /// What of that takes of limits that all processes share, and what; `pools` are those that are, `None` where rates alone are
    /// shared.
    pub(super) fn asks(
        &self,
        keys: &[InstanceKey],
        ids: &Ids,
        pools: Option<&BTreeMap<String, u32>>,
    ) -> Vec<(InstanceKey, SlotAsk)> {
        let ask = |key: &InstanceKey| {
            let needs = self.needs_of(*key)?;
            let shares = match pools {
                Some(pools) => needs.shares(pools),
                None => Vec::from_iter(needs.share_of_rate()),
            };
            let (task_id, map_index, weight) = (ids.task(key.task), key.map_index, self.weight(key.task));
            (!shares.is_empty()).then_some((*key, SlotAsk { task_id, map_index, weight, shares }))
        };
        keys.iter().filter_map(ask).collect()
    }

    /// Its run was made by a backfill.
    pub(super) fn is_of_backfill(&self) -> bool {
        self.backfill
    }

    /// One that was to go may not: tasks in other processes have what is left of a limit. It waits as before, and that limit is
    /// asked for again a while later.
    pub(super) fn put_back(&mut self, key: InstanceKey, limit: &str, again: Duration) {
        let Some(place) = self.taken.iter().rposition(|taken| taken.key == key) else { return };
        let taken = self.taken.swap_remove(place);
        let (run, backfill, run_after) = (self.seat, self.backfill, self.run_after);
        let candidate = Candidate { run, key, needs: taken.needs, weight: self.weight(key.task), backfill, run_after };
        let now = self.clock.now();
        let again = TimeDelta::from_std(again).ok().and_then(|again| now.checked_add_signed(again)).unwrap_or(now);
        self.due = Some(self.slots.put_back(candidate, limit, (again, now)));
    }

    /// The body of one that went is started now.
    pub(super) fn started(&mut self, key: InstanceKey) {
        if self.needs.get(key.task as usize).is_none_or(|needs| needs.rate.is_none()) {
            return;
        }
        if let Some(taken) = self.taken.iter_mut().rev().find(|taken| taken.key == key) {
            taken.started = true;
            self.slots.started(&taken.needs, self.clock.now());
        }
    }

    /// Nothing of this run goes any more; whoever waits behind it may.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.withdraw();
    }

    /// Nothing of this run waits any longer. It may again: a run that has ended can be cleared as long as its last tries are
    /// under way.
    pub(super) fn withdraw(&mut self) {
        self.due = None;
        self.slots.withdraw(self.seat, self.clock.now());
    }

    /// What this run waits for may come: others have it now, or time brings it.
    pub(super) fn may_go_on(&self) -> bool {
        self.due.is_some() || self.slots.may_go_on(self.seat, self.taken.len(), self.clock.now())
    }

    /// When something may go that waits for nothing but its rate.
    pub(super) fn due(&self) -> Option<DateTime<Utc>> {
        self.due
    }

    /// Waits until something was dealt to this run, or it is known anew when that may be.
    pub(super) async fn dealt(&self) {
        // A call may be one of long ago, of what was fetched since.
        while !self.slots.has_news(self.seat, self.due) {
            self.wake.notified().await;
        }
    }

    /// An instance that has not gone is no longer scheduled.
    pub(super) fn forget(&mut self, key: InstanceKey) {
        self.held.retain(|held| *held != key);
        if let Some(needs) = self.needs_of(key) {
            self.slots.remove(self.seat, &needs, self.weight(key.task), key);
        }
        self.keyed.remove(&key);
    }

    /// A try has ended: what follows may have its slots.
    pub(super) fn release(&mut self, key: InstanceKey) {
        if let Some(place) = self.taken.iter().rposition(|taken| taken.key == key) {
            let taken = self.taken.swap_remove(place);
            self.slots.release(self.seat, &taken.needs, taken.started);
            self.keyed.remove(&key);
        }
    }
}

/// What each task needs; equal needs are one.
fn needs(dag: &Dag) -> Vec<Arc<Needs>> {
    let mut known: HashMap<Needs, Arc<Needs>> = HashMap::new();
    let filled =
        |needs: Needs| if keys::arguments(&needs).is_empty() { keys::filled(&needs, &BTreeMap::new()) } else { needs };
    let of = (0..dag.tasks.len() as TaskIx).filter_map(|task| Needs::of(dag, task)).map(filled);
    of.map(|needs| known.entry(needs).or_insert_with_key(|needs| Arc::new(needs.clone())).clone()).collect()
}

impl Drop for Queue {
    /// A run that is left behind takes no slot along.
    fn drop(&mut self) {
        for taken in self.taken.drain(..) {
            self.slots.release(self.seat, &taken.needs, taken.started);
        }
        self.slots.leave(self.seat, self.clock.now());
    }
}
