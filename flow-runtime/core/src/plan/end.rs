//! When a run ends, and how.

use super::Batch;
use crate::run::RunState;
use crate::state::{RunStatus, TaskState};

/// What becomes of a run when nothing more follows: success if all is finished and no leaf failed, failed if one did (or else
/// what somebody has ended it with); failed if what is unfinished is undecided and nothing under way could change that.
pub fn outlook(run: &RunState) -> RunStatus {
    if run.totals.unfinished() == 0 {
        let by_leaves = if run.failed_leaves > 0 { RunStatus::Failed } else { RunStatus::Success };
        return run.ending.unwrap_or(by_leaves);
    }
    let under_way = run.totals.any(|s| !s.is_finished() && s != TaskState::None);
    if under_way { RunStatus::Running } else { RunStatus::Failed }
}

impl Batch<'_> {
    pub(super) fn end(&mut self) {
        self.run.status = outlook(self.run);
        self.run.ending = self.run.ending.filter(|_| !self.run.status.is_finished());
    }
}
