//! Runs DAGs by themselves: makes the runs that timetables owe, and goes on with whatever was left unfinished.
//!
//! Each look at the store is a *pass*. A pass goes on with the runs that nobody works on (their process died, or somebody
//! cleared tasks of them), and makes the runs that are due. A run is made under its logical date, of which a DAG has one
//! run: so a tick is run once, whoever crashes when. Between two passes the scheduler sleeps until the next run is due, and
//! no longer than [`POLL`], for what others have written into the store.
//!
//! On an embedded store there is one scheduler; a second one is refused.

pub mod backfill;
mod owned;

use crate::executor::{Again, Engine, EngineError, RunReport, RunRequest, Stop};
use crate::run_event::RunEvent;
use crate::secret::is_redacted;
use crate::store::{RunFilter, StoreError, StoredRun};
use chrono::{DateTime, Utc};
use flow_core::timetable::TimetableError;
use flow_core::{NextRun, RunStatus, RunType};
use owned::Owned;
pub use owned::ScheduledDag;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::sleep_until;

/// Longest time between two looks at the store.
pub const POLL: Duration = Duration::from_secs(2);

/// What a scheduler tells.
#[derive(Debug, Clone)]
pub enum Told<'e> {
    /// Something happened in a run.
    Event {
        /// The DAG.
        dag_id: &'e str,
        /// The run.
        run_id: &'e str,
        /// What.
        event: &'e RunEvent,
    },
    /// Something that a person should know, as a sentence.
    Note(String),
}

/// Whoever listens to a scheduler.
pub type Listener = Arc<dyn Fn(&Told<'_>) + Send + Sync>;

/// Of a run that goes on, the params that are not stored, or not as they are: its secrets, and passwords in URLs.
fn secrets(stored: &StoredRun, params: &Map<String, Value>) -> Map<String, Value> {
    let is_secret = |name: &String| stored.run.conf.get(name).is_some_and(is_redacted);
    params.iter().filter(|(name, _)| is_secret(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Which run: the DAG, and its id.
type RunKey = (String, String);

/// How long a run is left alone after an error.
#[derive(Debug, Clone)]
struct Rest {
    until: Instant,
    wait: Duration,
    error: String,
}

/// Longest time that a run is left alone after an error that may pass.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// Runs the DAGs of a program by themselves.
///
/// One process at a time: who works on a run is known by locks in the home folder, so a store that several hosts share must
/// have one scheduler, and no engine beside it on another host.
pub struct Scheduler {
    engine: Engine,
    dags: BTreeMap<String, Owned>,
    /// What holds for a DAG of which nobody has said whether it is paused.
    paused_at_creation: bool,
    listener: Listener,
    stop: Stop,
    /// The runs under way here.
    driven: JoinSet<Result<RunReport, EngineError>>,
    driving: HashMap<task::Id, RunKey>,
    /// Runs whose end was an error that may pass: when each is looked at again.
    resting: BTreeMap<RunKey, Rest>,
    /// Runs that cannot be gone on with by this program.
    left_alone: BTreeSet<RunKey>,
    /// DAGs of which a run has failed since the last pass.
    failing: BTreeSet<String>,
}

impl Scheduler {
    /// A scheduler of these DAGs. Their runs are those of `engine`, and share its slots.
    ///
    /// # Errors
    /// A DAG whose schedule or time zone is none.
    pub fn new(
        engine: Engine,
        dags: impl IntoIterator<Item = ScheduledDag>,
        paused_at_creation: bool,
        listener: Listener,
        stop: Stop,
    ) -> Result<Scheduler, TimetableError> {
        let owned = dags.into_iter().map(|dag| Ok((dag.dag.dag_id.clone(), Owned::new(dag)?)));
        Ok(Scheduler {
            engine,
            dags: owned.collect::<Result<_, TimetableError>>()?,
            paused_at_creation,
            listener,
            stop,
            driven: JoinSet::new(),
            driving: HashMap::new(),
            resting: BTreeMap::new(),
            left_alone: BTreeSet::new(),
            failing: BTreeSet::new(),
        })
    }

    /// Works until it is told to stop; then waits for what runs, which is told as well. What is left unfinished is gone on
    /// with by the next scheduler.
    ///
    /// # Errors
    /// Another scheduler of the same home folder. A store that fails for a while is waited for.
    pub async fn run(self) -> Result<(), EngineError> {
        self.run_until(None).await
    }

    /// The same, and ends by itself once all runs are made that are due until this instant, and have ended.
    ///
    /// # Errors
    /// As those of [`Scheduler::run`].
    pub async fn run_until(mut self, end: Option<DateTime<Utc>>) -> Result<(), EngineError> {
        let _only_one = self.engine.alone("scheduler")?;
        // An instant, not a length of time: what ends in between must not put off what is due.
        let (mut next_pass, mut trouble) = (Instant::now(), None);
        loop {
            tokio::select! {
                biased;
                () = self.stop.graceful.cancelled() => break,
                Some(ended) = self.driven.join_next_with_id() => {
                    if self.ended(ended) {
                        // Whoever waited for it may go now.
                        next_pass = Instant::now();
                    }
                }
                () = sleep_until(next_pass.into()) => match self.pass().await {
                    Ok(due) => {
                        trouble = None;
                        let idle = self.driven.is_empty();
                        if idle && end.is_some_and(|end| due.is_none_or(|due| due > end)) {
                            break;
                        }
                        let clock = self.engine.clock();
                        let wait = match due {
                            Some(due) if idle && clock.skip_to(due) => Duration::ZERO,
                            Some(due) => clock.until(due).min(POLL),
                            None => POLL,
                        };
                        next_pass = Instant::now() + wait;
                    }
                    Err(error) => {
                        let text = format!("nothing can be begun, and it is tried again every {POLL:?}: {error}");
                        if trouble.as_ref() != Some(&text) {
                            self.note(text.clone());
                        }
                        trouble = Some(text);
                        next_pass = Instant::now() + POLL;
                    }
                },
            }
        }
        while let Some(ended) = self.driven.join_next_with_id().await {
            self.ended(ended);
        }
        Ok(())
    }

    /// Looks at everything once; says when the next run is due, if that is known.
    async fn pass(&mut self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let store = self.engine.store().clone();
        while let Some(dag_id) = self.failing.first().cloned() {
            self.pause_if_it_keeps_failing(&dag_id).await?;
            self.failing.remove(&dag_id);
        }
        let paused = store.paused().await?;
        for (dag_id, owned) in &mut self.dags {
            owned.pause(paused.get(dag_id).copied().unwrap_or(self.paused_at_creation));
        }
        let states = vec![RunStatus::Queued, RunStatus::Running];
        let open = store.runs(&RunFilter { states, ..RunFilter::default() }).await?;
        // A run that cannot go on takes no place away from the others.
        let keys = open.iter().map(|run| (run.run.dag_id.clone(), run.run.run_id.clone()));
        let active: BTreeSet<RunKey> = keys.filter(|key| !self.left_alone.contains(key)).collect();
        // The oldest first.
        open.into_iter().rev().for_each(|run| self.go_on_with(run));
        let now = self.engine.clock().now();
        let mut next: Option<DateTime<Utc>> = None;
        let ids: Vec<String> = self.dags.keys().cloned().collect();
        for dag_id in ids {
            let active = active.iter().filter(|(of, _)| *of == dag_id).count() as u32;
            let due = self.make_due_runs(&dag_id, active, now).await?;
            next = next.into_iter().chain(due).min();
        }
        Ok(next)
    }

    /// Pauses a DAG whose latest scheduled runs have all failed, as many as its author allows.
    async fn pause_if_it_keeps_failing(&self, dag_id: &str) -> Result<(), StoreError> {
        let most = self.dags.get(dag_id).map_or(0, |owned| owned.dag().max_consecutive_failed_dag_runs);
        if most == 0 {
            return Ok(());
        }
        let filter = RunFilter {
            dag_id: Some(dag_id.into()),
            run_types: vec![RunType::Scheduled],
            states: vec![RunStatus::Success, RunStatus::Failed],
            limit: most,
            ..RunFilter::default()
        };
        let latest = self.engine.store().runs(&filter).await?;
        if latest.len() == most as usize && latest.iter().all(|run| run.run.state == RunStatus::Failed) {
            self.engine.store().set_paused(dag_id, true).await?;
            self.note(format!(
                "DAG `{dag_id}` is paused: its last {most} scheduled runs have failed (max_consecutive_failed_dag_runs)"
            ));
        }
        Ok(())
    }

    /// Goes on with a run that nobody works on.
    fn go_on_with(&mut self, stored: StoredRun) {
        let key: RunKey = (stored.run.dag_id.clone(), stored.run.run_id.clone());
        let rests = self.resting.get(&key).is_some_and(|rest| rest.until > Instant::now());
        let is_taken = rests || self.left_alone.contains(&key) || self.driving.values().any(|driven| *driven == key);
        let Some(owned) = self.dags.get(&key.0).filter(|owned| !is_taken && !owned.is_paused()) else { return };
        if self.engine.is_held(&key.0, &key.1) {
            return;
        }
        let given = owned.params().map(|params| secrets(&stored, params)).unwrap_or_default();
        let (engine, dag, stop) = (self.engine.clone(), owned.dag().clone(), self.stop.clone());
        let observer = self.observer(&key);
        self.drive(key, async move { engine.resume(dag, stored, given, Again::Nothing, observer, stop).await });
    }

    /// Makes the runs that a DAG owes by now, as many as it may have; says when the next is due, if it is known.
    async fn make_due_runs(
        &mut self,
        dag_id: &str,
        mut active: u32,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let Some(owned) = self.dags.get_mut(dag_id).filter(|owned| !owned.is_paused()) else { return Ok(None) };
        if owned.has_to_ask(active) {
            let scheduled = vec![RunType::Scheduled];
            let filter =
                RunFilter { dag_id: Some(dag_id.into()), run_types: scheduled, limit: 1, ..RunFilter::default() };
            let last = self.engine.store().runs(&filter).await?.pop();
            owned.ask(last.and_then(|run| run.run.data_interval), now);
        }
        loop {
            let Some(owned) = self.dags.get(dag_id) else { return Ok(None) };
            match owned.due(active, now) {
                Ok(run) => {
                    active += u32::from(self.make(dag_id, run).await?);
                    if let Some(owned) = self.dags.get_mut(dag_id) {
                        owned.was_made(run, now);
                    }
                }
                Err(later) => return Ok(later),
            }
        }
    }

    /// Makes a run, and drives it. Only when it is in the store (or cannot be, ever) does the timetable go on: so none is
    /// passed over. Says whether it is under way here.
    async fn make(&mut self, dag_id: &str, run: NextRun) -> Result<bool, StoreError> {
        let Some(owned) = self.dags.get(dag_id) else { return Ok(false) };
        let params = match owned.params() {
            Ok(params) => params.clone(),
            Err(why) => {
                let note = format!("DAG `{dag_id}` has no run of {}: {why}", run.logical_date);
                self.note(note);
                return Ok(false);
            }
        };
        let request = RunRequest::of(RunType::Scheduled, run, params);
        let key = (dag_id.to_owned(), request.run_id.clone().unwrap_or_default());
        let begun = match self.engine.begin(owned.dag().clone(), request).await {
            Ok(begun) => begun,
            // There it is: somebody has made it, or works on it.
            Err(EngineError::Store(StoreError::RunExists { .. } | StoreError::LogicalDateTaken { .. })) => {
                return Ok(false);
            }
            Err(EngineError::Held(_)) => return Ok(false),
            Err(EngineError::Store(error)) => return Err(error),
            Err(EngineError::Io(text)) => return Err(StoreError::Backend(text)),
            Err(error) => {
                self.note(format!("DAG `{dag_id}` has no run of {}: {error}", run.logical_date));
                return Ok(false);
            }
        };
        let (engine, stop) = (self.engine.clone(), self.stop.clone());
        let observer = self.observer(&key);
        self.drive(key, async move { engine.drive(begun, observer, stop).await });
        Ok(true)
    }

    fn drive(&mut self, key: RunKey, run: impl Future<Output = Result<RunReport, EngineError>> + Send + 'static) {
        let id = self.driven.spawn(run).id();
        self.driving.insert(id, key);
    }

    /// Takes note of the end of a run; says whether it ended well, so that others may go at once.
    fn ended(&mut self, ended: Result<(task::Id, Result<RunReport, EngineError>), JoinError>) -> bool {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(EngineError::Io(format!("the engine panicked: {error}")))),
        };
        let Some(key) = self.driving.remove(&id) else { return false };
        let (dag_id, run_id) = &key;
        if let Some(owned) = self.dags.get_mut(dag_id) {
            owned.a_run_has_ended();
        }
        match result {
            Ok(report) => {
                if report.run.state == RunStatus::Failed {
                    self.failing.insert(dag_id.clone());
                }
                self.resting.remove(&key);
                return true;
            }
            // Somebody else works on it, or has brought it to its end.
            Err(
                EngineError::Held(_) | EngineError::NotResumable(_) | EngineError::Store(StoreError::Fenced { .. }),
            ) => {}
            Err(error @ (EngineError::Store(_) | EngineError::Io(_))) => {
                let (error, last) = (error.to_string(), self.resting.get(&key));
                let wait = last.map_or(POLL, |last| (last.wait * 2).min(LONGEST_REST));
                if last.is_none_or(|last| last.error != error) {
                    self.note(format!("run `{run_id}` of DAG `{dag_id}` was left, and is gone on with later: {error}"));
                }
                self.resting.insert(key, Rest { until: Instant::now() + wait, wait, error });
            }
            Err(error) => {
                self.note(format!(
                    "run `{run_id}` of DAG `{dag_id}` cannot go on: {error}; until then it stays as it is (`mark {run_id} failed` ends it)"
                ));
                self.left_alone.insert(key);
            }
        }
        false
    }

    fn observer(&self, (dag_id, run_id): &RunKey) -> crate::run_event::Observer {
        let (listener, dag_id, run_id) = (self.listener.clone(), dag_id.clone(), run_id.clone());
        Arc::new(move |event| listener(&Told::Event { dag_id: &dag_id, run_id: &run_id, event }))
    }

    fn note(&self, text: String) {
        (self.listener)(&Told::Note(text));
    }
}
