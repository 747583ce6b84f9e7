//! What outlives a try: steps that are not done twice, and waits that cost no slot.

use super::Context;
use crate::ask::{Answer, Ask};
use crate::error::{TaskError, Trigger};
use crate::secret;
use crate::value::{TaskArgument, Value, short_type_name};
use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// What is known of the steps of a task.
#[derive(Default)]
pub(super) struct Journal {
    /// JSON texts of what the steps gave; asked for at the first step.
    known: OnceCell<Mutex<BTreeMap<String, Arc<str>>>>,
    /// The steps that were come to in this call of the body.
    seen: Mutex<BTreeSet<String>>,
}

impl Context {
    /// Does a part of the task's work once: what it gives is kept, and a later try of the task (after an error, a crash, a
    /// sleep) gets that instead of doing it again. Clearing the task forgets its steps.
    ///
    /// ```
    /// # use flow_runtime::prelude::*;
    /// #[task(retries = 3)]
    /// async fn order(ctx: &Context, cart: String) -> Result<String> {
    ///     let number = ctx.step("reserve", || async { anyhow::Ok(cart.len()) }).await?; // not done again ..
    ///     let paid = ctx.step("pay", || async { anyhow::Ok(format!("paid {number}")) }).await?; // .. if this fails
    ///     Ok(paid)
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # assert_eq!(order(&Context::test(), "abc".into()).await.unwrap(), "paid 3");
    /// # }
    /// ```
    ///
    /// A process that dies between the end of the work and its record does the step again: work that reaches outside should
    /// bear that, by a key that is the same each time.
    ///
    /// # Errors
    /// The work's own (it may be tried again at once, by the same name); a name that comes again after the step is done; a value that cannot be kept, or is no `T` any more; an engine that
    /// cannot write.
    pub async fn step<T, E, F, Fut>(&self, name: &str, work: F) -> anyhow::Result<T>
    where
        T: Value,
        E: Into<anyhow::Error>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let come_to = self.come_to(name)?;
        if let Some(text) = self.known_step(name).await? {
            come_to.stays();
            return decode(&text, || format!("step `{name}`"));
        }
        let value = work().await.map_err(Into::into)?;
        self.keep_step(name, &value).await?;
        come_to.stays();
        Ok(value)
    }

    /// [`Context::step`] for a task that is no `async fn`.
    ///
    /// # Errors
    /// As those of [`Context::step`].
    ///
    /// # Panics
    /// Inside an `async fn`.
    pub fn step_blocking<T, E>(&self, name: &str, work: impl FnOnce() -> Result<T, E>) -> anyhow::Result<T>
    where
        T: Value,
        E: Into<anyhow::Error>,
    {
        let come_to = self.come_to(name)?;
        if let Some(text) = block_on(self.known_step(name))?? {
            come_to.stays();
            return decode(&text, || format!("step `{name}`"));
        }
        let value = work().map_err(Into::into)?;
        block_on(self.keep_step(name, &value))??;
        come_to.stays();
        Ok(value)
    }

    fn come_to<'c>(&'c self, name: &'c str) -> anyhow::Result<ComeTo<'c>> {
        if !self.inner.journal.seen.lock().insert(name.to_owned()) {
            bail!(
                "two steps of a try are called `{name}`: give each a name of its own, like `format!(\"load {{n}}\")`"
            );
        }
        Ok(ComeTo { journal: &self.inner.journal, name, stays: false })
    }

    async fn known_step(&self, name: &str) -> anyhow::Result<Option<Arc<str>>> {
        let journal = &self.inner.journal;
        let known = journal.known.get_or_try_init(async || match self.ask(Ask::Steps).await? {
            Answer::Texts(texts) => Ok(Mutex::new(texts)),
            other => Err(strange(&other)),
        });
        Ok(known.await?.lock().get(name).cloned())
    }

    async fn keep_step<T: Value>(&self, name: &str, value: &T) -> anyhow::Result<()> {
        let text = serde_json::to_string(value).with_context(|| format!("step `{name}` cannot be written as JSON"))?;
        if secret::reveals(&text) || (text.contains("://") && secret::holds_password(&text.clone().into())) {
            bail!("what step `{name}` gives holds a secret, and is not kept: give something else");
        }
        if text.contains("null") {
            decode::<T>(&text, || format!("step `{name}`"))?;
        }
        self.ask(Ask::KeepStep { name: name.to_owned(), value: text }).await.map(drop)
    }

    /// Sleeps until this instant, without a slot, a thread or memory: the task is deferred, and begins once more from the top
    /// when it wakes, in the same try. What comes before belongs into a [`step`](Context::step), if it must not be done
    /// twice. Write `ctx.sleep_until(at)?;`.
    ///
    /// # Errors
    /// That is how it sleeps: an error that the engine understands, for the task to return by `?`. None once the instant
    /// has come.
    pub fn sleep_until(&self, at: DateTime<Utc>) -> anyhow::Result<()> {
        if self.now() >= at { Ok(()) } else { Err(TaskError::defer(Trigger::at(at))) }
    }

    /// Waits for an event, without a slot, however long: somebody calls [`Context::emit`] in another task, or `dags emit`. An
    /// event that has happened already is not waited for. Deferred and woken as by [`Context::sleep_until`].
    ///
    /// # Errors
    /// That is how it waits. Also a payload that is no `T`, or an engine that cannot be asked.
    pub async fn wait_for<T: TaskArgument>(&self, event: &str) -> anyhow::Result<T> {
        match self.event(event).await? {
            Some(payload) => Ok(payload),
            None => Err(TaskError::defer(Trigger::event(event))),
        }
    }

    /// The same, and goes on without it (`None`) at this instant.
    ///
    /// # Errors
    /// As those of [`Context::wait_for`].
    pub async fn wait_for_until<T: TaskArgument>(&self, event: &str, at: DateTime<Utc>) -> anyhow::Result<Option<T>> {
        match self.event(event).await? {
            None if self.now() < at => Err(TaskError::defer(Trigger::event(event).or_at(at))),
            found => Ok(found),
        }
    }

    /// The payload of an event, if it has happened.
    ///
    /// # Errors
    /// A payload that is no `T`, an engine that cannot be asked.
    pub async fn event<T: TaskArgument>(&self, event: &str) -> anyhow::Result<Option<T>> {
        match self.ask(Ask::Event(event.to_owned())).await? {
            Answer::Text(Some(text)) => decode(&text, || format!("the payload of the event `{event}`")).map(Some),
            Answer::Text(None) => Ok(None),
            other => Err(strange(&other)),
        }
    }

    /// Tells that an event has happened, to whoever waits for it by that name, in whatever run. An event happens once: if
    /// it has already, nothing changes, and the answer is false.
    ///
    /// # Errors
    /// A payload that cannot be written as JSON or holds a secret, an engine that cannot write.
    pub async fn emit(&self, event: &str, payload: &(impl Serialize + Sync)) -> anyhow::Result<bool> {
        let about = || format!("the payload of the event `{event}`");
        let payload =
            serde_json::to_string(payload).with_context(|| format!("{} cannot be written as JSON", about()))?;
        if secret::reveals(&payload) {
            bail!("{} holds a secret, and is not kept", about());
        }
        match self.ask(Ask::Emit { name: event.to_owned(), payload }).await? {
            Answer::New(is_new) => Ok(is_new),
            other => Err(strange(&other)),
        }
    }

    /// Asks the engine.
    pub(crate) async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        self.inner.parts.host.0.ask(ask).await
    }
}

/// A step that was come to. One that fails, or is dropped, may be tried again in the same call of the body.
struct ComeTo<'c> {
    journal: &'c Journal,
    name: &'c str,
    stays: bool,
}

impl ComeTo<'_> {
    /// It is done: its name is used up.
    fn stays(mut self) {
        self.stays = true;
    }
}

impl Drop for ComeTo<'_> {
    fn drop(&mut self) {
        if !self.stays {
            self.journal.seen.lock().remove(self.name);
        }
    }
}

/// An answer to another question.
fn strange(answer: &Answer) -> anyhow::Error {
    anyhow::anyhow!("the engine gave an answer that does not fit the question: {answer:?}")
}

fn decode<T: TaskArgument>(text: &str, what: impl Fn() -> String) -> anyhow::Result<T> {
    serde_json::from_str(text).with_context(|| format!("{} is not a `{}`", what(), short_type_name::<T>()))
}

/// Waits on this thread, which must be one that may block.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => Ok(runtime.block_on(work)),
        Err(_) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            Ok(runtime.context("no runtime for a step could be started")?.block_on(work))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn a_step_is_done_once_and_its_name_used_once() {
        let ctx = Context::test();
        let done = Cell::new(0);
        let work = || async {
            done.set(done.get() + 1);
            anyhow::Ok(done.get())
        };
        assert_eq!(ctx.step("one", work).await.unwrap(), 1);
        let error = ctx.step("one", work).await.unwrap_err().to_string();
        assert!(error.contains("two steps of a try are called `one`"), "{error}");
        // The next call of the body.
        let again = Context::new(ctx.inner.parts.clone());
        assert_eq!(again.step("one", work).await.unwrap(), 1);
        let error = Context::new(ctx.inner.parts.clone()).step("one", || async { anyhow::Ok(String::new()) }).await;
        assert!(error.unwrap_err().to_string().contains("step `one` is not a `String`"));
        assert_eq!(done.get(), 1);
    }

    #[tokio::test]
    async fn a_step_that_fails_is_tried_again_in_the_same_call_of_the_body() {
        let (ctx, tried) = (Context::test(), Cell::new(0));
        let work = || async {
            tried.set(tried.get() + 1);
            if tried.get() < 3 { Err(anyhow::anyhow!("no luck")) } else { Ok(tried.get()) }
        };
        assert_eq!(ctx.step("one", work).await.unwrap_err().to_string(), "no luck");
        let never = ctx.step("one", std::future::pending::<anyhow::Result<u8>>);
        assert!(futures::FutureExt::now_or_never(never).is_none(), "it was dropped");
        assert_eq!(ctx.step("one", work).await.unwrap_err().to_string(), "no luck");
        assert_eq!(ctx.step("one", work).await.unwrap(), 3);
        let error = ctx.step("one", work).await.unwrap_err().to_string();
        assert!(error.contains("two steps of a try are called `one`"), "{error}");
    }

    #[test]
    fn a_blocking_task_has_steps_too() {
        let ctx = Context::test();
        assert_eq!(ctx.step_blocking("one", || anyhow::Ok(7)).unwrap(), 7);
        let failed = ctx.step_blocking::<u8, _>("two", || Err(anyhow::anyhow!("no luck"))).unwrap_err();
        assert_eq!(failed.to_string(), "no luck");
        assert_eq!(Context::new(ctx.inner.parts.clone()).step_blocking("two", || anyhow::Ok(8)).unwrap(), 8);
    }

    #[tokio::test]
    async fn what_was_not_told_yet_is_waited_for() {
        let ctx = Context::test();
        let error = ctx.wait_for::<u8>("go").await.unwrap_err();
        assert_eq!(TaskError::of(&error), Some(&TaskError::Defer(Trigger::event("go"))));
        let later = ctx.now() + chrono::TimeDelta::hours(1);
        let error = ctx.wait_for_until::<u8>("go", later).await.unwrap_err();
        assert_eq!(TaskError::of(&error), Some(&TaskError::Defer(Trigger::event("go").or_at(later))));
        assert_eq!(ctx.wait_for_until::<u8>("go", ctx.now()).await.unwrap(), None);
        assert!(ctx.emit("go", &7).await.unwrap() && !ctx.emit("go", &8).await.unwrap());
        assert_eq!(ctx.wait_for::<u8>("go").await.unwrap(), 7);
        assert!(ctx.wait_for::<String>("go").await.unwrap_err().to_string().contains("event `go` is not a `String`"));
        let error = ctx.sleep_until(later).unwrap_err();
        assert_eq!(TaskError::of(&error), Some(&TaskError::Defer(Trigger::at(later))));
        assert!(ctx.sleep_until(ctx.now()).is_ok());
    }
}
