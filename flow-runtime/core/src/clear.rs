//! Clearing: which instances run again, and what that does to each.

use crate::dag::{Dag, TaskIx};
use crate::event::InstanceKey;
use crate::mapping;
use crate::run::{Instance, Relatives, RunState};
use crate::state::TaskState;
use std::collections::{BTreeMap, BTreeSet};

/// What somebody wants to run again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Tasks; with a map index one instance of the task, without it all of them.
    pub tasks: Vec<(TaskIx, Option<i32>)>,
    /// Everything upstream of them too.
    pub upstream: bool,
    /// Everything downstream of them too.
    pub downstream: bool,
    /// Only those of all these that failed or are upstream_failed (with `only_running`: or are running).
    pub only_failed: bool,
    /// Only those of all these that are running (with `only_failed`: or have failed).
    pub only_running: bool,
}

/// The instances that a selection takes in, in order: file them as [`Event::Cleared`](crate::Event::Cleared).
///
/// As in Airflow, work that runs again draws in the setups in whose scope it lies and their teardowns, and a setup
/// draws in its teardowns.
pub fn select(dag: &Dag, run: &RunState, wanted: &Selection) -> Vec<InstanceKey> {
    let relatives = Relatives::new(dag);
    let known = |t: TaskIx| (t as usize) < dag.tasks.len();
    // `None` is the whole task; a whole task takes in its single instances.
    let mut tasks: BTreeMap<TaskIx, Option<BTreeSet<i32>>> = BTreeMap::new();
    for &(task, map_index) in wanted.tasks.iter().filter(|(t, _)| known(*t)) {
        let indices = tasks.entry(task).or_insert_with(|| Some(BTreeSet::new()));
        match (map_index, indices.as_mut()) {
            (Some(index), Some(indices)) => {
                indices.insert(index);
            }
            _ => *indices = None,
        }
    }
    // With both, first upwards and then downwards from all of that, as in Airflow: what is beside a task is drawn in.
    let directions: &[(bool, bool)] = match (wanted.upstream, wanted.downstream) {
        (true, true) => &[(true, false), (false, true)],
        (true, false) => &[(true, false)],
        (false, downstream) => &[(false, downstream)],
    };
    let mut named: BTreeSet<TaskIx> = tasks.keys().copied().collect();
    for &(upstream, downstream) in directions {
        let around = named.iter().flat_map(|&by| {
            let drawn = drawn_in(&relatives, by, upstream, downstream, &named);
            drawn.into_iter().map(move |task| (by, task))
        });
        let drawn: Vec<(TaskIx, TaskIx)> = around.collect();
        for (by, task) in drawn {
            let beside = mapping::home(dag, by).is_some() && mapping::home(dag, by) == mapping::home(dag, task);
            let indices = tasks.get(&by).cloned().flatten().filter(|_| beside);
            match (indices, tasks.get_mut(&task)) {
                // In a mapped group an element goes its own way, which other elements have no part in.
                (Some(indices), None) => drop(tasks.insert(task, Some(indices))),
                (Some(indices), Some(Some(known))) => known.extend(indices),
                (Some(_), Some(None)) => {}
                // Even a task that was named for a single instance is drawn in as a whole.
                (None, _) => drop(tasks.insert(task, None)),
            }
            named.insert(task);
        }
    }
    let mut keys = Vec::new();
    for (task, indices) in tasks {
        let meant = run.instances(task).filter(|(i, _)| indices.as_ref().is_none_or(|all| all.contains(i)));
        let all = !wanted.only_failed && !wanted.only_running;
        let fits = |state: TaskState| {
            all || (wanted.only_failed && state.is_failure()) || (wanted.only_running && state == TaskState::Running)
        };
        keys.extend(meant.filter(|(_, i)| fits(i.state)).map(|(map_index, _)| InstanceKey { task, map_index }));
    }
    keys
}

/// The tasks that run again because this one does.
fn drawn_in(
    relatives: &Relatives<'_>,
    task: TaskIx,
    upstream: bool,
    downstream: bool,
    named: &BTreeSet<TaskIx>,
) -> BTreeSet<TaskIx> {
    let work = |t: TaskIx| !relatives.setup(t) && !relatives.teardown(t);
    let mut drawn = BTreeSet::new();
    if downstream {
        for below in relatives.descendants(task) {
            drawn.insert(below);
            if work(below) && !named.contains(&below) {
                drawn.extend(around(relatives, below));
            }
        }
    }
    if upstream {
        for above in relatives.ancestors(task) {
            drawn.insert(above);
            if relatives.setup(above) {
                drawn.extend(relatives.teardowns_of(above));
            }
        }
    } else if work(task) {
        drawn.extend(around(relatives, task));
    }
    if relatives.setup(task) && !downstream {
        drawn.extend(relatives.teardowns_of(task));
    }
    drawn.remove(&task);
    drawn
}

/// The setups in whose scope a task lies, with their teardowns.
pub(crate) fn around(relatives: &Relatives<'_>, task: TaskIx) -> BTreeSet<TaskIx> {
    let below = relatives.descendants(task);
    let mut all = BTreeSet::new();
    for setup in relatives.ancestors(task).into_iter().filter(|&t| relatives.setup(t)) {
        let teardowns: Vec<TaskIx> = relatives.teardowns_of(setup).collect();
        if teardowns.is_empty() || teardowns.iter().any(|t| below.contains(t)) {
            all.insert(setup);
            all.extend(teardowns);
        }
    }
    all
}

/// An instance after it was cleared: what runs is stopped first, all else is undecided again, with its retries anew.
pub(crate) fn effect(instance: Instance, retries: u32) -> Instance {
    if instance.state == TaskState::Running {
        return Instance { state: TaskState::Restarting, ..instance };
    }
    let max_tries = fresh_tries(instance.try_number, retries);
    Instance { state: TaskState::None, max_tries, due: None, ..instance }
}

/// The `max_tries` that gives an instance all its retries once more.
pub(crate) fn fresh_tries(try_number: u32, retries: u32) -> u32 {
    try_number.saturating_add(retries)
}
