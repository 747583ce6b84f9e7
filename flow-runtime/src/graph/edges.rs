//! The edges of a DAG with their types, for every way of showing it.

use crate::secret;
use flow_core::dag::Source;
use flow_core::{Dag, TaskDef, TaskIx};
use serde_json::Value;

/// From one task to another.
#[derive(Debug, PartialEq)]
pub struct Edge<'d> {
    /// The upstream task.
    pub from: &'d str,
    /// The downstream task.
    pub to: &'d str,
    /// What goes along it.
    pub kind: Kind<'d>,
}

/// What goes along an edge.
#[derive(Debug, PartialEq)]
pub enum Kind<'d> {
    /// An output of this type goes into this argument.
    Data {
        /// Type of the output.
        output: &'d str,
        /// The argument it goes into.
        argument: &'d str,
        /// Type of the argument.
        input: &'d str,
        /// Element by element, to one instance each.
        each: bool,
    },
    /// The downstream task runs only if the output is this.
    When(&'d Value),
    /// Only the order.
    Order,
}

/// All edges, by downstream task in the author's order.
pub fn edges(dag: &Dag) -> Vec<Edge<'_>> {
    let mut edges: Vec<Edge<'_>> = Vec::new();
    for task in &dag.tasks {
        let first = edges.len();
        let from = |ix: TaskIx| &dag.tasks[ix as usize];
        for input in &task.inputs {
            for ix in input.source.tasks() {
                let each = matches!(input.source, Source::Each(_));
                let kind =
                    Kind::Data { output: &from(ix).output, argument: &input.name, input: &input.type_name, each };
                let edge = Edge { from: &from(ix).task_id, to: &task.task_id, kind };
                if !edges[first..].contains(&edge) {
                    edges.push(edge);
                }
            }
        }
        for condition in &task.conditions {
            edges.push(Edge {
                from: &from(condition.upstream).task_id,
                to: &task.task_id,
                kind: Kind::When(&condition.equals),
            });
        }
        for ix in only_order(task) {
            edges.push(Edge { from: &from(ix).task_id, to: &task.task_id, kind: Kind::Order });
        }
    }
    edges
}

/// The text in at most so many letters.
pub(super) fn short(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_string();
    }
    text.chars().take(letters - 1).chain(['…']).collect()
}

/// Upstream tasks of which nothing is read.
pub fn only_order(task: &TaskDef) -> impl Iterator<Item = TaskIx> {
    let read: Vec<TaskIx> = task.inputs.iter().flat_map(|i| i.source.tasks()).collect();
    let asked = |ix: &TaskIx| task.conditions.iter().any(|c| c.upstream == *ix);
    task.upstream.iter().copied().filter(move |ix| !read.contains(ix) && !asked(ix))
}

/// Where the value of an argument comes from, in words: `download`, `param url`, `"done"`, `each of pages`.
pub fn source(dag: &Dag, source: &Source) -> String {
    let id = |ix: &TaskIx| dag.tasks[*ix as usize].task_id.as_str();
    match source {
        Source::Literal(value) => short(&secret::redact(&value.to_string()), 60),
        Source::Output(ix) => id(ix).to_string(),
        Source::OptionalOutput(ix) => format!("{}, if it gives a value", id(ix)),
        Source::Field(ix, n) => format!("{}.{n}", id(ix)),
        Source::OptionalField(ix, n) => format!("{}.{n}, if it gives a value", id(ix)),
        Source::Param(name) => format!("param {name}"),
        Source::Record(fields) => {
            let fields = fields.iter().map(|(name, s)| format!("{name}: {}", self::source(dag, s)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Source::List(list) => format!("[{}]", list.iter().map(|s| self::source(dag, s)).collect::<Vec<_>>().join(", ")),
        Source::Each(inner) => format!("each of {}", self::source(dag, inner)),
    }
}
