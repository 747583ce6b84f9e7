//! Somebody who gives orders: through the very code that the commands use.

use crate::faults::Process;
use crate::ledger::tell;
use crate::rng::Rng;
use crate::wishes::Wishes;
use crate::world::Days;
use flow_runtime::clock::Clock;
use flow_runtime::core::dag::TaskKind;
use flow_runtime::core::{Dag, Event, RunState, RunStatus, Selection, TaskDef, TaskState, select};
use flow_runtime::executor::{Changed, Engine, EngineError, RunRequest, Stop};
use flow_runtime::store::{MetadataStore, RunFilter, StoreError, StoredRun};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Most things that one wants.
const DEEDS: u64 = 14;

pub struct Person<'w> {
    pub days: &'w Days,
    wishes: &'w Wishes,
    pub rng: Rng,
    /// The runs that were begun by hand, each by a process of its own.
    begun: JoinSet<()>,
}

impl<'w> Person<'w> {
    pub fn new(days: &'w Days, wishes: &'w Wishes, rng: Rng) -> Person<'w> {
        Person { days, wishes, rng, begun: JoinSet::new() }
    }

    /// Wants this and that, and in the end lets all DAGs go on.
    pub async fn live(mut self) -> Result<(), String> {
        for deed in 0..1 + self.rng.below(DEEDS) {
            // Most of what has passed is filled in soon.
            let most = if self.days.fills { 60_000 } else { 120_000 };
            let pause = Duration::from_millis(self.rng.below(most));
            tokio::time::sleep(pause).await;
            let process = self.days.process(format!("person {deed}"));
            let engine = self.days.engine(&process, self.days.clock);
            tokio::select! {
                biased;
                () = process.died.notified() => {}
                done = self.deed(&engine, &process) => done?,
            }
        }
        loop {
            let process = self.days.process("person's last word".into());
            let store = self.days.through(&process);
            let told = async {
                for dag in &self.days.dags {
                    store.set_paused(&dag.dag_id, false).await?;
                }
                // Where somebody has said that who emits an event has ended, others may wait for it.
                for run in store.runs(&RunFilter::default()).await? {
                    let name = format!("slept {}", run.run.run_id);
                    store.put_event(&name, "0", self.days.clock.now()).await?;
                }
                if self.days.fills {
                    self.lets_all_go_on(&*store).await?;
                }
                Ok::<(), StoreError>(())
            };
            let done = tokio::select! {
                biased;
                () = process.died.notified() => false,
                done = told => done.is_ok(),
            };
            if done {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        while self.begun.join_next().await.is_some() {}
        Ok(())
    }

    pub fn say(&self, what: &str) {
        tell(format!("{} a person {what}", self.days.clock.now().format("%T%.3f")));
    }

    async fn deed(&mut self, engine: &Engine, process: &Arc<Process>) -> Result<(), String> {
        let store = self.days.through(process);
        match self.rng.below(if self.days.fills { 16 } else { 10 }) {
            0..3 => self.clear(engine, &*store).await,
            3..5 => self.mark(engine, &*store).await,
            5 => self.mark_run(engine, &*store).await,
            6 | 7 => {
                let dag = &self.days.dags[self.rng.below(self.days.dags.len() as u64) as usize];
                let paused = self.rng.chance(500);
                self.say(&format!("says of {} that it is paused: {paused}", dag.dag_id));
                // One who is not understood says it again, or does not.
                drop(store.set_paused(&dag.dag_id, paused).await);
                Ok(())
            }
            8 => {
                self.trigger();
                Ok(())
            }
            9 => self.delete(engine, &*store).await,
            _ => {
                self.fills(&*store).await;
                Ok(())
            }
        }
    }

    /// One of the runs.
    async fn any(&mut self, store: &dyn MetadataStore, states: Vec<RunStatus>) -> Option<StoredRun> {
        let runs = store.runs(&RunFilter { states, ..RunFilter::default() }).await.ok()?;
        let place = self.rng.below(runs.len() as u64) as usize;
        runs.into_iter().nth(place)
    }

    /// Some tasks of it, as one names them.
    fn some(&mut self, dag: &Dag) -> Selection {
        let mut tasks = Vec::new();
        for _ in 0..=self.rng.below(2) {
            tasks.push((self.rng.below(dag.tasks.len() as u64) as u32, None));
        }
        tasks.dedup();
        Selection {
            tasks,
            upstream: self.rng.chance(200),
            downstream: self.rng.chance(600),
            only_failed: self.rng.chance(100),
            ..Selection::default()
        }
    }

    async fn clear(&mut self, engine: &Engine, store: &dyn MetadataStore) -> Result<(), String> {
        let Some(run) = self.any(store, Vec::new()).await else { return Ok(()) };
        let Ok(dag) = store.dag_version(&run.dag_version).await else { return Ok(()) };
        let wanted = self.some(&dag);
        self.say(&format!("clears {:?} of {}/{}", wanted, dag.dag_id, run.run.run_id));
        self.want(engine, &run, |dag, state| vec![Event::Cleared(select(dag, state, &wanted))]).await.map(drop)
    }

    async fn mark(&mut self, engine: &Engine, store: &dyn MetadataStore) -> Result<(), String> {
        let Some(run) = self.any(store, Vec::new()).await else { return Ok(()) };
        let Ok(dag) = store.dag_version(&run.dag_version).await else { return Ok(()) };
        let wanted = Selection { alone: true, ..self.some(&dag) };
        let state = [TaskState::Success, TaskState::Failed, TaskState::Skipped][self.rng.below(3) as usize];
        // What waits for what has failed in the run before waits until somebody sees to it: nobody would.
        let state = if has_a_past(&dag) && state == TaskState::Failed { TaskState::Success } else { state };
        self.say(&format!("marks {:?} of {}/{} as {state}", wanted.tasks, dag.dag_id, run.run.run_id));
        self.want(engine, &run, |dag, of| vec![Event::Marked(select(dag, of, &wanted), state)]).await.map(drop)
    }

    /// Cancels a run, or says that it is well. Once that is carried out, it has ended, but for teardowns.
    async fn mark_run(&mut self, engine: &Engine, store: &dyn MetadataStore) -> Result<(), String> {
        let open = vec![RunStatus::Queued, RunStatus::Running];
        let states = if self.rng.chance(800) { open } else { Vec::new() };
        let Some(run) = self.any(store, states).await else { return Ok(()) };
        let status = if self.rng.chance(700) { RunStatus::Failed } else { RunStatus::Success };
        let of = self.days.dags.iter().find(|dag| dag.dag_id == run.run.dag_id);
        let status = if of.is_some_and(|dag| has_a_past(dag)) { RunStatus::Success } else { status };
        let name = format!("{}/{}", run.run.dag_id, run.run.run_id);
        self.say(&format!("marks {name} as {status}"));
        let alone = self.wishes.is_the_only_one(run.pk.0);
        let changed = self.want(engine, &run, |_, _| vec![Event::RunMarked(status)]).await?;
        if !alone || !matches!(changed, Some(Changed::Made(_) | Changed::CarriedOut)) {
            return Ok(());
        }
        let now = self.days.memory.run(&run.run.dag_id, &run.run.run_id).await.map_err(|e| e.to_string())?;
        match now.map(|stored| stored.run.state) {
            Some(state) if state == status => Ok(()),
            Some(RunStatus::Queued | RunStatus::Running) if self.only_takes_away(&run).await? => Ok(()),
            other => Err(format!("{name} was marked as {status}, and is {other:?} when that is carried out")),
        }
    }

    /// Has all of it ended but teardowns?
    async fn only_takes_away(&self, run: &StoredRun) -> Result<bool, String> {
        let rows = self.days.memory.instances(run.pk).await.map_err(|e| e.to_string())?;
        let dag = self.days.memory.dag_version(&run.dag_version).await.map_err(|e| e.to_string())?;
        let ended = |task: &str| {
            let mut of_task = rows.iter().filter(|row| *row.task_id == *task).peekable();
            of_task.peek().is_some() && of_task.all(|row| row.state.is_finished())
        };
        let work = |task: &&TaskDef| !matches!(task.kind, TaskKind::Teardown { .. });
        Ok(dag.tasks.iter().filter(work).all(|task| ended(&task.task_id)))
    }

    async fn want(
        &self,
        engine: &Engine,
        run: &StoredRun,
        events: impl Fn(&Dag, &RunState) -> Vec<Event>,
    ) -> Result<Option<Changed>, String> {
        let wishing = self.wishes.wish(run.pk.0);
        let changed = engine.change(run, |dag, state| {
            let events = events(dag, state);
            wishing.asks(dag, &events);
            events
        });
        match changed.await {
            Ok(changed) => {
                let how = match &changed {
                    Changed::Made(edited) => format!("has done that: the run is {}", edited.status),
                    Changed::CarriedOut => "is obeyed".into(),
                    Changed::Ordered => "waits for that no longer".into(),
                };
                self.say(&how);
                Ok(Some(changed))
            }
            Err(EngineError::Store(error)) => {
                self.say(&format!("is told: {error}"));
                Ok(None)
            }
            Err(error) => Err(format!("a person is told: {error}")),
        }
    }

    /// Runs a DAG by hand, in a process of its own.
    fn trigger(&mut self) {
        let which = self.rng.below(self.days.dags.len() as u64);
        let dag = self.days.dags[which as usize].clone();
        self.say(&format!("runs {}", dag.dag_id));
        let process = self.days.process(format!("run of {} by hand", dag.dag_id));
        let engine = self.days.engine(&process, self.days.clock);
        self.begins(process, async move {
            let ended = engine.run(dag, RunRequest::default(), Arc::new(|_| {}), Stop::default()).await;
            ended.map(|report| format!("it is {}", report.run.state))
        });
    }

    /// Something goes on in this process, until it dies.
    pub fn begins(
        &mut self,
        process: Arc<Process>,
        work: impl Future<Output = Result<String, EngineError>> + Send + 'static,
    ) {
        self.begun.spawn(async move {
            let ended = tokio::select! {
                biased;
                () = process.died.notified() => None,
                ended = work => Some(ended),
            };
            if let Some(ended) = ended {
                let how = ended.unwrap_or_else(|error| error.to_string());
                tell(format!("{} {}: {how}", process.clock.now().format("%T%.3f"), process.name));
            }
        });
    }

    async fn delete(&mut self, engine: &Engine, store: &dyn MetadataStore) -> Result<(), String> {
        let Some(run) = self.any(store, vec![RunStatus::Success, RunStatus::Failed]).await else { return Ok(()) };
        self.say(&format!("deletes {}/{}", run.run.dag_id, run.run.run_id));
        self.wishes.delete(&run);
        match engine.delete(&run).await {
            Ok(()) | Err(EngineError::Held(_) | EngineError::Store(_)) => Ok(()),
            Err(error) => Err(format!("a person is told: {error}")),
        }
    }
}

fn has_a_past(dag: &Dag) -> bool {
    dag.tasks.iter().any(|task| !task.past.is_none())
}
