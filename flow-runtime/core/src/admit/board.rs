//! All that waits to go, of all runs, kept so that who is next is found without a look at the rest.

use super::{Candidate, InFlight, Limits, Needs, Rank};
use crate::event::InstanceKey;
use crate::waiting::Waiting;
use chrono::{DateTime, Utc};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

/// The candidates of all runs, and what is in flight of them.
///
/// Those of one run with equal needs stand in one lane, and only the first of a lane is looked at: 100,000 instances
/// that wait behind it cost nothing. A look at the board takes as long as there are runs that wait, and lanes of theirs.
#[derive(Debug, Clone)]
pub struct Board<R> {
    limits: Limits,
    in_flight: InFlight<R>,
    runs: BTreeMap<R, Waiters>,
}

/// Who goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked<R> {
    /// Those that go now, in order.
    pub gone: Vec<Candidate<R>>,
    /// Runs of which something waits for nothing but its rate, or for what other processes have, with the instant from which on the first of that may go: then
    /// the board is to be asked again.
    pub due: BTreeMap<R, DateTime<Utc>>,
}

/// What waits of one run.
#[derive(Debug, Clone)]
struct Waiters {
    backfill: bool,
    run_after: DateTime<Utc>,
    lanes: BTreeMap<Arc<Needs>, Lane>,
}

/// Heavier first, then in the order of the DAG.
type Lane = BTreeSet<(Reverse<i64>, InstanceKey)>;

/// The first of a lane, by what candidates are ordered; and which lane that is. The greatest of a heap goes first.
type Head<'a, R> = (Reverse<Rank<'a, R>>, &'a Arc<Needs>);

impl<R: Ord + Clone> Board<R> {
    /// An empty board under these limits.
    pub fn new(limits: Limits) -> Board<R> {
        Board { limits, in_flight: InFlight::default(), runs: BTreeMap::new() }
    }

    /// What is in flight.
    pub fn in_flight(&self) -> &InFlight<R> {
        &self.in_flight
    }

    /// A candidate waits from now on.
    pub fn push(&mut self, candidate: Candidate<R>) {
        let Candidate { run, key, needs, weight, backfill, run_after } = candidate;
        let waiters = self.runs.entry(run).or_insert_with(|| Waiters { backfill, run_after, lanes: BTreeMap::new() });
        waiters.lanes.entry(needs).or_default().insert((Reverse(weight), key));
    }

    /// A candidate waits no longer. Says whether it did.
    pub fn remove(&mut self, run: &R, needs: &Arc<Needs>, weight: i64, key: InstanceKey) -> bool {
        let Some(waiters) = self.runs.get_mut(run) else { return false };
        let Some(lane) = waiters.lanes.get_mut(needs) else { return false };
        let was_there = lane.remove(&(Reverse(weight), key));
        if lane.is_empty() {
            waiters.lanes.remove(needs);
        }
        was_there
    }

    /// Nothing of this run waits any longer.
    pub fn withdraw(&mut self, run: &R) {
        self.runs.remove(run);
    }

    /// Something that went has started: from now on it counts by when it did.
    pub fn started(&mut self, needs: &Needs, now: DateTime<Utc>) {
        self.in_flight.started(needs, now);
    }

    /// Something that went does not start after all.
    pub fn give_back(&mut self, run: &R, needs: &Needs) {
        self.in_flight.give_back(run, needs);
    }

    /// Something that had started has ended.
    pub fn release(&mut self, run: &R, needs: &Needs) {
        self.in_flight.remove(run, needs);
    }

    /// Other processes have what is left of a shared limit; see [`InFlight::close`].
    pub fn close(&mut self, name: &str, until: DateTime<Utc>, now: DateTime<Utc>) {
        self.in_flight.close(name, until, now);
    }

    /// Does something of this run wait?
    pub fn waits(&self, run: &R) -> bool {
        self.runs.get(run).is_some_and(|waiters| !waiters.lanes.is_empty())
    }

    /// Takes off those that go now, and counts them as in flight: the same, and in the same order, as
    /// [`admit`](super::admit()) would pick of all that wait.
    pub fn pick(&mut self, now: DateTime<Utc>) -> Picked<R> {
        let Board { limits, in_flight, runs } = self;
        in_flight.no_later_than(now);
        let (mut gone, mut due): (Vec<Candidate<R>>, BTreeMap<R, DateTime<Utc>>) = Default::default();
        if in_flight.total() >= limits.parallelism {
            return Picked { gone, due };
        }
        let mut heads: BinaryHeap<Head<'_, R>> = BinaryHeap::new();
        for (run, waiters) in runs.iter() {
            heads.extend(waiters.lanes.iter().filter_map(|(needs, lane)| waiters.head(run, needs, lane.iter())));
        }
        // The rest of each lane of which somebody goes: they are taken off when no head borrows the board any more.
        let mut rest = BTreeMap::new();
        while let Some((Reverse((backfill, Reverse(weight), run_after, run, key)), needs)) = heads.pop() {
            if in_flight.total() >= limits.parallelism {
                break;
            }
            // What does not fit now does not fit later either: only more gets in flight here.
            match limits.refuses(run, needs, in_flight, now) {
                None => {}
                Some(Waiting::Rate { due: Some(at), .. } | Waiting::Elsewhere { due: at, .. }) => {
                    due.entry(run.clone()).and_modify(|first| *first = at.min(*first)).or_insert(at);
                    continue;
                }
                Some(_) => continue,
            }
            in_flight.add(run, needs);
            gone.push(Candidate { run: run.clone(), key, needs: needs.clone(), weight, backfill, run_after });
            let Some(waiters) = runs.get(run) else { continue };
            let next = rest.entry((run, needs)).or_insert_with(|| {
                let mut lane = waiters.lanes[needs].iter();
                lane.next();
                lane
            });
            heads.extend(waiters.head(run, needs, next));
        }
        for one in &gone {
            self.remove(&one.run, &one.needs, one.weight, one.key);
        }
        Picked { gone, due }
    }
}

impl Waiters {
    fn head<'a, R>(
        &self,
        run: &'a R,
        needs: &'a Arc<Needs>,
        mut lane: impl Iterator<Item = &'a (Reverse<i64>, InstanceKey)>,
    ) -> Option<Head<'a, R>> {
        let &(weight, key) = lane.next()?;
        Some((Reverse((self.backfill, weight, self.run_after, run, key)), needs))
    }
}
