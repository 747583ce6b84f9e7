//! Across runs: who goes next within pools, caps and priorities?

use crate::event::InstanceKey;
use crate::waiting::Waiting;
use chrono::{DateTime, Utc};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

/// A scheduled instance that wants to go. Candidates are ordered: the first goes first.
///
/// `R` names the run (its row id, say); it breaks ties between runs of the same instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<R> {
    /// The run.
    pub run: R,
    /// The instance in it.
    pub key: InstanceKey,
    /// The DAG, whose `max_active_tasks` counts.
    pub dag_id: String,
    /// The pool that holds its slots.
    pub pool: String,
    /// How many slots of the pool it takes.
    pub pool_slots: u32,
    /// Its total weight, by [`priority::weights`](crate::priority::weights).
    pub weight: i64,
    /// The run's place in time.
    pub run_after: DateTime<Utc>,
}

impl<R: Ord> Candidate<R> {
    /// Heavier first, then older runs, then tasks in the order of the DAG and instances in that of the list.
    fn rank(&self) -> (Reverse<i64>, DateTime<Utc>, &R, InstanceKey) {
        (Reverse(self.weight), self.run_after, &self.run, self.key)
    }
}

impl<R: Ord> Ord for Candidate<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl<R: Ord> PartialOrd for Candidate<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How much may be in flight at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Task instances in all.
    pub parallelism: u32,
    /// Slots of each pool.
    pub pools: BTreeMap<String, u32>,
    /// `max_active_tasks` of each DAG; a DAG that is not here has no limit of its own.
    pub active_tasks: BTreeMap<String, u32>,
}

/// How much is in flight.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InFlight {
    total: u32,
    pools: BTreeMap<String, u32>,
    dags: BTreeMap<String, u32>,
}

impl InFlight {
    /// Counts one more instance.
    pub fn add(&mut self, dag_id: &str, pool: &str, pool_slots: u32) {
        self.total = self.total.saturating_add(1);
        bump(&mut self.pools, pool, |n| n.saturating_add(pool_slots));
        bump(&mut self.dags, dag_id, |n| n.saturating_add(1));
    }

    /// Counts one instance less.
    pub fn remove(&mut self, dag_id: &str, pool: &str, pool_slots: u32) {
        self.total = self.total.saturating_sub(1);
        bump(&mut self.pools, pool, |n| n.saturating_sub(pool_slots));
        bump(&mut self.dags, dag_id, |n| n.saturating_sub(1));
    }

    /// Task instances in all.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Slots of a pool that are taken.
    pub fn pool(&self, pool: &str) -> u32 {
        self.pools.get(pool).copied().unwrap_or(0)
    }

    /// Task instances of a DAG.
    pub fn dag(&self, dag_id: &str) -> u32 {
        self.dags.get(dag_id).copied().unwrap_or(0)
    }
}

fn bump(map: &mut BTreeMap<String, u32>, name: &str, change: impl Fn(u32) -> u32) {
    match map.get_mut(name) {
        Some(n) => *n = change(*n),
        None => {
            map.insert(name.into(), change(0));
        }
    }
}

impl Limits {
    /// The limit that holds this candidate back; `None` if it may go.
    pub fn refuses<R>(&self, candidate: &Candidate<R>, in_flight: &InFlight) -> Option<Waiting> {
        if in_flight.total >= self.parallelism {
            return Some(Waiting::Parallelism { limit: self.parallelism });
        }
        let Some(&slots) = self.pools.get(&candidate.pool) else {
            return Some(Waiting::NoPool { pool: candidate.pool.clone() });
        };
        let open = slots.saturating_sub(in_flight.pool(&candidate.pool));
        if candidate.pool_slots > open {
            let (pool, needs) = (candidate.pool.clone(), candidate.pool_slots);
            return Some(Waiting::Pool { pool, slots, open, needs });
        }
        match self.active_tasks.get(&candidate.dag_id) {
            Some(&limit) if in_flight.dag(&candidate.dag_id) >= limit => {
                Some(Waiting::ActiveTasks { dag_id: candidate.dag_id.clone(), limit })
            }
            _ => None,
        }
    }
}

/// Picks the candidates that go now, at most so many, counts them into `in_flight`, and returns them in order.
///
/// `candidates` come in their order, best kept in a `BTreeSet<Candidate<_>>`; the walk ends where parallelism does.
/// What does not fit is passed over, and what is behind it may still go.
pub fn admit<'a, R: Clone + 'a>(
    candidates: impl IntoIterator<Item = &'a Candidate<R>>,
    limits: &Limits,
    in_flight: &mut InFlight,
    most: usize,
) -> Vec<Candidate<R>> {
    let mut picked = Vec::new();
    for candidate in candidates {
        if in_flight.total >= limits.parallelism || picked.len() >= most {
            break;
        }
        if limits.refuses(candidate, in_flight).is_none() {
            in_flight.add(&candidate.dag_id, &candidate.pool, candidate.pool_slots);
            picked.push(candidate.clone());
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn candidate(run: u32, task: u32, weight: i64) -> Candidate<u32> {
        Candidate {
            run,
            key: InstanceKey { task, map_index: -1 },
            dag_id: format!("dag{run}"),
            pool: "p".into(),
            pool_slots: 1,
            weight,
            run_after: DateTime::UNIX_EPOCH,
        }
    }

    fn limits(parallelism: u32, pool: u32) -> Limits {
        Limits { parallelism, pools: [("p".to_string(), pool)].into(), active_tasks: BTreeMap::new() }
    }

    fn picked(all: &BTreeSet<Candidate<u32>>, limits: &Limits) -> Vec<(u32, u32)> {
        admit(all, limits, &mut InFlight::default(), usize::MAX).into_iter().map(|c| (c.run, c.key.task)).collect()
    }

    #[test]
    fn the_heavier_goes_first_then_the_older_run_then_the_earlier_task() {
        let mut young = candidate(1, 0, 5);
        young.run_after += chrono::TimeDelta::days(1);
        let all = BTreeSet::from([young, candidate(2, 1, 5), candidate(2, 0, 5), candidate(3, 9, 7)]);
        assert_eq!(picked(&all, &limits(9, 9)), [(3, 9), (2, 0), (2, 1), (1, 0)]);
        assert_eq!(picked(&all, &limits(2, 9)), [(3, 9), (2, 0)]);
        assert_eq!(picked(&all, &limits(9, 1)), [(3, 9)]);
        assert_eq!(admit(&all, &limits(9, 9), &mut InFlight::default(), 1).len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_passed_over_and_told_why() {
        let mut wide = candidate(1, 0, 9);
        wide.pool_slots = 3;
        let mut lost = candidate(1, 1, 8);
        lost.pool = "gone".into();
        let all =
            BTreeSet::from([wide.clone(), lost.clone(), candidate(1, 2, 1), candidate(1, 3, 1), candidate(2, 0, 0)]);
        let limits = Limits { active_tasks: [("dag1".to_string(), 1)].into(), ..limits(9, 2) };
        let mut in_flight = InFlight::default();
        let went: Vec<_> =
            admit(&all, &limits, &mut in_flight, usize::MAX).into_iter().map(|c| (c.run, c.key.task)).collect();
        assert_eq!(went, [(1, 2), (2, 0)]);
        let why = |c: &Candidate<u32>, in_flight: &InFlight| {
            let reason = limits.refuses(c, in_flight);
            reason.expect("it did not go").to_string()
        };
        assert_eq!(why(&wide, &in_flight), "needs 3 slots of the pool p, which has 2 in all");
        assert_eq!(why(&lost, &in_flight), "its pool gone does not exist");
        assert_eq!(why(&candidate(1, 3, 1), &in_flight), "needs 1 of the 2 slots of the pool p, 0 of them free");
        in_flight.remove("dag2", "p", 1);
        assert_eq!(
            why(&candidate(1, 3, 1), &in_flight),
            "dag1 has as many tasks in flight as it may (max_active_tasks is 1)"
        );
        assert_eq!((in_flight.total(), in_flight.pool("p"), in_flight.dag("dag1")), (1, 1, 1));
    }
}
