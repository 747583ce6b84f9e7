//! The cost of an event is the degree of its task, not the size of the run. Counted in decisions and writes, since
//! time on a busy machine says nothing.

use super::world::given;
use crate::event::{Event, InstanceKey, Outcome, Report, TryRef};

/// Runs `n` instances to their end, one event a plan, and says how much work the plans did for each.
fn work_per_instance(graph: &str, n: u32) -> f64 {
    let mut w = given(&graph.replace("N", &n.to_string()));
    w.tell(&[]);
    let run_all = |w: &mut super::world::World, task: &str| {
        let task = w.key(task).task;
        for map_index in 0..n as i32 {
            let key = InstanceKey { task, map_index };
            let of = TryRef { key, try_number: 1 };
            w.tell(&[Event::Dispatched(key)]);
            w.tell(&[Event::Started(of)]);
            w.tell(&[Event::Ended(of, Outcome::Success(Report::default()))]);
        }
    };
    run_all(&mut w, "m");
    if graph.contains("d: ") {
        run_all(&mut w, "d");
    }
    assert_eq!(w.states("z"), "scheduled 1", "{graph}");
    w.run.work as f64 / f64::from(n)
}

#[test]
fn work_grows_with_the_instances_and_not_with_their_square() {
    for graph in [
        "m: each=N; m > z",
        "m: each=N; d: each=N; m > d > z",
        "m: each=N; d: each=N one_success; m > d > z",
        "m: group each=N; d: group; m > d > z",
    ] {
        let (small, large) = (work_per_instance(graph, 100), work_per_instance(graph, 2_000));
        assert!(large <= small * 1.2 + 1.0, "{graph}: {small} each for 100, {large} each for 2,000");
    }
}

#[test]
fn a_hundred_thousand_instances_are_planned_in_linear_work() {
    let mut w = given("m: over=a; m > z");
    w.when("");
    w.when("go a");
    let before = w.run.work;
    w.when("ok a len=100000");
    assert_eq!(w.last.transitions.len(), 100_001);
    assert_eq!(w.last.ready.len(), 100_000);
    let grown = w.run.work - before;
    assert!(grown < 3 * 100_000, "{grown}");
    let before = w.run.work;
    w.when("go m[5]");
    w.when("ok m[5]");
    let one = w.run.work - before;
    assert!(one < 10, "one event costs {one}");
}
