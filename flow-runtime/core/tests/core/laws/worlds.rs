//! Any DAG: all rules, setups and teardowns, mapped tasks and groups, conditions, retries.

use flow_core::dag::{Condition, GroupDef, Input, RetryPolicy, Source, TaskKind};
use flow_core::{Dag, TaskDef, TriggerRule};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

/// What is drawn for one task; indices are taken modulo what is there.
#[derive(Debug, Clone)]
struct Draft {
    upstream: u8,
    rule: usize,
    retries: u32,
    kind: u8,
    mapping: u8,
    condition: bool,
}

fn draft() -> impl Strategy<Value = Draft> {
    // Half of the tasks have the default rule, as in life; else cuts would leave little to run.
    let rule = prop_oneof![Just(0), 0..TriggerRule::ALL.len()];
    (any::<u8>(), rule, 0..3u32, 0..10u8, 0..12u8, prop::bool::weighted(0.2)).prop_map(
        |(upstream, rule, retries, kind, mapping, condition)| Draft {
            upstream,
            rule,
            retries,
            kind,
            mapping,
            condition,
        },
    )
}

/// Up to seven tasks, edges from earlier ones to later ones.
pub fn dag() -> impl Strategy<Value = Dag> {
    vec(draft(), 1..8).prop_map(|drafts| {
        let mut dag = Dag::new("world");
        dag.groups.push(GroupDef { group_id: "g".into(), mapped: true, ..GroupDef::default() });
        for (t, draft) in drafts.iter().enumerate() {
            dag.tasks.push(task(t as u32, draft));
        }
        dag
    })
}

fn task(t: u32, draft: &Draft) -> TaskDef {
    let mut def = TaskDef::new(format!("t{t}"), "body");
    def.upstream = (0..t).filter(|u| draft.upstream & (1 << u) != 0).collect();
    def.trigger_rule = TriggerRule::ALL[draft.rule];
    def.retry = RetryPolicy { retries: draft.retries, delay: Duration::from_secs(60), backoff: 0.0, max_delay: None };
    def.kind = match draft.kind {
        0 => TaskKind::Setup,
        1 => TaskKind::Teardown { on_failure_fail_dagrun: false },
        2 => TaskKind::Teardown { on_failure_fail_dagrun: true },
        _ => TaskKind::Normal,
    };
    if let TaskKind::Teardown { .. } = def.kind {
        def.trigger_rule = TriggerRule::AllDoneSetupSuccess;
    }
    let mut each = |source: Source| {
        def.mapped = true;
        let source = Source::Each(Box::new(source));
        def.inputs.push(Input { name: "x".into(), type_name: "X".into(), source });
    };
    let first = def.upstream.first().copied();
    match (draft.mapping, first) {
        (0..=2, _) => each(Source::Literal(Value::Array(vec![json!(0); draft.mapping as usize]))),
        (3..=4, Some(up)) => each(Source::Output(up)),
        (5..=6, up) => {
            if let Some(up) = up.filter(|_| draft.mapping == 5) {
                each(Source::Output(up));
            }
            def.mapped = true;
            def.group = Some(0);
        }
        _ => {}
    }
    if draft.condition
        && let Some(upstream) = def.upstream.last().copied()
    {
        def.conditions.push(Condition { upstream, field: None, equals: json!(true) });
    }
    def
}
