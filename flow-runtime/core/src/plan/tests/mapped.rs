//! Mapped tasks and mapped groups.

use super::world::{dag, given};
use crate::event::{InstanceKey, UNMAPPED};
use crate::run::RunState;
use crate::state::TaskState;

#[test]
fn a_written_list_is_mapped_from_the_start() {
    let mut w = given("m > z; m: each=2");
    assert_eq!(w.when(""), "m[0] none>scheduled, m[1] none>scheduled; run running");
    w.when("go m[0], go m[1]");
    assert_eq!(w.when("ok m[1]"), "m[1] running>success");
    assert_eq!(w.when("ok m[0]"), "m[0] running>success, z none>scheduled");
}

#[test]
fn a_list_made_by_a_task_is_mapped_when_it_is_there() {
    let mut w = given("m: over=a; m > z");
    assert_eq!(w.when(""), "a none>scheduled; run running");
    assert_eq!(w.run.length(w.key("m").task), None);
    w.when("go a");
    assert_eq!(
        w.when("ok a len=3"),
        "m[0] none>scheduled, m[1] none>scheduled, m[2] none>scheduled, a running>success"
    );
    assert_eq!(w.last.ready.len(), 3);
    assert_eq!(w.run.length(w.key("m").task), Some(3));
    w.when("go m[0], go m[1], go m[2]");
    assert_eq!(
        w.when("ok m[0], fail m[1], ok m[2]"),
        "m[0] running>success, m[1] running>failed, m[2] running>success, z none>upstream_failed; run failed"
    );
}

#[test]
fn an_empty_list_skips() {
    let mut w = given("m: over=a; m > z");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("ok a len=0"), "m none>skipped, a running>success, z none>skipped; run success");
    assert_eq!(given("m: each=0").when(""), "m none>skipped; run success");
}

#[test]
fn a_field_of_a_tuple_has_its_own_length() {
    let mut w = given("m: over=a.1");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("ok a 1len=1"), "m[0] none>scheduled, a running>success");
}

#[test]
fn without_its_list_it_cannot_run() {
    let mut w = given("m: over=a all_done");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("fail a"), "m none>upstream_failed, a running>failed; run failed");

    let mut w = given("m: over=a all_done");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("skip a"), "m none>skipped, a running>skipped; run success");
}

#[test]
fn a_mapped_task_that_is_cut_keeps_its_placeholder() {
    let mut w = given("m: over=a; x > m");
    w.when("");
    w.when("go a, go x");
    w.when("ok a len=2");
    assert_eq!(w.when("fail x"), "m none>upstream_failed, x running>failed; run failed");
    assert_eq!(w.when("clear x, clear m"), "m upstream_failed>none, x failed>none; run queued");
    w.when("");
    w.when("go x");
    assert_eq!(w.when("ok x"), "m[0] none>scheduled, m[1] none>scheduled, x running>success");
}

#[test]
fn several_lists_are_combined() {
    let mut w = given("m: each=2 over=a");
    w.when("");
    w.when("go a");
    w.when("ok a len=3");
    assert_eq!(w.states("m"), "scheduled 6");
    assert_eq!(w.run.lengths(w.key("m").task), Some(vec![2, 3]));
}

#[test]
fn params_have_lengths_too() {
    let dag = dag("m: param=urls; n: param=none");
    let mut run = RunState::new(&dag, &[("urls".to_string(), 2)].into());
    crate::plan(&dag, &mut run, &[], chrono::DateTime::UNIX_EPOCH);
    assert_eq!(run.counts(0)[TaskState::Scheduled as usize], 2);
    assert_eq!(run.counts(1)[TaskState::UpstreamFailed as usize], 1);
}

#[test]
fn over_a_mapped_task_only_its_successes_count() {
    let mut w = given("n: over=m all_done; m: each=3");
    w.when("");
    w.when("go m[0], go m[1], go m[2]");
    w.when("ok m[0], fail m[1]");
    assert_eq!(w.states("n"), "none 1");
    w.when("ok m[2]");
    assert_eq!(w.states("n"), "scheduled 2");
}

#[test]
fn tasks_in_a_mapped_group_depend_on_each_other_index_by_index() {
    let mut w = given("e: group over=a; e > f; f: group; f > z; z: all_done");
    w.when("");
    w.when("go a");
    assert_eq!(
        w.when("ok a len=2"),
        "e[0] none>scheduled, e[1] none>scheduled, a running>success, f[0] none>none, f[1] none>none"
    );
    w.when("go e[0], go e[1]");
    assert_eq!(w.when("ok e[1]"), "e[1] running>success, f[1] none>scheduled");
    assert_eq!(w.when("fail e[0]"), "e[0] running>failed, f[0] none>upstream_failed");
    w.when("go f[1]");
    assert_eq!(w.when("ok f[1]"), "f[1] running>success, z none>scheduled");
}

#[test]
fn a_group_waits_for_what_is_outside_it_as_a_whole() {
    let mut w = given("e: group each=2; e > f; x > f; f: group");
    w.when("");
    w.when("go e[0], go x");
    w.when("ok e[0]");
    assert_eq!(w.when("ok x"), "f[0] none>scheduled, x running>success");
    w.when("go e[1]");
    assert_eq!(w.when("ok e[1]"), "e[1] running>success, f[1] none>scheduled");
}

#[test]
fn a_group_without_a_list_is_cut_as_one() {
    let mut w = given("e: group over=a; e > f; f: group");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("fail a"), "e none>upstream_failed, a running>failed, f none>upstream_failed; run failed");
}

#[test]
fn a_branch_inside_a_group_is_taken_index_by_index() {
    let mut w = given("c: group each=2; x: group when=c");
    w.when("");
    w.when("go c[0], go c[1]");
    assert_eq!(
        w.when("ok c[0] declines=x, ok c[1]"),
        "c[0] running>success, c[1] running>success, x[0] none>skipped, x[1] none>scheduled"
    );
}

#[test]
fn a_list_that_got_shorter_removes_and_one_that_got_longer_adds() {
    let mut w = given("m: over=a; m > z");
    w.when("");
    w.when("go a");
    w.when("ok a len=2");
    w.when("go m[0], go m[1]");
    w.when("ok m[0], ok m[1]");
    w.when("go z");
    w.when("ok z");

    w.when("clear a, clear m, clear z");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("ok a len=1"), "m[0] none>scheduled, m[1] none>removed, a running>success");
    w.when("go m[0]");
    assert_eq!(w.when("ok m[0]"), "m[0] running>success, z none>scheduled", "what was removed holds nobody");
    w.when("go z");
    w.when("ok z");

    w.when("clear a, clear m, clear z");
    w.when("");
    w.when("go a");
    assert_eq!(
        w.when("ok a len=3"),
        "m[0] none>scheduled, m[1] none>scheduled, m[2] none>scheduled, a running>success"
    );
}

#[test]
fn a_group_follows_its_list() {
    let mut w = given("e: group over=a; e > f; f: group");
    let round = |w: &mut super::world::World, len: u32| {
        w.when("");
        w.when("go a");
        w.when(&format!("ok a len={len}"));
        for i in 0..len {
            w.when(&format!("go e[{i}]"));
            w.when(&format!("ok e[{i}]"));
            w.when(&format!("go f[{i}]"));
        }
        let ends: Vec<String> = (0..len).map(|i| format!("ok f[{i}]")).collect();
        w.when(&ends.join(","))
    };
    assert!(round(&mut w, 2).ends_with("run success"));
    for (len, states) in [(3, "success 3"), (1, "success 1, removed 2"), (2, "success 2, removed 1")] {
        w.when("clear a, clear e, clear f");
        assert!(round(&mut w, len).ends_with("run success"), "{len}: {} {}", w.states("e"), w.states("f"));
        assert_eq!((w.states("e").as_str(), w.states("f").as_str()), (states, states), "{len}");
    }
}

#[test]
fn a_list_too_long_to_be_mapped_fails_the_task() {
    let mut w = given("m: over=a");
    w.when("");
    w.when("go a");
    assert_eq!(w.when("ok a len=1000001"), "m none>upstream_failed, a running>success; run failed");
}

#[test]
fn a_placeholder_stands_for_all_instances_when_a_person_names_it() {
    let mut w = given("m: each=2");
    w.when("");
    let key = InstanceKey { task: 0, map_index: UNMAPPED };
    assert_eq!(
        w.tell(&[crate::Event::Marked(vec![key], TaskState::Success)]),
        "m[0] scheduled>success, m[1] scheduled>success; run success"
    );
}
