//! Leases: a run is held by an owner until an instant.
//!
//! Where every owner lives on one machine a file lock says more, and at once: the system gives it back when a process ends. A
//! lease is for owners on several machines. It is taken with the run ([`MetadataStore::take_run`]), renewed in time, and
//! ends by itself when its owner is not heard of any more; then anybody may take the run, and the epoch keeps the old
//! owner out.
//!
//! **Whose clock.** Postgres goes by its own (`clock_timestamp()`), so that machines whose clocks differ agree. The stores in
//! memory and in a file have none: they go by [`Term::now`], which Postgres does not look at (nor does
//! [`MemoryStore::with_clock`](super::MemoryStore::with_clock), for tests). So it is with what must be told outside, too: who has
//! taken it has it for a term.

use super::{Epoch, MetadataStore, Result, RunPk};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// For how long a run is to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// How long, from now on. One of no length has ended when it is given.
    pub length: Duration,
    /// The present instant by the caller's clock.
    pub now: DateTime<Utc>,
}

impl Term {
    /// When it ends, by the caller's clock; a length beyond the calendar ends with it.
    pub(in crate::store) fn until(&self) -> DateTime<Utc> {
        let length = TimeDelta::from_std(self.length).ok();
        length.and_then(|length| self.now.checked_add_signed(length)).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// For whom a run is made, and what must hold in the very transaction that makes it: what was read a moment ago may have been
/// changed by somebody else since.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'t> {
    /// Who makes it, for people.
    pub owner: &'t str,
    /// Its maker holds it so long; `None` where it is held by other means, or by nobody.
    pub lease: Option<Term>,
    /// With it, at most so many runs of its DAG are unfinished.
    pub max_active: Option<u32>,
    /// The ids of unfinished runs that do not count, for they cannot go on.
    pub not_counted: &'t [String],
    /// This is the latest run of the DAG that a timetable has made (by `run_after`, then number): so of several who read the
    /// same past, one writes the next tick.
    pub after: Option<Option<RunPk>>,
    /// The numbers of events of assets that it is made for: each is still pending for its DAG, else it is
    /// [`StoreError::EventsTaken`](super::StoreError::EventsTaken). All that is pending for the DAG is taken by the run, in the
    /// same transaction. None for a run that has nothing to do with assets: it takes nothing.
    pub seen: &'t [i64],
    /// The number of the backfill that it is made for: that runs, and nobody but this owner holds it, or has taken it since its hold
    /// was over. Else it is [`StoreError::BackfillLost`](super::StoreError::BackfillLost).
    pub backfill: Option<i64>,
}

/// A run whose lease has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRun {
    /// The run.
    pub run: RunPk,
    /// Who holds it.
    pub owner: String,
    /// When its lease ends, if it is not renewed.
    pub until: DateTime<Utc>,
}

/// Renews leases and gives them back, on whatever thread calls it.
#[async_trait::async_trait]
pub trait Renewer: Send {
    /// As [`MetadataStore::renew`], in one attempt. Its future may be dropped.
    async fn renew(&mut self, held: &[(RunPk, Epoch)], term: Term) -> Result<BTreeSet<RunPk>>;

    /// As [`MetadataStore::release`], in one attempt. Its future may be dropped.
    async fn release(&mut self, run: RunPk, epoch: Epoch) -> Result<()>;
}

/// Asks the store itself, which may wait for the thread that it was opened on.
pub(super) struct ThroughStore(pub(super) Arc<dyn MetadataStore>);

#[async_trait::async_trait]
impl Renewer for ThroughStore {
    async fn renew(&mut self, held: &[(RunPk, Epoch)], term: Term) -> Result<BTreeSet<RunPk>> {
        self.0.renew(held, term).await
    }

    async fn release(&mut self, run: RunPk, epoch: Epoch) -> Result<()> {
        self.0.release(run, epoch).await
    }
}
