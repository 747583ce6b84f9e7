//! Waiting for something to happen: a try ends, a retry is due, somebody asks to stop, the run takes too long.

use super::isolated;
use super::orders;
use super::outcome::TryEnd;
use super::panic::Panicked;
use super::run_loop::{BATCH, Flight, Happened, RunLoop};
use crate::store::CauseKind;
use chrono::{DateTime, TimeDelta, Utc};
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
        // Before time is left out, it is asked whether an event is there.
        let wake_at = self.wake_at.into_iter().chain(self.queue.due()).min().filter(|_| !self.awaited.is_pending());
        let wake_at = wake_at.map(|at| self.owed.deadline().map_or(at, |deadline| deadline.min(at)));
        if idle && let Some(happened) = wake_at.and_then(|at| self.skip_to(at)) {
            return happened;
        }
        loop {
            let alarm = self.alarm();
            tokio::select! {
                biased;
                () = self.stop.at_once.cancelled(), if self.patience.is_none_or(|p| p > Instant::now()) => {
                    self.stopping = true;
                    self.queue.close();
                    return self.drop_all();
                }
                () = self.stop.graceful.cancelled(), if !self.stopping => self.ask_to_stop(),
                // Seldom, and so before the ends of tries: where one has always ended since, nothing behind them is heard.
                () = tokio::time::sleep_until(alarm) => return self.rang(),
                () = self.awaited.is_time(), if !self.stopping => {
                    if let Some(woken) = self.awaited.ask(&*self.scope.engine.store).await {
                        return Happened { events: vec![woken], ..Happened::default() };
                    }
                    if self.awaited.has_gone_unheard(&*self.scope.engine.clock) {
                        return Happened::default();
                    }
                }
                () = tokio::time::sleep_until(self.orders.0), if !self.stopping => {
                    let ordered = self.ordered().await;
                    if !ordered.events.is_empty() {
                        return ordered;
                    }
                }
                Some(ended) = self.tries.join_next() => {
                    let happened = self.ended(ended).await;
                    if !happened.ends.is_empty() {
                        return happened;
                    }
                }
                () = self.queue.dealt(), if !self.stopping => return Happened::default(),
                () = self.past.news(), if !self.stopping => return Happened::default(),
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

    /// Leaves out the time until this instant, if its clock does so; that goes by of the time which the run may take, too.
    fn skip_to(&mut self, at: DateTime<Utc>) -> Option<Happened> {
        let clock = &self.scope.engine.clock;
        let (wait, now) = (clock.until(at), Instant::now());
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(now));
        let is_late = left.is_some_and(|left| left < wait);
        let first = left.filter(|_| is_late).and_then(|left| TimeDelta::from_std(left).ok());
        if !clock.skip_to(first.map_or(at, |left| clock.now() + left)) {
            return None;
        }
        // What is left of it begins now.
        self.deadline = left.and_then(|left| now.checked_add(left.saturating_sub(wait)));
        Some(if is_late { self.ran_out() } else { Happened::default() })
    }

    /// What people want of this run.
    async fn ordered(&mut self) -> Happened {
        let engine = &self.scope.engine;
        self.orders.0 = Instant::now() + orders::POLL;
        match engine.orders.of(&*engine.store, self.scope.pk, &mut self.orders.1).await {
            Ok(found) => {
                let settled = found.iter().map(|order| order.id).collect();
                let events = found.into_iter().map(|order| order.event).collect();
                Happened { events, settled, ..Happened::default() }
            }
            Err(error) => {
                tracing::warn!("orders cannot be asked for, and are later: {error}");
                Happened::default()
            }
        }
    }

    /// When to look again, whatever happens.
    fn alarm(&self) -> Instant {
        let now = Instant::now();
        let retry = self.wake_at.into_iter().chain(self.queue.due()).min().filter(|_| !self.stopping);
        let retry = retry.map(|at| now + self.scope.engine.clock.until(at).min(NAP));
        let told_late = self.owed.deadline().filter(|_| !self.stopping);
        let told_late = told_late.map(|at| now + self.scope.engine.clock.until(at).min(NAP));
        let timeout = self.timeouts.first().map(|(at, _)| *at);
        let past = self.past.alarm().filter(|_| !self.stopping);
        let unnamed = self.unnamed.alarm().filter(|_| !self.stopping);
        let all = [Some(now + NAP), retry, told_late, timeout, past, unnamed, self.deadline, self.patience];
        all.into_iter().flatten().min().unwrap_or(now)
    }

    fn rang(&mut self) -> Happened {
        let now = Instant::now();
        if self.patience.is_some_and(|at| at <= now) {
            return self.drop_cancelled(false);
        }
        if self.deadline.is_some_and(|at| at <= now) {
            return self.ran_out();
        }
        Happened { ends: self.time_out(now), ..Happened::default() }
    }

    /// The run has taken too long.
    fn ran_out(&mut self) -> Happened {
        self.deadline = None;
        Happened { events: vec![Event::RunTimedOut], ..Happened::default() }
    }

    /// Drops the bodies that took too long. Their tries end when they are gone; a body that blocks the thread it is on, and
    /// so cannot be dropped, is left behind after its grace. One with a process of its own is told, and killed after its
    /// grace.
    fn time_out(&mut self, now: Instant) -> Vec<TryEnd> {
        let grace = self.scope.engine.settings.grace;
        let mut given_up = Vec::new();
        while let Some(&(at, of)) = self.timeouts.first().filter(|(at, _)| *at <= now) {
            self.timeouts.remove(&(at, of));
            // Of one that is done the end is on its way.
            let Some(flight) = self.flights.get_mut(&of).filter(|flight| !flight.abort.is_finished()) else { continue };
            if let Some(end) = flight.ending.take() {
                // Of one with a process of its own that ends the process, before another try begins.
                flight.abort.abort();
                given_up.push(end);
                continue;
            }
            let task = &self.scope.dag.tasks[of.key.task as usize];
            let end = match &task.sensor {
                Some(policy) => TryEnd::in_vain(of, policy),
                None => TryEnd::timed_out(of, task.timeout.unwrap_or_default()),
            };
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
        self.queue.close();
        self.flights.values().for_each(|flight| flight.cancel.cancel());
        self.be_patient();
    }

    /// From now on tries that were told to end have their grace, those that were told before a little more.
    pub(super) fn be_patient(&mut self) {
        self.patience = Instant::now().checked_add(self.scope.engine.settings.grace);
    }

    /// Drops every try that still runs.
    fn drop_all(&mut self) -> Happened {
        self.flights.values().for_each(|flight| flight.cancel.cancel());
        self.drop_cancelled(true)
    }

    /// Drops every try that was told to end and still runs; those that took too long have an end of their own. With
    /// `at_once` also those that are done, and whose ends are on their way.
    fn drop_cancelled(&mut self, at_once: bool) -> Happened {
        self.patience = None;
        let mut ends: Vec<TryEnd> = Vec::with_capacity(self.flights.len());
        let told = |flight: &Flight| {
            let is_under_way = at_once || !flight.abort.is_finished();
            is_under_way && flight.cancel.is_cancelled() && (self.stopping || flight.ending.is_none())
        };
        for (of, flight) in self.flights.iter().filter(|(_, flight)| told(flight)) {
            flight.abort.abort();
            let end = TryEnd::returned(*of);
            flight.log.close(end.cause.as_ref());
            ends.push(end);
        }
        ends.sort_by_key(|end| end.of);
        Happened { ends, ..Happened::default() }
    }
}
