//! Inside one run: what does this batch of events change, and what must be done about it?
//!
//! One call does three things in turn: it applies the events ([`apply`]), lets what follows from them follow
//! ([`settle`]), and sees whether the run has ended ([`end`]). What the batch changed is what it returns.

mod apply;
mod decide;
mod end;
mod settle;
#[cfg(test)]
pub(crate) mod tests;

pub use decide::decide;
use decide::{decide_task, has_to_take_away};
pub use end::outlook;

use crate::dag::{Dag, TaskIx};
use crate::event::{Event, InstanceKey, Plan, Transition, TryRef};
use crate::run::{Instance, RunState};
use crate::state::{RunStatus, TaskState};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};

/// Applies a batch of events to a run, and says what changed and what must be done about it.
///
/// The first call for a queued run starts it, save one that carries out a person's order. Events of old tries, of instances that are not there, and events that
/// came before change nothing. A batch is seen as one moment: what follows from it is worked out after its last event.
///
/// `dag` must be the one that `run` was made for.
pub fn plan(dag: &Dag, run: &mut RunState, events: &[Event], now: DateTime<Utc>) -> Plan {
    plan_rounds(dag, run, events, now, usize::MAX)
}

/// As [`plan()`], but one round of decisions only: what follows from what these changed is left to the next call.
///
/// That is the pace of Airflow's scheduler, where a task may end while a cut is still on its way down the graph. It is
/// here to be compared with it.
pub fn plan_pass(dag: &Dag, run: &mut RunState, events: &[Event], now: DateTime<Utc>) -> Plan {
    plan_rounds(dag, run, events, now, 1)
}

fn plan_rounds(dag: &Dag, run: &mut RunState, events: &[Event], now: DateTime<Utc>, rounds: usize) -> Plan {
    let before = run.status;
    let mut batch = Batch::new(dag, run, now);
    for event in events {
        batch.apply(event);
    }
    // What a person orders of a run that waits to begin does not begin it: whoever works on it does.
    let begins = !before.is_finished() && !events.iter().any(Event::is_order);
    if batch.run.status == RunStatus::Queued && begins {
        batch.run.status = RunStatus::Running;
        batch.run.unsettled = true;
    }
    if batch.run.status == RunStatus::Running {
        batch.wake();
        if batch.settle(rounds) {
            batch.end();
        }
    } else {
        // It is all looked at when it starts.
        batch.run.unsettled = false;
    }
    batch.into_plan(before)
}

/// One call of [`plan()`] at work.
struct Batch<'a> {
    dag: &'a Dag,
    run: &'a mut RunState,
    now: DateTime<Utc>,
    /// The instances that were written, as they were before; `None` for those that were made.
    touched: BTreeMap<InstanceKey, Option<Instance>>,
    /// Instances that were successful for a moment less: what was known of their values is forgotten.
    forgotten: BTreeSet<InstanceKey>,
    /// Tasks that must be looked at again instance by instance.
    dirty_wholly: BTreeSet<TaskIx>,
    /// Tasks all of whose undecided instances must be looked at again.
    dirty_tasks: BTreeSet<TaskIx>,
    /// Single instances that must be looked at again.
    dirty: BTreeSet<InstanceKey>,
    /// What is scheduled of these tasks, and of single instances, may have to wait again: something above it is to run anew.
    doubted_tasks: BTreeSet<TaskIx>,
    doubted: BTreeSet<InstanceKey>,
    /// The event that is applied is what a person wants, or what was said to hold for a run that takes too long.
    by_hand: bool,
    cancel: Vec<TryRef>,
}

impl<'a> Batch<'a> {
    fn new(dag: &'a Dag, run: &'a mut RunState, now: DateTime<Utc>) -> Batch<'a> {
        Batch {
            dag,
            run,
            now,
            touched: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            dirty_wholly: BTreeSet::new(),
            dirty_tasks: BTreeSet::new(),
            dirty: BTreeSet::new(),
            doubted_tasks: BTreeSet::new(),
            doubted: BTreeSet::new(),
            by_hand: false,
            cancel: Vec::new(),
        }
    }

    /// Changes one instance, and notes whom that concerns.
    fn write(&mut self, key: InstanceKey, new: Instance) {
        let Some(old) = self.run.instance(key) else {
            return;
        };
        if old == new {
            return;
        }
        // A person may do what he likes, and a list that was made anew may be shorter.
        debug_assert!(
            self.by_hand
                || new.state == TaskState::Removed
                || old.state == new.state
                || old.state.may_become(new.state),
            "{key:?} must not go from {} to {}",
            old.state,
            new.state
        );
        self.touched.entry(key).or_insert(Some(old));
        self.run.write(key, new);
        if old.state == new.state {
            return;
        }
        if old.state == TaskState::Success {
            self.forgotten.insert(key);
        }
        if new.state == TaskState::None {
            self.dirty.insert(key);
        }
        self.stir(key, old.state, new.state);
    }

    /// Notes whom a change of state concerns. Between two unfinished states it concerns nobody.
    fn stir(&mut self, key: InstanceKey, from: TaskState, to: TaskState) {
        if !from.is_finished() && !to.is_finished() {
            return;
        }
        let graph = std::sync::Arc::clone(&self.run.graph);
        let node = &graph.nodes[key.task as usize];
        let counted = [&node.down, &node.scope, &node.held, &node.feeds];
        self.dirty_tasks.extend(counted.into_iter().flatten());
        // It has begun anew, or a person says that it has ended in another way.
        let is_anew = from.is_finished();
        if is_anew {
            self.doubted_tasks.extend(counted.into_iter().flatten());
        }
        for &task in [&node.down_beside, &node.scope_beside, &node.held_beside].into_iter().flatten() {
            let below = InstanceKey { task, ..key };
            if key.map_index >= 0 && self.run.slot(below).is_some() {
                self.dirty.insert(below);
                if is_anew {
                    self.doubted.insert(below);
                }
            } else {
                self.dirty_tasks.insert(task);
                if is_anew {
                    self.doubted_tasks.insert(task);
                }
            }
        }
    }

    /// What is due now is undecided again.
    fn wake(&mut self) {
        while let Some(&(due, key)) = self.run.dues.first() {
            if due > self.now {
                break;
            }
            let Some(mut instance) = self.run.instance(key) else {
                break;
            };
            if instance.state == TaskState::UpForRetry {
                instance.due = None;
            }
            instance.state = TaskState::None;
            self.write(key, instance);
        }
    }

    /// Stops the try that an executor holds, if there is one.
    fn cancel(&mut self, key: InstanceKey, instance: Instance) {
        if instance.state.is_in_flight() {
            self.cancel.push(TryRef { key, try_number: instance.try_number });
        }
    }

    fn into_plan(self, before: RunStatus) -> Plan {
        let mut plan = Plan {
            cancel: self.cancel,
            status: (self.run.status != before).then_some(self.run.status),
            wake_at: if self.run.status == RunStatus::Running { self.run.next_due() } else { None },
            ..Plan::default()
        };
        for (key, old) in self.touched {
            let Some(new) = self.run.instance(key) else {
                continue;
            };
            if old == Some(new) && !self.forgotten.contains(&key) {
                continue;
            }
            plan.transitions.push(Transition {
                key,
                from: old.map_or(TaskState::None, |o| o.state),
                to: new.state,
                try_number: new.try_number,
                max_tries: new.max_tries,
                due: new.due,
            });
            if new.state == TaskState::Scheduled {
                plan.ready.push(key);
            }
        }
        plan
    }
}
