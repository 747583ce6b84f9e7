//! One try from its start to its end, in named steps: arguments, body, value, report.

use super::outcome::{Kept, TryEnd};
use super::panic::{self, Panicked};
use super::progress::Throttle;
use super::scope::Scope;
use super::{inputs, isolated, values};
use crate::context::{Context, ContextParts, Progress};
use crate::registry::Body;
use crate::run_event::RunEvent;
use crate::secret;
use crate::store::{CauseKind, XComValue};
use crate::telemetry::{self, EventSink, TryLog};
use crate::value::{Erased, Inputs};
use flow_core::{Outcome, TryRef};
use futures::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

/// A try about to start; its row is already running in the store.
pub(super) struct Job {
    pub(super) of: TryRef,
    /// Number of tries there may be.
    pub(super) tries: u32,
    /// Lengths of the lists that its task is mapped over.
    pub(super) lengths: Vec<u32>,
    pub(super) cancel: CancellationToken,
    pub(super) log: Arc<TryLog>,
}

/// Texts up to this many bytes are hashed where async code runs.
const QUICK: usize = 64 * 1024;

/// What a body returned, or how its try ended without that.
pub(super) type Returned = Result<Erased, TryEnd>;
/// What a function of this process returned, or its panic.
type Called = Result<anyhow::Result<Erased>, Panicked>;

/// Runs a try to its end. When the future is dropped an async body is dropped with it, and a blocking one is told.
pub(super) async fn run(scope: Arc<Scope>, job: Job) -> TryEnd {
    // Whatever way this ends, what the body left behind is told.
    let _told = job.cancel.clone().drop_guard();
    let (of, map_index) = (job.of, job.of.key.map_index);
    let id = scope.ids.task(of.key.task);
    let (hints, teller) = (scope.hints.clone(), id.clone());
    // Without room for it, the next report will do.
    let throttle = Throttle::new(move |done, total| {
        drop(hints.try_send(RunEvent::Progress { task_id: teller.clone(), map_index, done, total }));
    });
    let mut label = None;
    let mut end = match inputs::resolve(&scope, of.key, &job.lengths).await {
        Ok((inputs, found)) => {
            label = found;
            match body(&scope, &job, inputs, throttle.progress()).await {
                Ok(value) => keep(&scope, of, value).await,
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

fn context(scope: &Scope, job: &Job, progress: Progress) -> Context {
    Context::new(ContextParts {
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
        run_start: scope.run_start,
        clock: scope.engine.clock.clone(),
        cancel: job.cancel.clone(),
        progress,
    })
}

/// The body, in the process and on the threads where it belongs.
async fn body(scope: &Scope, job: &Job, inputs: Inputs, progress: Progress) -> Returned {
    let task = &scope.dag.tasks[job.of.key.task as usize];
    let replacement = scope.engine.replacements.get(&task.task_id).cloned();
    if let (None, Some(program)) = (&replacement, scope.program(job.of.key.task)) {
        return isolated::run(scope, job, inputs, program, progress).await;
    }
    let sink: Arc<dyn EventSink> = job.log.clone();
    let span = telemetry::try_span(&sink, &task.task_id, job.of.key.map_index, job.of.try_number);
    let context = context(scope, job, progress);
    let called = match (replacement, scope.body(job.of.key.task)) {
        (Some(replacement), _) => blocking(span, move || replacement(inputs, context)).await,
        (None, Some(Body::Async(body))) => polled(span, body(inputs, context)).await,
        (None, Some(Body::Blocking(body))) => blocking(span, move || body(inputs, context)).await,
        (None, None) => Ok(Err(anyhow::anyhow!("this program has no function `{}`", task.body))),
    };
    match called {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(TryEnd::error(job.of, &error, &*scope.engine.clock)),
        Err(panicked) => Err(TryEnd::panicked(job.of, panicked)),
    }
}

/// An async body, polled here.
pub(super) async fn polled(span: Span, body: BoxFuture<'static, anyhow::Result<Erased>>) -> Called {
    panic::watch(body).instrument(span).await
}

/// A body that may block, on a thread where it may.
pub(super) async fn blocking(span: Span, body: impl FnOnce() -> anyhow::Result<Erased> + Send + 'static) -> Called {
    let thread = tokio::task::spawn_blocking(move || span.in_scope(|| panic::watch_blocking(body)));
    match thread.await {
        Ok(returned) => returned,
        // It never got a thread: the runtime is shutting down.
        Err(e) => Ok(Err(anyhow::anyhow!("the task could not be run: {e}"))),
    }
}

/// Checks, reports on and stores a return value.
async fn keep(scope: &Arc<Scope>, of: TryRef, value: Erased) -> TryEnd {
    let refused = |message: &str| TryEnd::without_value(of, Outcome::FailedForGood, CauseKind::Output, message);
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
    // Nothing is no value; but it must replace what an earlier try may have left.
    if &**value.json() == "null" && of.try_number == 1 {
        return TryEnd::success(of, report, Kept { erased: value, stored: None });
    }
    match store(scope, of, value.json().clone()).await {
        Ok(stored) => TryEnd::success(of, report, Kept { erased: value, stored: Some(stored) }),
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
