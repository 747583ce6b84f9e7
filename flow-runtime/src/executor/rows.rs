//! The rows of a run as the store has them, and how a transition changes one.

use super::ids::Ids;
use super::outcome::TryEnd;
use super::resume::keys;
use crate::store::{Cause, InstanceRow, InstanceWrite};
use chrono::{DateTime, Utc};
use flow_core::event::Report;
use flow_core::{Dag, InstanceKey, Outcome, TaskState, Transition, UNMAPPED};
use std::collections::BTreeMap;

/// The rows of a run, and which of them must be written.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: BTreeMap<InstanceKey, InstanceRow>,
    /// Rows to be written; true if the present one moves to the history first.
    changed: BTreeMap<InstanceKey, bool>,
}

impl Rows {
    pub(super) fn of(dag: &Dag, rows: Vec<InstanceRow>) -> Rows {
        let key = keys(dag);
        let rows = rows.into_iter().filter_map(|row| Some((key(&row)?, row)));
        Rows { rows: rows.collect(), changed: BTreeMap::new() }
    }

    pub(super) fn get(&self, key: InstanceKey) -> Option<&InstanceRow> {
        self.rows.get(&key)
    }

    /// The instances that succeeded.
    pub(super) fn successes(&self) -> impl Iterator<Item = InstanceKey> + '_ {
        self.rows.iter().filter(|(_, row)| row.state == TaskState::Success).map(|(key, _)| *key)
    }

    /// Follows one transition to an instance of which the planner knows `report`; `end` is how the try ended that caused
    /// it, `stopped` why all that is unfinished ends now.
    pub(super) fn apply(
        &mut self,
        ids: &Ids,
        (step, report): (&Transition, Report),
        now: DateTime<Utc>,
        end: Option<&TryEnd>,
        stopped: Option<&Cause>,
    ) {
        let row = self.rows.entry(step.key).or_insert_with(|| fresh(ids, step.key));
        let begins = step.try_number > row.try_number;
        let (was_finished, had_end) = (row.state.is_finished(), row.end_date);
        let cleared = was_finished && !step.to.is_finished();
        let goes_on = step.to.is_in_flight() && !row.state.is_in_flight();
        let archive = (begins || cleared) && row.try_number > 0;
        if begins || cleared {
            (row.start_date, row.end_date, row.cause) = (begins.then_some(now), None, None);
        } else if goes_on {
            (row.end_date, row.cause) = (None, None);
        }
        if let Some(end) = end {
            row.end_date = (step.to != TaskState::UpForReschedule).then_some(now);
            row.label = end.label.clone().or(row.label.take());
            row.cause = end.cause.clone();
        } else if step.to.is_finished() {
            // A person who gives another state to what has ended does not change when it did.
            row.end_date = had_end.filter(|_| was_finished).or(Some(now));
            row.cause = stopped.cloned();
        }
        (row.state, row.try_number, row.max_tries, row.due) = (step.to, step.try_number, step.max_tries, step.due);
        if end.is_some_and(|end| matches!(end.outcome, Outcome::Failed | Outcome::Lost))
            && row.state == TaskState::Scheduled
        {
            // Due at once, and so decided in the same moment. The history tells that it failed; and whoever goes on from
            // this row finds when it is due.
            (row.state, row.due) = (TaskState::UpForRetry, Some(now));
        }
        row.report = report;
        *self.changed.entry(step.key).or_default() |= archive;
        self.retire_placeholder(step.key);
    }

    /// The row that stood for a mapped task as a whole gives way to those of its instances.
    fn retire_placeholder(&mut self, key: InstanceKey) {
        let placeholder = InstanceKey { map_index: UNMAPPED, ..key };
        if key.map_index == 0
            && let Some(row) = self.rows.get_mut(&placeholder).filter(|row| row.state != TaskState::Removed)
        {
            row.state = TaskState::Removed;
            self.changed.insert(placeholder, false);
        }
    }

    /// The keys of the rows that must be written.
    pub(super) fn changed(&self) -> impl Iterator<Item = InstanceKey> + '_ {
        self.changed.keys().copied()
    }

    /// What must be written, once.
    pub(super) fn take_writes(&mut self) -> Vec<InstanceWrite> {
        let changed = std::mem::take(&mut self.changed);
        let write = |(key, archive)| Some(InstanceWrite { row: self.rows.get(&key)?.clone(), archive });
        changed.into_iter().filter_map(write).collect()
    }
}

fn fresh(ids: &Ids, key: InstanceKey) -> InstanceRow {
    InstanceRow {
        task_id: ids.task(key.task),
        map_index: key.map_index,
        state: TaskState::None,
        try_number: 0,
        max_tries: 0,
        due: None,
        start_date: None,
        end_date: None,
        cause: None,
        report: Report::default(),
        label: None,
    }
}
