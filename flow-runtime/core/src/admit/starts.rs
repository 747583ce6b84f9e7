//! When tries with one key were started: what a rate goes by.

use crate::dag::Rate;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::VecDeque;
use std::time::Duration;

/// The latest starts of a key are kept whatever their age: who comes with a longer span than anybody before asks about them.
const LATEST: usize = 128;

/// The starts of one key, as far back as they matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Starts {
    /// Those that are about to be: each counts as if it were now.
    promised: u32,
    /// The longest span that somebody asks about.
    longest: Duration,
    /// The earliest first.
    at: VecDeque<DateTime<Utc>>,
}

impl Starts {
    /// One more will start.
    pub(super) fn promise(&mut self, rate: &Rate) {
        self.promised = self.promised.saturating_add(1);
        self.longest = self.longest.max(rate.span);
    }

    /// One will not start after all.
    pub(super) fn break_promise(&mut self) {
        self.promised = self.promised.saturating_sub(1);
    }

    /// One has started.
    pub(super) fn keep(&mut self, now: DateTime<Utc>) {
        self.break_promise();
        while self.at.len() >= LATEST && self.at.front().is_some_and(|at| after(*at, self.longest) <= now) {
            self.at.pop_front();
        }
        // A clock may be set back; the order holds all the same.
        let now = self.at.back().map_or(now, |last| now.max(*last));
        self.at.push_back(now);
    }

    /// The clock may have been set back: what seems to be in the future was before now, but nobody knows how long.
    pub(super) fn no_later_than(&mut self, now: DateTime<Utc>) {
        self.at.iter_mut().rev().take_while(|at| **at > now).for_each(|at| *at = now);
    }

    /// Does it still count for anything?
    pub(super) fn matter(&self, now: DateTime<Utc>) -> bool {
        self.promised > 0 || self.at.back().is_some_and(|at| after(*at, self.longest) > now)
    }

    /// When the next may start under this rate; `None` if it may now.
    pub(super) fn due(&self, rate: &Rate, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let first = self.at.partition_point(|at| after(*at, rate.span) <= now);
        let counted = self.at.len() - first + self.promised as usize;
        let over = (counted + 1).checked_sub(rate.starts as usize).filter(|over| *over > 0)?;
        // So many of them must be out of the span; what is only promised is so a span from now at the earliest.
        Some(after(self.at.get(first + over - 1).copied().unwrap_or(now), rate.span))
    }
}

/// So long after an instant, or the last instant there is.
fn after(at: DateTime<Utc>, span: Duration) -> DateTime<Utc> {
    let span = TimeDelta::from_std(span).ok();
    span.and_then(|span| at.checked_add_signed(span)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(starts: u32, millis: u64) -> Rate {
        Rate { starts, span: Duration::from_millis(millis), key: "k".into() }
    }

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis)
    }

    fn started(rate: &Rate, times: impl IntoIterator<Item = i64>) -> Starts {
        let mut starts = Starts::default();
        for time in times {
            starts.promise(rate);
            starts.keep(at(time));
        }
        starts
    }

    #[test]
    fn who_comes_later_with_a_longer_span_sees_what_was_over_for_those_before() {
        let starts = started(&rate(1, 300), [0, 300]);
        assert_eq!(starts.due(&rate(2, 400), at(300)), Some(at(400)));
        assert_eq!(starts.due(&rate(3, 400), at(300)), None);
    }

    #[test]
    fn years_of_starts_are_not_kept() {
        let starts = started(&rate(1, 1), 0..100_000);
        assert_eq!(starts.at.len(), LATEST);
        let starts = started(&rate(1, 1_000), 0..100_000);
        assert_eq!(starts.at.len(), 1_000, "all that are within the span");
    }
}
