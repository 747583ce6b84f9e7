//! Backfill: the runs that a timetable would have made over a [`stretch`](super::stretch) of time, made now.
//!
//! What is there already is left alone, gone on with, or run again, as one asks. A backfill is a row in the store. Nothing is
//! written down of how far it is: that is told by the runs, of which a DAG has one for each logical date. What has ended since the
//! backfill was asked for is done with, however it ended. So whoever works on it next, after any crash, finds out what is left by
//! [`plan`], and each date is run once.

use super::stretch::Stretch;
use super::{Listener, POLL, ScheduledDag, Told, secrets};
use crate::executor::{Again, Engine, EngineError, Lease, OnlyIf, RunReport, RunRequest, Stop};
use crate::run_event::Observer;
pub use crate::store::Reprocess;
use crate::store::{
    BackfillChange, BackfillRow, BackfillSpec, BackfillState, MetadataStore, RunFilter, StoreError, StoredRun,
};
use crate::timetable::TimetableError;
use chrono::{DateTime, Utc};
use flow_core::{NextRun, RunStatus, RunType, Selection};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::task::{self, JoinSet};

/// A run that had to be left so many times is left to whoever works on the backfill next.
const OFTEN: u32 = 5;

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

    /// The run that the date has already.
    pub fn run(&self) -> Option<&StoredRun> {
        match self {
            Fill::Make(_) => None,
            Fill::GoOn(run) | Fill::Retry(run) | Fill::Again(run) | Fill::Leave(run) => Some(run),
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

/// What becomes of every date, in the order in which they are run; `since` is when it was asked for. A run that has ended since
/// then is left as it is, and a date that was still ahead then is none of them.
///
/// # Errors
/// A DAG without a schedule, a store that fails.
pub async fn plan(
    store: &dyn MetadataStore,
    dag: &ScheduledDag,
    spec: &BackfillSpec,
    since: DateTime<Utc>,
) -> Result<Vec<Fill>, BackfillError> {
    let dag = &dag.dag;
    let stretch = Stretch::of(dag, spec, since)?;
    let filter = RunFilter { dag_id: Some(dag.dag_id.clone()), ..RunFilter::default() };
    let there = store.runs(&filter).await?.into_iter().filter_map(|run| Some((run.run.logical_date?, run)));
    let mut there: HashMap<DateTime<Utc>, StoredRun> = there.collect();
    let fill = |next: NextRun| match there.remove(&next.logical_date) {
        None => Fill::Make(next),
        Some(run) => match (run.run.state, spec.reprocess) {
            (RunStatus::Queued | RunStatus::Running, _) => Fill::GoOn(run),
            _ if run.run.end_date.is_some_and(|end| end >= since) => Fill::Leave(run),
            (_, Reprocess::Completed) => Fill::Again(run),
            (RunStatus::Failed, Reprocess::Failed) => Fill::Retry(run),
            _ => Fill::Leave(run),
        },
    };
    let mut fills: Vec<Fill> = stretch.runs().map(fill).collect();
    if spec.backwards {
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
        use EngineError::{Held, LeaseLost, NotResumable, Store};
        matches!(
            &self.ended,
            Err(Held(_) | NotResumable(_) | LeaseLost(_))
                | Err(Store(
                    StoreError::RunExists { .. }
                        | StoreError::LogicalDateTaken { .. }
                        | StoreError::Fenced { .. }
                        | StoreError::BackfillLost(_)
                ))
        )
    }
}

impl Filled {
    /// Is the run unfinished, and can be gone on with?
    fn is_left(&self) -> bool {
        use EngineError::{Held, LeaseLost, Store};
        matches!(&self.ended, Err(Held(_) | LeaseLost(_) | Store(_)))
    }
}

/// How the work on a backfill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every date has its run.
    Done,
    /// It goes on when somebody works on it again: this process was told to stop, or has not brought every run to its end.
    Left,
    /// Somebody has paused it.
    Paused,
    /// Somebody has cancelled it.
    Cancelled,
    /// Another process has it.
    Elsewhere,
}

/// Works on a backfill: runs what there is to run, at most as many runs at one time as it may have, until all is done, or
/// somebody has paused or cancelled it, or this process is told to stop.
///
/// # Errors
/// Another process works on it; a store that fails before the first run is made.
pub async fn work_on(
    engine: &Engine,
    dag: &ScheduledDag,
    row: &BackfillRow,
    listener: &Listener,
    stop: &Stop,
) -> Result<(Vec<Filled>, Ended), EngineError> {
    stop.unless_hung(held(engine, dag, row, listener, stop)).await
}

async fn held(
    engine: &Engine,
    dag: &ScheduledDag,
    row: &BackfillRow,
    listener: &Listener,
    stop: &Stop,
) -> Result<(Vec<Filled>, Ended), EngineError> {
    let mut lock = None;
    if !engine.hold_backfill(row.id, &mut lock).await? {
        let state = state(&**engine.store(), row.id).await?;
        let elsewhere =
            format!("backfill {} is being worked on by another process: wait for it, or stop it first", row.id);
        return Err(EngineError::Held(match state {
            BackfillState::Running => elsewhere,
            state => format!("backfill {} is {}", row.id, state.name()),
        }));
    }
    let worked = work(engine, dag, row, &mut lock, (listener, stop)).await;
    engine.release_backfill(row.id, lock).await?;
    worked
}

async fn work(
    engine: &Engine,
    dag: &ScheduledDag,
    row: &BackfillRow,
    lock: &mut Option<Lease>,
    (listener, stop): (&Listener, &Stop),
) -> Result<(Vec<Filled>, Ended), EngineError> {
    let fills = plan(&**engine.store(), dag, &row.spec, row.created).await;
    let fills = fills.map_err(|error| match error {
        BackfillError::Store(error) => error.into(),
        error => EngineError::NotResumable(error.to_string()),
    })?;
    let (filled, stopped_by) = run(engine, dag, fills, row, lock, listener, stop).await;
    let ended = match stopped_by {
        Some(ended) => ended,
        None => settle(engine, dag, row).await?,
    };
    Ok((filled, ended))
}

/// It is done if there is nothing left to do.
async fn settle(engine: &Engine, dag: &ScheduledDag, row: &BackfillRow) -> Result<Ended, StoreError> {
    let store = engine.store();
    match plan(&**store, dag, &row.spec, row.created).await {
        Ok(fills) if !fills.iter().any(Fill::is_work) => {}
        Ok(_) => return Ok(Ended::Left),
        Err(BackfillError::Store(error)) => return Err(error),
        Err(_) => return Ok(Ended::Left),
    }
    let change =
        BackfillChange { id: row.id, from: BackfillState::Running, to: BackfillState::Done, at: engine.clock().now() };
    store.settle_backfill(&change).await?;
    Ok(Ended::Done)
}

/// The present state of a backfill; one that is not open any more is over.
async fn state(store: &dyn MetadataStore, id: i64) -> Result<BackfillState, StoreError> {
    let rows = store.backfills(false).await?;
    Ok(rows.into_iter().find(|row| row.id == id).map_or(BackfillState::Cancelled, |row| row.state))
}

/// Runs these. Says why it has ended before all were begun.
///
/// A run that had to be left, or that another process works on, is unfinished, and so has one of the places. Then it is planned anew
/// after a while: the run has ended, or is gone on with, before any further one begins.
async fn run(
    engine: &Engine,
    dag: &ScheduledDag,
    fills: Vec<Fill>,
    row: &BackfillRow,
    lock: &mut Option<Lease>,
    listener: &Listener,
    stop: &Stop,
) -> (Vec<Filled>, Option<Ended>) {
    let note = |text: String| listener(&Told::Note(text));
    let mut waiting = the_unfinished_first(fills);
    let (mut under_way, mut done, mut ended) = (JoinSet::new(), Vec::<Filled>::new(), None);
    let mut dates: HashMap<task::Id, Option<DateTime<Utc>>> = HashMap::new();
    // How many places are taken by runs that were left since it was planned, and how often each was left.
    let (mut left, mut often) = (0, BTreeMap::<Option<DateTime<Utc>>, u32>::new());
    let most = row.spec.max_active_runs.max(1) as usize;
    loop {
        if ended.is_none() && stop.graceful.is_cancelled() && (left > 0 || !waiting.is_empty()) {
            ended = Some(Ended::Left);
        }
        // Asked before each: whoever has paused it will see no further run begin.
        while ended.is_none() && under_way.len() + left < most && !waiting.is_empty() {
            match may_go_on(engine, row.id, lock).await {
                Ok(None) if stop.graceful.is_cancelled() => {
                    ended = Some(Ended::Left);
                    break;
                }
                Ok(None) => {}
                Ok(why) => {
                    ended = why;
                    break;
                }
                Err(error) => {
                    note(format!("backfill {} begins no further run: {error}", row.id));
                    ended = Some(Ended::Left);
                    break;
                }
            }
            let Some(fill) = waiting.pop_front() else { break };
            let date = fill.logical_date();
            let begun =
                under_way.spawn(fill_in(engine.clone(), dag.clone(), row.id, fill, listener.clone(), stop.clone()));
            dates.insert(begun.id(), date);
        }
        if under_way.is_empty() && (left == 0 || ended.is_some()) {
            return (done, ended);
        }
        tokio::select! {
            Some(joined) = under_way.join_next_with_id() => {
                let (id, filled) = match joined {
                    Ok((id, filled)) => (id, Some(filled)),
                    Err(error) => {
                        // The run is free, and is gone on with.
                        note(format!("the engine panicked, and a run was left: {error}"));
                        (error.id(), None)
                    }
                };
                let date = dates.remove(&id).flatten();
                if filled.as_ref().is_none_or(Filled::is_left) {
                    left += 1;
                    let times = often.entry(date).or_default();
                    *times += u32::from(filled.as_ref().is_none_or(|filled| !filled.is_elsewhere()));
                    if *times >= OFTEN && ended.is_none() {
                        note(format!("backfill {} begins no further run: one of its runs was left {times} times", row.id));
                        ended = Some(Ended::Left);
                    }
                }
                if let Some(filled) = filled {
                    // What was left before is told no more.
                    done.retain(|one| one.run_id != filled.run_id);
                    done.push(filled);
                }
            },
            () = stop.graceful.cancelled(), if ended.is_none() && under_way.is_empty() => {}
            // A lease is kept. Where the store does not answer, it is asked again before the next run begins.
            () = tokio::time::sleep(POLL), if ended.is_none() => {
                ended = may_go_on(engine, row.id, lock).await.ok().flatten();
                if left > 0 && ended.is_none() && let Ok(fills) = plan(&**engine.store(), dag, &row.spec, row.created).await {
                    waiting = the_unfinished_first(fills);
                    waiting.retain(|fill| !dates.values().any(|date| *date == fill.logical_date()));
                    left = 0;
                }
            }
        }
    }
}

/// What there is to run, in order; but what is unfinished has its place already.
fn the_unfinished_first(fills: Vec<Fill>) -> VecDeque<Fill> {
    let work = fills.into_iter().filter(Fill::is_work);
    let (unfinished, rest): (Vec<Fill>, Vec<Fill>) = work.partition(|fill| matches!(fill, Fill::GoOn(_)));
    unfinished.into_iter().chain(rest).collect()
}

/// Keeps it; says why no more of its runs may be begun here.
async fn may_go_on(engine: &Engine, id: i64, lock: &mut Option<Lease>) -> Result<Option<Ended>, EngineError> {
    if engine.hold_backfill(id, lock).await? {
        return Ok(None);
    }
    Ok(Some(match state(&**engine.store(), id).await? {
        BackfillState::Paused => Ended::Paused,
        BackfillState::Cancelled | BackfillState::Done => Ended::Cancelled,
        BackfillState::Running => Ended::Elsewhere,
    }))
}

async fn fill_in(engine: Engine, dag: ScheduledDag, id: i64, fill: Fill, listener: Listener, stop: Stop) -> Filled {
    let observer = |run_id: &str| -> Observer {
        let (listener, dag_id, run_id) = (listener.clone(), dag.dag.dag_id.clone(), run_id.to_owned());
        Arc::new(move |event| super::pass_on(&listener, (&dag_id, &run_id), event))
    };
    let params = dag.params.clone().unwrap_or_default();
    let (stored, again) = match fill {
        Fill::Make(next) => {
            let request = RunRequest::of(RunType::Backfill, next, params);
            let run_id = request.run_id.clone().unwrap_or_default();
            let only_if = OnlyIf { backfill: Some(id), ..OnlyIf::default() };
            let ended = engine.run_if(dag.dag.clone(), request, only_if, observer(&run_id), stop).await;
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
