//! Runs that `clean` leaves although they are old: the record of what is done, without which it would be done again.

use super::coming;
use super::exit::Result;
use crate::store::{BackfillRow, MetadataStore, RunFilter, RunPk, StoredRun};
use crate::timetable;
use chrono::{DateTime, Utc};
use flow_core::dag_run::DataInterval;
use flow_core::{Dag, Restriction, RunStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most dates ahead of a schedule that are gone through; of those beyond it is not asked whether the schedule has them.
const MOST: usize = 100_000;

/// Why a run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Because {
    /// It is the latest that the schedule of its DAG has made.
    Latest,
    /// Its date is one to which the schedule has yet to come.
    Ahead,
    /// Its date is one of a backfill that is not over.
    Backfill,
    /// Tasks of a later run look back at it.
    Past,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Because::Latest => "the latest of its schedule, from which the scheduler goes on",
            Because::Ahead => "of a date that the schedule has yet to come to, and would run again",
            Because::Backfill => "of a date of a backfill that is not over, and would run it again",
            Because::Past => "the run before for tasks that wait for it (depends_on_past)",
        })
    }
}

/// Those of these runs that must stay, by DAG. They are runs that have ended, and were asked for a moment ago: what is made
/// since then comes later, and what is decided here holds all the same.
pub async fn kept(
    store: &dyn MetadataStore,
    known: &dyn Fn(&str) -> Option<Dag>,
    runs: &[StoredRun],
    now: DateTime<Utc>,
) -> Result<BTreeMap<RunPk, Because>> {
    let mut by_dag: BTreeMap<&str, Vec<&StoredRun>> = BTreeMap::new();
    for run in runs {
        by_dag.entry(&run.run.dag_id).or_default().push(run);
    }
    let mut found = BTreeMap::new();
    let open = store.backfills(true).await?;
    for (dag_id, runs) in by_dag {
        let latest = coming::latest(store, dag_id).await?;
        // One that cannot be read, a newer program has written.
        let dag = match (known(dag_id), runs.first()) {
            (Some(dag), _) => Some(dag),
            (None, Some(run)) => store.dag_version(&run.dag_version).await.ok(),
            (None, None) => continue,
        };
        let past = match &dag {
            Some(dag) => past(store, dag).await?,
            None => BTreeSet::new(),
        };
        let last = latest.as_ref().and_then(|run| run.run.data_interval);
        let ahead = match dag.as_ref().and_then(|dag| ahead(dag, last, &runs, now)) {
            Some(ahead) => ahead,
            // Its timetable is another program's: it may come to each date after its latest run.
            None => after(last, &runs),
        };
        for run in runs {
            let because = match run.run.logical_date {
                _ if latest.as_ref().is_some_and(|latest| latest.pk == run.pk) => Because::Latest,
                Some(date) if open.iter().any(|row| is_of(row, dag_id, date)) => Because::Backfill,
                Some(_) if ahead.contains(&run.pk) => Because::Ahead,
                Some(_) if past.contains(&run.pk) => Because::Past,
                _ => continue,
            };
            found.insert(run.pk, because);
        }
    }
    Ok(found)
}

/// Is this date of this DAG one of those of the backfill? No run says by which backfill it was made.
pub(super) fn is_of(row: &BackfillRow, dag_id: &str, date: DateTime<Utc>) -> bool {
    row.spec.dag_id == dag_id && row.spec.from <= date && date <= row.spec.to
}

/// The runs about dates after its latest run.
fn after(last: Option<DataInterval>, runs: &[&StoredRun]) -> BTreeSet<RunPk> {
    let is_after = |date: DateTime<Utc>| last.is_none_or(|last| date > last.start);
    runs.iter().filter(|run| run.run.logical_date.is_some_and(is_after)).map(|run| run.pk).collect()
}

/// The runs about dates that the schedule comes to after its latest run; `None` if this program does not have its timetable, or it
/// tells one date at a time.
///
/// They are looked for as if it caught up: a scheduler that cannot make a run yet, for too many are active, keeps the date that it has
/// come to, although others have come meanwhile.
fn ahead(dag: &Dag, last: Option<DataInterval>, runs: &[&StoredRun], now: DateTime<Utc>) -> Option<BTreeSet<RunPk>> {
    let dates = runs.iter().filter_map(|run| Some((run.run.logical_date?.timestamp_micros(), run.pk)));
    let dates: BTreeMap<i64, RunPk> = dates.collect();
    let (mut ahead, mut reached) = (BTreeSet::new(), 0);
    let (Some((&end, _)), Some(schedule)) = (dates.last_key_value(), &dag.schedule) else { return Some(ahead) };
    if !schedule.tells_times() {
        return Some(ahead);
    }
    let timetable = timetable::of(dag).ok().filter(|timetable| timetable.foresees())?;
    // Without a latest run one that does not catch up begins where it is.
    let restriction = Restriction::of(dag);
    let restriction = Restriction { catchup: restriction.catchup || last.is_some(), ..restriction };
    for run in timetable::upcoming(&*timetable, last, restriction, now) {
        let date = run.logical_date.timestamp_micros();
        if date > end {
            break;
        }
        ahead.extend(dates.get(&date));
        reached += 1;
        if reached == MOST {
            ahead.extend(dates.range(date..).map(|(_, pk)| pk));
            break;
        }
    }
    Some(ahead)
}

/// The runs at which tasks of this DAG look back, or will: those before the unfinished ones, and the one about the latest date.
async fn past(store: &dyn MetadataStore, dag: &Dag) -> Result<BTreeSet<RunPk>> {
    let mut found = BTreeSet::new();
    if dag.tasks.iter().all(|task| task.past.is_none()) {
        return Ok(found);
    }
    let states = vec![RunStatus::Queued, RunStatus::Running];
    let open = store.runs(&RunFilter { dag_id: Some(dag.dag_id.clone()), states, ..RunFilter::default() }).await?;
    let dates = open.iter().filter_map(|run| run.run.logical_date).chain([DateTime::<Utc>::MAX_UTC]);
    for date in dates {
        found.extend(store.run_before(&dag.dag_id, date).await?.map(|run| run.pk));
    }
    Ok(found)
}
