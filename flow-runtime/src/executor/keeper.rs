//! Renews the leases of the runs that this process works on, from a thread of its own: neither a body that blocks nor a terminal
//! that takes no more text can starve it.
//!
//! A lease is renewed at a third of its length. Where that does not succeed it is tried again and again, until
//! [`Keeper::MARGIN`] of the lease is left; then the run is let go, so that its tries are stopped before somebody else
//! may begin them anew.

use super::{EngineError, EngineSettings};
use crate::clock::Clock;
use crate::store::{Epoch, MetadataStore, Renewer, RunPk, Term, renewer};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

/// What renews the leases of an engine.
pub(super) struct Keeper {
    store: Arc<dyn MetadataStore>,
    clock: Arc<dyn Clock>,
    length: Duration,
    /// It works on a thread of its own.
    thread: bool,
    shared: Arc<Shared>,
}

/// What the engine and the thread both see.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    kept: BTreeMap<RunPk, Kept>,
    /// Runs that were left without a word: their leases are ended.
    left: Vec<(RunPk, Epoch)>,
    /// The thread is there.
    works: bool,
    /// Nobody needs the thread any more.
    closed: bool,
}

/// A lease that is renewed.
struct Kept {
    epoch: Epoch,
    /// When it ends at the earliest: counted from before it was asked for.
    ends: Instant,
    lost: CancellationToken,
    /// Said before `lost` fires.
    why: Arc<OnceLock<String>>,
}

impl Kept {
    fn let_go(&self, why: String) {
        // The first word stands.
        drop(self.why.set(why));
        self.lost.cancel();
    }
}

/// A lease of this process, until it is dropped.
pub(super) struct Leased {
    store: Arc<dyn MetadataStore>,
    shared: Arc<Shared>,
    run: RunPk,
    epoch: Epoch,
    lost: CancellationToken,
    why: Arc<OnceLock<String>>,
}

impl Keeper {
    /// A lease is renewed once this part of it is over.
    const RENEWAL: u32 = 3;
    /// A run is let go while this part of its lease is left, which is the time to stop its tries in.
    const MARGIN: u32 = 5;
    /// The next attempt to renew follows after this part of a lease.
    const AGAIN: u32 = 15;

    pub(super) fn new(store: Arc<dyn MetadataStore>, clock: Arc<dyn Clock>, length: Duration) -> Keeper {
        Keeper { store, clock, length, thread: true, shared: Arc::default() }
    }

    /// That of an engine, if its runs are held by leases.
    pub(super) fn of(
        settings: &EngineSettings,
        store: &Arc<dyn MetadataStore>,
        clock: &Arc<dyn Clock>,
    ) -> Option<Arc<Keeper>> {
        let mut keeper = Keeper::new(store.clone(), clock.clone(), settings.lease?);
        keeper.thread = settings.threads;
        Some(Arc::new(keeper))
    }

    /// A lease from now on.
    pub(super) fn term(&self) -> Term {
        Term { length: self.length, now: self.clock.now() }
    }

    /// Keeps the lease of this run, which was asked for at that instant (or later). One of which the answer has come so late that
    /// it is over, or nearly so, is lost from the start: the run may be somebody else's already.
    pub(super) fn keep(&self, run: RunPk, epoch: Epoch, asked: Instant) -> Result<Leased, EngineError> {
        let (lost, why) = (CancellationToken::new(), Arc::new(OnceLock::new()));
        // Made first: whatever fails below, its lease is ended.
        let leased = Leased {
            store: self.store.clone(),
            shared: self.shared.clone(),
            run,
            epoch,
            lost: lost.clone(),
            why: why.clone(),
        };
        let kept = Kept { epoch, ends: asked + self.length, lost, why };
        if kept.ends <= Instant::now() + self.length / Keeper::MARGIN {
            kept.let_go("its lease was over before the answer came that gave it".into());
            return Ok(leased);
        }
        let mut state = self.shared.state.lock();
        state.kept.insert(run, kept);
        let works = std::mem::replace(&mut state.works, true);
        drop(state);
        if !works && let Err(error) = self.start() {
            self.shared.state.lock().works = false;
            return Err(EngineError::Io(format!("no thread could be started to renew leases: {error}")));
        }
        self.shared.changed.notify_one();
        Ok(leased)
    }

    fn start(&self) -> std::io::Result<()> {
        let worker = Worker {
            shared: self.shared.clone(),
            renewer: renewer(&self.store),
            clock: self.clock.clone(),
            length: self.length,
            trouble: None,
        };
        if !self.thread {
            tokio::spawn(worker.work());
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("flow-leases".into()).spawn(move || runtime.block_on(worker.work())).map(drop)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Leased {
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Fires when the run must be let go: its lease was not renewed in time, or the run is somebody else's.
    pub(super) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Why it had to be let go.
    pub(super) fn why(&self) -> &str {
        self.why.get().map_or("its lease is over", String::as_str)
    }

    /// Ends the lease at once. What fails is left to time: it is not renewed any more.
    pub(super) async fn release(&self) {
        if self.forget() && self.store.release(self.run, self.epoch).await.is_err() {
            self.leave();
        }
    }

    /// It is renewed no more; says whether it was.
    fn forget(&self) -> bool {
        let mut state = self.shared.state.lock();
        let is_mine = state.kept.get(&self.run).is_some_and(|kept| kept.epoch == self.epoch);
        is_mine && state.kept.remove(&self.run).is_some()
    }

    fn leave(&self) {
        self.shared.state.lock().left.push((self.run, self.epoch));
        self.shared.changed.notify_one();
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if self.forget() {
            self.leave();
        }
    }
}

/// The thread's work.
struct Worker {
    shared: Arc<Shared>,
    renewer: Box<dyn Renewer>,
    clock: Arc<dyn Clock>,
    length: Duration,
    /// Why the latest attempt to renew was none.
    trouble: Option<String>,
}

impl Drop for Worker {
    /// Nobody renews any more, whatever the reason: nothing may be taken for held.
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.works = false;
        for (_, kept) in std::mem::take(&mut state.kept) {
            kept.let_go("the thread that renews leases has ended".into());
        }
    }
}

impl Worker {
    async fn work(mut self) {
        let mut next = Instant::now() + self.length / Keeper::RENEWAL;
        loop {
            let alarm = next.min(self.shared.first_end().map_or(next, |end| self.last_moment(end)));
            tokio::select! {
                biased;
                () = self.shared.changed.notified() => {}
                () = sleep_until(alarm) => {}
            }
            let now = Instant::now();
            // First of all: a process that was stopped for a while must not go on with what may be somebody else's.
            let why = || match &self.trouble {
                Some(trouble) => format!("its lease could not be renewed in time ({trouble})"),
                None => "its lease was over before it could be renewed".into(),
            };
            self.shared.let_go(now + self.length / Keeper::MARGIN, why);
            self.give_back().await;
            if self.shared.state.lock().closed {
                return;
            }
            if now >= next {
                let well = self.renew().await;
                next = now + self.length / if well { Keeper::RENEWAL } else { Keeper::AGAIN };
            }
        }
    }

    /// When a run whose lease ends then must be let go.
    fn last_moment(&self, end: Instant) -> Instant {
        end.checked_sub(self.length / Keeper::MARGIN).unwrap_or(end)
    }

    /// Ends what was left, in one attempt each.
    async fn give_back(&mut self) {
        let left = std::mem::take(&mut self.shared.state.lock().left);
        for (run, epoch) in left {
            let until = Instant::now() + self.length / Keeper::AGAIN;
            // What cannot be ended ends by itself.
            drop(timeout_at(until, self.renewer.release(run, epoch)).await);
        }
    }

    /// One attempt; says whether it was answered.
    async fn renew(&mut self) -> bool {
        let held = self.shared.held();
        let Some(first_end) = self.shared.first_end() else { return true };
        let asked = Instant::now();
        let margin = self.length / Keeper::MARGIN;
        let mut until = self.last_moment(first_end).min(asked + self.length / Keeper::RENEWAL);
        let term = Term { length: self.length, now: self.clock.now() };
        let mut has_changed = false;
        let answer = {
            let mut renewing = self.renewer.renew(&held, term);
            loop {
                tokio::select! {
                    biased;
                    answer = &mut renewing => break Some(answer),
                    () = sleep_until(until) => break None,
                    // What is kept since then may end sooner: its answer was late.
                    () = self.shared.changed.notified() => {
                        has_changed = true;
                        let first_end = self.shared.first_end().and_then(|end| end.checked_sub(margin));
                        until = first_end.map_or(until, |end| end.min(until));
                    }
                }
            }
        };
        if has_changed {
            // There may be something to give back.
            self.shared.changed.notify_one();
        }
        let renewed = match answer {
            Some(Ok(renewed)) => renewed,
            Some(Err(error)) => {
                self.trouble = Some(error.to_string());
                return false;
            }
            None => {
                self.trouble = Some("the metadata database does not answer".into());
                return false;
            }
        };
        self.trouble = None;
        let mut state = self.shared.state.lock();
        for (run, epoch) in held {
            let Some(kept) = state.kept.get_mut(&run).filter(|kept| kept.epoch == epoch) else { continue };
            if renewed.contains(&run) {
                kept.ends = asked + self.length;
            } else {
                kept.let_go("somebody else has taken it, or has deleted it".into());
                state.kept.remove(&run);
            }
        }
        true
    }
}

impl Shared {
    fn held(&self) -> Vec<(RunPk, Epoch)> {
        self.state.lock().kept.iter().map(|(run, kept)| (*run, kept.epoch)).collect()
    }

    /// When the first of the leases ends.
    fn first_end(&self) -> Option<Instant> {
        self.state.lock().kept.values().map(|kept| kept.ends).min()
    }

    /// Lets go of the runs whose leases end by then.
    fn let_go(&self, by: Instant, why: impl Fn() -> String) {
        self.state.lock().kept.retain(|_, kept| {
            let stays = kept.ends > by;
            if !stays {
                kept.let_go(why());
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests;
