//! The arguments of a try: where each comes from, and what it is.

use super::lists::{List, join};
use super::outputs;
use super::scope::Scope;
use crate::value::{Erased, Inputs};
use flow_core::dag::{Dag, Input, Source};
use flow_core::{InstanceKey, TaskIx, UNMAPPED, element_indices, mapping};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::sync::Arc;

/// Why an argument could not be made.
#[derive(Debug)]
pub(super) struct Unmade {
    pub(super) message: String,
    /// Another try may find it.
    pub(super) may_pass: bool,
}

fn wrong(message: String) -> Unmade {
    Unmade { message, may_pass: false }
}

/// The literal arguments of each task, by number: made once, so that all its instances share them.
pub(super) fn literals(dag: &Dag) -> Vec<HashMap<usize, Erased>> {
    let literal = |(n, input): (usize, &Input)| match &input.source {
        Source::Literal(value) => Some((n, Erased::from_json(value.to_string()))),
        _ => None,
    };
    dag.tasks.iter().map(|task| task.inputs.iter().enumerate().filter_map(literal).collect()).collect()
}

/// The arguments of one instance, in order. `lengths` are those of the lists that its task is mapped over.
pub(super) async fn resolve(scope: &Scope, key: InstanceKey, lengths: &[u32]) -> Result<Inputs, Unmade> {
    let task = &scope.dag.tasks[key.task as usize];
    let mut values = Vec::with_capacity(task.inputs.len());
    let indices = element_indices(lengths, key.map_index);
    let axes = if task.mapped { mapping::axes(&scope.dag, key.task) } else { Vec::new() };
    let mut plain_axis = 0..;
    for (number, input) in task.inputs.iter().enumerate() {
        let value = match &input.source {
            Source::Each(list) => {
                // Outside of mapped groups the lists are in the order of the arguments, and may be the same twice.
                let next = plain_axis.next().unwrap_or(0);
                let axis = match mapping::home(&scope.dag, key.task) {
                    Some(_) => axes.iter().position(|axis| **axis == **list),
                    None => Some(next),
                };
                let index = axis.and_then(|axis| indices.get(axis)).copied();
                element(scope, key, (number, input), list, index).await?
            }
            Source::Literal(_) => match scope.literals[key.task as usize].get(&number) {
                Some(literal) => literal.clone(),
                None => value(scope, key, &input.source).await?,
            },
            source => value(scope, key, source).await?,
        };
        values.push(value);
    }
    Ok(Inputs::new(values))
}

/// One element of a list that the task is mapped over.
async fn element(
    scope: &Scope,
    key: InstanceKey,
    (number, input): (usize, &Input),
    source: &Source,
    index: Option<u32>,
) -> Result<Erased, Unmade> {
    let list = match scope.lists.get(key.task, number) {
        Some(list) => list,
        None => {
            let whole = value(scope, key, source).await?;
            let list = List::of(whole.json()).map(Arc::new);
            let list =
                list.ok_or_else(|| wrong(format!("argument `{}` is mapped over what is not a list", input.name)))?;
            scope.lists.put(key.task, number, list.clone());
            list
        }
    };
    let found = index.and_then(|index| list.get(index as usize));
    let found = found.ok_or_else(|| {
        let (name, place) = (&input.name, key.map_index);
        wrong(format!("argument `{name}` has no element for the instance {place}: the list has {}", list.len()))
    });
    found.map(Erased::from_json)
}

/// The value of a source, for this instance.
fn value<'a>(scope: &'a Scope, key: InstanceKey, source: &'a Source) -> BoxFuture<'a, Result<Erased, Unmade>> {
    async move {
        match source {
            Source::Literal(value) => Ok(Erased::from_json(value.to_string())),
            Source::Param(name) => {
                let found = scope.params.get(name).cloned();
                found.ok_or_else(|| wrong(format!("the run has no param `{name}`")))
            }
            Source::Output(task) => required(scope, key, *task).await,
            Source::OptionalOutput(task) => {
                let found = output(scope, key, *task).await?;
                Ok(found.unwrap_or_else(|| Erased::from_json("null")))
            }
            Source::Field(task, field) => {
                let whole = required(scope, key, *task).await?;
                let found = List::of(whole.json()).and_then(|l| l.get(*field as usize).map(Erased::from_json));
                found.ok_or_else(|| {
                    let id = scope.ids.task(*task);
                    wrong(format!("the output of task `{id}` has no element number {field}"))
                })
            }
            Source::List(sources) => {
                let mut texts = Vec::with_capacity(sources.len());
                for source in sources {
                    texts.push(value(scope, key, source).await?.json().clone());
                }
                Ok(Erased::from_json(join(texts)))
            }
            Source::Each(_) => Err(wrong("a list inside a list cannot be mapped over".into())),
        }
    }
    .boxed()
}

async fn required(scope: &Scope, key: InstanceKey, upstream: TaskIx) -> Result<Erased, Unmade> {
    let found = output(scope, key, upstream).await?;
    found.ok_or_else(|| {
        let id = scope.ids.task(upstream);
        wrong(format!("task `{id}` gave no value"))
    })
}

/// The output of an upstream task as this instance sees it: of a task beside it in a mapped group the instance of the
/// same index, of any other mapped task the list of all.
async fn output(scope: &Scope, key: InstanceKey, upstream: TaskIx) -> Result<Option<Erased>, Unmade> {
    let (dag, mapped) = (&scope.dag, scope.dag.tasks[upstream as usize].mapped);
    let group = mapping::home(dag, upstream);
    let found = if mapped && group.is_some() && group == mapping::home(dag, key.task) {
        outputs::one(scope, InstanceKey { task: upstream, ..key }).await
    } else if mapped {
        outputs::all(scope, upstream).await
    } else {
        outputs::one(scope, InstanceKey { task: upstream, map_index: UNMAPPED }).await
    };
    found.map_err(|message| Unmade { message, may_pass: true })
}
