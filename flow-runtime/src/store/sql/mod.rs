//! What the stores in a database have in common: how changes are written down, how they are gathered, what is asked and what
//! the rows of an answer mean.

pub(super) mod encode;
pub(super) mod questions;
pub(super) mod rows;
pub(super) mod writer;

use super::{
    AssetEventFilter, AssetEventRow, BackfillChange, BackfillRow, BackfillSpec, BuildRow, CacheRow, CallbackChange,
    CallbackFilter, CallbackRow, Epoch, HeldRun, InstanceRow, MetadataStore, OrderRow, PendingAsset, Renewer, Result,
    RunCommit, RunFilter, RunPk, SlotClaim, SlotRefusal, StoreError, StoredRun, Term, Terms, XComFilter, XComRow,
    fingerprint, to_micros,
};
use chrono::{DateTime, Utc};
use encode::{Awaited, Batch, NewAssetEvent, NewBackfill, NewBuild, NewEvent, NewOrder, NewRun, NewSlots};
use flow_core::{Dag, DagRun, Event};
use questions::Question;
use rows::Columns;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::watch;
use writer::Writes;

/// Most names in one question.
const NAMES: usize = 1000;

/// An error inside a store, before it is told to anybody.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database's.
    Sqlx(sqlx::Error),
    /// The store's own.
    Store(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(e: sqlx::Error) -> Failure {
        Failure::Sqlx(e)
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Failure {
        Failure::Store(e)
    }
}

impl Failure {
    /// As it is told to the caller; `explain` puts the database's into a sentence.
    pub(super) fn told(self, explain: impl FnOnce(&sqlx::Error) -> StoreError) -> StoreError {
        match self {
            Failure::Store(e) => e,
            Failure::Sqlx(e) => explain(&e),
        }
    }
}

/// A store in a database: what is asked is the same for each.
pub(super) trait Database: Send + Sync + 'static {
    /// A row of its answers.
    type Row: Columns;

    /// The present instant in microseconds, in its SQL; `None` where it goes by the clock of whoever asks.
    const NOW: Option<&'static str>;

    /// See [`MetadataStore::shares_slots`].
    const SHARES_SLOTS: bool = false;

    /// The one who writes.
    fn writes(&self) -> &Writes;

    /// See [`MetadataStore::own_renewer`].
    fn own_renewer(&self) -> Option<Box<dyn Renewer>> {
        None
    }

    /// See [`MetadataStore::listen`].
    fn listen(&self) -> Option<watch::Receiver<()>> {
        None
    }

    /// Every row of the answer as what it means.
    fn ask<T: Send>(
        &self,
        question: Question,
        read: impl FnMut(&Self::Row) -> std::result::Result<T, Failure> + Send,
    ) -> impl Future<Output = Result<Vec<T>>> + Send;

    /// Closes the connections that read.
    fn close_readers(&self) -> impl Future<Output = ()> + Send;
}

#[async_trait::async_trait]
impl<D: Database> MetadataStore for D {
    async fn put_dag(&self, dag: &Dag) -> Result<String> {
        let (hash, json) = fingerprint(dag)?;
        self.writes().put_dag(hash.clone(), dag.dag_id.clone(), json).await?;
        Ok(hash)
    }

    async fn dag_version(&self, hash: &str) -> Result<Dag> {
        let mut found = self.ask(questions::dag_version(hash), |row| rows::dag(row, hash)).await?;
        found.pop().ok_or_else(|| StoreError::NoSuchDagVersion(hash.to_owned()))
    }

    async fn put_build(&self, dag_version: &str, build: &str, timestamp: DateTime<Utc>) -> Result<()> {
        let new = NewBuild { dag_version: dag_version.to_owned(), build: build.to_owned(), timestamp };
        self.writes().put_build(new).await
    }

    async fn builds(&self, dag_version: &str) -> Result<Vec<BuildRow>> {
        self.ask(questions::builds(dag_version), rows::build).await
    }

    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<()> {
        self.writes().set_paused(dag_id, paused).await
    }

    async fn paused(&self) -> Result<BTreeMap<String, bool>> {
        Ok(self.ask(questions::paused(), rows::paused).await?.into_iter().collect())
    }

    async fn put_backfill(&self, spec: &BackfillSpec, created: DateTime<Utc>) -> Result<i64> {
        self.writes().put_backfill(NewBackfill::of(spec, created)?).await
    }

    async fn backfills(&self, open: bool) -> Result<Vec<BackfillRow>> {
        self.ask(questions::backfills(open), rows::backfill).await
    }

    async fn settle_backfill(&self, change: &BackfillChange) -> Result<bool> {
        self.writes().settle_backfill(*change).await
    }

    async fn hold_backfill(&self, id: i64, owner: &str, term: Term) -> Result<bool> {
        self.writes().hold_backfill(id, owner, term).await
    }

    async fn held_backfills(&self, now: DateTime<Utc>) -> Result<BTreeMap<i64, String>> {
        Ok(self.ask(questions::held_backfills(D::NOW, now), rows::held_backfill).await?.into_iter().collect())
    }

    async fn steps(&self, run: RunPk, task_id: &str, map_index: i32) -> Result<BTreeMap<String, Arc<str>>> {
        Ok(self.ask(questions::steps(run, task_id, map_index), rows::named).await?.into_iter().collect())
    }

    async fn put_event(&self, name: &str, payload: &str, timestamp: DateTime<Utc>) -> Result<bool> {
        let event = NewEvent { name: name.to_owned(), payload: payload.to_owned(), timestamp };
        self.writes().put_event(event).await
    }

    async fn events(&self, names: &[&str]) -> Result<BTreeMap<String, Arc<str>>> {
        let mut found = BTreeMap::new();
        for names in names.chunks(NAMES) {
            found.extend(self.ask(questions::events(names.iter().copied()), rows::named).await?);
        }
        Ok(found)
    }

    async fn asset_events(&self, filter: &AssetEventFilter) -> Result<Vec<AssetEventRow>> {
        self.ask(questions::asset_events(filter), rows::asset_event).await
    }

    async fn latest_asset_events(&self) -> Result<Vec<AssetEventRow>> {
        self.ask(questions::latest_asset_events(), rows::asset_event).await
    }

    async fn put_asset_event(&self, asset: &str, extra: &str, timestamp: DateTime<Utc>) -> Result<i64> {
        let event = NewAssetEvent { asset: asset.to_owned(), extra: extra.to_owned(), timestamp };
        self.writes().put_asset_event(event).await
    }

    async fn await_assets(&self, dags: &BTreeMap<String, BTreeSet<String>>) -> Result<()> {
        self.writes().await_assets(Awaited::of(dags)?).await
    }

    async fn forget_asset_events(&self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64> {
        self.writes().forget_asset_events(dag_id, before).await
    }

    async fn pending_assets(&self) -> Result<Vec<PendingAsset>> {
        self.ask(questions::pending_assets(), rows::pending_asset).await
    }

    async fn callbacks(&self, filter: CallbackFilter) -> Result<Vec<CallbackRow>> {
        self.ask(questions::callbacks(D::NOW, filter), rows::callback).await
    }

    async fn settle_callback(&self, change: &CallbackChange) -> Result<bool> {
        self.writes().settle_callback(change.clone()).await
    }

    async fn put_order(&self, run: RunPk, event: &Event, timestamp: DateTime<Utc>) -> Result<i64> {
        let event = serde_json::to_string(event);
        let event = event.map_err(|e| StoreError::Backend(format!("an order cannot be written as JSON: {e}")))?;
        self.writes().put_order(NewOrder { run, event, timestamp }).await
    }

    async fn orders(&self) -> Result<Vec<OrderRow>> {
        self.ask(questions::orders(), rows::order).await
    }

    async fn make_run(&self, run: &DagRun, dag_version: &str, terms: &Terms<'_>) -> Result<(RunPk, Epoch)> {
        let pk = self.writes().create_run(NewRun::of(run, dag_version, terms)?).await?;
        Ok((pk, Epoch(1)))
    }

    async fn acquire_run(&self, run: RunPk, owner: &str) -> Result<Epoch> {
        self.writes().acquire_run(run, owner).await
    }

    async fn take_run(&self, run: RunPk, owner: &str, term: Term) -> Result<Epoch> {
        self.writes().take_run(run, owner, term).await
    }

    async fn renew(&self, held: &[(RunPk, Epoch)], term: Term) -> Result<BTreeSet<RunPk>> {
        if held.is_empty() { Ok(BTreeSet::new()) } else { self.writes().renew(held, term).await }
    }

    async fn release(&self, run: RunPk, epoch: Epoch) -> Result<()> {
        self.writes().release(run, epoch).await
    }

    fn shares_slots(&self) -> bool {
        D::SHARES_SLOTS
    }

    async fn take_slots(&self, claim: &SlotClaim<'_>) -> Result<Vec<SlotRefusal>> {
        if claim.asks.is_empty() { Ok(Vec::new()) } else { self.writes().take_slots(NewSlots::of(claim)).await }
    }

    async fn starts(&self, limit: &str, most: u32) -> Result<Vec<DateTime<Utc>>> {
        self.ask(questions::starts(limit, most), rows::start).await
    }

    async fn held(&self, now: DateTime<Utc>) -> Result<Vec<HeldRun>> {
        self.ask(questions::held(D::NOW, now), rows::held).await
    }

    fn own_renewer(&self) -> Option<Box<dyn Renewer>> {
        Database::own_renewer(self)
    }

    async fn delete_run(&self, run: RunPk, epoch: Epoch) -> Result<()> {
        self.writes().delete_run(run, epoch).await
    }

    async fn cached(&self, key: &str) -> Result<Option<CacheRow>> {
        Ok(self.ask(questions::cached(key), rows::cached).await?.pop())
    }

    async fn forget_cached(&self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64> {
        self.writes().forget_cached(dag_id, before).await
    }

    async fn spilled(&self) -> Result<BTreeSet<String>> {
        Ok(self.ask(questions::spilled(), rows::hashes).await?.into_iter().flatten().collect())
    }

    async fn commit(&self, commits: &[RunCommit]) -> Result<Vec<RunPk>> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        // Encoded here, on the caller's thread: the one writer only joins texts.
        self.writes().commit(Batch::of(commits)?).await
    }

    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<StoredRun>> {
        Ok(self.ask(questions::run(dag_id, run_id), rows::stored_run).await?.pop())
    }

    async fn run_before(&self, dag_id: &str, logical_date: DateTime<Utc>) -> Result<Option<StoredRun>> {
        Ok(self.ask(questions::run_before(dag_id, to_micros(logical_date)), rows::stored_run).await?.pop())
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<StoredRun>> {
        self.ask(questions::runs(filter), rows::stored_run).await
    }

    async fn instances(&self, run: RunPk) -> Result<Vec<InstanceRow>> {
        self.ask(questions::instances(run), rows::instances()).await
    }

    async fn tries(&self, run: RunPk, task_id: Option<&str>) -> Result<Vec<InstanceRow>> {
        self.ask(questions::tries(run, task_id), rows::instances()).await
    }

    async fn xcoms(&self, run: RunPk, filter: XComFilter<'_>) -> Result<Vec<XComRow>> {
        self.ask(questions::xcoms(run, filter), rows::xcom).await
    }

    fn listen(&self) -> Option<watch::Receiver<()>> {
        Database::listen(self)
    }

    async fn close(&self) {
        self.close_readers().await;
        self.writes().close().await;
    }
}
