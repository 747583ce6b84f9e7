//! One DAG of a scheduler: what it owes next.

use crate::store::{RunPk, StoredRun};
use crate::timetable::{self, TimetableError};
use chrono::{DateTime, Utc};
use flow_core::dag_run::DataInterval;
use flow_core::{AssetExpr, Dag, NextRun, Restriction, Schedule, Timetable};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A DAG that is to run by itself.
#[derive(Debug, Clone)]
pub struct ScheduledDag {
    /// The DAG.
    pub dag: Arc<Dag>,
    /// The params of its runs, its secrets among them; or why it has none (one is missing, and nobody is there to give it).
    pub params: Result<Map<String, Value>, String>,
}

/// What the timetable answered.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// It must be asked.
    Unasked,
    /// There will be no run any more.
    Never,
    /// This run, once it is due. It is kept until the run is made, for a later answer may be another.
    Next(NextRun),
}

#[derive(Debug)]
pub(super) struct Owned {
    of: ScheduledDag,
    timetable: Box<dyn Timetable>,
    restriction: Restriction,
    is_paused: bool,
    answer: Answer,
    /// The data interval of the latest run that was made, or was there already.
    reached: Option<DataInterval>,
    /// The latest run that was made here was one for assets.
    made_for_assets: bool,
    /// The latest run that a timetable had made when it was asked; only as long as it is that, the answer holds.
    latest: Option<RunPk>,
}

impl Owned {
    pub(super) fn new(of: ScheduledDag) -> Result<Owned, TimetableError> {
        Ok(Owned {
            timetable: timetable::of(&of.dag)?,
            restriction: Restriction::of(&of.dag),
            of,
            is_paused: false,
            answer: Answer::Unasked,
            reached: None,
            made_for_assets: false,
            latest: None,
        })
    }

    pub(super) fn of(&self) -> &ScheduledDag {
        &self.of
    }

    pub(super) fn dag(&self) -> &Arc<Dag> {
        &self.of.dag
    }

    pub(super) fn params(&self) -> Result<&Map<String, Value>, &String> {
        self.of.params.as_ref()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The assets that it waits for.
    pub(super) fn waits_for(&self) -> Option<&AssetExpr> {
        self.of.dag.schedule.as_ref().and_then(Schedule::waits_for)
    }

    /// May a run of it begin now, with so many under way, whatever it is made for?
    pub(super) fn may_begin(&self, active: u32, now: DateTime<Utc>) -> bool {
        let bounds = &self.restriction;
        let in_its_time =
            bounds.earliest.is_none_or(|earliest| earliest <= now) && bounds.latest.is_none_or(|latest| now <= latest);
        in_its_time && !self.is_paused && active < self.of.dag.max_active_runs
    }

    pub(super) fn pause(&mut self, paused: bool) {
        self.is_paused = paused;
        if paused {
            // What it owes when it goes on is another question.
            self.answer = Answer::Unasked;
        }
    }

    /// Was the latest run that was made here one for assets?
    pub(super) fn was_made_for_assets(&self) -> bool {
        self.made_for_assets
    }

    /// A run is made, for assets or for a tick.
    pub(super) fn is_made_for_assets(&mut self, is_so: bool) {
        self.made_for_assets = is_so;
    }

    /// Is it unknown what comes next, and can the timetable tell while so many runs are active?
    pub(super) fn has_to_ask(&self, active: u32) -> bool {
        matches!(self.answer, Answer::Unasked) && (active == 0 || self.timetable.foresees())
    }

    /// Asks the timetable; `last` is the latest run that it made.
    pub(super) fn ask_after(&mut self, last: Option<&StoredRun>, now: DateTime<Utc>) {
        self.latest = last.map(|run| run.pk);
        self.ask(last.and_then(|run| run.run.data_interval), now);
    }

    /// The latest run that a timetable had made when it was asked.
    pub(super) fn latest(&self) -> Option<RunPk> {
        self.latest
    }

    /// Somebody else has made a run since, or the latest is there no more: the answer is another by now. What is in the store
    /// counts, and not what this scheduler has seen there: after a fail-over runs may be lost that were made before.
    pub(super) fn was_overtaken(&mut self) {
        self.answer = Answer::Unasked;
        self.reached = None;
    }

    /// How many unfinished runs there may be at one time. One after the other, where the next is not known before the one
    /// before has ended.
    pub(super) fn most(&self) -> u32 {
        if self.timetable.foresees() { self.of.dag.max_active_runs } else { 1 }
    }

    fn ask(&mut self, last: Option<DataInterval>, now: DateTime<Utc>) {
        // A date that somebody else has a run of is in the past as well.
        let last = last.into_iter().chain(self.reached).max_by_key(|interval| interval.end);
        let next = self.timetable.next(last, &self.restriction, now);
        self.answer = next.map_or(Answer::Never, Answer::Next);
    }

    /// The run that is to be made now, while so many are active; else when one will be due, if that is known.
    pub(super) fn due(&self, active: u32, now: DateTime<Utc>) -> Result<NextRun, Option<DateTime<Utc>>> {
        let Answer::Next(run) = self.answer else { return Err(None) };
        if active >= self.most() {
            return Err(None);
        }
        if run.run_after > now { Err(Some(run.run_after)) } else { Ok(run) }
    }

    /// That run is in the store (under this number, if it was made here), or never will be.
    pub(super) fn was_made(&mut self, run: NextRun, made: Option<RunPk>, now: DateTime<Utc>) {
        self.reached = Some(run.data_interval);
        self.latest = made.or(self.latest);
        if self.timetable.foresees() {
            self.ask(Some(run.data_interval), now);
        } else {
            self.answer = Answer::Unasked;
        }
    }

    /// Where that decides what comes next, it is asked for anew.
    pub(super) fn a_run_has_ended(&mut self) {
        if !self.timetable.foresees() {
            self.answer = Answer::Unasked;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_core::Schedule;

    #[test]
    fn ticks_that_a_fail_over_has_lost_are_due_again() {
        let now: DateTime<Utc> = "2026-01-05T12:00:00Z".parse().unwrap();
        let mut dag = Dag::new("daily");
        dag.schedule = Some(Schedule::parse("@daily").unwrap());
        dag.start_date = Some("2026-01-01T00:00:00Z".parse().unwrap());
        dag.catchup = true;
        let mut owned = Owned::new(ScheduledDag { dag: Arc::new(dag), params: Ok(Map::new()) }).unwrap();
        owned.ask_after(None, now);
        let first = owned.due(0, now).unwrap();
        for number in 1..4 {
            let run = owned.due(0, now).unwrap();
            owned.was_made(run, Some(RunPk(number)), now);
        }
        assert!(owned.due(0, now).unwrap().logical_date > first.logical_date);
        // The store says that the latest is another: it has been put back to before the first.
        owned.was_overtaken();
        assert!(owned.has_to_ask(0));
        owned.ask_after(None, now);
        assert_eq!(owned.due(0, now), Ok(first));
    }
}
