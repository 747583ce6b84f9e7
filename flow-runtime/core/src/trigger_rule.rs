//! The 13 trigger rules: when a task may start, and when it never will.

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
    /// Every rule.
    pub const ALL: [TriggerRule; 13] = {
        use TriggerRule::*;
        [
            AllSuccess, AllFailed, AllDone, AllSkipped, OneSuccess, OneFailed, OneDone, NoneFailed,
            NoneFailedMinOneSuccess, NoneSkipped, AllDoneMinOneSuccess, AllDoneSetupSuccess, Always,
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
