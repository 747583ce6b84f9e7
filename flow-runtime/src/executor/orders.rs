//! What people want of runs that a process works on: to run tasks again, to give them a state, to end the run.
//!
//! An order lies in the store. Whoever works on the run looks there every now and then, and carries it out in the commit that
//! settles it: so it is carried out once, whoever dies when. One that nobody has come to is carried out by whoever takes the
//! run next.

use super::edit::Edited;
use super::{Engine, EngineError};
use crate::store::{MetadataStore, OrderRow, RunPk, StoreError, StoredRun};
use flow_core::{Dag, Event, RunState};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// Time between two looks at the orders.
pub(super) const POLL: Duration = Duration::from_secs(1);

/// For how long somebody who has given an order waits for it to be carried out.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two of his looks.
const LOOK: Duration = Duration::from_millis(100);

/// The orders that were there the last time: one look for all runs of an engine.
#[derive(Debug, Default)]
pub(super) struct OrderBook(Mutex<Option<(Instant, Vec<OrderRow>)>>);

impl OrderBook {
    /// The orders for this run that were not `seen` yet, as they were a moment ago; from now on they were. Of two that are given at
    /// the same time, the one with the smaller number may be there last.
    pub(super) async fn of(
        &self,
        store: &dyn MetadataStore,
        run: RunPk,
        seen: &mut BTreeSet<i64>,
    ) -> Result<Vec<OrderRow>, StoreError> {
        let mut latest = self.0.lock().await;
        if latest.as_ref().is_none_or(|(at, _)| at.elapsed() >= POLL / 2) {
            *latest = Some((Instant::now(), store.orders().await?));
        }
        let orders = latest.iter().flat_map(|(_, orders)| orders).filter(|order| order.run == run);
        let there: BTreeSet<i64> = orders.clone().map(|order| order.id).collect();
        let new = orders.filter(|order| !seen.contains(&order.id)).cloned().collect();
        // What was settled is gone for good.
        *seen = there;
        Ok(new)
    }
}

/// What became of a change that somebody wants.
#[derive(Debug, Clone)]
pub enum Changed {
    /// It was made: nobody works on the run.
    Made(Edited),
    /// Whoever works on the run has made it.
    CarriedOut,
    /// It was left as an order, and not carried out in the time that is waited for it. It will be.
    Ordered,
}

impl Engine {
    /// Changes the record of a run as [`Engine::edit`] does; where somebody works on the run, it is he who is told to do so.
    /// `events` may be asked twice.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn change(
        &self,
        run: &StoredRun,
        events: impl Fn(&Dag, &RunState) -> Vec<Event>,
    ) -> Result<Changed, EngineError> {
        match self.edit(run, &events).await {
            Ok(edited) => return Ok(Changed::Made(edited)),
            Err(EngineError::Held(_)) => {}
            Err(error) => return Err(error),
        }
        let dag = self.store.dag_version(&run.dag_version).await?;
        let state = super::run_state(&dag, run, &self.store.instances(run.pk).await?);
        let mut last = 0;
        for event in events(&dag, &state) {
            last = self.store.put_order(run.pk, &event, self.clock.now()).await?;
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            sleep(LOOK).await;
            if !self.store.orders().await?.iter().any(|order| order.run == run.pk && order.id <= last) {
                return Ok(Changed::CarriedOut);
            }
            // It may have been let go before the order was seen.
            match self.edit(run, |_, _| Vec::new()).await {
                Ok(edited) => return Ok(Changed::Made(edited)),
                Err(EngineError::Held(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Changed::Ordered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use chrono::DateTime;
    use flow_core::{DagRun, RunStatus, RunType};

    #[tokio::test]
    async fn an_order_that_comes_behind_one_with_a_larger_number_is_seen_and_none_twice() {
        let store = MemoryStore::new();
        let version = store.put_dag(&Dag::new("d")).await.unwrap();
        let run = DagRun {
            dag_id: "d".into(),
            run_id: "r".into(),
            run_type: RunType::Manual,
            state: RunStatus::Running,
            logical_date: None,
            data_interval: None,
            run_after: DateTime::UNIX_EPOCH,
            start_date: None,
            end_date: None,
            conf: Default::default(),
        };
        let (run, _) = store.create_run(&run, &version, "me").await.unwrap();
        let mut orders = Vec::new();
        for _ in 0..2 {
            orders.push(store.put_order(run, &Event::RunTimedOut, DateTime::UNIX_EPOCH).await.unwrap());
        }
        let (book, mut seen) = (OrderBook::default(), BTreeSet::from([orders[1]]));
        let found = book.of(&store, run, &mut seen).await.unwrap();
        assert_eq!(found.iter().map(|order| order.id).collect::<Vec<_>>(), orders[..1]);
        assert!(book.of(&store, run, &mut seen).await.unwrap().is_empty());
    }
}
