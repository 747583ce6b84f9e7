//! Why each instance of a run does not run, in a sentence.

use super::tasks::Facts;
use crate::clock::{Clock, SystemClock};
use crate::executor::{EngineSettings, run_state};
use chrono::DateTime;
use flow_core::{Candidate, Dag, InFlight, InstanceKey, Limits, TaskState, Waiting, because, why};
use std::collections::{BTreeMap, HashMap};

/// Why an instance does not run, or was never tried.
pub type Reasons = HashMap<InstanceKey, String>;

/// The reason of each instance that does not run, or was never tried.
pub fn reasons(facts: &Facts, settings: &EngineSettings, interrupted: bool) -> Reasons {
    let mut found = Reasons::new();
    let slots = Slots::of(facts, settings);
    let state = run_state(&facts.dag, &facts.stored, &facts.rows);
    let now = SystemClock.now();
    for task in 0..facts.dag.tasks.len() as u32 {
        for (map_index, instance) in state.instances(task) {
            let key = InstanceKey { task, map_index };
            let reason = match why(&facts.dag, &state, key, now) {
                _ if interrupted && instance.state.is_in_flight() => "its process ended while it ran".to_string(),
                Some(_) if interrupted && instance.state == TaskState::Scheduled => {
                    "waits for the run to be resumed".into()
                }
                Some(Waiting::Slot) => slots.refuse(&facts.dag, key).unwrap_or(Waiting::Slot).to_string(),
                Some(reason) => reason.to_string(),
                None => match because(&facts.dag, &state, key) {
                    Some(reason) => reason.to_string(),
                    None => continue,
                },
            };
            found.insert(key, reason);
        }
    }
    found
}

/// What the engine that works on the run goes by, as far as these settings tell.
struct Slots {
    limits: Limits,
    in_flight: InFlight,
}

impl Slots {
    fn of(facts: &Facts, settings: &EngineSettings) -> Slots {
        let (dag, dag_id) = (&facts.dag, &facts.dag.dag_id);
        let mut in_flight = InFlight::default();
        for row in facts.rows.iter().filter(|row| row.state.is_in_flight()) {
            if let Some(task) = dag.task(&row.task_id) {
                in_flight.add(dag_id, &task.pool, task.pool_slots);
            }
        }
        let limits = Limits {
            parallelism: u32::try_from(settings.parallelism).unwrap_or(u32::MAX),
            pools: settings.all_pools(),
            active_tasks: BTreeMap::from([(dag_id.clone(), dag.max_active_tasks)]),
        };
        Slots { limits, in_flight }
    }

    /// Which limit holds back what may run.
    fn refuse(&self, dag: &Dag, key: InstanceKey) -> Option<Waiting> {
        let task = dag.tasks.get(key.task as usize)?;
        let candidate = Candidate {
            run: (),
            key,
            dag_id: dag.dag_id.clone(),
            pool: task.pool.clone(),
            pool_slots: task.pool_slots,
            weight: task.priority,
            run_after: DateTime::UNIX_EPOCH,
        };
        self.limits.refuses(&candidate, &self.in_flight)
    }
}
