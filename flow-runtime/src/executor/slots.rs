//! What all runs of one engine share: how many tries may be under way at one time, and the slots of the pools.

use super::EngineSettings;
use flow_core::{InFlight, Limits};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// The slots of an engine.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) limits: Limits,
    in_flight: Mutex<InFlight>,
    /// Told when slots have become free, for the runs that wait for some.
    freed: watch::Sender<()>,
}

impl Slots {
    pub(super) fn of(settings: &EngineSettings) -> Slots {
        // A DAG's own limit is one of each run, which counts for itself.
        let limits = Limits {
            parallelism: u32::try_from(settings.parallelism).unwrap_or(u32::MAX),
            pools: settings.all_pools(),
            active_tasks: BTreeMap::new(),
        };
        Slots { limits, in_flight: Mutex::default(), freed: watch::Sender::new(()) }
    }

    /// Who asks hears of slots that become free from now on.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut InFlight) -> T) -> T {
        look(&mut self.in_flight.lock())
    }

    /// A try has ended.
    pub(super) fn release(&self, pool: &str, slots: u32) {
        self.in_flight.lock().remove("", pool, slots);
        if self.is_shared() {
            self.freed.send_replace(());
        }
    }

    /// One run alone has nobody to tell.
    pub(super) fn is_shared(&self) -> bool {
        self.freed.receiver_count() > 1
    }
}
