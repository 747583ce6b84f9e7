//! What all tries of a run share.

use super::Engine;
use super::ids::Ids;
use super::lists::Lists;
use super::outputs::Outputs;
use super::report::Wanted;
use crate::asset::AssetEvent;
use crate::registry::Body;
use crate::run_event::RunEvent;
use crate::secret;
use crate::store::{Epoch, RunPk};
use crate::value::Erased;
use chrono::{DateTime, Utc};
use flow_core::dag::Isolation;
use flow_core::dag_run::SECRET_MARK;
use flow_core::{Dag, DataInterval, TaskIx};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What all tries of a run share.
pub(super) struct Scope {
    pub(super) engine: Engine,
    pub(super) dag: Arc<Dag>,
    pub(super) ids: Ids,
    pub(super) pk: RunPk,
    pub(super) epoch: Epoch,
    pub(super) run_id: String,
    pub(super) run_start: DateTime<Utc>,
    pub(super) logical_date: Option<DateTime<Utc>>,
    pub(super) data_interval: Option<DataInterval>,
    /// The events of assets that the run was made for.
    pub(super) made_for: Arc<[AssetEvent]>,
    /// What is written in the DAG: for each task, its literal arguments by number.
    pub(super) literals: Vec<HashMap<usize, Erased>>,
    /// The real values of the params, secrets too; in memory alone.
    pub(super) params: BTreeMap<String, Erased>,
    /// What a [`Context`](crate::Context) shows.
    pub(super) shown_params: Arc<Map<String, Value>>,
    pub(super) outputs: Outputs,
    pub(super) lists: Lists,
    /// For each task, what must be found out about its value.
    pub(super) wanted: Vec<Wanted>,
    /// Logs and progress on their way to the observer.
    pub(super) hints: mpsc::Sender<RunEvent>,
}

impl Scope {
    /// The function of a task. [`check_runnable`] has seen that it is there.
    pub(super) fn body(&self, task: TaskIx) -> Option<Body> {
        self.engine.bodies.get(&self.dag.tasks[task as usize].body)
    }

    /// The program that runs the tries of a task, if each has a process of its own.
    pub(super) fn program(&self, task: TaskIx) -> Option<&Path> {
        let own = self.dag.tasks[task as usize].isolation == Isolation::Process;
        self.engine.settings.program.as_deref().filter(|_| own)
    }
}

/// The params of a run, in the three forms that are needed.
pub(super) struct Params {
    /// The real values.
    pub(super) values: Map<String, Value>,
    /// What is stored: secrets are marked.
    pub(super) stored: Map<String, Value>,
}

impl Params {
    /// Puts the secrets among these values, and the passwords of URLs in them, on the list of texts that nobody may
    /// print, before anything else is done.
    pub(super) fn conceal(dag: &Dag, values: Map<String, Value>) -> Params {
        let is_secret = |name: &str| dag.params.iter().any(|p| p.secret && p.name == name);
        let mut stored = values.clone();
        for (name, value) in values.iter().filter(|(_, v)| !v.is_null()) {
            if is_secret(name) { secret::conceal(value) } else { secret::conceal_passwords(value) }
        }
        for (name, value) in stored.iter_mut().filter(|(_, v)| !v.is_null()) {
            *value = if is_secret(name) { Value::String(SECRET_MARK.into()) } else { secret::redact_value(value) };
        }
        Params { values, stored }
    }

    /// As tasks get them by arguments.
    pub(super) fn erased(&self) -> BTreeMap<String, Erased> {
        self.values.iter().map(|(name, value)| (name.clone(), Erased::from_json(value.to_string()))).collect()
    }

    /// As tasks see them through their context: with the project's global ones, without secrets.
    pub(super) fn shown(&self, dag: &Dag, global: &Map<String, Value>) -> Arc<Map<String, Value>> {
        let mut shown = global.clone();
        shown.extend(self.values.clone());
        for def in dag.params.iter().filter(|p| p.secret) {
            shown.remove(&def.name);
        }
        Arc::new(shown)
    }

    /// The number of elements of each param that is a list.
    pub(super) fn lengths(&self) -> BTreeMap<String, u32> {
        lengths(&self.values)
    }
}

/// The number of elements of each value that is a list.
pub(super) fn lengths(values: &Map<String, Value>) -> BTreeMap<String, u32> {
    let length = |value: &Value| match value {
        Value::Array(list) => Some(list.len()),
        Value::Object(map) => Some(map.len()),
        _ => None,
    };
    values.iter().filter_map(|(name, v)| Some((name.clone(), length(v)? as u32))).collect()
}
