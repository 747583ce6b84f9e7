//! The cache of a task: may the output of an earlier run take the place of this try?
//!
//! The key is the SHA-256 of all that the output is made from: the function (its name and its text), the version that its author
//! gives it, the arguments, and what the task itself adds (`cache_key`). A secret among the arguments goes into that hash and
//! nowhere else.
//!
//! Only a first try takes an output over: whoever is tried again has failed, or was cleared by a person, who wants it to run.
//! What any try gives is kept for later runs.

use super::build::build_id;
use super::outcome::TryEnd;
use super::panic;
use super::scope::Scope;
use super::try_runner::{self, Job};
use super::values;
use crate::context::Progress;
use crate::registry::CacheSpec;
use crate::run_event;
use crate::store::{CacheRow, Cause, CauseKind};
use crate::telemetry::{self, EventSink};
use crate::value::{self, Erased, Inputs};
use chrono::{SecondsFormat, TimeDelta};
use flow_core::Outcome;
use flow_core::dag::TaskKind;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What becomes of outputs of earlier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheUse {
    /// They are reused where a task has a cache, and what it gives is kept for later runs.
    #[default]
    Reuse,
    /// None is reused; what a task with a cache gives is kept for later runs.
    Renew,
    /// Tasks have no caches.
    Off,
}

/// Arguments up to this many bytes are hashed where async code runs.
const QUICK: usize = 64 * 1024;

/// So deep names are put in order; each level reads what is in it once more.
const DEEPEST: usize = 64;

/// What the cache says of a try.
pub(super) enum Found {
    /// This output of an earlier run takes its place.
    Output(Erased, Cause),
    /// It runs, and what it gives is kept under this key, if there is one.
    Nothing(Option<Arc<str>>),
}

/// Looks for the output that this try would give.
pub(super) async fn look(scope: &Arc<Scope>, job: &Job, inputs: &Inputs, progress: Progress) -> Result<Found, TryEnd> {
    let Some(spec) = spec(scope, job) else { return Ok(Found::Nothing(None)) };
    let Some(key) = key(scope, job, spec, inputs, progress).await? else { return Ok(Found::Nothing(None)) };
    if scope.engine.settings.cache == CacheUse::Renew || job.of.try_number > 1 {
        return Ok(Found::Nothing(Some(key)));
    }
    let row = scope.engine.store.cached(&key).await.map_err(|e| {
        let message = format!("the cache of the task cannot be asked: {e}");
        TryEnd::without_value(job.of, Outcome::Failed, CauseKind::Input, &message)
    })?;
    let Some(row) = row.filter(|row| is_young(scope, spec, row)) else { return Ok(Found::Nothing(Some(key))) };
    let cause = Cause { kind: CauseKind::Cached, message: origin(&row), place: None };
    Ok(match output(scope, job, spec, row).await? {
        Some(output) => Found::Output(output, cause),
        None => Found::Nothing(Some(key)),
    })
}

/// How outputs of the task are reused, if they are.
fn spec(scope: &Scope, job: &Job) -> Option<&'static CacheSpec> {
    let (engine, task) = (&scope.engine, &scope.dag.tasks[job.of.key.task as usize]);
    let works = task.kind == TaskKind::Normal && task.sensor.is_none();
    if !works || engine.settings.cache == CacheUse::Off || engine.replacements.contains_key(&task.task_id) {
        return None;
    }
    engine.bodies.spec(&task.body)?.cache.as_ref()
}

fn is_young(scope: &Scope, spec: &CacheSpec, row: &CacheRow) -> bool {
    // An age that no date can express is never reached.
    let until = spec.age.and_then(|age| row.timestamp.checked_add_signed(TimeDelta::from_std(age).ok()?));
    until.is_none_or(|until| scope.engine.clock.now() < until)
}

/// Where an output is from, for people.
fn origin(row: &CacheRow) -> String {
    let (task, at) = (run_event::label(&row.task_id, row.map_index), row.timestamp);
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("cached: reused from `{task}` of run `{}` of `{}`, made at {at}", row.run_id, row.dag_id)
}

/// The output, if it is there still and good.
async fn output(scope: &Scope, job: &Job, spec: &'static CacheSpec, row: CacheRow) -> Result<Option<Erased>, TryEnd> {
    let home = scope.engine.settings.home.clone();
    let (span, log) = (span(scope, job), job.log.clone());
    let read = move || {
        let whole = |text: Arc<str>| match values::missing_file(&home, &text) {
            Some(path) => Err(std::io::Error::other(format!("{} is not there", path.display()))),
            None => Ok(text),
        };
        let text = match values::read_value(&home, &row.value).and_then(whole) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("{}; but it cannot be read, and the task runs: {error}", origin(&row));
                log.record(tracing::Level::WARN, "flow.task", &message, serde_json::Map::new());
                return None;
            }
        };
        let output = Erased::from_json(text);
        value::at_home_blocking(home.into(), || (spec.holds)(&output)).then_some(output)
    };
    // What its author says about it may look at files.
    let read = tokio::task::spawn_blocking(move || span.in_scope(|| panic::watch_blocking(read)));
    match read.await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(panicked)) => Err(TryEnd::panicked(job.of, panicked)),
        Err(e) => Err(TryEnd::error(job.of, &e.into(), &*scope.engine.clock)),
    }
}

fn span(scope: &Scope, job: &Job) -> tracing::Span {
    let sink: Arc<dyn EventSink> = job.log.clone();
    let key = job.of.key;
    telemetry::try_span(&sink, &scope.dag.tasks[key.task as usize].task_id, key.map_index, job.of.try_number)
}

/// The key of the output that this try gives; `None` if the task wants none.
async fn key(
    scope: &Arc<Scope>,
    job: &Job,
    spec: &'static CacheSpec,
    inputs: &Inputs,
    progress: Progress,
) -> Result<Option<Arc<str>>, TryEnd> {
    let failed = |error: anyhow::Error| TryEnd::error(job.of, &error, &*scope.engine.clock);
    let own = match spec.key {
        None => None,
        Some(body) => {
            let (span, context) = (span(scope, job), try_runner::context(scope, job, progress));
            let inputs = inputs.clone();
            let called = try_runner::called(body, span, inputs, context).await;
            match called.map_err(|panicked| TryEnd::panicked(job.of, panicked))? {
                Ok(own) if &**own.json() == "null" => return Ok(None),
                Ok(own) => Some(own),
                Err(error) => return Err(failed(error.context("its cache_key cannot be made"))),
            }
        }
    };
    let build = match spec.on_build {
        true => {
            let unread =
                |e| anyhow::Error::from(e).context("this program's file cannot be read, for cache_on = \"build\"");
            Some(build_id().await.map_err(|e| failed(unread(e)))?)
        }
        false => None,
    };
    let task = scope.dag.tasks[job.of.key.task as usize].body.clone();
    let texts: Vec<Arc<str>> = inputs.texts().cloned().collect();
    let size: usize = texts.iter().map(|text| text.len()).sum();
    let hash = move || {
        let mut hash = Sha256::new();
        for word in [Some(task.as_str()), Some(spec.code), spec.version, build] {
            hash_text(&mut hash, word);
        }
        match &own {
            Some(own) => hash_json(&mut hash, own.json()),
            None => hash_text(&mut hash, None),
        }
        texts.iter().for_each(|text| hash_json(&mut hash, text));
        hex(&hash.finalize())
    };
    if size <= QUICK {
        return Ok(Some(hash().into()));
    }
    let hashed = tokio::task::spawn_blocking(hash).await;
    hashed.map(|hash| Some(hash.into())).map_err(|e| failed(e.into()))
}

/// With its length, so that texts do not run into each other.
fn hash_text(hash: &mut Sha256, text: Option<&str>) {
    hash.update(text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
    hash.update(text.unwrap_or_default());
}

/// A value, whatever the order of its names: that of a `HashMap` is another in every process, and a crate of the project may have
/// told `serde_json` to keep it.
fn hash_json(hash: &mut Sha256, text: &str) {
    let mut sorted = String::with_capacity(text.len());
    match sort(text, DEEPEST, &mut sorted) {
        Ok(()) => hash_text(hash, Some(&sorted)),
        Err(_) => hash_text(hash, Some(text)),
    }
}

/// Writes a value with its names in order. Numbers stay as they are written: those that are longer than 64 bits would lose digits
/// in a `Value`, and two of them be the same. What lies deeper stays as it is, too.
fn sort(text: &str, depth: usize, sorted: &mut String) -> serde_json::Result<()> {
    let text = text.trim();
    match text.as_bytes().first() {
        Some(b'{') if depth > 0 => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
            for (n, (name, value)) in fields.iter().enumerate() {
                sorted.push(if n == 0 { '{' } else { ',' });
                sorted.push_str(&serde_json::to_string(name)?);
                sorted.push(':');
                sort(value.get(), depth - 1, sorted)?;
            }
            sorted.push_str(if fields.is_empty() { "{}" } else { "}" });
        }
        Some(b'[') if depth > 0 => {
            let elements: Vec<&RawValue> = serde_json::from_str(text)?;
            for (n, element) in elements.iter().enumerate() {
                sorted.push(if n == 0 { '[' } else { ',' });
                sort(element.get(), depth - 1, sorted)?;
            }
            sorted.push_str(if elements.is_empty() { "[]" } else { "]" });
        }
        Some(b'"') => sorted.push_str(&serde_json::to_string(&serde_json::from_str::<String>(text)?)?),
        _ => sorted.push_str(text),
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        let mut hash = Sha256::new();
        hash_json(&mut hash, text);
        hex(&hash.finalize())
    }

    #[test]
    fn a_value_has_one_hash_whatever_the_order_of_its_names() {
        assert_eq!(of(r#"{"a":1,"b":{"c":[{"x":1,"y":2}],"d":3}}"#), of(r#"{"b":{"d":3,"c":[{"y":2,"x":1}]},"a":1}"#));
        for (one, other) in [("[1,2]", "[2,1]"), ("1", "\"1\""), ("1", "1.0"), ("[]", "null"), ("{}", "[]")] {
            assert_ne!(of(one), of(other));
        }
    }

    #[test]
    fn a_value_as_deep_as_can_be_has_a_hash() {
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(of(&deep("1")), of(&deep("1")));
        assert_ne!(of(&deep("1")), of(&deep("2")));
    }

    #[test]
    fn no_digit_of_a_number_is_lost() {
        let (one, other) = (u128::MAX.to_string(), (u128::MAX - 1).to_string());
        for around in ["N", "[1,N]", r#"{"id":{"N":[N]}}"#] {
            assert_ne!(of(&around.replace('N', &one)), of(&around.replace('N', &other)), "{around}");
        }
        assert_eq!(
            of(r#"{"b":N,"a":1}"#.replace('N', &one).as_str()),
            of(r#"{"a":1,"b":N}"#.replace('N', &one).as_str())
        );
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let of = |texts: &[Option<&str>]| {
            let mut hash = Sha256::new();
            texts.iter().for_each(|text| hash_text(&mut hash, *text));
            hex(&hash.finalize())
        };
        assert_ne!(of(&[Some("ab"), Some("c")]), of(&[Some("a"), Some("bc")]));
        assert_ne!(of(&[Some(""), Some("a")]), of(&[None, Some("a")]));
    }
}
