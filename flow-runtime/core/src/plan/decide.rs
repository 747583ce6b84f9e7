//! What the rules say about one undecided instance: verdicts first, then setups, then its trigger rule.

use crate::dag::{Dag, TaskIx};
use crate::event::{InstanceKey, UNMAPPED};
use crate::run::RunState;
use crate::state::TaskState;
use crate::trigger_rule::{Decision, TriggerRule, UpstreamCounts, evaluate, setup_constraint};

/// What is decided about one instance, as its upstream stands now.
pub(crate) fn decide(dag: &Dag, run: &RunState, key: InstanceKey) -> Decision {
    let (Some(def), Some(track)) = (
        dag.tasks.get(key.task as usize),
        run.tasks.get(key.task as usize),
    ) else {
        return Decision::Wait;
    };
    let node = &run.graph.nodes[key.task as usize];
    if declined(run, key) {
        return Decision::Cut(TaskState::Skipped);
    }
    let mut setups = track.setups();
    beside(run, &node.setups_beside, key.map_index, &mut setups);
    let mut upstream = track.upstream();
    beside(run, &node.up_beside, key.map_index, &mut upstream);
    rules(
        def.trigger_rule,
        node.teardown,
        &setups,
        &upstream,
        key.map_index,
    )
}

/// What is decided about all undecided instances of a task at once; `None` if they must be asked one by one.
pub(crate) fn decide_task(dag: &Dag, run: &RunState, task: TaskIx) -> Option<Decision> {
    let (def, track) = (dag.tasks.get(task as usize)?, run.tasks.get(task as usize)?);
    let node = &run.graph.nodes[task as usize];
    let (mut setups, mut upstream) = (track.setups(), track.upstream());
    let all_alike = upstream.removed == 0 && setups.removed == 0;
    if node.up_beside.is_empty() && node.setups_beside.is_empty() {
        return (all_alike || !track.expanded).then(|| {
            decide(
                dag,
                run,
                InstanceKey {
                    task,
                    map_index: UNMAPPED,
                },
            )
        });
    }
    if !all_alike
        || node
            .judges
            .iter()
            .any(|&judge| run.tasks[judge as usize].declines.contains_key(&task))
    {
        return None;
    }
    // What is beside it counts as unfinished here. A cut that this finds holds for each instance; and as long as
    // something that is counted is unfinished, waiting holds too: what is beside it stirs its own instance.
    let open = upstream.done() < upstream.total || setups.done() < setups.total;
    upstream.add_many(TaskState::None, node.up_beside.len() as u32, false);
    setups.add_many(TaskState::None, node.setups_beside.len() as u32, true);
    match rules(def.trigger_rule, node.teardown, &setups, &upstream, 0) {
        Decision::Wait if open => Some(Decision::Wait),
        _ => None,
    }
}

fn rules(
    rule: TriggerRule,
    teardown: bool,
    setups: &UpstreamCounts,
    upstream: &UpstreamCounts,
    map_index: i32,
) -> Decision {
    if upstream.total == 0 || rule == TriggerRule::Always {
        return Decision::Run;
    }
    // A teardown asks its setups by its own rule.
    let constraint = if teardown {
        Decision::Run
    } else {
        setup_constraint(setups, map_index)
    };
    match (constraint, evaluate(rule, upstream, map_index)) {
        (Decision::Cut(state), _) => Decision::Cut(state),
        (_, Decision::Cut(state)) => Decision::Cut(state),
        (Decision::Run, decision) => decision,
        (Decision::Wait, _) => Decision::Wait,
    }
}

/// Counts the one instance that each task beside it has at the same index: its placeholder as long as that is all
/// there is, and something unfinished where there is nothing yet.
fn beside(run: &RunState, tasks: &[TaskIx], map_index: i32, counts: &mut UpstreamCounts) {
    for &task in tasks {
        let map_index = if run.tasks[task as usize].expanded {
            map_index
        } else {
            UNMAPPED
        };
        let state = run
            .instance(InstanceKey { task, map_index })
            .map_or(TaskState::None, |i| i.state);
        counts.add(state, run.graph.nodes[task as usize].setup);
    }
}

/// Did an upstream value that the task is conditional on come out otherwise?
fn declined(run: &RunState, key: InstanceKey) -> bool {
    let node = &run.graph.nodes[key.task as usize];
    node.judges.iter().any(|&judge| {
        let track = &run.tasks[judge as usize];
        if track.expanded && node.up_beside.contains(&judge) {
            track
                .reports
                .get(&key.map_index)
                .is_some_and(|r| r.declined.contains(&key.task))
        } else {
            track.declines.contains_key(&key.task)
        }
    })
}
