//! A store in the memory of this process, for tests and for runs that need no record. It is the reference: what the
//! contract means is what this does.

mod tables;

use super::{
    AssetEventFilter, AssetEventRow, BackfillChange, BackfillRow, BackfillSpec, BackfillState, BuildRow, CacheRow,
    CallbackChange, CallbackFilter, CallbackRow, CallbackState, CallbackWrite, Epoch, HeldRun, InstanceRow,
    MetadataStore, OrderRow, PendingAsset, Result, RunCommit, RunFilter, RunOrder, RunPk, SlotClaim, SlotRefusal,
    StoreError, StoredRun, Term, Terms, XComFilter, XComRow, cut, fingerprint,
};
use crate::clock::Clock;
use crate::value::files;
use chrono::{DateTime, Utc};
use flow_core::{Dag, DagRun, Event, RunStatus};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tables::{Run, Tables, cut_option, is_the_same};

/// A [`MetadataStore`] in memory; everything in it ends with it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
    /// What leases go by; `None` where they go by the clocks of those who ask.
    clock: Option<Arc<dyn Clock>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// An empty store whose leases go by a clock of its own, as those of Postgres do: the clocks of those who ask for them may
    /// differ.
    pub fn with_clock(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore { clock: Some(clock), ..MemoryStore::default() }
    }

    /// The present instant, which is this one by the clock of whoever asks.
    fn now(&self, theirs: DateTime<Utc>) -> DateTime<Utc> {
        self.clock.as_ref().map_or(theirs, |clock| clock.now())
    }

    fn term(&self, term: Term) -> Term {
        Term { now: self.now(term.now), ..term }
    }
}

#[async_trait::async_trait]
impl MetadataStore for MemoryStore {
    async fn put_dag(&self, dag: &Dag) -> Result<String> {
        let (hash, _) = fingerprint(dag)?;
        self.tables.lock().dags.entry(hash.clone()).or_insert_with(|| dag.clone());
        Ok(hash)
    }

    async fn dag_version(&self, hash: &str) -> Result<Dag> {
        self.tables.lock().dags.get(hash).cloned().ok_or_else(|| StoreError::NoSuchDagVersion(hash.to_owned()))
    }

    async fn put_build(&self, dag_version: &str, build: &str, timestamp: DateTime<Utc>) -> Result<()> {
        let mut tables = self.tables.lock();
        if !tables.dags.contains_key(dag_version) {
            return Err(StoreError::NoSuchDagVersion(dag_version.to_owned()));
        }
        tables.builds.entry((dag_version.to_owned(), build.to_owned())).or_insert(cut(timestamp));
        Ok(())
    }

    async fn builds(&self, dag_version: &str) -> Result<Vec<BuildRow>> {
        let tables = self.tables.lock();
        let of_version = tables.builds.iter().filter(|((version, _), _)| version == dag_version);
        let row =
            |((_, build), at): (&(String, String), &DateTime<Utc>)| BuildRow { build: build.clone(), first_seen: *at };
        let mut found: Vec<BuildRow> = of_version.map(row).collect();
        found.sort_by(|one, other| (one.first_seen, &one.build).cmp(&(other.first_seen, &other.build)));
        Ok(found)
    }

    async fn set_paused(&self, dag_id: &str, paused: bool) -> Result<()> {
        self.tables.lock().paused.insert(dag_id.to_owned(), paused);
        Ok(())
    }

    async fn paused(&self) -> Result<BTreeMap<String, bool>> {
        Ok(self.tables.lock().paused.clone())
    }

    async fn put_backfill(&self, spec: &BackfillSpec, created: DateTime<Utc>) -> Result<i64> {
        let mut tables = self.tables.lock();
        let id = tables.backfills.len() as i64 + 1;
        let spec = BackfillSpec { from: cut(spec.from), to: cut(spec.to), ..spec.clone() };
        let (state, created) = (BackfillState::Running, cut(created));
        tables.backfills.push((BackfillRow { id, spec, state, created, ended: None, owner: None }, None));
        Ok(id)
    }

    async fn backfills(&self, open: bool) -> Result<Vec<BackfillRow>> {
        let tables = self.tables.lock();
        let rows = tables.backfills.iter().rev().map(|(row, _)| row);
        Ok(rows.filter(|row| !open || row.state.is_open()).cloned().collect())
    }

    async fn settle_backfill(&self, change: &BackfillChange) -> Result<bool> {
        let mut tables = self.tables.lock();
        let mut rows = tables.backfills.iter_mut().map(|(row, _)| row);
        let Some(row) = rows.find(|row| row.id == change.id && row.state == change.from) else { return Ok(false) };
        (row.state, row.ended) = (change.to, (!change.to.is_open()).then_some(cut(change.at)));
        Ok(true)
    }

    async fn hold_backfill(&self, id: i64, owner: &str, term: Term) -> Result<bool> {
        let term = self.term(term);
        let mut tables = self.tables.lock();
        let mut rows = tables.backfills.iter_mut();
        let may = |row: &BackfillRow, until: Option<DateTime<Utc>>| {
            let is_free = until.is_none_or(|until| until <= term.now);
            row.id == id && row.state == BackfillState::Running && (is_free || row.owner.as_deref() == Some(owner))
        };
        let Some((row, until)) = rows.find(|(row, until)| may(row, *until)) else { return Ok(false) };
        (row.owner, *until) = (Some(owner.to_owned()), Some(cut(term.until())));
        Ok(true)
    }

    async fn held_backfills(&self, now: DateTime<Utc>) -> Result<BTreeMap<i64, String>> {
        let now = self.now(now);
        let tables = self.tables.lock();
        let held = tables.backfills.iter().filter(|(_, until)| until.is_some_and(|until| until > now));
        Ok(held.map(|(row, _)| (row.id, row.owner.clone().unwrap_or_default())).collect())
    }

    async fn steps(&self, run: RunPk, task_id: &str, map_index: i32) -> Result<BTreeMap<String, Arc<str>>> {
        let tables = self.tables.lock();
        let steps = tables.get(run).into_iter().flat_map(|run| &run.steps);
        let own = steps.filter(|((task, index, _), _)| **task == *task_id && *index == map_index);
        Ok(own.map(|((.., name), value)| (name.to_string(), value.clone())).collect())
    }

    async fn put_event(&self, name: &str, payload: &str, _: DateTime<Utc>) -> Result<bool> {
        let mut tables = self.tables.lock();
        let is_new = !tables.events.contains_key(name);
        tables.events.entry(name.to_owned()).or_insert_with(|| payload.into());
        Ok(is_new)
    }

    async fn events(&self, names: &[&str]) -> Result<BTreeMap<String, Arc<str>>> {
        let tables = self.tables.lock();
        let found = names.iter().filter_map(|name| tables.events.get_key_value(*name));
        Ok(found.map(|(name, payload)| (name.clone(), payload.clone())).collect())
    }

    async fn asset_events(&self, filter: &AssetEventFilter) -> Result<Vec<AssetEventRow>> {
        let tables = self.tables.lock();
        let made_for = filter.run.map(|run| tables.get(run).map(|run| &run.made_for));
        let wanted = |event: &&AssetEventRow| {
            event.id > filter.after
                && filter.asset.as_ref().is_none_or(|asset| *asset == event.asset)
                && made_for.is_none_or(|events| events.is_some_and(|events| events.contains(&event.id)))
        };
        let mut found: Vec<&AssetEventRow> = tables.asset_events.iter().filter(wanted).collect();
        if filter.newest_first {
            found.reverse();
        }
        let limit = if filter.limit == 0 { usize::MAX } else { filter.limit as usize };
        Ok(found.into_iter().take(limit).cloned().collect())
    }

    async fn latest_asset_events(&self) -> Result<Vec<AssetEventRow>> {
        let tables = self.tables.lock();
        let latest: BTreeMap<&str, &AssetEventRow> = tables.asset_events.iter().map(|e| (&*e.asset, e)).collect();
        Ok(latest.into_values().cloned().collect())
    }

    async fn put_asset_event(&self, asset: &str, extra: &str, timestamp: DateTime<Utc>) -> Result<i64> {
        let extra = serde_json::from_str(extra).map_err(|e| StoreError::Corrupt(format!("asset `{asset}`: {e}")))?;
        let event = AssetEventRow { id: 0, asset: asset.to_owned(), made_by: None, extra, timestamp: cut(timestamp) };
        Ok(self.tables.lock().put_asset_event(event))
    }

    async fn await_assets(&self, dags: &BTreeMap<String, BTreeSet<String>>) -> Result<()> {
        let mut tables = self.tables.lock();
        let waits = |dag_id: &str, asset: &str| dags.get(dag_id).is_none_or(|assets| assets.contains(asset));
        tables.consumers.retain(|(asset, dag_id)| waits(dag_id, asset));
        tables.pending.retain(|(dag_id, asset, _)| waits(dag_id, asset));
        let pairs = dags.iter().flat_map(|(dag_id, assets)| assets.iter().map(|asset| (asset.clone(), dag_id.clone())));
        tables.consumers.extend(pairs);
        Ok(())
    }

    async fn forget_asset_events(&self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64> {
        let mut tables = self.tables.lock();
        let mut needed: BTreeSet<i64> = tables.pending.iter().map(|(.., event)| *event).collect();
        needed.extend(tables.all().flat_map(|run| run.made_for.iter().copied()));
        let latest: BTreeMap<String, i64> = tables.asset_events.iter().map(|e| (e.asset.clone(), e.id)).collect();
        needed.extend(latest.into_values());
        let there = tables.asset_events.len();
        let is_of =
            |event: &AssetEventRow| dag_id.is_none_or(|id| event.made_by.as_ref().is_some_and(|by| by.dag_id == id));
        let is_old = |event: &AssetEventRow| event.timestamp < cut(before) && is_of(event);
        tables.asset_events.retain(|event| !is_old(event) || needed.contains(&event.id));
        Ok((there - tables.asset_events.len()) as u64)
    }

    async fn pending_assets(&self) -> Result<Vec<PendingAsset>> {
        let mut found: Vec<PendingAsset> = Vec::new();
        for (dag_id, asset, event) in &self.tables.lock().pending {
            match found.last_mut().filter(|last| (&last.dag_id, &last.asset) == (dag_id, asset)) {
                Some(last) => (last.events, last.latest) = (last.events + 1, *event),
                None => {
                    let (dag_id, asset) = (dag_id.clone(), asset.clone());
                    found.push(PendingAsset { dag_id, asset, events: 1, latest: *event });
                }
            }
        }
        Ok(found)
    }

    async fn callbacks(&self, filter: CallbackFilter) -> Result<Vec<CallbackRow>> {
        let filter = CallbackFilter { due_at: filter.due_at.map(|at| self.now(at)), ..filter };
        let tables = self.tables.lock();
        let is_due = |c: &CallbackRow, at| c.state == CallbackState::Pending && c.due <= at;
        let mut found: Vec<&CallbackRow> = (tables.all().flat_map(|run| &run.callbacks))
            .filter(|c| filter.run.is_none_or(|run| run == c.run))
            .filter(|c| filter.due_at.is_none_or(|at| is_due(c, at)))
            .filter(|c| c.id > filter.after)
            .collect();
        found.sort_by_key(|c| c.id);
        let limit = if filter.limit == 0 { usize::MAX } else { filter.limit as usize };
        Ok(found.into_iter().take(limit).cloned().collect())
    }

    async fn settle_callback(&self, change: &CallbackChange) -> Result<bool> {
        let due = cut(self.term(change.due).until());
        let mut tables = self.tables.lock();
        let mut there = tables.runs.iter_mut().flat_map(|run| &mut run.callbacks);
        let is_meant =
            |c: &&mut CallbackRow| c.id == change.id && c.attempts == change.tried && c.state == CallbackState::Pending;
        let Some(row) = there.find(is_meant) else { return Ok(false) };
        (row.state, row.attempts, row.due) = (change.state, change.attempts, due);
        row.error.clone_from(&change.error);
        Ok(true)
    }

    async fn put_order(&self, run: RunPk, event: &Event, _: DateTime<Utc>) -> Result<i64> {
        let mut tables = self.tables.lock();
        tables.place(run).ok_or(StoreError::NoSuchRun(run.0))?;
        tables.latest_order += 1;
        let id = tables.latest_order;
        tables.orders.push(OrderRow { id, run, event: event.clone() });
        Ok(id)
    }

    async fn orders(&self) -> Result<Vec<OrderRow>> {
        Ok(self.tables.lock().orders.clone())
    }

    async fn make_run(&self, run: &DagRun, dag_version: &str, terms: &Terms<'_>) -> Result<(RunPk, Epoch)> {
        let mut tables = self.tables.lock();
        tables.check(&run.dag_id, terms)?;
        let id = (run.dag_id.clone(), run.run_id.clone());
        if tables.by_id.contains_key(&id) {
            return Err(StoreError::RunExists { dag_id: id.0, run_id: id.1 });
        }
        let taken = |at: DateTime<Utc>| {
            let of_dag = tables.all().map(|r| &r.stored.run).filter(|r| r.dag_id == run.dag_id);
            of_dag.filter_map(|r| r.logical_date).any(|other| other == cut(at))
        };
        if let Some(logical_date) = run.logical_date.filter(|at| taken(*at)) {
            return Err(StoreError::LogicalDateTaken { dag_id: id.0, logical_date });
        }
        if !tables.dags.contains_key(dag_version) {
            return Err(StoreError::NoSuchDagVersion(dag_version.to_owned()));
        }
        let mut made_for = BTreeSet::new();
        if !terms.seen.is_empty() {
            made_for = tables.pending_for(&run.dag_id);
            tables.pending.retain(|(dag_id, ..)| *dag_id != run.dag_id);
        }
        let mut run = run.clone();
        run.run_after = cut(run.run_after);
        for at in [&mut run.logical_date, &mut run.start_date, &mut run.end_date] {
            cut_option(at);
        }
        if let Some(interval) = &mut run.data_interval {
            interval.start = cut(interval.start);
            interval.end = cut(interval.end);
        }
        let (pk, epoch) = (RunPk(tables.runs.len() as i64 + 1), Epoch(1));
        let place = tables.runs.len();
        tables.by_id.insert(id, place);
        let owner = Some(terms.owner.to_owned());
        tables.runs.push(Run {
            stored: StoredRun { pk, run, dag_version: dag_version.to_owned(), owner, epoch, ending: None },
            until: terms.lease.map(|term| cut(self.term(term).until())),
            instances: BTreeMap::new(),
            history: BTreeMap::new(),
            xcoms: BTreeMap::new(),
            steps: BTreeMap::new(),
            callbacks: Vec::new(),
            made_for,
        });
        Ok((pk, epoch))
    }

    async fn acquire_run(&self, run: RunPk, owner: &str) -> Result<Epoch> {
        let mut tables = self.tables.lock();
        let place = tables.place(run).ok_or(StoreError::NoSuchRun(run.0))?;
        Ok(tables.runs[place].take(owner, None))
    }

    async fn take_run(&self, run: RunPk, owner: &str, term: Term) -> Result<Epoch> {
        let term = self.term(term);
        let mut tables = self.tables.lock();
        let place = tables.place(run).ok_or(StoreError::NoSuchRun(run.0))?;
        let taken = &mut tables.runs[place];
        if let Some(until) = taken.until.filter(|until| *until > term.now) {
            let owner = taken.stored.owner.clone().unwrap_or_default();
            return Err(StoreError::Held { run: run.0, owner, until });
        }
        let epoch = taken.take(owner, Some(cut(term.until())));
        tables.slots.free_all(run);
        Ok(epoch)
    }

    fn shares_slots(&self) -> bool {
        true
    }

    async fn take_slots(&self, claim: &SlotClaim<'_>) -> Result<Vec<SlotRefusal>> {
        let claim = &SlotClaim { now: self.now(claim.now), ..*claim };
        let tables = &mut *self.tables.lock();
        let held =
            |run: &Run| run.until.is_some_and(|until| until > claim.now).then_some((run.stored.pk, run.stored.epoch));
        let held: BTreeSet<(RunPk, Epoch)> = tables.all().filter_map(held).collect();
        Ok(tables.slots.take(claim, |run, epoch| held.contains(&(run, epoch))))
    }

    async fn starts(&self, limit: &str, most: u32) -> Result<Vec<DateTime<Utc>>> {
        Ok(self.tables.lock().slots.starts(limit).take(most as usize).collect())
    }

    async fn renew(&self, held: &[(RunPk, Epoch)], term: Term) -> Result<BTreeSet<RunPk>> {
        let term = self.term(term);
        let mut tables = self.tables.lock();
        let mut renewed = BTreeSet::new();
        for &(run, epoch) in held {
            let Some(place) = tables.place(run) else { continue };
            let of = &mut tables.runs[place];
            if of.stored.epoch == epoch && of.until.is_some_and(|until| until > term.now) {
                of.until = Some(cut(term.until()));
                renewed.insert(run);
            }
        }
        Ok(renewed)
    }

    async fn release(&self, run: RunPk, epoch: Epoch) -> Result<()> {
        let mut tables = self.tables.lock();
        if let Some(place) = tables.place(run).filter(|place| tables.runs[*place].stored.epoch == epoch) {
            tables.runs[place].until = None;
        }
        Ok(())
    }

    async fn held(&self, now: DateTime<Utc>) -> Result<Vec<HeldRun>> {
        let now = self.now(now);
        let tables = self.tables.lock();
        let held = tables.all().filter_map(|run| {
            let until = run.until.filter(|until| *until > now)?;
            Some(HeldRun { run: run.stored.pk, owner: run.stored.owner.clone().unwrap_or_default(), until })
        });
        Ok(held.collect())
    }

    async fn delete_run(&self, run: RunPk, epoch: Epoch) -> Result<()> {
        let mut tables = self.tables.lock();
        let place = tables.place(run).ok_or(StoreError::NoSuchRun(run.0))?;
        let gone = &mut tables.runs[place];
        if gone.stored.epoch != epoch {
            return Err(StoreError::Fenced { run: run.0, given: epoch.0, present: gone.stored.epoch.0 });
        }
        (gone.instances, gone.history, gone.xcoms, gone.steps, gone.callbacks) = Default::default();
        gone.made_for = BTreeSet::new();
        let id = (gone.stored.run.dag_id.clone(), gone.stored.run.run_id.clone());
        tables.orders.retain(|order| order.run != run);
        tables.slots.free_all(run);
        tables.by_id.remove(&id);
        tables.deleted.insert(place);
        Ok(())
    }

    async fn cached(&self, key: &str) -> Result<Option<CacheRow>> {
        Ok(self.tables.lock().cached.get(key).cloned())
    }

    async fn forget_cached(&self, dag_id: Option<&str>, before: DateTime<Utc>) -> Result<u64> {
        let mut tables = self.tables.lock();
        let there = tables.cached.len();
        let is_old = |row: &CacheRow| row.timestamp < cut(before) && dag_id.is_none_or(|id| id == row.dag_id);
        tables.cached.retain(|_, row| !is_old(row));
        Ok((there - tables.cached.len()) as u64)
    }

    async fn spilled(&self) -> Result<BTreeSet<String>> {
        let tables = self.tables.lock();
        let values = tables.all().flat_map(|run| run.xcoms.values()).map(|xcom| &xcom.value);
        let values = values.chain(tables.cached.values().map(|row| &row.value));
        let hashes = values.flat_map(|value| match &value.inline {
            None => vec![value.sha256.to_string()],
            Some(text) => files(text).map(str::to_owned).collect(),
        });
        Ok(hashes.collect())
    }

    async fn commit(&self, commits: &[RunCommit]) -> Result<Vec<RunPk>> {
        let mut tables = self.tables.lock();
        let mut places = Vec::with_capacity(commits.len());
        for commit in commits {
            let place = tables.place(commit.run).ok_or(StoreError::NoSuchRun(commit.run.0))?;
            let present = tables.runs[place].stored.epoch;
            if present != commit.epoch {
                return Err(StoreError::Fenced { run: commit.run.0, given: commit.epoch.0, present: present.0 });
            }
            places.push(place);
        }
        tables.check_moves(commits, &places)?;
        let made = commits.iter().zip(&places).map(|(commit, &place)| tables.runs[place].asset_events(commit));
        let made: Vec<Vec<AssetEventRow>> = made.collect::<Result<_>>()?;
        let mut paused = Vec::new();
        for (commit, &place) in commits.iter().zip(&places) {
            tables.runs[place].apply(commit);
            if let (Some(most), Some((RunStatus::Failed, _))) = (commit.pause_at, commit.status)
                && tables.pauses_by_failing(place, most)
            {
                paused.push(commit.run);
            }
            let gone = commit.instances.iter().map(|write| &write.row).filter(|row| !row.state.is_in_flight());
            tables.slots.free(commit.run, &gone.map(|row| (row.task_id.clone(), row.map_index)).collect());
        }
        for commit in commits {
            tables.orders.retain(|order| order.run != commit.run || !commit.settled.contains(&order.id));
        }
        for (commit, place) in commits.iter().zip(&places) {
            for made in &commit.cached {
                let run = &tables.runs[*place].stored.run;
                let row = CacheRow {
                    dag_id: run.dag_id.clone(),
                    run_id: run.run_id.clone(),
                    task_id: made.task_id.to_string(),
                    map_index: made.map_index,
                    value: made.value.clone(),
                    timestamp: cut(made.timestamp),
                };
                tables.cached.insert(made.key.clone(), row);
            }
        }
        for (commit, place) in commits.iter().zip(&places) {
            for callback in &commit.callbacks {
                let callback = CallbackWrite { timestamp: cut(callback.timestamp), ..callback.clone() };
                if tables.runs[*place].callbacks.iter().any(|c| is_the_same(&c.callback, &callback)) {
                    continue;
                }
                tables.callbacks += 1;
                let owed = CallbackRow {
                    id: tables.callbacks,
                    run: commit.run,
                    state: CallbackState::Pending,
                    attempts: 0,
                    // At once, whatever the clock of its writer says.
                    due: callback.timestamp.min(cut(self.now(callback.timestamp))),
                    error: None,
                    callback,
                };
                tables.runs[*place].callbacks.push(owed);
            }
        }
        for (event, place) in
            made.into_iter().zip(&places).flat_map(|(made, &place)| made.into_iter().map(move |e| (e, place)))
        {
            let key = event
                .made_by
                .as_ref()
                .map(|by| (place, event.asset.clone(), by.task_id.clone(), by.map_index, by.try_number));
            if key.is_none_or(|key| tables.made.insert(key)) {
                tables.put_asset_event(event);
            }
        }
        Ok(paused)
    }

    async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<StoredRun>> {
        let tables = self.tables.lock();
        let place = tables.by_id.get(&(dag_id.to_owned(), run_id.to_owned()));
        Ok(place.map(|&i| tables.runs[i].stored.clone()))
    }

    async fn run_before(&self, dag_id: &str, logical_date: DateTime<Utc>) -> Result<Option<StoredRun>> {
        let tables = self.tables.lock();
        let of_dag = tables.all().map(|r| &r.stored).filter(|s| s.run.dag_id == dag_id);
        let earlier = of_dag.filter(|s| s.run.logical_date.is_some_and(|at| at < cut(logical_date)));
        Ok(earlier.max_by_key(|s| s.run.logical_date).cloned())
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<StoredRun>> {
        let tables = self.tables.lock();
        let mut found: Vec<&StoredRun> = (tables.all().map(|r| &r.stored))
            .filter(|s| filter.dag_id.as_ref().is_none_or(|id| *id == s.run.dag_id))
            .filter(|s| filter.run_id.as_ref().is_none_or(|id| *id == s.run.run_id))
            .filter(|s| filter.logical_date.is_none_or(|at| s.run.logical_date == Some(cut(at))))
            .filter(|s| filter.states.is_empty() || filter.states.contains(&s.run.state))
            .filter(|s| filter.run_types.is_empty() || filter.run_types.contains(&s.run.run_type))
            .collect();
        match filter.order {
            RunOrder::Made => found.sort_by_key(|s| Reverse(s.pk)),
            RunOrder::Due => found.sort_by_key(|s| Reverse((s.run.run_after, s.pk))),
        }
        let limit = if filter.limit == 0 { usize::MAX } else { filter.limit as usize };
        Ok(found.into_iter().take(limit).cloned().collect())
    }

    async fn instances(&self, run: RunPk) -> Result<Vec<InstanceRow>> {
        let tables = self.tables.lock();
        Ok(tables.get(run).map(|r| r.instances.values().cloned().collect()).unwrap_or_default())
    }

    async fn tries(&self, run: RunPk, task_id: Option<&str>) -> Result<Vec<InstanceRow>> {
        let tables = self.tables.lock();
        let Some(run) = tables.get(run) else {
            return Ok(Vec::new());
        };
        let mut tries = Vec::with_capacity(run.instances.len() + run.history.len());
        for (key, present) in run.instances.iter().filter(|(key, _)| task_id.is_none_or(|id| id == &*key.0)) {
            let (first, last) = ((key.0.clone(), key.1, 0), (key.0.clone(), key.1, u32::MAX));
            tries.extend(run.history.range(first..=last).map(|(_, row)| row.clone()));
            tries.push(present.clone());
        }
        Ok(tries)
    }

    async fn xcoms(&self, run: RunPk, filter: XComFilter<'_>) -> Result<Vec<XComRow>> {
        let tables = self.tables.lock();
        let Some(run) = tables.get(run) else {
            return Ok(Vec::new());
        };
        let wanted = |x: &&XComRow| {
            filter.task_id.is_none_or(|id| id == x.task_id) && filter.map_index.is_none_or(|index| index == x.map_index)
        };
        Ok(run.xcoms.values().filter(wanted).cloned().collect())
    }

    async fn close(&self) {}
}
