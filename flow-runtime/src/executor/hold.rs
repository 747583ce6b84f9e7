//! How this process holds the run it works on: by a lock under the home folder where all who could take it share that folder, by
//! a lease in the store where they may be on other machines.

use super::keeper::Leased;
use super::lease::{self, Lease};
use super::{Engine, EngineError};
use crate::store::{Epoch, HeldRun, MetadataStore, RunPk, StoreError, StoredRun, Term, Terms};
use flow_core::DagRun;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A run held by this process, until it is dropped.
pub(super) enum Hold {
    /// Nobody else could take it: it is in the memory of this process.
    Free,
    /// By a lock, which goes with it.
    Locked { _lock: Lease },
    /// By a lease.
    Leased(Leased),
}

/// What else must hold when a run is made; see [`Terms`].
#[derive(Debug, Clone, Default)]
pub(crate) struct OnlyIf {
    pub(crate) max_active: Option<u32>,
    pub(crate) not_counted: Vec<String>,
    pub(crate) after: Option<Option<RunPk>>,
    pub(crate) seen: Vec<i64>,
    pub(crate) backfill: Option<i64>,
}

impl Hold {
    /// Fires when the run must be let go; never for one that is held by a lock.
    pub(super) fn lost(&self) -> Option<&CancellationToken> {
        match self {
            Hold::Leased(leased) => Some(leased.lost()),
            Hold::Free | Hold::Locked { .. } => None,
        }
    }

    /// Why it must be let go, once it must.
    pub(super) fn why_lost(&self) -> &str {
        match self {
            Hold::Leased(leased) => leased.why(),
            Hold::Free | Hold::Locked { .. } => "",
        }
    }

    /// The epoch under which the run may be changed. Whoever had it before can change nothing from here on.
    pub(super) async fn epoch(&self, engine: &Engine, run: RunPk) -> Result<Epoch, StoreError> {
        match self {
            Hold::Leased(leased) => Ok(leased.epoch()),
            // The lock says that nobody who lives has it.
            Hold::Free | Hold::Locked { .. } => engine.store.acquire_run(run, &engine.owner()).await,
        }
    }

    /// Gives it back at once, where it is not enough to be dropped.
    pub(super) async fn release(&self) {
        if let Hold::Leased(leased) = self {
            leased.release().await;
        }
    }
}

/// Makes a run, and holds it.
pub(super) async fn make(
    engine: &Engine,
    run: &DagRun,
    version: &str,
    only_if: &OnlyIf,
) -> Result<(RunPk, Epoch, Hold), EngineError> {
    let owner = engine.owner();
    let hold = lock(engine, run)?;
    let asked = Instant::now();
    let terms = Terms {
        owner: &owner,
        lease: engine.keeper.as_ref().map(|keeper| keeper.term()),
        max_active: only_if.max_active,
        not_counted: &only_if.not_counted,
        after: only_if.after,
        seen: &only_if.seen,
        backfill: only_if.backfill,
    };
    let (pk, epoch) = engine.store.make_run(run, version, &terms).await?;
    let hold = match &engine.keeper {
        Some(keeper) => Hold::Leased(keeper.keep(pk, epoch, asked)?),
        None => hold,
    };
    Ok((pk, epoch, hold))
}

/// Takes a run that nobody works on.
pub(super) async fn take(engine: &Engine, stored: &StoredRun) -> Result<Hold, EngineError> {
    let Some(keeper) = &engine.keeper else { return lock(engine, &stored.run) };
    let asked = Instant::now();
    match engine.store.take_run(stored.pk, &engine.owner(), keeper.term()).await {
        Ok(epoch) => Ok(Hold::Leased(keeper.keep(stored.pk, epoch, asked)?)),
        Err(StoreError::Held { owner, until, .. }) => {
            let (run_id, dag_id) = (&stored.run.run_id, &stored.run.dag_id);
            let until = until.format("%H:%M:%S");
            Err(EngineError::Held(format!(
                "run `{run_id}` of DAG `{dag_id}` is being worked on ({owner}; its lease ends at {until} UTC, if it is not \
                 renewed): wait for it, or stop it first"
            )))
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes a backfill, or keeps it: by a lock that goes with `lock`, or by a lease, which is to be kept before it ends. Says
/// whether this process has it; it must run.
pub(super) async fn backfill(engine: &Engine, id: i64, lock: &mut Option<Lease>) -> Result<bool, EngineError> {
    if let Some(keeper) = &engine.keeper {
        loop {
            let (term, asked) = (keeper.term(), Instant::now());
            let held = engine.store.hold_backfill(id, &engine.owner(), term).await?;
            // A yes that comes after the lease that it speaks of says nothing: another may have it by now.
            if !held || asked.elapsed() < term.length {
                return Ok(held);
            }
        }
    }
    if lock.is_none() && engine.locks() {
        *lock = match Lease::of_kind(&engine.settings.home, &format!("backfill-{id}")) {
            Ok(taken) => Some(taken),
            Err(EngineError::Held(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
    }
    // The lock says who has it; this, that it runs, and to people who has it.
    let term = Term { length: Duration::ZERO, now: engine.clock.now() };
    Ok(engine.store.hold_backfill(id, &engine.owner(), term).await?)
}

/// Locks the run, if the settings ask for it.
fn lock(engine: &Engine, run: &DagRun) -> Result<Hold, EngineError> {
    if !engine.locks() {
        return Ok(Hold::Free);
    }
    Ok(Hold::Locked { _lock: Lease::take(&engine.settings.home, &run.dag_id, &run.run_id)? })
}

/// Who works on which run.
#[derive(Debug, Clone)]
pub enum Holders {
    /// Whoever has locked it under this home folder; looked up one by one.
    Locks(PathBuf),
    /// Whoever had a lease when this was asked.
    Leases(HashMap<RunPk, HeldRun>),
    /// Nobody: the runs are those of this process.
    Nobody,
}

impl Holders {
    /// The leases that have not ended.
    pub async fn of_leases(store: &dyn MetadataStore, now: chrono::DateTime<chrono::Utc>) -> Result<Self, StoreError> {
        Ok(Holders::Leases(store.held(now).await?.into_iter().map(|held| (held.run, held)).collect()))
    }

    /// Does somebody work on this run?
    pub fn holds(&self, stored: &StoredRun) -> bool {
        match self {
            Holders::Locks(home) => lease::is_held(home, &stored.run.dag_id, &stored.run.run_id),
            Holders::Leases(held) => held.contains_key(&stored.pk),
            Holders::Nobody => false,
        }
    }

    /// Who works on this run, for people: host and process.
    pub fn holder(&self, stored: &StoredRun) -> Option<String> {
        match self {
            Holders::Leases(held) => held.get(&stored.pk).map(|held| held.owner.clone()),
            Holders::Locks(_) | Holders::Nobody => stored.owner.clone().filter(|_| self.holds(stored)),
        }
    }

    /// It is unfinished, and nobody works on it.
    pub fn left_alone(&self, stored: &StoredRun) -> bool {
        !stored.run.state.is_finished() && !self.holds(stored)
    }
}
