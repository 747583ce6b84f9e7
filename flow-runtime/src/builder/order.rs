//! Order without data: `a >> b`, lists on either side, [`chain`] and [`cross`].

use super::Node;
use super::draft::Draft;
use super::group::{Group, Side};
use flow_core::TaskIx;
use std::ops::{Shl, Shr};
use std::panic::Location;

/// Nodes of any types, for `>>` and `<<`. An array literal beside such an operator inside `#[dag]` becomes one.
#[derive(Debug, Clone, Default)]
pub struct Nodes(Vec<(u32, Place)>);

/// A task, or a whole group.
#[derive(Debug, Clone, Copy)]
enum Place {
    Task(TaskIx),
    Group(u32),
}

impl Nodes {
    /// None.
    pub fn new() -> Nodes {
        Nodes::default()
    }

    pub(super) fn group(stamp: u32, group: u32) -> Nodes {
        Nodes(vec![(stamp, Place::Group(group))])
    }

    /// These and those.
    pub fn and(mut self, more: impl IntoNodes) -> Nodes {
        self.0.extend(more.nodes().0);
        self
    }
}

/// A node, or a list or tuple of nodes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand beside `>>` or `<<`",
    label = "this is neither a node nor a list of nodes",
    note = "what a task call returns can be put in order: `a >> b`, `a >> [b, c]`, `[a, b] >> c`"
)]
pub trait IntoNodes {
    /// All of them.
    #[doc(hidden)]
    fn nodes(self) -> Nodes;
}

impl<T> IntoNodes for Node<T> {
    fn nodes(self) -> Nodes {
        Nodes(vec![(self.stamp, Place::Task(self.task))])
    }
}

impl IntoNodes for Nodes {
    fn nodes(self) -> Nodes {
        self
    }
}

impl<N: IntoNodes> IntoNodes for Vec<N> {
    fn nodes(self) -> Nodes {
        self.into_iter().fold(Nodes::new(), Nodes::and)
    }
}

impl<N: IntoNodes, const LEN: usize> IntoNodes for [N; LEN] {
    fn nodes(self) -> Nodes {
        self.into_iter().fold(Nodes::new(), Nodes::and)
    }
}

impl Draft {
    /// The tasks that are meant, of groups those at this side.
    pub(super) fn resolve(&mut self, nodes: &Nodes, side: Side, at: &'static Location<'static>) -> Vec<TaskIx> {
        let mut tasks = Vec::new();
        for &(stamp, place) in &nodes.0 {
            match place {
                Place::Task(task) => tasks.extend(self.own(stamp, task, at)),
                Place::Group(group) if stamp == self.stamp => tasks.extend(self.edge_of_group(group, side)),
                // A group of another DAG: its number means nothing here, and `own` says so.
                Place::Group(_) => drop(self.own(stamp, 0, at)),
            }
        }
        tasks
    }
}

/// Draws every edge from one side to the other.
pub(super) fn connect(up: Nodes, down: Nodes, at: &'static Location<'static>) {
    Draft::current("nodes were put in order", |draft| {
        let (up, down) = (draft.resolve(&up, Side::Up, at), draft.resolve(&down, Side::Down, at));
        for &u in &up {
            for &d in &down {
                draft.edge(u, d);
            }
        }
    });
}

impl<T, R: IntoNodes + Clone> Shr<R> for Node<T> {
    type Output = R;
    #[track_caller]
    fn shr(self, after: R) -> R {
        connect(self.nodes(), after.clone().nodes(), Location::caller());
        after
    }
}

impl<T, R: IntoNodes + Clone> Shl<R> for Node<T> {
    type Output = R;
    #[track_caller]
    fn shl(self, before: R) -> R {
        connect(before.clone().nodes(), self.nodes(), Location::caller());
        before
    }
}

impl<R: IntoNodes + Clone> Shr<R> for Group {
    type Output = R;
    #[track_caller]
    fn shr(self, after: R) -> R {
        connect(self.nodes(), after.clone().nodes(), Location::caller());
        after
    }
}

impl<R: IntoNodes + Clone> Shl<R> for Group {
    type Output = R;
    #[track_caller]
    fn shl(self, before: R) -> R {
        connect(before.clone().nodes(), self.nodes(), Location::caller());
        before
    }
}

impl<R: IntoNodes + Clone> Shr<R> for Nodes {
    type Output = R;
    #[track_caller]
    fn shr(self, after: R) -> R {
        connect(self, after.clone().nodes(), Location::caller());
        after
    }
}

impl<R: IntoNodes + Clone> Shl<R> for Nodes {
    type Output = R;
    #[track_caller]
    fn shl(self, before: R) -> R {
        connect(before.clone().nodes(), self, Location::caller());
        before
    }
}

/// A list on the left side of a node: the orphan rule allows it since the right side is ours.
macro_rules! lists_beside_a_node {
    ($([$($generics:tt)*] $list:ty;)*) => {$(
        impl<$($generics)*, T> Shr<Node<T>> for $list {
            type Output = Node<T>;
            #[track_caller]
            fn shr(self, after: Node<T>) -> Node<T> {
                connect(self.nodes(), after.nodes(), Location::caller());
                after
            }
        }

        impl<$($generics)*, T> Shl<Node<T>> for $list {
            type Output = Node<T>;
            #[track_caller]
            fn shl(self, before: Node<T>) -> Node<T> {
                connect(before.nodes(), self.nodes(), Location::caller());
                before
            }
        }
    )*};
}

lists_beside_a_node! {
    [U] Vec<Node<U>>;
    [U, const LEN: usize] [Node<U>; LEN];
}

/// Tuples are lists of nodes of different types.
macro_rules! tuples {
    ($(($($name:ident),+);)*) => {$(
        impl<$($name: IntoNodes),+> IntoNodes for ($($name,)+) {
            #[allow(non_snake_case, reason = "the names of the types serve as names of the fields")]
            fn nodes(self) -> Nodes {
                let ($($name,)+) = self;
                Nodes::new()$(.and($name))+
            }
        }

        impl<$($name: IntoNodes),+> Chain for ($($name,)+) {
            #[allow(non_snake_case, reason = "the names of the types serve as names of the fields")]
            fn links(self) -> Vec<Nodes> {
                let ($($name,)+) = self;
                vec![$($name.nodes()),+]
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
    (A, B, C, D, E, F, G);
    (A, B, C, D, E, F, G, H);
}

macro_rules! tuples_beside_a_node {
    ($(($($name:ident),+);)*) => {$( lists_beside_a_node! { [$($name),+] ($(Node<$name>,)+); } )*};
}

tuples_beside_a_node! {
    (A, B);
    (A, B, C);
    (A, B, C, D);
    (A, B, C, D, E);
    (A, B, C, D, E, F);
}

/// Links of a chain: a list of nodes, or a tuple whose elements are nodes or lists of nodes.
pub trait Chain {
    /// One link after the other.
    #[doc(hidden)]
    fn links(self) -> Vec<Nodes>;
}

impl<N: IntoNodes> Chain for Vec<N> {
    fn links(self) -> Vec<Nodes> {
        self.into_iter().map(IntoNodes::nodes).collect()
    }
}

impl<N: IntoNodes, const LEN: usize> Chain for [N; LEN] {
    fn links(self) -> Vec<Nodes> {
        self.into_iter().map(IntoNodes::nodes).collect()
    }
}

/// Puts each link after the one before: `chain((a, [b, c], d))` is `a >> [b, c]` and `[b, c] >> d`.
///
/// # Panics
/// If no DAG is being built on this thread.
#[track_caller]
pub fn chain(links: impl Chain) {
    let at = Location::caller();
    for pair in links.links().windows(2) {
        connect(pair[0].clone(), pair[1].clone(), at);
    }
}

/// Puts every node of one list before every node of the other.
///
/// # Panics
/// If no DAG is being built on this thread.
#[track_caller]
pub fn cross(before: impl IntoNodes, after: impl IntoNodes) {
    connect(before.nodes(), after.nodes(), Location::caller());
}

/// Inside `#[dag]` a call of `chain` or `cross` is rewritten like that of a task; these make it reach the function.
macro_rules! shaped_like_a_task {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $bound:ident),+);)*) => {$(
        $(#[$doc])*
        #[allow(non_camel_case_types, reason = "it has the name of the function beside it")]
        #[doc(hidden)]
        pub struct $name {}

        impl $name {
            #[doc(hidden)]
            #[track_caller]
            pub fn node($($arg: impl $bound),+) {
                $name($($arg),+)
            }
        }
    )*};
}

shaped_like_a_task! {
    chain(links: Chain);
    cross(before: IntoNodes, after: IntoNodes);
}
