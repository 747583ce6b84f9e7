//! What may be given for an argument of a task.

use super::draft::Draft;
use super::{Node, Param};
use crate::value::TaskArgument;
use flow_core::dag::Source;
use serde::Serialize;
use std::panic::Location;

/// Something that serves as an argument of type `T`: a value, a [`Node`] or a [`Param`] of that type, and a few things that
/// plainly become one (`&str` for a `String`, an array or a list of nodes for a `Vec`, either for an `Option`).
///
/// `How` tells a [`Call`] from an [`Expand`], which takes [`each(list)`](super::each()) as well. What an author reads about a wrong
/// argument is said by a trait of that argument, which `#[task]` makes: it knows both names.
#[diagnostic::on_unimplemented(
    message = "an argument takes `{T}`, and was given `{Self}`",
    label = "this is `{Self}`",
    note = "an argument takes a value, a `Node<..>` (what a task call returns) or a `Param<..>` of exactly its type",
    note = "a `Secret` cannot be written down in a DAG: take it from a param"
)]
pub trait Arg<T, How> {
    /// Where the value comes from, as data.
    #[doc(hidden)]
    fn input(self, at: &'static Location<'static>) -> Input;
}

/// Arguments of a plain call.
#[derive(Debug)]
pub enum Call {}

/// Arguments of `expand`.
#[derive(Debug)]
pub enum Expand {}

/// The data behind an argument, or a note of what is wrong with it.
#[derive(Debug, Clone)]
pub struct Input(pub(super) Result<Source, String>);

impl Input {
    pub(crate) fn node<T>(node: Node<T>, optional: bool, at: &'static Location<'static>) -> Input {
        let own = Draft::current("a node was used", |d| d.own(node.stamp, node.task, at));
        let source = |task| match (node.field, optional) {
            (None, false) => Source::Output(task),
            (None, true) => Source::OptionalOutput(task),
            (Some(field), false) => Source::Field(task, field),
            (Some(field), true) => Source::OptionalField(task, field),
        };
        // The problem is noted already; any source will do for a DAG that is refused.
        Input(Ok(own.map_or(Source::Literal(serde_json::Value::Null), source)))
    }

    pub(crate) fn literal<T: Serialize>(value: T) -> Input {
        Input(
            serde_json::to_value(value)
                .map(Source::Literal)
                .map_err(|e| format!("the value cannot be written as JSON: {e}")),
        )
    }

    pub(crate) fn param<T>(param: Param<T>, at: &'static Location<'static>) -> Input {
        Input(Draft::current("a param was used", |draft| draft.handle(param, at)))
    }

    pub(super) fn list(inputs: impl Iterator<Item = Input>) -> Input {
        Input(inputs.map(|i| i.0).collect::<Result<Vec<_>, _>>().map(Source::List))
    }

    /// A struct, field by field.
    pub fn record(fields: impl IntoIterator<Item = (&'static str, Input)>) -> Input {
        let fields = fields.into_iter().map(|(name, input)| Ok((name.to_string(), input.0?)));
        Input(fields.collect::<Result<_, String>>().map(Source::Record))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize, How> Arg<T, How> for T {
    fn input(self, _: &'static Location<'static>) -> Input {
        Input::literal(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T, How> Arg<T, How> for Node<T> {
    fn input(self, at: &'static Location<'static>) -> Input {
        Input::node(self, false, at)
    }
}

#[diagnostic::do_not_recommend]
impl<T, How> Arg<T, How> for Param<T> {
    fn input(self, at: &'static Location<'static>) -> Input {
        Input::param(self, at)
    }
}

#[diagnostic::do_not_recommend]
impl<How> Arg<String, How> for &str {
    fn input(self, _: &'static Location<'static>) -> Input {
        Input::literal(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T: TaskArgument, How> Arg<Option<T>, How> for Node<T> {
    fn input(self, at: &'static Location<'static>) -> Input {
        Input::node(self, true, at)
    }
}

#[diagnostic::do_not_recommend]
impl<T: TaskArgument, How> Arg<Option<T>, How> for Param<T> {
    fn input(self, at: &'static Location<'static>) -> Input {
        Input::param(self, at)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize, How> Arg<Option<T>, How> for T {
    fn input(self, _: &'static Location<'static>) -> Input {
        Input::literal(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T, How> Arg<Vec<T>, How> for Vec<Node<T>> {
    fn input(self, at: &'static Location<'static>) -> Input {
        Input::list(self.into_iter().map(|n| Input::node(n, false, at)))
    }
}

#[diagnostic::do_not_recommend]
impl<T, const N: usize, How> Arg<Vec<T>, How> for [Node<T>; N] {
    fn input(self, at: &'static Location<'static>) -> Input {
        Input::list(self.into_iter().map(|n| Input::node(n, false, at)))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize, const N: usize, How> Arg<Vec<T>, How> for [T; N] {
    fn input(self, _: &'static Location<'static>) -> Input {
        Input::literal(Vec::from(self))
    }
}

#[diagnostic::do_not_recommend]
impl<const N: usize, How> Arg<Vec<String>, How> for [&str; N] {
    fn input(self, _: &'static Location<'static>) -> Input {
        Input::literal(self.as_slice())
    }
}
