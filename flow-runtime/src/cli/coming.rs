//! The runs that a DAG will have by itself, as its scheduler finds them.

use super::exit::{CliError, Result};
use crate::store::{MetadataStore, RunFilter, RunOrder, StoredRun};
use crate::timetable;
use chrono::{DateTime, Utc};
use flow_core::{Dag, NextRun, Restriction, RunType};
use std::collections::HashSet;

/// What comes.
#[derive(Debug, Default)]
pub struct Coming {
    /// The runs, the earliest first.
    pub runs: Vec<NextRun>,
    /// Dates among them that have a run already, which somebody asked for: the scheduler passes over them.
    pub taken: usize,
}

/// The latest run that the schedule of a DAG has made: the scheduler goes on from it.
pub async fn latest(store: &dyn MetadataStore, dag_id: &str) -> Result<Option<StoredRun>> {
    let filter = RunFilter {
        dag_id: Some(dag_id.into()),
        run_types: vec![RunType::Scheduled],
        order: RunOrder::Due,
        limit: 1,
        ..RunFilter::default()
    };
    Ok(store.runs(&filter).await?.pop())
}

/// The next runs of a DAG, at most as many.
pub async fn coming(store: Option<&dyn MetadataStore>, dag: &Dag, now: DateTime<Utc>, most: usize) -> Result<Coming> {
    let timetable = timetable::of(dag).map_err(|e| CliError::input(e.to_string()))?;
    let bounds = Restriction::of(dag);
    let Some(store) = store else {
        let runs = timetable::upcoming(&*timetable, None, bounds, now).take(most).collect();
        return Ok(Coming { runs, taken: 0 });
    };
    let last = latest(store, &dag.dag_id).await?.and_then(|run| run.run.data_interval);
    let mut found = Coming::default();
    // Mostly none is taken; where one is, others may be.
    let mut all: Option<HashSet<i64>> = None;
    for run in timetable::upcoming(&*timetable, last, bounds, now) {
        if found.runs.len() >= most {
            break;
        }
        let is_taken = match &all {
            Some(all) => all.contains(&run.logical_date.timestamp_micros()),
            None => {
                let logical_date = Some(run.logical_date);
                let filter =
                    RunFilter { dag_id: Some(dag.dag_id.clone()), logical_date, limit: 1, ..RunFilter::default() };
                let is_taken = !store.runs(&filter).await?.is_empty();
                if is_taken {
                    let filter = RunFilter { dag_id: Some(dag.dag_id.clone()), ..RunFilter::default() };
                    let dates = store.runs(&filter).await?.into_iter().filter_map(|run| run.run.logical_date);
                    all = Some(dates.map(|date| date.timestamp_micros()).collect());
                }
                is_taken
            }
        };
        if is_taken {
            found.taken += 1;
        } else {
            found.runs.push(run);
        }
    }
    Ok(found)
}
