//! Why each instance of a run does not run: what the planner says, what the limits say, and who is in the way.

use super::app::App;
use super::exit::Result;
use super::session;
use crate::clock::{Clock, SystemClock};
use crate::executor::{History, StoredKeys, explain, run_state};
use crate::run_event::label;
use crate::store::{InstanceRow, MetadataStore, RunFilter, RunPk, StoredRun};
use chrono::{DateTime, Utc};
use flow_core::{Dag, Decided, InFlight, InstanceKey, Limits, Needs, RunStatus, TaskIx, Waiting, because, why};
use serde::Serialize;
use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{HashMap, hash_map};
use std::fmt;

/// Most holders that a reason names.
const NAMES: usize = 10;

/// Why an instance does not run, or was never tried.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Reason {
    /// It waits.
    Waiting(Waiting),
    /// It was decided not to run it.
    Decided(Decided),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Waiting(waiting) => waiting.fmt(f),
            Reason::Decided(decided) => decided.fmt(f),
        }
    }
}

/// The reason of each instance that has one.
pub type Reasons = HashMap<InstanceKey, Reason>;

/// What the store tells about a run.
pub struct Known {
    /// Its record.
    pub stored: StoredRun,
    /// The version of the DAG that it was made from.
    pub dag: Dag,
    /// The latest try of each instance.
    pub rows: Vec<InstanceRow>,
    /// It is unfinished, and nobody works on it.
    pub is_left: bool,
    /// Who works on it: host and process.
    pub holder: Option<String>,
}

impl Known {
    /// Asks for a run.
    pub async fn of(app: &App, store: &dyn MetadataStore, stored: StoredRun) -> Result<Known> {
        let holders = session::holders(app, store).await?;
        Ok(Known {
            dag: store.dag_version(&stored.dag_version).await?,
            rows: store.instances(stored.pk).await?,
            is_left: holders.left_alone(&stored),
            holder: holders.holder(&stored),
            stored,
        })
    }
}

/// The reason of each instance that does not run, or was never tried.
pub async fn reasons(store: &dyn MetadataStore, run: &Known, around: &mut Surroundings<'_>) -> Result<Reasons> {
    let mut found = Reasons::new();
    let state = run_state(&run.dag, &run.stored, &run.rows);
    let mut history = History::of(store, &run.dag, run.stored.run.logical_date);
    let mut keys = StoredKeys::of(store, &around.app.config.home, (&run.stored, &run.dag, &state));
    let mut past: BTreeMap<TaskIx, Option<Waiting>> = BTreeMap::new();
    let now = SystemClock.now();
    let rows: HashMap<(&str, i32), &InstanceRow> =
        run.rows.iter().map(|row| ((&*row.task_id, row.map_index), row)).collect();
    for task in 0..run.dag.tasks.len() as TaskIx {
        for (map_index, instance) in state.instances(task) {
            let key = InstanceKey { task, map_index };
            let reason = match why(&run.dag, &state, key, now) {
                _ if run.is_left && instance.state.is_in_flight() => Waiting::Lost,
                // Whether a limit would hold it back is known to whoever goes on with the run.
                Some(Waiting::Slot) if run.is_left => Waiting::Resume,
                Some(Waiting::Slot) => {
                    let known = match past.entry(task) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(unknown) => unknown.insert(history.holds_back(task).await?),
                    };
                    match known.clone() {
                        Some(waiting) => waiting,
                        None => match keys.needs(key).await? {
                            Some(needs) => around.refuse(store, run, (task, needs)).await?.unwrap_or(Waiting::Slot),
                            None => Waiting::Slot,
                        },
                    }
                }
                Some(reason) => match rows.get(&(run.dag.tasks[task as usize].task_id.as_str(), map_index)) {
                    Some(row) => explain(reason, row),
                    None => reason,
                },
                None => {
                    // One that has a cause of its own was not decided by what is above it.
                    let row = rows.get(&(run.dag.tasks[task as usize].task_id.as_str(), map_index));
                    let decided = row.is_none_or(|row| row.cause.is_none()).then(|| because(&run.dag, &state, key));
                    found.extend(decided.flatten().map(|reason| (key, Reason::Decided(reason))));
                    continue;
                }
            };
            found.insert(key, Reason::Waiting(reason));
        }
    }
    Ok(found)
}

/// What is in flight beside a run, in the same engine; read when it is asked for.
pub struct Surroundings<'a> {
    app: &'a App,
    limits: Limits,
    engines: Option<HashMap<Option<String>, Busy>>,
    /// What was started under limits of starts, the earliest first.
    starts: HashMap<(String, u32), Vec<DateTime<Utc>>>,
}

/// What one engine has in flight.
#[derive(Default)]
struct Busy {
    in_flight: InFlight<RunPk>,
    holders: Vec<Holder>,
}

impl Busy {
    fn count(&mut self) {
        for holder in &self.holders {
            self.in_flight.add(&holder.run, &Needs { rate: None, ..holder.needs.clone() });
        }
    }
}

struct Holder {
    run: RunPk,
    run_id: String,
    /// The task, with its map index.
    label: String,
    needs: Needs,
    task_id: String,
}

impl<'a> Surroundings<'a> {
    /// Under the settings in force here.
    pub fn new(app: &'a App) -> Surroundings<'a> {
        let settings = session::settings(app);
        let limits = Limits {
            parallelism: u32::try_from(settings.parallelism).unwrap_or(u32::MAX),
            pools: settings.all_pools(),
        };
        Surroundings { app, limits, engines: None, starts: HashMap::new() }
    }

    /// Which limit holds back an instance of this task that may run, and who is in the way.
    async fn refuse(
        &mut self,
        store: &dyn MetadataStore,
        run: &Known,
        (task, needs): (TaskIx, Needs),
    ) -> Result<Option<Waiting>> {
        if self.engines.is_none() {
            self.engines = Some(engines(self.app, store).await?);
        }
        let none = Busy::default();
        let busy = self.engines.as_ref().and_then(|engines| engines.get(&run.stored.owner)).unwrap_or(&none);
        let mut reason = self.limits.refuses(&run.stored.pk, &needs, &busy.in_flight, SystemClock.now());
        let task_id = &run.dag.tasks[task as usize].task_id;
        let (holders, in_the_way): (_, &dyn Fn(&Holder) -> bool) = match &mut reason {
            Some(Waiting::Pool { holders, needs: most, slots, .. }) if *most <= *slots => {
                (holders, &|holder| holder.needs.pool == needs.pool)
            }
            Some(Waiting::Parallelism { holders, .. }) => (holders, &|_| true),
            Some(Waiting::MaxActive { holders, .. }) => {
                (holders, &|holder| holder.needs.dag_id == needs.dag_id && holder.task_id == *task_id)
            }
            Some(Waiting::AtOnce { holders, key, .. }) => {
                (holders, &|holder| holder.needs.at_once.as_ref().is_some_and(|of| of.key == *key))
            }
            Some(_) => return Ok(reason),
            None => return self.refuse_by_rate(store, &run.stored, &needs).await,
        };
        let all: Vec<&Holder> = busy.holders.iter().filter(|holder| in_the_way(holder)).collect();
        *holders = all.iter().take(NAMES).map(|holder| holder.seen_from(run)).collect();
        if all.len() > NAMES {
            holders.push(format!("{} more", all.len() - NAMES));
        }
        Ok(reason)
    }

    /// The same of its rate, which comes last. The store remembers what every process has started.
    async fn refuse_by_rate(
        &mut self,
        store: &dyn MetadataStore,
        run: &StoredRun,
        needs: &Needs,
    ) -> Result<Option<Waiting>> {
        let Some(share) = needs.share_of_rate() else { return Ok(None) };
        let starts = match self.starts.entry((share.name, share.most)) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(unknown) => {
                let mut starts = store.starts(&unknown.key().0, share.most).await?;
                starts.reverse();
                unknown.insert(starts)
            }
        };
        let (mut in_flight, now) = (InFlight::default(), SystemClock.now());
        for start in starts {
            in_flight.add(&run.pk, needs);
            // As for the engine, one of the future is one from before the clock was set back.
            in_flight.started(needs, (*start).min(now));
            in_flight.remove(&run.pk, needs);
        }
        Ok(self.limits.refuses(&run.pk, needs, &in_flight, now))
    }
}

impl Holder {
    /// `load`, `load of run nightly`, `load of taxi, run nightly`: as much as somebody of this run must be told.
    fn seen_from(&self, run: &Known) -> String {
        let Holder { label, run_id, needs, .. } = self;
        match () {
            () if self.run == run.stored.pk => label.clone(),
            () if needs.dag_id == run.dag.dag_id => format!("{label} of run {run_id}"),
            () => format!("{label} of {}, run {run_id}", needs.dag_id),
        }
    }
}

/// What is in flight, by who has it. Whoever owns a run is one engine, with slots of its own.
async fn engines(app: &App, store: &dyn MetadataStore) -> Result<HashMap<Option<String>, Busy>> {
    let states = vec![RunStatus::Queued, RunStatus::Running];
    let mut found: HashMap<Option<String>, Busy> = HashMap::new();
    for stored in store.runs(&RunFilter { states, ..RunFilter::default() }).await? {
        let run = Known::of(app, store, stored).await?;
        if run.is_left {
            continue;
        }
        let state = run_state(&run.dag, &run.stored, &run.rows);
        let mut keys = StoredKeys::of(store, &app.config.home, (&run.stored, &run.dag, &state));
        let busy = found.entry(run.stored.owner.clone()).or_default();
        for row in &run.rows {
            let Some(task) = run.dag.task_ix(&row.task_id) else { continue };
            if !row.state.is_in_flight() {
                continue;
            }
            let Some(needs) = keys.needs(InstanceKey { task, map_index: row.map_index }).await? else { continue };
            let (run, run_id) = (run.stored.pk, run.stored.run.run_id.clone());
            let label = label(&row.task_id, row.map_index);
            busy.holders.push(Holder { run, run_id, label, needs, task_id: row.task_id.to_string() });
        }
    }
    found.values_mut().for_each(Busy::count);
    Ok(found)
}
