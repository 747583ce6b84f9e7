//! Who is told of what: the part of it that is written in a DAG. How somebody is told is the shell's affair.
//!
//! A state that a person gives (by `mark`, `clear`) tells nobody, as in Airflow: whoever did it knows.

use crate::dag_run::DagRun;
use crate::event::Outcome;
use crate::state::{RunStatus, TaskState};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Something that happens to a task or a run, and of which somebody may want to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// A task failed for good, or a run did.
    Failure,
    /// A try failed, and another follows.
    Retry,
    /// A task succeeded, or a run did.
    Success,
    /// A try asked to be skipped. (A task that is skipped without a try tells nobody.)
    Skipped,
    /// A run is not done by its [`Deadline`].
    Deadline,
}

impl Occasion {
    /// All of them.
    pub const ALL: [Occasion; 5] =
        [Occasion::Failure, Occasion::Retry, Occasion::Success, Occasion::Skipped, Occasion::Deadline];

    /// `failure`, `retry`, `success`, `skipped`, `deadline`.
    pub const fn name(self) -> &'static str {
        match self {
            Occasion::Failure => "failure",
            Occasion::Retry => "retry",
            Occasion::Success => "success",
            Occasion::Skipped => "skipped",
            Occasion::Deadline => "deadline",
        }
    }

    /// The one of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Occasion> {
        Occasion::ALL.into_iter().find(|occasion| occasion.name() == name)
    }

    /// The option that names whom to tell of it: `on_failure`.
    pub const fn option(self) -> &'static str {
        match self {
            Occasion::Failure => "on_failure",
            Occasion::Retry => "on_retry",
            Occasion::Success => "on_success",
            Occasion::Skipped => "on_skipped",
            Occasion::Deadline => "on_deadline",
        }
    }

    /// What a try that ended so, and left its instance in this state, is an occasion for. Whoever gave its slot back, was
    /// stopped with its run or looks again later has nothing to tell.
    pub fn of_try(outcome: &Outcome, state: TaskState) -> Option<Occasion> {
        use Outcome::{Failed, FailedForGood, Lost};
        match (outcome, state) {
            (Failed | FailedForGood | Lost, TaskState::Failed) => Some(Occasion::Failure),
            (Failed | Lost, TaskState::UpForRetry) => Some(Occasion::Retry),
            (Outcome::Success(_), TaskState::Success) => Some(Occasion::Success),
            (Outcome::Skipped, TaskState::Skipped) => Some(Occasion::Skipped),
            _ => None,
        }
    }

    /// What a run that came to this state is an occasion for.
    pub const fn of_run(state: RunStatus) -> Option<Occasion> {
        match state {
            RunStatus::Failed => Some(Occasion::Failure),
            RunStatus::Success => Some(Occasion::Success),
            RunStatus::Queued | RunStatus::Running => None,
        }
    }
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who is told, as a DAG says it. It holds no secret: an address that is one has a name in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notifier {
    /// The log of the engine.
    Log,
    /// Whoever has this name in the settings of the project.
    Named(String),
    /// Whoever answers at this URL.
    Webhook(String),
    /// A program, with its arguments.
    Command(Vec<String>),
}

impl Notifier {
    /// Whoever has this name in the settings of the project.
    pub fn named(name: impl Into<String>) -> Notifier {
        Notifier::Named(name.into())
    }

    /// Whoever answers at this URL.
    pub fn webhook(url: impl Into<String>) -> Notifier {
        Notifier::Webhook(url.into())
    }

    /// A program, with its arguments.
    pub fn command<T: Into<String>>(argv: impl IntoIterator<Item = T>) -> Notifier {
        Notifier::Command(argv.into_iter().map(Into::into).collect())
    }

    /// Can it be meant?
    ///
    /// # Errors
    /// A sentence: a name that is none, a URL of another scheme than `http` and `https`, no program.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Notifier::Log => Ok(()),
            Notifier::Named(name) => {
                let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
                if !name.is_empty() && name.chars().all(good) {
                    return Ok(());
                }
                let hint = if name.contains("://") { "; a URL is written `webhook(\"..\")`" } else { "" };
                Err(format!("`{name}` cannot name a notifier: letters, digits, `_` and `-` are allowed{hint}"))
            }
            Notifier::Webhook(url) => {
                let host = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
                match host {
                    Some(rest) if !rest.is_empty() && !rest.starts_with('/') && !url.contains(char::is_whitespace) => {
                        Ok(())
                    }
                    _ => Err(format!("a webhook has a URL that begins with `https://` or `http://`, not `{url}`")),
                }
            }
            Notifier::Command(argv) => match argv.first() {
                Some(program) if !program.is_empty() => Ok(()),
                _ => Err("a command has a program: `command(\"notify-send\", \"flow\")`".into()),
            },
        }
    }
}

impl fmt::Display for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notifier::Log => f.write_str("log"),
            Notifier::Named(name) => f.write_str(name),
            Notifier::Webhook(url) => write!(f, "webhook {url}"),
            Notifier::Command(argv) => write!(f, "command {}", argv.join(" ")),
        }
    }
}

/// Who is told of what.
pub type Notifiers = BTreeMap<Occasion, Vec<Notifier>>;

/// By when a run should be done. One that is not goes on; it is told, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// So long after that instant.
    pub after: Duration,
    /// Which instant.
    #[serde(default)]
    pub from: DeadlineFrom,
}

/// The instant from which a [`Deadline`] is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineFrom {
    /// The start of the run.
    #[default]
    Start,
    /// The instant that the run is about; of a run about none, the one from which it might start.
    LogicalDate,
}

impl DeadlineFrom {
    /// The one of this name: `start`, `logical_date`.
    pub fn from_name(name: &str) -> Option<DeadlineFrom> {
        match name {
            "start" => Some(DeadlineFrom::Start),
            "logical_date" => Some(DeadlineFrom::LogicalDate),
            _ => None,
        }
    }
}

impl Deadline {
    /// The instant by which this run, which began at `start`, should be done.
    pub fn of(&self, run: &DagRun, start: DateTime<Utc>) -> DateTime<Utc> {
        let from = match self.from {
            DeadlineFrom::Start => start,
            DeadlineFrom::LogicalDate => run.logical_date.unwrap_or(run.run_after),
        };
        let after = TimeDelta::from_std(self.after).ok();
        after.and_then(|after| from.checked_add_signed(after)).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dag_run::RunType;
    use serde_json::{Map, json};

    #[test]
    fn what_the_end_of_a_try_is_an_occasion_for() {
        use Occasion::{Failure, Retry, Skipped, Success};
        let at = DateTime::UNIX_EPOCH;
        for (outcome, state, told) in [
            (Outcome::Success(Default::default()), TaskState::Success, Some(Success)),
            (Outcome::Failed, TaskState::Failed, Some(Failure)),
            (Outcome::FailedForGood, TaskState::Failed, Some(Failure)),
            (Outcome::Lost, TaskState::Failed, Some(Failure)),
            (Outcome::Failed, TaskState::UpForRetry, Some(Retry)),
            (Outcome::Lost, TaskState::UpForRetry, Some(Retry)),
            (Outcome::Skipped, TaskState::Skipped, Some(Skipped)),
            (Outcome::Rescheduled(at), TaskState::UpForReschedule, None),
            (Outcome::Deferred(None), TaskState::Deferred, None),
            // Its run was stopped; or it took too long in the very moment in which the try failed.
            (Outcome::Returned, TaskState::None, None),
            (Outcome::Failed, TaskState::Skipped, None),
            // A person gave it another state in that moment.
            (Outcome::Failed, TaskState::Success, None),
        ] {
            assert_eq!(Occasion::of_try(&outcome, state), told, "{outcome:?} {state}");
        }
        let of_runs = [RunStatus::Queued, RunStatus::Running, RunStatus::Success, RunStatus::Failed];
        assert_eq!(of_runs.map(Occasion::of_run), [None, None, Some(Success), Some(Failure)]);
    }

    #[test]
    fn names_come_back() {
        assert!(Occasion::ALL.iter().all(|o| Occasion::from_name(o.name()) == Some(*o)));
        assert!(Occasion::ALL.iter().all(|o| o.option() == format!("on_{o}")));
        assert_eq!(Occasion::from_name("on_failure"), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for good in
            [Notifier::Log, Notifier::named("ops-2"), Notifier::webhook("http://h"), Notifier::command(["sh", ""])]
        {
            assert_eq!(good.check(), Ok(()), "{good}");
        }
        for (bad, said) in [
            (Notifier::named(""), "cannot name a notifier"),
            (Notifier::named("https://h/x"), "a URL is written `webhook(\"..\")`"),
            (Notifier::webhook("ftp://h"), "begins with `https://`"),
            (Notifier::webhook("https:///x"), "begins with `https://`"),
            (Notifier::command([""; 1]), "has a program"),
            (Notifier::Command(Vec::new()), "has a program"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn notifiers_are_short_in_json() {
        let to = vec![Notifier::Log, Notifier::named("ops"), Notifier::webhook("https://h"), Notifier::command(["sh"])];
        let notifiers = Notifiers::from([(Occasion::Failure, to)]);
        let text = json!({"failure": ["log", {"named": "ops"}, {"webhook": "https://h"}, {"command": ["sh"]}]});
        assert_eq!(serde_json::to_value(&notifiers).unwrap(), text);
    }

    #[test]
    fn a_deadline_is_counted_from_its_instant() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let mut run = DagRun {
            dag_id: "d".into(),
            run_id: "r".into(),
            run_type: RunType::Manual,
            state: RunStatus::Running,
            logical_date: Some(at(100)),
            data_interval: None,
            run_after: at(200),
            start_date: None,
            end_date: None,
            conf: Map::new(),
        };
        let by = |from| Deadline { after: Duration::from_secs(5), from };
        assert_eq!(by(DeadlineFrom::Start).of(&run, at(300)), at(305));
        assert_eq!(by(DeadlineFrom::LogicalDate).of(&run, at(300)), at(105));
        run.logical_date = None;
        assert_eq!(by(DeadlineFrom::LogicalDate).of(&run, at(300)), at(205));
        let never = Deadline { after: Duration::MAX, from: DeadlineFrom::Start };
        assert_eq!(never.of(&run, at(300)), DateTime::<Utc>::MAX_UTC);
    }
}
