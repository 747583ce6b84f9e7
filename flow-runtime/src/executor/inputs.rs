//! The arguments of a try: where each comes from, and what it is.

use super::lists::{List, join};
use super::outputs::{self, Unread};
use super::scope::Scope;
use crate::secret;
use crate::value::{Erased, Inputs};
use flow_core::dag::{Dag, Input, Source};
use flow_core::{InstanceKey, TaskIx, UNMAPPED, element_indices, mapping};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Why an argument could not be made.
#[derive(Debug)]
pub(super) struct Unmade {
    pub(super) message: String,
    /// Another try may find it.
    pub(super) may_pass: bool,
    /// The store did not answer: whoever asks again may hear of it.
    pub(super) no_answer: bool,
}

fn wrong(message: String) -> Unmade {
    Unmade { message, may_pass: false, no_answer: false }
}

/// The literal arguments of each task, by number: made once, so that all its instances share them.
pub(super) fn literals(dag: &Dag) -> Vec<HashMap<usize, Erased>> {
    let literal = |(n, input): (usize, &Input)| match &input.source {
        Source::Literal(value) => Some((n, Erased::from_json(value.to_string()))),
        _ => None,
    };
    dag.tasks.iter().map(|task| task.inputs.iter().enumerate().filter_map(literal).collect()).collect()
}

/// Which element of which list an instance gets.
struct Place<'a> {
    key: InstanceKey,
    /// The lists that its task is mapped over.
    axes: Vec<&'a Source>,
    /// Of each list the element.
    indices: Vec<u32>,
    /// How often outputs had been taken back before anything was looked at.
    anew: u64,
}

/// The arguments of one instance, in order, and what it is called if it is mapped. `lengths` are those of the lists that
/// its task is mapped over.
pub(super) async fn resolve(
    scope: &Scope,
    key: InstanceKey,
    lengths: &[u32],
) -> Result<(Inputs, Option<Arc<str>>), Unmade> {
    let task = &scope.dag.tasks[key.task as usize];
    let axes = if task.mapped { mapping::axes(&scope.dag, key.task) } else { Vec::new() };
    let place = Place { key, axes, indices: element_indices(lengths, key.map_index), anew: scope.lists.anew() };
    let in_group = mapping::home(&scope.dag, key.task).is_some();
    let mut plain_axes = 0..;
    let mut values = Vec::with_capacity(task.inputs.len());
    for (number, input) in task.inputs.iter().enumerate() {
        let made = match &input.source {
            // Outside of mapped groups the lists are in the order of the arguments, and may be the same twice.
            Source::Each(list) if !in_group => {
                element(scope, &place, list, plain_axes.next().unwrap_or_default()).await
            }
            source => match scope.literals[key.task as usize].get(&number) {
                Some(literal) => Ok(literal.clone()),
                None => value(scope, &place, source).await,
            },
        };
        values.push(made.map_err(|unmade| unmade.of(input))?);
    }
    Ok((Inputs::new(values), label(scope, &place).await?))
}

/// Some of the arguments of an instance, by name.
pub(super) async fn named(
    scope: &Scope,
    key: InstanceKey,
    lengths: &[u32],
    names: &[String],
) -> Result<Vec<(String, Erased)>, Unmade> {
    let task = &scope.dag.tasks[key.task as usize];
    let axes = if task.mapped { mapping::axes(&scope.dag, key.task) } else { Vec::new() };
    let place = Place { key, axes, indices: element_indices(lengths, key.map_index), anew: scope.lists.anew() };
    let in_group = mapping::home(&scope.dag, key.task).is_some();
    let mut plain_axes = 0..;
    let mut found = Vec::with_capacity(names.len());
    for input in &task.inputs {
        let axis = matches!(&input.source, Source::Each(_) if !in_group).then(|| plain_axes.next()).flatten();
        if !names.contains(&input.name) {
            continue;
        }
        let made = match (axis, &input.source) {
            (Some(axis), Source::Each(list)) => element(scope, &place, list, axis).await,
            (_, source) => value(scope, &place, source).await,
        };
        found.push((input.name.clone(), made.map_err(|unmade| unmade.of(input))?));
    }
    Ok(found)
}

/// What a mapped instance is about: `month=2021-01`.
async fn label(scope: &Scope, place: &Place<'_>) -> Result<Option<Arc<str>>, Unmade> {
    let mut words = Vec::new();
    for (axis, name) in mapping::axis_names(&scope.dag, place.key.task).into_iter().enumerate() {
        let item = element(scope, place, place.axes[axis], axis).await?;
        words.push(format!("{name}={}", in_short(item.json())));
    }
    Ok(if words.is_empty() { None } else { Some(secret::redact(&words.join(", ")).into()) })
}

/// An element in a few words: a text without its quotes, of an object what stands in it directly.
fn in_short(json: &str) -> String {
    const LONGEST: usize = 60;
    let word = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let text = match serde_json::from_str(json) {
        Ok(Value::Object(fields)) => {
            let fields = fields.iter().filter_map(|(name, value)| Some(format!("{name}={}", word(value)?)));
            fields.collect::<Vec<_>>().join(" ")
        }
        Ok(Value::Array(list)) => list.iter().filter_map(word).collect::<Vec<_>>().join(" "),
        Ok(value) => word(&value).unwrap_or_else(|| json.into()),
        Err(_) => json.into(),
    };
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() > LONGEST { clean.take(LONGEST - 1).chain(['…']).collect() } else { clean.collect() }
}

impl Unmade {
    /// Says which argument it is.
    fn of(self, input: &Input) -> Unmade {
        Unmade { message: format!("argument `{}`: {}", input.name, self.message), ..self }
    }
}

/// One element of a list that the task is mapped over.
async fn element(scope: &Scope, place: &Place<'_>, source: &Source, axis: usize) -> Result<Erased, Unmade> {
    let task = place.key.task;
    let list = match scope.lists.get(task, axis) {
        Some(list) => list,
        None => {
            let whole = value(scope, place, source).await?;
            let list = List::of(whole.json()).map(Arc::new);
            let list = list.ok_or_else(|| wrong("it is mapped over what is not a list".into()))?;
            scope.lists.put(task, axis, list.clone(), place.anew);
            list
        }
    };
    let found = place.indices.get(axis).and_then(|index| list.get(*index as usize));
    let found = found.ok_or_else(|| {
        wrong(format!("there is no element for the instance {}: the list has {}", place.key.map_index, list.len()))
    });
    found.map(Erased::from_json)
}

/// The value of a source, for this instance.
fn value<'a>(scope: &'a Scope, place: &'a Place<'a>, source: &'a Source) -> BoxFuture<'a, Result<Erased, Unmade>> {
    async move {
        match source {
            Source::Literal(value) => Ok(Erased::from_json(value.to_string())),
            Source::Param(name) => {
                let found = scope.params.get(name).cloned();
                found.ok_or_else(|| wrong(format!("the run has no param `{name}`")))
            }
            Source::Output(task) => required(scope, place.key, *task).await,
            Source::OptionalOutput(task) => {
                let found = output(scope, place.key, *task).await?;
                Ok(found.unwrap_or_else(|| Erased::from_json("null")))
            }
            Source::Field(task, field) => {
                let whole = required(scope, place.key, *task).await?;
                field_of(scope, place.key, &whole, (*task, *field))
            }
            Source::OptionalField(task, field) => match output(scope, place.key, *task).await? {
                Some(whole) => field_of(scope, place.key, &whole, (*task, *field)),
                None => Ok(Erased::from_json("null")),
            },
            Source::List(sources) => {
                let mut texts = Vec::with_capacity(sources.len());
                for source in sources {
                    texts.push(value(scope, place, source).await?.json().clone());
                }
                Ok(Erased::from_json(join(texts)))
            }
            Source::Record(fields) => {
                let mut record = String::from("{");
                for (n, (name, source)) in fields.iter().enumerate() {
                    let made = value(scope, place, source).await?;
                    let comma = if n > 0 { "," } else { "" };
                    record.push_str(&format!("{comma}{}:{}", Value::from(name.as_str()), made.json()));
                }
                record.push('}');
                Ok(Erased::from_json(record))
            }
            // To compare lists takes as long as they are, and there is seldom more than one.
            Source::Each(_) if place.axes.len() == 1 => element(scope, place, place.axes[0], 0).await,
            Source::Each(list) => match place.axes.iter().position(|axis| **axis == **list) {
                Some(axis) => element(scope, place, list, axis).await,
                None => Err(wrong("its task is not mapped over this list".into())),
            },
        }
    }
    .boxed()
}

/// One element of the tuple that a task returned; of a mapped task whose values are seen as a list, that of each.
fn field_of(scope: &Scope, key: InstanceKey, whole: &Erased, (task, field): (TaskIx, u32)) -> Result<Erased, Unmade> {
    let none = || wrong(format!("the output of task `{}` has no element number {field}", scope.ids.task(task)));
    let of =
        |tuple: &Arc<str>| List::of(tuple).and_then(|l| l.get(field as usize).map(Arc::<str>::from)).ok_or_else(none);
    if !is_seen_whole(scope, key, task) {
        return of(whole.json()).map(Erased::from_json);
    }
    let all = List::of(whole.json()).ok_or_else(none)?;
    let tuples = (0..all.len()).filter_map(|n| all.get(n));
    let fields = tuples.map(|tuple| of(&tuple.into())).collect::<Result<Vec<_>, _>>()?;
    Ok(Erased::from_json(join(fields)))
}

/// Does this instance see all values of a mapped task, as a list?
fn is_seen_whole(scope: &Scope, key: InstanceKey, upstream: TaskIx) -> bool {
    let group = mapping::home(&scope.dag, upstream);
    scope.dag.tasks[upstream as usize].mapped && (group.is_none() || group != mapping::home(&scope.dag, key.task))
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
    let found = if is_seen_whole(scope, key, upstream) {
        outputs::all(scope, upstream).await
    } else if scope.dag.tasks[upstream as usize].mapped {
        outputs::one(scope, InstanceKey { task: upstream, ..key }).await
    } else {
        outputs::one(scope, InstanceKey { task: upstream, map_index: UNMAPPED }).await
    };
    found.map_err(|Unread { message, no_answer }| Unmade { message, may_pass: true, no_answer })
}
