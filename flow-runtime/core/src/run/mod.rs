//! The state of one run: what the planner knows between two batches of events.

mod graph;
mod length;
mod restore;
mod tally;

pub(crate) use graph::{Graph, Relatives};
pub(crate) use length::Length;
pub use restore::StoredInstance;
pub(crate) use tally::Counts;

use crate::dag::{Dag, TaskIx};
use crate::event::{InstanceKey, Report, TryRef, UNMAPPED};
use crate::state::{RunStatus, TaskState};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The state of one run. [`plan()`](crate::plan()) alone changes it.
///
/// It keeps for each task how many instances of its own and upstream are in which state, so that an event costs the
/// degree of its task and not the size of the run. An instance takes about 24 bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    pub(crate) status: RunStatus,
    /// Somebody has ended it, or it took too long: that is its state when what is set up is taken away.
    pub(crate) ending: Option<RunStatus>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) tasks: Vec<Track>,
    /// Instances of the whole run by state.
    pub(crate) totals: Counts,
    /// Instances of leaves that failed or are upstream_failed.
    pub(crate) failed_leaves: u32,
    /// Waiting instances by the instant they are due.
    pub(crate) dues: BTreeSet<(DateTime<Utc>, InstanceKey)>,
    pub(crate) param_lengths: BTreeMap<String, u32>,
    pub(crate) logical_date: Option<DateTime<Utc>>,
    /// It came from storage and was not looked at yet.
    pub(crate) unsettled: bool,
    /// Decisions made and instances written; tests compare it between sizes.
    #[cfg(test)]
    pub(crate) work: u64,
}

/// What is kept for one task.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Track {
    /// The placeholder alone, or the instances from 0.
    pub(crate) instances: Vec<Instance>,
    /// The placeholder gave way to instances.
    pub(crate) expanded: bool,
    /// Its own instances by state.
    pub(crate) own: Counts,
    /// Upstream instances by state, without those beside it in a mapped group.
    pub(crate) up: Counts,
    /// Those of them that belong to setups.
    pub(crate) up_setups: Counts,
    /// Instances of the setups in whose scope it lies, by state, without those beside it.
    pub(crate) setups: Counts,
    /// For a teardown: instances by state that it waits for though they are not right above it, without those beside.
    pub(crate) work: Counts,
    /// What its successful instances reported, where it says anything.
    pub(crate) reports: BTreeMap<i32, Report>,
    /// For each task that its reports decline: how many do.
    pub(crate) declines: BTreeMap<TaskIx, u32>,
}

/// One task instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instance {
    /// Its state.
    pub state: TaskState,
    /// Number of its latest try; 0 before the first.
    pub try_number: u32,
    /// It may be tried again while `try_number <= max_tries`.
    pub max_tries: u32,
    /// When it is due again. After up_for_reschedule and deferred it stays set, as a mark that the same try goes on.
    pub due: Option<DateTime<Utc>>,
}

impl RunState {
    /// A new run, queued. `param_lengths` holds the number of elements of each param that is a list.
    pub fn new(dag: &Dag, param_lengths: &BTreeMap<String, u32>) -> RunState {
        let mut run = RunState::empty(dag, param_lengths);
        for t in 0..run.tasks.len() {
            let n = run.static_length(t as TaskIx).unwrap_or(0);
            run.fill(dag, t as TaskIx, if n > 0 { Some(n) } else { None });
        }
        run.count_all();
        run
    }

    /// A run without any instance.
    fn empty(dag: &Dag, param_lengths: &BTreeMap<String, u32>) -> RunState {
        RunState {
            status: RunStatus::Queued,
            ending: None,
            graph: Arc::new(Graph::new(dag)),
            tasks: vec![Track::default(); dag.tasks.len()],
            totals: Counts::default(),
            failed_leaves: 0,
            dues: BTreeSet::new(),
            param_lengths: param_lengths.clone(),
            logical_date: None,
            unsettled: false,
            #[cfg(test)]
            work: 0,
        }
    }

    /// Gives a task its first instances: `Some(n)` mapped ones, or the one at [`UNMAPPED`].
    fn fill(&mut self, dag: &Dag, task: TaskIx, mapped: Option<u32>) {
        let max_tries = dag.tasks[task as usize].retry.retries;
        let fresh = Instance { max_tries, ..Instance::default() };
        let track = &mut self.tasks[task as usize];
        track.expanded = mapped.is_some();
        track.instances = vec![fresh; mapped.unwrap_or(1) as usize];
    }

    /// The same run, about this instant. Waits between tries are derived from it, as in Airflow.
    pub fn with_logical_date(mut self, logical_date: Option<DateTime<Utc>>) -> RunState {
        self.logical_date = logical_date;
        self
    }

    /// The same run, which somebody has ended: that is its state when what is set up is taken away.
    pub fn with_ending(mut self, ending: Option<RunStatus>) -> RunState {
        self.ending = ending.filter(|ending| ending.is_finished() && !self.status.is_finished());
        self
    }

    /// The state that it is to have when what is set up is taken away, if somebody has ended it, or it took too long. A store keeps
    /// this with the state of the run, for [`RunState::with_ending`].
    pub fn ending(&self) -> Option<RunStatus> {
        self.ending
    }

    /// The state of the run.
    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// One instance.
    pub fn instance(&self, key: InstanceKey) -> Option<Instance> {
        self.slot(key).map(|slot| self.tasks[key.task as usize].instances[slot])
    }

    /// The instances of a task with their map indices, ascending.
    pub fn instances(&self, task: TaskIx) -> impl Iterator<Item = (i32, Instance)> + '_ {
        let track = self.tasks.get(task as usize);
        let first = if track.is_some_and(|t| t.expanded) { 0 } else { UNMAPPED };
        track.into_iter().flat_map(|t| t.instances.iter()).enumerate().map(move |(n, i)| (first + n as i32, *i))
    }

    /// Is this task mapped, or in a mapped group?
    pub(crate) fn is_mapped(&self, task: TaskIx) -> bool {
        self.graph.node(task).is_some_and(|node| node.mapped)
    }

    /// What the planner knows about the value of an instance that has succeeded; nothing for any other. A store keeps
    /// it with the row, for [`RunState::restore`].
    pub fn reported(&self, key: InstanceKey) -> Report {
        let track = self.tasks.get(key.task as usize);
        track.and_then(|track| track.reports.get(&key.map_index)).cloned().unwrap_or_default()
    }

    /// The instances of a task by state, in the order of [`TaskState::ALL`].
    pub fn counts(&self, task: TaskIx) -> [u32; 14] {
        self.tasks.get(task as usize).map_or([0; 14], |t| t.own.0)
    }

    /// The instances of the whole run by state, in the order of [`TaskState::ALL`].
    pub fn totals(&self) -> [u32; 14] {
        self.totals.0
    }

    /// Every try that an executor holds: queued, running or restarting.
    pub fn in_flight(&self) -> Vec<TryRef> {
        let held = self.filter(TaskState::is_in_flight);
        held.map(|(key, i)| TryRef { key, try_number: i.try_number }).collect()
    }

    /// Every instance in state scheduled.
    pub fn scheduled(&self) -> Vec<InstanceKey> {
        self.filter(|s| s == TaskState::Scheduled).map(|(key, _)| key).collect()
    }

    /// The instances in certain states; tasks that have none are not walked.
    pub(crate) fn filter(&self, wanted: fn(TaskState) -> bool) -> impl Iterator<Item = (InstanceKey, Instance)> + '_ {
        let tasks = (0..self.tasks.len() as TaskIx).filter(move |&t| self.tasks[t as usize].own.any(wanted));
        tasks.flat_map(move |task| {
            let instances = self.instances(task).filter(move |(_, i)| wanted(i.state));
            instances.map(move |(map_index, i)| (InstanceKey { task, map_index }, i))
        })
    }

    /// The earliest instant at which a waiting instance is due.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        self.dues.first().map(|(due, _)| *due)
    }

    /// Where in its track an instance lies.
    pub(crate) fn slot(&self, key: InstanceKey) -> Option<usize> {
        let track = self.tasks.get(key.task as usize)?;
        let slot = if track.expanded { usize::try_from(key.map_index).ok()? } else { usize::MAX };
        match key.map_index {
            UNMAPPED if !track.expanded => Some(0),
            _ if slot < track.instances.len() => Some(slot),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dag::TaskDef;

    #[test]
    fn an_instance_is_small() {
        assert!(size_of::<Instance>() <= 32, "{}", size_of::<Instance>());
    }

    #[test]
    fn a_new_run_is_queued_and_nothing_is_decided() {
        let mut dag = Dag::new("d");
        dag.tasks = vec![TaskDef::new("a", "a"), TaskDef::new("b", "b")];
        dag.tasks[1].upstream = vec![0];
        let run = RunState::new(&dag, &BTreeMap::new());
        assert_eq!(run.status(), RunStatus::Queued);
        assert_eq!(run.counts(0)[0], 1);
        assert_eq!(run.totals()[0], 2);
        assert_eq!(run.instances(1).collect::<Vec<_>>(), [(UNMAPPED, Instance::default())]);
        assert_eq!(run.instance(InstanceKey { task: 0, map_index: 0 }), None);
        assert_eq!(run.instance(InstanceKey { task: 7, map_index: -1 }), None);
        assert!(run.in_flight().is_empty() && run.scheduled().is_empty());
    }
}
