//! Which DAGs a world has, and what else goes on in it.

use crate::chains::{chain, gaps};
use crate::crowds::{crowd, rush};
use crate::dags::{follows, mapped, waits};
use crate::rng;
use flow_runtime::core::{Dag, RunType};
use std::sync::Arc;

/// What a world has.
pub struct Cast {
    pub dags: Vec<Arc<Dag>>,
    /// Somebody asks for dates that have passed to be filled in.
    pub fills: bool,
    /// What is owed outside is told.
    pub tells: bool,
    /// Keys of limits name arguments.
    pub has_keys: bool,
}

impl Cast {
    /// That of a seed: by the seed alone, and not by what else is drawn, so that a world stays the same when a further sort of
    /// worlds is thought of.
    pub fn of(seed: u64) -> Cast {
        let mut rng = rng::of_text(seed, "the cast");
        let (dags, fills) = match rng.below(10) {
            0..4 => (vec![mapped::dag(), waits::dag(), follows::dag()], false),
            4..7 => (vec![crowd::dag(), rush::dag()], false),
            _ => (vec![chain::dag(), gaps::dag()], true),
        };
        let has_keys = dags.iter().any(|dag| dag.dag_id == "crowd");
        let tells = has_keys && rng.chance(500);
        Cast { dags: dags.into_iter().map(Arc::new).collect(), fills, tells, has_keys }
    }
}

/// May runs of this type come by themselves in a DAG that waits for assets, or does not?
pub fn may_be_of(run_type: RunType, waits_for_assets: bool, fills: bool) -> bool {
    match run_type {
        RunType::Manual => true,
        RunType::Scheduled => !waits_for_assets,
        RunType::AssetTriggered => waits_for_assets,
        RunType::Backfill => fills,
    }
}
