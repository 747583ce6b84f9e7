//! Whom a DAG and its tasks tell, while it is built.

use super::draft::Draft;
use super::{DagBuilder, IntoDuration, Node};
use crate::secret;
use flow_core::{Deadline, DeadlineFrom, Notifier, Occasion};
use serde_json::Value;
use std::time::Duration;

/// What was said of a deadline so far.
#[derive(Debug, Default)]
pub(super) struct DeadlineDraft {
    after: Option<Duration>,
    from: Option<DeadlineFrom>,
}

impl DagBuilder {
    /// Tells these of every run that fails; once more, these too.
    pub fn on_failure<T: Into<Notifier>>(self, to: impl IntoIterator<Item = T>) -> Self {
        self.tell(Occasion::Failure, to)
    }

    /// Tells these of every run that succeeds; once more, these too.
    pub fn on_success<T: Into<Notifier>>(self, to: impl IntoIterator<Item = T>) -> Self {
        self.tell(Occasion::Success, to)
    }

    /// Tells these of every run that is not done by its [`deadline`](DagBuilder::deadline); once more, these too.
    pub fn on_deadline<T: Into<Notifier>>(self, to: impl IntoIterator<Item = T>) -> Self {
        self.tell(Occasion::Deadline, to)
    }

    /// A run should be done so long after its start. One that is not goes on, and whoever
    /// [`on_deadline`](DagBuilder::on_deadline) names is told, once.
    pub fn deadline(mut self, after: impl IntoDuration) -> Self {
        self.deadline.after = self.or_problem("deadline", after.into_duration());
        self
    }

    /// Counts the deadline from another instant: `"start"` (the default) or `"logical_date"`, what the run is about.
    pub fn deadline_from(mut self, from: &str) -> Self {
        let found = DeadlineFrom::from_name(from).ok_or(format!("`{from}` is neither `start` nor `logical_date`"));
        self.deadline.from = self.or_problem("deadline_from", found);
        self
    }

    fn tell<T: Into<Notifier>>(mut self, occasion: Occasion, to: impl IntoIterator<Item = T>) -> Self {
        self.dag.notify.entry(occasion).or_default().extend(to.into_iter().map(Into::into));
        self
    }

    /// A deadline of which nobody hears, or one that nobody has set, is a mistake.
    pub(super) fn settle_deadline(&mut self) {
        let DeadlineDraft { after, from } = std::mem::take(&mut self.deadline);
        self.dag.deadline = after.map(|after| Deadline { after, from: from.unwrap_or_default() });
        let is_told = self.dag.notify.contains_key(&Occasion::Deadline);
        let sentence = match after {
            Some(_) if !is_told => "it has a deadline, and nobody is told of it: say whom by `on_deadline`",
            None if is_told => "it has `on_deadline`, and no deadline: say by when by `deadline = \"2h\"`",
            None if from.is_some() => "it has `deadline_from`, and no deadline: say by when by `deadline = \"2h\"`",
            _ => return,
        };
        self.problems.push(sentence.into());
    }
}

impl<T> Node<T> {
    /// Tells these, and no others, when it has failed for good.
    #[track_caller]
    pub fn on_failure<N: Into<Notifier>>(self, to: impl IntoIterator<Item = N>) -> Self {
        self.tell(Occasion::Failure, to)
    }

    /// Tells these, and no others, when a try has failed and another follows.
    #[track_caller]
    pub fn on_retry<N: Into<Notifier>>(self, to: impl IntoIterator<Item = N>) -> Self {
        self.tell(Occasion::Retry, to)
    }

    /// Tells these, and no others, when it has succeeded.
    #[track_caller]
    pub fn on_success<N: Into<Notifier>>(self, to: impl IntoIterator<Item = N>) -> Self {
        self.tell(Occasion::Success, to)
    }

    /// Tells these, and no others, when it asks to be skipped.
    #[track_caller]
    pub fn on_skipped<N: Into<Notifier>>(self, to: impl IntoIterator<Item = N>) -> Self {
        self.tell(Occasion::Skipped, to)
    }

    #[track_caller]
    fn tell<N: Into<Notifier>>(self, occasion: Occasion, to: impl IntoIterator<Item = N>) -> Self {
        let to: Vec<Notifier> = to.into_iter().map(Into::into).collect();
        self.edit(|task| {
            // An empty list takes away what a default of the DAG says.
            match to.is_empty() {
                true => drop(task.notify.remove(&occasion)),
                false => drop(task.notify.insert(occasion, to)),
            }
        })
    }
}

impl Draft {
    /// Everybody who is to be told can be meant; and a DAG is stored and shown as it is, so no password stands in it.
    pub(super) fn check_notifiers(&mut self) {
        let of_dag = wrong(&self.dag.notify).into_iter().map(|why| (None, why));
        let of_tasks = (0..).zip(&self.dag.tasks).flat_map(|(ix, task)| {
            let of_task = move |why| (Some(ix), format!("task `{}`: {why}", task.task_id));
            wrong(&task.notify).into_iter().map(of_task)
        });
        for (task, sentence) in of_dag.chain(of_tasks).collect::<Vec<_>>() {
            match task {
                Some(ix) => self.problem_of(ix, sentence),
                None => self.problems.push(sentence),
            }
        }
    }
}

fn wrong(notifiers: &flow_core::Notifiers) -> Vec<String> {
    let all = notifiers.iter().flat_map(|(occasion, to)| to.iter().map(move |to| (occasion, to)));
    let problem = |(occasion, to): (&Occasion, &Notifier)| {
        let texts = match to {
            Notifier::Webhook(url) => vec![url],
            Notifier::Command(argv) => argv.iter().collect(),
            Notifier::Log | Notifier::Named(_) => Vec::new(),
        };
        let holds_password = texts.into_iter().any(|text| secret::holds_password(&Value::String(text.clone())));
        let why = if holds_password {
            "holds a password: give it a name in `[notifiers]` of flow.toml, and write the name here".into()
        } else {
            to.check().err()?
        };
        Some(format!("{}: {why}", occasion.option()))
    };
    all.filter_map(problem).collect()
}
