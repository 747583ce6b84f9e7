//! What all runs of one engine share: how many tries may be under way at one time, the slots of the pools, and the one
//! board of all that waits for them.
//!
//! Whoever gives something back, or has something new that waits, deals: of all instances of all runs, those that are
//! first go. What is dealt to another run lies ready for it, counted as in flight, and that run is woken. So nobody takes
//! what somebody before it waits for, and no run asks again and again.

use super::EngineSettings;
use super::past::News;
use chrono::{DateTime, Utc};
use flow_core::admit::Picked;
use flow_core::{Board, Candidate, InstanceKey, Limits, Needs};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// The number of a run among those of its engine, in the order in which they were begun.
pub(super) type Seat = u64;

/// The slots of an engine.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
    /// What runs tell those after them.
    pub(super) news: News,
}

#[derive(Debug)]
struct State {
    board: Board<Seat>,
    seated: BTreeMap<Seat, Seated>,
    next: Seat,
}

#[derive(Debug, Default)]
struct Seated {
    /// What may go, and was not fetched yet.
    dealt: Vec<Candidate<Seat>>,
    /// When something may go that waits for nothing but its rate.
    due: Option<DateTime<Utc>>,
    wake: Arc<Notify>,
}

impl Slots {
    pub(super) fn of(settings: &EngineSettings) -> Slots {
        let limits = Limits {
            parallelism: u32::try_from(settings.parallelism).unwrap_or(u32::MAX),
            pools: settings.all_pools(),
        };
        let state = State { board: Board::new(limits), seated: BTreeMap::new(), next: 0 };
        Slots { state: Mutex::new(state), news: News::default() }
    }

    /// A run comes. It is woken when something was dealt to it.
    pub(super) fn join(&self) -> (Seat, Arc<Notify>) {
        let mut state = self.state.lock();
        let seat = state.next;
        state.next += 1;
        (seat, state.seated.entry(seat).or_default().wake.clone())
    }

    /// A run goes. What it has in flight it has released before.
    pub(super) fn leave(&self, seat: Seat, now: DateTime<Utc>) {
        self.withdraw(seat, now);
        self.state.lock().seated.remove(&seat);
    }

    /// An instance waits from now on.
    pub(super) fn push(&self, candidate: Candidate<Seat>) {
        self.state.lock().board.push(candidate);
    }

    /// An instance waits no longer.
    pub(super) fn remove(&self, seat: Seat, needs: &Arc<Needs>, weight: i64, key: InstanceKey) {
        let mut state = self.state.lock();
        let State { board, seated, .. } = &mut *state;
        if board.remove(&seat, needs, weight, key) {
            return;
        }
        let Some(dealt) = seated.get_mut(&seat).map(|seated| &mut seated.dealt) else { return };
        if let Some(place) = dealt.iter().position(|one| one.key == key) {
            let one = dealt.swap_remove(place);
            board.give_back(&seat, &one.needs);
        }
    }

    /// Nothing of this run waits any longer.
    pub(super) fn withdraw(&self, seat: Seat, now: DateTime<Utc>) {
        let mut state = self.state.lock();
        state.board.withdraw(&seat);
        let dealt = state.seated.get_mut(&seat).map(|seated| {
            seated.due = None;
            std::mem::take(&mut seated.dealt)
        });
        dealt.into_iter().flatten().for_each(|one| state.board.give_back(&seat, &one.needs));
        state.deal(seat, now);
    }

    /// One that was dealt, and fetched, may not start: tasks in other processes have what is left of a limit, which is asked for again
    /// at that instant. It waits as before. Says when this run is to ask again.
    pub(super) fn put_back(
        &self,
        candidate: Candidate<Seat>,
        limit: &str,
        (again, now): (DateTime<Utc>, DateTime<Utc>),
    ) -> DateTime<Utc> {
        let mut state = self.state.lock();
        let State { board, seated, .. } = &mut *state;
        let seat = candidate.run;
        board.give_back(&seat, &candidate.needs);
        board.push(candidate);
        board.close(limit, again, now);
        let Some(seated) = seated.get_mut(&seat) else { return again };
        *seated.due.insert(seated.due.map_or(again, |due| due.min(again)))
    }

    /// A try has ended. Nobody is dealt its slots yet: what follows it may be first.
    pub(super) fn release(&self, seat: Seat, needs: &Needs, started: bool) {
        let board = &mut self.state.lock().board;
        if started { board.release(&seat, needs) } else { board.give_back(&seat, needs) }
    }

    /// A try with a rate has started.
    pub(super) fn started(&self, needs: &Needs, now: DateTime<Utc>) {
        self.state.lock().board.started(needs, now);
    }

    /// Deals what is free, and gives what fell to this run; and when more may go that waits for nothing but its rate.
    pub(super) fn fetch(&self, seat: Seat, now: DateTime<Utc>) -> (Vec<Candidate<Seat>>, Option<DateTime<Utc>>) {
        let mut state = self.state.lock();
        if let Some(seated) = state.seated.get_mut(&seat) {
            seated.due = None;
        }
        state.deal(seat, now);
        let seated = state.seated.get_mut(&seat);
        seated.map(|seated| (std::mem::take(&mut seated.dealt), seated.due)).unwrap_or_default()
    }

    /// Something lies ready for this run, or may go at another instant than it knows of.
    pub(super) fn has_news(&self, seat: Seat, due: Option<DateTime<Utc>>) -> bool {
        self.state.lock().seated.get(&seat).is_some_and(|seated| !seated.dealt.is_empty() || seated.due != due)
    }

    /// Something of this run waits, and may go some day: it lies ready, or time brings it, or others have what it waits for. What
    /// they have given back since this run has fetched is dealt first: else nobody might have it for a moment.
    pub(super) fn may_go_on(&self, seat: Seat, taken: usize, now: DateTime<Utc>) -> bool {
        let mut state = self.state.lock();
        if state.board.waits(&seat) {
            state.deal(seat, now);
        }
        let lies_ready = |seated: &Seated| !seated.dealt.is_empty() || seated.due.is_some();
        state.seated.get(&seat).is_some_and(lies_ready)
            || (state.board.waits(&seat) && state.board.in_flight().total() as usize > taken)
    }
}

impl State {
    /// Lets go all that may go, and wakes their runs, but for the one that is asking; and those that learn when they may.
    fn deal(&mut self, asking: Seat, now: DateTime<Utc>) {
        let Picked { gone, due } = self.board.pick(now);
        for (seat, at) in due {
            let Some(seated) = self.seated.get_mut(&seat) else { continue };
            if seated.due.is_none_or(|due| due > at) {
                seated.due = Some(at);
                seated.wake.notify_one();
            }
        }
        for one in gone {
            let Some(seated) = self.seated.get_mut(&one.run) else { continue };
            if one.run != asking {
                seated.wake.notify_one();
            }
            seated.dealt.push(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use flow_core::{Dag, TaskDef};

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn two_runs_for_one_slot() -> (Slots, [Candidate<Seat>; 2]) {
        let slots = Slots::of(&EngineSettings { parallelism: 1, ..EngineSettings::default() });
        let mut dag = Dag::new("d");
        dag.tasks.push(TaskDef::new("t", "t"));
        let needs = Arc::new(Needs::of(&dag, 0).unwrap());
        let candidates = [(); 2].map(|()| {
            let (run, _) = slots.join();
            let (key, needs) = (InstanceKey { task: 0, map_index: -1 }, needs.clone());
            Candidate { run, key, needs, weight: 1, backfill: false, run_after: NOW }
        });
        candidates.iter().for_each(|one| slots.push(one.clone()));
        (slots, candidates)
    }

    #[test]
    fn what_was_given_back_and_not_dealt_yet_is_no_reason_to_give_up() {
        let (slots, [first, second]) = two_runs_for_one_slot();
        assert_eq!(slots.fetch(first.run, NOW).0.len(), 1);
        assert_eq!(slots.fetch(second.run, NOW), (Vec::new(), None));
        assert!(slots.may_go_on(second.run, 0, NOW), "the other has it");
        slots.release(first.run, &first.needs, true);
        assert!(slots.may_go_on(second.run, 0, NOW), "nobody has it");
        assert_eq!(slots.fetch(second.run, NOW).0.len(), 1);
    }

    #[test]
    fn what_the_others_may_give_back_is_no_reason_to_give_up() {
        let (slots, [first, second]) = two_runs_for_one_slot();
        assert_eq!(slots.fetch(first.run, NOW).0.len(), 1);
        assert_eq!(slots.fetch(second.run, NOW), (Vec::new(), None));
        let later = NOW + TimeDelta::seconds(1);
        slots.put_back(first.clone(), "pool default_pool", (later, NOW));
        assert!(slots.may_go_on(second.run, 0, NOW), "it is asked for again");
        assert_eq!(slots.fetch(second.run, NOW), (Vec::new(), Some(later)));
        assert_eq!(slots.fetch(first.run, later).0.len(), 1, "the older one is first");
    }
}
