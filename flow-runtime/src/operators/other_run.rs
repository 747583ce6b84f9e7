//! A run of another DAG, as a task.

use crate::ask::{Answer, Ask, WhichRun};
use crate::context::Context;
use crate::error::{Result, TaskError};
use crate::{task, value};
use anyhow::bail;
use flow_core::{RunStatus, parse};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two looks at a run that is waited for.
const LOOK: Duration = Duration::from_secs(5);

/// A run of another DAG that there should be.
#[value]
pub struct TriggerDag {
    /// The DAG.
    pub dag_id: String,
    /// Its params; what is not said comes from flow.toml, the environment and the defaults. No place for secrets.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// The instant it is about: `2026-01-31`, or with a time.
    #[serde(default)]
    pub logical_date: Option<String>,
    /// Does the task wait for its end?
    #[serde(default)]
    pub wait: bool,
}

impl TriggerDag {
    /// A run of this DAG, which is not waited for.
    pub fn new(dag_id: impl Into<String>) -> TriggerDag {
        TriggerDag { dag_id: dag_id.into(), params: BTreeMap::new(), logical_date: None, wait: false }
    }

    /// With this param.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> TriggerDag {
        self.params.insert(name.into(), value.into());
        self
    }

    /// About this instant.
    #[must_use]
    pub fn logical_date(mut self, date: impl Into<String>) -> TriggerDag {
        self.logical_date = Some(date.into());
        self
    }

    /// The task waits until the run has ended, without a slot; it fails if the run does.
    #[must_use]
    pub fn wait(mut self) -> TriggerDag {
        self.wait = true;
        self
    }

    /// Sees to it that there is the run, for a task of one's own; see [`trigger_dag_with`].
    ///
    /// # Errors
    /// As those of [`trigger_dag_with`].
    pub async fn run(&self, ctx: &Context) -> Result<String> {
        // Kept, so that a later try means the same run; forgotten when the task is cleared, so that the next is another.
        let run_id: String = ctx.step(&format!("run of {}", self.dag_id), || async { anyhow::Ok(own_id(ctx)) }).await?;
        let (status, _) = states(ctx, self.dag_id.clone(), WhichRun::Id(run_id.clone()), None).await?;
        let status = match status {
            None => {
                self.trigger(ctx, run_id.clone()).await?;
                RunStatus::Queued
            }
            Some(status) => status,
        };
        match status {
            _ if !self.wait => Ok(run_id),
            RunStatus::Success => Ok(run_id),
            RunStatus::Failed => Err(TaskError::fail(format!(
                "run `{run_id}` of DAG `{}` has failed; once it is mended, clear this task for another one",
                self.dag_id
            ))),
            RunStatus::Queued | RunStatus::Running => Err(TaskError::reschedule(LOOK)),
        }
    }

    async fn trigger(&self, ctx: &Context, run_id: String) -> Result<()> {
        let logical_date = self.logical_date.as_deref().map(|date| parse::date(date).map_err(TaskError::fail));
        let ask = Ask::Trigger {
            dag_id: self.dag_id.clone(),
            run_id: run_id.clone(),
            logical_date: logical_date.transpose()?,
            params: self.params.clone().into_iter().collect(),
        };
        match ctx.ask(ask).await? {
            Answer::New(_) => {
                tracing::info!(
                    "asked for run `{run_id}` of DAG `{}`: a scheduler begins it within two seconds, and without one (`dags \
                     scheduler`) nobody does",
                    self.dag_id
                );
                Ok(())
            }
            other => bail!("the engine has answered another question: {other:?}"),
        }
    }
}

/// An id that is this task's alone, and the same whoever asks for it in this try. When the try began tells it from one of a run
/// that had the same id, and was deleted.
fn own_id(ctx: &Context) -> String {
    let (place, began) = ((ctx.task_id(), ctx.map_index()), ctx.began());
    let text = serde_json::json!([ctx.dag_id(), ctx.run_id(), place, ctx.try_number(), began]).to_string();
    let hash: String = Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("triggered__{}__{hash}", ctx.dag_id())
}

/// The state of a run, if it is there, and of the instances of a task of it.
pub(crate) async fn states(
    ctx: &Context,
    dag_id: String,
    run: WhichRun,
    task_id: Option<String>,
) -> Result<(Option<RunStatus>, Vec<flow_core::TaskState>)> {
    match ctx.ask(Ask::Run { dag_id, run, task_id }).await? {
        Answer::States(run, tasks) => Ok((run, tasks)),
        other => bail!("the engine has answered another question: {other:?}"),
    }
}

/// Asks for a run of another DAG, and gives its id. See [`trigger_dag_with`].
///
/// # Errors
/// As those of [`trigger_dag_with`].
#[task]
pub async fn trigger_dag(ctx: &Context, dag_id: String) -> Result<String> {
    TriggerDag::new(dag_id).run(ctx).await
}

/// Asks for a run of another DAG, and gives its id; with [`TriggerDag::wait`] after it has succeeded. However often the task is
/// tried, it is one run; clearing the task asks for another. A scheduler begins it: where none runs, nobody does.
///
/// # Errors
/// A DAG that this program does not have; params that are missing or wrong; a logical date of which the DAG has a run; a run
/// that has failed, if it is waited for.
#[task]
pub async fn trigger_dag_with(ctx: &Context, run: TriggerDag) -> Result<String> {
    run.run(ctx).await
}
