//! One DAG of a scheduler: what it owes next.

use chrono::{DateTime, Utc};
use flow_core::dag_run::DataInterval;
use flow_core::timetable::{self, TimetableError};
use flow_core::{Dag, NextRun, Restriction, Timetable};
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
        })
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

    pub(super) fn pause(&mut self, paused: bool) {
        self.is_paused = paused;
        if paused {
            // What it owes when it goes on is another question.
            self.answer = Answer::Unasked;
        }
    }

    /// Is it unknown what comes next, and can the timetable tell while so many runs are active?
    pub(super) fn has_to_ask(&self, active: u32) -> bool {
        matches!(self.answer, Answer::Unasked) && (active == 0 || self.timetable.foresees())
    }

    /// Asks the timetable; `last` is the data interval of the latest run that it made.
    pub(super) fn ask(&mut self, last: Option<DataInterval>, now: DateTime<Utc>) {
        // A date that somebody else has a run of is in the past as well.
        let last = last.into_iter().chain(self.reached).max_by_key(|interval| interval.end);
        let next = self.timetable.next(last, &self.restriction, now);
        self.answer = next.map_or(Answer::Never, Answer::Next);
    }

    /// The run that is to be made now, while so many are active; else when one will be due, if that is known.
    pub(super) fn due(&self, active: u32, now: DateTime<Utc>) -> Result<NextRun, Option<DateTime<Utc>>> {
        let Answer::Next(run) = self.answer else { return Err(None) };
        // One after the other, where the next is not known before the one before has ended.
        let most = if self.timetable.foresees() { self.of.dag.max_active_runs } else { 1 };
        if active >= most {
            return Err(None);
        }
        if run.run_after > now { Err(Some(run.run_after)) } else { Ok(run) }
    }

    /// That run is in the store, or never will be.
    pub(super) fn was_made(&mut self, run: NextRun, now: DateTime<Utc>) {
        self.reached = Some(run.data_interval);
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
