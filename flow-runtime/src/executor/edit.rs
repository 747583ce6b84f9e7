//! A person changes the record of a run that nobody works on: tasks are to run again, or count as ended.

use super::hold;
use super::ids::Ids;
use super::outcome::TryEnd;
use super::owed::Owed;
use super::resume::{keys, run_state};
use super::rows::Rows;
use super::run_loop::pause_at;
use super::{Engine, EngineError, commands};
use crate::store::{Cause, CauseKind, Ending, InstanceRow, OrderRow, RunCommit, StoredRun};
use flow_core::{Dag, Event, InstanceKey, Outcome, Plan, RunState, RunStatus, TaskState, UNMAPPED, plan};
use std::collections::{BTreeMap, BTreeSet};

/// What a person changed about a run.
#[derive(Debug, Clone)]
pub struct Edited {
    /// Its state now.
    pub status: RunStatus,
    /// The instances that were meant and have changed, as they are now, by task id, then map index.
    pub changed: Vec<InstanceRow>,
    /// How many instances cannot run since something above them failed.
    pub held_back: usize,
    /// That its process had died has made the run fail, and its failure has paused its DAG, as the last of so many.
    pub has_paused: Option<u32>,
}

impl Engine {
    /// Changes the record of a run that nobody works on: `events` says by which [`Event::Cleared`], [`Event::Marked`] or
    /// [`Event::RunMarked`] (their keys in order), given the run and the version of its DAG that it was made from. What was under way when its
    /// process died counts as lost, before anything else.
    ///
    /// What a person changes tells nobody; that a try was lost does, and that its run failed of that.
    ///
    /// Nothing is run: a run that has unfinished tasks now goes on by [`Engine::resume`].
    ///
    /// # Errors
    /// A run that somebody works on, a store that fails.
    pub async fn edit(
        &self,
        run: &StoredRun,
        events: impl FnOnce(&Dag, &RunState) -> Vec<Event>,
    ) -> Result<Edited, EngineError> {
        let hold = hold::take(self, run).await?;
        let edited = self.edit_held(&hold, run, events).await;
        hold.release().await;
        edited
    }

    async fn edit_held(
        &self,
        hold: &hold::Hold,
        run: &StoredRun,
        events: impl FnOnce(&Dag, &RunState) -> Vec<Event>,
    ) -> Result<Edited, EngineError> {
        let stored = self.store.run(&run.run.dag_id, &run.run.run_id).await?.unwrap_or_else(|| run.clone());
        let dag = self.store.dag_version(&stored.dag_version).await?;
        let epoch = hold.epoch(self, stored.pk).await?;
        let known = self.store.instances(stored.pk).await?;
        let mut state = run_state(&dag, &stored, &known);
        let (ids, now) = (Ids::of(&dag), self.clock.now());
        let (mut rows, mut owed) = (Rows::of(&dag, known), Owed::of(&dag, &stored.run));

        let lost = state.in_flight();
        commands::end(self, &dag, &stored.run.run_id, &lost).await;
        let ends: BTreeMap<InstanceKey, TryEnd> = lost.iter().map(|of| (of.key, TryEnd::lost(*of))).collect();
        let ended: Vec<Event> = lost.into_iter().map(|of| Event::Ended(of, Outcome::Lost)).collect();
        if !ended.is_empty() {
            let plan = plan(&dag, &mut state, &ended, now);
            take_in(&mut rows, &state, (&plan, &ids), |key| ends.get(&key), now);
            for (key, end) in &ends {
                if let Some(row) = rows.get(*key) {
                    owed.try_ended(&dag.tasks[key.task as usize], row, &end.outcome, now);
                }
            }
        }
        let after_the_loss = state.status();
        // What was ordered while somebody worked on the run comes first.
        let orders = self.store.orders().await?;
        let orders: Vec<OrderRow> = orders.into_iter().filter(|order| order.run == stored.pk).collect();
        let settled = orders.iter().map(|order| order.id).collect();
        let wanted = events(&dag, &state);
        let events: Vec<Event> = orders.into_iter().map(|order| order.event).chain(wanted).collect();
        let by_hand = ByHand::of(&events);
        rows.forget_cleared(&events);
        let plan = plan(&dag, &mut state, &events, now);
        for change in &plan.transitions {
            let by_hand = by_hand.cause(change.key, change.to);
            rows.apply(&ids, (change, state.reported(change.key)), now, None, by_hand.as_ref());
        }

        let changed: BTreeSet<InstanceKey> = rows.changed().filter(|key| is_meant(&events, *key)).collect();
        let by_itself = after_the_loss != stored.run.state && state.status() == after_the_loss;
        if by_itself {
            owed.run_is(&dag, after_the_loss, (&rows, stored.ending.as_ref().map(|ending| &ending.cause)), now);
        }
        let present = self.dags.get(&stored.run.dag_id).map_or(&dag, |(dag, _)| dag);
        let pause_at = pause_at(present, &stored.run);
        let mut has_paused = None;
        let ending = ending(&state, stored.ending.as_ref(), None);
        let commit = RunCommit {
            is_order: events.iter().any(Event::is_order),
            callbacks: owed.take(),
            status: (state.status() != stored.run.state || ending != stored.ending).then_some((state.status(), now)),
            ending,
            pause_at: pause_at.filter(|_| by_itself && !stored.ending.as_ref().is_some_and(is_by_hand)),
            settled,
            forgotten: rows.take_forgotten(),
            instances: rows.take_writes(),
            ..RunCommit::new(stored.pk, epoch)
        };
        if !commit.is_empty() {
            let paused = self.store.commit(&[commit]).await?;
            has_paused = pause_at.filter(|_| !paused.is_empty());
        }
        let key = keys(&dag);
        let rows = self.store.instances(stored.pk).await?;
        let held_back = rows.iter().filter(|row| row.state == TaskState::UpstreamFailed).count();
        let changed = rows.into_iter().filter(|row| key(row).is_some_and(|key| changed.contains(&key)));
        Ok(Edited { status: state.status(), changed: changed.collect(), held_back, has_paused })
    }
}

/// Was this instance asked for? What else has changed follows from it, or from the death of a process.
fn is_meant(events: &[Event], key: InstanceKey) -> bool {
    let whole = InstanceKey { map_index: UNMAPPED, ..key };
    events.iter().any(|event| match event {
        Event::Cleared(keys) | Event::Marked(keys, _) => [key, whole].iter().any(|key| keys.binary_search(key).is_ok()),
        _ => true,
    })
}

fn take_in<'e>(
    rows: &mut Rows,
    state: &RunState,
    (plan, ids): (&Plan, &Ids),
    end: impl Fn(InstanceKey) -> Option<&'e TryEnd>,
    now: chrono::DateTime<chrono::Utc>,
) {
    for change in &plan.transitions {
        let end = end(change.key).filter(|end| end.of.try_number == change.try_number);
        rows.apply(ids, (change, state.reported(change.key)), now, end, None);
    }
}

/// The words for what a person has decided.
#[derive(Debug, Default)]
pub(super) struct ByHand {
    /// The instances that were given a state.
    marks: Vec<(BTreeSet<InstanceKey>, TaskState)>,
    /// How the run is ended, and with it all that is unfinished.
    run: Option<RunStatus>,
}

impl ByHand {
    /// Those of these events.
    pub(super) fn of(events: &[Event]) -> ByHand {
        let mut by_hand = ByHand::default();
        for event in events {
            match event {
                Event::Marked(keys, state) => by_hand.marks.push((keys.iter().copied().collect(), *state)),
                Event::RunMarked(status) => by_hand.run = Some(*status),
                _ => {}
            }
        }
        by_hand
    }

    /// Why this instance comes to this state, if that is a person's doing.
    pub(super) fn cause(&self, key: InstanceKey, state: TaskState) -> Option<Cause> {
        let cause = |kind, message| Cause { kind, message, place: None };
        // What was said of it before counts no more, nor what another event has made of it since.
        let is_marked = self.marks.iter().any(|(keys, marked)| *marked == state && keys.contains(&key));
        let mark = is_marked.then(|| cause(CauseKind::Marked, format!("somebody marked it as {state}")));
        let of_run =
            || self.run.map(|status| cause(CauseKind::Cancelled, format!("somebody ended its run, as {status}")));
        mark.or_else(of_run)
    }

    /// Is the state of the run a person's doing?
    pub(super) fn is_of_run(&self) -> bool {
        self.run.is_some()
    }
}

/// How a run is being ended, if it is: as it was known before; else for that by which the rest of it was `stopped`, or since a
/// person says so. Of one that has ended so, how it was.
pub(super) fn ending(run: &RunState, known: Option<&Ending>, stopped: Option<&Cause>) -> Option<Ending> {
    let Some(state) = run.ending() else {
        return known.filter(|known| known.state == run.status()).cloned();
    };
    let by_hand = || Cause { kind: CauseKind::Marked, message: format!("somebody marked it as {state}"), place: None };
    let stopped = stopped.filter(|_| state == RunStatus::Failed);
    let now = || Ending { state, cause: stopped.cloned().unwrap_or_else(by_hand) };
    Some(known.filter(|known| known.state == state).cloned().unwrap_or_else(now))
}

/// Is a run being ended since a person has said so, and not since it took too long?
pub(super) fn is_by_hand(ending: &Ending) -> bool {
    ending.cause.kind == CauseKind::Marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persons_last_word_is_the_cause() {
        let key = InstanceKey { task: 0, map_index: UNMAPPED };
        let marked = |state| Event::Marked(vec![key], state);
        let said = |by_hand: &ByHand, state| by_hand.cause(key, state).map(|cause| cause.message);
        let twice = ByHand::of(&[marked(TaskState::Success), marked(TaskState::Failed)]);
        assert_eq!(said(&twice, TaskState::Failed).as_deref(), Some("somebody marked it as failed"));
        // It was cleared since, and cut off.
        assert_eq!(said(&twice, TaskState::UpstreamFailed), None);
        let ended = ByHand::of(&[marked(TaskState::Success), Event::RunMarked(RunStatus::Failed)]);
        assert_eq!(said(&ended, TaskState::Success).as_deref(), Some("somebody marked it as success"));
        assert_eq!(said(&ended, TaskState::Skipped).as_deref(), Some("somebody ended its run, as failed"));
    }
}
