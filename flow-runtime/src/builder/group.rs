//! Groups of tasks: a name around them, a prefix of their ids, and, if they are mapped, one instance of each per element.

use super::draft::Draft;
use super::{Input, IntoNodes, Node, Nodes, Param};
use crate::registry::{ArgSpec, TaskOptions};
use flow_core::TaskIx;
use flow_core::dag::{self, GroupDef, Source, TaskKind};
use std::marker::PhantomData;
use std::panic::Location;

/// A group that returned nothing; it can be put in order as a whole: `a >> group >> b` puts `a` before the tasks of the
/// group that have nothing above them in it, and `b` after those that have nothing below.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    stamp: u32,
    group: u32,
}

impl IntoNodes for Group {
    fn nodes(self) -> Nodes {
        Nodes::group(self.stamp, self.group)
    }
}

/// How a group is set up; what `#[task_group]` fills in.
#[derive(Debug, Clone, Copy)]
pub struct GroupSpec {
    /// Its id; the ids of groups around it come before.
    pub id: &'static str,
    /// The doc comment.
    pub doc: Option<&'static str>,
    /// Do its tasks' ids begin with its own?
    pub prefix: bool,
    /// Options of its tasks that they do not have themselves.
    pub defaults: TaskOptions,
    /// Names and types of its arguments.
    pub args: &'static [ArgSpec],
}

/// The arguments of a group while its tasks are called.
#[derive(Debug)]
pub struct GroupScope {
    inputs: std::vec::IntoIter<Result<Source, String>>,
}

impl GroupScope {
    /// The next argument, as a handle to give to tasks.
    ///
    /// # Panics
    /// If there is no further one.
    pub fn arg<T>(&mut self) -> Param<T> {
        let source = self.inputs.next().expect("as many arguments as were given");
        Draft::current("a group was entered", |draft| draft.new_handle(source))
    }
}

/// What a group returns: its nodes; for nothing, itself.
pub trait GroupOutput {
    /// What its call returns.
    type Plain;
    /// What its call returns when it is mapped: lists.
    type Mapped;
    /// Of a group that is not mapped.
    #[doc(hidden)]
    fn plain(self, group: Group) -> Self::Plain;
    /// Of a mapped one.
    #[doc(hidden)]
    fn mapped(self, group: Group) -> Self::Mapped;
}

impl GroupOutput for () {
    type Plain = Group;
    type Mapped = Group;

    fn plain(self, group: Group) -> Group {
        group
    }

    fn mapped(self, group: Group) -> Group {
        group
    }
}

impl<T> GroupOutput for Node<T> {
    type Plain = Node<T>;
    type Mapped = Node<Vec<T>>;

    fn plain(self, _: Group) -> Node<T> {
        self
    }

    fn mapped(self, _: Group) -> Node<Vec<T>> {
        Node { stamp: self.stamp, task: self.task, field: self.field, of: PhantomData }
    }
}

macro_rules! tuples {
    ($(($($name:ident),+);)*) => {$(
        impl<$($name: GroupOutput),+> GroupOutput for ($($name,)+) {
            type Plain = ($($name::Plain,)+);
            type Mapped = ($($name::Mapped,)+);

            #[allow(non_snake_case, reason = "the names of the types serve as names of the fields")]
            fn plain(self, group: Group) -> Self::Plain {
                let ($($name,)+) = self;
                ($($name.plain(group),)+)
            }

            #[allow(non_snake_case, reason = "the names of the types serve as names of the fields")]
            fn mapped(self, group: Group) -> Self::Mapped {
                let ($($name,)+) = self;
                ($($name.mapped(group),)+)
            }
        }
    )*};
}

tuples! {
    (A, B);
    (A, B, C);
    (A, B, C, D);
    (A, B, C, D, E);
    (A, B, C, D, E, F);
}

/// Calls the tasks of a group inside it. This is what `month::node(..)` calls.
///
/// # Panics
/// If no DAG is being built on this thread.
#[track_caller]
pub fn add_group<R: GroupOutput>(
    spec: &GroupSpec,
    inputs: Vec<Input>,
    body: impl FnOnce(&mut GroupScope) -> R,
) -> R::Plain {
    let (group, returned) = inside(spec, inputs, false, Location::caller(), body);
    returned.plain(group)
}

/// The same, mapped over the lists among its inputs. This is what `month::expand(..)` calls.
///
/// # Panics
/// If no DAG is being built on this thread.
#[track_caller]
pub fn add_mapped_group<R: GroupOutput>(
    spec: &GroupSpec,
    inputs: Vec<Input>,
    body: impl FnOnce(&mut GroupScope) -> R,
) -> R::Mapped {
    let (group, returned) = inside(spec, inputs, true, Location::caller(), body);
    returned.mapped(group)
}

fn inside<R>(
    spec: &GroupSpec,
    inputs: Vec<Input>,
    mapped: bool,
    at: &'static Location<'static>,
    body: impl FnOnce(&mut GroupScope) -> R,
) -> (Group, R) {
    let inputs: Vec<Result<Source, String>> = inputs.into_iter().map(|input| input.0).collect();
    let (group, around) = Draft::current("a group was entered", |draft| {
        let around = draft.defaults;
        draft.defaults = spec.defaults.or(&around);
        (draft.enter_group(spec, &inputs, mapped, at), around)
    });
    let returned = body(&mut GroupScope { inputs: inputs.into_iter() });
    Draft::current("a group was left", |draft| {
        draft.groups.pop();
        draft.defaults = around;
        draft.check_group(group, at);
        (Group { stamp: draft.stamp, group }, returned)
    })
}

/// Which side of an edge a group stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Something comes after it.
    Up,
    /// Something comes before it.
    Down,
}

impl Draft {
    fn enter_group(
        &mut self,
        spec: &GroupSpec,
        inputs: &[Result<Source, String>],
        mapped: bool,
        at: &Location<'_>,
    ) -> u32 {
        let id = spec.id;
        if mapped && self.in_mapped_group() {
            self.problem(
                at,
                format!("group `{id}` is expanded inside a group that is expanded itself: map one of them"),
            );
        }
        for (arg, input) in spec.args.iter().zip(inputs) {
            if let Err(sentence) = input {
                self.problem(at, format!("argument `{}` of group `{id}`: {sentence}", arg.name));
            }
        }
        let around = self.groups.last().copied();
        let base = around.map_or(id.to_string(), |a| format!("{}.{id}", self.dag.groups[a as usize].group_id));
        let numbered = (1..).map(|n| format!("{base}__{n}"));
        let mut ids = std::iter::once(base.clone()).chain(numbered);
        let group_id = ids.find(|id| self.dag.groups.iter().all(|g| g.group_id != *id)).unwrap_or(base);
        let lists = spec.args.iter().zip(inputs).filter_map(|(arg, input)| match input {
            Ok(Source::Each(list)) if mapped => {
                let (name, type_name) = (arg.name.into(), arg.type_name.into());
                Some(dag::Input { name, type_name, source: (**list).clone() })
            }
            _ => None,
        });
        let lists = lists.collect();
        let doc = spec.doc.map(|doc| doc.trim().to_string()).filter(|doc| !doc.is_empty());
        self.dag.groups.push(GroupDef { group_id, doc, parent: around, mapped, prefix: spec.prefix, lists });
        let group = self.dag.groups.len() as u32 - 1;
        self.groups.push(group);
        group
    }

    /// What can be wrong with a group once all of its tasks are there.
    fn check_group(&mut self, group: u32, at: &Location<'_>) {
        let def = &self.dag.groups[group as usize];
        let (id, lists) = (def.group_id.clone(), def.lists.clone());
        if self.members(group).is_empty() {
            self.problem(at, format!("group `{id}` has no task: call at least one in its body"));
        } else if def.mapped && lists.is_empty() {
            self.problem(at, format!("group `{id}` is expanded over nothing: give at least one `each(list)`"));
        }
        for (n, list) in lists.iter().enumerate() {
            if let Some(other) = lists[..n].iter().find(|other| other.source == list.source) {
                let (a, b) = (&other.name, &list.name);
                self.problem(at, format!("group `{id}` is expanded over one list twice, for `{a}` and for `{b}`"));
            }
        }
    }

    /// The tasks of a group and of the groups in it.
    fn members(&self, group: u32) -> Vec<TaskIx> {
        let is_inside = |task: TaskIx| {
            let parent = |at: &u32| self.dag.groups[*at as usize].parent;
            std::iter::successors(self.dag.tasks[task as usize].group, parent).any(|at| at == group)
        };
        (0..self.dag.tasks.len() as TaskIx).filter(|&task| is_inside(task)).collect()
    }

    /// The tasks of a group that stand at this side of it. What comes after the group waits for its work, not for its
    /// teardowns (as in Airflow), unless there is nothing else.
    pub(super) fn edge_of_group(&self, group: u32, side: Side) -> Vec<TaskIx> {
        let members = self.members(group);
        let upstream = |task: TaskIx| &self.dag.tasks[task as usize].upstream;
        let is_work = |task: TaskIx| !matches!(self.dag.tasks[task as usize].kind, TaskKind::Teardown { .. });
        let above = |task: TaskIx| upstream(task).iter().any(|up| members.contains(up));
        let below = |task: TaskIx, who: &dyn Fn(TaskIx) -> bool| {
            members.iter().any(|&member| who(member) && upstream(member).contains(&task))
        };
        let all = || members.iter().copied();
        match side {
            Side::Down => all().filter(|&task| !above(task)).collect(),
            Side::Up => {
                // A setup that only its teardown follows has no work of its own.
                let idle = |task| self.dag.tasks[task as usize].kind == TaskKind::Setup && below(task, &|_| true);
                let ends = |task: &TaskIx| is_work(*task) && !below(*task, &is_work) && !idle(*task);
                let last: Vec<TaskIx> = all().filter(ends).collect();
                if last.is_empty() { all().filter(|&task| !below(task, &|_| true)).collect() } else { last }
            }
        }
    }

    pub(super) fn in_mapped_group(&self) -> bool {
        self.groups.iter().any(|&group| self.dag.groups[group as usize].mapped)
    }

    /// Do the ids of the tasks of a group begin with its own?
    pub(super) fn prefixes(&self, group: u32) -> bool {
        self.dag.groups[group as usize].prefix
    }

    /// The id with that of the group around it.
    pub(super) fn prefixed(&self, id: &str) -> String {
        match self.groups.last() {
            Some(&group) if self.prefixes(group) => format!("{}.{id}", self.dag.groups[group as usize].group_id),
            _ => id.to_string(),
        }
    }
}
