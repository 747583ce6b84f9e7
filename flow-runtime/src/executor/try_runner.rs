//! One try from its start to its end, in named steps: arguments, body, value, report.

use super::cached::Found;
use super::host::TryHost;
use super::outcome::{Kept, TryEnd};
use super::panic::{self, Panicked};
use super::progress::Throttle;
use super::scope::Scope;
use super::{cached, inputs, isolated, values};
use crate::ask::Host;
use crate::context::{Context, ContextParts, Progress};
use crate::error::NotYet;
use crate::made::{Notes, Told};
use crate::registry::Body;
use crate::run_event::RunEvent;
use crate::secret;
use crate::store::{CauseKind, XComValue};
use crate::telemetry::{self, EventSink, ProgressLog, TryLog};
use crate::value::{self, Erased, Inputs};
use chrono::{DateTime, Utc};
use flow_core::{Look, Outcome, SensorMode, TryRef};
use futures::future::BoxFuture;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

/// A try about to start; its row is already running in the store.
pub(super) struct Job {
    pub(super) of: TryRef,
    /// Number of tries there may be.
    pub(super) tries: u32,
    /// When it began; of one that goes on, when it began first.
    pub(super) began: DateTime<Utc>,
    /// Lengths of the lists that its task is mapped over.
    pub(super) lengths: Vec<u32>,
    /// How often outputs of the run had been taken back when it was launched; `None` if what it takes was one of them.
    pub(super) anew: Option<u64>,
    pub(super) cancel: CancellationToken,
    pub(super) log: Arc<TryLog>,
    /// What it tells about assets.
    pub(super) told: Notes,
}

/// Texts up to this many bytes are hashed where async code runs.
const QUICK: usize = 64 * 1024;

/// What a body returned (nothing, if it is a sensor's and what that waits for is not there), or how its try ended without
/// that.
pub(super) type Returned = Result<Option<Erased>, TryEnd>;
/// What a function of this process returned, or its panic.
type Called = Result<anyhow::Result<Erased>, Panicked>;

/// Runs a try to its end, or until its run is lost: wherever it runs, it ends then, even if the engine's own thread is held up
/// (by a terminal that takes no more text).
pub(super) async fn run(scope: Arc<Scope>, job: Job, lost: Option<CancellationToken>) -> TryEnd {
    let of = job.of;
    match lost {
        None => attempt(scope, job).await,
        Some(lost) => {
            let ended = lost.run_until_cancelled(attempt(scope, job)).await;
            ended.unwrap_or_else(|| TryEnd::returned(of))
        }
    }
}

/// Runs a try to its end. When the future is dropped an async body is dropped with it, and a blocking one is told.
async fn attempt(scope: Arc<Scope>, job: Job) -> TryEnd {
    // Whatever way this ends, what the body left behind is told.
    let _told = job.cancel.clone().drop_guard();
    let (of, map_index) = (job.of, job.of.key.map_index);
    let id = scope.ids.task(of.key.task);
    let (hints, teller) = (scope.hints.clone(), id.clone());
    let clock = scope.engine.clock.clone();
    let progress_log = ProgressLog::new(job.log.clone(), id.clone(), map_index, of.try_number, clock);
    // Without room for it, the next report will do.
    let throttle = Throttle::new(move |done, total, unit| {
        progress_log.hear(done, total, unit);
        drop(hints.try_send(RunEvent::Progress { task_id: teller.clone(), map_index, done, total }));
    });
    let mut label = None;
    let resolved = inputs::resolve(&scope, of.key, &job.lengths).await;
    let mut end = match resolved {
        // A person has cleared something meanwhile: what was found may be without it, and is not taken for the whole.
        _ if job.anew != Some(scope.lists.anew()) => TryEnd::bereft(of),
        Ok((inputs, found)) => {
            label = found;
            match cached::look(&scope, &job, &inputs, throttle.progress()).await {
                Ok(Found::Nothing(key)) => match looks(&scope, &job, inputs, throttle.progress()).await {
                    Ok(value) => keep(&scope, of, value, Some(job.told.told()), key).await,
                    Err(end) => end,
                },
                Ok(Found::Output(value, origin)) => {
                    let mut end = keep(&scope, of, value, None, None).await;
                    end.cause = end.cause.or(Some(origin));
                    end
                }
                Err(end) => end,
            }
        }
        Err(unmade) => {
            let outcome = if unmade.may_pass { Outcome::Failed } else { Outcome::FailedForGood };
            TryEnd::without_value(of, outcome, CauseKind::Input, &unmade.message)
        }
    };
    end.label = label;
    throttle.close();
    job.log.close(end.cause.as_ref());
    end
}

/// The body; that of a sensor again and again, if it keeps its slot meanwhile.
async fn looks(scope: &Arc<Scope>, job: &Job, inputs: Inputs, progress: Progress) -> Result<Erased, TryEnd> {
    let task = &scope.dag.tasks[job.of.key.task as usize];
    let policy = task.sensor.clone().unwrap_or_default();
    let clock = &scope.engine.clock;
    loop {
        if let Some(value) = body(scope, job, inputs.clone(), progress.clone()).await? {
            return Ok(value);
        }
        let next = match policy.after(job.began, clock.now()) {
            Look::TooLong => return Err(TryEnd::in_vain(job.of, &policy)),
            Look::Again(next) => next,
        };
        // A clock that leaves out waiting can do so only while nothing runs.
        if policy.mode == SensorMode::Reschedule || clock.leaves_out_waiting() {
            return Err(TryEnd::rescheduled(job.of, next));
        }
        tokio::select! {
            () = job.cancel.cancelled() => {
                let message = "it was told to end while it waited";
                return Err(TryEnd::without_value(job.of, Outcome::Failed, CauseKind::Error, message));
            }
            () = tokio::time::sleep(clock.until(next)) => {}
        }
    }
}

pub(super) fn context(scope: &Arc<Scope>, job: &Job, progress: Progress) -> Context {
    let parts = ContextParts {
        dag_id: scope.dag.dag_id.clone(),
        run_id: scope.run_id.clone(),
        task_id: scope.dag.tasks[job.of.key.task as usize].task_id.clone(),
        map_index: job.of.key.map_index,
        try_number: job.of.try_number,
        tries: job.tries,
        logical_date: scope.logical_date,
        data_interval: scope.data_interval,
        params: scope.shown_params.clone(),
        home: scope.engine.settings.home.clone(),
        memory: scope.engine.settings.task_memory,
        connections: scope.engine.settings.connections.clone(),
        run_start: scope.run_start,
        began: job.began,
        clock: scope.engine.clock.clone(),
        cancel: job.cancel.clone(),
        progress,
        triggering_events: scope.made_for.clone(),
        host: host(scope, job),
    };
    Context::with_notes(parts, job.told.clone())
}

/// The engine, as the body of this try sees it.
pub(super) fn host(scope: &Arc<Scope>, job: &Job) -> Host {
    Host(Arc::new(TryHost { scope: scope.clone(), of: job.of, cancel: job.cancel.clone() }))
}

/// The body, in the process and on the threads where it belongs.
async fn body(scope: &Arc<Scope>, job: &Job, inputs: Inputs, progress: Progress) -> Returned {
    let task = &scope.dag.tasks[job.of.key.task as usize];
    let replacement = scope.engine.replacements.get(&task.task_id).cloned();
    if let (None, Some(program)) = (&replacement, scope.program(job.of.key.task)) {
        return isolated::run(scope, job, inputs, program, progress).await;
    }
    let sink: Arc<dyn EventSink> = job.log.clone();
    let span = telemetry::try_span(&sink, &task.task_id, job.of.key.map_index, job.of.try_number);
    let context = context(scope, job, progress);
    let returned = match (replacement, scope.body(job.of.key.task)) {
        (Some(replacement), _) => {
            let home = context.home().into();
            blocking(span, home, move || replacement(inputs, context)).await
        }
        (None, Some(body)) => called(body, span, inputs, context).await,
        (None, None) => Ok(Err(anyhow::anyhow!("this program has no function `{}`", task.body))),
    };
    match returned {
        Ok(Ok(value)) => Ok(Some(value)),
        Ok(Err(error)) if error.is::<NotYet>() => Ok(None),
        Ok(Err(error)) => Err(TryEnd::error(job.of, &error, &*scope.engine.clock)),
        Err(panicked) => Err(TryEnd::panicked(job.of, panicked)),
    }
}

/// A function of this process, where it belongs.
pub(super) async fn called(body: Body, span: Span, inputs: Inputs, context: Context) -> Called {
    match body {
        Body::Async(body) => {
            let home = context.home().into();
            polled(span, home, body(inputs, context)).await
        }
        Body::Blocking(body) => {
            let home = context.home().into();
            blocking(span, home, move || body(inputs, context)).await
        }
    }
}

/// An async body, polled here.
async fn polled(span: Span, home: Arc<Path>, body: BoxFuture<'static, anyhow::Result<Erased>>) -> Called {
    panic::watch(value::at_home(home, body)).instrument(span).await
}

/// A body that may block, on a thread where it may.
async fn blocking(
    span: Span,
    home: Arc<Path>,
    body: impl FnOnce() -> anyhow::Result<Erased> + Send + 'static,
) -> Called {
    let work = move || panic::watch_blocking(|| value::at_home_blocking(home, body));
    let thread = tokio::task::spawn_blocking(move || span.in_scope(work));
    match thread.await {
        Ok(returned) => returned,
        // It never got a thread: the runtime is shutting down.
        Err(e) => Ok(Err(anyhow::anyhow!("the task could not be run: {e}"))),
    }
}

/// Checks, reports on and stores a return value, under `cache_key` for later runs too. Without anything `told`, for it was not
/// made now, it is no asset that came.
async fn keep(
    scope: &Arc<Scope>,
    of: TryRef,
    value: Erased,
    told: Option<Told>,
    cache_key: Option<Arc<str>>,
) -> TryEnd {
    let refused = |message: &str| TryEnd::without_value(of, Outcome::FailedForGood, CauseKind::Output, message);
    // What a load tells of its database is for reading; the load must not fail for it once it is done.
    let told_without = secret::reveals(value.json()).then(|| secret::without_addresses(value.json())).flatten();
    let value = told_without.map_or(value, Erased::from_json);
    if secret::reveals(value.json()) {
        return refused("the return value holds a secret param, and is not stored: return something else");
    }
    if value.json().contains("://") && secret::holds_password(&Value::String(value.json().to_string())) {
        return refused("the return value holds a URL with a password, and is not stored: return it without");
    }
    let report = match scope.wanted[of.key.task as usize].report(value.json()) {
        Ok(report) => report,
        Err(message) => return refused(&message),
    };
    let outlets = &scope.dag.tasks[of.key.task as usize].outlets;
    let made = match told.map(|told| told.about_each(outlets)) {
        None => Vec::new(),
        Some(Ok(made)) => made,
        Some(Err(message)) => return refused(&message),
    };
    // Nothing is no value; but it must replace what an earlier try may have left.
    if &**value.json() == "null" && of.try_number == 1 && cache_key.is_none() {
        return TryEnd::success(of, report, Kept { erased: value, stored: None, made, cache_key });
    }
    match store(scope, of, value.json().clone()).await {
        Ok(stored) => TryEnd::success(of, report, Kept { erased: value, stored: Some(stored), made, cache_key }),
        Err(e) => {
            let message = format!("the return value could not be written to the home folder: {e}");
            TryEnd::without_value(of, Outcome::Failed, CauseKind::Output, &message)
        }
    }
}

async fn store(scope: &Arc<Scope>, of: TryRef, json: Arc<str>) -> std::io::Result<XComValue> {
    let settings = scope.engine.settings.clone();
    let type_name = scope.ids.output_type(of.key.task);
    // Hashing what is large, and writing files, is not for the threads of async code.
    let quick = json.len() <= QUICK.min(settings.inline_max);
    let keep = move || {
        let spill = settings.spill.then_some(settings.home.as_path());
        values::keep(&json, &type_name, settings.inline_max, spill)
    };
    if quick { keep() } else { tokio::task::spawn_blocking(keep).await.map_err(std::io::Error::other)? }
}
