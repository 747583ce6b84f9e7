//! Whom to tell, as constants: what `#[task(on_failure = ..)]` expands to.

use flow_core::{Notifier, Notifiers, Occasion};

/// A [`Notifier`] that can stand in a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifierSpec {
    /// The log of the engine.
    Log,
    /// Whoever has this name in the settings of the project.
    Named(&'static str),
    /// Whoever answers at this URL.
    Webhook(&'static str),
    /// A program, with its arguments.
    Command(&'static [&'static str]),
}

impl From<NotifierSpec> for Notifier {
    fn from(spec: NotifierSpec) -> Notifier {
        match spec {
            NotifierSpec::Log => Notifier::Log,
            NotifierSpec::Named(name) => Notifier::named(name),
            NotifierSpec::Webhook(url) => Notifier::webhook(url),
            NotifierSpec::Command(argv) => Notifier::command(argv.iter().copied()),
        }
    }
}

/// Whom a task tells of what; what is `None` comes from the DAG's default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NotifyOptions {
    /// When it has failed for good.
    pub on_failure: Option<&'static [NotifierSpec]>,
    /// When a try has failed, and another follows.
    pub on_retry: Option<&'static [NotifierSpec]>,
    /// When it has succeeded.
    pub on_success: Option<&'static [NotifierSpec]>,
    /// When it asks to be skipped.
    pub on_skipped: Option<&'static [NotifierSpec]>,
}

impl NotifyOptions {
    /// Nothing given. (`Default`, for constants.)
    pub const NONE: NotifyOptions =
        NotifyOptions { on_failure: None, on_retry: None, on_success: None, on_skipped: None };

    /// These, and for what is not given here, those.
    pub(crate) fn or(&self, otherwise: &NotifyOptions) -> NotifyOptions {
        NotifyOptions {
            on_failure: self.on_failure.or(otherwise.on_failure),
            on_retry: self.on_retry.or(otherwise.on_retry),
            on_success: self.on_success.or(otherwise.on_success),
            on_skipped: self.on_skipped.or(otherwise.on_skipped),
        }
    }

    /// As a DAG holds them.
    pub(crate) fn notifiers(&self) -> Notifiers {
        let given = [
            (Occasion::Failure, self.on_failure),
            (Occasion::Retry, self.on_retry),
            (Occasion::Success, self.on_success),
            (Occasion::Skipped, self.on_skipped),
        ];
        let list = |to: &[NotifierSpec]| to.iter().map(|&spec| spec.into()).collect::<Vec<Notifier>>();
        given
            .into_iter()
            .filter_map(|(occasion, to)| Some((occasion, list(to?))))
            .filter(|(_, to)| !to.is_empty())
            .collect()
    }
}
