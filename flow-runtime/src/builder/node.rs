//! [`Node`]: a task in the DAG being built.

use super::draft::Draft;
use super::{Input, order::IntoNodes};
use crate::registry::TaskSpec;
use flow_core::dag::{self, Condition, RetryPolicy, TaskDef, TaskIx, WeightRule};
use flow_core::trigger_rule::TriggerRule;
use serde::Serialize;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

/// A task of the DAG being built, which gives a `T`. Give it to another task as an argument, put it in order with `>>` and
/// `<<`, or set an option; all options return the node again.
pub struct Node<T> {
    pub(super) stamp: u32,
    pub(super) task: TaskIx,
    pub(super) of: PhantomData<fn() -> T>,
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Node<T> {}

/// Adds a task to the DAG being built. This is what `download::node(..)` calls; by hand it takes a [`TaskSpec`] and one
/// [`Input`] per argument.
///
/// # Panics
/// If no DAG is being built on this thread.
#[track_caller]
pub fn add_task<T>(spec: &'static TaskSpec, inputs: Vec<Input>) -> Node<T> {
    let at = Location::caller();
    Draft::current("a task was called", |draft| {
        let mut def = TaskDef::new(spec.options.id.unwrap_or(spec.name), spec.body);
        def.doc = spec.doc.map(|d| d.trim().to_string()).filter(|d| !d.is_empty());
        def.output = spec.output.into();
        def.place = Some(spec.place());
        apply_options(&mut def, spec, draft);
        if inputs.len() != spec.args.len() {
            draft.problem(
                at,
                format!("task `{}` takes {} arguments and was given {}", spec.name, spec.args.len(), inputs.len()),
            );
        }
        for (arg, input) in spec.args.iter().zip(inputs) {
            match input.0 {
                Ok(source) => {
                    def.inputs.push(dag::Input { name: arg.name.into(), type_name: arg.type_name.into(), source });
                }
                Err(sentence) => {
                    draft.problem(at, format!("argument `{}` of task `{}`: {sentence}", arg.name, spec.name))
                }
            }
        }
        let task = draft.add(def, at);
        Node { stamp: draft.stamp, task, of: PhantomData }
    })
}

/// The task's own options, else the DAG's, else flow's.
fn apply_options(def: &mut TaskDef, spec: &TaskSpec, draft: &Draft) {
    let (own, dag) = (&spec.options, &draft.defaults);
    let basic = RetryPolicy::default();
    def.retry = RetryPolicy {
        retries: own.retries.or(dag.retries).unwrap_or(basic.retries),
        delay: own.retry_delay.or(dag.retry_delay).unwrap_or(basic.delay),
        backoff: own.retry_backoff.or(dag.retry_backoff).unwrap_or(basic.backoff),
        max_delay: own.max_retry_delay.or(dag.max_retry_delay).or(basic.max_delay),
    };
    def.timeout = own.timeout.or(dag.timeout);
    def.trigger_rule = own.trigger_rule.or(dag.trigger_rule).unwrap_or_default();
    def.pool = own.pool.or(dag.pool).unwrap_or("default_pool").into();
    def.pool_slots = own.pool_slots.or(dag.pool_slots).unwrap_or(1);
    def.priority = own.priority.or(dag.priority).unwrap_or(1);
    def.weight_rule = own.weight_rule.or(dag.weight_rule).unwrap_or_default();
    def.queue = own.queue.or(dag.queue).unwrap_or("default").into();
}

/// A length of time: a [`Duration`], or a text like `"90s"`, `"5m"`, `"1h 30m"`.
pub trait IntoDuration {
    /// The time, or a sentence that says what is wrong with the text.
    #[doc(hidden)]
    fn into_duration(self) -> Result<Duration, String>;
}

impl IntoDuration for Duration {
    fn into_duration(self) -> Result<Duration, String> {
        Ok(self)
    }
}

impl IntoDuration for &str {
    fn into_duration(self) -> Result<Duration, String> {
        flow_core::parse::duration(self)
    }
}

impl<T> Node<T> {
    #[track_caller]
    fn edit(self, change: impl FnOnce(&mut TaskDef)) -> Self {
        let at = Location::caller();
        Draft::current("a node was used", |draft| {
            if let Some(task) = draft.own(self.stamp, self.task, at) {
                change(&mut draft.dag.tasks[task as usize]);
            }
        });
        self
    }

    #[track_caller]
    fn edit_duration(self, time: impl IntoDuration, change: impl FnOnce(&mut TaskDef, Duration)) -> Self {
        match time.into_duration() {
            Ok(time) => self.edit(|t| change(t, time)),
            Err(sentence) => {
                let at = Location::caller();
                Draft::current("a node was used", |draft| draft.problem(at, sentence));
                self
            }
        }
    }

    /// Its id in this DAG, instead of the function's name.
    #[track_caller]
    pub fn id(self, id: impl Into<String>) -> Self {
        let at = Location::caller();
        Draft::current("a node was used", |draft| {
            if let Some(task) = draft.own(self.stamp, self.task, at) {
                draft.rename(task, id.into(), at);
            }
        });
        self
    }

    /// Tries after the first.
    #[track_caller]
    pub fn retries(self, retries: u32) -> Self {
        self.edit(|t| t.retry.retries = retries)
    }

    /// Time until the next try.
    #[track_caller]
    pub fn retry_delay(self, delay: impl IntoDuration) -> Self {
        self.edit_duration(delay, |t, d| t.retry.delay = d)
    }

    /// Each further wait is this many times the one before; 0 switches backoff off.
    #[track_caller]
    pub fn retry_backoff(self, factor: f64) -> Self {
        self.edit(|t| t.retry.backoff = factor)
    }

    /// Longest wait between two tries.
    #[track_caller]
    pub fn max_retry_delay(self, delay: impl IntoDuration) -> Self {
        self.edit_duration(delay, |t, d| t.retry.max_delay = Some(d))
    }

    /// Longest time one try may take.
    #[track_caller]
    pub fn timeout(self, time: impl IntoDuration) -> Self {
        self.edit_duration(time, |t, d| t.timeout = Some(d))
    }

    /// When it may start.
    #[track_caller]
    pub fn trigger_rule(self, rule: TriggerRule) -> Self {
        self.edit(|t| t.trigger_rule = rule)
    }

    /// The pool that holds its slots.
    #[track_caller]
    pub fn pool(self, pool: impl Into<String>) -> Self {
        self.edit(|t| t.pool = pool.into())
    }

    /// Slots of the pool one try takes.
    #[track_caller]
    pub fn pool_slots(self, slots: u32) -> Self {
        self.edit(|t| t.pool_slots = slots)
    }

    /// Its own weight; the larger total goes first.
    #[track_caller]
    pub fn priority(self, weight: i64) -> Self {
        self.edit(|t| t.priority = weight)
    }

    /// How the weights around it count into its total.
    #[track_caller]
    pub fn weight_rule(self, rule: WeightRule) -> Self {
        self.edit(|t| t.weight_rule = rule)
    }

    /// The workers that may run it.
    #[track_caller]
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.edit(|t| t.queue = queue.into())
    }

    /// Runs it only when the output of `choice` equals `value`; else it is skipped. Equality is of JSON. Several
    /// conditions must all hold.
    #[track_caller]
    pub fn when<C: Serialize>(self, choice: Node<C>, value: C) -> Self {
        let at = Location::caller();
        let equals = serde_json::to_value(value);
        Draft::current("a node was used", |draft| {
            let own = (draft.own(self.stamp, self.task, at), draft.own(choice.stamp, choice.task, at));
            match (own, equals) {
                ((Some(task), Some(upstream)), Ok(equals)) => {
                    draft.edge(upstream, task);
                    draft.dag.tasks[task as usize].conditions.push(Condition { upstream, equals });
                }
                (_, Err(error)) => {
                    draft.problem(at, format!("the value in `.when(..)` cannot be written as JSON: {error}"))
                }
                _ => {}
            }
        });
        self
    }

    /// Runs it after these, whatever they return: the same as `those >> this`.
    #[track_caller]
    pub fn after(self, those: impl IntoNodes) -> Self {
        super::order::connect(those.nodes(), self.nodes(), Location::caller());
        self
    }
}
