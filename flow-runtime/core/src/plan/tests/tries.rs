//! Tries: retries, losses, returns, and what comes late or twice.

use super::world::given;
use crate::event::{Event, Outcome, TryRef};
use crate::state::TaskState;

#[test]
fn a_failed_try_waits_and_is_tried_again() {
    let mut w = given("a > b; a: retries=1");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("fail a"), "a running>up_for_retry");
    let due = w.now + chrono::TimeDelta::seconds(60);
    assert_eq!(w.last.wake_at, Some(due));
    assert_eq!(w.last.transitions[0].due, Some(due));
    assert_eq!(w.after(59, ""), "");
    assert_eq!(w.after(1, ""), "a up_for_retry>scheduled");
    assert_eq!(w.last.wake_at, None);
    w.when("go a");
    assert_eq!(w.run.instance(w.key("a")).map(|i| i.try_number), Some(2));
    assert_eq!(w.when("fail a"), "a running>failed, b none>upstream_failed; run failed");
}

#[test]
fn a_lost_try_counts_and_the_next_follows_at_once() {
    let mut w = given("a: retries=1");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("lost a"), "a running>scheduled");
    w.when("go a");
    assert_eq!(w.when("lost a"), "a running>failed; run failed");
}

#[test]
fn a_returned_try_does_not_count() {
    let mut w = given("a");
    w.when("");
    for n in 1..4 {
        w.when("go a");
        assert_eq!(w.run.instance(w.key("a")).map(|i| i.try_number), Some(n));
        assert_eq!(w.when("returned a"), "a running>scheduled");
    }
    w.when("go a");
    assert_eq!(w.when("fail a"), "a running>failed; run failed", "it still has no retries");
}

#[test]
fn a_failure_for_good_is_not_tried_again() {
    let mut w = given("a: retries=5");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("fatal a"), "a running>failed; run failed");
}

#[test]
fn a_rescheduled_try_goes_on_as_the_same_try() {
    let mut w = given("a: retries=1");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("later a 30"), "a running>up_for_reschedule");
    assert_eq!(w.when("later a 30"), "", "it came twice");
    assert_eq!(w.after(30, ""), "a up_for_reschedule>scheduled");
    w.when("go a");
    assert_eq!(w.run.instance(w.key("a")).map(|i| (i.try_number, i.state)), Some((1, TaskState::Running)));
    w.when("fail a");
    assert_eq!(w.state("a"), TaskState::UpForRetry);
    w.after(60, "");
    w.when("go a");
    assert_eq!(w.run.instance(w.key("a")).map(|i| i.try_number), Some(2), "a retry is a new try");
}

#[test]
fn what_is_late_or_twice_or_of_nobody_changes_nothing() {
    let mut w = given("a > b; a: retries=1");
    w.when("");
    assert_eq!(w.when("ok a"), "", "it was not dispatched");
    w.when("go a");
    assert_eq!(w.when("go a"), "", "it is already");
    w.when("lost a");
    w.when("go a");
    assert_eq!(w.when("ok a#1"), "", "that try was lost");
    assert_eq!(w.when("fail a#3"), "", "that try never was");
    w.when("ok a");
    assert_eq!(w.when("ok a, fail a"), "", "it has ended");
    let nobody = TryRef { key: crate::InstanceKey { task: 9, map_index: 3 }, try_number: 1 };
    assert_eq!(w.tell(&[Event::Ended(nobody, Outcome::Failed), Event::Cleared(vec![nobody.key])]), "");
}

#[test]
fn an_end_implies_its_start() {
    let mut w = given("a > b");
    w.when("");
    w.when("dispatch a");
    assert_eq!(w.when("ok a"), "a queued>success, b none>scheduled");
}

#[test]
fn what_has_not_begun_waits_again_when_what_is_above_it_is_cleared() {
    let mut w = given("a > b > c; a > d");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("ok a"), "a running>success, b none>scheduled, d none>scheduled");
    w.when("go d");
    assert_eq!(w.when("clear a"), "a success>scheduled, b scheduled>none", "what runs already is left alone");
    w.when("go a");
    assert_eq!(w.when("ok a"), "a running>success, b none>scheduled");
    assert_eq!(w.when("clear c"), "", "it had not begun, and is below");
    w.when("go b");
    assert_eq!(w.when("ok b"), "b running>success, c none>scheduled");
    assert_eq!(w.when("clear a"), "a success>scheduled", "what is right above is as it was");
}

#[test]
fn what_has_not_begun_is_judged_anew_when_what_is_above_it_is_marked() {
    let mut w = given("a > b > c");
    w.when("");
    w.when("go a");
    w.when("ok a");
    assert_eq!(
        w.when("mark a failed"),
        "a success>failed, b scheduled>upstream_failed, c none>upstream_failed; run failed"
    );
    let mut w = given("a > b");
    w.when("");
    w.when("go a");
    w.when("ok a");
    assert_eq!(w.when("mark a skipped"), "a success>skipped, b scheduled>skipped; run success");
}

#[test]
fn clearing_what_runs_stops_it_first() {
    let mut w = given("a");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("clear a"), "a running>restarting");
    assert_eq!(w.cancelled(), "a#1");
    assert_eq!(w.when("ok a"), "a restarting>scheduled", "how that try ended matters no more");
    w.when("go a");
    assert_eq!(w.when("fail a#1"), "");
    assert_eq!(w.when("ok a"), "a running>success; run success");
}

#[test]
fn clearing_gives_all_retries_anew() {
    let mut w = given("a > b; a: retries=1");
    w.when("");
    w.when("go a");
    w.when("lost a");
    w.when("go a");
    w.when("fail a");
    assert_eq!(w.when("clear a, clear b"), "a failed>none, b upstream_failed>none; run queued");
    assert_eq!(w.last.transitions[0].max_tries, 3);
    assert_eq!(w.when(""), "a none>scheduled; run running");
    w.when("go a");
    assert_eq!(w.when("lost a"), "a running>scheduled");
    w.when("go a");
    assert_eq!(w.when("lost a"), "a running>failed, b none>upstream_failed; run failed");
}

#[test]
fn what_is_due_waits_for_what_was_cleared_above_it() {
    let mut w = given("a > b; b: retries=1");
    w.when("");
    w.when("go a");
    w.when("ok a");
    w.when("go b");
    w.when("fail b");
    w.when("clear a");
    assert_eq!(w.after(60, ""), "b up_for_retry>none");
    w.when("go a");
    assert_eq!(w.when("ok a"), "a running>success, b none>scheduled");
}

#[test]
fn a_deferred_try_gives_its_slot_back_and_goes_on_as_the_same() {
    let mut w = given("a > b");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("defer a 60"), "a running>deferred");
    assert_eq!(w.last.wake_at, Some(w.now + chrono::TimeDelta::seconds(60)));
    assert!(w.run.in_flight().is_empty());
    assert_eq!(w.after(59, ""), "");
    assert_eq!(w.after(1, ""), "a deferred>scheduled");
    w.when("go a");
    assert_eq!(w.run.instance(w.key("a")).map(|i| i.try_number), Some(1));
    assert_eq!(w.when("defer a"), "a running>deferred");
    assert_eq!(w.last.wake_at, None);
    assert_eq!(w.after(1_000_000, ""), "", "an event is no matter of time");
    assert_eq!(w.when("wake a"), "a deferred>scheduled");
    assert_eq!(w.when("wake a"), "", "it waits no more");
    w.when("go a");
    assert_eq!(w.run.instance(w.key("a")).map(|i| i.try_number), Some(1));
    assert_eq!(w.when("ok a"), "a running>success, b none>scheduled");
    assert_eq!(w.run.instance(w.key("a")).and_then(|i| i.due), None);
}

#[test]
fn an_event_that_comes_before_its_deadline_wakes() {
    let mut w = given("a");
    w.when("");
    w.when("go a");
    w.when("defer a 60");
    assert_eq!(w.when("wake a"), "a deferred>scheduled");
    assert_eq!(w.last.wake_at, None);
    assert_eq!(w.after(61, ""), "", "its deadline is past and gone");
}
