//! The states of a task instance and of a run, and every legal move between them.
//!
//! The names and their meaning are Airflow's. [`TaskState::may_become`] is the one table of moves;
//! the planner asks it about each of its moves (in builds with debug assertions), and so do the laws.
//! [`TaskState::may_pass_to`] says what that comes to in one commit, and the stores refuse all else.

use serde::{Deserialize, Serialize};
use std::fmt;

/// State of a task instance. `None` is an instance that nothing has decided about yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum TaskState {
    /// No decision yet.
    #[default]
    None,
    /// Its trigger rule holds; it waits for a slot.
    Scheduled,
    /// It was handed to an executor.
    Queued,
    /// Its body runs.
    Running,
    /// It ended well.
    Success,
    /// It ended badly and no tries are left.
    Failed,
    /// It failed and waits for its next try.
    UpForRetry,
    /// It asked to be looked at again later (a sensor).
    UpForReschedule,
    /// It gave its slot back and waits for a trigger.
    Deferred,
    /// It waits for a person's answer.
    AwaitingInput,
    /// It was cleared while it ran; its executor is asked to end it.
    Restarting,
    /// It was decided not to run it.
    Skipped,
    /// Something above it failed.
    UpstreamFailed,
    /// It is no longer part of the DAG, or its mapped list got shorter.
    Removed,
}

impl TaskState {
    /// Every state, in the order of their numbers.
    pub const ALL: [TaskState; 14] = {
        use TaskState::*;
        [
            None,
            Scheduled,
            Queued,
            Running,
            Success,
            Failed,
            UpForRetry,
            UpForReschedule,
            Deferred,
            AwaitingInput,
            Restarting,
            Skipped,
            UpstreamFailed,
            Removed,
        ]
    };

    /// True for the five states that end an instance: success, failed, skipped, upstream_failed, removed.
    pub const fn is_finished(self) -> bool {
        use TaskState::*;
        matches!(self, Success | Failed | Skipped | UpstreamFailed | Removed)
    }

    /// True for failed and upstream_failed.
    pub const fn is_failure(self) -> bool {
        matches!(self, TaskState::Failed | TaskState::UpstreamFailed)
    }

    /// True while an executor holds the instance: queued, running, restarting.
    pub const fn is_in_flight(self) -> bool {
        matches!(self, TaskState::Queued | TaskState::Running | TaskState::Restarting)
    }

    /// True for the waiting states that time or an event from outside will end.
    pub const fn is_waiting(self) -> bool {
        use TaskState::*;
        matches!(self, UpForRetry | UpForReschedule | Deferred | AwaitingInput)
    }

    /// Airflow's name, as it stands in the API: `up_for_retry`. `None` is `none`.
    pub const fn name(self) -> &'static str {
        use TaskState::*;
        match self {
            None => "none",
            Scheduled => "scheduled",
            Queued => "queued",
            Running => "running",
            Success => "success",
            Failed => "failed",
            UpForRetry => "up_for_retry",
            UpForReschedule => "up_for_reschedule",
            Deferred => "deferred",
            AwaitingInput => "awaiting_input",
            Restarting => "restarting",
            Skipped => "skipped",
            UpstreamFailed => "upstream_failed",
            Removed => "removed",
        }
    }

    /// The state with this name, if there is one.
    pub fn from_name(name: &str) -> Option<TaskState> {
        TaskState::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Is this move legal? A finished state is left only by a clear (to `None` through
    /// [`Cause::Clear`](crate::Cause)) or by a person's mark; this table holds the moves of a run that nobody touches.
    pub const fn may_become(self, next: TaskState) -> bool {
        use TaskState::*;
        match self {
            None => matches!(next, Scheduled | Success | Skipped | UpstreamFailed | Removed),
            Scheduled => matches!(next, None | Queued | Running | Failed | Skipped | UpstreamFailed | Removed),
            Queued => {
                matches!(next, None | Scheduled | Running | UpForRetry | Failed | Skipped | UpstreamFailed | Removed)
            }
            Running => matches!(
                next,
                Success
                    | Failed
                    | UpForRetry
                    | UpForReschedule
                    | Deferred
                    | AwaitingInput
                    | Restarting
                    | Skipped
                    | Removed
                    | None
            ),
            UpForRetry | UpForReschedule | Deferred | AwaitingInput => {
                matches!(next, None | Scheduled | Failed | Skipped | UpstreamFailed | Removed)
            }
            Restarting => matches!(next, None | UpForRetry | Failed | Removed),
            Removed => matches!(next, None),
            Success | Failed | Skipped | UpstreamFailed => false,
        }
    }

    /// May one commit that no person has ordered bring an instance from this state to that? A commit holds several moves at
    /// once: what waits is let go and begins in one. But a try is written down before its body starts, and again when it has
    /// ended: so no commit leads past a running try. What has ended is left by a person's order alone, save that it is removed
    /// where the list of a mapped task was made anew.
    pub const fn may_pass_to(self, next: TaskState) -> bool {
        use TaskState::*;
        match (self, next) {
            (Success, Success) | (Failed, Failed) | (Skipped, Skipped) | (UpstreamFailed, UpstreamFailed) => true,
            (_, Removed) => true,
            (Success | Failed | Skipped | UpstreamFailed, _) => false,
            // A try has come to it.
            (Queued | Running, Success | UpForRetry | UpForReschedule | Deferred | AwaitingInput) => true,
            // Cleared while it ran, and lost.
            (Restarting, UpForRetry) => true,
            (_, Success | UpForRetry | UpForReschedule | Deferred | AwaitingInput | Restarting) => {
                self as u8 == next as u8
            }
            (_, None | Scheduled | Queued | Running | Failed | Skipped | UpstreamFailed) => true,
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// State of a DAG run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Made, and not begun.
    Queued,
    /// Begun.
    Running,
    /// Every leaf succeeded or was skipped.
    Success,
    /// A leaf failed, nothing can move any more, or it took too long.
    Failed,
}

impl RunStatus {
    /// True for success and failed.
    pub const fn is_finished(self) -> bool {
        matches!(self, RunStatus::Success | RunStatus::Failed)
    }

    /// May a commit that no person has ordered bring a run from this state to that?
    pub const fn may_pass_to(self, next: RunStatus) -> bool {
        use RunStatus::*;
        match (self, next) {
            (Queued | Running, Running | Success | Failed) | (Queued, Queued) => true,
            (Success, Success) | (Failed, Failed) => true,
            (Running, Queued) | (Success | Failed, _) => false,
        }
    }

    /// Airflow's name: `queued`, `running`, `success`, `failed`.
    pub const fn name(self) -> &'static str {
        match self {
            RunStatus::Queued => "queued",
            RunStatus::Running => "running",
            RunStatus::Success => "success",
            RunStatus::Failed => "failed",
        }
    }

    /// The state with this name, if there is one.
    pub fn from_name(name: &str) -> Option<RunStatus> {
        use RunStatus::*;
        [Queued, Running, Success, Failed].into_iter().find(|s| s.name() == name)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
