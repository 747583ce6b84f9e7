//! [`Node`]: a task in the DAG being built.

use super::draft::Draft;
use super::{Input, order::IntoNodes};
use crate::asset::Asset;
use crate::registry::TaskSpec;
use flow_core::dag::{
    self, AtOnce, Condition, Isolation, Past, Rate, RetryPolicy, Source, TaskDef, TaskIx, TaskKind, WeightRule,
};
use flow_core::sensor::{SensorMode, SensorPolicy};
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
    /// The element of the task's tuple output that it stands for.
    pub(super) field: Option<u32>,
    pub(super) of: PhantomData<fn() -> T>,
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Node<T> {}

impl<T> Node<T> {
    pub(super) fn of(stamp: u32, task: TaskIx) -> Node<T> {
        Node { stamp, task, field: None, of: PhantomData }
    }

    /// One element of the task's tuple output.
    pub(super) fn field_of(stamp: u32, task: TaskIx, field: u32) -> Node<T> {
        Node { stamp, task, field: Some(field), of: PhantomData }
    }
}

/// Adds a task to the DAG being built. This is what `download::node(..)` calls; by hand it takes a [`TaskSpec`] and one
/// [`Input`] per argument.
///
/// # Panics
/// If no DAG is being built on this thread.
#[track_caller]
pub fn add_task<T>(spec: &'static TaskSpec, inputs: Vec<Input>) -> Node<T> {
    let at = Location::caller();
    Draft::current("a task was called", |draft| {
        let def = draft.task_def(spec, inputs, at);
        let task = draft.add(def, at);
        draft.cached.extend(spec.cache.map(|_| task));
        Node::of(draft.stamp, task)
    })
}

/// Adds a task that is mapped over the lists among its inputs: one instance per element, or per combination of
/// elements. This is what `download::expand(..)` calls.
///
/// # Panics
/// If no DAG is being built on this thread.
#[track_caller]
pub fn add_mapped_task<T>(spec: &'static TaskSpec, inputs: Vec<Input>) -> Node<Vec<T>> {
    let at = Location::caller();
    Draft::current("a task was expanded", |draft| {
        let mut def = draft.task_def(spec, inputs, at);
        if !def.inputs.iter().any(|input| matches!(input.source, Source::Each(_))) {
            let name = spec.name;
            draft.problem(at, format!("task `{name}` is expanded over nothing: give at least one `each(list)`"));
        }
        if draft.in_mapped_group() {
            let name = spec.name;
            draft.problem(
                at,
                format!("task `{name}` is expanded inside a group that is expanded itself: map one of them"),
            );
        }
        def.mapped = true;
        let task = draft.add(def, at);
        draft.cached.extend(spec.cache.map(|_| task));
        Node::of(draft.stamp, task)
    })
}

impl Draft {
    fn task_def(&mut self, spec: &'static TaskSpec, inputs: Vec<Input>, at: &'static Location<'static>) -> TaskDef {
        let mut def = TaskDef::new(spec.options.id.unwrap_or(spec.name), spec.body);
        def.doc = spec.doc.map(|d| d.trim().to_string()).filter(|d| !d.is_empty());
        def.output = spec.output.into();
        def.place = Some(spec.place());
        apply_options(&mut def, spec, self);
        self.note_assets(spec.options.outlets, at);
        self.note_assets(spec.options.inlets, at);
        add_names(&mut def.outlets, spec.options.outlets);
        add_names(&mut def.inlets, spec.options.inlets);
        if inputs.len() != spec.args.len() {
            let (name, takes, given) = (spec.name, spec.args.len(), inputs.len());
            self.problem(at, format!("task `{name}` takes {takes} arguments and was given {given}"));
        }
        for (arg, input) in spec.args.iter().zip(inputs) {
            match input.0 {
                Ok(source) => {
                    def.inputs.push(dag::Input { name: arg.name.into(), type_name: arg.type_name.into(), source })
                }
                Err(sentence) => {
                    self.problem(at, format!("argument `{}` of task `{}`: {sentence}", arg.name, spec.name));
                }
            }
        }
        def
    }
}

/// The task's own options, else those around it (of the DAG, or of a group), else flow's.
fn apply_options(def: &mut TaskDef, spec: &TaskSpec, draft: &Draft) {
    let options = spec.options.or(&draft.defaults);
    let basic = RetryPolicy::default();
    def.retry = RetryPolicy {
        retries: options.retries.unwrap_or(basic.retries),
        delay: options.retry_delay.unwrap_or(basic.delay),
        backoff: options.retry_backoff.unwrap_or(basic.backoff),
        max_delay: options.max_retry_delay.or(basic.max_delay),
    };
    // How long a try of a task may take by default says nothing of how long a sensor may wait.
    def.sensor = spec.options.sensor.policy(spec.options.timeout);
    def.timeout = options.timeout.filter(|_| def.sensor.is_none());
    def.pool = options.pool.unwrap_or("default_pool").into();
    def.pool_slots = options.pool_slots.unwrap_or(1);
    def.max_active = options.max_active;
    def.max_active_per_run = options.max_active_per_run;
    def.at_once = options.at_once.map(|of| AtOnce { most: of.most, key: of.key.into() });
    def.rate = options.rate.map(|of| Rate { starts: of.starts, span: of.span, key: of.key.into() });
    def.past = Past {
        depends_on_past: options.depends_on_past.unwrap_or(false),
        wait_for_downstream: options.wait_for_downstream.unwrap_or(false),
        ignore_first: options.ignore_first_depends_on_past.unwrap_or(true),
    };
    def.priority = options.priority.unwrap_or(1);
    def.weight_rule = options.weight_rule.unwrap_or_default();
    def.queue = options.queue.unwrap_or("default").into();
    def.isolation = options.isolation.unwrap_or_default();
    def.notify = options.notify.notifiers();
    def.kind = spec.options.kind.unwrap_or_default();
    let own = spec.options.trigger_rule.or(match def.kind {
        TaskKind::Teardown { .. } => Some(TriggerRule::AllDoneSetupSuccess),
        _ => draft.defaults.trigger_rule,
    });
    def.trigger_rule = own.unwrap_or_default();
}

/// Each once, in the order in which they are named.
fn add_names(names: &mut Vec<String>, assets: &[Asset]) {
    for name in assets.iter().map(Asset::name) {
        if !names.iter().any(|known| known == name) {
            names.push(name.into());
        }
    }
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
    pub(super) fn edit(self, change: impl FnOnce(&mut TaskDef)) -> Self {
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

    /// Longest time one try may take; of a sensor, longest time that it waits.
    #[track_caller]
    pub fn timeout(self, time: impl IntoDuration) -> Self {
        self.edit_duration(time, |t, d| match &mut t.sensor {
            Some(policy) => policy.timeout = d,
            None => t.timeout = Some(d),
        })
    }

    /// Of a sensor, the time from one look to the next.
    #[track_caller]
    pub fn poke_interval(self, time: impl IntoDuration) -> Self {
        let at = Location::caller();
        match time.into_duration() {
            Ok(time) => self.edit_sensor("poke_interval", at, |policy| policy.poke_interval = time),
            Err(sentence) => {
                Draft::current("a node was used", |draft| draft.problem(at, sentence));
                self
            }
        }
    }

    /// Of a sensor, what it does between two looks.
    #[track_caller]
    pub fn mode(self, mode: SensorMode) -> Self {
        self.edit_sensor("mode", Location::caller(), |policy| policy.mode = mode)
    }

    /// A sensor that waits in vain is skipped; else it fails.
    #[track_caller]
    pub fn soft_fail(self, soft_fail: bool) -> Self {
        self.edit_sensor("soft_fail", Location::caller(), |policy| policy.soft_fail = soft_fail)
    }

    fn edit_sensor(self, option: &str, at: &'static Location<'static>, edit: impl FnOnce(&mut SensorPolicy)) -> Self {
        Draft::current("a node was used", |draft| {
            let Some(task) = draft.own(self.stamp, self.task, at) else { return };
            match &mut draft.dag.tasks[task as usize] {
                TaskDef { sensor: Some(policy), .. } => edit(policy),
                TaskDef { task_id, .. } => {
                    let sentence = format!("task `{task_id}` is no sensor, and has no `{option}`");
                    draft.problem(at, sentence);
                }
            }
        });
        self
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

    /// Most instances of it in flight at one time, of all runs of the DAG. (Airflow: `max_active_tis_per_dag`.)
    #[track_caller]
    pub fn max_active(self, instances: u32) -> Self {
        self.edit(|t| t.max_active = Some(instances))
    }

    /// Most instances of it in flight at one time in one run. (Airflow: `max_active_tis_per_dagrun`.)
    #[track_caller]
    pub fn max_active_per_run(self, instances: u32) -> Self {
        self.edit(|t| t.max_active_per_run = Some(instances))
    }

    /// At most so many tries at one time that have the same key, of all tasks, DAGs and runs that share the engine.
    /// `{name}` in the key stands for the value of an argument: `.at_once(1, "load {table}")`.
    #[track_caller]
    pub fn at_once(self, most: u32, key: impl Into<String>) -> Self {
        self.edit(|t| t.at_once = Some(AtOnce { most, key: key.into() }))
    }

    /// At most so many tries that have the same key are started in a span of time, of all tasks, DAGs and runs that share
    /// the engine: `.rate("10/s", "api")`. The key is written as that of [`Node::at_once`].
    #[track_caller]
    pub fn rate(self, rate: &str, key: impl Into<String>) -> Self {
        match flow_core::parse::rate(rate) {
            Ok((starts, span)) => self.edit(|t| t.rate = Some(Rate { starts, span, key: key.into() })),
            Err(sentence) => {
                let at = Location::caller();
                Draft::current("a node was used", |draft| draft.problem(at, sentence));
                self
            }
        }
    }

    /// It waits until it has succeeded, or was skipped, in the run of this DAG with the logical date before.
    #[track_caller]
    pub fn depends_on_past(self, depends: bool) -> Self {
        self.edit(|t| t.past.depends_on_past = depends)
    }

    /// It waits until the tasks right below it have succeeded in the run before, or were skipped, and it itself.
    #[track_caller]
    pub fn wait_for_downstream(self, waits: bool) -> Self {
        self.edit(|t| t.past.wait_for_downstream = waits)
    }

    /// False: it waits for the run before also where no earlier run has had this task.
    #[track_caller]
    pub fn ignore_first_depends_on_past(self, ignores: bool) -> Self {
        self.edit(|t| t.past.ignore_first = ignores)
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

    /// Where its tries run: in this process, or each in one of its own.
    #[track_caller]
    pub fn isolation(self, isolation: Isolation) -> Self {
        self.edit(|t| t.isolation = isolation)
    }

    /// It makes these assets as well: its success is an event of each.
    #[track_caller]
    pub fn outlets(self, assets: impl IntoIterator<Item = Asset>) -> Self {
        self.note_assets(assets, |task| &mut task.outlets)
    }

    /// It reads these assets as well.
    #[track_caller]
    pub fn inlets(self, assets: impl IntoIterator<Item = Asset>) -> Self {
        self.note_assets(assets, |task| &mut task.inlets)
    }

    #[track_caller]
    fn note_assets(
        self,
        assets: impl IntoIterator<Item = Asset>,
        list: impl Fn(&mut TaskDef) -> &mut Vec<String>,
    ) -> Self {
        let at = Location::caller();
        let assets: Vec<Asset> = assets.into_iter().collect();
        Draft::current("a node was used", |draft| {
            let Some(task) = draft.own(self.stamp, self.task, at) else { return };
            draft.note_assets(&assets, at);
            add_names(list(&mut draft.dag.tasks[task as usize]), &assets);
        });
        self
    }

    /// Makes it a setup: what lies between it and its teardowns runs only if it succeeded.
    #[track_caller]
    pub fn as_setup(self) -> Self {
        self.edit(|t| t.kind = TaskKind::Setup)
    }

    /// Makes it a teardown: it runs when all that is above it has finished, however, if its setup succeeded; and the run
    /// does not fail when it does.
    #[track_caller]
    pub fn as_teardown(self) -> Self {
        self.edit(|t| {
            t.kind = TaskKind::Teardown { on_failure_fail_dagrun: false };
            t.trigger_rule = TriggerRule::AllDoneSetupSuccess;
        })
    }

    /// Makes it the teardown of these, which become setups: what lies between needs them, and they are cleaned up after
    /// it, however it ends.
    #[track_caller]
    pub fn teardown_of(self, setups: impl IntoNodes) -> Self {
        let at = Location::caller();
        let teardown = self.as_teardown();
        let setups = setups.nodes();
        Draft::current("a node was used", |draft| draft.make_setups(&setups, at));
        super::order::connect(setups, teardown.nodes(), at);
        teardown
    }

    /// For a teardown: its failure fails the run.
    #[track_caller]
    pub fn on_failure_fail_dagrun(self, fails: bool) -> Self {
        let at = Location::caller();
        Draft::current("a node was used", |draft| {
            let Some(task) = draft.own(self.stamp, self.task, at) else { return };
            match &mut draft.dag.tasks[task as usize].kind {
                TaskKind::Teardown { on_failure_fail_dagrun } => *on_failure_fail_dagrun = fails,
                _ => draft.problem(at, "only a teardown has `on_failure_fail_dagrun`: call `.teardown_of(..)` first"),
            }
        });
        self
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
                    draft.condition(task, Condition { upstream, field: choice.field, equals }, at);
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
