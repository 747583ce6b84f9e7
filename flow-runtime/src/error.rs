//! How a task speaks of its end: [`Result`], and the verbs of [`TaskError`].

use std::time::Duration;

/// What a task returns. Any error that turns into [`anyhow::Error`] will do; it fails the try, and the next one follows
/// if any is left.
pub type Result<T, E = anyhow::Error> = std::result::Result<T, E>;

/// An end of a try that is more than "it failed". Its verbs return an [`anyhow::Error`], so that a task says
/// `return Err(TaskError::skip("no data"))`; they are understood under `.context(..)` too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The task and what needs it are skipped.
    #[error("skipped: {0}")]
    Skip(String),
    /// The task fails for good: no further try.
    #[error("{0}")]
    Fail(String),
    /// The task wants to be run again after this time; the same try goes on.
    #[error("asks to be run again in {}", flow_core::parse::human(*.0))]
    Reschedule(Duration),
}

impl TaskError {
    /// Ends the try as skipped; tasks below follow their trigger rules.
    pub fn skip(why: impl Into<String>) -> anyhow::Error {
        TaskError::Skip(why.into()).into()
    }

    /// Ends the task as failed, whatever retries are left: for what no retry can mend.
    pub fn fail(why: impl Into<String>) -> anyhow::Error {
        TaskError::Fail(why.into()).into()
    }

    /// Gives the slot back and asks for another look after this time.
    pub fn reschedule(after: Duration) -> anyhow::Error {
        TaskError::Reschedule(after).into()
    }

    /// The verb inside an error, however much context was wrapped around it.
    pub fn of(error: &anyhow::Error) -> Option<&TaskError> {
        error.downcast_ref::<TaskError>().or_else(|| error.chain().find_map(|e| e.downcast_ref()))
    }
}

/// Will the same fault come again, however often the task is tried? Known of flow-data's errors: a file that is not
/// there, a value that does not fit its column.
pub(crate) fn is_permanent(error: &anyhow::Error) -> bool {
    #[cfg(feature = "data")]
    return error.chain().any(|e| e.downcast_ref::<flow_data::Error>().is_some_and(flow_data::Error::is_permanent));
    #[cfg(not(feature = "data"))]
    {
        let _ = error;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_verb_is_found_under_context() {
        let error = Err::<(), _>(TaskError::skip("no data")).context("reading the day").unwrap_err();
        assert_eq!(TaskError::of(&error), Some(&TaskError::Skip("no data".into())));
        assert_eq!(TaskError::of(&anyhow::anyhow!("plain")), None);
    }
}
