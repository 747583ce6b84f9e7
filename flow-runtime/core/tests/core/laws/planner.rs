//! The laws of [`flow_core::plan()`].

use super::history::History;
use super::worlds;
use chrono::{TimeDelta, Utc};
use flow_core::dag::{GroupDef, Input, Source, TaskDef, TaskKind};
use flow_core::trigger_rule::TriggerRule;
use flow_core::{
    Dag, Decision, Event, InstanceKey, Outcome, Plan, Report, RunState, RunStatus, TaskIx, TaskState, TryRef, decide,
    plan, plan_pass,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Batches of drawn events.
fn script() -> impl Strategy<Value = Vec<Vec<(u8, u16)>>> {
    vec(vec((0..100u8, any::<u16>()), 0..4), 1..40)
}

fn draw(history: &mut History, batch: &[(u8, u16)]) -> Vec<Event> {
    batch.iter().filter_map(|&(what, which)| history.draw(what, which)).collect()
}

fn nothing(planned: &Plan) -> bool {
    Plan { wake_at: None, ..planned.clone() } == Plan::default()
}

/// Has a person had a hand in this?
fn by_hand(events: &[Event]) -> bool {
    events.iter().any(|e| matches!(e, Event::Cleared(_) | Event::Marked(..) | Event::RunMarked(_) | Event::RunTimedOut))
}

/// Can the moves of the table lead from one state to another?
fn leads_to(from: TaskState, to: TaskState) -> bool {
    let mut reached = BTreeSet::from([from]);
    while !reached.contains(&to) {
        let next = TaskState::ALL.into_iter().filter(|next| reached.iter().any(|one| one.may_become(*next)));
        let before = reached.len();
        let next: Vec<TaskState> = next.collect();
        reached.extend(next);
        if reached.len() == before {
            return false;
        }
    }
    true
}

proptest! {
    #![proptest_config(super::cases(400))]

    #[test]
    fn a_restored_run_plans_the_same(dag in worlds::dag(), script in script()) {
        let mut history = History::new(dag);
        for batch in script {
            let events = draw(&mut history, &batch);
            let mut restored = history.restored();
            prop_assert_eq!(
                History::instances(&restored, &history.dag),
                History::instances(&history.run, &history.dag)
            );
            let expected = history.tell(&events);
            let found = plan(&history.dag, &mut restored, &events, history.now);
            prop_assert_eq!(found, expected);
            prop_assert_eq!(&restored, &history.run);
        }
    }

    #[test]
    fn a_final_state_stays_but_for_a_person(dag in worlds::dag(), script in script()) {
        let mut history = History::new(dag);
        for batch in script {
            let events = draw(&mut history, &batch);
            let planned = history.tell(&events);
            for t in planned.transitions {
                // A list that was made anew may remove, after a clear that came before.
                let stays = !t.from.is_finished() || t.from == t.to || t.to == TaskState::Removed || by_hand(&events);
                prop_assert!(stays, "{:?}", t);
            }
        }
    }

    /// The planner itself looks at each of its moves, where it is built to be tested; here at what is left of them.
    #[test]
    fn every_move_is_in_the_table(dag in worlds::dag(), script in script(), fail_fast in any::<bool>()) {
        let mut history = History::new(Dag { fail_fast, ..dag });
        for batch in script {
            let events = draw(&mut history, &batch);
            let planned = history.tell(&events);
            for t in planned.transitions.iter().filter(|t| t.to != TaskState::Removed && !by_hand(&events)) {
                prop_assert!(leads_to(t.from, t.to), "{:?}", t);
            }
        }
    }

    /// So no store refuses what the planner has decided.
    #[test]
    fn every_batch_may_be_one_commit(dag in worlds::dag(), script in script(), fail_fast in any::<bool>()) {
        let mut history = History::new(Dag { fail_fast, ..dag });
        for batch in script {
            let events = draw(&mut history, &batch);
            let before = history.run.status();
            let planned = history.tell(&events);
            if events.iter().any(Event::is_order) {
                continue;
            }
            for t in &planned.transitions {
                // Of tries that begin and end in one batch, the engine writes the beginning down first.
                let began = events.iter().any(|e| matches!(e, Event::Dispatched(key) if *key == t.key));
                prop_assert!(began || t.from.may_pass_to(t.to), "{:?}", t);
            }
            prop_assert!(before.may_pass_to(history.run.status()));
        }
    }

    #[test]
    fn a_task_starts_only_when_its_rule_holds(dag in worlds::dag(), script in script()) {
        let mut history = History::new(dag);
        for batch in script {
            let events = draw(&mut history, &batch);
            let ready = history.tell(&events).ready;
            // A person may undo in the same moment what made it ready.
            for key in ready.into_iter().filter(|_| !by_hand(&events)) {
                prop_assert_eq!(decide(&history.dag, &history.run, key), Decision::Run, "{:?}", key);
            }
        }
    }

    #[test]
    fn nothing_that_may_start_is_left_behind(dag in worlds::dag(), script in script()) {
        let mut history = History::new(dag);
        for batch in script {
            let events = draw(&mut history, &batch);
            history.tell(&events);
            if history.run.status() != RunStatus::Running {
                continue;
            }
            for (task, map_index, instance) in History::instances(&history.run, &history.dag) {
                let key = InstanceKey { task, map_index };
                if instance.state == TaskState::None {
                    let decision = decide(&history.dag, &history.run, key);
                    let placeholder = map_index < 0 && history.dag.tasks[task as usize].mapped;
                    let waits = decision == Decision::Wait || (placeholder && decision == Decision::Run);
                    prop_assert!(waits, "{:?} {:?}", key, decision);
                }
            }
        }
    }

    #[test]
    fn each_try_is_dispatched_once(dag in worlds::dag(), script in script()) {
        let mut history = History::new(dag);
        let mut tries: BTreeMap<InstanceKey, u32> = BTreeMap::new();
        for batch in script {
            let events = draw(&mut history, &batch);
            for event in events {
                let before = history.run.clone();
                history.tell(std::slice::from_ref(&event));
                let Event::Dispatched(key) = event else { continue };
                let Some(old) = before.instance(key).filter(|i| i.state == TaskState::Scheduled) else { continue };
                let resumes = old.due.is_some();
                let n = history.run.instance(key).expect("it was there").try_number;
                prop_assert_eq!(n, if resumes { old.try_number } else { old.try_number + 1 });
                let newer = tries.insert(key, n).is_none_or(|before| n > before || resumes);
                prop_assert!(newer, "try {} of {:?} came before", n, key);
            }
        }
    }

    #[test]
    fn what_is_stale_or_came_before_changes_nothing(dag in worlds::dag(), script in script()) {
        let mut history = History::new(dag);
        history.tell(&[]);
        let mut old: Vec<Event> = Vec::new();
        for batch in script {
            let events = draw(&mut history, &batch);
            for event in events {
                history.tell(std::slice::from_ref(&event));
                // An end that was taken once, and starts of tries that have ended.
                if matches!(event, Event::Started(_) | Event::Ended(..)) {
                    old.push(event);
                }
                if history.run.status() == RunStatus::Queued {
                    continue;
                }
                let held = |of: &TryRef| history.run.in_flight().contains(of);
                let stale: Vec<Event> = old
                    .iter()
                    .filter(|e| matches!(e, Event::Started(of) | Event::Ended(of, _) if !held(of)))
                    .cloned()
                    .collect();
                let mut again = history.run.clone();
                let planned = plan(&history.dag, &mut again, &stale, history.now);
                prop_assert!(nothing(&planned), "{:?}", planned);
                prop_assert_eq!(&again, &history.run);
            }
        }
    }

    #[test]
    fn events_of_one_batch_commute(dag in worlds::dag(), script in script()) {
        let mut history = History::new(dag);
        for batch in script {
            let events = draw(&mut history, &batch);
            let keys: BTreeSet<InstanceKey> = events.iter().filter_map(about).collect();
            if keys.len() == events.len() {
                let mut other = history.run.clone();
                let reversed: Vec<Event> = events.iter().rev().cloned().collect();
                let found = plan(&history.dag, &mut other, &reversed, history.now);
                let expected = history.tell(&events);
                prop_assert_eq!(found.transitions, expected.transitions);
                prop_assert_eq!(&other, &history.run);
            } else {
                history.tell(&events);
            }
        }
    }

    #[test]
    fn independent_events_commute(dag in worlds::dag(), script in script()) {
        let mut history = History::new(dag);
        for batch in script {
            let events = draw(&mut history, &batch);
            if let [a, b] = &events[..] && independent(&history.dag, a, b) {
                let mut other = history.clone();
                other.tell(std::slice::from_ref(b));
                other.tell(std::slice::from_ref(a));
                history.tell(std::slice::from_ref(a));
                history.tell(std::slice::from_ref(b));
                prop_assert_eq!(&other.run, &history.run);
            } else {
                history.tell(&events);
            }
        }
    }

    #[test]
    fn when_every_try_ends_the_run_ends(dag in worlds::dag(), script in script(), ends in any::<u64>()) {
        let mut history = History::new(dag);
        for batch in script {
            let events = draw(&mut history, &batch);
            history.tell(&events);
        }
        let mut steps = 0;
        while !history.run.status().is_finished() {
            steps += 1;
            prop_assert!(steps < 500, "{:?}", History::instances(&history.run, &history.dag));
            let mut events: Vec<Event> = history.run.scheduled().into_iter().map(Event::Dispatched).collect();
            for of in history.run.in_flight() {
                let outcome = match (ends >> (steps % 60)) & 3 {
                    0 => Outcome::Failed,
                    1 => Outcome::Lost,
                    _ => Outcome::Success(Report::default()),
                };
                events.push(Event::Ended(of, outcome));
            }
            // Whoever waits for an event alone waits until it comes.
            let all = History::instances(&history.run, &history.dag).into_iter();
            let waits = all.filter(|(.., i)| i.state == TaskState::Deferred && i.due.is_none());
            let waits: Vec<InstanceKey> = waits.map(|(task, map_index, _)| InstanceKey { task, map_index }).collect();
            if !waits.is_empty() {
                events.push(Event::Woken(waits));
            }
            let wake = history.tell(&events).wake_at;
            history.now = wake.map_or(history.now, |wake: chrono::DateTime<Utc>| wake.max(history.now));
            history.now += TimeDelta::seconds(1);
        }
        prop_assert!(history.run.in_flight().is_empty() && history.run.scheduled().is_empty());
    }

    #[test]
    fn passes_come_to_the_same_end_as_a_plan(dag in worlds::dag(), script in script()) {
        let mut history = History::new(dag);
        for batch in script {
            let events = draw(&mut history, &batch);
            let mut slow = history.run.clone();
            plan_pass(&history.dag, &mut slow, &events, history.now);
            // A finished run that was cleared starts with the next call, so there one pass is all.
            let limit = if slow.status() == RunStatus::Queued { 0 } else { 200 };
            for _ in 0..limit {
                plan_pass(&history.dag, &mut slow, &[], history.now);
            }
            history.tell(&events);
            prop_assert_eq!(&slow, &history.run);
        }
    }

    #[test]
    fn the_counts_are_true(dag in worlds::dag(), script in script()) {
        let mut history = History::new(dag);
        for batch in script {
            let events = draw(&mut history, &batch);
            history.tell(&events);
            let run: &RunState = &history.run;
            let mut totals = [0; 14];
            for t in 0..history.dag.tasks.len() as TaskIx {
                let mut own = [0; 14];
                run.instances(t).for_each(|(_, i)| own[i.state as usize] += 1);
                prop_assert_eq!(run.counts(t), own);
                (0..14).for_each(|s| totals[s] += own[s]);
            }
            prop_assert_eq!(run.totals(), totals);
            let due = run.next_due();
            let waiting = History::instances(run, &history.dag).into_iter().filter(|(.., i)| i.state.is_waiting());
            prop_assert_eq!(due, waiting.filter_map(|(.., i)| i.due).min());
        }
    }
}

/// The one instance that an event speaks of.
fn about(event: &Event) -> Option<InstanceKey> {
    match event {
        Event::Dispatched(key) => Some(*key),
        Event::Started(of) | Event::Ended(of, _) => Some(of.key),
        _ => None,
    }
}

/// Two events with no task in common below them.
fn independent(dag: &Dag, a: &Event, b: &Event) -> bool {
    let (Some(a), Some(b)) = (about(a), about(b)) else {
        return false;
    };
    below(dag, a.task).is_disjoint(&below(dag, b.task))
}

fn below(dag: &Dag, task: TaskIx) -> BTreeSet<TaskIx> {
    let mut all = BTreeSet::from([task]);
    for (t, def) in dag.tasks.iter().enumerate() {
        // Edges go from earlier tasks to later ones; the tasks of a group share their lists.
        if def.upstream.iter().any(|u| all.contains(u)) || def.group.is_some() {
            all.insert(t as TaskIx);
        }
    }
    all
}

/// What the law above has found once: of an element whose setup has failed, the last that was waited for ended in the same moment,
/// while another setup was still to run.
#[test]
fn an_element_is_cut_off_although_a_setup_is_still_to_run() {
    let empty = |len: usize| Some(Source::Literal(serde_json::Value::Array(vec![serde_json::json!(0); len])));
    let (setup, normal) = (TaskKind::Setup, TaskKind::Normal);
    type Row<'r> = (TaskKind, TriggerRule, &'r [u32], Option<Source>, bool);
    let tasks: [Row<'_>; 4] = [
        (setup, TriggerRule::AllSuccess, &[], None, true),
        (setup, TriggerRule::AllFailed, &[0], empty(1), false),
        (normal, TriggerRule::AllSuccess, &[1], empty(0), false),
        (setup, TriggerRule::AllDoneMinOneSuccess, &[0, 2], Some(Source::Output(0)), true),
    ];
    let mut dag = Dag::new("world");
    dag.groups.push(GroupDef { group_id: "g".into(), mapped: true, ..GroupDef::default() });
    for (t, (kind, rule, upstream, list, in_group)) in tasks.into_iter().enumerate() {
        let mut task = TaskDef::new(format!("t{t}"), "body");
        (task.kind, task.trigger_rule, task.upstream) = (kind, rule, upstream.to_vec());
        (task.mapped, task.group, task.retry.retries) = (true, in_group.then_some(0), 0);
        let each = |list| Input { name: "x".into(), type_name: "X".into(), source: Source::Each(Box::new(list)) };
        task.inputs.extend(list.map(each));
        dag.tasks.push(task);
    }
    let mut history = History::new(dag);
    history.tell(&[]);
    let first = InstanceKey { task: 0, map_index: 0 };
    history.tell(&[Event::Dispatched(first)]);
    history.tell(&[Event::Ended(TryRef { key: first, try_number: 1 }, Outcome::Failed)]);
    let state = |task| history.run.instance(InstanceKey { task, map_index: 0 }).map(|i| i.state);
    assert_eq!([state(1), state(3)], [Some(TaskState::Scheduled), Some(TaskState::UpstreamFailed)]);
}
