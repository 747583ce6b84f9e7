//! What is stored comes back as it was.

use super::worlds;
use chrono::{DateTime, TimeDelta};
use flow_core::dag::{AtOnce, ParamDef, Past, Place, Rate, Source, WeightRule};
use flow_core::{
    AssetDef, Dag, Deadline, DeadlineFrom, Event, InstanceKey, Notifier, Occasion, Outcome, Schedule, TryRef,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-z]{1,3}", inner), 0..4).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

fn source() -> impl Strategy<Value = Source> {
    let leaf = prop_oneof![
        value().prop_map(Source::Literal),
        (0..9u32).prop_map(Source::Output),
        (0..9u32).prop_map(Source::OptionalOutput),
        (0..9u32, 0..4u32).prop_map(|(t, f)| Source::Field(t, f)),
        (0..9u32, 0..4u32).prop_map(|(t, f)| Source::OptionalField(t, f)),
        "[a-z]{1,4}".prop_map(Source::Param),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Source::List),
            prop::collection::btree_map("[a-z]{1,3}", inner.clone(), 0..3).prop_map(Source::Record),
            inner.prop_map(|s| Source::Each(Box::new(s))),
        ]
    })
}

fn param() -> impl Strategy<Value = ParamDef> {
    ("[a-z]{1,5}", prop::option::of(value()), any::<bool>(), prop::option::of("\\PC{0,8}")).prop_map(
        |(name, default, secret, doc)| ParamDef {
            name,
            doc,
            type_name: "T".into(),
            schema: json!({"type": "integer"}),
            default,
            secret,
        },
    )
}

fn schedule() -> impl Strategy<Value = Option<Schedule>> {
    let texts = [
        "@once",
        "@daily",
        "*/5 * * * *",
        "every 10m",
        "0 0 * * 1 30",
        "0 6 * * * or 30 18 * * 5",
        "on 2026-01-01, 2026-02-14T10:00",
        "custom(reports::WorkingDays::new(3))",
        "assets(trips & (weather | news)) or @daily",
    ];
    prop::option::of(prop::sample::select(texts.to_vec()).prop_map(|t| Schedule::parse(t).expect("a schedule")))
}

prop_compose! {
    /// Every field set to something, or to nothing.
    fn any_dag()(
        mut dag in worlds::dag(),
        doc in prop::option::of("\\PC{0,20}"),
        schedule in schedule(),
        seconds in prop::option::of(0..4_000_000_000i64),
        catchup in any::<bool>(),
        is_default in any::<bool>(),
        tags in vec("[a-z]{1,4}", 0..3),
        params in vec(param(), 0..3),
        sources in vec(source(), 0..4),
        millis in 0..1_000_000u64,
        backoff in prop::sample::select(vec![0.0, 1.5, 2.0, 0.1]),
        priority in any::<i64>(),
    ) -> Dag {
        let date = seconds.map(|s| DateTime::UNIX_EPOCH + TimeDelta::seconds(s));
        (dag.doc, dag.schedule, dag.start_date, dag.end_date) = (doc.clone(), schedule, date, date);
        (dag.catchup, dag.is_default, dag.tags, dag.params) = (catchup, is_default, tags, params);
        dag.dagrun_timeout = Some(Duration::from_millis(millis));
        dag.data_intervals = catchup;
        let uri = doc.clone();
        dag.assets = dag.tags.iter().map(|tag| AssetDef { name: tag.clone(), uri: uri.clone() }).collect();
        dag.timezone = is_default.then(|| "Europe/Berlin".into());
        let to = vec![Notifier::Log, Notifier::named("ops"), Notifier::webhook("https://h"), Notifier::command(["sh"])];
        dag.deadline = date.map(|_| Deadline { after: Duration::from_millis(millis), from: DeadlineFrom::LogicalDate });
        dag.notify = if catchup { [(Occasion::Deadline, to.clone())].into() } else { Default::default() };
        dag.place = Some(Place { file: "dags/src/a.rs".into(), line: 7 });
        for (n, source) in sources.into_iter().enumerate() {
            let last = dag.tasks.len() - 1;
            let task = &mut dag.tasks[last];
            let name = format!("a{n}");
            task.inputs.push(flow_core::dag::Input { name, type_name: "T".into(), source });
            task.retry.backoff = backoff;
            task.retry.max_delay = Some(Duration::from_millis(millis));
            task.timeout = Some(Duration::from_nanos(millis));
            task.priority = priority;
            (task.max_active, task.max_active_per_run) = (Some(millis as u32), is_default.then_some(1));
            task.at_once = is_default.then(|| AtOnce { most: millis as u32, key: "load {table}".into() });
            task.rate = catchup.then(|| Rate { starts: 1, span: Duration::from_millis(millis), key: "api".into() });
            task.past = Past { depends_on_past: catchup, wait_for_downstream: is_default, ignore_first: catchup };
            task.weight_rule = WeightRule::Absolute;
            task.isolation = flow_core::dag::Isolation::Process;
            task.notify = Occasion::ALL.into_iter().zip(to.iter().map(|to| vec![to.clone()])).collect();
            task.doc.clone_from(&doc);
            task.outlets.clone_from(&dag.tags);
            task.inlets.clone_from(&dag.tags);
        }
        dag
    }
}

proptest! {
    #![proptest_config(super::cases(256))]

    #[test]
    fn a_dag_to_json_and_back_is_the_same(dag in any_dag()) {
        let text = serde_json::to_string(&dag).expect("it is data");
        let back: Dag = serde_json::from_str(&text).expect("it was written so");
        prop_assert_eq!(&back, &dag);
        prop_assert_eq!(serde_json::to_string(&back).expect("it is data"), text);
    }

    #[test]
    fn an_event_to_json_and_back_is_the_same(task in 0..9u32, map_index in -1..9i32, seconds in 0..4_000_000_000i64) {
        let key = InstanceKey { task, map_index };
        let due = DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        for event in [
            Event::Dispatched(key),
            Event::Cleared(vec![key]),
            Event::RunTimedOut,
            Event::Woken(vec![key]),
            Event::Ended(TryRef { key, try_number: task }, Outcome::Rescheduled(due)),
            Event::Ended(TryRef { key, try_number: task }, Outcome::Deferred(None)),
            Event::Ended(TryRef { key, try_number: task }, Outcome::Deferred(Some(due))),
        ] {
            let text = serde_json::to_string(&event).expect("it is data");
            prop_assert_eq!(serde_json::from_str::<Event>(&text).expect("it was written so"), event);
        }
    }
}
