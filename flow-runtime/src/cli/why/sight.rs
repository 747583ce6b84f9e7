//! What every question is asked of: the records, and this program over them.

use crate::cli::app::App;
use crate::cli::exit::Result;
use crate::cli::session;
use crate::executor::Engine;
use crate::store::{MetadataStore, RunFilter, StoredRun};
use flow_core::RunStatus;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What there is to look at.
pub struct Sight<'a> {
    pub app: &'a App,
    /// What would go on with runs here, and the records; `None` as long as there are none.
    there: Option<(Arc<dyn MetadataStore>, Engine)>,
    paused: BTreeMap<String, bool>,
    /// A scheduler is there; `None` where that cannot be seen.
    pub scheduler: Option<bool>,
}

impl Sight<'_> {
    /// Opens the records, if there are any.
    pub async fn open(app: &App) -> Result<Sight<'_>> {
        let store = app.store_to_read().await?;
        let paused = match &store {
            Some(store) => store.paused().await?,
            None => BTreeMap::new(),
        };
        let there = store.map(|store| {
            let engine = Engine::new(store.clone(), app.registry.bodies().clone(), session::settings(app));
            (store, engine)
        });
        Ok(Sight { app, there, paused, scheduler: session::scheduler_lives(app) })
    }

    pub fn store(&self) -> Option<&dyn MetadataStore> {
        self.there.as_ref().map(|(store, _)| &**store)
    }

    pub fn engine(&self) -> Option<&Engine> {
        self.there.as_ref().map(|(_, engine)| engine)
    }

    pub fn is_paused(&self, dag_id: &str) -> bool {
        self.paused.get(dag_id).copied().unwrap_or(self.app.config.paused_at_creation)
    }

    /// The unfinished runs of all DAGs, or one: those of a DAG together, the oldest first.
    pub async fn open_runs(&self, only: Option<&str>) -> Result<Vec<StoredRun>> {
        let Some(store) = self.store() else { return Ok(Vec::new()) };
        let states = vec![RunStatus::Queued, RunStatus::Running];
        let filter = RunFilter { dag_id: only.map(String::from), states, ..RunFilter::default() };
        let mut open: Vec<StoredRun> = store.runs(&filter).await?.into_iter().rev().collect();
        open.sort_by(|one, other| one.run.dag_id.cmp(&other.run.dag_id));
        Ok(open)
    }
}
