//! Never more in flight than a cap, and never a free slot that the next in line could have had; what is of a backfill takes
//! nothing that something of a live run could have had; and a board says the same as the walk over all that waits.

use chrono::{DateTime, TimeDelta, Utc};
use flow_core::admit::{Picked, TaskNeeds};
use flow_core::dag::{AtOnce, Rate};
use flow_core::{Board, Candidate, InFlight, InstanceKey, Limits, Needs, admit};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A task always has the same limits in its DAG.
fn candidate() -> impl Strategy<Value = Candidate<u8>> {
    (0..4u8, 0..6u32, -1..3i32).prop_map(|(run, task, map_index)| {
        let limited = |max_active, max_active_per_run| {
            Some(TaskNeeds { task_id: format!("t{task}"), max_active, max_active_per_run })
        };
        let needs = Needs {
            dag_id: format!("d{}", run % 2),
            pool: format!("p{}", task % 3),
            pool_slots: 1 + task % 2,
            max_active_tasks: 3 + u32::from(run % 2),
            task: match task {
                0 => limited(Some(1), None),
                1 => limited(Some(3), Some(2)),
                2 => limited(None, Some(1)),
                _ => None,
            },
            // Tasks of all DAGs share keys, and need not agree about how many may have them.
            at_once: (task % 3 == 1).then(|| AtOnce { most: 1 + task / 3, key: format!("k{}", map_index > 0) }),
            rate: (task > 2).then(|| Rate {
                starts: task - 2,
                span: Duration::from_millis(u64::from(task) * 100),
                key: format!("r{}", map_index > 0),
            }),
        };
        Candidate {
            run,
            key: InstanceKey { task, map_index },
            needs: needs.into(),
            weight: i64::from(task) % 3 - 1,
            backfill: run == 3,
            run_after: DateTime::UNIX_EPOCH + TimeDelta::days(i64::from(run / 2)),
        }
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    // The third pool does not exist.
    (0..12u32, vec(0..8u32, 2)).prop_map(|(parallelism, pools)| {
        let pools = pools.iter().enumerate().map(|(n, &slots)| (format!("p{n}"), slots)).collect();
        Limits { parallelism, pools }
    })
}

/// Of those that went, how many are alike.
fn count<K: Ord>(all: &[Candidate<u8>], by: impl Fn(&Candidate<u8>) -> Option<K>) -> BTreeMap<K, u32> {
    let mut found = BTreeMap::new();
    all.iter().filter_map(by).for_each(|key| *found.entry(key).or_default() += 1);
    found
}

fn no_cap_is_broken(went: &[Candidate<u8>], limits: &Limits) -> Result<(), TestCaseError> {
    prop_assert!(went.len() <= limits.parallelism as usize);
    for (pool, &slots) in &limits.pools {
        let taken: u32 = went.iter().filter(|c| c.needs.pool == *pool).map(|c| c.needs.pool_slots).sum();
        prop_assert!(taken <= slots);
    }
    let of = |run: u8, c: &Candidate<u8>| (c.run == run).then_some(());
    for c in went {
        prop_assert!(count(went, |other| of(c.run, other))[&()] <= c.needs.max_active_tasks);
        let Some(task) = &c.needs.task else { continue };
        let same = |other: &Candidate<u8>| other.key.task == c.key.task && other.needs.dag_id == c.needs.dag_id;
        let of_dag = went.iter().filter(|other| same(other)).count() as u32;
        prop_assert!(task.max_active.is_none_or(|most| of_dag <= most));
        let of_run = went.iter().filter(|other| same(other) && other.run == c.run).count() as u32;
        prop_assert!(task.max_active_per_run.is_none_or(|most| of_run <= most));
    }
    for at_once in went.iter().filter_map(|c| c.needs.at_once.as_ref()) {
        let same = |c: &&Candidate<u8>| c.needs.at_once.as_ref().is_some_and(|other| other.key == at_once.key);
        let most = went.iter().filter(same).filter_map(|c| c.needs.at_once.as_ref()).map(|other| other.most).max();
        // Whoever came last found less of them than it allows.
        prop_assert!(Some(went.iter().filter(same).count() as u32) <= most);
    }
    Ok(())
}

/// At its start nobody found as many starts with its key, in the span that ended there, as it allows. Of those that were
/// let go before that and started out of turn, the most generous counts.
fn no_rate_is_broken(starts: &[(Rate, DateTime<Utc>)], in_turn: bool) -> Result<(), TestCaseError> {
    for (n, (rate, at)) in starts.iter().enumerate() {
        let earlier = starts[..n].iter().filter(|(other, _)| other.key == rate.key);
        let within: Vec<_> = earlier.filter(|(_, earlier)| *earlier + rate.span > *at).collect();
        let others = within.iter().map(|(other, _)| other.starts).filter(|_| !in_turn);
        let most = others.fold(rate.starts, u32::max);
        prop_assert!(within.len() < most as usize, "{rate:?} at {at}: {within:?} before it");
    }
    Ok(())
}

/// What happens to a board.
#[derive(Debug, Clone)]
enum Step {
    Push(Candidate<u8>),
    /// The one at this place of those that wait goes away.
    Remove(usize),
    /// The one at this place of those in flight ends.
    End(usize),
    Withdraw(u8),
    Pick,
    /// The first so many of those in flight that have not started start.
    Start(usize),
    /// Others have what is left of this limit, for so many milliseconds.
    Close(&'static str, i64),
    /// So many milliseconds pass.
    Pass(i64),
    /// The clock is set back by so many milliseconds.
    SetBack(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => candidate().prop_map(Step::Push),
        1 => (0..40usize).prop_map(Step::Remove),
        3 => (0..40usize).prop_map(Step::End),
        1 => (0..4u8).prop_map(Step::Withdraw),
        3 => Just(Step::Pick),
        3 => (0..5usize).prop_map(Step::Start),
        1 => (prop::sample::select(vec!["pool p0", "task d0.t0", "key ktrue", "rate rtrue"]), 0..300i64)
            .prop_map(|(limit, millis)| Step::Close(limit, millis)),
        2 => (0..300i64).prop_map(Step::Pass),
        1 => (0..300i64).prop_map(Step::SetBack),
    ]
}

proptest! {
    #![proptest_config(super::cases(256))]

    #[test]
    fn no_cap_is_broken_and_no_slot_wasted(candidates in vec(candidate(), 0..40), limits in limits()) {
        let queue: BTreeSet<Candidate<u8>> = candidates.into_iter().collect();
        let mut in_flight = InFlight::default();
        let now = DateTime::UNIX_EPOCH;
        let picked = admit(&queue, &limits, &mut in_flight, now);

        prop_assert!(picked.is_sorted());
        prop_assert_eq!(in_flight.total() as usize, picked.len());
        no_cap_is_broken(&picked, &limits)?;
        let went: BTreeSet<&Candidate<u8>> = picked.iter().collect();
        for left in queue.iter().filter(|c| !went.contains(c)) {
            let why = limits.refuses(&left.run, &left.needs, &in_flight, now);
            prop_assert!(why.is_some(), "{:?} could have gone", left);
        }
        for c in &picked {
            in_flight.give_back(&c.run, &c.needs);
        }
        prop_assert_eq!(in_flight.total(), 0);
        prop_assert_eq!(admit(&queue, &limits, &mut in_flight, now), picked, "as if nobody had gone");
    }

    #[test]
    fn live_runs_go_as_if_there_were_no_backfill(candidates in vec(candidate(), 0..40), limits in limits()) {
        let queue: BTreeSet<Candidate<u8>> = candidates.into_iter().collect();
        let went = |queue: &BTreeSet<Candidate<u8>>| admit(queue, &limits, &mut InFlight::default(), DateTime::UNIX_EPOCH);
        let live = queue.iter().filter(|one| !one.backfill).cloned().collect();
        let alone = went(&live);
        let (first, rest) = went(&queue).into_iter().partition::<Vec<_>, _>(|one| !one.backfill);
        prop_assert_eq!(&first, &alone);
        prop_assert!(first.iter().all(|one| rest.iter().all(|other| one < other)));
    }

    #[test]
    fn a_board_picks_what_the_walk_over_all_would(steps in vec(step(), 0..80), limits in limits()) {
        let mut board = Board::new(limits.clone());
        let (mut waiting, mut in_flight, mut went) = (BTreeSet::new(), InFlight::default(), Vec::<Candidate<u8>>::new());
        let (mut now, mut unstarted, mut starts) = (DateTime::UNIX_EPOCH, BTreeSet::new(), Vec::new());
        // By a clock that nobody sets: rates hold by that.
        let mut passed = now;
        for step in steps {
            match step {
                // An instance waits, or is in flight, once.
                Step::Push(one) if went.contains(&one) => {}
                Step::Push(one) => {
                    board.push(one.clone());
                    waiting.insert(one);
                }
                Step::Remove(place) => {
                    let Some(one) = waiting.iter().nth(place).cloned() else { continue };
                    prop_assert!(board.remove(&one.run, &one.needs, one.weight, one.key));
                    prop_assert!(!board.remove(&one.run, &one.needs, one.weight, one.key));
                    waiting.remove(&one);
                }
                Step::End(place) => {
                    if place >= went.len() { continue }
                    let one = went.swap_remove(place);
                    if unstarted.remove(&one) {
                        board.give_back(&one.run, &one.needs);
                        in_flight.give_back(&one.run, &one.needs);
                    } else {
                        board.release(&one.run, &one.needs);
                        in_flight.remove(&one.run, &one.needs);
                    }
                }
                Step::Withdraw(run) => {
                    board.withdraw(&run);
                    waiting.retain(|one| one.run != run);
                }
                Step::Pick => {
                    let Picked { gone, due } = board.pick(now);
                    prop_assert_eq!(&gone, &admit(&waiting, &limits, &mut in_flight, now));
                    prop_assert!(due.iter().all(|(run, at)| *at > now && waiting.iter().any(|one| one.run == *run)));
                    waiting.retain(|one| !gone.contains(one));
                    unstarted.extend(gone.iter().cloned());
                    went.extend(gone);
                    no_cap_is_broken(&went, &limits)?;
                    prop_assert!(board.pick(now).gone.is_empty(), "all that could go went");
                }
                Step::Start(most) => {
                    for _ in 0..most {
                        let Some(one) = unstarted.pop_first() else { break };
                        board.started(&one.needs, now);
                        in_flight.started(&one.needs, now);
                        starts.extend(one.needs.rate.clone().map(|rate| (rate, passed)));
                    }
                    no_rate_is_broken(&starts, false)?;
                }
                Step::Close(limit, millis) => {
                    let until = now + TimeDelta::milliseconds(millis);
                    board.close(limit, until, now);
                    in_flight.close(limit, until, now);
                }
                Step::Pass(millis) => {
                    now += TimeDelta::milliseconds(millis);
                    passed += TimeDelta::milliseconds(millis);
                }
                Step::SetBack(millis) => now -= TimeDelta::milliseconds(millis),
            }
            prop_assert_eq!(board.in_flight(), &in_flight);
            for run in 0..4 {
                prop_assert_eq!(board.waits(&run), waiting.iter().any(|one| one.run == run));
            }
        }
    }

    #[test]
    fn all_get_there(candidates in vec(candidate(), 0..60), ends in vec(0..40usize, 1..20)) {
        let limits = Limits { parallelism: 4, pools: (0..3).map(|n| (format!("p{n}"), 2)).collect() };
        let mut board = Board::new(limits);
        let waiting: BTreeSet<Candidate<u8>> = candidates.into_iter().collect();
        waiting.iter().for_each(|one| board.push(one.clone()));
        let (mut now, mut went, mut ended, mut starts) = (DateTime::UNIX_EPOCH, Vec::<Candidate<u8>>::new(), 0, Vec::new());
        for turn in 0.. {
            let Picked { gone, due } = board.pick(now);
            for one in gone {
                board.started(&one.needs, now);
                starts.extend(one.needs.rate.clone().map(|rate| (rate, now)));
                went.push(one);
            }
            if went.is_empty() {
                // Only time can help the rest, and the board knows when.
                match due.values().min() {
                    Some(at) => now = *at,
                    None => break,
                }
            } else {
                let one = went.swap_remove(ends[turn % ends.len()] % went.len());
                board.release(&one.run, &one.needs);
                ended += 1;
            }
        }
        prop_assert_eq!(ended, waiting.len());
        no_rate_is_broken(&starts, true)?;
    }
}
