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
    /// No setup and no teardown but those that are named, or up- or downstream: for marks.
    pub alone: bool,
}

/// The instances that a selection takes in, in order: file them as [`Event::Cleared`](crate::Event::Cleared), or, of tasks that
/// are meant `alone`, as [`Event::Marked`](crate::Event::Marked).
///
/// As in Airflow, work that runs again draws in the setups in whose scope it lies and their teardowns, and a setup
/// draws in its teardowns. Work that counts as ended draws in nothing: what is set up is to be taken away all the same.
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
            let drawn = match wanted.alone {
                true => related(&relatives, by, upstream, downstream),
                false => drawn_in(&relatives, by, upstream, downstream, &named),
            };
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

/// The tasks above and below this one, as they are asked for.
fn related(relatives: &Relatives<'_>, task: TaskIx, upstream: bool, downstream: bool) -> BTreeSet<TaskIx> {
    let above = upstream.then(|| relatives.ancestors(task)).into_iter().flatten();
    let below = downstream.then(|| relatives.descendants(task)).into_iter().flatten();
    above.chain(below).collect()
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

/// Of instances that failed and are to run again, those whose setups were taken away since: the setups with their teardowns, which
/// are to run again as well, and those for which they do.
pub fn set_up_anew(dag: &Dag, run: &RunState, again: &[InstanceKey]) -> (BTreeSet<InstanceKey>, BTreeSet<InstanceKey>) {
    let relatives = Relatives::new(dag);
    let is_beside = |a, b| mapping::home(dag, a).is_some() && mapping::home(dag, a) == mapping::home(dag, b);
    // What a task draws in is the same for all its instances, but in a mapped group, where an element goes its own way.
    let mut known: BTreeMap<(TaskIx, Option<i32>), Vec<InstanceKey>> = BTreeMap::new();
    let (mut drawn, mut without) = (BTreeSet::new(), BTreeSet::new());
    for &key in again.iter().filter(|key| !relatives.setup(key.task) && !relatives.teardown(key.task)) {
        let index = mapping::home(dag, key.task).map(|_| key.map_index);
        let found = known.entry((key.task, index)).or_insert_with(|| {
            let of = |task: TaskIx| {
                let one = is_beside(key.task, task);
                let mine = InstanceKey { task, map_index: key.map_index };
                let mine = one.then(|| run.instance(mine).map(|i| (mine, i))).flatten();
                let all = (!one).then(|| run.instances(task)).into_iter().flatten();
                mine.into_iter().chain(all.map(move |(map_index, i)| (InstanceKey { task, map_index }, i)))
            };
            let has_run = |task: TaskIx| of(task).any(|(_, i)| i.try_number > 0 && i.state.is_finished());
            let setups = around(&relatives, key.task).into_iter().filter(|&t| relatives.setup(t));
            let gone = setups.filter(|&setup| relatives.teardowns_of(setup).any(has_run));
            let both = gone.flat_map(|setup| std::iter::once(setup).chain(relatives.teardowns_of(setup)));
            both.flat_map(of).map(|(key, _)| key).collect()
        });
        if !found.is_empty() {
            drawn.extend(found.iter().copied());
            without.insert(key);
        }
    }
    (drawn, without)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::world::{World, given};

    const AROUND: &str = "open > work > last; open: setup; open > close; last > close; close: teardown; other";

    fn names(w: &World, keys: impl IntoIterator<Item = InstanceKey>) -> Vec<String> {
        keys.into_iter().map(|key| w.name(key)).collect()
    }

    #[test]
    fn what_is_marked_draws_in_no_setup_and_no_teardown() {
        let w = given(AROUND);
        let of = |task: &str, upstream, downstream, alone| {
            let tasks = vec![(w.key(task).task, None)];
            let wanted = Selection { tasks, upstream, downstream, alone, ..Selection::default() };
            names(&w, select(&w.dag, &w.run, &wanted))
        };
        assert_eq!(of("work", false, false, false), ["open", "work", "close"]);
        assert_eq!(of("work", false, false, true), ["work"]);
        assert_eq!(of("open", false, false, true), ["open"]);
        assert_eq!(of("last", true, false, true), ["open", "work", "last"]);
        assert_eq!(of("last", false, true, true), ["last", "close"], "what is below is asked for");
    }

    #[test]
    fn what_was_taken_away_is_drawn_in_by_the_work_that_needs_it() {
        let mut w = given(AROUND);
        w.when("");
        w.when("go open, go other");
        w.when("ok open, fail other");
        w.when("go work");
        w.when("fail work");
        let again = ["work", "last", "other"].map(|task| w.key(task));
        let (drawn, without) = set_up_anew(&w.dag, &w.run, &again);
        assert!(drawn.is_empty() && without.is_empty(), "it still stands");
        w.when("go close");
        w.when("ok close");
        let (drawn, without) = set_up_anew(&w.dag, &w.run, &again);
        assert_eq!(
            (names(&w, drawn), names(&w, without)),
            (vec!["open".into(), "close".into()], vec!["work".into(), "last".into()])
        );
    }

    #[test]
    fn each_element_draws_in_what_is_its_own() {
        let mut w = given(
            "list > open; list > work; list > close; open > work; open > close; work > close; \
             open: over=list group setup; work: group over=list; close: group over=list teardown",
        );
        w.when("");
        w.when("go list");
        w.when("ok list len=3");
        w.when("go open[0], go open[1], go open[2]");
        w.when("ok open[0], ok open[1], ok open[2]");
        w.when("go work[0], go work[1], go work[2]");
        w.when("fail work[0], fail work[1], ok work[2]");
        w.when("go close[1], go close[2]");
        w.when("ok close[1], ok close[2]");
        let again = ["work[0]", "work[1]"].map(|task| w.key(task));
        let (drawn, without) = set_up_anew(&w.dag, &w.run, &again);
        assert_eq!(
            (names(&w, drawn), names(&w, without)),
            (vec!["open[1]".into(), "close[1]".into()], vec!["work[1]".into()])
        );
    }
}
