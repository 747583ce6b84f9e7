//! Across runs: who goes next within pools, caps and priorities?
//!
//! [`admit`] says what is right, over a sorted list. A [`Board`] says the same without looking at all that waits: it is
//! what a shell keeps, and a law holds the two together.

mod board;
mod share;
mod starts;

pub use board::{Board, Picked};
pub use share::Share;

use crate::dag::{AtOnce, Dag, Rate, TaskIx};
use crate::event::InstanceKey;
use crate::parse;
use crate::waiting::Waiting;
use chrono::{DateTime, Utc};
use starts::Starts;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A scheduled instance that wants to go. Candidates are ordered: the first goes first.
///
/// `R` names the run (its number, say); it breaks ties between runs of the same instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<R> {
    /// The run.
    pub run: R,
    /// The instance in it.
    pub key: InstanceKey,
    /// What it takes; the same for many.
    pub needs: Arc<Needs>,
    /// Its total weight, by [`priority::weights`](crate::priority::weights).
    pub weight: i64,
    /// Its run was made by a backfill: all of live runs goes first, however light.
    pub backfill: bool,
    /// The run's place in time.
    pub run_after: DateTime<Utc>,
}

/// By what candidates are ordered.
type Rank<'a, R> = (bool, Reverse<i64>, DateTime<Utc>, &'a R, InstanceKey);

impl<R: Ord> Candidate<R> {
    /// Live runs first, then the heavier, then older runs, then tasks in the order of the DAG and instances in that of the list.
    fn rank(&self) -> Rank<'_, R> {
        (self.backfill, Reverse(self.weight), self.run_after, &self.run, self.key)
    }
}

impl<R: Ord> Ord for Candidate<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl<R: Ord> PartialOrd for Candidate<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What an instance takes while it is in flight, and the limits that its DAG sets. Instances of one run with equal needs
/// wait for the same things, so that where the first of them may not go none may.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Needs {
    /// The DAG.
    pub dag_id: String,
    /// The pool that holds its slots.
    pub pool: String,
    /// How many slots of the pool it takes.
    pub pool_slots: u32,
    /// Most instances of its run at one time.
    pub max_active_tasks: u32,
    /// Limits of its task, if it has any.
    pub task: Option<TaskNeeds>,
    /// Most at one time with its key.
    pub at_once: Option<AtOnce>,
    /// Most starts in a span of time with its key.
    pub rate: Option<Rate>,
}

/// The limits of one task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskNeeds {
    /// The task.
    pub task_id: String,
    /// Most instances of it at one time, of all runs of the DAG.
    pub max_active: Option<u32>,
    /// Most instances of it at one time in one run.
    pub max_active_per_run: Option<u32>,
}

impl Needs {
    /// What an instance of this task needs; `None` if there is no such task. Keys are as they are written:
    /// [`Needs::keyed`] fills them in.
    pub fn of(dag: &Dag, task: TaskIx) -> Option<Needs> {
        let def = dag.tasks.get(task as usize)?;
        let limits = TaskNeeds {
            task_id: def.task_id.clone(),
            max_active: def.max_active,
            max_active_per_run: def.max_active_per_run,
        };
        Some(Needs {
            dag_id: dag.dag_id.clone(),
            pool: def.pool.clone(),
            pool_slots: def.pool_slots,
            max_active_tasks: dag.max_active_tasks,
            task: Some(limits).filter(|l| l.max_active.is_some() || l.max_active_per_run.is_some()),
            at_once: def.at_once.clone(),
            rate: def.rate.clone(),
        })
    }

    /// The same, with keys that `fill` makes of what is written.
    pub fn keyed(mut self, mut fill: impl FnMut(&str) -> String) -> Needs {
        let keys = [self.at_once.as_mut().map(|of| &mut of.key), self.rate.as_mut().map(|of| &mut of.key)];
        keys.into_iter().flatten().for_each(|key| *key = fill(key));
        self
    }
}

/// Keys whose starts are kept although they may be of no account any more.
const KEYS: usize = 1000;

/// How much may be in flight at one time, whatever the DAGs say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Task instances in all.
    pub parallelism: u32,
    /// Slots of each pool.
    pub pools: BTreeMap<String, u32>,
}

/// How much is in flight. A task is counted only where it has a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight<R> {
    total: u32,
    pools: BTreeMap<String, u32>,
    runs: BTreeMap<R, u32>,
    /// By DAG and task.
    tasks: BTreeMap<(String, String), u32>,
    /// By run and task.
    tasks_of_run: BTreeMap<(R, String), u32>,
    /// By key.
    at_once: BTreeMap<String, u32>,
    /// By key.
    starts: BTreeMap<String, Starts>,
    /// The latest of all starts.
    latest: Option<DateTime<Utc>>,
    /// Limits of which others have what is left, by name: since when that is known, and when it is to be asked again.
    closed: BTreeMap<String, (DateTime<Utc>, DateTime<Utc>)>,
}

impl<R> Default for InFlight<R> {
    fn default() -> Self {
        InFlight {
            total: 0,
            pools: BTreeMap::new(),
            runs: BTreeMap::new(),
            tasks: BTreeMap::new(),
            tasks_of_run: BTreeMap::new(),
            at_once: BTreeMap::new(),
            starts: BTreeMap::new(),
            latest: None,
            closed: BTreeMap::new(),
        }
    }
}

impl<R: Ord + Clone> InFlight<R> {
    /// Counts one more instance, which is about to start.
    pub fn add(&mut self, run: &R, needs: &Needs) {
        self.count(run, needs, u32::saturating_add);
        if let Some(rate) = &needs.rate {
            self.starts.entry(rate.key.clone()).or_default().promise(rate);
        }
    }

    /// An instance that was counted has started.
    pub fn started(&mut self, needs: &Needs, now: DateTime<Utc>) {
        let Some(rate) = &needs.rate else { return };
        self.starts.entry(rate.key.clone()).or_default().keep(now);
        self.latest = self.latest.max(Some(now));
        if self.starts.len() > KEYS {
            self.starts.retain(|_, starts| starts.matter(now));
        }
    }

    /// Counts one instance less that has not started, and will not.
    pub fn give_back(&mut self, run: &R, needs: &Needs) {
        self.remove(run, needs);
        if let Some(starts) = needs.rate.as_ref().and_then(|rate| self.starts.get_mut(&rate.key)) {
            starts.break_promise();
        }
    }

    /// Counts one instance less, which had started.
    pub fn remove(&mut self, run: &R, needs: &Needs) {
        self.count(run, needs, u32::saturating_sub);
        // What is over is forgotten, or years of runs would be kept.
        if self.runs.get(run) == Some(&0) {
            self.runs.remove(run);
        }
        if needs.task.is_some() {
            self.tasks.retain(|_, n| *n > 0);
            self.tasks_of_run.retain(|_, n| *n > 0);
        }
        if let Some(at_once) = &needs.at_once
            && self.at_once.get(&at_once.key) == Some(&0)
        {
            self.at_once.remove(&at_once.key);
        }
        if !self.closed.is_empty() {
            // What was ours may be had by us; but a start is none that comes back.
            let started = needs.share_of_rate().map(|share| share.name);
            for name in needs.names().filter(|name| Some(name) != started.as_ref()) {
                self.closed.remove(&name);
            }
        }
    }

    /// Other processes have what is left of a shared limit, by its [name](Share::name): nobody takes of it before that
    /// instant, unless something of it is given back here.
    pub fn close(&mut self, name: &str, until: DateTime<Utc>, now: DateTime<Utc>) {
        self.closed.retain(|_, (_, until)| *until > now);
        self.closed.insert(name.to_owned(), (now, until));
    }

    /// A clock that was set back keeps nobody waiting until it is there again: what was started after this instant counts as if it were
    /// now.
    fn no_later_than(&mut self, now: DateTime<Utc>) {
        if self.latest.is_some_and(|latest| latest > now) {
            self.starts.values_mut().for_each(|starts| starts.no_later_than(now));
            self.latest = Some(now);
        }
    }

    fn count(&mut self, run: &R, needs: &Needs, change: fn(u32, u32) -> u32) {
        self.total = change(self.total, 1);
        match self.pools.get_mut(&needs.pool) {
            Some(n) => *n = change(*n, needs.pool_slots),
            None => drop(self.pools.insert(needs.pool.clone(), change(0, needs.pool_slots))),
        }
        match self.runs.get_mut(run) {
            Some(n) => *n = change(*n, 1),
            None => drop(self.runs.insert(run.clone(), change(0, 1))),
        }
        if let Some(task) = &needs.task {
            let of_dag = self.tasks.entry((needs.dag_id.clone(), task.task_id.clone())).or_default();
            *of_dag = change(*of_dag, 1);
            let of_run = self.tasks_of_run.entry((run.clone(), task.task_id.clone())).or_default();
            *of_run = change(*of_run, 1);
        }
        if let Some(at_once) = &needs.at_once {
            let of_key = self.at_once.entry(at_once.key.clone()).or_default();
            *of_key = change(*of_key, 1);
        }
    }

    /// Task instances in all.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Slots of a pool that are taken.
    pub fn pool(&self, pool: &str) -> u32 {
        self.pools.get(pool).copied().unwrap_or(0)
    }

    /// Task instances of a run.
    pub fn run(&self, run: &R) -> u32 {
        self.runs.get(run).copied().unwrap_or(0)
    }
}

impl Limits {
    /// The limit that holds back an instance of this run with these needs; `None` if it may go.
    ///
    /// Its rate comes last: where that alone holds it back, it goes when it is due.
    pub fn refuses<R: Ord + Clone>(
        &self,
        run: &R,
        needs: &Needs,
        in_flight: &InFlight<R>,
        now: DateTime<Utc>,
    ) -> Option<Waiting> {
        if in_flight.total >= self.parallelism {
            return Some(Waiting::Parallelism { limit: self.parallelism, holders: Vec::new() });
        }
        let Some(&slots) = self.pools.get(&needs.pool) else {
            return Some(Waiting::NoPool { pool: needs.pool.clone() });
        };
        let open = slots.saturating_sub(in_flight.pool(&needs.pool));
        if needs.pool_slots > open {
            let (pool, needs) = (needs.pool.clone(), needs.pool_slots);
            return Some(Waiting::Pool { pool, slots, open, needs, holders: Vec::new() });
        }
        let limit = needs.max_active_tasks;
        if in_flight.run(run) >= limit {
            return Some(Waiting::ActiveTasks { dag_id: needs.dag_id.clone(), limit });
        }
        in_flight
            .refused_by_task(run, needs)
            .or_else(|| in_flight.refused_by_key(needs, now))
            .or_else(|| in_flight.closed(needs, now))
    }
}

impl<R: Ord + Clone> InFlight<R> {
    fn closed(&self, needs: &Needs, now: DateTime<Utc>) -> Option<Waiting> {
        if self.closed.is_empty() {
            return None;
        }
        let closed = needs.names().filter_map(|name| Some((*self.closed.get(&name)?, name)));
        // What was heard later than now was heard before the clock was set back.
        let closed = closed.filter(|((since, until), _)| *since <= now && *until > now);
        let (due, limit) = closed.map(|((_, until), name)| (until, name)).max()?;
        Some(Waiting::Elsewhere { limit, due })
    }

    fn refused_by_task(&self, run: &R, needs: &Needs) -> Option<Waiting> {
        let task = needs.task.as_ref()?;
        let count = |found: Option<&u32>| found.copied().unwrap_or(0);
        let of_run = count(self.tasks_of_run.get(&(run.clone(), task.task_id.clone())));
        if let Some(limit) = task.max_active_per_run.filter(|&limit| of_run >= limit) {
            return Some(Waiting::MaxActivePerRun { limit });
        }
        let of_dag = count(self.tasks.get(&(needs.dag_id.clone(), task.task_id.clone())));
        let limit = task.max_active.filter(|&limit| of_dag >= limit)?;
        Some(Waiting::MaxActive { limit, holders: Vec::new() })
    }

    fn refused_by_key(&self, needs: &Needs, now: DateTime<Utc>) -> Option<Waiting> {
        if let Some(AtOnce { most, key }) = &needs.at_once
            && self.at_once.get(key).is_some_and(|n| n >= most)
        {
            return Some(Waiting::AtOnce { key: key.clone(), limit: *most, holders: Vec::new() });
        }
        let rate = needs.rate.as_ref()?;
        let due = self.starts.get(&rate.key)?.due(rate, now)?;
        let (key, span) = (rate.key.clone(), parse::human(rate.span));
        Some(Waiting::Rate { key, limit: rate.starts, span, due: Some(due) })
    }
}

/// Picks the candidates that go now, counts them into `in_flight`, and returns them in order.
///
/// `candidates` come in their order; the walk ends where parallelism does. What does not fit is passed over, and what is
/// behind it may still go.
pub fn admit<'a, R: Ord + Clone + 'a>(
    candidates: impl IntoIterator<Item = &'a Candidate<R>>,
    limits: &Limits,
    in_flight: &mut InFlight<R>,
    now: DateTime<Utc>,
) -> Vec<Candidate<R>> {
    in_flight.no_later_than(now);
    let mut picked = Vec::new();
    for candidate in candidates {
        if in_flight.total >= limits.parallelism {
            break;
        }
        if limits.refuses(&candidate.run, &candidate.needs, in_flight, now).is_none() {
            in_flight.add(&candidate.run, &candidate.needs);
            picked.push(candidate.clone());
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn candidate(run: u32, task: u32, weight: i64) -> Candidate<u32> {
        let needs = Needs {
            dag_id: format!("dag{run}"),
            pool: "p".into(),
            pool_slots: 1,
            max_active_tasks: 16,
            task: None,
            at_once: None,
            rate: None,
        };
        let key = InstanceKey { task, map_index: -1 };
        Candidate { run, key, needs: needs.into(), weight, backfill: false, run_after: DateTime::UNIX_EPOCH }
    }

    fn edited(mut candidate: Candidate<u32>, change: impl FnOnce(&mut Needs)) -> Candidate<u32> {
        change(Arc::make_mut(&mut candidate.needs));
        candidate
    }

    fn limits(parallelism: u32, pool: u32) -> Limits {
        Limits { parallelism, pools: [("p".to_string(), pool)].into() }
    }

    fn picked(all: &BTreeSet<Candidate<u32>>, limits: &Limits) -> Vec<(u32, u32)> {
        admit(all, limits, &mut InFlight::default(), NOW).into_iter().map(|c| (c.run, c.key.task)).collect()
    }

    #[test]
    fn live_runs_go_first_then_the_heavier_then_the_older_run_then_the_earlier_task() {
        let mut young = candidate(1, 0, 5);
        young.run_after += chrono::TimeDelta::days(1);
        let backfilled = |task, weight| Candidate { backfill: true, ..candidate(0, task, weight) };
        let live = [young, candidate(2, 1, 5), candidate(2, 0, 5), candidate(3, 9, 7)];
        let all: BTreeSet<_> = live.into_iter().chain([backfilled(0, 5), backfilled(1, 99)]).collect();
        assert_eq!(picked(&all, &limits(9, 9)), [(3, 9), (2, 0), (2, 1), (1, 0), (0, 1), (0, 0)]);
        assert_eq!(picked(&all, &limits(2, 9)), [(3, 9), (2, 0)]);
        assert_eq!(picked(&all, &limits(9, 1)), [(3, 9)]);
    }

    #[test]
    fn what_is_heavy_in_a_backfill_waits_behind_what_is_light_in_a_live_run() {
        let heavy =
            Candidate { backfill: true, run_after: NOW - chrono::TimeDelta::days(9), ..candidate(0, 0, i64::MAX) };
        let light = candidate(1, 0, i64::MIN);
        let mut board = Board::new(limits(1, 9));
        board.push(heavy.clone());
        board.push(light.clone());
        assert_eq!(board.pick(NOW).gone, std::slice::from_ref(&light));
        board.release(&1, &light.needs);
        board.push(light.clone());
        assert_eq!(board.pick(NOW).gone, std::slice::from_ref(&light), "and behind what follows that");
        board.release(&1, &light.needs);
        assert_eq!(board.pick(NOW).gone, [heavy]);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting_until_it_is_there_again() {
        let hour = chrono::TimeDelta::hours(1);
        let limits = limits(9, 9);
        let rated = edited(candidate(1, 0, 1), |needs| {
            needs.rate = Some(Rate { starts: 1, span: std::time::Duration::from_secs(3600), key: "k".into() });
        });
        let (wrong, mut board) = (NOW + chrono::TimeDelta::days(10), Board::new(limits));
        board.push(rated.clone());
        assert_eq!(board.pick(wrong).gone.len(), 1);
        board.started(&rated.needs, wrong);
        board.release(&1, &rated.needs);
        board.close("task dag2.t", wrong + hour, wrong);
        let closed = edited(candidate(2, 0, 1), |needs| {
            needs.task = Some(TaskNeeds { task_id: "t".into(), max_active: Some(1), max_active_per_run: None });
        });
        board.push(rated);
        board.push(closed);
        let picked = board.pick(NOW);
        assert_eq!(picked.gone.iter().map(|one| one.run).collect::<Vec<_>>(), [2], "it asks again");
        assert_eq!(picked.due, [(1, NOW + hour)].into());
        assert_eq!(board.pick(NOW + hour).gone.len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_passed_over_and_told_why() {
        let wide = edited(candidate(1, 0, 9), |needs| needs.pool_slots = 3);
        let lost = edited(candidate(1, 1, 8), |needs| needs.pool = "gone".into());
        let capped = |task| edited(candidate(1, task, 1), |needs| needs.max_active_tasks = 1);
        let all = BTreeSet::from([wide.clone(), lost.clone(), capped(2), capped(3), candidate(2, 0, 0)]);
        let limits = limits(9, 2);
        let mut in_flight = InFlight::default();
        let went: Vec<_> = admit(&all, &limits, &mut in_flight, NOW).into_iter().map(|c| (c.run, c.key.task)).collect();
        assert_eq!(went, [(1, 2), (2, 0)]);
        let why = |c: &Candidate<u32>, in_flight: &InFlight<u32>| {
            let reason = limits.refuses(&c.run, &c.needs, in_flight, NOW);
            reason.expect("it did not go").to_string()
        };
        assert_eq!(why(&wide, &in_flight), "needs 3 slots of the pool p, which has 2 in all");
        assert_eq!(why(&lost, &in_flight), "its pool gone does not exist");
        assert_eq!(why(&capped(3), &in_flight), "needs 1 of the 2 slots of the pool p, 0 of them free");
        in_flight.remove(&2, &candidate(2, 0, 0).needs);
        assert_eq!(
            why(&capped(3), &in_flight),
            "its run has as many tasks in flight as it may (max_active_tasks of dag1 is 1)"
        );
        assert_eq!((in_flight.total(), in_flight.pool("p"), in_flight.run(&1), in_flight.run(&2)), (1, 1, 1, 0));
    }

    #[test]
    fn a_task_has_limits_of_its_own_in_a_run_and_in_all_runs_of_its_dag() {
        let limited = |run, map_index| {
            let mut one = edited(candidate(run, 0, 1), |needs| {
                needs.dag_id = "d".into();
                let (max_active, max_active_per_run) = (Some(3), Some(2));
                needs.task = Some(TaskNeeds { task_id: "t".into(), max_active, max_active_per_run });
            });
            one.key.map_index = map_index;
            one
        };
        let all: BTreeSet<_> = (1..=2).flat_map(|run| (0..3).map(move |index| limited(run, index))).collect();
        let mut in_flight = InFlight::default();
        let limits = limits(99, 99);
        let went: Vec<_> = admit(&all, &limits, &mut in_flight, NOW).iter().map(|c| (c.run, c.key.map_index)).collect();
        assert_eq!(went, [(1, 0), (1, 1), (2, 0)]);
        let why = |run| limits.refuses(&run, &limited(run, 2).needs, &in_flight, NOW).map(|why| why.to_string());
        assert_eq!(why(1).unwrap(), "its run has as many of it in flight as it may (max_active_per_run is 2)");
        assert_eq!(why(2).unwrap(), "as many of it are in flight in all runs as may be (max_active is 3)");
    }

    #[test]
    fn what_others_have_is_asked_for_again_and_what_is_given_back_here_at_once() {
        let (limits, later) = (limits(9, 3), NOW + chrono::TimeDelta::seconds(1));
        let all = BTreeSet::from([candidate(1, 0, 1), edited(candidate(1, 1, 0), |needs| needs.pool = "q".into())]);
        let limits = Limits { pools: [("p".to_string(), 3), ("q".to_string(), 1)].into(), ..limits };
        let mut in_flight = InFlight::default();
        let one = candidate(2, 0, 0);
        in_flight.add(&one.run, &one.needs);
        in_flight.close("pool p", later, NOW);
        let went: Vec<_> = admit(&all, &limits, &mut in_flight, NOW).into_iter().map(|c| c.key.task).collect();
        assert_eq!(went, [1], "another pool is another matter");
        let why = limits.refuses(&1, &candidate(1, 0, 1).needs, &in_flight, NOW);
        assert_eq!(why, Some(Waiting::Elsewhere { limit: "pool p".into(), due: later }));
        assert_eq!(limits.refuses(&1, &candidate(1, 0, 1).needs, &in_flight, later), None);
        in_flight.remove(&one.run, &one.needs);
        assert_eq!(limits.refuses(&1, &candidate(1, 0, 1).needs, &in_flight, NOW), None);
    }
}
