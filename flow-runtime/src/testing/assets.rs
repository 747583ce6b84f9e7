//! DAGs that are linked by assets, in a test.

use super::TestRun;
use crate::asset::{Asset, AssetEvent};
use crate::scheduler::ScheduledDag;
use crate::store::{AssetEventFilter, MemoryStore, MetadataStore, Result};
use chrono::{DateTime, Utc};
use flow_core::{Dag, DagRun, Schedule};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

impl TestRun {
    /// Lets the scheduler look after another DAG as well: one that makes, or waits for, assets of this one. Its params and
    /// replaced tasks come with it; a replacement holds for every task of its name.
    ///
    /// ```
    /// use flow_runtime::prelude::*;
    ///
    /// const TRIPS: Asset = Asset::new("trips");
    ///
    /// #[task(outlets = [TRIPS])]
    /// fn load(ctx: &Context) {
    ///     ctx.made(&TRIPS).rows(42);
    /// }
    ///
    /// #[task]
    /// fn count(ctx: &Context) -> usize {
    ///     ctx.triggering_events().len()
    /// }
    ///
    /// #[dag(schedule = "@daily", start_date = "2026-01-01")]
    /// fn trips() {
    ///     load();
    /// }
    ///
    /// #[dag(schedule = assets(TRIPS))]
    /// fn report() {
    ///     count();
    /// }
    ///
    /// # fn main() {
    /// let both = trips::test().with(report::test()).scheduled_blocking("2026-01-01", "2026-01-03").succeeded();
    /// assert_eq!(both.of("report").values::<usize>("count"), [1, 1, 1]);
    /// # }
    /// ```
    pub fn with(mut self, other: TestRun) -> TestRun {
        self.others.push(ScheduledDag { dag: other.dag, params: Ok(other.request.params) });
        self.others.extend(other.others);
        self.come.extend(other.come);
        self.replacements.extend(other.replacements);
        self.settings.pools.extend(other.settings.pools);
        self.settings.global_params.extend(other.settings.global_params);
        self
    }

    /// An asset has come when the test begins, with these facts about it (a struct or a map): the run is made for it, or the
    /// scheduler finds it.
    ///
    /// # Panics
    /// If they cannot be written as a JSON object.
    #[track_caller]
    pub fn triggered_by(mut self, asset: &Asset, extra: impl Serialize) -> TestRun {
        let extra = super::json(asset.name(), extra);
        assert!(extra.is_object(), "what is known about an asset is a JSON object, and this is none: {extra}");
        self.come.push((asset.name().into(), extra.to_string()));
        self
    }
}

/// Lets these assets come, for the DAGs that wait for them and for the one that is tested; gives the numbers of the events.
pub(super) async fn emit(
    store: &MemoryStore,
    dags: impl IntoIterator<Item = &Dag>,
    come: &[(String, String)],
    at: DateTime<Utc>,
) -> std::result::Result<Vec<i64>, String> {
    let waits = |dag: &Dag| {
        let waited = dag.schedule.as_ref().and_then(Schedule::waits_for);
        let own = waited.map(|when| when.names().into_iter().map(String::from).collect::<BTreeSet<_>>());
        (dag.dag_id.clone(), own.unwrap_or_else(|| come.iter().map(|(asset, _)| asset.clone()).collect()))
    };
    let waits: BTreeMap<String, BTreeSet<String>> = dags.into_iter().map(waits).collect();
    if let Some((asset, _)) = come.iter().find(|(asset, _)| !waits.values().any(|assets| assets.contains(asset))) {
        return Err(format!("no DAG of this test waits for the asset `{asset}`"));
    }
    store.await_assets(&waits).await.map_err(|e| e.to_string())?;
    let mut events = Vec::new();
    for (asset, extra) in come {
        events.push(store.put_asset_event(asset, extra, at).await.map_err(|e| e.to_string())?);
    }
    Ok(events)
}

/// The events of assets that a run has made.
pub(super) async fn made_by(store: &MemoryStore, run: &DagRun) -> Result<Vec<AssetEvent>> {
    let mut events = store.asset_events(&AssetEventFilter::default()).await?;
    events.retain(|event| {
        event.made_by.as_ref().is_some_and(|by| (&by.dag_id, &by.run_id) == (&run.dag_id, &run.run_id))
    });
    Ok(events)
}
