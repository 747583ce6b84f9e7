//! The rows of a run as the store has them, and how a transition changes one.

use super::ids::Ids;
use super::outcome::TryEnd;
use super::resume::keys;
use crate::store::{Cause, InstanceRow, InstanceWrite};
use chrono::{DateTime, Utc};
use flow_core::event::Report;
use flow_core::{Dag, Event, InstanceKey, Outcome, TaskState, Transition, UNMAPPED, Waiting};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The rows of a run, and which of them must be written.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: BTreeMap<InstanceKey, InstanceRow>,
    /// Rows to be written; true if the present one moves to the history first.
    changed: BTreeMap<InstanceKey, bool>,
    /// Instances that begin anew: what they have finished of their work is forgotten.
    forgotten: BTreeSet<InstanceKey>,
}

impl Rows {
    pub(super) fn of(dag: &Dag, rows: Vec<InstanceRow>) -> Rows {
        let key = keys(dag);
        let rows = rows.into_iter().filter_map(|row| Some((key(&row)?, row)));
        Rows { rows: rows.collect(), ..Rows::default() }
    }

    pub(super) fn get(&self, key: InstanceKey) -> Option<&InstanceRow> {
        self.rows.get(&key)
    }

    /// The rows of the instances that failed.
    pub(super) fn failures(&self) -> impl Iterator<Item = &InstanceRow> {
        self.rows.values().filter(|row| row.state == TaskState::Failed)
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
            let goes_on = matches!(step.to, TaskState::UpForReschedule | TaskState::Deferred);
            row.end_date = (!goes_on).then_some(now);
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
        row.event = match step.to {
            TaskState::Deferred => end.map_or(row.event.take(), |end| end.event.clone()),
            _ => None,
        };
        *self.changed.entry(step.key).or_default() |= archive;
        self.retire_placeholder(step.key);
    }

    /// What instances that these events clear have finished of their work is forgotten, whatever state they are in: one that
    /// waits begins anew as well.
    pub(super) fn forget_cleared(&mut self, events: &[Event]) {
        let cleared = events.iter().flat_map(|event| match event {
            Event::Cleared(keys) => &keys[..],
            _ => &[],
        });
        for &key in cleared {
            // The placeholder of an expanded task stands for all of it.
            let last = if key.map_index == UNMAPPED { i32::MAX } else { key.map_index };
            let meant = self.rows.range(key..=InstanceKey { map_index: last, ..key });
            self.forgotten.extend(meant.map(|(key, _)| *key));
        }
    }

    /// These go on where they were, although they run again.
    pub(super) fn keep_steps(&mut self, of: &BTreeSet<InstanceKey>) {
        self.forgotten.retain(|key| !of.contains(key));
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

    /// The events for which deferred instances wait.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (InstanceKey, Arc<str>)> + '_ {
        self.rows.iter().filter_map(|(key, row)| Some((*key, row.event.clone()?)))
    }

    /// Deferred instances that wait neither for an instant nor for an event. (There should be none.)
    pub(super) fn forlorn(&self) -> Vec<InstanceKey> {
        let waits = |row: &InstanceRow| row.due.is_some() || row.event.is_some();
        let deferred = self.rows.iter().filter(|(_, row)| row.state == TaskState::Deferred && !waits(row));
        deferred.map(|(key, _)| *key).collect()
    }

    /// The reason why an instance waits, with what only its row knows.
    pub(super) fn explain(&self, reason: Waiting, key: InstanceKey) -> Waiting {
        match self.rows.get(&key) {
            Some(row) => explain(reason, row),
            None => reason,
        }
    }

    /// The instances that begin anew, once.
    pub(super) fn take_forgotten(&mut self) -> Vec<(Arc<str>, i32)> {
        let name = |key| self.rows.get(&key).map(|row| (row.task_id.clone(), row.map_index));
        std::mem::take(&mut self.forgotten).into_iter().filter_map(name).collect()
    }

    /// What must be written, once.
    pub(super) fn take_writes(&mut self) -> Vec<InstanceWrite> {
        let changed = std::mem::take(&mut self.changed);
        let write = |(key, archive)| Some(InstanceWrite { row: self.rows.get(&key)?.clone(), archive });
        changed.into_iter().filter_map(write).collect()
    }
}

/// The reason why an instance waits, with what only its row knows: the event.
pub fn explain(reason: Waiting, row: &InstanceRow) -> Waiting {
    match (reason, &row.event) {
        (Waiting::Until { .. } | Waiting::Event { .. }, Some(event)) => {
            Waiting::Event { event: Some(event.to_string()), due: row.due }
        }
        (reason, _) => reason,
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
        event: None,
    }
}
