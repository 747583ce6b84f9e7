//! How a try ended, in the words of the planner and of the store.

use super::panic::Panicked;
use crate::clock::Clock;
use crate::error::{self, TaskError};
use crate::secret::redact;
use crate::store::{Cause, CauseKind, XComValue};
use crate::value::{Erased, InputError, OutputError};
use chrono::{DateTime, TimeDelta, Utc};
use flow_core::event::Report;
use flow_core::{Outcome, SensorPolicy, TryRef};
use std::sync::Arc;
use std::time::Duration;

/// How a try ended.
#[derive(Debug)]
pub(super) struct TryEnd {
    pub(super) of: TryRef,
    pub(super) outcome: Outcome,
    pub(super) cause: Option<Cause>,
    /// What it returned.
    pub(super) value: Option<Kept>,
    /// Of a mapped instance, what it is about.
    pub(super) label: Option<Arc<str>>,
    /// Of a deferred try, the event that it waits for.
    pub(super) event: Option<Arc<str>>,
}

/// A return value, and how it is stored; one that says nothing (`null`) is not.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) erased: Erased,
    pub(super) stored: Option<XComValue>,
    /// JSON text about each asset that the task makes, in the order of its outlets.
    pub(super) made: Vec<Arc<str>>,
    /// It is kept under this key for later runs.
    pub(super) cache_key: Option<Arc<str>>,
}

impl TryEnd {
    pub(super) fn success(of: TryRef, report: Report, value: Kept) -> TryEnd {
        TryEnd { of, outcome: Outcome::Success(report), cause: None, value: Some(value), label: None, event: None }
    }

    /// The end of a try that has no value. Secrets are taken out of the message.
    pub(super) fn without_value(of: TryRef, outcome: Outcome, kind: CauseKind, message: &str) -> TryEnd {
        let cause = Cause { kind, message: redact(message).into_owned(), place: None };
        TryEnd { of, outcome, cause: Some(cause), value: None, label: None, event: None }
    }

    pub(super) fn panicked(of: TryRef, panicked: Panicked) -> TryEnd {
        let mut end = TryEnd::without_value(of, Outcome::Failed, CauseKind::Panic, &panicked.message);
        if let Some(cause) = &mut end.cause {
            cause.place = panicked.place;
        }
        end
    }

    pub(super) fn timed_out(of: TryRef, timeout: Duration) -> TryEnd {
        let message = format!("the try took longer than its timeout of {}", flow_core::parse::human(timeout));
        TryEnd::without_value(of, Outcome::Failed, CauseKind::Timeout, &message)
    }

    /// It looks again at this instant.
    pub(super) fn rescheduled(of: TryRef, at: DateTime<Utc>) -> TryEnd {
        TryEnd { of, outcome: Outcome::Rescheduled(at), cause: None, value: None, label: None, event: None }
    }

    /// A sensor has waited for as long as it may.
    pub(super) fn in_vain(of: TryRef, policy: &SensorPolicy) -> TryEnd {
        let message = format!("what it waits for has not come in {}", flow_core::parse::human(policy.timeout));
        let (outcome, kind) = match policy.soft_fail {
            true => (Outcome::Skipped, CauseKind::Skipped),
            false => (Outcome::FailedForGood, CauseKind::Timeout),
        };
        TryEnd::without_value(of, outcome, kind, &message)
    }

    /// It was stopped before its end; it does not count.
    pub(super) fn returned(of: TryRef) -> TryEnd {
        let message = "the run was stopped before the try ended; it uses up no retry";
        TryEnd::without_value(of, Outcome::Returned, CauseKind::Cancelled, message)
    }

    /// What it takes was cleared before it had it; it does not count.
    pub(super) fn bereft(of: TryRef) -> TryEnd {
        let message = "a task was cleared before this try had what it takes; it begins anew, and uses up no retry";
        TryEnd::without_value(of, Outcome::Returned, CauseKind::Cancelled, message)
    }

    /// Its process died.
    pub(super) fn lost(of: TryRef) -> TryEnd {
        let message = "the process that ran this try ended before the try did";
        TryEnd::without_value(of, Outcome::Lost, CauseKind::Lost, message)
    }

    /// The end that a child process told of. Secrets are taken out of its words, for the child knows none.
    #[cfg(unix)]
    pub(super) fn reported(of: TryRef, outcome: Outcome, cause: Option<Cause>, event: Option<Arc<str>>) -> TryEnd {
        // Only the parent makes a success, of a value.
        let outcome = if matches!(outcome, Outcome::Success(_)) { Outcome::Failed } else { outcome };
        let clean = |text: String| redact(&text).into_owned();
        let cause = cause.map(|c| Cause { message: clean(c.message), place: c.place.map(clean), ..c });
        TryEnd { of, outcome, cause, value: None, label: None, event }
    }

    /// The body returned an error.
    pub(super) fn error(of: TryRef, error: &anyhow::Error, clock: &dyn Clock) -> TryEnd {
        let mut text = sentence(error);
        match TaskError::of(error) {
            Some(TaskError::Skip(why)) if error.chain().count() == 1 => {
                TryEnd::without_value(of, Outcome::Skipped, CauseKind::Skipped, why)
            }
            Some(TaskError::Skip(_)) => TryEnd::without_value(of, Outcome::Skipped, CauseKind::Skipped, &text),
            Some(TaskError::Fail(_)) => TryEnd::without_value(of, Outcome::FailedForGood, CauseKind::Error, &text),
            Some(TaskError::Reschedule(after)) => {
                let due = TimeDelta::from_std(*after).ok().and_then(|after| clock.now().checked_add_signed(after));
                TryEnd::rescheduled(of, due.unwrap_or(DateTime::<Utc>::MAX_UTC))
            }
            Some(TaskError::Defer(trigger)) => {
                // Whoever waits for nothing goes on at once.
                let due = trigger.at.or_else(|| trigger.event.is_none().then(|| clock.now()));
                let event = trigger.event.as_deref().map(Arc::from);
                TryEnd { of, outcome: Outcome::Deferred(due), cause: None, value: None, label: None, event }
            }
            // The value and the type will be the same next time.
            None if is::<InputError>(error) => {
                TryEnd::without_value(of, Outcome::FailedForGood, CauseKind::Input, &text)
            }
            None if is::<OutputError>(error) => {
                TryEnd::without_value(of, Outcome::FailedForGood, CauseKind::Output, &text)
            }
            None if error::is_permanent(error) => {
                text.push_str(" (no retry would mend it)");
                TryEnd::without_value(of, Outcome::FailedForGood, CauseKind::Error, &text)
            }
            None => TryEnd::without_value(of, Outcome::Failed, CauseKind::Error, &text),
        }
    }
}

/// The error and what caused it, from the outside in; a cause that was told already (as many errors do of theirs) is not
/// told twice.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> bool {
    error.downcast_ref::<E>().is_some() || error.chain().any(|e| e.is::<E>())
}
