//! Waiting for something to happen: a try ends, a retry is due, somebody asks to stop, the run takes too long.

use super::isolated;
use super::outcome::TryEnd;
use super::panic::Panicked;
use super::run_loop::{BATCH, Happened, RunLoop};
use crate::store::CauseKind;
use flow_core::{Event, Outcome};
use std::time::Duration;
use tokio::task::JoinError;
use tokio::time::Instant;

/// Longest sleep; then the clock is asked again.
const NAP: Duration = Duration::from_secs(3600);

impl RunLoop {
    /// Waits until something happened that the planner should hear of.
    pub(super) async fn gather(&mut self) -> Happened {
        let idle = self.flights.is_empty() && !self.stop.graceful.is_cancelled() && !self.stop.at_once.is_cancelled();
        if idle && self.wake_at.is_some_and(|at| self.scope.engine.clock.skip_to(at)) {
            return Happened::default();
        }
        loop {
            let alarm = self.alarm();
            tokio::select! {
                biased;
                () = self.stop.at_once.cancelled(), if self.patience.is_none_or(|p| p > Instant::now()) => {
                    self.stopping = true;
                    return self.drop_flights();
                }
                () = self.stop.graceful.cancelled(), if !self.stopping => self.ask_to_stop(),
                Some(ended) = self.tries.join_next() => {
                    let happened = self.ended(ended).await;
                    if !happened.ends.is_empty() {
                        return happened;
                    }
                }
                () = self.queue.freed(), if !self.stopping && self.queue.waits() => return Happened::default(),
                () = tokio::time::sleep_until(alarm) => return self.rang(),
                // Last, and a bounded number of them: a task that logs without end holds nobody up.
                Some(hint) = self.hints.recv() => {
                    (self.observer)(&hint);
                    self.pass_hints();
                }
            }
            if self.stopping && self.flights.is_empty() {
                return Happened::default();
            }
        }
    }

    /// When to look again, whatever happens.
    fn alarm(&self) -> Instant {
        let now = Instant::now();
        let retry = self.wake_at.filter(|_| !self.stopping);
        let retry = retry.map(|at| now + self.scope.engine.clock.until(at).min(NAP));
        let timeout = self.timeouts.first().map(|(at, _)| *at);
        [Some(now + NAP), retry, timeout, self.deadline, self.patience].into_iter().flatten().min().unwrap_or(now)
    }

    fn rang(&mut self) -> Happened {
        let now = Instant::now();
        if self.patience.is_some_and(|at| at <= now) {
            return self.drop_flights();
        }
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            return Happened { events: vec![Event::RunTimedOut], ..Happened::default() };
        }
        Happened { ends: self.time_out(now), events: Vec::new() }
    }

    /// Drops the bodies that took too long. Their tries end when they are gone; a body that blocks the thread it is on, and
    /// so cannot be dropped, is left behind after its grace. One with a process of its own is told, and killed after its
    /// grace.
    fn time_out(&mut self, now: Instant) -> Vec<TryEnd> {
        let grace = self.scope.engine.settings.grace;
        let mut given_up = Vec::new();
        while let Some(&(at, of)) = self.timeouts.first().filter(|(at, _)| *at <= now) {
            self.timeouts.remove(&(at, of));
            let Some(flight) = self.flights.get_mut(&of) else { continue };
            if let Some(end) = flight.ending.take() {
                // Of one with a process of its own that ends the process, before another try begins.
                flight.abort.abort();
                given_up.push(end);
                continue;
            }
            let timeout = self.scope.dag.tasks[of.key.task as usize].timeout.unwrap_or_default();
            let end = TryEnd::timed_out(of, timeout);
            flight.log.close(end.cause.as_ref());
            flight.ending = Some(end);
            flight.cancel.cancel();
            if !flight.isolated {
                flight.abort.abort();
            }
            let rest = if flight.isolated { grace + isolated::SLACK * 2 } else { grace };
            flight.times_out = now.checked_add(rest);
            self.timeouts.extend(flight.times_out.map(|at| (at, of)));
        }
        given_up
    }

    /// This end, and all others that are there.
    async fn ended(&mut self, first: Result<TryEnd, JoinError>) -> Happened {
        let mut happened = Happened::default();
        happened.ends.extend(self.taken_in(first));
        // Whoever is about to end gets the chance to share the commit.
        tokio::task::yield_now().await;
        while happened.ends.len() < BATCH
            && let Some(next) = self.tries.try_join_next()
        {
            happened.ends.extend(self.taken_in(next));
        }
        happened
    }

    fn taken_in(&mut self, ended: Result<TryEnd, JoinError>) -> Option<TryEnd> {
        let end = match ended {
            // Its log says already that it took too long.
            Ok(end) => self.flights.get_mut(&end.of).and_then(|flight| flight.ending.take()).unwrap_or(end),
            Err(error) => {
                // Dropped by us, or it panicked while it was dropped.
                let (of, flight) = self.flights.iter_mut().find(|(_, f)| f.abort.id() == error.id())?;
                if let Some(end) = flight.ending.take() {
                    return Some(end);
                }
                let end = TryEnd::panicked(
                    *of,
                    Panicked { message: "the task panicked as it was dropped".into(), place: None },
                );
                flight.log.close(end.cause.as_ref());
                end
            }
        };
        let gave_up = self.stopping
            && matches!(end.outcome, Outcome::Failed | Outcome::FailedForGood)
            && end.cause.as_ref().is_some_and(|c| c.kind == CauseKind::Error);
        // It was told to end, and an error is how it did.
        Some(if gave_up { TryEnd::returned(end.of) } else { end })
    }

    /// Tells every try to end.
    fn ask_to_stop(&mut self) {
        self.stopping = true;
        self.flights.values().for_each(|flight| flight.cancel.cancel());
        self.be_patient();
    }

    /// From now on tries that were told to end have their grace.
    pub(super) fn be_patient(&mut self) {
        self.patience = self.patience.or_else(|| Instant::now().checked_add(self.scope.engine.settings.grace));
    }

    /// Drops every try that still runs.
    fn drop_flights(&mut self) -> Happened {
        self.patience = None;
        let mut ends: Vec<TryEnd> = Vec::with_capacity(self.flights.len());
        for (of, flight) in &self.flights {
            flight.cancel.cancel();
            flight.abort.abort();
            let end = TryEnd::returned(*of);
            flight.log.close(end.cause.as_ref());
            ends.push(end);
        }
        ends.sort_by_key(|end| end.of);
        Happened { ends, events: Vec::new() }
    }
}
