//! A person changes the record of a run that nobody works on: tasks are to run again, or count as ended.

use super::begin::hold;
use super::ids::Ids;
use super::outcome::TryEnd;
use super::resume::{keys, run_state};
use super::rows::Rows;
use super::{Engine, EngineError, lease};
use crate::store::{Cause, CauseKind, InstanceRow, RunCommit, StoredRun};
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
}

impl Engine {
    /// Changes the record of a run that nobody works on: `events` says by which [`Event::Cleared`], [`Event::Marked`] or
    /// [`Event::RunMarked`] (their keys in order), given the run and the version of its DAG that it was made from. What was under way when its
    /// process died counts as lost, before anything else.
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
        let _lease = hold(self, &run.run)?;
        let stored = self.store.run(&run.run.dag_id, &run.run.run_id).await?.unwrap_or_else(|| run.clone());
        let dag = self.store.dag_version(&stored.dag_version).await?;
        let epoch = self.store.acquire_run(stored.pk, &lease::owner()).await?;
        let known = self.store.instances(stored.pk).await?;
        let mut state = run_state(&dag, &stored, &known);
        let (ids, now) = (Ids::of(&dag), self.clock.now());
        let mut rows = Rows::of(&dag, known);

        let lost = state.in_flight();
        let ends: BTreeMap<InstanceKey, TryEnd> = lost.iter().map(|of| (of.key, TryEnd::lost(*of))).collect();
        let ended: Vec<Event> = lost.into_iter().map(|of| Event::Ended(of, Outcome::Lost)).collect();
        if !ended.is_empty() {
            let plan = plan(&dag, &mut state, &ended, now);
            take_in(&mut rows, &state, (&plan, &ids), |key| ends.get(&key), now);
        }
        let events = events(&dag, &state);
        let by_hand = events.iter().filter_map(marked).collect::<Vec<_>>();
        let plan = plan(&dag, &mut state, &events, now);
        for change in &plan.transitions {
            let stopped = by_hand.iter().find(|(keys, _)| keys.as_ref().is_none_or(|keys| keys.contains(&change.key)));
            rows.apply(&ids, (change, state.reported(change.key)), now, None, stopped.map(|(_, cause)| cause));
        }

        let changed: BTreeSet<InstanceKey> = rows.changed().filter(|key| is_meant(&events, *key)).collect();
        let commit = RunCommit {
            run: stored.pk,
            epoch,
            status: (state.status() != stored.run.state).then_some((state.status(), now)),
            instances: rows.take_writes(),
            xcoms: Vec::new(),
        };
        if commit.status.is_some() || !commit.instances.is_empty() {
            self.store.commit(&[commit]).await?;
        }
        let key = keys(&dag);
        let rows = self.store.instances(stored.pk).await?;
        let held_back = rows.iter().filter(|row| row.state == TaskState::UpstreamFailed).count();
        let changed = rows.into_iter().filter(|row| key(row).is_some_and(|key| changed.contains(&key)));
        Ok(Edited { status: state.status(), changed: changed.collect(), held_back })
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

/// The instances that a person gives a state (`None`: all that are unfinished), and the words for it.
fn marked(event: &Event) -> Option<(Option<BTreeSet<InstanceKey>>, Cause)> {
    let by_hand = |kind, message| Cause { kind, message, place: None };
    match event {
        Event::Marked(keys, state) => {
            let cause = by_hand(CauseKind::Marked, format!("somebody marked it as {state}"));
            // A success needs no excuse.
            (*state != TaskState::Success).then(|| (Some(keys.iter().copied().collect()), cause))
        }
        Event::RunMarked(status) => {
            Some((None, by_hand(CauseKind::Cancelled, format!("somebody marked its run as {status}"))))
        }
        _ => None,
    }
}
