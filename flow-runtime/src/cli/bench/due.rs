//! `bench due:N`: N DAGs whose runs are due in the same second, and one that is due every second; how late are they?

use super::super::args::Bench;
use super::super::exit::{CliError, Result};
use super::super::output::Output;
use super::super::session;
use super::folder;
use super::row::{cpu_seconds, open, peak};
use super::shape::Store;
use crate::clock::{Clock as _, SystemClock};
#[cfg(feature = "postgres")]
use crate::config::LEASE;
use crate::executor::{Engine, EngineSettings, Stop};
use crate::registry::{Bodies, Body};
use crate::run_event::RunEvent;
use crate::scheduler::{Listener, ScheduledDag, Scheduler, Told};
use crate::store::MetadataStore;
use crate::value::Erased;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use flow_core::{Dag, RunStatus, Schedule, TaskDef};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};

/// What was measured, in seconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lateness {
    /// DAGs that were due in one second.
    pub dags: u32,
    pub store: String,
    /// From that second to when the last of their runs was made.
    pub all_made: f64,
    /// From that second to the end of the last of them.
    pub all_ended: f64,
    /// Of one DAG that is due every second and has the scheduler to itself: from the second to the first body.
    pub start_p50: f64,
    pub start_p99: f64,
    /// From the end of one body to the beginning of the next, in a chain of 100.
    pub link_p50: f64,
    pub link_p99: f64,
    /// CPU time of the scheduler, of each second in which nothing was due.
    pub idle: f64,
    /// Most memory of the process, in bytes.
    pub peak: u64,
}

const BODY: &str = "flow::bench::begins";
/// Seconds for which the one DAG is watched.
const SECONDS: i64 = 20;
/// Tasks of a chain.
const LINKS: u32 = 100;

/// When bodies have begun and ended, of whichever DAG runs.
static BEGUN: Mutex<Vec<(DateTime<Utc>, Instant, Instant)>> = Mutex::new(Vec::new());

fn bodies() -> Bodies {
    let mut bodies = Bodies::default();
    let body = |_, _| -> anyhow::Result<Erased> {
        let (at, began) = (SystemClock.now(), Instant::now());
        let value = Erased::new(());
        BEGUN.lock().push((at, began, Instant::now()));
        value
    };
    bodies.insert(BODY, Body::Blocking(body));
    bodies
}

/// Measures so many DAGs.
pub fn measure(dags: u32, args: &Bench, out: &Output) -> Result<Lateness> {
    session::block_on(async move {
        let folder = folder(args)?;
        let settings = EngineSettings::new(folder.path());
        match &args.database {
            Some(url) => on_postgres(dags, url, settings, out).await,
            None => {
                let kind = args.store.first().copied().unwrap_or(Store::Process);
                let opened = open(kind, folder.path()).await?;
                lateness(dags, kind.to_string(), opened.store, settings).await
            }
        }
    })
}

/// On the server of this URL, and in no database that somebody has there.
#[cfg(feature = "postgres")]
async fn on_postgres(dags: u32, url: &str, settings: EngineSettings, out: &Output) -> Result<Lateness> {
    // Listened for before there is something to be dropped.
    let interrupted = tokio::spawn(tokio::signal::ctrl_c());
    let apart = crate::store::postgres::DatabaseApart::make(url).await?;
    out.note(format!("measuring in the database {}, which is dropped at the end ...", apart.name()));
    // As every program holds its runs there.
    let settings = EngineSettings { lease: Some(LEASE), locks: false, spill: false, ..settings };
    let measured = async {
        let store = Arc::new(apart.open().await?);
        lateness(dags, "postgres".into(), store, settings).await
    };
    let measured = tokio::select! {
        measured = measured => measured,
        Ok(Ok(())) = interrupted => Err(CliError::outside("it was interrupted")),
    };
    apart.remove().await?;
    measured
}

#[cfg(not(feature = "postgres"))]
async fn on_postgres(_: u32, _: &str, _: EngineSettings, _: &Output) -> Result<Lateness> {
    Err(CliError::input("this program was built without Postgres, which `--database` asks for")
        .hint("give flow-runtime the feature `postgres` in Cargo.toml"))
}

/// Measures so many DAGs in this store.
async fn lateness(
    dags: u32,
    name: String,
    store: Arc<dyn MetadataStore>,
    settings: EngineSettings,
) -> Result<Lateness> {
    let threads = Threads::start()?;
    let settings = EngineSettings { bodies: threads.handle(), ..settings };
    let engine = Engine::new(store.clone(), bodies(), settings);
    let measured = of_engine(dags, name, &engine).await;
    store.close().await;
    measured
}

/// The threads of bodies. Whoever is interrupted lets go of them in the middle of something asynchronous, which may not wait for them.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Result<Threads> {
        let threads = Builder::new_multi_thread().enable_all().build();
        threads.map(|threads| Threads(Some(threads))).map_err(|e| CliError::outside(e.to_string()))
    }

    fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|threads| threads.handle().clone())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

async fn of_engine(dags: u32, store: String, engine: &Engine) -> Result<Lateness> {
    // Far enough ahead for everything to be in its place.
    let second =
        SystemClock.now().duration_trunc(TimeDelta::seconds(1)).map_err(|e| CliError::outside(e.to_string()))?;
    let second = second + TimeDelta::seconds(3);
    let all: Vec<Dag> = (0..dags).map(|n| at_once(&format!("due_{n}"), second)).collect();
    let (made, ended) = schedule(engine, all, second).await?;
    let [all_made, all_ended] = [made, ended].map(|at| (at - second).as_seconds_f64());

    BEGUN.lock().clear();
    let from = SystemClock.now();
    let last = from + TimeDelta::seconds(SECONDS);
    let mut one = Dag { end_date: Some(last), ..at_once("every_second", from) };
    one.schedule = Some(Schedule::parse("* * * * * *").expect("six fields, every second"));
    schedule(engine, vec![one], last).await?;
    let late = BEGUN.lock().iter().map(|(at, ..)| f64::from(at.timestamp_subsec_micros()) / 1e6).collect();
    let [start_p50, start_p99] = parts(late);

    BEGUN.lock().clear();
    schedule(engine, vec![chain(SystemClock.now())], SystemClock.now()).await?;
    let links = BEGUN.lock().windows(2).map(|two| (two[1].1 - two[0].2).as_secs_f64()).collect();
    let [link_p50, link_p99] = parts(links);

    let idle = idle(engine).await?;
    let peak = peak();
    Ok(Lateness { dags, store, all_made, all_ended, start_p50, start_p99, link_p50, link_p99, idle, peak })
}

fn at_once(dag_id: &str, at: DateTime<Utc>) -> Dag {
    Dag {
        schedule: Some(Schedule::parse("@once").expect("a preset")),
        start_date: Some(at),
        tasks: vec![TaskDef::new("begins", BODY)],
        ..Dag::new(dag_id)
    }
}

fn chain(at: DateTime<Utc>) -> Dag {
    let link =
        |n: u32| TaskDef { upstream: n.checked_sub(1).into_iter().collect(), ..TaskDef::new(format!("t{n}"), BODY) };
    Dag { tasks: (0..LINKS).map(link).collect(), ..at_once("chain", at) }
}

/// Lets a scheduler run these until then; says when the last run was made, and when the last one ended.
async fn schedule(engine: &Engine, dags: Vec<Dag>, until: DateTime<Utc>) -> Result<(DateTime<Utc>, DateTime<Utc>)> {
    let seen = Arc::new(Mutex::new((DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MIN_UTC, None)));
    let heard = seen.clone();
    let listener: Listener = Arc::new(move |told| {
        let mut seen = heard.lock();
        match told {
            Told::Event { event: RunEvent::RunStarted { timestamp, .. }, .. } => seen.0 = seen.0.max(*timestamp),
            Told::Event { event: RunEvent::RunEnded { timestamp, state, .. }, .. } => {
                seen.1 = seen.1.max(*timestamp);
                if *state != RunStatus::Success {
                    seen.2 = Some("a run did not succeed".to_string());
                }
            }
            Told::Event { .. } => {}
            Told::Note(text) => seen.2 = Some(text.clone()),
        }
    });
    let dags = dags.into_iter().map(|dag| ScheduledDag { dag: Arc::new(dag), params: Ok(Map::new()) });
    let scheduler = Scheduler::new(engine.clone(), dags, false, listener, Stop::default());
    let scheduler = scheduler.map_err(|e| CliError::outside(e.to_string()))?;
    scheduler.run_until(Some(until)).await?;
    let (made, ended, trouble) = seen.lock().clone();
    match trouble {
        Some(text) => Err(CliError::outside(format!("it is no measure: {text}"))),
        None => Ok((made, ended)),
    }
}

/// CPU time of one second in which nothing is due.
async fn idle(engine: &Engine) -> Result<f64> {
    const WATCHED: Duration = Duration::from_secs(10);
    let stop = Stop::default();
    let listener: Listener = Arc::new(|_| {});
    let scheduler = Scheduler::new(engine.clone(), [], false, listener, stop.clone());
    let scheduler = scheduler.map_err(|e| CliError::outside(e.to_string()))?;
    let before = cpu_seconds();
    let watch = async {
        tokio::time::sleep(WATCHED).await;
        stop.graceful.cancel();
    };
    let (ended, ()) = tokio::join!(scheduler.run(), watch);
    ended?;
    Ok((cpu_seconds() - before) / WATCHED.as_secs_f64())
}

/// The middle, and the one that 99 of 100 do not exceed.
fn parts(mut all: Vec<f64>) -> [f64; 2] {
    all.sort_by(f64::total_cmp);
    [50, 99].map(|part| all.get((all.len() * part / 100).min(all.len().saturating_sub(1))).copied().unwrap_or(0.0))
}
