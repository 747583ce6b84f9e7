//! A person asks for dates that have passed to be filled in, and says that this stops, goes on or is over.

use crate::person::Person;
use chrono::TimeDelta;
use flow_runtime::clock::Clock;
use flow_runtime::core::Dag;
use flow_runtime::executor::Stop;
use flow_runtime::scheduler::backfill::work_on;
use flow_runtime::scheduler::{Listener, ScheduledDag};
use flow_runtime::store::{
    BackfillChange, BackfillRow, BackfillSpec, BackfillState, MetadataStore, Reprocess, StoreError,
};
use std::sync::Arc;

impl Person<'_> {
    /// Any of this.
    pub async fn fills(&mut self, store: &dyn MetadataStore) {
        match self.rng.below(5) {
            0 | 1 => self.asks(store).await,
            2 => self.changes_its_mind(store).await,
            _ => self.works_on_it(store).await,
        }
    }

    async fn asks(&mut self, store: &dyn MetadataStore) {
        let dag = self.any_dag();
        let from = dag.start_date.unwrap_or_default() + TimeDelta::minutes(self.rng.below(9) as i64 - 2);
        let to = from + TimeDelta::minutes(self.rng.below(8) as i64);
        let reprocess = [Reprocess::None, Reprocess::Failed, Reprocess::Completed][self.rng.below(3) as usize];
        let backwards = self.rng.chance(300) && dag.tasks.iter().all(|task| task.past.is_none());
        let max_active_runs = 1 + self.rng.below(3) as u32;
        let (dag_id, conf) = (dag.dag_id.clone(), Default::default());
        let spec = BackfillSpec { dag_id, from, to, reprocess, backwards, max_active_runs, conf };
        self.say(&format!("asks for {spec:?}"));
        // One who is not understood asks again, or does not.
        drop(store.put_backfill(&spec, self.days.clock.now()).await);
    }

    fn any_dag(&mut self) -> Arc<Dag> {
        self.days.dags[self.rng.below(self.days.dags.len() as u64) as usize].clone()
    }

    async fn any_backfill(&mut self, store: &dyn MetadataStore) -> Option<BackfillRow> {
        let rows = store.backfills(true).await.ok()?;
        let place = self.rng.below(rows.len() as u64) as usize;
        rows.into_iter().nth(place)
    }

    async fn changes_its_mind(&mut self, store: &dyn MetadataStore) {
        let Some(row) = self.any_backfill(store).await else { return };
        let to = match (row.state, self.rng.chance(400)) {
            (_, true) => BackfillState::Cancelled,
            (BackfillState::Paused, false) => BackfillState::Running,
            (_, false) => BackfillState::Paused,
        };
        self.say(&format!("says that backfill {} is {}", row.id, to.name()));
        let change = BackfillChange { id: row.id, from: row.state, to, at: self.days.clock.now() };
        drop(store.settle_backfill(&change).await);
    }

    /// By a command, in a process of its own.
    async fn works_on_it(&mut self, store: &dyn MetadataStore) {
        let Some(row) = self.any_backfill(store).await else { return };
        let Some(dag) = self.days.dags.iter().find(|dag| dag.dag_id == row.spec.dag_id).cloned() else { return };
        self.say(&format!("works on backfill {}", row.id));
        let process = self.days.process(format!("command of backfill {}", row.id));
        let engine = self.days.engine(&process, self.days.clock);
        self.begins(process, async move {
            let dag = ScheduledDag { dag, params: Ok(Default::default()) };
            let listener: Listener = Arc::new(|_| {});
            work_on(&engine, &dag, &row, &listener, &Stop::default()).await.map(|(_, ended)| format!("{ended:?}"))
        });
    }

    /// What is paused goes on, or the world would not end.
    pub async fn lets_all_go_on(&self, store: &dyn MetadataStore) -> Result<(), StoreError> {
        for row in store.backfills(true).await?.into_iter().filter(|row| row.state == BackfillState::Paused) {
            let to = BackfillState::Running;
            store
                .settle_backfill(&BackfillChange { id: row.id, from: row.state, to, at: self.days.clock.now() })
                .await?;
        }
        Ok(())
    }
}
