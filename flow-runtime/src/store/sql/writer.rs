//! The one who writes: a task that owns the writing connection.
//!
//! Callers hand it jobs and wait for the answer; a caller that goes away half-way changes nothing for the others, because
//! the transaction is not the caller's. Commits that wait at the same time become one transaction (group commit); a
//! commit that comes alone is not made to wait for company.

use super::encode::{Awaited, Batch, NewAssetEvent, NewBackfill, NewBuild, NewEvent, NewOrder, NewRun, NewSlots};
use crate::store::{BackfillChange, CallbackChange, Epoch, Result, RunPk, SlotRefusal, StoreError, Term};
use chrono::{DateTime, Utc};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use tokio::sync::{mpsc, oneshot};

/// Writes that may wait for the writer; further callers wait for a place.
const WAITING_WRITES: usize = 256;

/// Most callers in one transaction.
const GROUP_CALLERS: usize = 256;

/// A transaction takes no further caller once its texts have this many bytes.
const GROUP_BYTES: usize = 4 << 20;

type Reply<T> = oneshot::Sender<Result<T>>;

/// A database that is written to, each method in one transaction.
pub(in crate::store) trait Backend: Send + 'static {
    /// What it answers when it refuses a commit.
    type Error: Send;

    fn put_dag(&mut self, hash: &str, dag_id: &str, json: &str) -> impl Future<Output = Result<()>> + Send;

    fn put_build(&mut self, new: &NewBuild) -> impl Future<Output = Result<()>> + Send;

    /// Gives its number.
    fn put_backfill(&mut self, new: &NewBackfill) -> impl Future<Output = Result<i64>> + Send;

    /// Says whether it was in that state.
    fn settle_backfill(&mut self, change: BackfillChange) -> impl Future<Output = Result<bool>> + Send;

    /// Says whether this owner has it.
    fn hold_backfill(&mut self, id: i64, owner: &str, term: Term) -> impl Future<Output = Result<bool>> + Send;

    fn set_paused(&mut self, dag_id: &str, paused: bool) -> impl Future<Output = Result<()>> + Send;

    /// Says whether it is new.
    fn put_event(&mut self, event: &NewEvent) -> impl Future<Output = Result<bool>> + Send;

    /// Gives its number.
    fn put_asset_event(&mut self, event: &NewAssetEvent) -> impl Future<Output = Result<i64>> + Send;

    fn await_assets(&mut self, awaited: &Awaited) -> impl Future<Output = Result<()>> + Send;

    /// Says how many there were.
    fn forget_asset_events(
        &mut self,
        dag_id: Option<&str>,
        before: DateTime<Utc>,
    ) -> impl Future<Output = Result<u64>> + Send;

    /// Says whether it was pending and tried as often as is said.
    fn settle_callback(&mut self, change: &CallbackChange) -> impl Future<Output = Result<bool>> + Send;

    /// Says how many there were.
    fn forget_cached(
        &mut self,
        dag_id: Option<&str>,
        before: DateTime<Utc>,
    ) -> impl Future<Output = Result<u64>> + Send;

    fn put_order(&mut self, order: &NewOrder) -> impl Future<Output = Result<i64>> + Send;

    fn create_run(&mut self, new: &NewRun) -> impl Future<Output = Result<RunPk>> + Send;

    fn acquire_run(&mut self, run: RunPk, owner: &str) -> impl Future<Output = Result<Epoch>> + Send;

    fn take_run(&mut self, run: RunPk, owner: &str, term: Term) -> impl Future<Output = Result<Epoch>> + Send;

    fn renew(&mut self, held: &[(RunPk, Epoch)], term: Term) -> impl Future<Output = Result<BTreeSet<RunPk>>> + Send;

    fn release(&mut self, run: RunPk, epoch: Epoch) -> impl Future<Output = Result<()>> + Send;

    /// Gives those that may not have what they ask for.
    fn take_slots(&mut self, slots: &NewSlots) -> impl Future<Output = Result<Vec<SlotRefusal>>> + Send;

    /// Deletes the run, if it has this epoch; says whether it did.
    fn delete_run(&mut self, run: RunPk, epoch: Epoch) -> impl Future<Output = Result<bool>> + Send;

    /// Gives the runs whose failures have paused their DAGs.
    fn commit(&mut self, batch: &Batch) -> impl Future<Output = std::result::Result<Vec<RunPk>, Self::Error>> + Send;

    /// A smaller transaction, or one without the culprit, may still succeed.
    fn is_about_content(error: &Self::Error) -> bool;

    /// An epoch is not the present one, or there is no such run.
    fn is_fenced(error: &Self::Error) -> bool;

    /// The error in a sentence.
    fn explain(&self, error: &Self::Error) -> StoreError;

    /// Present epochs of these runs, of those that there are.
    fn epochs(&mut self, runs: &[i64]) -> impl Future<Output = Result<HashMap<i64, i64>>> + Send;

    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What the writer can be asked for.
#[derive(Debug)]
enum Job {
    PutDag { hash: String, dag_id: String, json: String, reply: Reply<()> },
    PutBuild { new: NewBuild, reply: Reply<()> },
    PutBackfill { new: Box<NewBackfill>, reply: Reply<i64> },
    SettleBackfill { change: BackfillChange, reply: Reply<bool> },
    HoldBackfill { id: i64, owner: String, term: Term, reply: Reply<bool> },
    SetPaused { dag_id: String, paused: bool, reply: Reply<()> },
    PutEvent { event: NewEvent, reply: Reply<bool> },
    PutAssetEvent { event: NewAssetEvent, reply: Reply<i64> },
    AwaitAssets { awaited: Awaited, reply: Reply<()> },
    ForgetAssetEvents { dag_id: Option<String>, before: DateTime<Utc>, reply: Reply<u64> },
    SettleCallback { change: CallbackChange, reply: Reply<bool> },
    ForgetCached { dag_id: Option<String>, before: DateTime<Utc>, reply: Reply<u64> },
    PutOrder { order: NewOrder, reply: Reply<i64> },
    CreateRun { new: Box<NewRun>, reply: Reply<RunPk> },
    AcquireRun { run: RunPk, owner: String, reply: Reply<Epoch> },
    TakeRun { run: RunPk, owner: String, term: Term, reply: Reply<Epoch> },
    Renew { held: Vec<(RunPk, Epoch)>, term: Term, reply: Reply<BTreeSet<RunPk>> },
    Release { run: RunPk, epoch: Epoch, reply: Reply<()> },
    TakeSlots { slots: NewSlots, reply: Reply<Vec<SlotRefusal>> },
    DeleteRun { run: RunPk, epoch: Epoch, reply: Reply<()> },
    Commit { batch: Batch, reply: Reply<Vec<RunPk>> },
    Close { reply: Reply<()> },
}

/// How callers reach the writer. When the last one is dropped, the writer finishes what it was handed.
#[derive(Debug, Clone)]
pub(in crate::store) struct Writes {
    jobs: mpsc::Sender<Job>,
    /// What is written to, for the error of one who comes too late.
    database: String,
}

impl Writes {
    /// Lets a task of this runtime write.
    pub(in crate::store) fn to(backend: impl Backend, database: String) -> Writes {
        let (jobs, queue) = mpsc::channel(WAITING_WRITES);
        tokio::spawn(serve(backend, queue));
        Writes { jobs, database }
    }

    pub(in crate::store) async fn put_dag(&self, hash: String, dag_id: String, json: String) -> Result<()> {
        self.ask(|reply| Job::PutDag { hash, dag_id, json, reply }).await
    }

    pub(in crate::store) async fn put_build(&self, new: NewBuild) -> Result<()> {
        self.ask(|reply| Job::PutBuild { new, reply }).await
    }

    pub(in crate::store) async fn put_backfill(&self, new: NewBackfill) -> Result<i64> {
        self.ask(|reply| Job::PutBackfill { new: Box::new(new), reply }).await
    }

    pub(in crate::store) async fn settle_backfill(&self, change: BackfillChange) -> Result<bool> {
        self.ask(|reply| Job::SettleBackfill { change, reply }).await
    }

    pub(in crate::store) async fn hold_backfill(&self, id: i64, owner: &str, term: Term) -> Result<bool> {
        let owner = owner.to_owned();
        self.ask(|reply| Job::HoldBackfill { id, owner, term, reply }).await
    }

    pub(in crate::store) async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<()> {
        let dag_id = dag_id.to_owned();
        self.ask(|reply| Job::SetPaused { dag_id, paused, reply }).await
    }

    pub(in crate::store) async fn put_event(&self, event: NewEvent) -> Result<bool> {
        self.ask(|reply| Job::PutEvent { event, reply }).await
    }

    pub(in crate::store) async fn put_asset_event(&self, event: NewAssetEvent) -> Result<i64> {
        self.ask(|reply| Job::PutAssetEvent { event, reply }).await
    }

    pub(in crate::store) async fn await_assets(&self, awaited: Awaited) -> Result<()> {
        self.ask(|reply| Job::AwaitAssets { awaited, reply }).await
    }

    pub(in crate::store) async fn forget_asset_events(
        &self,
        dag_id: Option<&str>,
        before: DateTime<Utc>,
    ) -> Result<u64> {
        let dag_id = dag_id.map(str::to_owned);
        self.ask(|reply| Job::ForgetAssetEvents { dag_id, before, reply }).await
    }

    pub(in crate::store) async fn settle_callback(&self, change: CallbackChange) -> Result<bool> {
        self.ask(|reply| Job::SettleCallback { change, reply }).await
    }

    pub(in crate::store) async fn forget_cached(&self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64> {
        let dag_id = dag_id.map(str::to_owned);
        self.ask(|reply| Job::ForgetCached { dag_id, before, reply }).await
    }

    pub(in crate::store) async fn put_order(&self, order: NewOrder) -> Result<i64> {
        self.ask(|reply| Job::PutOrder { order, reply }).await
    }

    pub(in crate::store) async fn create_run(&self, new: NewRun) -> Result<RunPk> {
        self.ask(|reply| Job::CreateRun { new: Box::new(new), reply }).await
    }

    pub(in crate::store) async fn acquire_run(&self, run: RunPk, owner: &str) -> Result<Epoch> {
        let owner = owner.to_owned();
        self.ask(|reply| Job::AcquireRun { run, owner, reply }).await
    }

    pub(in crate::store) async fn take_run(&self, run: RunPk, owner: &str, term: Term) -> Result<Epoch> {
        let owner = owner.to_owned();
        self.ask(|reply| Job::TakeRun { run, owner, term, reply }).await
    }

    pub(in crate::store) async fn renew(&self, held: &[(RunPk, Epoch)], term: Term) -> Result<BTreeSet<RunPk>> {
        let held = held.to_vec();
        self.ask(|reply| Job::Renew { held, term, reply }).await
    }

    pub(in crate::store) async fn release(&self, run: RunPk, epoch: Epoch) -> Result<()> {
        self.ask(|reply| Job::Release { run, epoch, reply }).await
    }

    pub(in crate::store) async fn take_slots(&self, slots: NewSlots) -> Result<Vec<SlotRefusal>> {
        self.ask(|reply| Job::TakeSlots { slots, reply }).await
    }

    pub(in crate::store) async fn delete_run(&self, run: RunPk, epoch: Epoch) -> Result<()> {
        self.ask(|reply| Job::DeleteRun { run, epoch, reply }).await
    }

    pub(in crate::store) async fn commit(&self, batch: Batch) -> Result<Vec<RunPk>> {
        self.ask(|reply| Job::Commit { batch, reply }).await
    }

    /// Waits until everything is written.
    pub(in crate::store) async fn close(&self) {
        // An error says that it is closed already.
        drop(self.ask(|reply| Job::Close { reply }).await);
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T> {
        let gone = || StoreError::Backend(format!("the metadata database {} was closed", self.database));
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Commits that become one transaction.
struct Group {
    members: Vec<(Batch, Reply<Vec<RunPk>>)>,
    runs: HashSet<RunPk>,
    bytes: usize,
}

impl Group {
    fn new(batch: Batch, reply: Reply<Vec<RunPk>>) -> Group {
        let mut group = Group { members: Vec::new(), runs: HashSet::new(), bytes: 0 };
        group.push(batch, reply);
        group
    }

    fn push(&mut self, batch: Batch, reply: Reply<Vec<RunPk>>) {
        self.runs.extend(batch.claims.iter().map(|&(run, _)| run));
        self.bytes += batch.bytes();
        self.members.push((batch, reply));
    }

    /// A run that is in the group already must wait, so that its changes stay in order.
    fn takes(&self, batch: &Batch) -> bool {
        batch.rounds.len() == 1 && batch.claims.iter().all(|(run, _)| !self.runs.contains(run))
    }

    fn has_room(&self) -> bool {
        self.members.len() < GROUP_CALLERS
            && self.bytes < GROUP_BYTES
            && self.members.iter().all(|(batch, _)| batch.rounds.len() == 1)
    }
}

/// Works until nobody can ask for anything any more.
async fn serve(mut backend: impl Backend, mut jobs: mpsc::Receiver<Job>) {
    let mut put_back = None;
    let closed = loop {
        let job = match put_back.take() {
            Some(job) => job,
            None => match jobs.recv().await {
                Some(job) => job,
                None => break None,
            },
        };
        // An answer that nobody waits for any more is dropped.
        match job {
            Job::PutDag { hash, dag_id, json, reply } => {
                drop(reply.send(backend.put_dag(&hash, &dag_id, &json).await));
            }
            Job::PutBuild { new, reply } => drop(reply.send(backend.put_build(&new).await)),
            Job::PutBackfill { new, reply } => drop(reply.send(backend.put_backfill(&new).await)),
            Job::SettleBackfill { change, reply } => drop(reply.send(backend.settle_backfill(change).await)),
            Job::HoldBackfill { id, owner, term, reply } => {
                drop(reply.send(backend.hold_backfill(id, &owner, term).await));
            }
            Job::SetPaused { dag_id, paused, reply } => drop(reply.send(backend.set_paused(&dag_id, paused).await)),
            Job::PutEvent { event, reply } => drop(reply.send(backend.put_event(&event).await)),
            Job::PutAssetEvent { event, reply } => drop(reply.send(backend.put_asset_event(&event).await)),
            Job::AwaitAssets { awaited, reply } => drop(reply.send(backend.await_assets(&awaited).await)),
            Job::ForgetAssetEvents { dag_id, before, reply } => {
                drop(reply.send(backend.forget_asset_events(dag_id.as_deref(), before).await));
            }
            Job::SettleCallback { change, reply } => drop(reply.send(backend.settle_callback(&change).await)),
            Job::ForgetCached { dag_id, before, reply } => {
                drop(reply.send(backend.forget_cached(dag_id.as_deref(), before).await));
            }
            Job::PutOrder { order, reply } => drop(reply.send(backend.put_order(&order).await)),
            Job::CreateRun { new, reply } => drop(reply.send(backend.create_run(&new).await)),
            Job::AcquireRun { run, owner, reply } => drop(reply.send(backend.acquire_run(run, &owner).await)),
            Job::TakeRun { run, owner, term, reply } => drop(reply.send(backend.take_run(run, &owner, term).await)),
            Job::Renew { held, term, reply } => drop(reply.send(backend.renew(&held, term).await)),
            Job::Release { run, epoch, reply } => drop(reply.send(backend.release(run, epoch).await)),
            Job::TakeSlots { slots, reply } => drop(reply.send(backend.take_slots(&slots).await)),
            Job::DeleteRun { run, epoch, reply } => drop(reply.send(delete_run(&mut backend, run, epoch).await)),
            Job::Commit { batch, reply } => {
                let mut group = Group::new(batch, reply);
                while group.has_room() {
                    match jobs.try_recv() {
                        Ok(Job::Commit { batch, reply }) if group.takes(&batch) => group.push(batch, reply),
                        Ok(other) => {
                            put_back = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                commit(&mut backend, group).await;
            }
            Job::Close { reply } => break Some(reply),
        }
    };
    backend.close().await;
    if let Some(reply) = closed {
        drop(reply.send(Ok(())));
    }
}

async fn commit<B: Backend>(backend: &mut B, group: Group) {
    let mut members = group.members;
    if members.len() > 1 {
        let mut joint = members[0].0.clone();
        members[1..].iter().for_each(|(batch, _)| joint.join(batch));
        match backend.commit(&joint).await {
            Ok(paused) => {
                for (batch, reply) in members {
                    let is_its = |run: &&RunPk| batch.claims.iter().any(|(of, _)| of == *run);
                    drop(reply.send(Ok(paused.iter().filter(is_its).copied().collect())));
                }
                return;
            }
            // One member spoils it for all: below, each for itself.
            Err(e) if B::is_about_content(&e) => {}
            // The database does not work: each for itself would only wait as long again.
            Err(e) => {
                let told = backend.explain(&e);
                members.into_iter().for_each(|(_, reply)| drop(reply.send(Err(told.clone()))));
                return;
            }
        }
    }
    for (batch, reply) in members.drain(..) {
        // Nobody listens to an answer whose caller has gone; the commit is done all the same.
        let _ = reply.send(commit_one(backend, &batch).await);
    }
}

async fn commit_one<B: Backend>(backend: &mut B, batch: &Batch) -> Result<Vec<RunPk>> {
    match backend.commit(batch).await {
        Ok(paused) => Ok(paused),
        Err(e) if B::is_fenced(&e) => Err(culprit(backend, &batch.claims).await?),
        Err(e) => Err(backend.explain(&e)),
    }
}

async fn delete_run(backend: &mut impl Backend, run: RunPk, epoch: Epoch) -> Result<()> {
    if backend.delete_run(run, epoch).await? { Ok(()) } else { Err(culprit(backend, &[(run, epoch)]).await?) }
}

/// The first of the claims that does not hold.
async fn culprit(backend: &mut impl Backend, claims: &[(RunPk, Epoch)]) -> Result<StoreError> {
    let runs: Vec<i64> = claims.iter().map(|(run, _)| run.0).collect();
    let present = backend.epochs(&runs).await?;
    for &(RunPk(run), Epoch(given)) in claims {
        match present.get(&run) {
            None => return Ok(StoreError::NoSuchRun(run)),
            Some(&present) if present != given => return Ok(StoreError::Fenced { run, given, present }),
            Some(_) => {}
        }
    }
    // An epoch only rises, so that a claim that failed cannot hold a moment later.
    Ok(StoreError::Corrupt("an epoch of a run went back while a commit was under way".to_owned()))
}
