//! The keys of instances, as far as the store tells: for those who explain.

use super::keys;
use super::lists::List;
use super::values::read_value;
use crate::store::{MetadataStore, RETURN_VALUE, Result, StoredRun, XComFilter};
use flow_core::dag::Source;
use flow_core::{Dag, InstanceKey, Needs, RunState, TaskIx, UNMAPPED, element_indices, mapping};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// What the instances of a run need.
pub struct StoredKeys<'s> {
    store: &'s dyn MetadataStore,
    home: &'s Path,
    stored: &'s StoredRun,
    dag: &'s Dag,
    state: &'s RunState,
    /// Values that were read.
    outputs: HashMap<TaskIx, Option<Arc<str>>>,
}

impl<'s> StoredKeys<'s> {
    /// Of this run, made from this version of its DAG.
    pub fn of(
        store: &'s dyn MetadataStore,
        home: &'s Path,
        (stored, dag, state): (&'s StoredRun, &'s Dag, &'s RunState),
    ) -> StoredKeys<'s> {
        StoredKeys { store, home, stored, dag, state, outputs: HashMap::new() }
    }

    /// What this instance needs; a key with a value that cannot be known from outside stays as it is written.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn needs(&mut self, key: InstanceKey) -> Result<Option<Needs>> {
        let dag = self.dag;
        let Some((needs, def)) = Needs::of(dag, key.task).zip(dag.tasks.get(key.task as usize)) else {
            return Ok(None);
        };
        let names = keys::arguments(&needs);
        let mut values = BTreeMap::new();
        let in_group = mapping::home(dag, key.task).is_some();
        let axes = if def.mapped { mapping::axes(dag, key.task) } else { Vec::new() };
        let indices = element_indices(&self.state.lengths(key.task).unwrap_or_default(), key.map_index);
        let mut plain_axes = 0..;
        for input in &def.inputs {
            let plain = matches!(&input.source, Source::Each(_) if !in_group).then(|| plain_axes.next()).flatten();
            if !names.contains(&input.name) {
                continue;
            }
            let json = match &input.source {
                Source::Each(list) => {
                    let axis = plain.or_else(|| axes.iter().position(|axis| **axis == **list));
                    let index = axis.and_then(|axis| indices.get(axis)).map(|index| *index as usize);
                    self.value(list).await?.zip(index).and_then(|(list, index)| element(&list, index))
                }
                source => self.value(source).await?,
            };
            values.extend(json.map(|json| (input.name.clone(), keys::word(&json))));
        }
        Ok(Some(keys::filled(&needs, &values)))
    }

    /// The JSON of what does not differ between the instances of a task.
    async fn value(&mut self, source: &Source) -> Result<Option<Arc<str>>> {
        Ok(match source {
            Source::Literal(value) => Some(value.to_string().into()),
            Source::Param(name) => self.stored.run.conf.get(name).map(|value| value.to_string().into()),
            Source::Output(task) | Source::OptionalOutput(task) => self.output(*task).await?,
            Source::Field(task, field) | Source::OptionalField(task, field) => {
                self.output(*task).await?.and_then(|tuple| element(&tuple, *field as usize))
            }
            Source::List(_) | Source::Record(_) | Source::Each(_) => None,
        })
    }

    /// What a task that is not mapped has returned.
    async fn output(&mut self, task: TaskIx) -> Result<Option<Arc<str>>> {
        if let Some(known) = self.outputs.get(&task) {
            return Ok(known.clone());
        }
        let Some(def) = self.dag.tasks.get(task as usize).filter(|def| !def.mapped) else { return Ok(None) };
        let filter = XComFilter { task_id: Some(&def.task_id), map_index: Some(UNMAPPED) };
        let rows = self.store.xcoms(self.stored.pk, filter).await?;
        let row = rows.into_iter().find(|row| row.key == RETURN_VALUE);
        let json = row.and_then(|row| read_value(self.home, &row.value).ok());
        self.outputs.insert(task, json.clone());
        Ok(json)
    }
}

/// One element of a JSON list.
fn element(list: &Arc<str>, index: usize) -> Option<Arc<str>> {
    List::of(list).and_then(|list| list.get(index).map(Arc::from))
}
