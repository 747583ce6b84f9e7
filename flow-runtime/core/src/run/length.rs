//! How many instances a mapped task gets.

use super::RunState;
use crate::dag::{Source, TaskIx};
use crate::event::UNMAPPED;
use crate::mapping::MAX_INSTANCES;
use crate::state::TaskState;
use serde_json::Value;

/// Length of a list, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// It has so many elements.
    Known(u32),
    /// Its task has not finished.
    Pending,
    /// There will be no list.
    Never,
}

impl RunState {
    /// The number of instances of a mapped task, as soon as its lists are known; `None` before, and for a task that is
    /// not mapped.
    pub fn length(&self, task: TaskIx) -> Option<u32> {
        let node = self.graph.node(task).filter(|n| n.mapped)?;
        match self.product(&node.axes) {
            Length::Known(n) => Some(n),
            _ => None,
        }
    }

    /// The length of each list that a task is mapped over, in the order of [`axes`](crate::mapping::axes), as soon as
    /// all are known.
    pub fn lengths(&self, task: TaskIx) -> Option<Vec<u32>> {
        let node = self.graph.node(task).filter(|n| n.mapped)?;
        let known = node.axes.iter().map(|axis| match self.axis(axis) {
            Length::Known(n) => Some(n),
            _ => None,
        });
        known.collect()
    }

    /// The same, for the planner.
    pub(crate) fn task_length(&self, task: TaskIx) -> Length {
        self.graph.node(task).map_or(Length::Never, |node| self.product(&node.axes))
    }

    /// The number of instances where it is known before any task ran.
    pub(super) fn static_length(&self, task: TaskIx) -> Option<u32> {
        let node = self.graph.node(task).filter(|n| n.mapped)?;
        if node.axes.iter().any(reads_a_task) {
            return None;
        }
        match self.product(&node.axes) {
            Length::Known(n) => Some(n),
            _ => None,
        }
    }

    fn product(&self, axes: &[Source]) -> Length {
        let lengths: Vec<Length> = axes.iter().map(|axis| self.axis(axis)).collect();
        if lengths.contains(&Length::Never) {
            return Length::Never;
        }
        let mut product: u64 = 1;
        for length in lengths {
            match length {
                Length::Known(n) => product = product.saturating_mul(u64::from(n)),
                _ => return Length::Pending,
            }
        }
        if product > u64::from(MAX_INSTANCES) { Length::Never } else { Length::Known(product as u32) }
    }

    fn axis(&self, source: &Source) -> Length {
        match source {
            Source::Literal(Value::Array(list)) => Length::Known(list.len() as u32),
            Source::Literal(Value::Object(map)) => Length::Known(map.len() as u32),
            Source::Literal(_) => Length::Never,
            Source::Param(name) => self.param_lengths.get(name).map_or(Length::Never, |&n| Length::Known(n)),
            Source::List(list) => Length::Known(list.len() as u32),
            Source::Each(inner) => self.axis(inner),
            Source::Record(_) => Length::Never,
            Source::Output(task) | Source::OptionalOutput(task) => self.output(*task, None),
            Source::Field(task, field) | Source::OptionalField(task, field) => self.output(*task, Some(*field)),
        }
    }

    /// Length of what a task returned. A skipped task gives an empty list, so that what is mapped over it is skipped.
    fn output(&self, task: TaskIx, field: Option<u32>) -> Length {
        let Some(track) = self.tasks.get(task as usize) else {
            return Length::Never;
        };
        if track.own.unfinished() > 0 {
            return Length::Pending;
        }
        if track.expanded {
            return Length::Known(track.own.get(TaskState::Success));
        }
        let mapped = self.graph.nodes[task as usize].mapped;
        match track.instances.first().map_or(TaskState::None, |i| i.state) {
            TaskState::Skipped => Length::Known(0),
            TaskState::Success if mapped => Length::Known(0),
            TaskState::Success => {
                let report = track.reports.get(&UNMAPPED);
                let length = report.and_then(|r| r.lengths.iter().find(|l| l.field == field));
                length.map_or(Length::Never, |l| Length::Known(l.len))
            }
            _ => Length::Never,
        }
    }
}

/// [`Source::List`] has as many elements as are written, whatever they hold.
fn reads_a_task(axis: &Source) -> bool {
    match axis {
        Source::Literal(_) | Source::Param(_) | Source::List(_) | Source::Record(_) => false,
        Source::Output(_) | Source::OptionalOutput(_) | Source::Field(..) | Source::OptionalField(..) => true,
        Source::Each(inner) => reads_a_task(inner),
    }
}
