//! What a try may ask of the engine that runs it: its steps, events, other runs. A try in a process of its own asks by
//! the way it speaks with its parent.

use chrono::{DateTime, Utc};
use flow_core::{RunStatus, TaskState};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A question, or an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// What has this instance finished of its work?
    Steps,
    /// It has finished this.
    KeepStep {
        /// Its name.
        name: String,
        /// JSON text of what it gave.
        value: String,
    },
    /// Has this event happened?
    Event(String),
    /// This event has happened.
    Emit {
        /// Its name.
        name: String,
        /// JSON text about it.
        payload: String,
    },
    /// How is this run, and this task of it?
    Run {
        /// The DAG.
        dag_id: String,
        /// Which of its runs.
        run: WhichRun,
        /// The task.
        task_id: Option<String>,
    },
    /// Is the run the latest of its schedule?
    IsLatest,
    /// There should be this run of another DAG.
    Trigger {
        /// The DAG.
        dag_id: String,
        /// The id of the run: if there is one, it is that one.
        run_id: String,
        /// The instant that it is about.
        logical_date: Option<DateTime<Utc>>,
        /// Its params.
        params: Map<String, Value>,
    },
}

/// One run of a DAG.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WhichRun {
    /// The one with this id.
    Id(String),
    /// The one about this instant.
    About(DateTime<Utc>),
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// JSON texts by name.
    Texts(BTreeMap<String, Arc<str>>),
    /// The JSON text about an event, if it has happened.
    Text(Option<Arc<str>>),
    /// Is it new?
    New(bool),
    /// Is it the latest?
    IsLatest(bool),
    /// The state of a run, if it is there, and of the instances of the task.
    States(Option<RunStatus>, Vec<TaskState>),
}

/// Whoever answers.
#[async_trait::async_trait]
pub(crate) trait Answers: Send + Sync {
    /// Answers, or says why that cannot be.
    async fn ask(&self, ask: Ask) -> anyhow::Result<Answer>;
}

/// The engine behind a try, as its [`Context`](crate::Context) knows it.
#[derive(Clone)]
pub struct Host(pub(crate) Arc<dyn Answers>);

impl Host {
    /// No engine: steps and events are kept in memory, and there are no other runs. For unit tests.
    pub fn alone() -> Host {
        Host(Arc::new(Alone::default()))
    }
}

/// Keeps everything in memory.
#[derive(Default)]
struct Alone {
    steps: Mutex<BTreeMap<String, Arc<str>>>,
    events: Mutex<BTreeMap<String, Arc<str>>>,
}

#[async_trait::async_trait]
impl Answers for Alone {
    async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        Ok(match ask {
            Ask::Steps => Answer::Texts(self.steps.lock().clone()),
            Ask::KeepStep { name, value } => {
                self.steps.lock().insert(name, value.into());
                Answer::Done
            }
            Ask::Event(name) => Answer::Text(self.events.lock().get(&name).cloned()),
            Ask::Emit { name, payload } => {
                let mut events = self.events.lock();
                let is_new = !events.contains_key(&name);
                events.entry(name).or_insert_with(|| payload.into());
                Answer::New(is_new)
            }
            Ask::IsLatest => Answer::IsLatest(true),
            Ask::Run { dag_id, .. } | Ask::Trigger { dag_id, .. } => {
                anyhow::bail!(
                    "there is no engine here that could know of runs of `{dag_id}`: this context is one of a unit test"
                )
            }
        })
    }
}
