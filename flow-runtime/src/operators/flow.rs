//! Tasks that do nothing, or only decide whether others do.

use crate::ask::{Answer, Ask};
use crate::context::Context;
use crate::error::Result;
use crate::task;
use anyhow::bail;

/// Does nothing: a place where edges meet.
#[task]
pub fn empty() {}

/// The key of the body of [`latest_only`]: what is right below it is conditional on it without a `.when(..)`.
pub(crate) const LATEST_ONLY: &str = concat!(module_path!(), "::latest_only");

/// Is this the latest run of its schedule? In one that catches up on the past the next is due already. A run that somebody asked
/// for is always let through, and so is one of a DAG without a schedule.
///
/// What is put right below it by `>>` runs in the latest run alone: in every other it is skipped, whatever its trigger rule, and
/// what is below that goes by its own. A teardown is never skipped so; and who takes the answer as an argument, or by
/// `.when(..)`, decides for itself.
///
/// # Errors
/// An engine that cannot be asked.
#[task]
pub async fn latest_only(ctx: &Context) -> Result<bool> {
    match ctx.ask(Ask::IsLatest).await? {
        Answer::IsLatest(latest) => Ok(latest),
        other => bail!("the engine has answered another question: {other:?}"),
    }
}
