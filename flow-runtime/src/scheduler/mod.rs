//! Runs DAGs by themselves: makes the runs that timetables owe, and goes on with whatever was left unfinished.
//!
//! Each look at the store is a *pass*. A pass goes on with the runs that nobody works on (their process died, or somebody
//! cleared tasks of them), and makes the runs that are due. A run is made under its logical date, of which a DAG has one
//! run: so a tick is run once, whoever crashes when. Between two passes the scheduler sleeps until the next run is due, and
//! no longer than [`POLL`], for what others have written into the store.
//!
//! A DAG that waits for assets ([`mod@assets`]) has a run once they have come: the run is made, and what has come is taken, in one
//! transaction.
//!
//! After the runs that are due come those of [`backfill`]s that no command works on.
//!
//! On an embedded store there is one scheduler; a second one is refused. On Postgres there may be several: each run is held by a
//! lease, the runs of a scheduler that died are gone on with by the others when its leases end, and what a run depends on (how
//! many there are, which was the latest, what has come) is looked at once more in the transaction that makes it.

mod assets;
pub mod backfill;
mod filling;
mod owned;
pub mod stretch;

use crate::executor::{Again, Engine, EngineError, Holders, Lease, OnlyIf, RunReport, RunRequest, Stop};
use crate::run_event::{RunEvent, paused};
use crate::secret::is_redacted;
use crate::store::{RunFilter, RunOrder, RunPk, StoreError, StoredRun};
use chrono::{DateTime, Utc};
#[cfg(feature = "cli")]
pub(crate) use filling::params_of;
use flow_core::timetable::TimetableError;
use flow_core::{NextRun, RunStatus, RunType};
use owned::Owned;
pub use owned::ScheduledDag;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Longest time between two looks at the store.
pub const POLL: Duration = Duration::from_secs(2);

/// Shortest time between two looks at the store for which a hint is the reason.
const SOONEST: Duration = Duration::from_millis(100);

/// Waits for a hint that others have changed something; for ever where there are none.
async fn heard(hints: &mut Option<watch::Receiver<()>>) {
    let is_one = match hints {
        Some(hints) => hints.changed().await.is_ok(),
        None => false,
    };
    if !is_one {
        std::future::pending().await
    }
}

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

/// Tells what has happened in a run.
fn pass_on(listener: &Listener, (dag_id, run_id): (&str, &str), event: &RunEvent) {
    listener(&Told::Event { dag_id, run_id, event });
    // Whoever has paused it says so, and nobody who looks a moment later: somebody else may have said another word by then.
    if let RunEvent::DagPaused { failures, .. } = event {
        listener(&Told::Note(paused(dag_id, *failures)));
    }
}

/// Of a run that goes on, the params that are not stored, or not as they are: its secrets, and passwords in URLs.
pub(crate) fn secrets(stored: &StoredRun, params: &Map<String, Value>) -> Map<String, Value> {
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

/// What became of a run that is due.
enum Made {
    /// It is under way here.
    Here(RunPk),
    /// Somebody else has made it, or works on it.
    Elsewhere,
    /// It cannot be made, now or later: why.
    Never(String),
    /// Another scheduler has made a run since the timetable was asked.
    Overtaken,
    /// Another scheduler, or a person, has taken the last place.
    TooMany,
    /// The backfill that it was for was stopped, or another process has it.
    Stopped,
}

/// Longest time that a run is left alone after an error that may pass.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// Runs the DAGs of a program by themselves.
///
/// Where runs are held by locks ([`EngineSettings::locks`](crate::executor::EngineSettings::locks)) there is one of them on a home
/// folder; where they are held by leases, as many as one likes, on any machines. Slots are counted by each of them.
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
    /// In the last pass there were runs that can go on, here or with another scheduler.
    has_open_runs: bool,
    /// The store knows what the DAGs wait for.
    is_awaiting: bool,
    /// DAGs of which it was told that what has come makes no run of them.
    told_of: BTreeSet<String>,
    /// The backfills that this scheduler works on, each with its lock.
    filling: BTreeMap<i64, Option<Lease>>,
    /// Unfinished runs of backfills: they take no place away from a DAG's own.
    backfilled: BTreeSet<RunKey>,
    /// The instant in the id of the latest run that was made for assets: no two have one.
    latest_asset_run: DateTime<Utc>,
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
            has_open_runs: false,
            is_awaiting: false,
            told_of: BTreeSet::new(),
            filling: BTreeMap::new(),
            backfilled: BTreeSet::new(),
            latest_asset_run: DateTime::UNIX_EPOCH,
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
        let (mut hints, mut looked) = (self.engine.store().listen(), next_pass);
        let at_once = self.stop.at_once.clone();
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
                () = self.engine.an_asset_is_made() => next_pass = Instant::now(),
                // A store that does not answer holds up whoever asks once, and not whoever will not wait.
                () = sleep_until(next_pass) => match at_once.run_until_cancelled(self.pass()).await {
                    None => break,
                    Some(Ok(due)) => {
                        (trouble, looked) = (None, Instant::now());
                        let idle = self.driven.is_empty();
                        if idle && !self.has_open_runs && end.is_some_and(|end| due.is_none_or(|due| due > end)) {
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
                    Some(Err(error)) => {
                        let text = format!("nothing can be begun, and it is tried again every {POLL:?}: {error}");
                        if trouble.as_ref() != Some(&text) {
                            self.note(text.clone());
                        }
                        (trouble, looked) = (Some(text), Instant::now());
                        next_pass = looked + POLL;
                    }
                },
                () = heard(&mut hints) => next_pass = next_pass.min(looked + SOONEST),
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
        // Before anything runs here that may make some.
        let come = self.what_has_come().await?;
        let states = vec![RunStatus::Queued, RunStatus::Running];
        let open = store.runs(&RunFilter { states, order: RunOrder::Due, ..RunFilter::default() }).await?;
        // After the runs: whose last failure is a pause was open in the same moment, or the pause is seen.
        let paused = store.paused().await?;
        for (dag_id, owned) in &mut self.dags {
            let said = paused.get(dag_id).copied();
            owned.pause(said.unwrap_or(self.paused_at_creation));
        }
        let holders = self.engine.holders().await?;
        // A run that cannot go on takes no place away from the others.
        let key = |run: &StoredRun| (run.run.dag_id.clone(), run.run.run_id.clone());
        self.backfilled = open.iter().filter(|run| run.run.run_type == RunType::Backfill).map(key).collect();
        let keys = open.iter().map(key);
        let active: BTreeSet<RunKey> = keys.filter(|key| !self.left_alone.contains(key)).collect();
        let goes_on = |(dag_id, _): &RunKey| self.dags.get(dag_id).is_some_and(|owned| !owned.is_paused());
        self.has_open_runs = active.iter().any(goes_on);
        // What was cleared goes on in the next pass.
        self.has_open_runs |= self.carry_out(&open, &holders).await?;
        // The oldest first.
        open.into_iter().rev().for_each(|run| self.go_on_with(run, &holders));
        let now = self.engine.clock().now();
        let mut next: Option<DateTime<Utc>> = None;
        let ids: Vec<String> = self.dags.keys().cloned().collect();
        for dag_id in ids {
            let own = active.iter().filter(|key| key.0 == dag_id && !self.backfilled.contains(*key));
            let mut active = own.count() as u32;
            // Where there is one place and both are due all the time, they take turns.
            let ticks_first = self.dags.get(&dag_id).is_some_and(Owned::was_made_for_assets);
            if ticks_first {
                next = next.into_iter().chain(self.make_due_runs(&dag_id, &mut active, now).await?).min();
            }
            if let Some(come) = come.get(&dag_id) {
                active += u32::from(self.make_asset_run(&dag_id, active, come, now).await?);
            }
            if !ticks_first {
                next = next.into_iter().chain(self.make_due_runs(&dag_id, &mut active, now).await?).min();
            }
        }
        self.fill_in().await?;
        Ok(next)
    }

    /// Carries out what was ordered of runs that have ended since, before anybody came to it: whoever gave the order may be gone.
    /// Says whether there was anything.
    async fn carry_out(&self, open: &[StoredRun], holders: &Holders) -> Result<bool, StoreError> {
        let store = self.engine.store();
        let ordered: BTreeSet<RunPk> = store.orders().await?.into_iter().map(|order| order.run).collect();
        // Whoever works on a run sees to its orders himself; so does whoever goes on with it.
        let is_open = |run: &RunPk| open.iter().any(|stored| stored.pk == *run);
        if ordered.iter().all(is_open) {
            return Ok(false);
        }
        let states = vec![RunStatus::Success, RunStatus::Failed];
        let ended = store.runs(&RunFilter { states, ..RunFilter::default() }).await?;
        for run in ended.iter().filter(|run| ordered.contains(&run.pk) && !holders.holds(run)) {
            match self.engine.edit(run, |_, _| Vec::new()).await {
                Ok(edited) => edited.has_paused.into_iter().for_each(|most| self.note(paused(&run.run.dag_id, most))),
                // Somebody has just taken it.
                Err(EngineError::Held(_) | EngineError::Store(StoreError::Fenced { .. })) => {}
                Err(EngineError::Store(error)) => return Err(error),
                Err(error) => self.note(format!("what was ordered of run `{}` is not done: {error}", run.run.run_id)),
            }
        }
        Ok(true)
    }

    /// Goes on with a run that nobody works on.
    fn go_on_with(&mut self, stored: StoredRun, holders: &Holders) {
        let key: RunKey = (stored.run.dag_id.clone(), stored.run.run_id.clone());
        let rests = self.resting.get(&key).is_some_and(|rest| rest.until > Instant::now());
        let is_taken = rests || self.left_alone.contains(&key) || self.driving.values().any(|driven| *driven == key);
        let Some(owned) = self.dags.get(&key.0).filter(|owned| !is_taken && !owned.is_paused()) else { return };
        if holders.holds(&stored) {
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
        active: &mut u32,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let Some(owned) = self.dags.get_mut(dag_id).filter(|owned| !owned.is_paused()) else { return Ok(None) };
        if owned.has_to_ask(*active) {
            let scheduled = vec![RunType::Scheduled];
            let filter = RunFilter {
                dag_id: Some(dag_id.into()),
                run_types: scheduled,
                order: RunOrder::Due,
                limit: 1,
                ..RunFilter::default()
            };
            let last = self.engine.store().runs(&filter).await?.pop();
            owned.ask_after(last.as_ref(), now);
        }
        loop {
            let Some(owned) = self.dags.get(dag_id) else { return Ok(None) };
            match owned.due(*active, now) {
                Ok(run) => {
                    let made = self.make(dag_id, run).await?;
                    let Some(owned) = self.dags.get_mut(dag_id) else { return Ok(None) };
                    match made {
                        Made::Here(pk) => {
                            *active += 1;
                            owned.is_made_for_assets(false);
                            owned.was_made(run, Some(pk), now);
                        }
                        Made::Elsewhere | Made::Never(_) => owned.was_made(run, None, now),
                        Made::Overtaken => {
                            owned.was_overtaken();
                            // Asked again at once.
                            return Ok(Some(now));
                        }
                        Made::TooMany | Made::Stopped => {
                            // What is due when there is a place again may be another run by then.
                            owned.was_overtaken();
                            return Ok(None);
                        }
                    }
                }
                Err(later) => return Ok(later),
            }
        }
    }

    /// Makes a run, and drives it. Only when it is in the store (or cannot be, ever) does the timetable go on: so none is
    /// passed over.
    async fn make(&mut self, dag_id: &str, run: NextRun) -> Result<Made, StoreError> {
        let Some(owned) = self.dags.get(dag_id) else { return Ok(Made::Elsewhere) };
        let after = Some(owned.latest());
        let made = match owned.params() {
            Ok(params) => self.begin(dag_id, RunRequest::of(RunType::Scheduled, run, params.clone()), after).await?,
            Err(why) => Made::Never(why.clone()),
        };
        if let Made::Never(why) = &made {
            self.note(format!("DAG `{dag_id}` has no run of {}: {why}", run.logical_date));
        }
        Ok(made)
    }

    /// Makes a run, if there may be one more and this is the latest still that a timetable has made; and drives it.
    async fn begin(
        &mut self,
        dag_id: &str,
        request: RunRequest,
        after: Option<Option<RunPk>>,
    ) -> Result<Made, StoreError> {
        let Some(owned) = self.dags.get(dag_id) else { return Ok(Made::Elsewhere) };
        // Another scheduler may have made runs since this one has looked.
        let others = self.left_alone.union(&self.backfilled);
        let others = others.filter(|(of, _)| of == dag_id).map(|(_, run_id)| run_id.clone());
        let most = if after.is_some() { owned.most() } else { owned.dag().max_active_runs };
        let only_if = OnlyIf { max_active: Some(most), not_counted: others.collect(), after, ..OnlyIf::default() };
        self.make_now(dag_id, request, only_if).await
    }

    /// Makes a run, if this holds, and drives it.
    async fn make_now(&mut self, dag_id: &str, request: RunRequest, only_if: OnlyIf) -> Result<Made, StoreError> {
        let Some(owned) = self.dags.get(dag_id) else { return Ok(Made::Elsewhere) };
        let key = (dag_id.to_owned(), request.run_id.clone().unwrap_or_default());
        let begun = match self.engine.begin(owned.dag().clone(), request, only_if).await {
            Ok(begun) => begun,
            // There it is: somebody has made it, or works on it.
            Err(EngineError::Store(
                StoreError::RunExists { .. } | StoreError::LogicalDateTaken { .. } | StoreError::EventsTaken { .. },
            )) => return Ok(Made::Elsewhere),
            Err(EngineError::Held(_)) => return Ok(Made::Elsewhere),
            Err(EngineError::Store(StoreError::Overtaken { .. })) => return Ok(Made::Overtaken),
            Err(EngineError::Store(StoreError::TooManyActive { .. })) => return Ok(Made::TooMany),
            Err(EngineError::Store(StoreError::BackfillLost(_))) => return Ok(Made::Stopped),
            Err(EngineError::Store(error)) => return Err(error),
            Err(EngineError::Io(text)) => return Err(StoreError::Backend(text)),
            Err(error) => return Ok(Made::Never(error.to_string())),
        };
        let pk = begun.pk();
        let (engine, stop) = (self.engine.clone(), self.stop.clone());
        let observer = self.observer(&key);
        self.drive(key, async move { engine.drive(begun, observer, stop).await });
        Ok(Made::Here(pk))
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
            Ok(_) => {
                self.resting.remove(&key);
                return true;
            }
            // Somebody else works on it, or has brought it to its end.
            Err(
                EngineError::Held(_) | EngineError::NotResumable(_) | EngineError::Store(StoreError::Fenced { .. }),
            ) => {}
            Err(EngineError::LeaseLost(text)) => self.note(text),
            // Not a refused move: the same would be refused again, and again the bodies would have run for nothing.
            Err(error @ (EngineError::Store(_) | EngineError::Io(_)))
                if !matches!(error, EngineError::Store(StoreError::IllegalMove { .. })) =>
            {
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
        Arc::new(move |event| pass_on(&listener, (&dag_id, &run_id), event))
    }

    fn note(&self, text: String) {
        (self.listener)(&Told::Note(text));
    }
}
