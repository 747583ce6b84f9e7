//! Which values somebody may still read.

use super::report::Wanted;
use flow_core::{RunState, TaskIx, TaskState};

/// For each task: whose values it reads, and how many unfinished tasks read its own.
#[derive(Debug)]
pub(super) struct Readers {
    reads: Vec<Vec<TaskIx>>,
    left: Vec<u32>,
    finished: Vec<bool>,
}

impl Readers {
    pub(super) fn of(wanted: &[Wanted]) -> Readers {
        let mut reads = vec![Vec::new(); wanted.len()];
        for (source, wanted) in wanted.iter().enumerate() {
            for &reader in &wanted.readers {
                reads[reader as usize].push(source as TaskIx);
            }
        }
        let left = wanted.iter().map(|w| w.readers.len() as u32).collect();
        Readers { reads, left, finished: vec![false; wanted.len()] }
    }

    /// Will anybody read the values of this task?
    pub(super) fn wants(&self, task: TaskIx) -> bool {
        self.left[task as usize] > 0
    }

    /// Looks whether a task has finished; if so for the first time, returns the tasks whose values nobody needs now.
    pub(super) fn look(&mut self, state: &RunState, task: TaskIx) -> Option<Vec<TaskIx>> {
        let counts = state.counts(task).into_iter().zip(TaskState::ALL);
        let unfinished = counts.filter(|(n, s)| *n > 0 && !s.is_finished()).count();
        if unfinished > 0 || std::mem::replace(&mut self.finished[task as usize], true) {
            return None;
        }
        let mut free = Vec::new();
        for &source in &self.reads[task as usize] {
            let left = &mut self.left[source as usize];
            *left = left.saturating_sub(1);
            if *left == 0 {
                free.push(source);
            }
        }
        Some(free)
    }
}
