//! The loop around one run: gather what happened, take a step, again, until the run is over.

use super::begin::Begun;
use super::ids::Ids;
use super::inputs;
use super::lease::Lease;
use super::outcome::TryEnd;
use super::queue::Queue;
use super::readers::Readers;
use super::report::Wanted;
use super::rows::Rows;
use super::scope::Scope;
use super::{Engine, EngineError, RunReport, Stop};
use crate::run_event::{Observer, RunEvent};
use crate::store::{Cause, CauseKind, Epoch};
use crate::telemetry::TryLog;
use chrono::{DateTime, Utc};
use flow_core::{Dag, DagRun, Event, InstanceKey, RunState, TaskIx, TryRef, why};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
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

/// One run under way.
pub(super) struct RunLoop {
    pub(super) scope: Arc<Scope>,
    pub(super) epoch: Epoch,
    pub(super) state: RunState,
    pub(super) rows: Rows,
    pub(super) queue: Queue,
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
}

/// Brings a run to its end, or to where it was stopped.
pub(super) async fn drive(
    engine: &Engine,
    begun: Begun,
    observer: Observer,
    stop: Stop,
) -> Result<RunReport, EngineError> {
    let (mut run, happened, record, _lease) = prepare(engine, begun, observer, stop);
    let began = record.1;
    let mut happened = happened;
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
    run.pass_hints();
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
    Ok(RunReport {
        run: stored.map_or(record.0, |s| s.run),
        pk: scope.pk,
        interrupted: !state.is_finished(),
        instances: engine.store.instances(scope.pk).await?,
    })
}

type Prepared = (RunLoop, Happened, (DagRun, DateTime<Utc>), Option<Lease>);

fn prepare(engine: &Engine, begun: Begun, observer: Observer, stop: Stop) -> Prepared {
    let Begun { dag, run, pk, epoch, params, state, rows, events, lost, resumed, lease } = begun;
    let (sender, hints) = mpsc::channel(HINTS);
    let settings = &engine.settings;
    let scope = Arc::new(Scope {
        engine: engine.clone(),
        ids: Ids::of(&dag),
        pk,
        run_id: run.run_id.clone(),
        run_start: run.start_date.unwrap_or_else(|| engine.clock.now()),
        logical_date: run.logical_date,
        data_interval: run.data_interval,
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
    observer(&RunEvent::RunStarted {
        dag_id: run.dag_id.clone(),
        dag_run_id: run.run_id.clone(),
        resumed,
        timestamp: now,
    });
    let mut queue = Queue::new(&scope.dag, engine.slots.clone());
    // What was scheduled when the run was left behind waits for a slot again.
    state.scheduled().into_iter().for_each(|key| queue.push(&scope.dag, key));
    let run_loop = RunLoop {
        epoch,
        state,
        rows,
        queue,
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
        deadline: scope.dag.dagrun_timeout.and_then(|t| Instant::now().checked_add(t)),
        more: false,
        changed: Vec::new(),
        scope,
    };
    (run_loop, Happened { ends, events }, (run, now), lease)
}

impl RunLoop {
    /// Nothing is under way, and nothing will be started.
    fn is_over(&self) -> bool {
        self.flights.is_empty() && (self.stopping || self.state.status().is_finished())
    }

    fn is_stuck(&self) -> bool {
        self.flights.is_empty() && self.wake_at.is_none() && !self.queue.waits_for_others()
    }

    fn complaint(&self) -> String {
        let (dag, now) = (&*self.scope.dag, self.scope.engine.clock.now());
        let mut reasons = Vec::new();
        for task in 0..dag.tasks.len() as TaskIx {
            let instances = self.state.instances(task);
            let waits =
                instances.filter_map(|(map_index, _)| why(dag, &self.state, InstanceKey { task, map_index }, now));
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
