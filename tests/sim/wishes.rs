//! What a person has wanted: nothing else may change what is final.

use chrono::{DateTime, Utc};
use flow_runtime::core::{Dag, Event, RunStatus, TaskState, UNMAPPED};
use flow_runtime::store::{OrderRow, StoredRun};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A task and a map index.
pub type Instance = (Arc<str>, i32);

/// One thing that a person wants of a run.
#[derive(Debug, Clone)]
struct Wish {
    id: u64,
    run: i64,
    events: Vec<Event>,
    /// The instances that it names.
    named: BTreeSet<Instance>,
    /// Those that have left a final state for it. Each does that once.
    used: BTreeSet<Instance>,
    /// It was used to change a run that had ended.
    used_for_run: bool,
    /// Whoever wished it does nothing for it any more: an order may be left.
    is_over: bool,
}

#[derive(Debug, Default)]
struct Table {
    wishes: Vec<Wish>,
    latest: u64,
    /// What was wished ever, by run.
    marked: BTreeSet<(i64, Instance)>,
    runs_marked: BTreeSet<i64>,
    cleared: BTreeSet<(i64, Instance)>,
    deleted: BTreeSet<i64>,
    /// `DAG/run` of those that were deleted, and how many of the DAG.
    deleted_ids: BTreeSet<(String, String)>,
    /// Their DAGs and logical dates.
    deleted_dates: BTreeSet<(String, DateTime<Utc>)>,
}

/// All that a person has wanted in a world.
#[derive(Debug, Default)]
pub struct Wishes(Mutex<Table>);

/// A wish, until whoever has it gives up or dies.
pub struct Wishing<'w> {
    wishes: &'w Wishes,
    id: u64,
}

impl Drop for Wishing<'_> {
    fn drop(&mut self) {
        let mut table = self.wishes.0.lock();
        table.wishes.iter_mut().filter(|wish| wish.id == self.id).for_each(|wish| wish.is_over = true);
    }
}

impl Wishing<'_> {
    /// These events are asked for.
    pub fn asks(&self, dag: &Dag, events: &[Event]) {
        let table = &mut *self.wishes.0.lock();
        let Some(wish) = table.wishes.iter_mut().find(|wish| wish.id == self.id) else { return };
        for event in events {
            let (keys, ever) = match event {
                Event::Cleared(keys) => (keys, Some(&mut table.cleared)),
                Event::Marked(keys, _) => (keys, Some(&mut table.marked)),
                Event::RunMarked(_) => {
                    table.runs_marked.insert(wish.run);
                    continue;
                }
                _ => continue,
            };
            let names = keys.iter().map(|key| (dag.tasks[key.task as usize].task_id.as_str().into(), key.map_index));
            let names: BTreeSet<Instance> = names.collect();
            if let Some(ever) = ever {
                ever.extend(names.iter().map(|name| (wish.run, name.clone())));
            }
            wish.named.extend(names);
        }
        wish.events.extend_from_slice(events);
    }
}

fn names(set: &BTreeSet<Instance>, (task, index): &Instance) -> bool {
    set.contains(&(task.clone(), *index)) || set.contains(&(task.clone(), UNMAPPED))
}

impl Wish {
    /// May it be the reason for this?
    fn explains(&self, instance: &Instance, from: TaskState, to: TaskState) -> bool {
        let is_new = !from.is_finished() || !self.used.contains(instance);
        is_new
            && self.events.iter().any(|event| match event {
                // In the same commit it may have got as far as running.
                Event::Cleared(_) => names(&self.named, instance) && to != TaskState::Success,
                Event::Marked(_, state) => names(&self.named, instance) && to == *state,
                Event::RunMarked(_) => !from.is_finished() && to.is_finished(),
                _ => false,
            })
    }
}

impl Wishes {
    /// Somebody wants something of a run.
    pub fn wish(&self, run: i64) -> Wishing<'_> {
        let mut table = self.0.lock();
        table.latest += 1;
        let id = table.latest;
        table.wishes.push(Wish {
            id,
            run,
            events: Vec::new(),
            named: BTreeSet::new(),
            used: BTreeSet::new(),
            used_for_run: false,
            is_over: false,
        });
        Wishing { wishes: self, id }
    }

    /// Somebody deletes a run.
    pub fn delete(&self, run: &StoredRun) {
        let mut table = self.0.lock();
        table.deleted.insert(run.pk.0);
        table.deleted_ids.insert((run.run.dag_id.clone(), run.run.run_id.clone()));
        table.deleted_dates.extend(run.run.logical_date.map(|date| (run.run.dag_id.clone(), date)));
    }

    /// A run that has ended runs again, all of it or a part, for a backfill.
    pub fn runs_again(&self, run: i64, dag: &Dag) {
        let mut table = self.0.lock();
        table.latest += 1;
        let named: BTreeSet<Instance> = dag.tasks.iter().map(|task| (task.task_id.as_str().into(), UNMAPPED)).collect();
        table.cleared.extend(named.iter().map(|name| (run, name.clone())));
        let (id, events) = (table.latest, vec![Event::Cleared(Vec::new())]);
        let used = BTreeSet::new();
        table.wishes.push(Wish { id, run, events, named, used, used_for_run: true, is_over: false });
    }

    pub fn date_was_deleted(&self, dag_id: &str, date: DateTime<Utc>) -> bool {
        self.0.lock().deleted_dates.contains(&(dag_id.to_owned(), date))
    }

    pub fn is_deleted(&self, run: i64) -> bool {
        self.0.lock().deleted.contains(&run)
    }

    pub fn was_deleted(&self, dag_id: &str, run_id: &str) -> bool {
        self.0.lock().deleted_ids.contains(&(dag_id.to_owned(), run_id.to_owned()))
    }

    pub fn some_of_dag_were_deleted(&self, dag_id: &str) -> bool {
        self.0.lock().deleted_ids.iter().any(|(of, _)| of == dag_id)
    }

    /// Takes the reason why an instance goes from one state to another that is no way of its own; is there one?
    pub fn take(&self, run: i64, instance: &Instance, from: TaskState, to: TaskState) -> bool {
        let mut table = self.0.lock();
        // Another length of what it was mapped over.
        let mapped_anew =
            table.cleared.iter().any(|(of, (task, _))| *of == run && matches!(&**task, "list" | "pick" | "fill"));
        if mapped_anew && (to == TaskState::Removed || from == TaskState::Removed) {
            return true;
        }
        let mut of_run = table.wishes.iter_mut().filter(|wish| wish.run == run);
        let Some(wish) = of_run.find(|wish| wish.explains(instance, from, to)) else { return false };
        if from.is_finished() {
            wish.used.insert(instance.clone());
        }
        true
    }

    /// The same for a run.
    pub fn take_run(&self, run: i64, from: RunStatus, to: RunStatus) -> bool {
        let mut table = self.0.lock();
        let explains = |wish: &&mut Wish| {
            wish.run == run
                && !wish.used_for_run
                && wish.events.iter().any(|event| match event {
                    Event::Cleared(_) => !to.is_finished(),
                    Event::RunMarked(status) => to == *status,
                    Event::Marked(..) => from.is_finished() && to.is_finished(),
                    _ => false,
                })
        };
        let Some(wish) = table.wishes.iter_mut().find(explains) else { return false };
        wish.used_for_run = true;
        true
    }

    /// Forgets the wishes that nothing can come of any more.
    pub fn forget(&self, left: &[OrderRow]) {
        let mut table = self.0.lock();
        table.wishes.retain(|wish| !wish.is_over || left.iter().any(|order| order.run.0 == wish.run));
    }

    /// Nothing else is wanted of this run.
    pub fn is_the_only_one(&self, run: i64) -> bool {
        self.0.lock().wishes.iter().filter(|wish| wish.run == run).count() <= 1
    }

    pub fn was_marked(&self, run: i64, instance: &Instance) -> bool {
        self.0.lock().marked.iter().any(|(of, (task, index))| {
            *of == run && *task == instance.0 && (*index == instance.1 || *index == UNMAPPED)
        })
    }

    /// Somebody has given a state to the run or to a task of it.
    pub fn has_marks(&self, run: i64) -> bool {
        let table = self.0.lock();
        table.runs_marked.contains(&run) || table.marked.iter().any(|(of, _)| *of == run)
    }

    pub fn was_cleared(&self, run: i64) -> bool {
        self.0.lock().cleared.iter().any(|(of, _)| *of == run)
    }
}
