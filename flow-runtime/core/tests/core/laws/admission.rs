//! Never more in flight than a cap, and never a free slot that the next in line could have had.

use chrono::{DateTime, TimeDelta};
use flow_core::{Candidate, InFlight, InstanceKey, Limits, admit};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn candidate() -> impl Strategy<Value = Candidate<u8>> {
    (0..3u8, 0..6u32, -1..3i32, 0..3u8, 1..4u32, -2..3i64).prop_map(|(run, task, map_index, pool, slots, weight)| {
        Candidate {
            run,
            key: InstanceKey { task, map_index },
            dag_id: format!("d{}", run % 2),
            pool: format!("p{pool}"),
            pool_slots: slots,
            weight,
            run_after: DateTime::UNIX_EPOCH + TimeDelta::days(i64::from(run)),
        }
    })
}

proptest! {
    #![proptest_config(super::cases(256))]

    #[test]
    fn no_cap_is_broken_and_no_slot_wasted(
        candidates in vec(candidate(), 0..40),
        parallelism in 0..12u32,
        pools in vec(0..8u32, 2),
        caps in vec(0..6u32, 2),
    ) {
        // The third pool does not exist.
        let name = |kind: &str, all: &[u32]| -> BTreeMap<String, u32> {
            all.iter().enumerate().map(|(n, &cap)| (format!("{kind}{n}"), cap)).collect()
        };
        let limits = Limits { parallelism, pools: name("p", &pools), active_tasks: name("d", &caps) };
        let queue: BTreeSet<Candidate<u8>> = candidates.into_iter().collect();
        let mut in_flight = InFlight::default();
        let picked = admit(&queue, &limits, &mut in_flight, usize::MAX);

        prop_assert!(picked.is_sorted());
        prop_assert_eq!(in_flight.total() as usize, picked.len());
        prop_assert!(in_flight.total() <= parallelism);
        for (pool, &slots) in &limits.pools {
            let taken: u32 = picked.iter().filter(|c| c.pool == *pool).map(|c| c.pool_slots).sum();
            prop_assert_eq!(in_flight.pool(pool), taken);
            prop_assert!(taken <= slots);
        }
        for (dag, &cap) in &limits.active_tasks {
            prop_assert!(in_flight.dag(dag) <= cap);
        }
        let went: BTreeSet<&Candidate<u8>> = picked.iter().collect();
        for left in queue.iter().filter(|c| !went.contains(c)) {
            let why = limits.refuses(left, &in_flight);
            prop_assert!(why.is_some(), "{:?} could have gone", left);
        }
        for c in &picked {
            in_flight.remove(&c.dag_id, &c.pool, c.pool_slots);
        }
        prop_assert_eq!(in_flight.total(), 0);
    }
}
