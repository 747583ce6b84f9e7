//! Ends that come from outside: marks and time-outs.

use super::world::given;

#[test]
fn a_mark_counts_over_the_try() {
    let mut w = given("a > b");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("mark a success"), "a running>success, b none>scheduled");
    assert_eq!(w.cancelled(), "a#1");
    assert_eq!(w.when("fail a"), "");
    assert_eq!(w.when("mark b failed"), "b scheduled>failed; run failed");
    assert_eq!(w.when("mark b running"), "", "no such mark");
}

#[test]
fn a_run_marked_failed_stops_what_runs_and_skips_the_rest() {
    let mut w = given("a > b; c > b; d: retries=1; e");
    w.when("");
    w.when("go a, go d, dispatch e");
    w.when("fail d");
    assert_eq!(
        w.when("run failed"),
        "a running>failed, b none>skipped, c scheduled>skipped, d up_for_retry>skipped, e queued>skipped; run failed"
    );
    assert_eq!(w.cancelled(), "a#1, e#1");
    assert_eq!(w.last.wake_at, None);
    assert_eq!(w.when("ok a"), "");
}

#[test]
fn a_run_marked_success_stays_so() {
    let mut w = given("a > b; c");
    w.when("");
    w.when("go a, go c");
    w.when("fail c");
    assert_eq!(w.when("run success"), "a running>skipped, b none>skipped; run success");
    assert_eq!(w.when("run success"), "");
}

#[test]
fn a_run_that_took_too_long_fails() {
    let mut w = given("a > b");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("timeout"), "a running>skipped, b none>skipped; run failed");
    assert_eq!(w.cancelled(), "a#1");
    assert_eq!(w.when("timeout"), "");
}

#[test]
fn a_run_can_end_before_it_began() {
    let mut w = given("a");
    assert_eq!(w.when("run failed"), "a none>skipped; run failed");
    assert_eq!(w.when(""), "");
    assert_eq!(w.when("clear a"), "a skipped>none; run queued");
    assert_eq!(w.when(""), "a none>scheduled; run running");
}
