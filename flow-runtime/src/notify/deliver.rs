//! Tells what the outbox holds.

use super::{Channel, MOST_ATTEMPTS, PLACES, PLACES_OF_ONE, Untold};
use crate::clock::Clock;
use crate::executor::Engine;
use crate::store::{
    CallbackChange, CallbackFilter, CallbackRow, CallbackState, MetadataStore, RunPk, StoreError, Term,
};
use flow_core::Notifier;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Longest time between two looks at the store, for what others have written.
const POLL: Duration = Duration::from_secs(2);
/// Most rows of one question.
const PAGE: u32 = 256;
/// Most questions of one look: beyond these rows nothing is taken up before some of them are settled.
const PAGES: usize = 16;
/// Whoever takes a row and is not heard of so long after its timeout has died.
const SLACK: Duration = Duration::from_secs(5);
/// The wait after the first attempt.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How long deliveries under way may go on when it is stopped.
const GRACE: Duration = Duration::from_secs(5);

/// Tells in the background what the store of an engine owes: of runs of this process and of any other, also what one that
/// died has left. It lives on the tokio runtime in which it was started; dropped, it stops at once.
///
/// Several may work on one store: a row is taken by one of them for a while.
pub struct Deliverer {
    outbox: Arc<Outbox>,
    stop: CancellationToken,
    work: Option<JoinHandle<()>>,
}

/// What the loop and its deliveries share.
struct Outbox {
    store: Arc<dyn MetadataStore>,
    clock: Arc<dyn Clock>,
    named: BTreeMap<String, Channel>,
    /// How this program is called, in what is told.
    called: String,
    /// The rows under way here, and to whom.
    under_way: Mutex<HashMap<i64, Arc<str>>>,
    /// Told when one of them is settled.
    settled: watch::Sender<()>,
}

impl Deliverer {
    /// Starts one over the store of this engine, with the notifiers of its settings.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(engine: &Engine) -> Deliverer {
        let outbox = Arc::new(Outbox {
            store: engine.store().clone(),
            clock: engine.clock().clone(),
            named: engine.settings().notifiers.clone(),
            called: engine.settings().called.clone().unwrap_or_else(super::program),
            under_way: Mutex::default(),
            settled: watch::Sender::new(()),
        });
        let stop = CancellationToken::new();
        let work = tokio::spawn(work(outbox.clone(), engine.owing(), stop.clone()));
        Deliverer { outbox, stop, work: Some(work) }
    }

    /// Waits until all that this run owes is settled; for at most that time, and not for what waits longer than that between two
    /// attempts. Says how much is still owed.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn wait_for(&self, run: RunPk, patience: Duration) -> Result<usize, StoreError> {
        let end = Instant::now() + patience;
        let mut settled = self.outbox.settled.subscribe();
        loop {
            settled.mark_unchanged();
            let rows =
                self.outbox.store.callbacks(CallbackFilter { run: Some(run), ..CallbackFilter::default() }).await?;
            let owed: Vec<CallbackRow> = rows.into_iter().filter(|row| row.state == CallbackState::Pending).collect();
            let may_come = {
                let under_way = self.outbox.under_way.lock();
                // Tried, and nothing went wrong: another process is at it.
                let is_elsewhere = |row: &CallbackRow| row.attempts > 0 && row.error.is_none();
                // Told by lengths: when it is due is an instant of the store's clock, which may not be this machine's.
                let is_soon = |row: &CallbackRow| row.attempts == 0 || wait_after(row.attempts) <= patience;
                owed.iter().any(|row| is_soon(row) || under_way.contains_key(&row.id) || is_elsewhere(row))
            };
            if !may_come || Instant::now() >= end {
                return Ok(owed.len());
            }
            // Another process may be the one that settles it.
            let _ = timeout_at(end.min(Instant::now() + POLL), settled.changed()).await;
        }
    }

    /// Takes up no more, and gives what is under way a few seconds. What is not told then is owed as before.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(work) = self.work.take() {
            // It has panicked; there is nothing to tell any more.
            let _ = work.await;
        }
    }
}

impl Drop for Deliverer {
    fn drop(&mut self) {
        if let Some(work) = &self.work {
            work.abort();
        }
    }
}

async fn work(outbox: Arc<Outbox>, mut owing: watch::Receiver<()>, stop: CancellationToken) {
    let mut deliveries = JoinSet::new();
    // Told once, until it passes.
    let mut trouble = None;
    loop {
        owing.mark_unchanged();
        let mut failed = take_up(&outbox, &mut deliveries).await.err();
        let next_look = sleep(POLL);
        tokio::pin!(next_look);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let all = async { while deliveries.join_next().await.is_some() {} };
                    let _ = timeout(GRACE, all).await;
                    return;
                }
                Some(ended) = deliveries.join_next() => {
                    failed = failed.or(ended.ok().and_then(Result::err));
                    // As many as have ended: one look finds what may go now.
                    while let Some(ended) = deliveries.try_join_next() {
                        failed = failed.or(ended.ok().and_then(Result::err));
                    }
                }
                Ok(()) = owing.changed() => {}
                () = &mut next_look => break,
            }
            if failed.is_none() {
                break;
            }
            // Where the store fails, it is left alone until the next look.
        }
        let text = failed.map(|error| error.to_string());
        if let Some(text) = text.as_ref().filter(|text| trouble.as_ref() != Some(*text)) {
            tracing::warn!(target: "flow::notify", "nothing can be told, and it is tried again: {text}");
        }
        trouble = text;
    }
}

/// Begins as many deliveries as there are places for, the oldest first.
async fn take_up(outbox: &Arc<Outbox>, deliveries: &mut JoinSet<Result<(), StoreError>>) -> Result<(), StoreError> {
    let mut after = 0;
    for _ in 0..PAGES {
        if outbox.under_way.lock().len() >= PLACES {
            return Ok(());
        }
        let due_at = Some(outbox.clock.now());
        let filter = CallbackFilter { due_at, after, limit: PAGE, ..CallbackFilter::default() };
        let rows = outbox.store.callbacks(filter).await?;
        let is_last = rows.len() < PAGE as usize;
        after = rows.last().map_or(after, |row| row.id);
        for row in rows {
            if outbox.has_place(&row) {
                deliveries.spawn(deliver(outbox.clone(), row));
            }
        }
        if is_last {
            return Ok(());
        }
    }
    Ok(())
}

async fn deliver(outbox: Arc<Outbox>, row: CallbackRow) -> Result<(), StoreError> {
    let _place = Place { outbox: &outbox, id: row.id };
    // After an error it is owed as before, and due again when its time is over.
    outbox.deliver(&row).await
}

/// Free again when it is dropped, however a delivery ends.
struct Place<'o> {
    outbox: &'o Outbox,
    id: i64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.outbox.under_way.lock().remove(&self.id);
        self.outbox.settled.send_replace(());
    }
}

impl Outbox {
    /// Gives a row a place, if there is one for it.
    fn has_place(&self, row: &CallbackRow) -> bool {
        let mut under_way = self.under_way.lock();
        let to = &row.callback.notifier;
        let of_one = under_way.values().filter(|other| *other == to).count();
        let fits = under_way.len() < PLACES && of_one < PLACES_OF_ONE && !under_way.contains_key(&row.id);
        if fits {
            under_way.insert(row.id, to.clone());
        }
        fits
    }

    async fn deliver(&self, row: &CallbackRow) -> Result<(), StoreError> {
        let channel = serde_json::from_str::<Notifier>(&row.callback.notifier)
            .map_err(|e| format!("whom to tell cannot be read: {e}"))
            .and_then(|notifier| Channel::of(&notifier, &self.named));
        let attempts = row.attempts.saturating_add(1);
        let patience = channel.as_ref().map_or(Duration::ZERO, Channel::timeout).saturating_add(SLACK);
        let taken = CallbackChange {
            id: row.id,
            tried: row.attempts,
            state: CallbackState::Pending,
            attempts,
            due: self.after(patience),
            error: row.error.clone(),
        };
        if !self.store.settle_callback(&taken).await? {
            return Ok(());
        }
        let told = match (channel, serde_json::from_str(&row.callback.payload)) {
            (Ok(channel), Ok(payload)) => channel.tell(&payload, &self.called).await,
            (Err(why), _) => Err(why.into()),
            (_, Err(why)) => Err(format!("what to tell cannot be read: {why}").into()),
        };
        let now = self.after(Duration::ZERO);
        let settled = match told {
            Ok(()) => CallbackChange { state: CallbackState::Success, due: now, error: None, ..taken },
            Err(Untold { why, is_final }) if is_final || attempts >= MOST_ATTEMPTS => {
                let after = if attempts == 1 { "one attempt".into() } else { format!("{attempts} attempts") };
                tracing::error!(target: "flow::notify", "a notification was given up after {after}: {why}");
                CallbackChange { state: CallbackState::Failed, due: now, error: Some(why), ..taken }
            }
            Err(Untold { why, .. }) => {
                CallbackChange { due: self.after(wait_after(attempts)), error: Some(why), ..taken }
            }
        };
        // Taken by another meanwhile: that one will tell how it went.
        self.store.settle_callback(&CallbackChange { tried: attempts, ..settled }).await.map(drop)
    }

    /// So long from now on.
    fn after(&self, length: Duration) -> Term {
        Term { length, now: self.clock.now() }
    }
}

/// How long it waits after so many attempts.
fn wait_after(attempts: u32) -> Duration {
    let factor = 3u32.saturating_pow(attempts.saturating_sub(1));
    FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_to_an_hour() {
        let waits: Vec<u64> = (1..=9).map(|attempts| wait_after(attempts).as_secs()).collect();
        assert_eq!(waits, [2, 6, 18, 54, 162, 486, 1458, 3600, 3600]);
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }
}
