//! Colours and glyphs: one place, so that a state looks the same everywhere.

use console::Style;
use flow_core::{RunStatus, TaskState};
use std::fmt::Display;

/// Paints, or leaves as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, style: Style, text: impl Display) -> String {
        style.force_styling(self.0).apply_to(text).to_string()
    }

    /// What went well.
    pub fn good(self, text: impl Display) -> String {
        self.with(Style::new().green(), text)
    }

    /// What went wrong.
    pub fn bad(self, text: impl Display) -> String {
        self.with(Style::new().red().bold(), text)
    }

    /// What goes on.
    pub fn busy(self, text: impl Display) -> String {
        self.with(Style::new().cyan(), text)
    }

    /// What to look at.
    pub fn warn(self, text: impl Display) -> String {
        self.with(Style::new().yellow(), text)
    }

    /// What matters less.
    pub fn dim(self, text: impl Display) -> String {
        self.with(Style::new().dim(), text)
    }

    /// What matters more.
    pub fn bold(self, text: impl Display) -> String {
        self.with(Style::new().bold(), text)
    }

    /// A text in the colour of a task's state.
    pub fn task(self, state: TaskState, text: impl Display) -> String {
        use TaskState::*;
        match state {
            Success => self.good(text),
            Failed => self.bad(text),
            Running | Queued | Restarting => self.busy(text),
            UpForRetry | UpForReschedule | Deferred | AwaitingInput | UpstreamFailed => self.warn(text),
            None | Scheduled | Skipped | Removed => self.dim(text),
        }
    }

    /// A text in the colour of a run's state.
    pub fn run(self, state: RunStatus, text: impl Display) -> String {
        match state {
            RunStatus::Success => self.good(text),
            RunStatus::Failed => self.bad(text),
            RunStatus::Running => self.busy(text),
            RunStatus::Queued => self.dim(text),
        }
    }
}

/// One column wide each.
pub const fn glyph(state: TaskState) -> &'static str {
    use TaskState::*;
    match state {
        None => "·",
        Scheduled | Queued => "◦",
        Running | Restarting => "▸",
        Success => "✔",
        Failed => "✘",
        UpForRetry | UpForReschedule => "↻",
        Deferred | AwaitingInput => "⏸",
        Skipped => "↷",
        UpstreamFailed => "⊘",
        Removed => "-",
    }
}

/// The turning glyph of what runs, at this many tenths of a second.
pub const fn spinner(tenths: u128) -> &'static str {
    const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
    FRAMES[(tenths % 10) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glyphs_are_one_column_wide() {
        for state in TaskState::ALL {
            assert_eq!(console::measure_text_width(glyph(state)), 1, "{state}");
        }
    }

    #[test]
    fn paint_is_ansi_or_nothing() {
        assert_eq!(Paint(false).bad("x"), "x");
        assert!(Paint(true).bad("x").starts_with("\u{1b}["));
    }
}
