//! Backfill: the runs that a timetable would have made over a stretch of time, made now.
//!
//! What is there already is left alone, gone on with, or run again, as one asks. Killed half-way, the same backfill asked for
//! again goes on where it was: a run is known by its logical date, of which a DAG has one.

use super::{Listener, ScheduledDag, Told, secrets};
use crate::executor::{Again, Engine, EngineError, RunReport, RunRequest, Stop};
use crate::run_event::Observer;
use crate::store::{MetadataStore, RunFilter, StoreError, StoredRun};
use chrono::{DateTime, Utc};
use flow_core::timetable::{self, TimetableError};
use flow_core::{NextRun, RunStatus, RunType, Selection};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::task::JoinSet;

/// What to do about a date that has a run already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reprocess {
    /// Nothing, if it has ended.
    #[default]
    None,
    /// What failed runs again.
    Failed,
    /// All of it runs again, however it ended.
    Completed,
}

/// What a backfill asks for.
#[derive(Debug, Clone)]
pub struct BackfillRequest {
    /// The first instant.
    pub from: DateTime<Utc>,
    /// The last instant, which is in.
    pub to: DateTime<Utc>,
    /// What to do about dates that have a run.
    pub reprocess: Reprocess,
    /// The latest date first.
    pub backwards: bool,
}

/// What becomes of one date.
#[derive(Debug, Clone)]
pub enum Fill {
    /// It gets a run.
    Make(NextRun),
    /// Its run was left unfinished, and goes on.
    GoOn(StoredRun),
    /// What failed of its run runs again.
    Retry(StoredRun),
    /// All of its run runs again.
    Again(StoredRun),
    /// Its run stays as it is.
    Leave(StoredRun),
}

impl Fill {
    /// The instant that the run is about.
    pub fn logical_date(&self) -> Option<DateTime<Utc>> {
        match self {
            Fill::Make(run) => Some(run.logical_date),
            Fill::GoOn(run) | Fill::Retry(run) | Fill::Again(run) | Fill::Leave(run) => run.run.logical_date,
        }
    }

    /// Is there something to run?
    pub fn is_work(&self) -> bool {
        !matches!(self, Fill::Leave(_))
    }
}

/// Why there is no backfill; prints as one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackfillError {
    /// The schedule or the time zone of the DAG is none.
    #[error("{0}")]
    Timetable(#[from] TimetableError),
    /// Its timetable tells no dates of a stretch of time.
    #[error(
        "DAG `{0}` has no schedule that tells dates ahead, so there is none to fill in: run it by `--logical-date`"
    )]
    NoDates(String),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// What becomes of every date, in the order in which they are run.
///
/// # Errors
/// A DAG without a schedule, a store that fails.
pub async fn plan(
    store: &dyn MetadataStore,
    dag: &ScheduledDag,
    request: &BackfillRequest,
) -> Result<Vec<Fill>, BackfillError> {
    let dag = &dag.dag;
    let timetable = timetable::of(dag)?;
    if dag.schedule.is_none() || !timetable.foresees() {
        return Err(BackfillError::NoDates(dag.dag_id.clone()));
    }
    let filter = RunFilter { dag_id: Some(dag.dag_id.clone()), ..RunFilter::default() };
    let there = store.runs(&filter).await?.into_iter().filter_map(|run| Some((run.run.logical_date?, run)));
    let mut there: HashMap<DateTime<Utc>, StoredRun> = there.collect();
    let fill = |next: NextRun| match there.remove(&next.logical_date) {
        None => Fill::Make(next),
        Some(run) => match (run.run.state, request.reprocess) {
            (RunStatus::Queued | RunStatus::Running, _) => Fill::GoOn(run),
            (_, Reprocess::Completed) => Fill::Again(run),
            (RunStatus::Failed, Reprocess::Failed) => Fill::Retry(run),
            _ => Fill::Leave(run),
        },
    };
    let mut fills: Vec<Fill> = timetable::runs_between(&*timetable, request.from, request.to).map(fill).collect();
    if request.backwards {
        fills.reverse();
    }
    Ok(fills)
}

/// How one date went.
#[derive(Debug)]
pub struct Filled {
    /// The run.
    pub run_id: String,
    /// How it went.
    pub ended: Result<RunReport, EngineError>,
}

impl Filled {
    /// Somebody else has made it, works on it or has brought it to its end meanwhile.
    pub fn is_elsewhere(&self) -> bool {
        use EngineError::{Held, NotResumable, Store};
        matches!(
            &self.ended,
            Err(Held(_) | NotResumable(_))
                | Err(Store(
                    StoreError::RunExists { .. } | StoreError::LogicalDateTaken { .. } | StoreError::Fenced { .. }
                ))
        )
    }
}

/// Runs what there is to run, at most so many runs at one time, until all is done or it is told to stop.
pub async fn run(
    engine: &Engine,
    dag: &ScheduledDag,
    fills: Vec<Fill>,
    most: usize,
    listener: &Listener,
    stop: &Stop,
) -> Vec<Filled> {
    let mut waiting: VecDeque<Fill> = fills.into_iter().filter(Fill::is_work).collect();
    let (mut under_way, mut done) = (JoinSet::new(), Vec::new());
    loop {
        while under_way.len() < most.max(1) && !stop.graceful.is_cancelled() {
            let Some(fill) = waiting.pop_front() else { break };
            under_way.spawn(fill_in(engine.clone(), dag.clone(), fill, listener.clone(), stop.clone()));
        }
        match under_way.join_next().await {
            Some(Ok(filled)) => done.push(filled),
            // The run is free, and the same backfill goes on with it.
            Some(Err(error)) => listener(&Told::Note(format!("the engine panicked, and a run was left: {error}"))),
            None => return done,
        }
    }
}

async fn fill_in(engine: Engine, dag: ScheduledDag, fill: Fill, listener: Listener, stop: Stop) -> Filled {
    let observer = |run_id: &str| -> Observer {
        let (listener, dag_id, run_id) = (listener.clone(), dag.dag.dag_id.clone(), run_id.to_owned());
        Arc::new(move |event| listener(&Told::Event { dag_id: &dag_id, run_id: &run_id, event }))
    };
    let params = dag.params.clone().unwrap_or_default();
    let (stored, again) = match fill {
        Fill::Make(next) => {
            let request = RunRequest::of(RunType::Backfill, next, params);
            let run_id = request.run_id.clone().unwrap_or_default();
            let ended = engine.run(dag.dag.clone(), request, observer(&run_id), stop).await;
            return Filled { run_id, ended };
        }
        // It was planned a while ago: what has ended since then stays as it is.
        Fill::GoOn(stored) | Fill::Leave(stored) => (stored, Again::Nothing),
        Fill::Retry(stored) => (stored, Again::Failed),
        Fill::Again(stored) => {
            let tasks = (0..dag.dag.tasks.len() as u32).map(|task| (task, None)).collect();
            (stored, Again::These(Selection { tasks, ..Selection::default() }))
        }
    };
    let run_id = stored.run.run_id.clone();
    let given = secrets(&stored, &params);
    let ended = engine.resume(dag.dag.clone(), stored, given, again, observer(&run_id), stop).await;
    Filled { run_id, ended }
}
