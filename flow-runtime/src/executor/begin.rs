//! Making a run: params, record, lock.

use super::build;
use super::hold::{self, Hold, OnlyIf};
use super::obstacles;
use super::run_loop::pause_at;
use super::scope::Params;
use super::{Engine, EngineError, RunRequest};
use crate::store::{Ending, Epoch, InstanceRow, RunPk};
use flow_core::params::{self, Extra};
use flow_core::{Dag, DagRun, DataInterval, Event, InstanceKey, RunState, RunStatus, TryRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A run that is ready to be driven.
pub(crate) struct Begun {
    pub(super) dag: Arc<Dag>,
    pub(super) run: DagRun,
    pub(super) pk: RunPk,
    pub(super) epoch: Epoch,
    pub(super) params: Params,
    pub(super) state: RunState,
    /// The rows that the store has.
    pub(super) rows: Vec<InstanceRow>,
    /// What is known to have happened.
    pub(super) events: Vec<Event>,
    /// The tries that were under way when the process of the run died.
    pub(super) lost: Vec<TryRef>,
    /// The orders that `events` carry out.
    pub(super) settled: Vec<i64>,
    /// `events` let these, which failed, go on where they were: their steps are kept.
    pub(super) keeps_steps: BTreeSet<InstanceKey>,
    pub(super) resumed: bool,
    /// How it ends when what is set up is taken away, if it is being ended.
    pub(super) ending: Option<Ending>,
    /// So many failures in a row pause the DAG, as it is today.
    pub(super) pause_at: Option<u32>,
    pub(super) hold: Hold,
}

impl Begun {
    /// Its number in the store.
    pub(crate) fn pk(&self) -> RunPk {
        self.pk
    }
}

/// Makes a run.
pub(super) async fn begin(
    engine: &Engine,
    dag: Arc<Dag>,
    request: RunRequest,
    only_if: OnlyIf,
) -> Result<Begun, EngineError> {
    // First of all: from here on no text on its way out may hold a secret.
    let given = Params::conceal(&dag, request.params).values;
    let values = params::check(&dag.params, &given, Extra::Refuse)
        .map_err(|problems| EngineError::Params(problems.iter().map(ToString::to_string).collect()))?;
    let params = Params::conceal(&dag, values);
    obstacles::check(engine, &dag)?;

    let now = engine.clock.now();
    let about = request.logical_date.unwrap_or(now);
    let run = DagRun {
        dag_id: dag.dag_id.clone(),
        run_id: request.run_id.unwrap_or_else(|| request.run_type.run_id(now)),
        run_type: request.run_type,
        state: RunStatus::Queued,
        logical_date: request.logical_date,
        data_interval: Some(request.data_interval.unwrap_or(DataInterval { start: about, end: about })),
        run_after: request.run_after.unwrap_or(now),
        start_date: None,
        end_date: None,
        conf: params.stored.clone(),
    };
    let version = engine.store.put_dag(&dag).await?;
    build::note(engine, &version).await?;
    let only_if = OnlyIf { seen: request.events, ..only_if };
    let (pk, epoch, hold) = hold::make(engine, &run, &version, &only_if).await?;
    engine.begin_logs(&run.dag_id, &run.run_id).await;
    let pause_at = pause_at(&dag, &run);
    let state = RunState::new(&dag, &params.lengths()).with_logical_date(run.logical_date);
    Ok(Begun {
        dag,
        run,
        pk,
        epoch,
        params,
        state,
        rows: Vec::new(),
        events: Vec::new(),
        lost: Vec::new(),
        settled: Vec::new(),
        keeps_steps: BTreeSet::new(),
        resumed: false,
        ending: None,
        pause_at,
        hold,
    })
}
