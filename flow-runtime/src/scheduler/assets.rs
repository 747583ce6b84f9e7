//! Runs that are made for assets that have come.

use super::{Made, Scheduler};
use crate::executor::RunRequest;
use crate::store::StoreError;
use chrono::{DateTime, TimeDelta, Utc};
use flow_core::RunType;
use std::collections::BTreeMap;

/// Assets that have come, each with the number of its latest event.
pub(super) type Come = BTreeMap<String, i64>;

impl Scheduler {
    /// What is pending for each DAG. The first time, the store is told what the DAGs wait for: what came before a DAG was seen
    /// for the first time does not count for it.
    pub(super) async fn what_has_come(&mut self) -> Result<BTreeMap<String, Come>, StoreError> {
        let store = self.engine.store().clone();
        if !self.is_awaiting {
            let waits = self.dags.iter().map(|(dag_id, owned)| {
                let names = owned.waits_for().map(|when| when.names()).unwrap_or_default();
                (dag_id.clone(), names.into_iter().map(String::from).collect())
            });
            store.await_assets(&waits.collect()).await?;
            self.is_awaiting = true;
        }
        let mut come: BTreeMap<String, Come> = BTreeMap::new();
        if self.dags.values().any(|owned| owned.waits_for().is_some()) {
            for pending in store.pending_assets().await? {
                come.entry(pending.dag_id).or_default().insert(pending.asset, pending.latest);
            }
        }
        Ok(come)
    }

    /// Makes a run of a DAG that what has come is enough for, and drives it; says whether it is under way here. What comes
    /// from here on counts for the next one.
    pub(super) async fn make_asset_run(
        &mut self,
        dag_id: &str,
        active: u32,
        come: &Come,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let Some(owned) = self.dags.get(dag_id).filter(|owned| owned.may_begin(active, now)) else { return Ok(false) };
        let Some(when) = owned.waits_for().filter(|when| when.holds(&|asset| come.contains_key(asset))) else {
            return Ok(false);
        };
        let names = when.names();
        let events = come.iter().filter(|(asset, _)| names.contains(asset.as_str())).map(|(_, latest)| *latest);
        let run_type = RunType::AssetTriggered;
        let at = now.max(self.latest_asset_run + TimeDelta::microseconds(1));
        let made = match owned.params() {
            Err(why) => Made::Never(why.clone()),
            Ok(params) => {
                let request = RunRequest {
                    run_id: Some(run_type.run_id(at)),
                    run_type,
                    params: params.clone(),
                    events: events.collect(),
                    ..RunRequest::default()
                };
                self.latest_asset_run = at;
                self.begin(dag_id, request, None).await?
            }
        };
        match made {
            Made::Never(why) => {
                // It stays as it is, and so does what has come: said once.
                if self.told_of.insert(dag_id.to_owned()) {
                    self.note(format!("DAG `{dag_id}` has no run, although what it waits for has come: {why}"));
                }
                Ok(false)
            }
            made => {
                self.told_of.remove(dag_id);
                let is_here = matches!(made, Made::Here(_));
                if let Some(owned) = self.dags.get_mut(dag_id).filter(|_| is_here) {
                    owned.is_made_for_assets(true);
                }
                Ok(is_here)
            }
        }
    }
}
