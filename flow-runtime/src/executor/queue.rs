//! The scheduled instances that wait for a slot, and who of them goes next.

use super::slots::Slots;
use chrono::DateTime;
use flow_core::{Candidate, Dag, InstanceKey, TaskIx, admit};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// The scheduled instances of a run, and what of it is in flight.
///
/// Candidates are made only for the first of each pool, as many as could go at all: the rest of 100,000 costs nothing.
pub(super) struct Queue {
    pools: BTreeMap<String, BTreeSet<(Reverse<i64>, InstanceKey)>>,
    weights: Vec<i64>,
    slots: Arc<Slots>,
    freed: watch::Receiver<()>,
    /// Most tries of this run at one time.
    most: usize,
    /// The slots that this run has, try by try.
    taken: Vec<(String, u32)>,
}

impl Queue {
    pub(super) fn new(dag: &Dag, slots: Arc<Slots>) -> Queue {
        Queue {
            pools: BTreeMap::new(),
            weights: flow_core::priority::weights(dag),
            freed: slots.listen(),
            slots,
            most: dag.max_active_tasks as usize,
            taken: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, dag: &Dag, key: InstanceKey) {
        let entry = (Reverse(self.weight(key.task)), key);
        let pool = &dag.tasks[key.task as usize].pool;
        match self.pools.get_mut(pool) {
            Some(waiting) => drop(waiting.insert(entry)),
            None => drop(self.pools.insert(pool.clone(), BTreeSet::from([entry]))),
        }
    }

    fn weight(&self, task: TaskIx) -> i64 {
        self.weights.get(task as usize).copied().unwrap_or(1)
    }

    /// Takes those that go now out of the queue, and counts them as in flight. What `held` names must wait a little.
    pub(super) fn admit(&mut self, dag: &Dag, held: impl Fn(InstanceKey) -> bool) -> Vec<InstanceKey> {
        // What becomes free from here on is heard of.
        self.freed.borrow_and_update();
        let slots = self.slots.clone();
        let picked = slots.with(|in_flight| {
            let limits = &slots.limits;
            let all = limits.parallelism.saturating_sub(in_flight.total()) as usize;
            let free = all.min(self.most.saturating_sub(self.taken.len()));
            let mut heads: Vec<Candidate<()>> = Vec::new();
            for (pool, waiting) in self.pools.iter().filter(|_| free > 0) {
                if in_flight.pool(pool) >= limits.pools.get(pool).copied().unwrap_or(0) {
                    continue;
                }
                let first = waiting.iter().filter(|(_, key)| !held(*key)).take(free);
                heads.extend(first.map(|&(Reverse(weight), key)| Candidate {
                    run: (),
                    key,
                    dag_id: String::new(),
                    pool: pool.clone(),
                    pool_slots: dag.tasks[key.task as usize].pool_slots,
                    weight,
                    run_after: DateTime::UNIX_EPOCH,
                }));
            }
            heads.sort();
            admit(&heads, limits, in_flight, free)
        });
        for candidate in &picked {
            self.remove(&candidate.pool, candidate.weight, candidate.key);
            self.taken.push((candidate.pool.clone(), candidate.pool_slots));
        }
        picked.into_iter().map(|c| c.key).collect()
    }

    /// Something waits here for a slot.
    pub(super) fn waits(&self) -> bool {
        self.pools.values().any(|waiting| !waiting.is_empty())
    }

    /// The same, and other runs have slots, or have just given some back.
    pub(super) fn waits_for_others(&self) -> bool {
        let others_have = || self.slots.with(|in_flight| in_flight.total() as usize > self.taken.len());
        self.waits() && (self.freed.has_changed().unwrap_or(false) || others_have())
    }

    /// There are other runs that may wait for what this one gives back.
    pub(super) fn has_company(&self) -> bool {
        self.slots.is_shared()
    }

    /// Another run has given slots back.
    pub(super) async fn freed(&mut self) {
        if self.freed.changed().await.is_err() {
            // The slots live as long as the queue.
            std::future::pending().await
        }
    }

    fn remove(&mut self, pool: &str, weight: i64, key: InstanceKey) {
        if let Some(waiting) = self.pools.get_mut(pool) {
            waiting.remove(&(Reverse(weight), key));
        }
    }

    /// An instance is no longer scheduled, for another reason than that it went.
    pub(super) fn forget(&mut self, dag: &Dag, key: InstanceKey) {
        let weight = self.weight(key.task);
        self.remove(&dag.tasks[key.task as usize].pool, weight, key);
    }

    /// A try has ended: its slots are free.
    pub(super) fn release(&mut self, dag: &Dag, task: TaskIx) {
        let def = &dag.tasks[task as usize];
        let held = self.taken.iter().rposition(|(pool, slots)| *pool == def.pool && *slots == def.pool_slots);
        if let Some(held) = held {
            self.taken.swap_remove(held);
            self.slots.release(&def.pool, def.pool_slots);
        }
    }
}

impl Drop for Queue {
    /// A run that is left behind takes no slot along.
    fn drop(&mut self) {
        for (pool, slots) in self.taken.drain(..) {
            self.slots.release(&pool, slots);
        }
    }
}
