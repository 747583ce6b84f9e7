//! The 13 trigger rules: when a task may start, and when it never will.

use crate::state::TaskState;
use serde::{Deserialize, Serialize};
use std::fmt;

/// When a task may start, given the states of its direct upstream tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerRule {
    /// All succeeded.
    #[default]
    AllSuccess,
    /// All failed or upstream_failed.
    AllFailed,
    /// All finished, however.
    AllDone,
    /// All skipped.
    AllSkipped,
    /// At least one succeeded; does not wait for the rest.
    OneSuccess,
    /// At least one failed; does not wait for the rest.
    OneFailed,
    /// At least one succeeded or failed; does not wait for the rest.
    OneDone,
    /// All succeeded or were skipped.
    NoneFailed,
    /// As `NoneFailed`, and at least one succeeded: the join after a branch.
    NoneFailedMinOneSuccess,
    /// All finished, none skipped.
    NoneSkipped,
    /// All finished, none skipped, at least one succeeded.
    AllDoneMinOneSuccess,
    /// All finished and at least one upstream setup succeeded; teardowns have it by themselves.
    AllDoneSetupSuccess,
    /// At once.
    Always,
}

impl TriggerRule {
    /// May it start a task while upstream tasks are unfinished?
    pub(crate) const fn may_start_early(self) -> bool {
        use TriggerRule::*;
        matches!(self, OneSuccess | OneFailed | OneDone | Always)
    }

    /// Every rule.
    pub const ALL: [TriggerRule; 13] = {
        use TriggerRule::*;
        [
            AllSuccess,
            AllFailed,
            AllDone,
            AllSkipped,
            OneSuccess,
            OneFailed,
            OneDone,
            NoneFailed,
            NoneFailedMinOneSuccess,
            NoneSkipped,
            AllDoneMinOneSuccess,
            AllDoneSetupSuccess,
            Always,
        ]
    };

    /// Airflow's name: `none_failed_min_one_success`.
    pub const fn name(self) -> &'static str {
        use TriggerRule::*;
        match self {
            AllSuccess => "all_success",
            AllFailed => "all_failed",
            AllDone => "all_done",
            AllSkipped => "all_skipped",
            OneSuccess => "one_success",
            OneFailed => "one_failed",
            OneDone => "one_done",
            NoneFailed => "none_failed",
            NoneFailedMinOneSuccess => "none_failed_min_one_success",
            NoneSkipped => "none_skipped",
            AllDoneMinOneSuccess => "all_done_min_one_success",
            AllDoneSetupSuccess => "all_done_setup_success",
            Always => "always",
        }
    }

    /// The rule with this name, if there is one.
    pub fn from_name(name: &str) -> Option<TriggerRule> {
        TriggerRule::ALL.into_iter().find(|r| r.name() == name)
    }

    /// Can a task with this rule start although one of its upstream tasks gave no value? Then a plain argument could
    /// not be filled, and the builder asks for `Option<T>`.
    pub const fn may_start_without_a_value(self) -> bool {
        !matches!(self, TriggerRule::AllSuccess)
    }
}

impl fmt::Display for TriggerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How many upstream instances are in which state: all that a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpstreamCounts {
    /// All of them.
    pub total: u32,
    /// That succeeded.
    pub success: u32,
    /// That were skipped.
    pub skipped: u32,
    /// That failed.
    pub failed: u32,
    /// That could not run since something above them failed.
    pub upstream_failed: u32,
    /// That are no longer there.
    pub removed: u32,
    /// Instances of setups among them.
    pub setups: u32,
    /// Setups that succeeded.
    pub setups_success: u32,
    /// Setups that were skipped.
    pub setups_skipped: u32,
}

impl UpstreamCounts {
    /// Counts one more instance in this state.
    pub fn add(&mut self, state: TaskState, is_setup: bool) {
        self.add_many(state, 1, is_setup);
    }

    /// Counts `n` more instances in this state.
    pub(crate) fn add_many(&mut self, state: TaskState, n: u32, is_setup: bool) {
        self.total += n;
        self.setups += if is_setup { n } else { 0 };
        match state {
            TaskState::Success => {
                self.success += n;
                self.setups_success += if is_setup { n } else { 0 };
            }
            TaskState::Skipped => {
                self.skipped += n;
                self.setups_skipped += if is_setup { n } else { 0 };
            }
            TaskState::Failed => self.failed += n,
            TaskState::UpstreamFailed => self.upstream_failed += n,
            TaskState::Removed => self.removed += n,
            _ => {}
        }
    }

    /// Those that have finished, however.
    pub fn done(&self) -> u32 {
        self.success + self.skipped + self.failed + self.upstream_failed + self.removed
    }
}

/// What a rule says about an instance that nothing was decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may start.
    Run,
    /// Not yet.
    Wait,
    /// Never: it takes this state at once.
    Cut(TaskState),
}

/// What `rule` says, given the direct upstream instances; `map_index` is that of the instance asked about.
///
/// A task without upstream always runs. Removed instances are left out of what is waited for; the one oddity taken
/// over from Airflow is that under `all_success` a mapped instance is removed with the elements that its upstream lost.
pub fn evaluate(rule: TriggerRule, up: &UpstreamCounts, map_index: i32) -> Decision {
    use Decision::{Cut, Run, Wait};
    use TaskState::{Removed, Skipped, UpstreamFailed};
    if up.total == 0 || rule == TriggerRule::Always {
        return Run;
    }
    let all_done = up.done() >= up.total;
    let failures = up.failed + up.upstream_failed;
    let there = up.total - up.removed;
    let run_if = |holds: bool| if holds { Run } else { Wait };
    match rule {
        TriggerRule::AllSuccess => match () {
            () if failures > 0 => Cut(UpstreamFailed),
            () if up.skipped > 0 => Cut(Skipped),
            () if lost_its_element(up, map_index) => Cut(Removed),
            () => run_if(up.success >= there),
        },
        TriggerRule::AllFailed if up.success + up.skipped > 0 => Cut(Skipped),
        TriggerRule::AllFailed => run_if(failures >= there),
        TriggerRule::AllDone => run_if(all_done),
        TriggerRule::AllSkipped if up.success + failures > 0 => Cut(Skipped),
        TriggerRule::AllSkipped => run_if(up.skipped >= up.total),
        TriggerRule::OneSuccess if up.success > 0 => Run,
        TriggerRule::OneSuccess if all_done && up.skipped >= up.total => Cut(Skipped),
        TriggerRule::OneSuccess if all_done => Cut(UpstreamFailed),
        TriggerRule::OneFailed if failures > 0 => Run,
        TriggerRule::OneFailed if all_done => Cut(Skipped),
        TriggerRule::OneDone if up.success + up.failed > 0 => Run,
        TriggerRule::OneDone if all_done => Cut(Skipped),
        TriggerRule::OneSuccess | TriggerRule::OneFailed | TriggerRule::OneDone => Wait,
        TriggerRule::NoneFailed | TriggerRule::NoneFailedMinOneSuccess if failures > 0 => Cut(UpstreamFailed),
        TriggerRule::NoneFailedMinOneSuccess if up.skipped >= up.total => Cut(Skipped),
        TriggerRule::NoneFailedMinOneSuccess if all_done && up.success == 0 => Cut(UpstreamFailed),
        TriggerRule::NoneFailed | TriggerRule::NoneFailedMinOneSuccess => run_if(up.success + up.skipped >= there),
        TriggerRule::NoneSkipped | TriggerRule::AllDoneMinOneSuccess if up.skipped > 0 => Cut(Skipped),
        TriggerRule::NoneSkipped => run_if(all_done),
        TriggerRule::AllDoneMinOneSuccess if all_done && up.success == 0 => Cut(UpstreamFailed),
        TriggerRule::AllDoneMinOneSuccess => run_if(all_done),
        TriggerRule::AllDoneSetupSuccess if !all_done => Wait,
        TriggerRule::AllDoneSetupSuccess if up.setups > 0 && up.setups_skipped >= up.setups => Cut(Skipped),
        TriggerRule::AllDoneSetupSuccess if up.setups > 0 && up.setups_success == 0 => Cut(UpstreamFailed),
        TriggerRule::AllDoneSetupSuccess => Run,
        TriggerRule::Always => Run,
    }
}

/// What the setups in whose scope an instance lies say, before its own rule is asked: all must have succeeded.
pub fn setup_constraint(setups: &UpstreamCounts, map_index: i32) -> Decision {
    match evaluate(TriggerRule::AllSuccess, setups, map_index) {
        // A removed setup made nothing ready; only mapped instances go on without it.
        Decision::Run if map_index < 0 && setups.success < setups.total => Decision::Wait,
        decision => decision,
    }
}

/// Airflow compares the map index with the number of successes, not with the length of the list.
fn lost_its_element(up: &UpstreamCounts, map_index: i32) -> bool {
    up.removed > 0 && up.success > 0 && map_index >= 0 && map_index as u32 >= up.success
}
