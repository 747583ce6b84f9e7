//! What must hold, whatever goes wrong: of every two states of the store that follow each other, and of the last.

use crate::cast;
use crate::fillings::Fillings;
use crate::ledger::{self, Ledger};
use crate::past;
use crate::wishes::Wishes;
use chrono::{DateTime, Utc};
use flow_runtime::core::{
    Dag, Decision, InstanceKey, Notifier, Occasion, RunState, RunStatus, RunType, TaskState, decide,
};
use flow_runtime::executor::run_state;
use flow_runtime::store::{
    AssetEventFilter, BackfillRow, CallbackFilter, CauseKind, InstanceRow, MetadataStore, RETURN_VALUE, RunFilter,
    StoredRun, XComFilter,
};
use std::collections::BTreeMap;
use std::sync::Arc;

type Key = (i64, Arc<str>, i32);

/// What the store held the last time.
#[derive(Debug, Default)]
pub struct Seen {
    pub runs: BTreeMap<i64, StoredRun>,
    rows: BTreeMap<Key, InstanceRow>,
    pub backfills: Vec<BackfillRow>,
}

impl Seen {
    /// The rows of a run.
    pub fn of_run(&self, pk: i64) -> impl Iterator<Item = &InstanceRow> {
        self.rows.range((pk, "".into(), i32::MIN)..(pk + 1, "".into(), i32::MIN)).map(|(_, row)| row)
    }
}

/// Everything that the store has.
pub async fn look(store: &dyn MetadataStore) -> Seen {
    let backfills = store.backfills(false).await.expect("it is in memory");
    let mut seen = Seen { backfills, ..Seen::default() };
    for run in store.runs(&RunFilter::default()).await.expect("it is in memory") {
        for row in store.instances(run.pk).await.expect("it is in memory") {
            seen.rows.insert((run.pk.0, row.task_id.clone(), row.map_index), row);
        }
        seen.runs.insert(run.pk.0, run);
    }
    seen
}

/// What is another than it was, for the story.
pub fn tell_changes(before: &Seen, now: &Seen) {
    for (key, new) in &now.rows {
        let old = before.rows.get(key).map(|row| (row.state, row.try_number));
        if old != Some((new.state, new.try_number)) {
            let run = &now.runs[&key.0].run;
            let from = old.map_or("nothing", |(state, _)| state.name());
            let index = if key.2 < 0 { String::new() } else { format!("[{}]", key.2) };
            ledger::tell(format!(
                "    {}/{}/{}{index}: {from} -> {}, try {}",
                run.dag_id, run.run_id, key.1, new.state, new.try_number
            ));
        }
    }
    for (pk, new) in &now.runs {
        let old = before.runs.get(pk).map(|run| run.run.state);
        if old != Some(new.run.state) {
            ledger::tell(format!("    {}/{} is {}", new.run.dag_id, new.run.run_id, new.run.state));
        }
    }
}

/// May this follow that, at this instant?
pub fn step(
    before: &Seen,
    now: &Seen,
    dags: &[Arc<Dag>],
    (wishes, fillings): (&Wishes, &Fillings),
    at: DateTime<Utc>,
) -> Result<(), String> {
    if let Some(problem) = ledger::with(|ledger| ledger.problems.first().cloned()) {
        return Err(problem);
    }
    fillings.step(before, now, wishes, at)?;
    for (pk, old) in &before.runs {
        let Some(new) = now.runs.get(pk) else {
            if wishes.is_deleted(*pk) {
                // What comes after it under its name is another run.
                ledger::with(|ledger| ledger.forget(&old.run.dag_id, &old.run.run_id));
                continue;
            }
            return Err(format!("run {} is lost", old.run.run_id));
        };
        let (from, to) = (old.run.state, new.run.state);
        let by_itself = from == to || (!from.is_finished() && to != RunStatus::Queued);
        if !by_itself && !wishes.take_run(*pk, from, to) && !runs_again(now, old, dags, (wishes, fillings), at) {
            return Err(format!("run {} went from {} to {}", old.run.run_id, old.run.state, new.run.state));
        }
        if new.epoch < old.epoch {
            return Err(format!("the epoch of run {} went back", old.run.run_id));
        }
    }
    for (key, old) in &before.rows {
        let Some(new) = now.rows.get(key) else {
            if wishes.is_deleted(key.0) {
                continue;
            }
            return Err(format!("the row of {key:?} is lost"));
        };
        let wished = || wishes.take(key.0, &(key.1.clone(), key.2), old.state, new.state);
        if old.state.is_finished() && old.state != new.state {
            if !wished() {
                return Err(format!("{key:?} went from {} to {}", old.state, new.state));
            }
            continue;
        }
        if new.try_number < old.try_number {
            return Err(format!("{key:?} went from try {} back to {}", old.try_number, new.try_number));
        }
        // Two tries cannot pass in one commit: the first must end before the second begins.
        if new.try_number > old.try_number + 1 {
            return Err(format!("{key:?} went from try {} to {}", old.try_number, new.try_number));
        }
        let same_try = new.try_number == old.try_number;
        // Who waits for another try is asked anew when somebody gives a state to what is above it.
        let above = old.state == TaskState::UpForRetry
            && matches!(new.state, TaskState::UpstreamFailed | TaskState::Skipped)
            && wishes.has_marks(key.0);
        if same_try && !same_try_may(old.state, new.state) && !above && !wished() {
            return Err(format!("in one try, {key:?} went from {} to {}", old.state, new.state));
        }
    }
    begins_when_it_may(before, now, dags, wishes)?;
    for dag in dags {
        let of_dag = now.runs.values().filter(|run| run.run.dag_id == dag.dag_id);
        // Those of backfills take no place away from its own.
        let of_dag = of_dag.filter(|run| run.run.run_type != RunType::Backfill);
        let active = of_dag.clone().filter(|run| !run.run.state.is_finished()).count();
        // A person may begin more, or let some run again.
        let is_new = |run: &StoredRun| run.run.run_type != RunType::Manual && !before.runs.contains_key(&run.pk.0);
        if active > dag.max_active_runs as usize && of_dag.into_iter().any(is_new) {
            return Err(format!("{active} runs of {} are active, and {} may be", dag.dag_id, dag.max_active_runs));
        }
    }
    Ok(())
}

/// Is a run that has ended let run again for a backfill?
fn runs_again(
    now: &Seen,
    old: &StoredRun,
    dags: &[Arc<Dag>],
    (wishes, fillings): (&Wishes, &Fillings),
    at: DateTime<Utc>,
) -> bool {
    let dag = dags.iter().find(|dag| dag.dag_id == old.run.dag_id);
    let Some(dag) = dag.filter(|_| old.run.state.is_finished() && fillings.take_again(now, old, at)) else {
        return false;
    };
    wishes.runs_again(old.pk.0, dag);
    true
}

/// What begins now is what the states of all above it, and of the run before, let begin.
fn begins_when_it_may(before: &Seen, now: &Seen, dags: &[Arc<Dag>], wishes: &Wishes) -> Result<(), String> {
    let begins = now.rows.iter().filter(|(key, new)| {
        let old = before.rows.get(*key);
        new.state == TaskState::Running
            && old.is_none_or(|old| !old.state.is_in_flight() || old.try_number < new.try_number)
    });
    for (key, row) in begins {
        let run = &now.runs[&key.0];
        let Some(dag) = dags.iter().find(|dag| dag.dag_id == run.run.dag_id) else { continue };
        let Some(task) = dag.task_ix(&key.1) else { continue };
        past::lets_begin(now, dag, (run, &*key.1), wishes)?;
        let rows: Vec<InstanceRow> = now.of_run(key.0).cloned().collect();
        let decision = decide(dag, &run_state(dag, run, &rows), InstanceKey { task, map_index: key.2 });
        if decision != Decision::Run {
            return Err(format!("try {} of {key:?} begins, and that is to {decision:?}", row.try_number));
        }
    }
    Ok(())
}

/// What one try may come to from one commit to the next. A commit may hold several moves at once.
fn same_try_may(from: TaskState, to: TaskState) -> bool {
    use TaskState::{Deferred, None, Queued, Running, Scheduled, UpForReschedule};
    match from {
        _ if from == to => true,
        // Not begun, or looked at again.
        None | Scheduled | Queued | UpForReschedule | Deferred => !matches!(to, Deferred | UpForReschedule),
        Running => to != Queued,
        TaskState::UpForRetry => matches!(to, None | Scheduled),
        // Cleared while it ran: it begins anew once it is gone. (That it was lost is written down as a retry that is due.)
        TaskState::Restarting => matches!(to, None | Scheduled | TaskState::UpForRetry | TaskState::Removed),
        _ => false,
    }
}

/// What sort of world it was.
#[derive(Clone, Copy)]
pub struct Kind<'w> {
    pub wishes: &'w Wishes,
    pub fillings: &'w Fillings,
    /// Somebody asks for backfills.
    pub fills: bool,
    /// Clocks were set back and ahead: what is a matter of time may be this way or that.
    pub jumps: bool,
}

/// The end of the world: all is done, once, and what was returned is there.
pub async fn end(store: &dyn MetadataStore, dags: &[Arc<Dag>], kind: Kind<'_>) -> Result<(), String> {
    let now = look(store).await;
    let orders = store.orders().await.map_err(|e| e.to_string())?;
    if !orders.is_empty() {
        return Err(format!("nobody has carried out {orders:?}"));
    }
    for dag in dags {
        let of_dag = now.runs.values().filter(|run| run.run.dag_id == dag.dag_id);
        if kind.fills {
            kind.fillings.has_its_dates(&dag.dag_id, dag.catchup, &now, kind.wishes)?;
        } else if !waits_for_assets(dag) {
            let made = of_dag.clone().filter(|run| run.run.run_type == RunType::Scheduled);
            let mut ids: Vec<&str> = made.map(|run| run.run.run_id.as_str()).collect();
            ids.sort_unstable();
            let ticks = kind.fillings.dates[&dag.dag_id].iter().map(|run| RunType::Scheduled.run_id(run.run_after));
            // One that was deleted is there again if it was the latest: then it is due once more.
            let is_there = |id: &String| ids.contains(&id.as_str()) || !kind.wishes.was_deleted(&dag.dag_id, id);
            let want: Vec<String> = ticks.filter(is_there).collect();
            if ids != want {
                return Err(format!("runs of {}: {ids:?}, and there should be {want:?}", dag.dag_id));
            }
        }
        for stored in of_dag {
            is_well(store, dag, stored, kind).await?;
        }
    }
    kind.fillings.end(&now, kind.wishes)?;
    each_event_once(store, dags, &now, kind.wishes).await?;
    ledger::with(|ledger| accounts(ledger, &now, kind.wishes))
}

fn waits_for_assets(dag: &Dag) -> bool {
    dag.schedule.as_ref().is_some_and(|schedule| schedule.waits_for().is_some())
}

/// A success of whoever makes an asset is one event, and that is one of those of exactly one run of whoever waits for it.
async fn each_event_once(
    store: &dyn MetadataStore,
    dags: &[Arc<Dag>],
    now: &Seen,
    wishes: &Wishes,
) -> Result<(), String> {
    let events = store.asset_events(&AssetEventFilter::default()).await.map_err(|e| e.to_string())?;
    // Of runs that are there: of those that were deleted, only the events are left.
    let mut told: BTreeMap<(&str, &str, &str, u32), u32> = BTreeMap::new();
    for by in events.iter().filter_map(|event| event.made_by.as_ref()) {
        if !wishes.was_deleted(&by.dag_id, &by.run_id) {
            *told.entry((&by.dag_id, &by.run_id, &by.task_id, by.try_number)).or_default() += 1;
        }
    }
    if let Some((of, times)) = told.iter().find(|(_, times)| **times > 1) {
        return Err(format!("{times} events of one try: {of:?}"));
    }
    let makes = |run: &StoredRun, task: &str| {
        let dag = dags.iter().find(|dag| dag.dag_id == run.run.dag_id);
        dag.and_then(|dag| dag.task(task)).is_some_and(|task| !task.outlets.is_empty())
    };
    let mut made = 0;
    for ((pk, task, index), row) in now.rows.iter().filter(|(_, row)| row.state == TaskState::Success) {
        let run = &now.runs[pk];
        let (dag_id, run_id) = (run.run.dag_id.as_str(), run.run.run_id.as_str());
        let by_hand = wishes.was_marked(*pk, &(task.clone(), *index)) || wishes.has_marks(*pk);
        if !makes(run, task) || by_hand || wishes.was_deleted(dag_id, run_id) {
            continue;
        }
        made += 1;
        if told.remove(&(dag_id, run_id, &**task, row.try_number)).is_none() {
            return Err(format!("the success of {task} in {dag_id}/{run_id} has made no event"));
        }
    }
    // What is left is of tries before one that was cleared, or of a run to which somebody has given a state.
    let of_no_success = |(dag_id, run_id, ..): &(&str, &str, &str, u32)| {
        let run = now.runs.values().find(|run| run.run.dag_id == *dag_id && run.run.run_id == *run_id);
        run.is_none_or(|run| !wishes.was_cleared(run.pk.0) && !wishes.has_marks(run.pk.0))
    };
    if let Some(of) = told.keys().find(|of| of_no_success(of)) {
        return Err(format!("an event of what is no success: {of:?}"));
    }
    let is_made_here = dags.iter().flat_map(|dag| &dag.tasks).any(|task| !task.outlets.is_empty());
    if is_made_here && made == 0 && events.is_empty() {
        return Err("nobody has made anything".into());
    }
    for dag in dags.iter().filter(|dag| waits_for_assets(dag)) {
        let mut counts: BTreeMap<i64, u32> = events.iter().map(|event| (event.id, 0)).collect();
        for run in now.runs.values().filter(|run| run.run.dag_id == dag.dag_id) {
            let filter = AssetEventFilter { run: Some(run.pk), ..AssetEventFilter::default() };
            for event in store.asset_events(&filter).await.map_err(|e| e.to_string())? {
                *counts.entry(event.id).or_default() += 1;
            }
        }
        // That of a run that was deleted went with it.
        let least = u32::from(!wishes.some_of_dag_were_deleted(&dag.dag_id));
        if let Some((event, times)) = counts.iter().find(|(_, times)| !(least..=1).contains(*times)) {
            return Err(format!("event {event} belongs to {times} runs of {}", dag.dag_id));
        }
    }
    let left = store.pending_assets().await.map_err(|e| e.to_string())?;
    if left.is_empty() { Ok(()) } else { Err(format!("at the end there is still pending: {left:?}")) }
}

async fn is_well(store: &dyn MetadataStore, dag: &Dag, stored: &StoredRun, kind: Kind<'_>) -> Result<(), String> {
    let (id, pk) = (format!("{}/{}", dag.dag_id, stored.run.run_id), stored.pk.0);
    if !cast::may_be_of(stored.run.run_type, waits_for_assets(dag), kind.fills) {
        return Err(format!("{id} is of the type {}", stored.run.run_type.name()));
    }
    let rows = store.instances(stored.pk).await.map_err(|e| e.to_string())?;
    let is_over = stored.run.state.is_finished() && rows.iter().all(|row| row.state.is_finished());
    if kind.wishes.has_marks(pk) {
        // What became of it is a person's word.
        let state = stored.run.state;
        return if is_over { Ok(()) } else { Err(format!("{id} is {state} at the end, with {rows:#?}")) };
    }
    if stored.run.state != RunStatus::Success || !is_over {
        return Err(format!("{id} ended as {}, with {rows:#?}", stored.run.state));
    }
    let state: RunState = run_state(dag, stored, &rows);
    if flow_runtime::core::outlook(&state) != RunStatus::Success {
        return Err(format!("{id} is a success, and its rows say otherwise"));
    }
    let xcoms = store.xcoms(stored.pk, XComFilter::default()).await.map_err(|e| e.to_string())?;
    for row in rows.iter().filter(|row| row.state == TaskState::Success) {
        let nothing = matches!(&*row.task_id, "open" | "close");
        let kept = xcoms.iter().filter(|x| x.task_id == *row.task_id && x.map_index == row.map_index);
        if kept.filter(|x| x.key == RETURN_VALUE).count() != 1 && !nothing {
            return Err(format!("{id}: the value of {} is not there", row.task_id));
        }
        let tries = store.tries(stored.pk, Some(&row.task_id)).await.map_err(|e| e.to_string())?;
        let own = tries.iter().filter(|t| t.map_index == row.map_index);
        let successes = own.clone().filter(|t| t.state == TaskState::Success).count();
        if successes == 0 || (successes > 1 && !kind.wishes.was_cleared(pk)) {
            return Err(format!("{id}: {} succeeded more than once", row.task_id));
        }
        let numbers: Vec<u32> = own.map(|t| t.try_number).collect();
        if numbers != (1..=row.try_number).collect::<Vec<_>>() {
            return Err(format!("{id}: the tries of {} are {numbers:?}", row.task_id));
        }
    }
    if kind.wishes.was_cleared(pk) {
        // It may have ended more than once, and been late for one of its ends.
        return Ok(());
    }
    what_is_told(store, dag, stored, kind.jumps).await.map_err(|why| format!("{id}: {why}"))
}

/// For each try that the record tells of, and for the run, exactly what its DAG says is owed; the deadline if it has passed.
async fn what_is_told(store: &dyn MetadataStore, dag: &Dag, stored: &StoredRun, jumps: bool) -> Result<(), String> {
    let mut want = Vec::new();
    for row in store.tries(stored.pk, None).await.map_err(|e| e.to_string())? {
        let kind = row.cause.as_ref().map(|cause| cause.kind);
        let occasion = match row.state {
            TaskState::Success => Occasion::Success,
            TaskState::Skipped if kind == Some(CauseKind::Skipped) => Occasion::Skipped,
            // It may have been due again, and scheduled, before the next one began.
            state if !state.is_finished() && kind.is_some_and(|kind| kind != CauseKind::Cancelled) => Occasion::Retry,
            _ => continue,
        };
        let to = dag.task(&row.task_id).and_then(|task| task.notify.get(&occasion));
        let name = format!("{}[{}] try {}", row.task_id, row.map_index, row.try_number);
        want.extend(to.into_iter().flatten().map(|to| format!("{occasion} of {name} to {to}")));
    }
    let run = &stored.run;
    let (start, end) = run.start_date.zip(run.end_date).ok_or("it has no dates")?;
    let late = dag.deadline.is_some_and(|deadline| deadline.of(run, start) <= end);
    for occasion in [Some(Occasion::Success), late.then_some(Occasion::Deadline)].into_iter().flatten() {
        let to = dag.notify.get(&occasion).into_iter().flatten();
        want.extend(to.map(|to| format!("{occasion} of [-1] try 0 to {to}")));
    }
    let filter = CallbackFilter { run: Some(stored.pk), ..CallbackFilter::default() };
    let mut owed = Vec::new();
    for row in store.callbacks(filter).await.map_err(|e| e.to_string())? {
        let of = row.callback;
        let to: Notifier = serde_json::from_str(&of.notifier).map_err(|e| e.to_string())?;
        owed.push(format!("{} of {}[{}] try {} to {to}", of.event, of.task_id, of.map_index, of.try_number));
    }
    if jumps {
        // Late by one clock is in time by another; twice it is told by none.
        let is_late = |line: &String| line.starts_with(Occasion::Deadline.name());
        let mut late: Vec<&String> = owed.iter().filter(|line| is_late(line)).collect();
        let all = late.len();
        late.sort();
        late.dedup();
        if late.len() < all {
            return Err(format!("it is told twice that it is late: {owed:#?}"));
        }
        want.retain(|line| !is_late(line));
        owed.retain(|line| !is_late(line));
    }
    want.sort();
    owed.sort();
    if want == owed { Ok(()) } else { Err(format!("{owed:#?} is told, and {want:#?} should be")) }
}

/// What the bodies say, beside what the store says.
fn accounts(ledger: &mut Ledger, now: &Seen, wishes: &Wishes) -> Result<(), String> {
    if let Some(problem) = ledger.problems.first() {
        return Err(problem.clone());
    }
    for ((pk, task, index), row) in &now.rows {
        let run = &now.runs[pk].run;
        let by_hand = wishes.was_marked(*pk, &(task.clone(), *index)) || wishes.has_marks(*pk);
        let index = if *index < 0 { String::new() } else { format!("[{index}]") };
        let name = format!("{}/{}/{task}{index}", run.dag_id, run.run_id);
        let returned = ledger.returned.get(&name).copied().unwrap_or(0);
        if row.state == TaskState::Success && returned == 0 && !by_hand {
            return Err(format!("{name} is a success, and never returned"));
        }
        let plain = !matches!(&**task, "in_steps" | "sleeper" | "waiter" | "looks" | "stands");
        let twice = ledger.begun.range((name.clone(), 0)..=(name.clone(), u32::MAX)).find(|(_, times)| **times > 1);
        if let Some(((_, number), times)) = twice.filter(|_| plain) {
            return Err(format!("try {number} of {name} was begun {times} times"));
        }
    }
    // A step that was done again was done by a later try, and never after its task had returned.
    let mut last: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (name, step, number) in &ledger.steps {
        if let Some(before) = last.insert((name, step), *number)
            && before == *number
        {
            return Err(format!("step {step} of {name} was done twice in try {number}"));
        }
    }
    Ok(())
}
