//! The counters: every change of an instance goes through [`RunState::write`], which keeps them true.

use super::{Instance, RunState, Track};
use crate::dag::TaskIx;
use crate::event::{InstanceKey, Report, UNMAPPED};
use crate::state::TaskState;
use crate::trigger_rule::UpstreamCounts;
use std::sync::Arc;

/// Instances by state, in the order of [`TaskState::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts(pub(crate) [u32; 14]);

impl Counts {
    pub(crate) fn get(&self, state: TaskState) -> u32 {
        self.0[state as usize]
    }

    pub(crate) fn any(&self, wanted: fn(TaskState) -> bool) -> bool {
        TaskState::ALL.into_iter().any(|s| self.get(s) > 0 && wanted(s))
    }

    pub(crate) fn sum(&self, wanted: fn(TaskState) -> bool) -> u32 {
        TaskState::ALL.into_iter().filter(|s| wanted(*s)).map(|s| self.get(s)).sum()
    }

    pub(crate) fn unfinished(&self) -> u32 {
        self.sum(|s| !s.is_finished())
    }

    fn shift(&mut self, from: Option<TaskState>, to: Option<TaskState>, n: u32) {
        if let Some(from) = from {
            self.0[from as usize] = self.0[from as usize].saturating_sub(n);
        }
        if let Some(to) = to {
            self.0[to as usize] = self.0[to as usize].saturating_add(n);
        }
    }
}

impl Track {
    /// What the trigger rule looks at, without the instances beside it.
    pub(crate) fn upstream(&self) -> UpstreamCounts {
        let mut counts = UpstreamCounts::default();
        for state in TaskState::ALL {
            let setups = self.up_setups.get(state);
            counts.add_many(state, setups, true);
            counts.add_many(state, self.up.get(state) - setups, false);
        }
        counts
    }

    /// What the setup constraint looks at, without the instances beside it.
    pub(crate) fn setups(&self) -> UpstreamCounts {
        let mut counts = UpstreamCounts::default();
        for state in TaskState::ALL {
            counts.add_many(state, self.setups.get(state), true);
        }
        counts
    }
}

impl RunState {
    /// Changes one instance. `false` if there is none with this key.
    pub(crate) fn write(&mut self, key: InstanceKey, new: Instance) -> bool {
        let Some(slot) = self.slot(key) else {
            return false;
        };
        #[cfg(test)]
        {
            self.work += 1;
        }
        let old = std::mem::replace(&mut self.tasks[key.task as usize].instances[slot], new);
        if let Some(due) = old.due.filter(|_| old.state.is_waiting()) {
            self.dues.remove(&(due, key));
        }
        if let Some(due) = new.due.filter(|_| new.state.is_waiting()) {
            self.dues.insert((due, key));
        }
        if old.state != new.state {
            self.shift(key.task, Some(old.state), Some(new.state), 1);
            if old.state == TaskState::Success {
                self.report(key, None);
            }
        }
        true
    }

    /// Replaces the placeholder by `n` instances, or makes the list of instances longer.
    pub(crate) fn grow(&mut self, task: TaskIx, n: u32, fresh: Instance) {
        let track = &mut self.tasks[task as usize];
        let before = if track.expanded { track.instances.len() as u32 } else { 0 };
        if !track.expanded {
            let placeholder = track.instances[0];
            track.instances.clear();
            track.expanded = true;
            self.shift(task, Some(placeholder.state), None, 1);
        }
        self.tasks[task as usize].instances.resize(n.max(before) as usize, fresh);
        self.shift(task, None, Some(fresh.state), n.max(before) - before);
        #[cfg(test)]
        {
            self.work += u64::from(n);
        }
    }

    /// Moves `n` instances of a task between states in every counter that counts them.
    fn shift(&mut self, task: TaskIx, from: Option<TaskState>, to: Option<TaskState>, n: u32) {
        let graph = Arc::clone(&self.graph);
        let node = &graph.nodes[task as usize];
        self.totals.shift(from, to, n);
        self.tasks[task as usize].own.shift(from, to, n);
        if node.leaf {
            let failed = |s: Option<TaskState>| {
                if s.is_some_and(TaskState::is_failure) { n } else { 0 }
            };
            self.failed_leaves = (self.failed_leaves + failed(to)).saturating_sub(failed(from));
        }
        for &d in &node.down {
            let below = &mut self.tasks[d as usize];
            below.up.shift(from, to, n);
            if node.setup {
                below.up_setups.shift(from, to, n);
            }
        }
        for &d in &node.scope {
            self.tasks[d as usize].setups.shift(from, to, n);
        }
        for &d in &node.held {
            self.tasks[d as usize].work.shift(from, to, n);
        }
    }

    /// Counts everything from the instances alone: the one place where a run's size is paid for.
    pub(super) fn count_all(&mut self) {
        for t in 0..self.tasks.len() {
            let mut own = Counts::default();
            for i in &self.tasks[t].instances {
                own.shift(None, Some(i.state), 1);
            }
            for state in TaskState::ALL {
                if own.get(state) > 0 {
                    self.shift(t as TaskIx, None, Some(state), own.get(state));
                }
            }
        }
    }

    /// Keeps what a successful instance reported, or forgets it.
    pub(crate) fn report(&mut self, key: InstanceKey, report: Option<&Report>) {
        let track = &mut self.tasks[key.task as usize];
        if let Some(old) = track.reports.remove(&key.map_index) {
            for task in old.declined {
                if let Some(n) = track.declines.get_mut(&task) {
                    *n -= 1;
                    if *n == 0 {
                        track.declines.remove(&task);
                    }
                }
            }
        }
        let Some(report) = report else { return };
        let mut kept = report.clone();
        kept.declined.sort_unstable();
        kept.declined.dedup();
        if key.map_index != UNMAPPED {
            // Of a mapped upstream only the number of successes counts.
            kept.lengths.clear();
        }
        if kept != Report::default() {
            for &task in &kept.declined {
                *track.declines.entry(task).or_default() += 1;
            }
            track.reports.insert(key.map_index, kept);
        }
    }
}
