//! The DAG that is being built on this thread.

use super::group::Side;
use super::{DagError, Nodes, Param};
use crate::asset::{self, Asset};
use crate::registry::TaskOptions;
use crate::secret;
use flow_core::dag::{Condition, Dag, Source, TaskDef, TaskIx, TaskKind};
use flow_core::mapping;
use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering};

thread_local! {
    /// A stack, so that a DAG may be built while another one is.
    static DRAFTS: RefCell<Vec<Draft>> = const { RefCell::new(Vec::new()) };
}

/// A DAG half built: its tasks so far, and what is wrong with it so far.
pub(crate) struct Draft {
    /// Tells the handles of this DAG from those of another.
    pub(super) stamp: u32,
    pub(super) dag: Dag,
    pub(super) defaults: TaskOptions,
    pub(super) problems: Vec<String>,
    ids: HashMap<String, TaskIx>,
    /// The last number that was tried for a name that came more than once.
    numbers: HashMap<String, u32>,
    places: Vec<&'static Location<'static>>,
    /// What each [`Param`] stands for.
    handles: Vec<Result<Source, String>>,
    /// Tasks that have a cache.
    pub(super) cached: Vec<TaskIx>,
    /// The groups around what is called now, the innermost last.
    pub(super) groups: Vec<u32>,
}

impl Draft {
    pub(super) fn new(dag: Dag, defaults: TaskOptions) -> Draft {
        static STAMP: AtomicU32 = AtomicU32::new(1);
        let stamp = STAMP.fetch_add(1, Ordering::Relaxed);
        Draft {
            stamp,
            dag,
            defaults,
            problems: Vec::new(),
            ids: HashMap::new(),
            numbers: HashMap::new(),
            places: Vec::new(),
            handles: Vec::new(),
            cached: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Runs `body` with this draft as the current one of the thread, and gives it back.
    pub(super) fn enter(self, body: impl FnOnce()) -> Draft {
        /// Takes the draft off the stack, also when the author's code panics.
        struct Leave(bool);
        impl Drop for Leave {
            fn drop(&mut self) {
                if self.0 {
                    DRAFTS.with_borrow_mut(|d| d.pop());
                }
            }
        }
        DRAFTS.with_borrow_mut(|d| d.push(self));
        let mut leave = Leave(true);
        body();
        leave.0 = false;
        DRAFTS.with_borrow_mut(|d| d.pop()).expect("the draft that was entered")
    }

    /// Does something to the current draft.
    ///
    /// # Panics
    /// If no DAG is being built on this thread.
    #[track_caller]
    pub(super) fn current<R>(what: &str, body: impl FnOnce(&mut Draft) -> R) -> R {
        let found = DRAFTS.with_borrow_mut(|drafts| drafts.last_mut().map(body));
        found.unwrap_or_else(|| {
            panic!(
                "{what} outside of a DAG: tasks are wired inside a `#[dag]` function or the closure of `DagBuilder::build`, \
                 on the same thread"
            )
        })
    }

    /// Notes what is wrong and where.
    pub(super) fn problem(&mut self, at: &Location<'_>, sentence: impl std::fmt::Display) {
        self.problems.push(format!("{sentence} ({}:{})", at.file(), at.line()));
    }

    /// Notes what is wrong with a task, and where it was called.
    pub(super) fn problem_of(&mut self, task: TaskIx, sentence: String) {
        match self.places.get(task as usize).copied() {
            Some(at) => self.problem(at, sentence),
            None => self.problems.push(sentence),
        }
    }

    /// Adds assets to those of the DAG.
    pub(super) fn note_assets(&mut self, assets: &[Asset], at: &Location<'_>) {
        for asset in assets {
            if let Err(sentence) = asset::note(&mut self.dag.assets, asset.def()) {
                self.problem(at, sentence);
            }
        }
    }

    /// The task behind a handle, unless the handle is of another DAG.
    pub(super) fn own(&mut self, stamp: u32, task: TaskIx, at: &Location<'_>) -> Option<TaskIx> {
        if stamp == self.stamp {
            return Some(task);
        }
        let dag_id = self.dag.dag_id.clone();
        self.problem(at, format!("a node of another DAG was used in `{dag_id}`: build it by calling its task here"));
        None
    }

    /// A handle of this source.
    pub(super) fn new_handle<T>(&mut self, source: Result<Source, String>) -> Param<T> {
        self.handles.push(source);
        Param { stamp: self.stamp, index: self.handles.len() - 1, of: PhantomData }
    }

    /// What a handle stands for.
    pub(super) fn handle<T>(&mut self, param: Param<T>, at: &Location<'_>) -> Result<Source, String> {
        if param.stamp == self.stamp {
            return self.handles[param.index].clone();
        }
        self.problem(at, "a param of another DAG was used");
        Ok(Source::Literal(serde_json::Value::Null))
    }

    /// Adds a task under the first free id of `name`, `name__1`, `name__2`, as Airflow does.
    pub(super) fn add(&mut self, mut def: TaskDef, at: &'static Location<'static>) -> TaskIx {
        def.task_id = self.prefixed(&def.task_id);
        let base = def.task_id.clone();
        while self.ids.contains_key(&def.task_id) {
            let number = self.numbers.entry(base.clone()).or_default();
            *number += 1;
            def.task_id = format!("{base}__{number}");
        }
        def.group = self.groups.last().copied();
        def.mapped |= self.in_mapped_group();
        for input in &def.inputs {
            def.upstream.extend(input.source.tasks());
        }
        def.upstream.sort_unstable();
        def.upstream.dedup();
        let ix = self.dag.tasks.len() as TaskIx;
        self.ids.insert(def.task_id.clone(), ix);
        self.places.push(at);
        self.dag.tasks.push(def);
        ix
    }

    /// Gives a task an id of the author's choice.
    pub(super) fn rename(&mut self, task: TaskIx, id: String, at: &'static Location<'static>) {
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return self
                .problem(at, format!("`{id}` cannot be a task id: letters, digits, `_`, `-` and `.` are allowed"));
        }
        let id = match self.dag.tasks[task as usize].group {
            Some(group) if self.prefixes(group) => format!("{}.{id}", self.dag.groups[group as usize].group_id),
            _ => id,
        };
        match self.ids.get(&id) {
            Some(&other) if other != task => {
                let first = self.places[other as usize];
                self.problem(
                    at,
                    format!("two tasks are called `{id}`: the first is at {}:{}", first.file(), first.line()),
                );
            }
            _ => {
                self.ids.remove(&self.dag.tasks[task as usize].task_id);
                self.ids.insert(id.clone(), task);
                self.dag.tasks[task as usize].task_id = id;
            }
        }
    }

    /// Makes every one of these a setup.
    pub(super) fn make_setups(&mut self, nodes: &Nodes, at: &'static Location<'static>) {
        for task in self.resolve(nodes, Side::Up, at) {
            self.dag.tasks[task as usize].kind = TaskKind::Setup;
        }
    }

    /// Puts one task after another.
    pub(super) fn edge(&mut self, up: TaskIx, down: TaskIx) {
        let upstream = &mut self.dag.tasks[down as usize].upstream;
        if let Err(at) = upstream.binary_search(&up) {
            upstream.insert(at, up);
        }
    }

    /// Makes a task run only if this holds.
    pub(super) fn condition(&mut self, task: TaskIx, condition: Condition, at: &Location<'_>) {
        let (dag, upstream) = (&self.dag, condition.upstream);
        let (judge, home) = (&dag.tasks[upstream as usize], mapping::home(dag, upstream));
        if judge.mapped && (home.is_none() || home != mapping::home(dag, task)) {
            let id = judge.task_id.clone();
            self.problem(at, format!("`.when(..)` looks at `{id}`, which is mapped and gives many values: let a task decide on their list"));
        }
        self.dag.tasks[task as usize].conditions.push(condition);
    }

    /// What is right below `latest_only` runs if that gives true. Who asks for its answer decides for itself, and a teardown
    /// ends what was set up.
    #[cfg(feature = "macros")]
    fn gate(&mut self) {
        let mut found = Vec::new();
        for (ix, task) in (0..).zip(&self.dag.tasks) {
            let asks = |up: &TaskIx| {
                let inputs = task.inputs.iter().flat_map(|input| input.source.tasks());
                inputs.chain(task.conditions.iter().map(|condition| condition.upstream)).any(|asked| asked == *up)
            };
            let is_gate = |up: &TaskIx| self.dag.tasks[*up as usize].body == crate::operators::LATEST_ONLY;
            let gates = task.upstream.iter().copied().filter(|up| is_gate(up) && !asks(up));
            found.extend(gates.map(|up| (ix, up)).filter(|_| !matches!(task.kind, TaskKind::Teardown { .. })));
        }
        for (task, upstream) in found {
            let at = self.places[upstream as usize];
            self.condition(task, Condition { upstream, field: None, equals: true.into() }, at);
        }
    }

    /// The finished DAG.
    pub(super) fn finish(mut self) -> Result<Dag, DagError> {
        #[cfg(feature = "macros")]
        self.gate();
        self.check_cycle();
        self.check_missing_values();
        self.check_passwords();
        self.check_times();
        self.check_keys();
        self.check_notifiers();
        self.check_caches();
        if self.dag.tasks.is_empty() {
            self.problems.push("it has no task: call at least one in its body".into());
        }
        if let (Some(start), Some(end)) = (self.dag.start_date, self.dag.end_date)
            && end < start
        {
            self.problems.push(format!("its end_date {end} lies before its start_date {start}"));
        }
        if self.problems.is_empty() {
            Ok(self.dag)
        } else {
            Err(DagError { dag_id: self.dag.dag_id, problems: self.problems })
        }
    }

    fn check_cycle(&mut self) {
        if let Err(cycle) = self.dag.topological() {
            let ids: Vec<&str> =
                cycle.iter().chain(cycle.first()).map(|&t| self.dag.tasks[t as usize].task_id.as_str()).collect();
            let sentence = format!("its tasks wait for each other in a circle: {}", ids.join(" >> "));
            self.problem_of(cycle.first().copied().unwrap_or_default(), sentence);
        }
    }

    /// What would fail every try, or could not be stored.
    fn check_times(&mut self) {
        let zero = Some(std::time::Duration::ZERO);
        if self.dag.dagrun_timeout == zero {
            self.problems.push("its dagrun_timeout is zero: every run would fail at once".into());
        }
        let mut found = Vec::new();
        for (ix, task) in (0..).zip(&self.dag.tasks) {
            let id = &task.task_id;
            if task.timeout == zero {
                found.push((ix, format!("task `{id}` has a timeout of zero: every try would fail at once")));
            }
            let policy = task.sensor.as_ref();
            if policy.is_some_and(|policy| policy.timeout.is_zero()) {
                found.push((ix, format!("sensor `{id}` has a timeout of zero: it would look once; write `#[task]`")));
            }
            if policy.is_some_and(|policy| !policy.backoff.is_finite() || policy.backoff < 0.0) {
                found.push((ix, format!("sensor `{id}` has a poke_backoff that is no number from 0 on")));
            }
            if !task.retry.backoff.is_finite() || task.retry.backoff < 0.0 {
                let backoff = task.retry.backoff;
                found.push((ix, format!("task `{id}` has a retry_backoff of {backoff}: use a number from 0 on")));
            }
        }
        found.into_iter().for_each(|(ix, sentence)| self.problem_of(ix, sentence));
    }

    /// A setup is there for what it does, which the output of an earlier one does not replace.
    fn check_caches(&mut self) {
        for task in std::mem::take(&mut self.cached) {
            let def = &self.dag.tasks[task as usize];
            if def.kind != TaskKind::Normal {
                let sentence = format!("task `{}` has a cache, and so it cannot be a setup or a teardown", def.task_id);
                self.problem_of(task, sentence);
            }
        }
    }

    /// A key is made of arguments that the task has.
    fn check_keys(&mut self) {
        let mut found = Vec::new();
        for (ix, task) in (0..).zip(&self.dag.tasks) {
            let id = &task.task_id;
            let names = || task.inputs.iter().map(|input| input.name.as_str());
            let (at_once, rate) = (task.at_once.as_ref(), task.rate.as_ref());
            for key in at_once.map(|of| &of.key).into_iter().chain(rate.map(|of| &of.key)) {
                match flow_core::key::arguments(key) {
                    Err(sentence) => found.push((ix, format!("task `{id}`: {sentence}"))),
                    Ok(wanted) => found.extend(wanted.iter().filter(|name| !names().any(|n| n == *name)).map(|name| {
                        let there = names().collect::<Vec<_>>().join(", ");
                        (ix, format!("the key `{key}` of task `{id}` names `{name}`, and its arguments are: {there}"))
                    })),
                }
            }
            if at_once.is_some_and(|of| of.most == 0) {
                found.push((ix, format!("task `{id}` may never run: at_once must allow at least 1")));
            }
        }
        found.into_iter().for_each(|(ix, sentence)| self.problem_of(ix, sentence));
    }

    /// A DAG is stored and shown as it is: a password has no place in it.
    fn check_passwords(&mut self) {
        let tell = "in a URL that is written in the DAG: take the URL from a param of type `Secret<String>`, without a default";
        for param in self.dag.params.iter().filter(|p| p.default.as_ref().is_some_and(secret::holds_password)) {
            self.problems.push(format!("the default of param `{}` holds a password {tell}", param.name));
        }
        let mut found = Vec::new();
        for (ix, task) in (0..).zip(&self.dag.tasks) {
            for input in task.inputs.iter().filter(|i| literals(&i.source).any(secret::holds_password)) {
                let (name, id) = (&input.name, &task.task_id);
                found.push((ix, format!("argument `{name}` of task `{id}` holds a password {tell}")));
            }
        }
        found.into_iter().for_each(|(ix, sentence)| self.problem_of(ix, sentence));
    }

    /// A plain argument needs a value; a rule that can start the task without one would leave it empty.
    fn check_missing_values(&mut self) {
        let mut found = Vec::new();
        for (ix, task) in (0..).zip(&self.dag.tasks) {
            if !task.trigger_rule.may_start_without_a_value() {
                continue;
            }
            for input in &task.inputs {
                // A teardown of one setup runs only if that has succeeded.
                let sure =
                    |up: TaskIx| matches!(task.kind, TaskKind::Teardown { .. }) && self.only_setup(task) == Some(up);
                if let Some(up) = plain_output(&input.source).filter(|up| !sure(*up)) {
                    let sentence = format!(
                        "task `{}` has trigger rule `{}`, which can start it although `{}` gave no value, but its argument `{}` \
                         is a plain `{}`: take an `Option<{}>`",
                        task.task_id,
                        task.trigger_rule,
                        self.dag.tasks[up as usize].task_id,
                        input.name,
                        input.type_name,
                        input.type_name
                    );
                    found.push((ix, sentence));
                }
            }
        }
        found.into_iter().for_each(|(ix, sentence)| self.problem_of(ix, sentence));
    }
}

impl Draft {
    /// The setup right above a task, if there is exactly one.
    fn only_setup(&self, task: &TaskDef) -> Option<TaskIx> {
        let mut setups = task.upstream.iter().copied().filter(|&u| self.dag.tasks[u as usize].kind == TaskKind::Setup);
        setups.next().filter(|_| setups.next().is_none())
    }
}

/// What is written down in a source.
fn literals(source: &Source) -> Box<dyn Iterator<Item = &serde_json::Value> + '_> {
    match source {
        Source::Literal(value) => Box::new(std::iter::once(value)),
        Source::List(list) => Box::new(list.iter().flat_map(literals)),
        Source::Record(fields) => Box::new(fields.values().flat_map(literals)),
        Source::Each(inner) => literals(inner),
        Source::Output(_)
        | Source::OptionalOutput(_)
        | Source::Field(..)
        | Source::OptionalField(..)
        | Source::Param(_) => Box::new(std::iter::empty()),
    }
}

/// A task whose value the source cannot do without.
fn plain_output(source: &Source) -> Option<TaskIx> {
    match source {
        Source::Output(task) | Source::Field(task, _) => Some(*task),
        Source::List(list) => list.iter().find_map(plain_output),
        Source::Record(fields) => fields.values().find_map(plain_output),
        Source::Literal(_)
        | Source::Param(_)
        | Source::OptionalOutput(_)
        | Source::OptionalField(..)
        | Source::Each(_) => None,
    }
}
