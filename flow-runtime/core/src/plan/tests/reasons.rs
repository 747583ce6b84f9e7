//! Why something waits, and why something was not run.

use super::world::{World, given};
use crate::{because, why};

fn waits(w: &World, task: &str) -> String {
    why(&w.dag, &w.run, w.key(task), w.now).map_or("-".into(), |why| why.to_string())
}

#[test]
fn what_waits_says_for_what() {
    let mut w = given("s: setup; s > a; s > t; a > t; t: teardown; a > b; m: over=a; r: retries=1; c > late");
    assert_eq!(waits(&w, "b"), "its run has not started yet");
    w.when("");
    assert_eq!(waits(&w, "s"), "may run, and waits for a slot");
    assert_eq!(waits(&w, "b"), "waits for a to finish (trigger rule all_success)");
    assert_eq!(waits(&w, "t"), "waits for s and a to finish (trigger rule all_done_setup_success)");
    w.when("go s, go r, go c");
    assert_eq!(waits(&w, "s"), "-");
    w.when("ok s, fail r, later c 90");
    assert_eq!(waits(&w, "r"), "failed, and is tried again in 1m, at 1970-01-01 00:01:00 UTC");
    assert_eq!(waits(&w, "c"), "looks again in 1m 30s, at 1970-01-01 00:01:30 UTC");
    assert_eq!(waits(&w, "late"), "waits for c to finish (trigger rule all_success)");
    w.when("go a");
    w.when("clear a");
    assert_eq!(waits(&w, "a"), "was cleared while it ran, and waits for its old try to stop");
}

#[test]
fn what_was_not_run_says_why() {
    let mut w = given(
        "x: when=choice; y: when=choice all_done; z; y > after; x > broken; broken > below; e: over=list; \
         e > last; z > never; never: all_failed",
    );
    w.when("");
    w.when("go choice, go list, go z");
    w.when("ok choice declines=y, ok list len=0, ok z");
    w.when("go x");
    w.when("ok x");
    w.when("go broken");
    w.when("fail broken");
    for (task, said) in [
        ("y", Some("choice did not give true")),
        ("after", Some("y was skipped (trigger rule all_success)")),
        ("below", Some("broken failed (trigger rule all_success)")),
        ("e", Some("the list that it is mapped over is empty")),
        ("last", Some("e was skipped (trigger rule all_success)")),
        ("never", Some("its upstream has ended, and its trigger rule all_failed does not hold")),
        ("x", None),
        ("broken", None),
    ] {
        let found = because(&w.dag, &w.run, w.key(task)).map(|why| why.to_string());
        assert_eq!(found.as_deref(), said, "{task}: {:?}", w.state(task));
    }
    w.when("mark broken success");
    let found = because(&w.dag, &w.run, w.key("below")).map(|why| why.to_string());
    assert!(found.as_deref().is_some_and(|why| why.contains("a clear lets it")), "{found:?}");
}
