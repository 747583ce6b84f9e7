//! Clearing: which instances run again, and what that does to each.

use crate::run::Instance;
use crate::state::TaskState;

/// An instance after it was cleared: what runs is stopped first, all else is undecided again, with its retries anew.
pub(crate) fn effect(instance: Instance, retries: u32) -> Instance {
    if instance.state == TaskState::Running {
        return Instance {
            state: TaskState::Restarting,
            ..instance
        };
    }
    let max_tries = fresh_tries(instance.try_number, retries);
    Instance {
        state: TaskState::None,
        max_tries,
        due: None,
        ..instance
    }
}

/// The `max_tries` that gives an instance all its retries once more.
pub(crate) fn fresh_tries(try_number: u32, retries: u32) -> u32 {
    try_number.saturating_add(retries)
}
