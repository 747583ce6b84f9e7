//! Backfills that nobody else works on, worked on by a scheduler: after the runs that are due, and never instead of them.

use super::backfill::{self, BackfillError, Fill};
use super::{Made, RunKey, Scheduler, secrets};
use crate::executor::{Again, EngineError, OnlyIf, RunRequest};
use crate::secret::is_redacted;
use crate::store::{BackfillChange, BackfillRow, BackfillState, StoreError, StoredRun};
use flow_core::{RunType, Selection};
use serde_json::{Map, Value};
use tokio::time::Instant;

impl Scheduler {
    /// Makes as many runs of each backfill as it may have now.
    pub(super) async fn fill_in(&mut self) -> Result<(), StoreError> {
        let rows = self.engine.store().backfills(true).await?;
        let runs = |id: i64| rows.iter().any(|row| row.id == id && row.state == BackfillState::Running);
        self.filling.retain(|id, _| runs(*id));
        // The oldest first.
        for row in rows.iter().rev().filter(|row| row.state == BackfillState::Running) {
            let dag = self.dags.get(&row.spec.dag_id);
            if dag.is_none_or(super::Owned::is_paused) {
                self.filling.remove(&row.id);
                continue;
            }
            let mut lock = self.filling.remove(&row.id).flatten();
            let held = match self.engine.hold_backfill(row.id, &mut lock).await {
                Ok(held) => held,
                Err(EngineError::Store(error)) => return Err(error),
                Err(error) => return Err(StoreError::Backend(error.to_string())),
            };
            // Whoever has it may die, and then it is for this one to go on.
            self.has_open_runs = true;
            // A command works on it; or it was paused or cancelled a moment ago.
            if !held {
                continue;
            }
            self.filling.insert(row.id, lock);
            self.fill(row).await?;
        }
        Ok(())
    }

    async fn fill(&mut self, row: &BackfillRow) -> Result<(), StoreError> {
        let Some(owned) = self.dags.get(&row.spec.dag_id) else { return Ok(()) };
        let dag = owned.of().clone();
        let store = self.engine.store().clone();
        let fills = match backfill::plan(&*store, &dag, &row.spec, row.created).await {
            Ok(fills) => fills,
            Err(BackfillError::Store(error)) => return Err(error),
            Err(error) => {
                self.note_once(format!("backfill {} of DAG `{}` cannot go on: {error}", row.id, row.spec.dag_id));
                return Ok(());
            }
        };
        let work: Vec<Fill> = fills.into_iter().filter(Fill::is_work).collect();
        if work.is_empty() {
            let (from, to, at) = (BackfillState::Running, BackfillState::Done, self.engine.clock().now());
            if store.settle_backfill(&BackfillChange { id: row.id, from, to, at }).await? {
                self.note(format!("backfill {} of DAG `{}` is done", row.id, row.spec.dag_id));
            }
            self.filling.remove(&row.id);
            return Ok(());
        }
        let params = match params_of(row, &dag.params) {
            Ok(params) => params,
            Err(why) => {
                self.note_once(format!("backfill {} of DAG `{}` cannot go on: {why}", row.id, row.spec.dag_id));
                return Ok(());
            }
        };
        let is_under_way = |this: &Scheduler, run: &StoredRun| {
            let key: RunKey = (run.run.dag_id.clone(), run.run.run_id.clone());
            this.driving.values().any(|driven| *driven == key)
        };
        let active = work.iter().filter(|fill| match fill {
            Fill::GoOn(run) => !self.left_alone.contains(&(run.run.dag_id.clone(), run.run.run_id.clone())),
            Fill::Retry(run) | Fill::Again(run) => is_under_way(self, run),
            Fill::Make(_) | Fill::Leave(_) => false,
        });
        let mut free = (row.spec.max_active_runs.max(1) as usize).saturating_sub(active.count());
        for fill in work {
            if free == 0 || self.stop.graceful.is_cancelled() {
                break;
            }
            let begun = match fill {
                Fill::Make(next) => {
                    let request = RunRequest::of(RunType::Backfill, next, params.clone());
                    // The limit of the DAG is for its own runs.
                    let only_if = OnlyIf { backfill: Some(row.id), ..OnlyIf::default() };
                    match self.make_now(&row.spec.dag_id, request, only_if).await? {
                        // Whoever has it now counts what is under way there.
                        Made::Stopped => return Ok(()),
                        Made::Here(_) => true,
                        Made::Never(why) => {
                            let date = next.logical_date;
                            self.note_once(format!("backfill {} has no run of {date}: {why}", row.id));
                            false
                        }
                        Made::Elsewhere | Made::Overtaken | Made::TooMany => false,
                    }
                }
                Fill::Retry(run) => self.run_again(&dag, run, Again::Failed, &params),
                Fill::Again(run) => {
                    let tasks = (0..dag.dag.tasks.len() as u32).map(|task| (task, None)).collect();
                    self.run_again(&dag, run, Again::These(Selection { tasks, ..Selection::default() }), &params)
                }
                // It is gone on with like any other, or stays.
                Fill::GoOn(_) | Fill::Leave(_) => false,
            };
            free -= usize::from(begun);
        }
        Ok(())
    }

    /// Lets a run that has ended run again; says whether it does.
    fn run_again(
        &mut self,
        dag: &super::ScheduledDag,
        run: StoredRun,
        again: Again,
        params: &Map<String, Value>,
    ) -> bool {
        let key: RunKey = (run.run.dag_id.clone(), run.run.run_id.clone());
        let rests = self.resting.get(&key).is_some_and(|rest| rest.until > Instant::now());
        if rests || self.left_alone.contains(&key) || self.driving.values().any(|driven| *driven == key) {
            return false;
        }
        let given = secrets(&run, params);
        let (engine, dag, stop) = (self.engine.clone(), dag.dag.clone(), self.stop.clone());
        let observer = self.observer(&key);
        self.drive(key, async move { engine.resume(dag, run, given, again, observer, stop).await });
        true
    }

    fn note_once(&mut self, text: String) {
        if self.told_of.insert(text.clone()) {
            self.note(text);
        }
    }
}

/// The params of the runs of a backfill: those that it was asked for with, and secrets as its DAG has them here.
pub(crate) fn params_of(
    row: &BackfillRow,
    own: &Result<Map<String, Value>, String>,
) -> Result<Map<String, Value>, String> {
    let mut params = row.spec.conf.clone();
    for (name, value) in params.iter_mut().filter(|(_, value)| is_redacted(value)) {
        let known = own.as_ref().map_err(Clone::clone)?.get(name);
        *value = known.cloned().ok_or_else(|| format!("the param `{name}` is a secret, and is not set here"))?;
    }
    Ok(params)
}
