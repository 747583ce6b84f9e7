//! A part of a DAG, for a run of some of its tasks.

use crate::clear::around;
use crate::dag::{Condition, Dag, GroupDef, Input, Source, TaskDef, TaskIx};
use crate::run::Relatives;
use std::collections::{BTreeMap, BTreeSet};

/// Why a task cannot run without another: it is left out, and its value is needed. Prints as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Needs {
    /// An argument is its value, or made of it.
    #[error("task `{task}` needs the output of `{upstream}` for its argument `{argument}`")]
    Argument {
        /// The task.
        task: String,
        /// The task that is left out.
        upstream: String,
        /// The argument.
        argument: String,
    },
    /// A group that the task lies in is mapped over its value.
    #[error("task `{task}` lies in the group `{group}`, which is mapped over what `{upstream}` returns")]
    List {
        /// The task.
        task: String,
        /// The group.
        group: String,
        /// The task that is left out.
        upstream: String,
    },
    /// Its value decides whether the task runs.
    #[error("task `{task}` runs only if `{upstream}` says so")]
    Condition {
        /// The task.
        task: String,
        /// The task that is left out.
        upstream: String,
    },
}

/// The part of a DAG that is made of these tasks, with the setups in whose scope they lie and the teardowns of those.
///
/// The order among them stays as it was, also where what lay between is left out.
///
/// # Errors
/// What is needed of the tasks that are left out.
pub fn part(dag: &Dag, tasks: &BTreeSet<TaskIx>) -> Result<Dag, Vec<Needs>> {
    let chosen = with_setups(dag, tasks);
    let missing = missing(dag, &chosen);
    if !missing.is_empty() {
        return Err(missing);
    }
    let numbers: BTreeMap<TaskIx, TaskIx> = chosen.iter().copied().zip(0..).collect();
    let groups = groups_of(dag, &chosen);
    let group_numbers: BTreeMap<u32, u32> = groups.iter().copied().zip(0..).collect();
    let task = |&t: &TaskIx| {
        let def = dag.tasks[t as usize].clone();
        TaskDef {
            inputs: def.inputs.iter().map(|i| renumbered(i, &numbers)).collect(),
            upstream: upstream(dag, t, &chosen).iter().map(|u| numbers[u]).collect(),
            conditions: def
                .conditions
                .iter()
                .map(|c| Condition { upstream: numbers[&c.upstream], ..c.clone() })
                .collect(),
            group: def.group.map(|g| group_numbers[&g]),
            ..def
        }
    };
    let group = |&g: &u32| {
        let def = dag.groups[g as usize].clone();
        GroupDef {
            parent: def.parent.map(|p| group_numbers[&p]),
            lists: def.lists.iter().map(|i| renumbered(i, &numbers)).collect(),
            ..def
        }
    };
    Ok(Dag {
        tasks: chosen.iter().map(task).collect(),
        groups: groups.iter().map(group).collect(),
        partial: chosen.len() < dag.tasks.len(),
        ..dag.clone()
    })
}

/// These tasks, and the setups and teardowns that they cannot do without.
fn with_setups(dag: &Dag, tasks: &BTreeSet<TaskIx>) -> BTreeSet<TaskIx> {
    let relatives = Relatives::new(dag);
    let mut chosen: BTreeSet<TaskIx> = tasks.iter().copied().filter(|t| (*t as usize) < dag.tasks.len()).collect();
    for task in chosen.clone() {
        if relatives.setup(task) {
            chosen.extend(relatives.teardowns_of(task));
        } else if relatives.teardown(task) {
            let above = dag.tasks[task as usize].upstream.iter().copied();
            chosen.extend(above.filter(|&u| relatives.setup(u)));
        } else {
            chosen.extend(around(&relatives, task));
        }
    }
    chosen
}

fn missing(dag: &Dag, chosen: &BTreeSet<TaskIx>) -> Vec<Needs> {
    let id = |t: TaskIx| dag.tasks[t as usize].task_id.clone();
    let mut needs = Vec::new();
    for &t in chosen {
        let task = &dag.tasks[t as usize];
        let lacking = |source: &Source| source.tasks().into_iter().filter(|u| !chosen.contains(u)).collect::<Vec<_>>();
        for input in &task.inputs {
            let lacks = lacking(&input.source).into_iter();
            needs.extend(lacks.map(|u| Needs::Argument { task: id(t), upstream: id(u), argument: input.name.clone() }));
        }
        let groups =
            std::iter::successors(task.group, |g| dag.groups[*g as usize].parent).map(|g| &dag.groups[g as usize]);
        for group in groups {
            let lacks = group.lists.iter().flat_map(|list| lacking(&list.source));
            needs.extend(lacks.map(|u| Needs::List { task: id(t), group: group.group_id.clone(), upstream: id(u) }));
        }
        let lacks = task.conditions.iter().filter(|c| !chosen.contains(&c.upstream));
        needs.extend(lacks.map(|c| Needs::Condition { task: id(t), upstream: id(c.upstream) }));
    }
    needs.dedup();
    needs
}

/// The chosen tasks that are right above one, or have only left-out tasks between.
fn upstream(dag: &Dag, task: TaskIx, chosen: &BTreeSet<TaskIx>) -> BTreeSet<TaskIx> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut todo = dag.tasks[task as usize].upstream.clone();
    while let Some(up) = todo.pop() {
        if chosen.contains(&up) {
            found.insert(up);
        } else if seen.insert(up) {
            todo.extend(&dag.tasks[up as usize].upstream);
        }
    }
    found
}

/// The groups that these tasks lie in.
fn groups_of(dag: &Dag, tasks: &BTreeSet<TaskIx>) -> BTreeSet<u32> {
    let innermost = tasks.iter().filter_map(|t| dag.tasks[*t as usize].group);
    innermost.flat_map(|g| std::iter::successors(Some(g), |g| dag.groups[*g as usize].parent)).collect()
}

fn renumbered(input: &Input, numbers: &BTreeMap<TaskIx, TaskIx>) -> Input {
    Input { source: source(&input.source, numbers), ..input.clone() }
}

fn source(of: &Source, numbers: &BTreeMap<TaskIx, TaskIx>) -> Source {
    match of {
        Source::Literal(_) | Source::Param(_) => of.clone(),
        Source::Output(t) => Source::Output(numbers[t]),
        Source::OptionalOutput(t) => Source::OptionalOutput(numbers[t]),
        Source::Field(t, field) => Source::Field(numbers[t], *field),
        Source::OptionalField(t, field) => Source::OptionalField(numbers[t], *field),
        Source::List(list) => Source::List(list.iter().map(|s| source(s, numbers)).collect()),
        Source::Record(fields) => {
            Source::Record(fields.iter().map(|(name, s)| (name.clone(), source(s, numbers))).collect())
        }
        Source::Each(inner) => Source::Each(Box::new(source(inner, numbers))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::world::dag;

    /// `a` alone, or `b after a c`: every task with what it waits for.
    fn shown(dag: &Dag) -> Vec<String> {
        let id = |t: &TaskIx| dag.tasks[*t as usize].task_id.as_str();
        let task = |t: &TaskDef| {
            let up: Vec<&str> = t.upstream.iter().map(id).collect();
            if up.is_empty() { t.task_id.clone() } else { format!("{} after {}", t.task_id, up.join(" ")) }
        };
        dag.tasks.iter().map(task).collect()
    }

    fn of(dag: &Dag, ids: &str) -> Result<Dag, Vec<Needs>> {
        let tasks = ids.split(' ').map(|id| dag.task_ix(id).expect("a task"));
        part(dag, &tasks.collect())
    }

    #[test]
    fn the_order_stays_also_across_what_is_left_out() {
        let whole = dag("a > b > c > d; x > c");
        assert_eq!(shown(&of(&whole, "a d").unwrap()), ["a", "d after a"]);
        assert_eq!(shown(&of(&whole, "c x").unwrap()), ["c after x", "x"]);
        assert_eq!(shown(&of(&whole, "b").unwrap()), ["b"]);
        let all = of(&whole, "a b c d x").unwrap();
        assert!(!all.partial && all == whole);
    }

    #[test]
    fn setups_and_teardowns_come_along() {
        let whole = dag("s > a > b > t; s > t; s: setup; t: teardown; c > b");
        assert_eq!(shown(&of(&whole, "b").unwrap()), ["s", "b after s", "t after s b"]);
        assert_eq!(shown(&of(&whole, "t").unwrap()), ["s", "t after s"]);
        assert_eq!(shown(&of(&whole, "c").unwrap()), ["c"]);
    }

    #[test]
    fn a_value_that_is_missing_is_named() {
        let mut whole = dag("a > m; m: over=a; a > w; w: when=a");
        whole.tasks[1].inputs[0].name = "item".into();
        let sentences = |ids| of(&whole, ids).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(sentences("m"), ["task `m` needs the output of `a` for its argument `item`"]);
        assert_eq!(sentences("w"), ["task `w` runs only if `a` says so"]);
        assert_eq!(shown(&of(&whole, "a m").unwrap()), ["a", "m after a"]);
    }

    #[test]
    fn groups_are_numbered_anew() {
        let mut whole = dag("a; b; c");
        let group = |id: &str, parent| GroupDef { group_id: id.into(), parent, ..GroupDef::default() };
        whole.groups = vec![group("x", None), group("y", None), group("y.z", Some(1))];
        (whole.tasks[0].group, whole.tasks[2].group) = (Some(0), Some(2));
        let part = of(&whole, "c").unwrap();
        assert_eq!(part.groups, [group("y", None), group("y.z", Some(0))]);
        assert_eq!(part.tasks[0].group, Some(1));
    }
}
