//! Changes as the texts that a database takes: each table's rows as one JSON array of arrays.

use crate::store::{
    AssetEventWrite, BackfillSpec, CacheWrite, CallbackWrite, Epoch, InstanceRow, Result, RunCommit, RunPk, SlotAsk,
    SlotClaim, StepWrite, StoreError, Term, Terms, XComWrite, to_micros,
};
#[cfg(feature = "sqlite")]
use chrono::TimeDelta;
use chrono::{DateTime, Utc};
use flow_core::admit::Share;
use flow_core::{DagRun, Report, RunStatus};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "sqlite")]
use tokio::time::Instant;

/// The elements of a JSON array, without its brackets, so that the arrays of several callers join by a comma.
#[derive(Debug, Default, Clone)]
pub(in crate::store) struct Elements {
    text: String,
    len: usize,
}

impl Elements {
    fn push(&mut self, element: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string(element).map_err(|e| {
            StoreError::Backend(format!("a row of the metadata database cannot be written as JSON: {e}"))
        })?;
        self.append(&json, 1);
        Ok(())
    }

    fn append(&mut self, text: &str, len: usize) {
        if len == 0 {
            return;
        }
        if self.len > 0 {
            self.text.push(',');
        }
        self.text.push_str(text);
        self.len += len;
    }

    /// The array.
    pub(in crate::store) fn array(&self) -> String {
        let mut array = String::with_capacity(self.text.len() + 2);
        array.push('[');
        array.push_str(&self.text);
        array.push(']');
        array
    }
}

/// Changes of several runs that one row can apply: no run twice.
#[derive(Debug, Default, Clone)]
pub(in crate::store) struct Round {
    /// * claims: `[run, epoch, name of the commit, is it a person's order]`; all is refused when an epoch is not the present one.
    /// * states: `[run, state, at, so many failures in a row pause the DAG, how it is being ended]`.
    /// * archive: `[run, task_id, map_index]`.
    /// * instances: `[run, task_id, map_index, state, try_number, max_tries, due, start_date, end_date, cause, report, label,
    ///   event]`.
    /// * xcoms: `[run, task_id, map_index, key, type_name, size, sha256, inline, timestamp]`.
    /// * forgotten: `[run, task_id, map_index]`.
    /// * steps: `[run, task_id, map_index, name, value, try_number, timestamp]`.
    /// * asset events: `[run, asset, task_id, map_index, try_number, extra, timestamp]`.
    /// * callbacks: `[run, task_id, map_index, try_number, event, notifier, payload, timestamp]`.
    /// * settled: `[run, id of the order]`.
    /// * cached: `[run, key, task_id, map_index, type_name, size, sha256, inline, timestamp]`.
    pub(in crate::store) columns: [Elements; 11],
}

impl Round {
    fn push(&mut self, commit: &RunCommit, name: i64) -> Result<()> {
        let run = commit.run.0;
        let [claims, states, archive, instances, xcoms, forgotten, steps, asset_events, callbacks, settled, cached] =
            &mut self.columns;
        claims.push(&(run, commit.epoch.0, name, commit.is_order))?;
        if let Some((state, at)) = commit.status {
            let pause_at = commit.pause_at.filter(|_| state == RunStatus::Failed);
            states.push(&(run, state.name(), to_micros(at), pause_at, &commit.ending))?;
        }
        for write in &commit.instances {
            if write.archive {
                archive.push(&(run, &write.row.task_id, write.row.map_index))?;
            }
            instances.push(&instance(run, &write.row))?;
        }
        for write in &commit.xcoms {
            xcoms.push(&xcom(run, write))?;
        }
        for (task_id, map_index) in &commit.forgotten {
            forgotten.push(&(run, task_id, map_index))?;
        }
        for write in &commit.steps {
            steps.push(&step(run, write))?;
        }
        for write in &commit.asset_events {
            asset_events.push(&asset_event(run, write))?;
        }
        for write in &commit.callbacks {
            callbacks.push(&callback(run, write))?;
        }
        for id in &commit.settled {
            settled.push(&(run, id))?;
        }
        for write in &commit.cached {
            cached.push(&cache(run, write))?;
        }
        Ok(())
    }

    fn join(&mut self, other: &Round) {
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            mine.append(&theirs.text, theirs.len);
        }
    }

    fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.text.len()).sum()
    }
}

/// One caller's changes.
#[derive(Debug, Clone)]
pub(in crate::store) struct Batch {
    /// What it claims, in its order.
    pub(in crate::store) claims: Vec<(RunPk, Epoch)>,
    /// Nearly always one; more where the caller changes one run several times.
    pub(in crate::store) rounds: Vec<Round>,
    /// A failure in it may pause a DAG.
    pub(in crate::store) may_pause: bool,
}

impl Batch {
    pub(in crate::store) fn of(commits: &[RunCommit]) -> Result<Batch> {
        let may_pause = commits.iter().any(|commit| commit.pause_at.is_some() && commit.status.is_some());
        let mut batch = Batch { claims: Vec::with_capacity(commits.len()), rounds: vec![Round::default()], may_pause };
        let mut seen = HashSet::with_capacity(commits.len());
        let name = fresh_name();
        for commit in commits {
            if !seen.insert(commit.run) {
                batch.rounds.push(Round::default());
                seen.clear();
                seen.insert(commit.run);
            }
            batch.claims.push((commit.run, commit.epoch));
            if let Some(round) = batch.rounds.last_mut() {
                round.push(commit, name)?;
            }
        }
        Ok(batch)
    }

    /// All rounds, each as an array of its arrays.
    #[cfg(feature = "postgres")]
    pub(in crate::store) fn array(&self) -> String {
        let rounds = self.rounds.iter().map(|round| {
            let columns: Vec<String> = round.columns.iter().map(Elements::array).collect();
            format!("[{}]", columns.join(","))
        });
        format!("[{}]", rounds.collect::<Vec<_>>().join(","))
    }

    /// Size of its texts in bytes.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.rounds.iter().map(Round::bytes).sum()
    }

    /// Takes the other's changes in; both must be of one round, with no run in common.
    pub(in crate::store) fn join(&mut self, other: &Batch) {
        self.claims.extend_from_slice(&other.claims);
        self.may_pause |= other.may_pause;
        if let (Some(mine), Some(theirs)) = (self.rounds.first_mut(), other.rounds.first()) {
            mine.join(theirs);
        }
    }
}

fn instance(run: i64, row: &InstanceRow) -> impl Serialize {
    let micros = |at: Option<DateTime<Utc>>| at.map(to_micros);
    (
        run,
        &row.task_id,
        row.map_index,
        row.state.name(),
        row.try_number,
        row.max_tries,
        micros(row.due),
        micros(row.start_date),
        micros(row.end_date),
        &row.cause,
        (row.report != Report::default()).then_some(&row.report),
        &row.label,
        &row.event,
    )
}

fn xcom(run: i64, x: &XComWrite) -> impl Serialize {
    (
        run,
        &x.task_id,
        x.map_index,
        &x.key,
        &x.value.type_name,
        x.value.size,
        &x.value.sha256,
        &x.value.inline,
        to_micros(x.timestamp),
    )
}

fn step(run: i64, s: &StepWrite) -> impl Serialize {
    (run, &s.task_id, s.map_index, &s.name, &s.value, s.try_number, to_micros(s.timestamp))
}

fn asset_event(run: i64, a: &AssetEventWrite) -> impl Serialize {
    (run, &a.asset, &a.task_id, a.map_index, a.try_number, &a.extra, to_micros(a.timestamp))
}

fn callback(run: i64, c: &CallbackWrite) -> impl Serialize {
    (run, &c.task_id, c.map_index, c.try_number, &c.event, &c.notifier, &c.payload, to_micros(c.timestamp))
}

fn cache(run: i64, c: &CacheWrite) -> impl Serialize {
    let value = &c.value;
    let at = to_micros(c.timestamp);
    (run, &c.key, &c.task_id, c.map_index, &value.type_name, value.size, &value.sha256, &value.inline, at)
}

/// A backfill, as owned values.
#[derive(Debug)]
pub(in crate::store) struct NewBackfill {
    pub(in crate::store) spec: BackfillSpec,
    pub(in crate::store) conf: String,
    pub(in crate::store) created: DateTime<Utc>,
}

impl NewBackfill {
    pub(in crate::store) fn of(spec: &BackfillSpec, created: DateTime<Utc>) -> Result<NewBackfill> {
        let conf = serde_json::to_string(&spec.conf)
            .map_err(|e| StoreError::Backend(format!("the params of a backfill cannot be written as JSON: {e}")))?;
        Ok(NewBackfill { spec: spec.clone(), conf, created })
    }
}

/// A build that makes runs of a version of a DAG.
#[derive(Debug, Clone)]
pub(in crate::store) struct NewBuild {
    pub(in crate::store) dag_version: String,
    pub(in crate::store) build: String,
    pub(in crate::store) timestamp: DateTime<Utc>,
}

/// An event that has happened, as owned values.
#[derive(Debug)]
pub(in crate::store) struct NewEvent {
    pub(in crate::store) name: String,
    pub(in crate::store) payload: String,
    pub(in crate::store) timestamp: DateTime<Utc>,
}

/// An event of an asset that no task has made, as owned values.
#[derive(Debug)]
pub(in crate::store) struct NewAssetEvent {
    pub(in crate::store) asset: String,
    pub(in crate::store) extra: String,
    pub(in crate::store) timestamp: DateTime<Utc>,
}

/// Which assets DAGs wait for.
#[derive(Debug)]
pub(in crate::store) struct Awaited {
    /// JSON array of the DAGs.
    pub(in crate::store) dags: String,
    /// JSON array of `[dag_id, asset]`.
    pub(in crate::store) pairs: String,
}

impl Awaited {
    pub(in crate::store) fn of(dags: &BTreeMap<String, BTreeSet<String>>) -> Result<Awaited> {
        let (mut ids, mut pairs) = (Elements::default(), Elements::default());
        for (dag_id, assets) in dags {
            ids.push(dag_id)?;
            assets.iter().try_for_each(|asset| pairs.push(&(dag_id, asset)))?;
        }
        Ok(Awaited { dags: ids.array(), pairs: pairs.array() })
    }
}

/// What somebody wants of a run, as owned values.
#[derive(Debug)]
pub(in crate::store) struct NewOrder {
    pub(in crate::store) run: RunPk,
    pub(in crate::store) event: String,
    pub(in crate::store) timestamp: DateTime<Utc>,
}

/// Parts in shared limits that are asked for.
#[derive(Debug)]
pub(in crate::store) struct NewSlots {
    /// JSON: [run, epoch, task_id, map_index, worth, parts] each, a part is [name, units, most, span in microseconds or null].
    pub(in crate::store) asks: String,
    #[cfg(feature = "postgres")]
    pub(in crate::store) asker: String,
    /// The instant by the clock of whoever asks, and when by a clock that nobody sets.
    #[cfg(feature = "sqlite")]
    asked: (DateTime<Utc>, Instant),
}

impl NewSlots {
    pub(in crate::store) fn of(claim: &SlotClaim<'_>) -> NewSlots {
        let part = |share: &Share| {
            let span = share.span.map(|span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 4));
            serde_json::json!([share.name, share.units, share.most, span])
        };
        let ask = |ask: &SlotAsk| {
            let parts: Vec<_> = ask.shares.iter().map(part).collect();
            serde_json::json!([claim.run.0, claim.epoch.0, &*ask.task_id, ask.map_index, claim.worth(ask), parts])
        };
        let asks: Vec<_> = claim.asks.iter().map(ask).collect();
        NewSlots {
            asks: serde_json::Value::from(asks).to_string(),
            #[cfg(feature = "postgres")]
            asker: claim.asker().into_owned(),
            #[cfg(feature = "sqlite")]
            asked: (claim.now, Instant::now()),
        }
    }

    /// The present instant, in microseconds, by the clock of whoever asked: he may have waited since.
    #[cfg(feature = "sqlite")]
    pub(in crate::store) fn now(&self) -> i64 {
        let (by_clock, asked) = self.asked;
        to_micros(TimeDelta::from_std(asked.elapsed()).map_or(by_clock, |waited| by_clock + waited))
    }
}

/// A run to be made, as owned values.
#[derive(Debug)]
pub(in crate::store) struct NewRun {
    pub(in crate::store) run: DagRun,
    pub(in crate::store) conf: String,
    pub(in crate::store) dag_version: String,
    pub(in crate::store) owner: String,
    pub(in crate::store) lease: Option<Term>,
    pub(in crate::store) max_active: Option<u32>,
    /// Ids of runs, as a JSON array.
    pub(in crate::store) not_counted: String,
    pub(in crate::store) after: Option<Option<RunPk>>,
    /// Numbers of events, as a JSON array.
    pub(in crate::store) seen: String,
    pub(in crate::store) backfill: Option<i64>,
    /// By which a store recognises what it has done already.
    #[cfg(feature = "postgres")]
    pub(in crate::store) name: i64,
}

impl NewRun {
    pub(in crate::store) fn of(run: &DagRun, dag_version: &str, terms: &Terms<'_>) -> Result<NewRun> {
        let not_json = |e: serde_json::Error| {
            StoreError::Backend(format!("the params of run `{}` cannot be written as JSON: {e}", run.run_id))
        };
        let conf = serde_json::to_string(&run.conf).map_err(not_json)?;
        Ok(NewRun {
            run: run.clone(),
            conf,
            dag_version: dag_version.to_owned(),
            owner: terms.owner.to_owned(),
            lease: terms.lease,
            max_active: terms.max_active,
            not_counted: serde_json::to_string(terms.not_counted).map_err(not_json)?,
            after: terms.after,
            seen: serde_json::to_string(terms.seen).map_err(not_json)?,
            backfill: terms.backfill,
            #[cfg(feature = "postgres")]
            name: fresh_name(),
        })
    }

    /// The error that this one of its terms does not hold: `overtaken`, `events_taken`, `backfill_lost`, `too_many`.
    pub(in crate::store) fn refused(&self, term: &str) -> StoreError {
        let dag_id = self.run.dag_id.clone();
        match (term, self.max_active) {
            ("too_many", Some(most)) => StoreError::TooManyActive { dag_id, most },
            ("backfill_lost", _) => StoreError::BackfillLost(self.backfill.unwrap_or_default()),
            ("events_taken", _) => StoreError::EventsTaken { dag_id },
            ("overtaken", _) => StoreError::Overtaken { dag_id },
            (other, _) => {
                StoreError::Corrupt(format!("a run of DAG `{dag_id}` is refused as `{other}`, which is no term"))
            }
        }
    }

    /// The error that its DAG has a run of its id, or about its logical date.
    pub(in crate::store) fn taken(&self, by_date: bool) -> StoreError {
        let dag_id = self.run.dag_id.clone();
        match self.run.logical_date {
            Some(logical_date) if by_date => StoreError::LogicalDateTaken { dag_id, logical_date },
            _ => StoreError::RunExists { dag_id, run_id: self.run.run_id.clone() },
        }
    }
}

/// The claims as one JSON array of `[run, epoch]`.
pub(in crate::store) fn claims(held: &[(RunPk, Epoch)]) -> String {
    let claims: Vec<String> = held.iter().map(|(run, epoch)| format!("[{},{}]", run.0, epoch.0)).collect();
    format!("[{}]", claims.join(","))
}

/// A number that no other commit has, of this process or another.
pub(in crate::store) fn fresh_name() -> i64 {
    static FIRST: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    FIRST.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)).cast_signed()
}
