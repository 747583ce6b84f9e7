//! A bell that runs of one engine hear, in the order in which they came to listen.
//!
//! A watch channel would do the same, but for that order: it wakes those who wait in one drawn at random, and a simulation that is
//! told again by its seed would go another way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Rung when something has happened for which others may wait. A clone is the same bell.
#[derive(Debug, Clone, Default)]
pub(super) struct Bell(Arc<Rung>);

#[derive(Debug, Default)]
struct Rung {
    times: AtomicU64,
    wake: Notify,
}

/// One who listens. What was rung before it came is not heard.
#[derive(Debug)]
pub(super) struct Listener {
    rung: Arc<Rung>,
    heard: u64,
}

impl Bell {
    pub(super) fn listen(&self) -> Listener {
        Listener { rung: self.0.clone(), heard: self.0.times.load(Ordering::Acquire) }
    }

    pub(super) fn ring(&self) {
        self.0.times.fetch_add(1, Ordering::AcqRel);
        self.0.wake.notify_waiters();
    }

    pub(super) fn has_listeners(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Listener {
    /// Was it rung since this was heard last?
    pub(super) fn has_rung(&self) -> bool {
        self.rung.times.load(Ordering::Acquire) != self.heard
    }

    /// What was rung until now counts as heard.
    pub(super) fn take_note(&mut self) {
        self.heard = self.rung.times.load(Ordering::Acquire);
    }

    /// Waits until it is rung, if it was not already; then that counts as heard. Its future may be dropped.
    pub(super) async fn rings(&mut self) {
        loop {
            // From here on it is woken, also before it waits.
            let woken = self.rung.wake.notified();
            if self.has_rung() {
                break;
            }
            woken.await;
        }
        self.take_note();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[tokio::test]
    async fn those_who_listen_hear_it_in_their_order_each_time() {
        let (bell, order) = (Bell::default(), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = tokio::task::JoinSet::new();
        for one in 0..20 {
            let (mut listener, order) = (bell.listen(), order.clone());
            tasks.spawn(async move {
                for _ in 0..3 {
                    listener.rings().await;
                    order.lock().push(one);
                }
            });
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
            bell.ring();
        }
        tasks.join_all().await;
        let thrice: Vec<i32> = (0..3).flat_map(|_| 0..20).collect();
        assert_eq!(*order.lock(), thrice);
        assert!(!bell.has_listeners());
    }

    #[tokio::test]
    async fn what_was_rung_before_one_waits_is_heard_once() {
        let bell = Bell::default();
        bell.ring();
        let mut listener = bell.listen();
        assert!(bell.has_listeners() && !listener.has_rung());
        bell.ring();
        assert!(listener.has_rung());
        listener.rings().await;
        assert!(!listener.has_rung());
        bell.ring();
        listener.take_note();
        assert!(!listener.has_rung());
    }
}
