//! What each event does to the instance or the run that it speaks of.

use super::{Batch, has_to_take_away, outlook};
use crate::backoff::{Seed, retry_delay};
use crate::clear;
use crate::dag::TaskKind;
use crate::event::{Event, InstanceKey, Outcome, TryRef, UNMAPPED};
use crate::run::Instance;
use crate::state::{RunStatus, TaskState};
use chrono::{DateTime, TimeDelta, Utc};

impl Batch<'_> {
    pub(super) fn apply(&mut self, event: &Event) {
        use Event::{Cleared, Marked, RunMarked, RunTimedOut};
        self.by_hand = matches!(event, Cleared(_) | Marked(..) | RunMarked(_) | RunTimedOut);
        self.apply_one(event);
        self.by_hand = false;
    }

    fn apply_one(&mut self, event: &Event) {
        match event {
            Event::Dispatched(key) => self.dispatched(*key),
            Event::Started(of) => self.started(*of),
            Event::Ended(of, outcome) => self.ended(*of, outcome),
            Event::Woken(keys) => self.woken(keys),
            Event::Cleared(keys) => self.cleared(keys),
            Event::Marked(keys, state) => self.marked(keys, *state),
            Event::RunMarked(status) => self.run_marked(*status),
            Event::RunTimedOut => self.run_timed_out(),
        }
    }

    /// A try begins where its number goes up. After up_for_reschedule the same try goes on; `due` is the mark of that.
    fn dispatched(&mut self, key: InstanceKey) {
        let Some(mut i) = self.run.instance(key).filter(|i| i.state == TaskState::Scheduled) else {
            return;
        };
        i.state = TaskState::Queued;
        if i.due.is_none() || i.try_number == 0 {
            i.due = None;
            i.try_number = i.try_number.saturating_add(1);
        }
        self.write(key, i);
    }

    fn started(&mut self, of: TryRef) {
        if let Some(mut i) = self.held(of).filter(|i| i.state == TaskState::Queued) {
            i.state = TaskState::Running;
            self.write(of.key, i);
        }
    }

    /// The instance, if this is the try that an executor holds.
    fn held(&self, of: TryRef) -> Option<Instance> {
        let instance = self.run.instance(of.key)?;
        (instance.state.is_in_flight() && instance.try_number == of.try_number).then_some(instance)
    }

    /// An end implies its start: it is taken from a queued try as well.
    fn ended(&mut self, of: TryRef, outcome: &Outcome) {
        self.started(of);
        let Some(i) = self.held(of) else { return };
        if i.state == TaskState::Restarting {
            // It was cleared while it ran; how that try ended matters no more.
            let max_tries = i.max_tries.max(clear::fresh_tries(i.try_number, self.retries(of.key)));
            self.write(of.key, Instance { state: TaskState::None, max_tries, due: None, ..i });
            return;
        }
        let end = |state| Instance { state, due: None, ..i };
        match outcome {
            Outcome::Success(report) => {
                self.write(of.key, end(TaskState::Success));
                self.run.report(of.key, Some(report));
            }
            Outcome::Skipped => self.write(of.key, end(TaskState::Skipped)),
            Outcome::FailedForGood => self.failed(of.key, i),
            Outcome::Failed => {
                let due = later(self.now, self.delay(of));
                self.retry(of.key, i, due);
            }
            Outcome::Lost => self.retry(of.key, i, self.now),
            Outcome::Returned => {
                let max_tries = i.max_tries.saturating_add(1);
                self.write(of.key, Instance { max_tries, ..end(TaskState::None) });
            }
            Outcome::Rescheduled(due) => {
                self.write(of.key, Instance { state: TaskState::UpForReschedule, due: Some(*due), ..i });
            }
            Outcome::Deferred(due) => self.write(of.key, Instance { state: TaskState::Deferred, due: *due, ..i }),
        }
    }

    fn woken(&mut self, keys: &[InstanceKey]) {
        for &key in keys {
            if let Some(i) = self.run.instance(key).filter(|i| i.state == TaskState::Deferred) {
                // Set, as a mark that the same try goes on.
                self.write(key, Instance { state: TaskState::None, due: Some(i.due.unwrap_or(self.now)), ..i });
            }
        }
    }

    fn retry(&mut self, key: InstanceKey, i: Instance, due: DateTime<Utc>) {
        if i.try_number <= i.max_tries {
            self.write(key, Instance { state: TaskState::UpForRetry, due: Some(due), ..i });
        } else {
            self.failed(key, i);
        }
    }

    /// It has failed, and will not be tried again.
    fn failed(&mut self, key: InstanceKey, i: Instance) {
        self.write(key, Instance { state: TaskState::Failed, due: None, ..i });
        if !self.dag.fail_fast || self.is_teardown(key) {
            return;
        }
        // As Airflow does, the other instances of the same task are left to themselves.
        let others: Vec<_> =
            self.run.filter(|s| !s.is_finished()).filter(|(other, _)| other.task != key.task).collect();
        for (other, instance) in others {
            if !self.is_teardown(other) {
                // Airflow skips them, and a run whose last tasks are skipped counts as a success there.
                self.end_one(other, instance, TaskState::Failed, TaskState::UpstreamFailed);
            }
        }
    }

    fn is_teardown(&self, key: InstanceKey) -> bool {
        let task = self.dag.tasks.get(key.task as usize);
        task.is_some_and(|task| matches!(task.kind, TaskKind::Teardown { .. }))
    }

    fn delay(&self, of: TryRef) -> std::time::Duration {
        let Some(task) = self.dag.tasks.get(of.key.task as usize) else {
            return std::time::Duration::ZERO;
        };
        let seed = Seed { dag_id: &self.dag.dag_id, task_id: &task.task_id, logical_date: self.run.logical_date };
        retry_delay(&task.retry, seed, of.try_number)
    }

    fn retries(&self, key: InstanceKey) -> u32 {
        self.dag.tasks.get(key.task as usize).map_or(0, |t| t.retry.retries)
    }

    /// The key itself, or all instances of an expanded task that is named by its placeholder.
    fn meant(&self, key: InstanceKey) -> Vec<(InstanceKey, Instance)> {
        match self.run.instance(key) {
            Some(instance) => vec![(key, instance)],
            None if key.map_index == UNMAPPED => {
                let all = self.run.instances(key.task);
                all.map(|(map_index, i)| (InstanceKey { map_index, ..key }, i)).collect()
            }
            None => Vec::new(),
        }
    }

    fn cleared(&mut self, keys: &[InstanceKey]) {
        let (mut any, ended) = (false, self.run.ending);
        for &key in keys {
            for (key, instance) in self.meant(key) {
                any = true;
                // Whoever lets work run again does not end the run any more.
                self.run.ending = self.run.ending.filter(|_| self.is_teardown(key));
                self.cancel(key, instance);
                let cleared = clear::effect(instance, self.retries(key));
                self.write(key, cleared);
            }
        }
        // One that is not ended any more begins anew as well, or it would have had its time.
        if any && (self.run.status.is_finished() || self.run.ending != ended) {
            self.run.status = RunStatus::Queued;
        }
    }

    /// What a person says counts, even over the end of a try.
    fn marked(&mut self, keys: &[InstanceKey], state: TaskState) {
        if !matches!(state, TaskState::Success | TaskState::Failed | TaskState::Skipped) {
            return;
        }
        // One that was ended, by a person or by its timeout, is as they have said, whatever its tasks are.
        let is_by_tasks = self.run.status.is_finished() && outlook(self.run) == self.run.status;
        for &key in keys {
            for (key, instance) in self.meant(key) {
                self.cancel(key, instance);
                self.write(key, Instance { state, due: None, ..instance });
            }
        }
        // A run that its tasks have ended is judged anew; so is one that waits to begin again, and has nothing left to begin.
        let is_done = self.run.status == RunStatus::Queued && self.run.totals.unfinished() == 0;
        if is_by_tasks || is_done {
            let status = outlook(self.run);
            self.run.status = if status.is_finished() { status } else { self.run.status };
        }
    }

    fn run_marked(&mut self, status: RunStatus) {
        let stopped = if status == RunStatus::Failed { TaskState::Failed } else { TaskState::Skipped };
        // Whoever says so again, while nothing but teardowns is left, means those.
        let is_said = self.run.ending == Some(status);
        if status.is_finished() && (is_said || !self.end_work(status, stopped)) {
            self.end_all(stopped);
            (self.run.status, self.run.ending) = (status, None);
        }
    }

    fn run_timed_out(&mut self) {
        // Whoever goes on with a run that took too long finds so again.
        let is_known = self.run.status.is_finished() || self.run.ending.is_some();
        if !is_known && !self.end_work(RunStatus::Failed, TaskState::Skipped) {
            self.end_all(TaskState::Skipped);
            self.run.status = RunStatus::Failed;
        }
    }

    /// Ends a run as far as it can be ended while something is set up: the teardowns that take it away are left to run, and all
    /// else is ended, as [`Batch::end_all`] does; its state is to be `status` then. `false`, and nothing is changed, where no such
    /// teardown is left.
    fn end_work(&mut self, status: RunStatus, stopped: TaskState) -> bool {
        let unfinished = self.run.filter(|s| !s.is_finished());
        let (left, work): (Vec<_>, Vec<_>) =
            unfinished.partition(|(key, _)| has_to_take_away(self.dag, self.run, *key));
        if left.is_empty() || self.run.status.is_finished() {
            return false;
        }
        for (key, instance) in work {
            self.end_one(key, instance, stopped, TaskState::Skipped);
        }
        self.run.ending = Some(status);
        true
    }

    /// Ends every instance that is unfinished: what is running takes the state `stopped`, all else is skipped.
    fn end_all(&mut self, stopped: TaskState) {
        let unfinished: Vec<_> = self.run.filter(|s| !s.is_finished()).collect();
        for (key, instance) in unfinished {
            self.end_one(key, instance, stopped, TaskState::Skipped);
        }
    }

    /// Ends an instance that is unfinished: one that runs is `stopped`, any other was `left`.
    fn end_one(&mut self, key: InstanceKey, instance: Instance, stopped: TaskState, left: TaskState) {
        self.cancel(key, instance);
        let ran = matches!(instance.state, TaskState::Running | TaskState::Restarting);
        let state = if ran { stopped } else { left };
        self.write(key, Instance { state, due: None, ..instance });
    }
}

/// `now` plus a wait, or the last instant there is.
fn later(now: DateTime<Utc>, wait: std::time::Duration) -> DateTime<Utc> {
    let wait = TimeDelta::from_std(wait).ok();
    wait.and_then(|wait| now.checked_add_signed(wait)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
