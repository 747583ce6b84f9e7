//! What may happen to a run, and a store that keeps what a real one would keep.

use chrono::{DateTime, TimeDelta, Utc};
use flow_core::event::Length;
use flow_core::{
    Dag, Event, InstanceKey, Outcome, Plan, Report, RunState, RunStatus, StoredInstance, TaskIx, TaskState, TryRef,
    UNMAPPED, plan,
};
use std::collections::BTreeMap;

/// A run, its rows, and the time.
#[derive(Clone)]
pub struct History {
    pub dag: Dag,
    pub run: RunState,
    pub rows: BTreeMap<InstanceKey, StoredInstance>,
    pub now: DateTime<Utc>,
}

impl History {
    pub fn new(dag: Dag) -> History {
        let run = RunState::new(&dag, &BTreeMap::new());
        History { dag, run, rows: BTreeMap::new(), now: DateTime::UNIX_EPOCH }
    }

    /// Lets events happen, and stores what a plan tells to store.
    pub fn tell(&mut self, events: &[Event]) -> Plan {
        let planned = plan(&self.dag, &mut self.run, events, self.now);
        for t in &planned.transitions {
            if t.key.map_index == 0 {
                self.rows.remove(&InstanceKey { map_index: UNMAPPED, ..t.key });
            }
            let report = self.run.reported(t.key);
            let (state, try_number, max_tries, due) = (t.to, t.try_number, t.max_tries, t.due);
            self.rows.insert(t.key, StoredInstance { key: t.key, state, try_number, max_tries, due, report });
        }
        planned
    }

    pub fn restored(&self) -> RunState {
        let run = RunState::restore(&self.dag, self.run.status(), self.rows.values().cloned(), &BTreeMap::new());
        run.with_ending(self.run.ending())
    }

    /// All instances, task by task.
    pub fn instances(run: &RunState, dag: &Dag) -> Vec<(TaskIx, i32, flow_core::Instance)> {
        let tasks = 0..dag.tasks.len() as TaskIx;
        tasks.flat_map(|t| run.instances(t).map(move |(i, instance)| (t, i, instance)).collect::<Vec<_>>()).collect()
    }

    /// One thing that may happen now, drawn by two numbers; `None` if nothing fits.
    pub fn draw(&mut self, what: u8, which: u16) -> Option<Event> {
        let pick = |n: usize| usize::from(which) % n.max(1);
        let scheduled = self.run.scheduled();
        let in_flight = self.run.in_flight();
        let all = History::instances(&self.run, &self.dag);
        let any_key =
            all.get(pick(all.len())).map(|(task, map_index, _)| InstanceKey { task: *task, map_index: *map_index });
        match what {
            0..=34 => scheduled.get(pick(scheduled.len())).map(|&key| Event::Dispatched(key)),
            35..=44 => in_flight.get(pick(in_flight.len())).map(|&of| Event::Started(of)),
            45..=84 => {
                let of = *in_flight.get(pick(in_flight.len()))?;
                Some(Event::Ended(of, self.outcome(what, which, of)))
            }
            85 => any_key.map(|key| Event::Woken(vec![key])),
            86..=89 => {
                self.now += TimeDelta::seconds(i64::from(which % 90));
                None
            }
            90..=93 => any_key.map(|key| Event::Cleared(vec![key])),
            94 => any_key.map(|key| Event::Cleared(vec![InstanceKey { map_index: UNMAPPED, ..key }])),
            95..=96 => {
                let states = [TaskState::Success, TaskState::Failed, TaskState::Skipped, TaskState::Running];
                any_key.map(|key| Event::Marked(vec![key], states[usize::from(which >> 8) % 4]))
            }
            97 => Some(Event::RunMarked([RunStatus::Success, RunStatus::Failed][pick(2)])),
            98 => Some(Event::RunTimedOut),
            _ => {
                let key = InstanceKey { task: u32::from(which % 9), map_index: i32::from(which % 7) - 3 };
                Some(Event::Ended(TryRef { key, try_number: u32::from(which % 3) }, Outcome::Lost))
            }
        }
    }

    fn outcome(&self, what: u8, which: u16, of: TryRef) -> Outcome {
        match what {
            45..=70 => Outcome::Success(self.report(which, of)),
            71..=72 => Outcome::Skipped,
            73..=76 => Outcome::Failed,
            77 => Outcome::FailedForGood,
            78..=79 => Outcome::Lost,
            80..=81 => Outcome::Returned,
            82 => Outcome::Deferred(None),
            83 => Outcome::Deferred(Some(self.now + TimeDelta::seconds(i64::from(which % 50)))),
            _ => Outcome::Rescheduled(self.now + TimeDelta::seconds(i64::from(which % 50))),
        }
    }

    /// A length, and a verdict for some of the tasks that ask for one.
    fn report(&self, which: u16, of: TryRef) -> Report {
        let asks = |d: &TaskIx| self.dag.tasks[*d as usize].conditions.iter().any(|c| c.upstream == of.key.task);
        let declined = (0..self.dag.tasks.len() as TaskIx).filter(asks).filter(|d| which >> (8 + d) & 1 == 1);
        Report { lengths: vec![Length { field: None, len: u32::from(which % 4) }], declined: declined.collect() }
    }
}
