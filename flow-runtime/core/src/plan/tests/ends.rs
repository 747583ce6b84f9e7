//! Ends that come from outside: marks and time-outs.

use super::world::{World, given};
use crate::RunStatus;

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
fn what_is_set_up_is_taken_away_although_the_run_is_ended() {
    for (how, work) in [("run failed", "failed"), ("timeout", "skipped")] {
        let mut w = given("open > slow > last; open: setup; open > close; last > close; close: teardown; other > more");
        w.when("");
        w.when("go open");
        w.when("ok open, go other");
        w.when("go slow");
        let expected = format!(
            "slow running>{work}, last none>skipped, close none>scheduled, other running>{work}, more none>skipped"
        );
        assert_eq!(w.when(how), expected);
        assert_eq!(w.run.ending(), Some(RunStatus::Failed));
        assert_eq!(w.cancelled(), "slow#1, other#1");
        assert_eq!(w.when("ok slow"), "");
        w.when("go close");
        // Whoever goes on with it finds it late again.
        assert_eq!(w.when("timeout"), "");
        // No leaf has failed: the run has, for it was ended.
        assert_eq!(w.when("ok close"), "close running>success; run failed");
        assert_eq!(w.run.ending(), None);
        // Its tasks have not ended it, so they do not say now that it has succeeded.
        assert_eq!(w.when("mark last skipped"), "");
    }
}

#[test]
fn a_run_that_took_too_long_and_whose_work_is_cleared_begins_anew() {
    let mut w = done("ok work", "teardown");
    assert_eq!(w.when("timeout"), "");
    assert_eq!(w.run.ending(), Some(RunStatus::Failed));
    // Queued, it is given its whole time again by whoever goes on with it.
    let (before, _) = (w.run.status(), w.when("clear work"));
    assert_eq!((before, w.run.status(), w.run.ending()), (RunStatus::Running, RunStatus::Queued, None));
}

/// A run whose work is done, or has failed, while its setup is still set up.
fn done(end: &str, teardown: &str) -> World {
    let mut w = given(&format!("open > work; open: setup; open > close; work > close; close: {teardown}"));
    w.when("");
    w.when("go open");
    w.when("ok open");
    w.when("go work");
    w.when(end);
    w
}

#[test]
fn what_is_set_up_is_taken_away_although_nothing_else_is_left() {
    for end in ["ok work", "fail work"] {
        for how in ["run failed", "timeout"] {
            for teardown in ["teardown", "teardown!"] {
                // It has not begun, or runs.
                for began in ["", "go close"] {
                    let mut w = done(end, teardown);
                    w.when(began);
                    assert_eq!((w.when(how), w.cancelled()), (String::new(), String::new()));
                    assert_eq!(w.when("timeout"), "", "whoever goes on with it finds it late again");
                    if began.is_empty() {
                        w.when("go close");
                    }
                    assert_eq!(w.when("ok close"), "close running>success; run failed", "{end}, {how}");
                }
            }
        }
    }
}

#[test]
fn who_ends_a_run_twice_ends_its_teardowns() {
    let mut w = done("", "teardown");
    assert_eq!(w.when("run failed"), "work running>failed, close none>scheduled");
    w.when("go close");
    assert_eq!(w.when("run failed"), "close running>failed; run failed");
    assert_eq!(w.cancelled(), "close#1");

    let mut w = done("ok work", "teardown");
    w.when("timeout");
    assert_eq!(w.when("run failed"), "close scheduled>skipped; run failed");
}

#[test]
fn a_run_that_is_ended_well_takes_away_what_is_set_up_too() {
    let mut w = done("", "teardown!");
    assert_eq!(w.when("run success"), "work running>skipped, close none>scheduled");
    assert_eq!(w.when("timeout"), "", "it was ended before");
    w.when("go close");
    assert_eq!(w.when("fail close"), "close running>failed; run success", "whoever has said so knows better");

    let mut w = done("fail work", "teardown");
    assert_eq!(w.when("run success"), "");
    assert_eq!(w.when("run success"), "close scheduled>skipped; run success");
    // Another word counts, and ends nothing more.
    let mut w = done("ok work", "teardown");
    assert_eq!([w.when("timeout"), w.when("run success"), w.when("run failed"), w.when("run success")], [""; 4]);
    w.when("go close");
    assert_eq!(w.when("ok close"), "close running>success; run success");
}

#[test]
fn a_run_that_is_ended_goes_on_when_work_is_cleared() {
    let mut w = done("fail work", "teardown");
    w.when("run failed");
    w.when("go close");
    // The teardown alone: it ends all the same.
    w.when("clear close");
    w.when("returned close");
    assert_eq!(w.run.ending(), Some(RunStatus::Failed));
    w.when("clear open, clear work, clear close");
    assert_eq!(w.run.ending(), None);
    w.when("");
    w.when("go open");
    w.when("ok open");
    w.when("go work");
    w.when("ok work");
    w.when("go close");
    assert_eq!(w.when("ok close"), "close running>success; run success");
}

#[test]
fn a_run_that_waits_to_begin_again_is_not_begun_by_an_order() {
    let mut w = given("a > b; c");
    w.when("");
    w.when("go a, go c");
    w.when("fail a, ok c");
    assert_eq!(w.when("clear a, clear b"), "a failed>none, b upstream_failed>none; run queued");
    assert_eq!(w.when("clear c"), "c success>none");
    assert_eq!(w.when("mark c success"), "c none>success");
    // Unless there is nothing left to begin.
    let mut done = World { dag: w.dag.clone(), run: w.run.clone(), now: w.now, last: w.last.clone() };
    assert_eq!(done.when("mark a success, mark b skipped"), "a none>success, b none>skipped; run success");
    assert_eq!(w.when("run failed"), "a none>skipped, b none>skipped; run failed");
    w.when("clear a");
    assert_eq!(w.when(""), "a none>scheduled; run running");
}

#[test]
fn what_is_not_set_up_is_not_taken_away() {
    // Not begun, and stopped midway.
    for (happens, said) in [("", "open scheduled>skipped"), ("go open", "open running>failed")] {
        let mut w = given("open > work; open: setup; open > close; work > close; close: teardown");
        w.when("");
        w.when(happens);
        let expected = format!("{said}, work none>skipped, close none>skipped; run failed");
        assert_eq!(w.when("run failed"), expected);
    }
}

#[test]
fn each_element_takes_away_what_it_has_set_up() {
    let mut w = given(
        "list > open; list > work; list > close; open > work; open > close; work > close; \
         open: over=list group setup; work: group over=list; close: group over=list teardown",
    );
    w.when("");
    w.when("go list");
    w.when("ok list len=2");
    w.when("go open[0], go open[1]");
    w.when("ok open[0]");
    w.when("go work[0]");
    let said = w.when("run failed");
    assert!(said.contains("open[1] running>failed") && said.contains("close[0] none>scheduled"), "{said}");
    assert!(said.contains("close[1] none>skipped") && !said.contains("; run"), "{said}");
    w.when("go close[0]");
    assert_eq!(w.when("fail close[0]"), "close[0] running>failed; run failed");
}

#[test]
fn a_run_can_end_before_it_began() {
    let mut w = given("a");
    assert_eq!(w.when("run failed"), "a none>skipped; run failed");
    assert_eq!(w.when(""), "");
    assert_eq!(w.when("clear a"), "a skipped>none; run queued");
    assert_eq!(w.when(""), "a none>scheduled; run running");
}
