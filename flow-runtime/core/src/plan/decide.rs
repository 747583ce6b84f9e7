//! What the rules say about one undecided instance: verdicts first, then setups, then its trigger rule.

use crate::dag::{Dag, TaskIx};
use crate::event::{InstanceKey, UNMAPPED};
use crate::run::RunState;
use crate::state::TaskState;
use crate::trigger_rule::{Decision, TriggerRule, UpstreamCounts, evaluate, setup_constraint};

/// What the rules say about one instance as its upstream stands now, if nothing was decided about it yet.
///
/// For [`plan()`](crate::plan()) this is one step of many; it is here for those who explain.
pub fn decide(dag: &Dag, run: &RunState, key: InstanceKey) -> Decision {
    let Some(mut facts) = Facts::counted(dag, run, key.task) else {
        return Decision::Wait;
    };
    if declined(run, key) {
        return Decision::Cut(TaskState::Skipped);
    }
    let node = &run.graph.nodes[key.task as usize];
    beside(run, &node.up_beside, key.map_index, &mut facts.upstream);
    beside(run, &node.setups_beside, key.map_index, &mut facts.setups);
    let mut work = UpstreamCounts::default();
    beside(run, &node.work_beside, key.map_index, &mut work);
    facts.open_work |= work.done() < work.total;
    facts.decide(key.map_index)
}

/// What is decided about all undecided instances of a task at once; `None` if they must be asked one by one.
pub(super) fn decide_task(dag: &Dag, run: &RunState, task: TaskIx) -> Option<Decision> {
    let mut facts = Facts::counted(dag, run, task)?;
    let node = &run.graph.nodes[task as usize];
    let all_alike = facts.upstream.removed == 0 && facts.setups.removed == 0;
    if !node.has_beside() {
        return all_alike.then(|| decide(dag, run, InstanceKey { task, map_index: 0 }));
    }
    if !all_alike || node.judges.iter().any(|&judge| run.tasks[judge as usize].declines.contains_key(&task)) {
        return None;
    }
    // What is beside it counts as unfinished here. As long as something that is counted is unfinished too, and none may
    // run before it, waiting holds for each instance: what is beside one stirs that one when it finishes. A rule that
    // waits for one alone may have had it beside, and be held by a setup. And once all that is counted above has finished,
    // the rule may cut off one whose upstream beside it has too, whatever setups and work are open still.
    let no_setups = facts.setups.total == 0 && node.setups_beside.is_empty();
    let upstream_open = facts.upstream.done() < facts.upstream.total;
    let rule_is_open = upstream_open || node.up_beside.is_empty();
    let held = facts.open_work || facts.setups.done() < facts.setups.total;
    let open = (held && rule_is_open) || (upstream_open && (no_setups || !facts.rule.may_start_early()));
    facts.upstream.add_many(TaskState::None, node.up_beside.len() as u32, false);
    facts.setups.add_many(TaskState::None, node.setups_beside.len() as u32, true);
    match facts.decide(0) {
        Decision::Wait if open => Some(Decision::Wait),
        _ => None,
    }
}

/// What the rules of a task look at.
struct Facts {
    rule: TriggerRule,
    teardown: bool,
    upstream: UpstreamCounts,
    setups: UpstreamCounts,
    /// A teardown is held by work that is not right above it.
    open_work: bool,
}

impl Facts {
    /// Without what is beside the task.
    fn counted(dag: &Dag, run: &RunState, task: TaskIx) -> Option<Facts> {
        let (def, track) = (dag.tasks.get(task as usize)?, run.tasks.get(task as usize)?);
        Some(Facts {
            rule: def.trigger_rule,
            teardown: run.graph.nodes[task as usize].teardown,
            upstream: track.upstream(),
            setups: track.setups(),
            open_work: track.work.unfinished() > 0,
        })
    }

    fn decide(&self, map_index: i32) -> Decision {
        if self.upstream.total == 0 || self.rule == TriggerRule::Always {
            return Decision::Run;
        }
        let decision = evaluate(self.rule, &self.upstream, map_index);
        if self.teardown {
            // It asks its setups by its rule, and then lets finish all that needs them.
            let held = self.rule == TriggerRule::AllDoneSetupSuccess && self.open_work;
            return if held && decision == Decision::Run { Decision::Wait } else { decision };
        }
        match (setup_constraint(&self.setups, map_index), decision) {
            (Decision::Cut(state), _) | (_, Decision::Cut(state)) => Decision::Cut(state),
            (Decision::Run, decision) => decision,
            (Decision::Wait, _) => Decision::Wait,
        }
    }
}

/// Counts the one instance that each task beside it has at the same index: its placeholder as long as that is all
/// there is, and something unfinished where there is nothing yet.
fn beside(run: &RunState, tasks: &[TaskIx], map_index: i32, counts: &mut UpstreamCounts) {
    for &task in tasks {
        let map_index = if run.tasks[task as usize].expanded { map_index } else { UNMAPPED };
        let state = run.instance(InstanceKey { task, map_index }).map_or(TaskState::None, |i| i.state);
        counts.add(state, run.graph.nodes[task as usize].setup);
    }
}

/// Is this a teardown that has something to take away: has a setup right above it succeeded?
pub(super) fn has_to_take_away(dag: &Dag, run: &RunState, key: InstanceKey) -> bool {
    let Some(node) = run.graph.node(key.task).filter(|node| node.teardown) else { return false };
    let Some(mut facts) = Facts::counted(dag, run, key.task) else { return false };
    beside(run, &node.up_beside, key.map_index, &mut facts.upstream);
    facts.upstream.setups_success > 0
}

/// Did an upstream value that the task is conditional on come out otherwise?
fn declined(run: &RunState, key: InstanceKey) -> bool {
    run.graph.nodes[key.task as usize].judges.iter().any(|&judge| run.declined(judge, key))
}

impl RunState {
    /// Did the value of this task come out otherwise than the instance wants it?
    pub(crate) fn declined(&self, judge: TaskIx, key: InstanceKey) -> bool {
        let (Some(track), Some(node)) = (self.tasks.get(judge as usize), self.graph.node(key.task)) else {
            return false;
        };
        if track.expanded && node.up_beside.contains(&judge) {
            track.reports.get(&key.map_index).is_some_and(|r| r.declined.contains(&key.task))
        } else {
            track.declines.contains_key(&key.task)
        }
    }
}
