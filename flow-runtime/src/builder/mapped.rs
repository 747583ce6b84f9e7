//! `each(list)`: an argument of which a mapped task, or a mapped group, gets one element per instance.

use super::arg::{Arg, Expand, Input};
use super::{Node, Param};
use flow_core::dag::Source;
use serde::Serialize;
use std::marker::PhantomData;
use std::ops::{Range, RangeInclusive};
use std::panic::Location;

/// One element per instance; [`each()`] makes it.
#[derive(Debug, Clone)]
pub struct Each<T> {
    list: Input,
    of: PhantomData<fn() -> T>,
}

/// Maps over a list: `download::expand(each(months), lake)` makes one instance per month. Over several lists there is one
/// instance per combination, the last list running fastest.
///
/// # Panics
/// If no DAG is being built on this thread and the list is a node or a param.
#[track_caller]
pub fn each<L: IntoEach>(list: L) -> Each<L::Item> {
    Each { list: list.list(Location::caller()), of: PhantomData }
}

/// Inside `#[dag]` a call of `each` is rewritten like that of a task; this makes it reach the function.
#[allow(non_camel_case_types, reason = "it has the name of the function beside it")]
#[doc(hidden)]
pub struct each {}

impl each {
    #[doc(hidden)]
    #[track_caller]
    pub fn node<L: IntoEach>(list: L) -> Each<L::Item> {
        each(list)
    }
}

/// A list that can be mapped over: a literal one, a task's `Vec`, a param, nodes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be mapped over",
    label = "this is no list",
    note = "`each` takes a list (`vec![..]`, `[..]`, `1..=12`), a `Node<Vec<T>>` or `Param<Vec<T>>`, or a list of nodes"
)]
pub trait IntoEach {
    /// What an instance gets.
    type Item;
    /// Where the list comes from.
    #[doc(hidden)]
    fn list(self, at: &'static Location<'static>) -> Input;
}

impl<T: Serialize> IntoEach for Vec<T> {
    type Item = T;

    fn list(self, _: &'static Location<'static>) -> Input {
        Input::literal(self)
    }
}

impl<T: Serialize, const N: usize> IntoEach for [T; N] {
    type Item = T;

    fn list(self, _: &'static Location<'static>) -> Input {
        Input::literal(Vec::from(self))
    }
}

impl<T: Serialize> IntoEach for Range<T>
where
    Range<T>: Iterator<Item = T>,
{
    type Item = T;

    fn list(self, _: &'static Location<'static>) -> Input {
        Input::literal(self.collect::<Vec<T>>())
    }
}

impl<T: Serialize> IntoEach for RangeInclusive<T>
where
    RangeInclusive<T>: Iterator<Item = T>,
{
    type Item = T;

    fn list(self, _: &'static Location<'static>) -> Input {
        Input::literal(self.collect::<Vec<T>>())
    }
}

impl<T> IntoEach for Node<Vec<T>> {
    type Item = T;

    fn list(self, at: &'static Location<'static>) -> Input {
        Input::node(self, false, at)
    }
}

impl<T> IntoEach for Param<Vec<T>> {
    type Item = T;

    fn list(self, at: &'static Location<'static>) -> Input {
        Input::param(self, at)
    }
}

impl<T> IntoEach for Vec<Node<T>> {
    type Item = T;

    fn list(self, at: &'static Location<'static>) -> Input {
        Input::list(self.into_iter().map(|n| Input::node(n, false, at)))
    }
}

impl<T, const N: usize> IntoEach for [Node<T>; N] {
    type Item = T;

    fn list(self, at: &'static Location<'static>) -> Input {
        Input::list(self.into_iter().map(|n| Input::node(n, false, at)))
    }
}

#[diagnostic::do_not_recommend]
impl<T> Arg<T, Expand> for Each<T> {
    fn input(self, _: &'static Location<'static>) -> Input {
        self.source()
    }
}

#[diagnostic::do_not_recommend]
impl Arg<String, Expand> for Each<&str> {
    fn input(self, _: &'static Location<'static>) -> Input {
        self.source()
    }
}

#[diagnostic::do_not_recommend]
impl<T> Arg<Option<T>, Expand> for Each<T> {
    fn input(self, _: &'static Location<'static>) -> Input {
        self.source()
    }
}

impl<T> Each<T> {
    pub(crate) fn source(self) -> Input {
        Input(self.list.0.map(|list| Source::Each(Box::new(list))))
    }
}
