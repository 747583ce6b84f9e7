//! Tasks that wait for the run before: `depends_on_past` and `wait_for_downstream`.
//!
//! The run of the same DAG with the logical date before may be anywhere: finished long ago, under way beside this one, or
//! in another process. So the store is asked: when an instance becomes scheduled, at once when an instance of this engine
//! has ended well that somebody may wait for, and else every [`POLL`].

use super::bell::{Bell, Listener};
use super::run_state;
use crate::store::{MetadataStore, Result, StoredRun};
use chrono::{DateTime, Utc};
use flow_core::{Dag, InstanceKey, RunState, TaskIx, TaskState, Waiting};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How often the store is asked while something waits, for what other processes have done.
const POLL: Duration = Duration::from_secs(2);
/// How many earlier runs are looked through for one that has the task; if none of so many has it, it counts as new.
const LOOK_BACK: usize = 100;

/// Earlier runs of a DAG, the latest first, as far as they were needed.
pub struct History<'s> {
    store: &'s dyn MetadataStore,
    dag: &'s Dag,
    /// The logical date to go back from.
    before: Option<DateTime<Utc>>,
    runs: Vec<Earlier>,
}

struct Earlier {
    stored: StoredRun,
    dag: Dag,
    state: RunState,
}

impl<'s> History<'s> {
    /// Of a run of this DAG about this instant. One that is about none has no past.
    pub fn of(store: &'s dyn MetadataStore, dag: &'s Dag, logical_date: Option<DateTime<Utc>>) -> History<'s> {
        History { store, dag, before: logical_date, runs: Vec::new() }
    }

    /// What of the past the instances of this task wait for; `None` if for nothing (any more).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn holds_back(&mut self, task: TaskIx) -> Result<Option<Waiting>> {
        let dag = self.dag;
        let Some(def) = dag.tasks.get(task as usize).filter(|def| !def.past.is_none()) else { return Ok(None) };
        for place in 0..LOOK_BACK {
            let Some(earlier) = self.get(place).await? else { return Ok(None) };
            let run_id = earlier.stored.run.run_id.clone();
            let Some(there) = earlier.dag.task_ix(&def.task_id) else {
                if def.past.ignore_first {
                    continue;
                }
                return Ok(Some(Waiting::Past { run_id, task_id: def.task_id.clone(), state: None }));
            };
            let below = if def.past.wait_for_downstream { earlier.dag.downstream() } else { Vec::new() };
            let below = below.get(there as usize).into_iter().flatten().copied();
            let open = std::iter::once(there).chain(below).find_map(|task| Some((task, earlier.open(task)?)));
            return Ok(open.map(|(task, state)| Waiting::Past {
                run_id,
                task_id: earlier.dag.tasks[task as usize].task_id.clone(),
                state: Some(state),
            }));
        }
        Ok(None)
    }

    async fn get(&mut self, place: usize) -> Result<Option<&Earlier>> {
        while self.runs.len() <= place {
            let Some(before) = self.before else { return Ok(None) };
            let Some(stored) = self.store.run_before(&self.dag.dag_id, before).await? else { return Ok(None) };
            let dag = self.store.dag_version(&stored.dag_version).await?;
            let rows = self.store.instances(stored.pk).await?;
            let state = run_state(&dag, &stored, &rows);
            self.before = stored.run.logical_date;
            self.runs.push(Earlier { stored, dag, state });
        }
        Ok(self.runs.get(place))
    }
}

impl Earlier {
    /// The state of an instance of this task that has neither succeeded nor was skipped, if there is one.
    fn open(&self, task: TaskIx) -> Option<TaskState> {
        let well = |state| matches!(state, TaskState::Success | TaskState::Skipped | TaskState::Removed);
        self.state.instances(task).map(|(_, instance)| instance.state).find(|state| !well(*state))
    }
}

/// Whom of an engine to tell that an instance has ended well, by DAG.
#[derive(Debug, Default)]
pub(super) struct News(Mutex<BTreeMap<String, Bell>>);

impl News {
    fn listen(&self, dag_id: &str) -> Listener {
        self.0.lock().entry(dag_id.to_owned()).or_default().listen()
    }

    /// Something that later runs of this DAG may wait for has ended.
    pub(super) fn tell(&self, dag_id: &str) {
        let mut all = self.0.lock();
        match all.get(dag_id) {
            Some(bell) if bell.has_listeners() => bell.ring(),
            Some(_) => drop(all.remove(dag_id)),
            None => {}
        }
    }
}

/// The instances of a run that wait for the past.
pub(super) struct Past {
    waiting: BTreeMap<TaskIx, BTreeSet<InstanceKey>>,
    /// Tasks whose good end later runs may wait for.
    matters: BTreeSet<TaskIx>,
    /// While something waits.
    news: Option<Listener>,
    /// When the store is asked again.
    ask_at: Option<Instant>,
}

impl Past {
    pub(super) fn of(dag: &Dag) -> Past {
        let mut matters = BTreeSet::new();
        if dag.tasks.iter().any(|def| !def.past.is_none()) {
            for (task, below) in (0..).zip(dag.downstream()) {
                let past = dag.tasks[task as usize].past;
                matters.extend((!past.is_none()).then_some(task));
                matters.extend(below.into_iter().filter(|_| past.wait_for_downstream));
            }
        }
        Past { waiting: BTreeMap::new(), matters, news: None, ask_at: None }
    }

    /// An instance waits, until it is known that it does not have to.
    pub(super) fn push(&mut self, key: InstanceKey) {
        self.waiting.entry(key.task).or_default().insert(key);
        self.ask_at = Some(Instant::now());
    }

    /// An instance is no longer scheduled.
    pub(super) fn forget(&mut self, key: InstanceKey) {
        if let Some(keys) = self.waiting.get_mut(&key.task) {
            keys.remove(&key);
            if keys.is_empty() {
                self.waiting.remove(&key.task);
            }
        }
    }

    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Is this the end of something that later runs may wait for?
    pub(super) fn is_news(&self, key: InstanceKey, state: TaskState) -> bool {
        self.matters.contains(&key.task) && matches!(state, TaskState::Success | TaskState::Skipped)
    }

    /// Has a later run anything to wait for in this one?
    pub(super) fn matters(&self) -> bool {
        !self.matters.is_empty()
    }

    /// When the store is asked again, if something waits.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.ask_at.filter(|_| self.waits())
    }

    /// Waits until there may be something new; for ever, if nothing waits.
    pub(super) async fn news(&mut self) {
        match &mut self.news {
            Some(news) => news.rings().await,
            None => std::future::pending().await,
        }
        self.ask_at = Some(Instant::now());
    }

    /// Asks the store, if it is time; gives the instances that wait no longer.
    pub(super) async fn ask(&mut self, mut history: History<'_>, news: &News) -> Result<Vec<InstanceKey>> {
        let mut free = Vec::new();
        let is_due = self.ask_at.is_some_and(|at| at <= Instant::now());
        if !self.waits() || !(is_due || self.news.as_ref().is_some_and(Listener::has_rung)) {
            return Ok(free);
        }
        // What happens from here on is heard of.
        self.news.get_or_insert_with(|| news.listen(&history.dag.dag_id)).take_note();
        let tasks: Vec<TaskIx> = self.waiting.keys().copied().collect();
        for task in tasks {
            if history.holds_back(task).await?.is_none() {
                free.extend(self.waiting.remove(&task).into_iter().flatten());
            }
        }
        self.ask_at = Some(Instant::now() + POLL);
        if !self.waits() {
            self.news = None;
        }
        Ok(free)
    }
}
