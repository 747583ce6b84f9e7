//! A store that goes wrong on purpose: tests put it in front of another, to see what becomes of those who rely on it.

use super::{
    AssetEventFilter, AssetEventRow, BackfillChange, BackfillRow, BackfillSpec, BuildRow, CacheRow, CallbackChange,
    CallbackFilter, CallbackRow, Epoch, HeldRun, InstanceRow, MetadataStore, OrderRow, PendingAsset, Result, RunCommit,
    RunFilter, RunPk, SlotClaim, SlotRefusal, StoredRun, Term, Terms, XComFilter, XComRow,
};
use chrono::{DateTime, Utc};
use flow_core::{Dag, DagRun, Event};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Decides what goes wrong. `call` is the name of the store's method.
#[async_trait::async_trait]
pub trait Faults: Send + Sync + 'static {
    /// Asked before anything is done: an error is the answer, and nothing is done. To take long, or never to return, is a
    /// fault as well.
    async fn before(&self, call: &'static str) -> Result<()>;

    /// Asked when it is done: an error is the answer all the same, as when a connection is lost on the way back.
    async fn after(&self, call: &'static str) -> Result<()>;
}

/// A store with faults.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn MetadataStore>,
    faults: Arc<dyn Faults>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// This store, in which this goes wrong.
    pub fn new(inner: Arc<dyn MetadataStore>, faults: Arc<dyn Faults>) -> FaultyStore {
        FaultyStore { inner, faults }
    }
}

/// Each method as that of the store behind, with a chance to go wrong before and after.
macro_rules! with_faults {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait::async_trait]
        impl MetadataStore for FaultyStore {
            $(
                async fn $name(&self, $($argument: $type),*) -> Result<$answer> {
                    self.faults.before(stringify!($name)).await?;
                    let answer = self.inner.$name($($argument),*).await?;
                    self.faults.after(stringify!($name)).await?;
                    Ok(answer)
                }
            )*

            fn shares_slots(&self) -> bool {
                self.inner.shares_slots()
            }

            async fn close(&self) {
                self.inner.close().await;
            }
        }
    };
}

with_faults! {
    put_dag(dag: &Dag) -> String;
    dag_version(hash: &str) -> Dag;
    put_build(dag_version: &str, build: &str, timestamp: DateTime<Utc>) -> ();
    builds(dag_version: &str) -> Vec<BuildRow>;
    set_paused(dag_id: &str, paused: bool) -> ();
    paused() -> BTreeMap<String, bool>;
    put_backfill(spec: &BackfillSpec, created: DateTime<Utc>) -> i64;
    backfills(open: bool) -> Vec<BackfillRow>;
    settle_backfill(change: &BackfillChange) -> bool;
    hold_backfill(id: i64, owner: &str, term: Term) -> bool;
    held_backfills(now: DateTime<Utc>) -> BTreeMap<i64, String>;
    steps(run: RunPk, task_id: &str, map_index: i32) -> BTreeMap<String, Arc<str>>;
    put_event(name: &str, payload: &str, timestamp: DateTime<Utc>) -> bool;
    events(names: &[&str]) -> BTreeMap<String, Arc<str>>;
    asset_events(filter: &AssetEventFilter) -> Vec<AssetEventRow>;
    latest_asset_events() -> Vec<AssetEventRow>;
    put_asset_event(asset: &str, extra: &str, timestamp: DateTime<Utc>) -> i64;
    await_assets(dags: &BTreeMap<String, BTreeSet<String>>) -> ();
    pending_assets() -> Vec<PendingAsset>;
    callbacks(filter: CallbackFilter) -> Vec<CallbackRow>;
    settle_callback(change: &CallbackChange) -> bool;
    put_order(run: RunPk, event: &Event, timestamp: DateTime<Utc>) -> i64;
    orders() -> Vec<OrderRow>;
    make_run(run: &DagRun, dag_version: &str, terms: &Terms<'_>) -> (RunPk, Epoch);
    acquire_run(run: RunPk, owner: &str) -> Epoch;
    take_run(run: RunPk, owner: &str, term: Term) -> Epoch;
    renew(held: &[(RunPk, Epoch)], term: Term) -> BTreeSet<RunPk>;
    release(run: RunPk, epoch: Epoch) -> ();
    take_slots(claim: &SlotClaim<'_>) -> Vec<SlotRefusal>;
    starts(limit: &str, most: u32) -> Vec<DateTime<Utc>>;
    held(now: DateTime<Utc>) -> Vec<HeldRun>;
    delete_run(run: RunPk, epoch: Epoch) -> ();
    cached(key: &str) -> Option<CacheRow>;
    forget_asset_events(dag_id: Option<&str>, before: DateTime<Utc>) -> u64;
    forget_cached(dag_id: Option<&str>, before: DateTime<Utc>) -> u64;
    spilled() -> BTreeSet<String>;
    commit(commits: &[RunCommit]) -> Vec<RunPk>;
    run(dag_id: &str, run_id: &str) -> Option<StoredRun>;
    runs(filter: &RunFilter) -> Vec<StoredRun>;
    run_before(dag_id: &str, logical_date: DateTime<Utc>) -> Option<StoredRun>;
    instances(run: RunPk) -> Vec<InstanceRow>;
    tries(run: RunPk, task_id: Option<&str>) -> Vec<InstanceRow>;
    xcoms(run: RunPk, filter: XComFilter<'_>) -> Vec<XComRow>;
}

/// The variable that names the call of the store at which a process dies: `commit:3:before` is before its third commit,
/// `make_run:1:after` after its first new run, `migrate:2:before` before the second step of the schema. Heeded by programs with
/// the feature `failpoints` alone.
#[cfg(feature = "failpoints")]
pub const CRASH_AT: &str = "FLOW_CRASH_AT";

/// Ends the process where [`CRASH_AT`] says, as `kill -9` does: without a word.
#[cfg(feature = "failpoints")]
#[derive(Debug)]
pub struct CrashAt {
    call: String,
    after: bool,
    /// Calls that are left until then.
    left: std::sync::atomic::AtomicI64,
}

#[cfg(feature = "failpoints")]
impl CrashAt {
    /// What the variable says; `None` if it is not set.
    ///
    /// # Errors
    /// A sentence, if it cannot be read.
    pub fn of_variable() -> std::result::Result<Option<CrashAt>, String> {
        let Ok(text) = std::env::var(CRASH_AT) else { return Ok(None) };
        let parts: Vec<&str> = text.split(':').collect();
        let wrong = || format!("{CRASH_AT} is `{text}`, and must be like `commit:3:before`");
        let [call, number, when @ ("before" | "after")] = parts[..] else { return Err(wrong()) };
        let number: i64 = number.parse().map_err(|_| wrong())?;
        Ok(Some(CrashAt { call: call.to_owned(), after: when == "after", left: number.into() }))
    }

    fn count(&self, call: &str, after: bool) {
        use std::sync::atomic::Ordering;
        if self.call == call && self.after == after && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            die();
        }
    }
}

#[cfg(feature = "failpoints")]
fn die() {
    let _dead = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort();
}

/// A point that is passed while a store is opened, with a number of its own: ends the process here, where [`CRASH_AT`] says so.
#[cfg(all(feature = "failpoints", any(feature = "sqlite", feature = "postgres")))]
pub(super) fn passes(point: &str, number: usize, when: &str) {
    if std::env::var(CRASH_AT).is_ok_and(|text| text == format!("{point}:{number}:{when}")) {
        die();
    }
}

/// Nothing, without the feature `failpoints`.
#[cfg(all(not(feature = "failpoints"), any(feature = "sqlite", feature = "postgres")))]
pub(super) fn passes(_point: &str, _number: usize, _when: &str) {}

#[cfg(feature = "failpoints")]
#[async_trait::async_trait]
impl Faults for CrashAt {
    async fn before(&self, call: &'static str) -> Result<()> {
        self.count(call, false);
        Ok(())
    }

    async fn after(&self, call: &'static str) -> Result<()> {
        self.count(call, true);
        Ok(())
    }
}
