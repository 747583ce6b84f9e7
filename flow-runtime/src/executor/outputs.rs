//! What the tasks of a run returned: in memory as long as a task below may need it, else read from the store.

use super::scope::Scope;
use super::{lists, values};
use crate::store::{RETURN_VALUE, StoreError, XComFilter, XComRow};
use crate::value::Erased;
use flow_core::{InstanceKey, TaskIx, UNMAPPED};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::Arc;

/// The outputs of the instances that succeeded.
#[derive(Debug, Default)]
pub(super) struct Outputs(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// `None` for a value that only the store has.
    values: BTreeMap<InstanceKey, Option<Erased>>,
    /// Outputs of mapped tasks as one list each.
    joined: HashMap<TaskIx, Erased>,
}

/// Why an output could not be read.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) message: String,
    /// The store did not answer. (What it has may be in a file that is gone, or be spoilt: that stays so.)
    pub(super) no_answer: bool,
}

/// What is known about an output.
enum Found {
    /// There is none: the task did not succeed.
    Nothing,
    Here(Erased),
    InStore,
}

impl Outputs {
    /// An instance has succeeded; without a value, only the store has it.
    pub(super) fn put(&self, key: InstanceKey, value: Option<Erased>) {
        let mut inner = self.0.lock();
        inner.joined.remove(&key.task);
        inner.values.insert(key, value);
    }

    /// An instance no longer counts as a success: it runs again, or a person says so.
    pub(super) fn forget(&self, key: InstanceKey) {
        let mut inner = self.0.lock();
        inner.joined.remove(&key.task);
        inner.values.remove(&key);
    }

    /// Nobody needs the values of this task any more.
    pub(super) fn release(&self, task: TaskIx) {
        let mut inner = self.0.lock();
        inner.joined.remove(&task);
        for (_, value) in inner.values.range_mut(instances(task)) {
            *value = None;
        }
    }

    fn find(&self, key: InstanceKey) -> Found {
        match self.0.lock().values.get(&key) {
            None => Found::Nothing,
            Some(None) => Found::InStore,
            Some(Some(value)) => Found::Here(value.clone()),
        }
    }

    fn find_joined(&self, task: TaskIx) -> Found {
        let mut inner = self.0.lock();
        if let Some(list) = inner.joined.get(&task) {
            return Found::Here(list.clone());
        }
        let mut texts = Vec::new();
        for (_, value) in inner.values.range(instances(task)) {
            match value {
                Some(value) => texts.push(value.json().clone()),
                None => return Found::InStore,
            }
        }
        if texts.is_empty() {
            return Found::Nothing;
        }
        let list = Erased::from_json(lists::join(texts));
        inner.joined.insert(task, list.clone());
        Found::Here(list)
    }

    /// Fills in what the store has of a task's values.
    fn fill(&self, task: TaskIx, mut texts: HashMap<i32, Arc<str>>) {
        for (key, value) in self.0.lock().values.range_mut(instances(task)) {
            if value.is_none() {
                // A task that returned nothing has no row.
                let text = texts.remove(&key.map_index).unwrap_or_else(|| "null".into());
                *value = Some(Erased::from_json(text));
            }
        }
    }
}

fn instances(task: TaskIx) -> std::ops::RangeInclusive<InstanceKey> {
    InstanceKey { task, map_index: UNMAPPED }..=InstanceKey { task, map_index: i32::MAX }
}

/// The output of one instance; `None` if it did not succeed.
pub(super) async fn one(scope: &Scope, key: InstanceKey) -> Result<Option<Erased>, Unread> {
    if matches!(scope.outputs.find(key), Found::InStore) {
        load(scope, key.task).await?;
    }
    Ok(here(scope.outputs.find(key)))
}

/// The outputs of all instances of a mapped task that succeeded, as a list in the order of their map indices; `None` if
/// none did.
pub(super) async fn all(scope: &Scope, task: TaskIx) -> Result<Option<Erased>, Unread> {
    if matches!(scope.outputs.find_joined(task), Found::InStore) {
        load(scope, task).await?;
    }
    Ok(here(scope.outputs.find_joined(task)))
}

fn here(found: Found) -> Option<Erased> {
    match found {
        Found::Here(value) => Some(value),
        Found::Nothing | Found::InStore => None,
    }
}

async fn load(scope: &Scope, task: TaskIx) -> Result<(), Unread> {
    let id = scope.ids.task(task);
    let unread = |why: &dyn Display, no_answer| {
        let message = format!("the output of task `{id}` cannot be read: {why}");
        Unread { message, no_answer }
    };
    let rows = scope.engine.store.xcoms(scope.pk, XComFilter::of_task(&id)).await;
    let rows = rows.map_err(|e| unread(&e, matches!(e, StoreError::Backend(_))))?;
    let home = scope.engine.settings.home.clone();
    let quick = rows.iter().all(|row| row.value.inline.is_some());
    let read = move || {
        let values = rows.iter().filter(|row| row.key == RETURN_VALUE);
        let text = |row: &XComRow| Ok((row.map_index, values::read_value(&home, &row.value)?));
        values.map(text).collect::<std::io::Result<HashMap<_, _>>>()
    };
    // Only what lies in files takes its time.
    let read = if quick { Ok(read()) } else { tokio::task::spawn_blocking(read).await };
    let texts = read.map_err(std::io::Error::other).flatten();
    scope.outputs.fill(task, texts.map_err(|e| unread(&e, false))?);
    Ok(())
}
