//! The events for which deferred instances of a run wait, and when it is asked whether they have happened.

use super::bell::Listener;
use crate::clock::Clock;
use crate::store::MetadataStore;
use flow_core::{Event, InstanceKey};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Time between two questions, for events that other processes tell of.
const POLL: Duration = Duration::from_secs(2);

/// So many events more make the time between two questions longer by as much again.
const MANY: usize = 10_000;

/// The events for which instances wait.
#[derive(Debug)]
pub(super) struct Awaited {
    by_instance: HashMap<InstanceKey, Arc<str>>,
    /// Told when an event has happened in this process.
    told: Listener,
    next: Instant,
    /// Somebody waits for an event of which it was not asked yet.
    pending: bool,
}

impl Awaited {
    pub(super) fn of(told: Listener, waits: impl Iterator<Item = (InstanceKey, Arc<str>)>) -> Awaited {
        let by_instance: HashMap<_, _> = waits.collect();
        let pending = !by_instance.is_empty();
        Awaited { by_instance, told, next: Instant::now(), pending }
    }

    /// This instance waits for this event from now on, or for none.
    pub(super) fn note(&mut self, key: InstanceKey, event: Option<Arc<str>>) {
        match event {
            // The event may have happened since its task has looked: it is asked at once.
            Some(event) => {
                if self.by_instance.insert(key, event.clone()) != Some(event) {
                    (self.pending, self.next) = (true, Instant::now());
                }
            }
            None => drop(self.by_instance.remove(&key)),
        }
    }

    /// Is there an event of which it was not asked yet?
    pub(super) fn is_pending(&self) -> bool {
        self.pending && !self.by_instance.is_empty()
    }

    /// May an event still come that somebody waits for? Under a clock that leaves out waiting, whoever could tell of it
    /// would have to do so in no time.
    pub(super) fn may_come(&self, clock: &dyn Clock) -> bool {
        !self.by_instance.is_empty() && (self.pending || !clock.leaves_out_waiting())
    }

    /// It was asked in vain, and nothing more will come.
    pub(super) fn has_gone_unheard(&self, clock: &dyn Clock) -> bool {
        !self.by_instance.is_empty() && !self.may_come(clock)
    }

    /// Waits until it should be asked again.
    pub(super) async fn is_time(&mut self) {
        if self.by_instance.is_empty() {
            return std::future::pending().await;
        }
        tokio::select! {
            () = sleep_until(self.next) => {}
            () = self.told.rings() => {}
        }
    }

    /// Asks which of them have happened.
    pub(super) async fn ask(&mut self, store: &dyn MetadataStore) -> Option<Event> {
        self.told.take_note();
        let mut names: Vec<&str> = self.by_instance.values().map(|event| &**event).collect();
        names.sort_unstable();
        names.dedup();
        let many = u32::try_from(names.len() / MANY).unwrap_or(u32::MAX);
        self.next = Instant::now() + POLL.saturating_mul(many.saturating_add(1));
        let found = match store.events(&names).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("events cannot be asked for, and are later: {error}");
                return None;
            }
        };
        self.pending = false;
        let has_come = |(key, event): (&InstanceKey, &Arc<str>)| found.contains_key(&**event).then_some(*key);
        let mut woken: Vec<InstanceKey> = self.by_instance.iter().filter_map(has_come).collect();
        woken.sort_unstable();
        (!woken.is_empty()).then_some(Event::Woken(woken))
    }
}
