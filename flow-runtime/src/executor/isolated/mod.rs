//! Tries of tasks with `isolation = "process"`: each in a child process of its own, which can be ended whatever it does.
//!
//! The child is this very program, started once more under a hidden word. The two ends speak JSON lines over a socket
//! that is the child's standard input: a [`Request`](message::Request) and perhaps a request to stop go down; logs,
//! progress and the [`End`](message::End) come back. What the child prints goes to the try's log.
//!
//! The child leads a process group, and all that it starts inherits a variable that names the try. When the try is over,
//! by whatever way, the group is killed and then whoever still has the variable: nothing of a try outlives it. A child
//! whose parent is gone sees its socket close, and does the same to itself.

#[cfg(unix)]
mod child;
#[cfg(unix)]
mod message;
#[cfg(unix)]
pub(crate) mod offspring;
#[cfg(unix)]
mod parent;
#[cfg(unix)]
mod prints;

#[cfg(unix)]
pub use child::serve;
#[cfg(not(unix))]
pub(super) use elsewhere::run;
#[cfg(not(unix))]
pub use elsewhere::serve;
#[cfg(unix)]
pub(super) use parent::run;

/// The word that makes a program a child: its first argument.
#[cfg(unix)]
const WORD: &str = "__try";
/// The variable that all processes of a try have.
#[cfg(unix)]
const VARIABLE: &str = "FLOW_TRY";
/// The variable that all processes of a command have which a task has started (see [`operators`](crate::operators)).
#[cfg(unix)]
const COMMAND: &str = "FLOW_COMMAND";

/// How long a child may take to end after it has been killed.
pub(super) const SLACK: std::time::Duration = std::time::Duration::from_secs(5);

#[cfg(not(unix))]
mod elsewhere {
    use crate::executor::outcome::TryEnd;
    use crate::executor::scope::Scope;
    use crate::executor::try_runner::{Job, Returned};
    use crate::value::Inputs;
    use std::sync::Arc;

    /// No program is a child here.
    pub fn serve() -> Option<std::process::ExitCode> {
        None
    }

    pub async fn run(
        _: &Arc<Scope>,
        job: &Job,
        _: Inputs,
        _: &std::path::Path,
        _: crate::context::Progress,
    ) -> Returned {
        let message = "isolation = \"process\" needs a Unix system";
        Err(TryEnd::without_value(job.of, flow_core::Outcome::FailedForGood, crate::store::CauseKind::Process, message))
    }
}
