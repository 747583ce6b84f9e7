//! How a task speaks of its end: [`Result`], and the verbs of [`TaskError`].

use chrono::{DateTime, Utc};
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
    /// The task gives its slot back until its trigger fires; then the same try begins once more from the top.
    #[error("{0}")]
    Defer(Trigger),
}

/// What a deferred task waits for: an instant, an event, or whichever comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) event: Option<String>,
}

impl Trigger {
    /// Fires at this instant.
    pub fn at(at: DateTime<Utc>) -> Trigger {
        Trigger { at: Some(at), event: None }
    }

    /// Fires when this event happens: somebody calls [`Context::emit`](crate::Context::emit), or `dags emit`.
    pub fn event(name: impl Into<String>) -> Trigger {
        Trigger { at: None, event: Some(name.into()) }
    }

    /// Fires at this instant as well, if it has not before.
    #[must_use]
    pub fn or_at(mut self, at: DateTime<Utc>) -> Trigger {
        self.at = Some(self.at.map_or(at, |first| first.min(at)));
        self
    }
}

impl std::fmt::Display for Trigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.event, &self.at) {
            (Some(event), Some(at)) => write!(f, "waits for the event `{event}`, or until {at}"),
            (Some(event), None) => write!(f, "waits for the event `{event}`"),
            (None, Some(at)) => write!(f, "sleeps until {at}"),
            (None, None) => f.write_str("goes on at once"),
        }
    }
}

/// What a sensor waits for is not there yet. The engine knows when to look again.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("what it waits for is not there yet")]
pub(crate) struct NotYet;

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

    /// Gives the slot back until this trigger fires: after a crash, too, for what a deferred task waits for stands in its row.
    /// Then the body begins once more from the top, in the same try: what must not be done twice belongs into a
    /// [`step`](crate::Context::step).
    pub fn defer(trigger: Trigger) -> anyhow::Error {
        TaskError::Defer(trigger).into()
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
