//! Waiting for runs of other DAGs, or tasks of them.

use crate::ask::WhichRun;
use crate::context::Context;
use crate::error::{Result, TaskError};
use crate::operators::other_run::states;
use crate::{sensor, value};
use chrono::TimeDelta;
use flow_core::{TaskState, parse};

/// What of another DAG is waited for: the run about the same logical date, or a task of it.
#[value]
pub struct OtherDag {
    /// The DAG.
    pub dag_id: String,
    /// The task; `None` for the run as a whole.
    #[serde(default)]
    pub task_id: Option<String>,
    /// Its logical date is so much earlier than that of this run: `1d`, `6h`.
    #[serde(default)]
    pub earlier: Option<String>,
    /// The states that are waited for, by name.
    #[serde(default = "success")]
    pub allowed: Vec<String>,
    /// The states in which the sensor fails.
    #[serde(default)]
    pub failed: Vec<String>,
    /// The states in which the sensor is skipped.
    #[serde(default)]
    pub skipped: Vec<String>,
}

fn success() -> Vec<String> {
    names([TaskState::Success])
}

fn names(states: impl IntoIterator<Item = TaskState>) -> Vec<String> {
    states.into_iter().map(|state| state.name().to_string()).collect()
}

impl OtherDag {
    /// The success of the run of this DAG.
    pub fn new(dag_id: impl Into<String>) -> OtherDag {
        OtherDag {
            dag_id: dag_id.into(),
            task_id: None,
            earlier: None,
            allowed: success(),
            failed: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// This task of it (all instances, if it is mapped).
    #[must_use]
    pub fn task(mut self, task_id: impl Into<String>) -> OtherDag {
        self.task_id = Some(task_id.into());
        self
    }

    /// Of a logical date that lies so much earlier: `1d`, `6h`.
    #[must_use]
    pub fn earlier(mut self, by: impl Into<String>) -> OtherDag {
        self.earlier = Some(by.into());
        self
    }

    /// It waits for one of these states. (A run has `success` and `failed`.)
    #[must_use]
    pub fn allowed(mut self, states: impl IntoIterator<Item = TaskState>) -> OtherDag {
        self.allowed = names(states);
        self
    }

    /// It fails, without a further try, when it sees one of these.
    #[must_use]
    pub fn failed(mut self, states: impl IntoIterator<Item = TaskState>) -> OtherDag {
        self.failed = names(states);
        self
    }

    /// It is skipped when it sees one of these.
    #[must_use]
    pub fn skipped(mut self, states: impl IntoIterator<Item = TaskState>) -> OtherDag {
        self.skipped = names(states);
        self
    }

    async fn look(&self, ctx: &Context) -> Result<bool> {
        let named = [&self.allowed, &self.failed, &self.skipped].into_iter().flatten();
        if let Some(strange) = named.into_iter().find(|name| TaskState::from_name(name).is_none()) {
            return Err(TaskError::fail(format!("`{strange}` is no state of a task or a run")));
        }
        let Some(mut date) = ctx.logical_date() else {
            return Err(TaskError::fail("this run has no logical date by which the other could be found"));
        };
        if let Some(by) = &self.earlier {
            let by = parse::duration(by).map_err(TaskError::fail)?;
            let earlier = TimeDelta::from_std(by).ok().and_then(|by| date.checked_sub_signed(by));
            date = earlier.ok_or_else(|| TaskError::fail("that is before all dates"))?;
        }
        let (run, tasks) = states(ctx, self.dag_id.clone(), WhichRun::About(date), self.task_id.clone()).await?;
        let what = match &self.task_id {
            Some(task) => format!("task `{task}` of DAG `{}` about {date}", self.dag_id),
            None => format!("the run of DAG `{}` about {date}", self.dag_id),
        };
        let seen: Vec<&str> = match (run, &self.task_id) {
            (None, _) => Vec::new(),
            (Some(run), None) => vec![run.name()],
            (Some(_), Some(_)) => tasks.iter().map(|state| state.name()).collect(),
        };
        let one_of = |names: &[String]| seen.iter().find(|state| names.iter().any(|name| name == *state));
        if let Some(state) = one_of(&self.failed) {
            return Err(TaskError::fail(format!("{what} is {state}")));
        }
        if let Some(state) = one_of(&self.skipped) {
            return Err(TaskError::skip(format!("{what} is {state}")));
        }
        let is_allowed = |state: &&str| self.allowed.iter().any(|name| name == state);
        if !seen.is_empty() && seen.iter().all(is_allowed) {
            return Ok(true);
        }
        let other = seen.iter().copied().find(|state| !is_allowed(state) && *state != TaskState::None.name());
        let state = if run.is_none() { "not there" } else { other.unwrap_or("not begun") };
        tracing::info!("not yet: {what} is {state}");
        Ok(false)
    }
}

/// Waits for the success of another DAG's run about the same logical date. One that fails is waited for, too: somebody may
/// mend it.
///
/// # Errors
/// A run without a logical date.
#[sensor]
pub async fn other_dag(ctx: &Context, dag_id: String) -> Result<bool> {
    OtherDag::new(dag_id).look(ctx).await
}

/// The same for one task of it.
///
/// # Errors
/// A run without a logical date; a task that the other DAG does not have.
#[sensor]
pub async fn other_task(ctx: &Context, dag_id: String, task_id: String) -> Result<bool> {
    OtherDag::new(dag_id).task(task_id).look(ctx).await
}

/// The same for a run of an earlier date, or for other states.
///
/// # Errors
/// As those of [`other_task`]; a state that is among the failed ones.
#[sensor]
pub async fn other_dag_with(ctx: &Context, other: OtherDag) -> Result<bool> {
    other.look(ctx).await
}
