//! The loop around one run: gather what happened, take a step, again, until the run is over.

use super::awaited::Awaited;
use super::begin::Begun;
use super::hold::Hold;
use super::ids::Ids;
use super::inputs;
use super::keys::{self, Unnamed};
use super::orders;
use super::outcome::TryEnd;
use super::owed::Owed;
use super::past::Past;
use super::queue::Queue;
use super::readers::Readers;
use super::report::Wanted;
use super::rows::Rows;
use super::scope::Scope;
use super::{Engine, EngineError, EngineSettings, RunReport, Stop};
use crate::asset::AssetEvent;
use crate::context::MOST_TRIGGERING_EVENTS;
use crate::run_event::{Observer, RunEvent};
use crate::store::{AssetEventFilter, Cause, CauseKind, Ending, Epoch};
use crate::telemetry::TryLog;
use chrono::{DateTime, Utc};
use flow_core::{Dag, DagRun, Event, InstanceKey, RunState, RunStatus, RunType, TaskIx, TryRef, why};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Most logs and reports of progress that wait for the observer.
const HINTS: usize = 1024;
/// Most ends of tries in one commit.
pub(super) const BATCH: usize = 4096;

/// What happened since the last step.
#[derive(Default)]
pub(super) struct Happened {
    pub(super) ends: Vec<TryEnd>,
    pub(super) events: Vec<Event>,
    /// The orders that these events carry out.
    pub(super) settled: Vec<i64>,
}

/// A try whose body runs.
pub(super) struct Flight {
    pub(super) abort: AbortHandle,
    /// How it ends once its body is gone: it took too long.
    pub(super) ending: Option<TryEnd>,
    /// It has a process of its own, which ends it itself when its token fires.
    pub(super) isolated: bool,
    /// Its place in [`RunLoop::timeouts`].
    pub(super) times_out: Option<Instant>,
    pub(super) cancel: CancellationToken,
    pub(super) log: Arc<TryLog>,
}

impl Flight {
    /// It was told to end, and has not yet.
    pub(super) fn is_told_to_end(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

/// One run under way.
pub(super) struct RunLoop {
    pub(super) scope: Arc<Scope>,
    pub(super) epoch: Epoch,
    /// Fires when the run must be let go.
    pub(super) lost: Option<CancellationToken>,
    pub(super) state: RunState,
    pub(super) rows: Rows,
    pub(super) queue: Queue,
    pub(super) unnamed: Unnamed,
    /// Scheduled instances whose try before was told to end, and has not yet: they wait until it is gone. Also teardowns, while
    /// any try was told to end.
    pub(super) behind: BTreeSet<InstanceKey>,
    pub(super) past: Past,
    pub(super) readers: Readers,
    pub(super) tries: JoinSet<TryEnd>,
    pub(super) flights: HashMap<TryRef, Flight>,
    /// When each try that has a timeout has taken too long; and, once it was dropped for that, when it is given up.
    pub(super) timeouts: BTreeSet<(Instant, TryRef)>,
    pub(super) hints: mpsc::Receiver<RunEvent>,
    pub(super) observer: Observer,
    pub(super) stop: Stop,
    /// No more tries: somebody asked the run to stop.
    pub(super) stopping: bool,
    /// When tries that were told to end are dropped.
    pub(super) patience: Option<Instant>,
    /// When a retry is due.
    pub(super) wake_at: Option<DateTime<Utc>>,
    /// When the run has taken too long.
    pub(super) deadline: Option<Instant>,
    /// Something was held back from the last step.
    pub(super) more: bool,
    /// The instances that the present step has changed.
    pub(super) changed: Vec<InstanceKey>,
    /// The events for which instances wait.
    pub(super) awaited: Awaited,
    /// Of what the first step lets run again, these go on where they were.
    pub(super) keeps_steps: BTreeSet<InstanceKey>,
    /// How the run ends when what is set up is taken away, if it is being ended.
    pub(super) ending: Option<Ending>,
    /// What somebody outside is to be told.
    pub(super) owed: Owed,
    /// So many failures in a row pause the DAG.
    pub(super) pause_at: Option<u32>,
    /// It has, by the failure of this run.
    pub(super) has_paused: Option<u32>,
    /// When to look for orders again, and those that were seen.
    pub(super) orders: (Instant, BTreeSet<i64>),
}

/// Brings a run to its end, or to where it was stopped.
pub(super) async fn drive(
    engine: &Engine,
    begun: Begun,
    observer: Observer,
    stop: Stop,
) -> Result<RunReport, EngineError> {
    make_home(engine)?;
    let made_for = made_for(engine, &begun).await?;
    let (run, happened, record, hold) = prepare(engine, begun, made_for, observer, stop);
    let Some(lost) = hold.lost() else { return go(engine, run, happened, record, &hold).await };
    let (dag_id, run_id) = (run.scope.dag.dag_id.clone(), run.scope.run_id.clone());
    tokio::select! {
        biased;
        // What is under way is dropped with the loop.
        () = lost.cancelled() => Err(EngineError::LeaseLost(format!(
            "run `{run_id}` of DAG `{dag_id}` was let go, and its tries were stopped here: {}. Whoever takes it next goes on with it, \
             by `--resume {run_id}` for one",
            hold.why_lost()
        ))),
        ended = go(engine, run, happened, record, &hold) => ended,
    }
}

/// The loop itself.
async fn go(
    engine: &Engine,
    mut run: RunLoop,
    mut happened: Happened,
    record: (DagRun, DateTime<Utc>),
    hold: &Hold,
) -> Result<RunReport, EngineError> {
    let began = record.1;
    loop {
        run.step(happened).await?;
        happened = if run.is_over() {
            break;
        } else if run.more {
            Happened::default()
        } else if run.is_stuck() {
            return Err(EngineError::Stuck(run.complaint()));
        } else {
            run.gather().await
        };
    }
    // Before anybody hears of its end: who clears it then is not refused.
    hold.release().await;
    run.pass_hints();
    if run.past.matters() {
        engine.slots.news.tell(&run.scope.dag.dag_id);
    }
    let scope = run.scope.clone();
    let (dag_id, run_id) = (&scope.dag.dag_id, &scope.run_id);
    let state = run.state.status();
    let now = engine.clock.now();
    (run.observer)(&RunEvent::RunEnded {
        dag_id: dag_id.clone(),
        dag_run_id: run_id.clone(),
        state,
        duration: seconds(began, now),
        timestamp: now,
    });
    let stored = engine.store.run(dag_id, run_id).await?;
    let (record, ending) = stored.map_or((record.0, None), |stored| (stored.run, stored.ending));
    Ok(RunReport {
        run: record,
        pk: scope.pk,
        interrupted: !state.is_finished(),
        has_paused: run.has_paused,
        instances: engine.store.instances(scope.pk).await?,
        ending,
    })
}

/// When a run has taken too long that has had so much of its time.
pub(super) fn deadline(dag: &Dag, spent: Duration) -> Option<Instant> {
    dag.dagrun_timeout.and_then(|timeout| Instant::now().checked_add(timeout.saturating_sub(spent)))
}

/// How many failures in a row pause the DAG, as it is today, if this run counts among them.
pub(super) fn pause_at(dag: &Dag, run: &DagRun) -> Option<u32> {
    let most = dag.max_consecutive_failed_dag_runs;
    (most > 0 && run.run_type.is_scheduled()).then_some(most)
}

/// Bodies write there as well, and where the records are in Postgres nobody has made it before.
fn make_home(engine: &Engine) -> Result<(), EngineError> {
    let EngineSettings { home, logs, .. } = &*engine.settings;
    // An engine in memory writes nothing there.
    let made = if *logs { std::fs::create_dir_all(home) } else { Ok(()) };
    made.map_err(|error| EngineError::Io(format!("the home folder `{}` cannot be made: {error}", home.display())))
}

type Prepared = (RunLoop, Happened, (DagRun, DateTime<Utc>), Hold);

/// The events of assets that the run was made for, the oldest first.
async fn made_for(engine: &Engine, begun: &Begun) -> Result<Arc<[AssetEvent]>, EngineError> {
    if begun.run.run_type != RunType::AssetTriggered {
        return Ok(Arc::default());
    }
    let limit = MOST_TRIGGERING_EVENTS;
    let filter = AssetEventFilter { run: Some(begun.pk), newest_first: true, limit, ..AssetEventFilter::default() };
    let mut events = engine.store.asset_events(&filter).await?;
    events.reverse();
    Ok(events.into())
}

fn prepare(engine: &Engine, begun: Begun, made_for: Arc<[AssetEvent]>, observer: Observer, stop: Stop) -> Prepared {
    let Begun { dag, run, pk, epoch, params, state, rows, events, .. } = begun;
    let Begun { lost, settled, keeps_steps, resumed, ending, pause_at, hold, .. } = begun;
    let (sender, hints) = mpsc::channel(HINTS);
    let settings = &engine.settings;
    // One that goes on; any other begins anew.
    let start = run.start_date.filter(|_| run.state == RunStatus::Running);
    let scope = Arc::new(Scope {
        engine: engine.clone(),
        ids: Ids::of(&dag),
        pk,
        epoch,
        run_id: run.run_id.clone(),
        run_start: start.unwrap_or_else(|| engine.clock.now()),
        logical_date: run.logical_date,
        data_interval: run.data_interval,
        made_for,
        literals: inputs::literals(&dag),
        params: params.erased(),
        shown_params: params.shown(&dag, &settings.global_params),
        outputs: Default::default(),
        lists: Default::default(),
        wanted: Wanted::of(&dag),
        hints: sender,
        dag,
    });
    let rows = Rows::of(&scope.dag, rows);
    for key in rows.successes() {
        scope.outputs.put(key, None);
    }
    let ends: Vec<TryEnd> = lost.into_iter().map(TryEnd::lost).collect();
    for end in &ends {
        scope.log(end.of).close(end.cause.as_ref());
    }
    let now = engine.clock.now();
    // One that goes on has had a part of its time; one that was cleared begins anew.
    let spent = match run.state {
        RunStatus::Running => run.start_date.and_then(|start| (now - start).to_std().ok()).unwrap_or_default(),
        _ => Duration::ZERO,
    };
    observer(&RunEvent::RunStarted {
        dag_id: run.dag_id.clone(),
        dag_run_id: run.run_id.clone(),
        resumed,
        timestamp: now,
    });
    let scheduled = state.scheduled();
    let forlorn = rows.forlorn();
    let woken = (!forlorn.is_empty()).then_some(Event::Woken(forlorn));
    let events = woken.into_iter().chain(events).collect();
    let mut run_loop = RunLoop {
        epoch,
        lost: hold.lost().cloned(),
        state,
        queue: Queue::new(engine, &scope.dag, &run),
        unnamed: Unnamed::default(),
        behind: BTreeSet::new(),
        past: Past::of(&scope.dag),
        readers: Readers::of(&scope.wanted),
        tries: JoinSet::new(),
        flights: HashMap::new(),
        timeouts: BTreeSet::new(),
        hints,
        observer,
        stop,
        stopping: false,
        patience: None,
        wake_at: None,
        deadline: deadline(&scope.dag, spent),
        more: false,
        changed: Vec::new(),
        owed: Owed::of(&scope.dag, &run),
        pause_at,
        has_paused: None,
        awaited: Awaited::of(engine.told.listen(), rows.awaited()),
        keeps_steps,
        // One that has ended is not ended any more.
        ending: ending.filter(|_| !run.state.is_finished()),
        orders: (Instant::now() + orders::POLL, settled.iter().copied().collect()),
        rows,
        scope,
    };
    // What was scheduled when the run was left behind waits again.
    scheduled.into_iter().for_each(|key| run_loop.wait(key, false));
    (run_loop, Happened { ends, events, settled }, (run, now), hold)
}

impl RunLoop {
    /// Nothing is under way, and nothing will be started.
    fn is_over(&self) -> bool {
        self.flights.is_empty() && (self.stopping || self.state.status().is_finished())
    }

    fn is_stuck(&self) -> bool {
        let is_told = || self.awaited.may_come(&*self.scope.engine.clock);
        let is_to_come = self.wake_at.is_some() || self.past.waits() || self.unnamed.waits() || self.queue.may_go_on();
        self.flights.is_empty() && !is_to_come && !is_told()
    }

    /// A scheduled instance waits: for the past, if it must, then for a slot. One that is `held`, from the next step on.
    pub(super) fn wait(&mut self, key: InstanceKey, held: bool) {
        let past = self.scope.dag.tasks.get(key.task as usize).map(|def| def.past).unwrap_or_default();
        if past.is_none() { self.wait_for_a_slot(key, held) } else { self.past.push(key) }
    }

    pub(super) fn wait_for_a_slot(&mut self, key: InstanceKey, held: bool) {
        match self.queue.is_to_be_named(key.task) {
            Some(_) => self.unnamed.push(key),
            None => self.queue.push(key, held),
        }
    }

    /// Finds out the keys of instances, now that all they are made of is known, and lets them wait.
    pub(super) async fn name(&mut self) {
        while let Some(key) = self.unnamed.next() {
            let Some(needs) = self.queue.is_to_be_named(key.task).cloned() else { continue };
            let lengths = self.state.lengths(key.task).unwrap_or_default();
            match keys::of(&self.scope, key, &lengths, &needs).await {
                Ok(needs) => {
                    self.queue.name(key, needs);
                    self.queue.push(key, false);
                }
                Err(error) => {
                    tracing::warn!("the keys of a task's limits cannot be filled in, and are later: {error}");
                    self.unnamed.put_back(key);
                }
            }
        }
    }

    fn complaint(&self) -> String {
        let (dag, now) = (&*self.scope.dag, self.scope.engine.clock.now());
        let mut reasons = Vec::new();
        for task in 0..dag.tasks.len() as TaskIx {
            let instances = self.state.instances(task);
            let reason = |key| Some(self.rows.explain(why(dag, &self.state, key, now)?, key));
            let waits = instances.filter_map(|(map_index, _)| reason(InstanceKey { task, map_index }));
            reasons.extend(waits.take(1).map(|why| format!("task `{}` {why}", self.scope.ids.task(task))));
        }
        format!("the run cannot go on, and nothing will change that: {}", reasons.join("; "))
    }

    /// Tells the observer what tries have said, as far as it waits now.
    pub(super) fn pass_hints(&mut self) {
        for _ in 0..self.hints.len() {
            let Ok(hint) = self.hints.try_recv() else { break };
            (self.observer)(&hint);
        }
    }

    /// Why what is unfinished ends when the run has taken too long.
    pub(super) fn too_long(dag: &Dag) -> Cause {
        let timeout = flow_core::parse::human(dag.dagrun_timeout.unwrap_or_default());
        let message = format!("the run took longer than its dagrun_timeout of {timeout}");
        Cause { kind: CauseKind::Cancelled, message, place: None }
    }
}

/// Seconds between two instants.
pub(super) fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_microseconds().unwrap_or_default() as f64 / 1e6
}
