//! What the planner needs to know about the shape of a DAG, worked out once for a run.

use crate::dag::{Dag, Source, TaskIx, TaskKind};
use crate::mapping;
use std::collections::BTreeSet;

/// The shape of a DAG, task by task.
#[derive(Debug, PartialEq)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
}

/// What is around one task. "Beside" means in the same mapped group, where tasks depend on each other index by index;
/// those are looked up when needed, all others are counted.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Node {
    /// One instance per element.
    pub(crate) mapped: bool,
    /// A setup task.
    pub(crate) setup: bool,
    /// A teardown task.
    pub(crate) teardown: bool,
    /// Its end decides about the end of the run.
    pub(crate) leaf: bool,
    /// Direct upstream tasks beside it.
    pub(crate) up_beside: Vec<TaskIx>,
    /// Direct downstream tasks that count it.
    pub(crate) down: Vec<TaskIx>,
    /// Direct downstream tasks beside it.
    pub(crate) down_beside: Vec<TaskIx>,
    /// For a setup: the tasks in its scope that count it. Those right below it are not among them: their own rule
    /// speaks of it.
    pub(crate) scope: Vec<TaskIx>,
    /// For a setup: the tasks in its scope beside it.
    pub(crate) scope_beside: Vec<TaskIx>,
    /// The setups beside it in whose scope it lies.
    pub(crate) setups_beside: Vec<TaskIx>,
    /// The teardowns that wait for it though they are not right below it.
    pub(crate) held: Vec<TaskIx>,
    /// Those of them beside it.
    pub(crate) held_beside: Vec<TaskIx>,
    /// For a teardown: the tasks beside it that it waits for though they are not right above it.
    pub(crate) work_beside: Vec<TaskIx>,
    /// Tasks mapped over its output, or over that of tasks mapped over it, that are not downstream of it directly.
    pub(crate) feeds: Vec<TaskIx>,
    /// The lists it is mapped over.
    pub(crate) axes: Vec<Source>,
    /// The upstream tasks whose verdict can skip it.
    pub(crate) judges: Vec<TaskIx>,
}

impl Node {
    /// Does it look at anything beside it?
    pub(crate) fn has_beside(&self) -> bool {
        !(self.up_beside.is_empty() && self.setups_beside.is_empty() && self.work_beside.is_empty())
    }
}

impl Graph {
    pub(crate) fn new(dag: &Dag) -> Graph {
        let known = |t: &TaskIx| (*t as usize) < dag.tasks.len();
        let home: Vec<Option<u32>> = (0..dag.tasks.len()).map(|t| mapping::home(dag, t as TaskIx)).collect();
        let beside = |a: TaskIx, b: TaskIx| home[a as usize].is_some() && home[a as usize] == home[b as usize];
        let mut nodes: Vec<Node> = Vec::with_capacity(dag.tasks.len());
        for (t, def) in dag.tasks.iter().enumerate() {
            nodes.push(Node {
                mapped: def.mapped || home[t].is_some(),
                setup: def.kind == TaskKind::Setup,
                teardown: matches!(def.kind, TaskKind::Teardown { .. }),
                axes: mapping::axes(dag, t as TaskIx).into_iter().cloned().collect(),
                judges: def.conditions.iter().map(|c| c.upstream).filter(known).collect(),
                ..Node::default()
            });
        }
        for t in 0..dag.tasks.len() as TaskIx {
            for &u in dag.tasks[t as usize].upstream.iter().filter(|u| known(u)) {
                if beside(t, u) {
                    nodes[t as usize].up_beside.push(u);
                    nodes[u as usize].down_beside.push(t);
                } else {
                    nodes[u as usize].down.push(t);
                }
            }
            let sources: BTreeSet<TaskIx> = nodes[t as usize].axes.iter().flat_map(Source::tasks).collect();
            for u in sources.into_iter().filter(known) {
                if !dag.tasks[t as usize].upstream.contains(&u) {
                    nodes[u as usize].feeds.push(t);
                }
            }
        }
        let relatives = Relatives::new(dag);
        for s in (0..nodes.len() as TaskIx).filter(|&s| relatives.setup(s)) {
            for t in relatives.scope(s) {
                if relatives.teardown(t) || dag.tasks[t as usize].upstream.contains(&s) {
                    continue;
                }
                if beside(s, t) {
                    nodes[s as usize].scope_beside.push(t);
                    nodes[t as usize].setups_beside.push(s);
                } else {
                    nodes[s as usize].scope.push(t);
                }
            }
        }
        for t in (0..nodes.len() as TaskIx).filter(|&t| relatives.teardown(t)) {
            for w in relatives.indirect_work(t) {
                if beside(w, t) {
                    nodes[w as usize].held_beside.push(t);
                    nodes[t as usize].work_beside.push(w);
                } else {
                    nodes[w as usize].held.push(t);
                }
            }
        }
        mark_leaves(dag, &relatives.down, &mut nodes);
        Graph { nodes }
    }

    /// The node of a task, if there is such a task.
    pub(crate) fn node(&self, task: TaskIx) -> Option<&Node> {
        self.nodes.get(task as usize)
    }
}

/// A leaf has no downstream but teardowns that don't count, and is itself none; if that leaves nothing (only
/// teardowns), the tasks without any downstream are leaves.
fn mark_leaves(dag: &Dag, down: &[Vec<TaskIx>], nodes: &mut [Node]) {
    let ignorable =
        |t: TaskIx| matches!(dag.tasks[t as usize].kind, TaskKind::Teardown { on_failure_fail_dagrun: false });
    for (t, node) in nodes.iter_mut().enumerate() {
        node.leaf = !ignorable(t as TaskIx) && down[t].iter().all(|&d| ignorable(d));
    }
    if nodes.iter().all(|n| !n.leaf) {
        for (t, node) in nodes.iter_mut().enumerate() {
            node.leaf = down[t].is_empty();
        }
    }
}

/// Who is above and below whom, for scopes of setups and for clearing.
pub(crate) struct Relatives<'a> {
    dag: &'a Dag,
    pub(crate) down: Vec<Vec<TaskIx>>,
}

impl<'a> Relatives<'a> {
    pub(crate) fn new(dag: &'a Dag) -> Relatives<'a> {
        let mut down = vec![Vec::new(); dag.tasks.len()];
        for (t, def) in dag.tasks.iter().enumerate() {
            for &u in &def.upstream {
                if let Some(of) = down.get_mut(u as usize) {
                    of.push(t as TaskIx);
                }
            }
        }
        Relatives { dag, down }
    }

    pub(crate) fn setup(&self, t: TaskIx) -> bool {
        self.dag.tasks[t as usize].kind == TaskKind::Setup
    }

    pub(crate) fn teardown(&self, t: TaskIx) -> bool {
        matches!(self.dag.tasks[t as usize].kind, TaskKind::Teardown { .. })
    }

    /// All tasks that are downstream of it, at whatever distance.
    pub(crate) fn descendants(&self, t: TaskIx) -> BTreeSet<TaskIx> {
        closure(t, |t| self.down[t as usize].as_slice())
    }

    /// All tasks that are upstream of it, at whatever distance.
    pub(crate) fn ancestors(&self, t: TaskIx) -> BTreeSet<TaskIx> {
        let mut all = closure(t, |t| match self.dag.tasks.get(t as usize) {
            Some(def) => def.upstream.as_slice(),
            None => &[],
        });
        all.retain(|&u| (u as usize) < self.down.len());
        all
    }

    /// The direct downstream teardowns of a setup.
    pub(crate) fn teardowns_of(&self, setup: TaskIx) -> impl Iterator<Item = TaskIx> + '_ {
        self.down[setup as usize].iter().copied().filter(|&t| self.teardown(t))
    }

    /// The tasks between a teardown and its setups that are not right above it: it waits for them as well, since what
    /// its setups made must stay until all that needs it has finished.
    fn indirect_work(&self, teardown: TaskIx) -> BTreeSet<TaskIx> {
        let direct = &self.dag.tasks[teardown as usize].upstream;
        let setups = direct.iter().copied().filter(|&s| (s as usize) < self.down.len() && self.setup(s));
        let below: BTreeSet<TaskIx> = setups.flat_map(|s| self.descendants(s)).collect();
        let mut between = self.ancestors(teardown);
        between.retain(|w| *w != teardown && below.contains(w) && !direct.contains(w));
        between
    }

    /// The tasks in the scope of a setup: below it, and above one of its teardowns if it has any.
    pub(crate) fn scope(&self, setup: TaskIx) -> BTreeSet<TaskIx> {
        let below = self.descendants(setup);
        let mut teardowns = self.teardowns_of(setup).peekable();
        if teardowns.peek().is_none() {
            return below;
        }
        let above: BTreeSet<TaskIx> = teardowns.flat_map(|t| self.ancestors(t)).collect();
        below.intersection(&above).copied().collect()
    }
}

fn closure<'g>(from: TaskIx, next: impl Fn(TaskIx) -> &'g [TaskIx]) -> BTreeSet<TaskIx> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<TaskIx> = next(from).to_vec();
    while let Some(t) = todo.pop() {
        if seen.insert(t) {
            todo.extend_from_slice(next(t));
        }
    }
    seen
}
