//! The scheduled instances that wait for a slot, and who of them goes next.

use chrono::DateTime;
use flow_core::{Candidate, Dag, InFlight, InstanceKey, Limits, TaskIx, admit};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The scheduled instances of a run, and what of it is in flight.
///
/// Candidates are made only for the first of each pool, as many as could go at all: the rest of 100,000 costs nothing.
pub(super) struct Queue {
    pools: BTreeMap<String, BTreeSet<(Reverse<i64>, InstanceKey)>>,
    weights: Vec<i64>,
    limits: Limits,
    in_flight: InFlight,
}

impl Queue {
    pub(super) fn new(dag: &Dag, parallelism: usize, pools: BTreeMap<String, u32>) -> Queue {
        // There is one run here, so that its DAG's own limit is a limit of all.
        let parallelism = u32::try_from(parallelism).unwrap_or(u32::MAX).min(dag.max_active_tasks);
        Queue {
            pools: BTreeMap::new(),
            weights: flow_core::priority::weights(dag),
            limits: Limits { parallelism, pools, active_tasks: BTreeMap::new() },
            in_flight: InFlight::default(),
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
        let free = self.limits.parallelism.saturating_sub(self.in_flight.total()) as usize;
        let mut heads: Vec<Candidate<()>> = Vec::new();
        for (pool, waiting) in &self.pools {
            let slots = self.limits.pools.get(pool).copied().unwrap_or(0);
            if self.in_flight.pool(pool) >= slots {
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
        let picked = admit(&heads, &self.limits, &mut self.in_flight);
        for candidate in &picked {
            self.remove(&candidate.pool, candidate.weight, candidate.key);
        }
        picked.into_iter().map(|c| c.key).collect()
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
        self.in_flight.remove("", &def.pool, def.pool_slots);
    }
}
