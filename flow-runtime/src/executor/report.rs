//! What the planner must know about a value it never sees: lengths and verdicts.

use super::lists::List;
use flow_core::dag::{Dag, Source};
use flow_core::event::{Length, Report};
use flow_core::{TaskIx, mapping};
use serde_json::Value;
use std::sync::Arc;

/// What must be found out about the value of one task.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The output, or elements of its tuple, that tasks are mapped over.
    lengths: Vec<Option<u32>>,
    /// Tasks that run only if the value, or this element of it, equals theirs.
    conditions: Vec<(TaskIx, Option<u32>, Value)>,
    /// Tasks that read the value.
    pub(super) readers: Vec<TaskIx>,
}

impl Wanted {
    /// For every task of a DAG.
    pub(super) fn of(dag: &Dag) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        wanted.resize_with(dag.tasks.len(), Wanted::default);
        for (t, task) in dag.tasks.iter().enumerate() {
            let t = t as TaskIx;
            for condition in &task.conditions {
                wanted[condition.upstream as usize].conditions.push((t, condition.field, condition.equals.clone()));
            }
            for source in task.inputs.iter().flat_map(|input| input.source.tasks()) {
                let readers = &mut wanted[source as usize].readers;
                if readers.last() != Some(&t) && !readers.contains(&t) {
                    readers.push(t);
                }
            }
            for axis in mapping::axes(dag, t) {
                let (upstream, field) = match axis {
                    Source::Output(u) | Source::OptionalOutput(u) => (*u, None),
                    Source::Field(u, field) | Source::OptionalField(u, field) => (*u, Some(*field)),
                    _ => continue,
                };
                let wanted = &mut wanted[upstream as usize].lengths;
                // Of a mapped task the planner counts the instances itself.
                if !dag.tasks[upstream as usize].mapped && !wanted.contains(&field) {
                    wanted.push(field);
                }
            }
        }
        wanted
    }

    /// The report on a value; an error is a sentence.
    pub(super) fn report(&self, json: &Arc<str>) -> Result<Report, String> {
        let mut report = Report::default();
        for &field in &self.lengths {
            let len = length(json, field)?;
            report.lengths.push(Length { field, len });
        }
        if !self.conditions.is_empty() {
            let value: Value = serde_json::from_str(json).map_err(|e| format!("the return value is not JSON: {e}"))?;
            let of = |field: &Option<u32>| field.map_or(Some(&value), |field| value.get(field as usize));
            let declined = self.conditions.iter().filter(|(_, field, equals)| of(field) != Some(equals));
            report.declined = declined.map(|(task, ..)| *task).collect();
            report.declined.dedup();
        }
        Ok(report)
    }
}

fn length(json: &Arc<str>, field: Option<u32>) -> Result<u32, String> {
    let list = match field {
        None => List::of(json),
        Some(field) => {
            let element = List::of(json).and_then(|l| l.get(field as usize).map(Arc::from));
            element.and_then(|element| List::of(&element))
        }
    };
    let what = field.map_or(String::from("the return value"), |f| format!("element {f} of the return value"));
    let list = list.ok_or_else(|| format!("{what} is not a list, and tasks are mapped over it"))?;
    u32::try_from(list.len()).map_err(|_| format!("{what} is too long to be mapped over"))
}
