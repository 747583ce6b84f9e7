//! What happens to a run, and what follows from it: the words between the planner and its shells.

use crate::dag::TaskIx;
use crate::state::{RunStatus, TaskState};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The map index of a task instance that is not mapped.
pub const UNMAPPED: i32 = -1;

/// One task instance inside its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceKey {
    /// The task.
    pub task: TaskIx,
    /// Its place in a mapped list, from 0; [`UNMAPPED`] for a task that is not mapped, and for a mapped one that
    /// ended (or waits) before its length was known.
    pub map_index: i32,
}

/// One try of one task instance inside its run: the fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TryRef {
    /// The instance.
    pub key: InstanceKey,
    /// Number of the try, from 1.
    pub try_number: u32,
}

/// Something that happened to a run. An event that comes twice, or speaks of an old try, changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The shell gave a scheduled instance to an executor: scheduled -> queued. A try begins: its number goes up by
    /// one, unless the instance resumes after [`Outcome::Rescheduled`], where the same try goes on.
    Dispatched(InstanceKey),
    /// The body of a try began: queued -> running.
    Started(TryRef),
    /// A try ended.
    Ended(TryRef, Outcome),
    /// What these deferred instances waited for has happened.
    Woken(Vec<InstanceKey>),
    /// Somebody wants these instances to run again (see [`clear`](crate::clear)).
    Cleared(Vec<InstanceKey>),
    /// Somebody sets the state of these instances: success, failed or skipped.
    Marked(Vec<InstanceKey>, TaskState),
    /// Somebody sets the state of the run: success or failed; what is unfinished ends too.
    RunMarked(RunStatus),
    /// The run took longer than the DAG allows: it fails, what is unfinished is skipped.
    RunTimedOut,
}

impl Event {
    /// Is it a person's order? Nothing else lets go on what has ended.
    pub const fn is_order(&self) -> bool {
        matches!(self, Event::Cleared(_) | Event::Marked(..) | Event::RunMarked(_))
    }
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The body returned a value.
    Success(Report),
    /// The body asked to be skipped.
    Skipped,
    /// The body failed, panicked or took too long; the next try follows if any is left.
    Failed,
    /// The body failed for good: no further try.
    FailedForGood,
    /// Its process died or was not heard of. It counts as a try; the next one, if any is left, follows at once.
    Lost,
    /// It was stopped by us before it ended, through no fault of its own: it runs again, and this try is not counted
    /// against its retries.
    Returned,
    /// It wants to be looked at again at this instant; the same try goes on.
    Rescheduled(DateTime<Utc>),
    /// It gives its slot back and waits: for this instant, or for an event that a shell will tell of by
    /// [`Event::Woken`] (or for whichever comes first); then the same try goes on.
    Deferred(Option<DateTime<Utc>>),
}

/// What the planner must know about a value it never sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Lengths of the lists in the output that tasks are mapped over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lengths: Vec<Length>,
    /// The tasks whose [`Condition`](crate::dag::Condition) on this output does not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declined: Vec<TaskIx>,
}

/// Length of an output, or of one element of a tuple output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Length {
    /// Element of the tuple; `None` is the output itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<u32>,
    /// Number of elements.
    pub len: u32,
}

/// What a batch of events changed, and what must be done about it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Every instance that changed, once, with the state it was in before the batch; in the order of their keys. An
    /// instance that the batch made is among them even where nothing is decided about it (`none -> none`). Once a
    /// mapped task has an instance 0, its placeholder at [`UNMAPPED`] is gone, and so should be its row.
    pub transitions: Vec<Transition>,
    /// Instances that became scheduled in this batch: candidates for [`admit`](crate::admit).
    pub ready: Vec<InstanceKey>,
    /// Tries in flight that must be stopped: they were cleared or marked, or their run ended.
    pub cancel: Vec<TryRef>,
    /// The run's new state, if it changed.
    pub status: Option<RunStatus>,
    /// Ask again at this instant, even if nothing happens before: a retry is due then.
    pub wake_at: Option<DateTime<Utc>>,
}

/// One instance that changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The instance.
    pub key: InstanceKey,
    /// Its state before the batch ([`TaskState::None`] if it was made by it).
    pub from: TaskState,
    /// Its state now.
    pub to: TaskState,
    /// Number of its latest try; 0 before the first.
    pub try_number: u32,
    /// It may be tried again while `try_number <= max_tries`; starts as the task's retries.
    pub max_tries: u32,
    /// When it is due again (up_for_retry, up_for_reschedule, deferred). After the latter two it stays set until the
    /// try ends, as a mark that the same try goes on: store it as it is.
    pub due: Option<DateTime<Utc>>,
}
