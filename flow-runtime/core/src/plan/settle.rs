//! What follows from what: decisions are made in rounds until no undecided instance can be decided.
//!
//! All decisions of a round look at the same states, as they do in one pass of Airflow's scheduler; so a batch comes
//! to the same end in whatever order its tasks are looked at.

use super::{Batch, decide, decide_task};
use crate::dag::TaskIx;
use crate::event::{InstanceKey, UNMAPPED};
use crate::run::{Instance, Length};
use crate::state::TaskState;
use crate::trigger_rule::Decision;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a round found out.
#[derive(Default)]
struct Round {
    /// These tasks, expanded already, should have so many instances.
    revise: BTreeMap<TaskIx, u32>,
    moves: Vec<Move>,
}

enum Move {
    /// This instance takes this state.
    One(InstanceKey, TaskState),
    /// All undecided instances of this task take this state.
    All(TaskIx, TaskState),
    /// This task gets so many instances.
    Expand(TaskIx, u32),
}

impl Batch<'_> {
    /// `false` if it takes more rounds than that.
    pub(super) fn settle(&mut self, mut rounds: usize) -> bool {
        if std::mem::take(&mut self.run.unsettled) {
            self.dirty_wholly.extend(0..self.run.tasks.len() as TaskIx);
        }
        self.take_back();
        while !(self.dirty_wholly.is_empty() && self.dirty_tasks.is_empty() && self.dirty.is_empty()) {
            if rounds == 0 {
                self.run.unsettled = true;
                return false;
            }
            rounds -= 1;
            let mut round = Round::default();
            let wholly = std::mem::take(&mut self.dirty_wholly);
            let tasks = std::mem::take(&mut self.dirty_tasks);
            let single = std::mem::take(&mut self.dirty);
            for &task in &wholly {
                self.judge_task(task, true, &mut round);
            }
            for &task in tasks.difference(&wholly) {
                self.judge_task(task, false, &mut round);
            }
            for key in single {
                if !wholly.contains(&key.task) {
                    self.judge(key, &mut round);
                }
            }
            for (task, n) in round.revise {
                self.revise(task, n);
            }
            for step in round.moves {
                match step {
                    Move::One(key, state) => self.decided(key, state),
                    Move::All(task, state) => {
                        self.undecided(task).into_iter().for_each(|key| self.decided(key, state));
                    }
                    Move::Expand(task, n) => self.expand(task, n),
                }
            }
        }
        true
    }

    /// What is scheduled, and below something that is to run anew or that a person has marked, is undecided again: it has not begun,
    /// and must not before that has ended once more, or not at all.
    fn take_back(&mut self) {
        let mut keys = std::mem::take(&mut self.doubted);
        for task in std::mem::take(&mut self.doubted_tasks) {
            keys.extend(self.run.instances(task).map(|(map_index, _)| InstanceKey { task, map_index }));
        }
        for key in keys {
            if let Some(i) = self.run.instance(key).filter(|i| i.state == TaskState::Scheduled) {
                self.write(key, Instance { state: TaskState::None, ..i });
            }
        }
    }

    /// Looks at all undecided instances of a task. If something in its mapped group may have changed unseen, `wholly`
    /// asks them one by one; else what it counts upstream may tell that all of them wait.
    fn judge_task(&mut self, task: TaskIx, wholly: bool, round: &mut Round) {
        self.count_work();
        let track = &self.run.tasks[task as usize];
        if track.expanded
            && let Some(n) = self.length_beside(task).filter(|&n| n as usize > track.instances.len())
        {
            // Its neighbours got more instances; the new ones are looked at in the next round.
            round.revise.insert(task, n);
            return;
        }
        if track.own.get(TaskState::None) == 0 {
            return;
        }
        if !track.expanded {
            return self.judge(InstanceKey { task, map_index: UNMAPPED }, round);
        }
        match decide_task(self.dag, self.run, task) {
            Some(Decision::Wait) if !(wholly && self.run.graph.nodes[task as usize].has_beside()) => {}
            Some(Decision::Cut(state)) => round.moves.push(Move::All(task, state)),
            Some(Decision::Run) => {
                if let Some(n) = self.revised_length(task) {
                    round.revise.insert(task, n);
                }
                round.moves.push(Move::All(task, TaskState::Scheduled));
            }
            Some(Decision::Wait) | None => {
                for key in self.undecided(task) {
                    self.judge(key, round);
                }
            }
        }
    }

    /// Looks at one undecided instance.
    fn judge(&mut self, key: InstanceKey, round: &mut Round) {
        self.count_work();
        let InstanceKey { task, map_index } = key;
        if self.run.instance(key).is_none_or(|i| i.state != TaskState::None) {
            return;
        }
        let placeholder = self.run.graph.nodes[task as usize].mapped && map_index == UNMAPPED;
        if placeholder && let Some(n) = self.length_beside(task) {
            // Its neighbours in the group have their instances; it depends on them index by index.
            return round.moves.push(Move::Expand(task, n));
        }
        let step = match decide(self.dag, self.run, key) {
            Decision::Wait => return,
            Decision::Cut(state) => Move::One(key, state),
            Decision::Run if placeholder => match self.run.task_length(task) {
                Length::Pending => return,
                Length::Known(0) => Move::One(key, TaskState::Skipped),
                Length::Known(n) => Move::Expand(task, n),
                Length::Never => Move::One(key, TaskState::UpstreamFailed),
            },
            Decision::Run => {
                if let Some(n) = self.revised_length(task) {
                    round.revise.insert(task, n);
                }
                Move::One(key, TaskState::Scheduled)
            }
        };
        round.moves.push(step);
    }

    /// The number of instances of an upstream task beside it, if one is expanded.
    fn length_beside(&self, task: TaskIx) -> Option<u32> {
        let beside = self.run.graph.nodes[task as usize].up_beside.iter();
        let expanded = beside.map(|&u| &self.run.tasks[u as usize]).filter(|t| t.expanded);
        expanded.map(|t| t.instances.len() as u32).max()
    }

    /// The length of an expanded task's lists, if that is not what it was expanded to: they were made anew since, and
    /// not all that is beyond was removed yet. A task that has others beside it above grows with those, never before
    /// them.
    fn revised_length(&self, task: TaskIx) -> Option<u32> {
        let track = self.run.tasks.get(task as usize).filter(|t| t.expanded)?;
        let there = track.instances.len() as u32;
        let below = self.length_beside(task).is_some();
        match self.run.task_length(task) {
            Length::Known(n) if n < there && track.own.get(TaskState::Removed) < there - n => Some(n),
            Length::Known(n) if n > there && !below => Some(n),
            _ => None,
        }
    }

    fn undecided(&self, task: TaskIx) -> Vec<InstanceKey> {
        let instances = self.run.instances(task).filter(|(_, i)| i.state == TaskState::None);
        instances.map(|(map_index, _)| InstanceKey { task, map_index }).collect()
    }

    fn decided(&mut self, key: InstanceKey, state: TaskState) {
        let Some(instance) = self.run.instance(key).filter(|i| i.state == TaskState::None) else {
            return;
        };
        let due = instance.due.filter(|_| state == TaskState::Scheduled);
        self.write(key, Instance { state, due, ..instance });
    }

    fn expand(&mut self, task: TaskIx, n: u32) {
        let key = InstanceKey { task, map_index: UNMAPPED };
        let Some(placeholder) = self.run.instance(key) else {
            return;
        };
        self.touched.remove(&key);
        self.grow(task, n, Instance { due: None, ..placeholder });
    }

    /// The lists have `n` elements now: instances beyond are removed, missing ones are made.
    fn revise(&mut self, task: TaskIx, n: u32) {
        let beyond: Vec<_> = self.run.instances(task).skip(n as usize).collect();
        for (map_index, instance) in beyond {
            let key = InstanceKey { task, map_index };
            self.cancel(key, instance);
            self.write(key, Instance { state: TaskState::Removed, due: None, ..instance });
        }
        let max_tries = self.dag.tasks.get(task as usize).map_or(0, |t| t.retry.retries);
        self.grow(task, n, Instance { max_tries, ..Instance::default() });
    }

    /// Makes the missing ones of `n` instances; they, and what lies beside them below, must be looked at.
    fn grow(&mut self, task: TaskIx, n: u32, fresh: Instance) {
        let track = &self.run.tasks[task as usize];
        let from = if track.expanded { track.instances.len() as u32 } else { 0 };
        if track.expanded && n <= from {
            return;
        }
        self.run.grow(task, n, fresh);
        for index in from..n {
            self.touched.entry(InstanceKey { task, map_index: index as i32 }).or_insert(None);
        }
        let graph = Arc::clone(&self.run.graph);
        let node = &graph.nodes[task as usize];
        self.dirty_wholly.insert(task);
        let beside = [&node.down_beside, &node.scope_beside, &node.held_beside];
        self.dirty_wholly.extend(beside.into_iter().flatten());
    }

    fn count_work(&mut self) {
        #[cfg(test)]
        {
            self.run.work += 1;
        }
    }
}
