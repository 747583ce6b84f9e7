//! What the engine answers a try that it runs.

use super::scope::Scope;
use super::{EngineError, OnlyIf, RunRequest, run_state};
use crate::ask::{Answer, Answers, Ask, WhichRun};
use crate::store::{RunCommit, RunFilter, StepWrite, StoreError};
use crate::timetable;
use anyhow::bail;
use flow_core::{Restriction, RunType, TaskState, TryRef};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The engine, as one try sees it.
pub(super) struct TryHost {
    pub(super) scope: Arc<Scope>,
    pub(super) of: TryRef,
    /// Fires when the try is over or should be: from then on it changes nothing.
    pub(super) cancel: CancellationToken,
}

#[async_trait::async_trait]
impl Answers for TryHost {
    async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        let (scope, key) = (&*self.scope, self.of.key);
        let store = &scope.engine.store;
        Ok(match ask {
            Ask::Steps => Answer::Texts(store.steps(scope.pk, &scope.ids.task(key.task), key.map_index).await?),
            Ask::KeepStep { name, value } => {
                self.keep_step(&name, &value).await?;
                Answer::Done
            }
            Ask::Event(name) => Answer::Text(store.events(&[&name]).await?.remove(&name)),
            Ask::Emit { name, payload } => {
                self.check_alive()?;
                Answer::New(scope.engine.emit(&name, &payload).await?)
            }
            Ask::Run { dag_id, run, task_id } => self.states(dag_id, run, task_id).await?,
            Ask::IsLatest => Answer::IsLatest(self.is_latest().await?),
            Ask::Trigger { dag_id, run_id, logical_date, params } => {
                self.check_alive()?;
                let run_type = RunType::Manual;
                let request =
                    RunRequest { run_id: Some(run_id), run_type, logical_date, params, ..RunRequest::default() };
                Answer::New(self.trigger(&dag_id, request).await?)
            }
        })
    }
}

impl TryHost {
    /// A try that is over has no say.
    fn check_alive(&self) -> anyhow::Result<()> {
        if self.cancel.is_cancelled() {
            bail!("the try was told to end");
        }
        Ok(())
    }

    async fn keep_step(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.check_alive()?;
        let scope = &*self.scope;
        let step = StepWrite {
            task_id: scope.ids.task(self.of.key.task),
            map_index: self.of.key.map_index,
            try_number: self.of.try_number,
            name: name.into(),
            value: value.into(),
            timestamp: scope.engine.clock.now(),
        };
        let commit = RunCommit { steps: vec![step], ..RunCommit::new(scope.pk, scope.epoch) };
        scope.engine.store.commit(&[commit]).await?;
        Ok(())
    }

    async fn states(&self, dag_id: String, run: WhichRun, task_id: Option<String>) -> anyhow::Result<Answer> {
        let store = &self.scope.engine.store;
        let found = match run {
            WhichRun::Id(run_id) => store.run(&dag_id, &run_id).await?,
            WhichRun::About(logical_date) => {
                let filter =
                    RunFilter { dag_id: Some(dag_id), logical_date: Some(logical_date), ..RunFilter::default() };
                store.runs(&filter).await?.pop()
            }
        };
        let Some(found) = found else { return Ok(Answer::States(None, Vec::new())) };
        let Some(task_id) = task_id else { return Ok(Answer::States(Some(found.run.state), Vec::new())) };
        let dag = store.dag_version(&found.dag_version).await?;
        let Some(task) = dag.task_ix(&task_id) else {
            let known: Vec<&str> = dag.tasks.iter().map(|task| task.task_id.as_str()).collect();
            bail!("DAG `{}` has no task `{task_id}`; there are: {}", dag.dag_id, known.join(", "));
        };
        let rows = store.instances(found.pk).await?;
        // Not by the rows alone: an instance of which nothing was decided yet may have none.
        let run = run_state(&dag, &found, &rows);
        let states = run.instances(task).map(|(_, instance)| instance.state);
        // One that was removed stands for an element that the list has no more.
        let there = states.filter(|state| *state != TaskState::Removed);
        Ok(Answer::States(Some(found.run.state), there.collect()))
    }

    /// Is the run after this one not due yet? What somebody asked for is always the latest.
    async fn is_latest(&self) -> anyhow::Result<bool> {
        let scope = &*self.scope;
        let run = scope.engine.store.run(&scope.dag.dag_id, &scope.run_id).await?;
        let by_hand = run.is_none_or(|stored| stored.run.run_type == RunType::Manual);
        let (false, Some(_), Some(interval)) = (by_hand, &scope.dag.schedule, scope.data_interval) else {
            return Ok(true);
        };
        let now = scope.engine.clock.now();
        let restriction = Restriction { catchup: true, ..Restriction::of(&scope.dag) };
        let next = timetable::of(&scope.dag)?.next(Some(interval), &restriction, now);
        Ok(next.is_none_or(|next| next.run_after > now))
    }

    /// Makes a run, which a scheduler goes on with. Says whether it is new.
    async fn trigger(&self, dag_id: &str, mut request: RunRequest) -> anyhow::Result<bool> {
        let engine = &self.scope.engine;
        let Some((dag, params)) = engine.dags.get(dag_id) else {
            let known: Vec<&str> = engine.dags.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            bail!("there is no DAG `{dag_id}` that could be run here; there are: {known}");
        };
        let mut params = params.clone().map_err(anyhow::Error::msg)?;
        params.append(&mut request.params);
        request.params = params;
        match engine.begin(dag.clone(), request, OnlyIf::default()).await {
            Ok(_left_to_the_scheduler) => Ok(true),
            Err(EngineError::Store(StoreError::RunExists { .. }) | EngineError::Held(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
