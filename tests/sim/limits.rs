//! Never more than there is: what bodies that run at one time have together, and how many begin in a span of time.
//!
//! It is counted by the bodies themselves, over all processes, and by what their DAGs say alone: nothing of what the engine counts
//! by is asked. A body that was told to end counts no more: what a person has marked is over at once for other processes, and its
//! body a moment later.

use crate::crowds::POOLS;
use chrono::{DateTime, TimeDelta, Utc};
use flow_runtime::Context;
use flow_runtime::clock::{Clock, TokioClock};
use flow_runtime::core::dag::{Dag, TaskDef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is counted in a world.
#[derive(Debug, Default)]
pub struct Counted {
    dags: BTreeMap<String, Arc<Dag>>,
    /// The right time.
    clock: Option<TokioClock>,
    /// So long may pass from the instant at which somebody may begin to that at which its body does.
    lag: TimeDelta,
    /// Starts are remembered by nobody but the process, so that it makes no promise across its death, nor when its clock is set.
    forgetful: bool,
    used: BTreeMap<String, Vec<Place>>,
    /// How many bodies have begun.
    begun: u64,
    starts: BTreeMap<String, Vec<DateTime<Utc>>>,
    /// How often somebody had the last of something.
    pub full: u32,
}

/// What a body has of something.
#[derive(Debug)]
struct Place {
    body: u64,
    units: u32,
    ctx: Context,
}

/// What a body has, as long as it runs: its number, and the names of that.
pub type Had = (u64, Vec<String>);

impl Counted {
    pub fn new(dags: &[Arc<Dag>], clock: TokioClock, lag: TimeDelta, forgetful: bool) -> Counted {
        let dags = dags.iter().map(|dag| (dag.dag_id.clone(), dag.clone())).collect();
        Counted { dags, clock: Some(clock), lag, forgetful, ..Counted::default() }
    }

    /// A body begins, with these arguments; says what is wrong with that, if anything is.
    pub fn begin(&mut self, ctx: &Context, arguments: &[(&str, u64)]) -> (Had, Vec<String>) {
        let Some((dag, clock)) = self.dags.get(ctx.dag_id()).cloned().zip(self.clock) else {
            return Default::default();
        };
        let Some(task) = dag.task(ctx.task_id()) else { return Default::default() };
        let filled = |key: &str| {
            arguments
                .iter()
                .fold(key.to_owned(), |key, (name, value)| key.replace(&format!("{{{name}}}"), &value.to_string()))
        };
        let mut problems = Vec::new();
        self.begun += 1;
        let mut had = (self.begun, Vec::new());
        for (name, units, most) in limits(&dag, task, ctx.run_id(), filled) {
            let places = self.used.entry(name.clone()).or_default();
            places.push(Place { body: self.begun, units, ctx: ctx.clone() });
            let used: u32 = places.iter().filter(|one| !one.ctx.is_cancelled()).map(|one| one.units).sum();
            self.full += u32::from(used == most);
            if used > most {
                problems.push(format!("{used} of {name} at one time, and there are {most}"));
            }
            had.1.push(name);
        }
        if let Some(rate) = &task.rate {
            let now = clock.now();
            let starts = self.starts.entry(filled(&rate.key)).or_default();
            starts.push(now);
            let span = TimeDelta::from_std(rate.span).expect("a short one") - self.lag;
            let within = starts.iter().filter(|at| now - **at < span).count();
            if within > rate.starts as usize && !self.forgetful {
                problems.push(format!("{within} of {} began within {span}, and {} may", rate.key, rate.starts));
            }
        }
        (had, problems)
    }

    /// A process that remembered the starts is gone.
    pub fn forget(&mut self) {
        self.starts.clear();
    }

    pub fn end(&mut self, had: &Had) {
        let (body, names) = had;
        for name in names {
            if let Some(places) = self.used.get_mut(name) {
                places.retain(|one| one.body != *body);
            }
        }
    }
}

/// The limits of a body: their names, what it takes of each, and how much there is.
fn limits(dag: &Dag, task: &TaskDef, run_id: &str, filled: impl Fn(&str) -> String) -> Vec<(String, u32, u32)> {
    let name = format!("{}.{}", dag.dag_id, task.task_id);
    let run = format!("{}/{run_id}", dag.dag_id);
    let pool = POOLS.iter().find(|(pool, _)| *pool == task.pool);
    [
        pool.map(|(pool, slots)| (format!("pool {pool}"), task.pool_slots, *slots)),
        task.max_active.map(|most| (format!("task {name}"), 1, most)),
        task.max_active_per_run.map(|most| (format!("task {name} of {run}"), 1, most)),
        task.at_once.as_ref().map(|at_once| (format!("key {}", filled(&at_once.key)), 1, at_once.most)),
        Some((format!("run {run}"), 1, dag.max_active_tasks)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
