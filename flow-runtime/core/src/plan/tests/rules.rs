//! When a task starts, and when it never will.

use super::world::given;
use crate::{Report, RunState, RunStatus, StoredInstance, TaskState};
use std::collections::BTreeMap;

#[test]
fn a_chain_goes_step_by_step() {
    let mut w = given("a > b > c");
    assert_eq!(w.when(""), "a none>scheduled; run running");
    assert_eq!(w.when("go a"), "a scheduled>running");
    assert_eq!(w.when("ok a"), "a running>success, b none>scheduled");
    assert_eq!(w.when("go b"), "b scheduled>running");
    assert_eq!(w.when("fail b"), "b running>failed, c none>upstream_failed; run failed");
}

#[test]
fn one_batch_is_one_moment() {
    let mut w = given("a > c; b > c");
    w.when("");
    w.when("go a, go b");
    assert_eq!(
        w.when("skip a, fail b"),
        "a running>skipped, c none>upstream_failed, b running>failed; run failed",
        "apart, the skip would have come first"
    );
}

#[test]
fn a_run_without_tasks_succeeds() {
    assert_eq!(given("").when(""), "; run success");
}

#[test]
fn an_eager_rule_does_not_wait() {
    let mut w = given("a > alarm; b > alarm; alarm: one_failed");
    w.when("");
    w.when("go a, go b");
    assert_eq!(w.when("fail a"), "a running>failed, alarm none>scheduled");
}

#[test]
fn a_declined_branch_is_skipped_whatever_its_rule() {
    let mut w = given("x: when=choice; y: when=choice all_done; x > join; y > join; join: none_failed_min_one_success");
    w.when("");
    w.when("go choice");
    assert_eq!(w.when("ok choice declines=y"), "x none>scheduled, choice running>success, y none>skipped");
    w.when("go x");
    assert_eq!(w.when("ok x"), "x running>success, join none>scheduled");
}

#[test]
fn a_verdict_is_forgotten_when_its_task_runs_again() {
    let mut w = given("x: when=choice");
    w.when("");
    w.when("go choice");
    assert_eq!(w.when("ok choice declines=x"), "x none>skipped, choice running>success; run success");
    assert_eq!(w.when("clear choice, clear x"), "x skipped>none, choice success>none; run queued");
    w.when("");
    w.when("go choice");
    assert_eq!(w.when("ok choice"), "x none>scheduled, choice running>success");
}

#[test]
fn a_teardown_runs_after_a_failure_and_does_not_decide() {
    let graph = "s > w > t; s > t; s: setup; t: teardown";
    let mut w = given(graph);
    w.when("");
    w.when("go s");
    w.when("ok s");
    w.when("go w");
    assert_eq!(w.when("fail w"), "w running>failed, t none>scheduled");
    w.when("go t");
    assert_eq!(w.when("ok t"), "t running>success; run failed");

    let mut w = given(graph);
    w.when("");
    w.when("go s");
    w.when("ok s");
    w.when("go w");
    w.when("ok w");
    w.when("go t");
    assert_eq!(w.when("fail t"), "t running>failed; run success");
}

#[test]
fn a_teardown_waits_for_all_that_needs_its_setup() {
    let mut w = given("s > a > b > t; s > t; s: setup; t: teardown; b: always");
    w.when("");
    w.when("go b");
    w.when("ok b");
    w.when("go s");
    assert_eq!(w.when("ok s"), "s running>success, a none>scheduled", "a is between, though not right above");
    w.when("go a");
    assert_eq!(w.when("ok a"), "a running>success, t none>scheduled");
}

#[test]
fn work_far_below_a_setup_needs_it() {
    let mut w = given("s > a > b > t; s > t; s: setup; t: teardown; a: all_done; b: all_done");
    w.when("");
    w.when("go s");
    assert_eq!(w.when("fail s"), "s running>failed, a none>scheduled, b none>upstream_failed, t none>upstream_failed");
}

#[test]
fn what_can_never_move_fails_the_run() {
    let mut w = given("a > b; b: all_skipped; c");
    w.when("");
    w.when("go a, go c");
    w.when("ok c");
    assert_eq!(w.when("mark a success"), "a running>success, b none>skipped; run success");

    // A removed upstream instance is never skipped, and nothing else will come.
    let mut w = given("m > b; m: each=1; b: all_skipped");
    let row = StoredInstance {
        key: w.key("m[0]"),
        state: TaskState::Removed,
        try_number: 0,
        max_tries: 0,
        due: None,
        report: Report::default(),
    };
    w.run = RunState::restore(&w.dag, RunStatus::Running, [row], &BTreeMap::new());
    assert_eq!(w.when(""), "; run failed");
    assert_eq!(w.states("b"), "none 1");
}
