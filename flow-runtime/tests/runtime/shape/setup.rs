//! What is set up is torn down, however the work between ends.

use flow_runtime::core::TaskState::{Failed, Skipped, Success, UpstreamFailed};
use flow_runtime::prelude::*;

#[task(setup)]
fn create(fails: bool) -> Result<String> {
    ensure!(!fails, "no room");
    Ok("cluster-1".into())
}

#[task]
fn work(cluster: &str, fails: bool) -> Result<String> {
    ensure!(!fails, "crashed on {cluster}");
    Ok(format!("done on {cluster}"))
}

#[task(teardown)]
fn delete(cluster: String, fails: bool) -> Result<String> {
    ensure!(!fails, "still busy");
    Ok(cluster)
}

#[dag]
fn with_cluster(#[default(false)] setup: bool, #[default(false)] middle: bool, #[default(false)] last: bool) {
    let cluster = create(setup);
    let worked = work(cluster, middle);
    delete(cluster, last) << worked;
}

fn states(run: &flow_runtime::testing::TestReport) -> [flow_runtime::core::TaskState; 3] {
    ["create", "work", "delete"].map(|task| run.state(task))
}

#[test]
fn a_teardown_runs_when_its_setup_has_and_does_not_decide() {
    let run = with_cluster::test().run_blocking().succeeded();
    assert_eq!(states(&run), [Success, Success, Success]);
    let run = with_cluster::test().param("middle", true).run_blocking().failed();
    assert_eq!(states(&run), [Success, Failed, Success]);
    assert_eq!(run.value::<String>("delete"), "cluster-1");
    let run = with_cluster::test().param("setup", true).run_blocking().failed();
    assert_eq!(states(&run), [Failed, UpstreamFailed, UpstreamFailed]);
    let run = with_cluster::test().param("last", true).run_blocking().succeeded();
    assert_eq!(states(&run), [Success, Success, Failed]);
}

#[task]
fn open() -> u32 {
    1
}

#[task]
fn close() -> Result<()> {
    bail!("it stays open")
}

#[dag]
fn by_hand() {
    let opened = open();
    let closed = close().teardown_of(opened).on_failure_fail_dagrun(true);
    opened >> work("x", false) >> closed;
}

#[test]
fn a_node_is_made_a_teardown_by_hand_and_may_decide() {
    use flow_runtime::core::dag::TaskKind;
    let dag = by_hand::dag();
    assert_eq!(dag.task("open").unwrap().kind, TaskKind::Setup);
    assert_eq!(dag.task("close").unwrap().kind, TaskKind::Teardown { on_failure_fail_dagrun: true });
    assert_eq!(dag.task("close").unwrap().trigger_rule, TriggerRule::AllDoneSetupSuccess);
    let run = by_hand::test().run_blocking().failed();
    assert_eq!([run.state("open"), run.state("work"), run.state("close")], [Success, Success, Failed]);
}

#[task]
fn skips() -> Result<u32> {
    Err(TaskError::skip("nothing to set up"))
}

#[dag]
fn skipped_setup() {
    let opened = skips();
    close().teardown_of(opened) << work("x", false).after(opened);
}

#[test]
fn a_skipped_setup_takes_its_teardown_with_it() {
    let run = skipped_setup::test().run_blocking().succeeded();
    assert_eq!([run.state("skips"), run.state("work"), run.state("close")], [Skipped, Skipped, Skipped]);
}

#[task_group]
fn on_a_cluster(fails: bool) {
    let cluster = create(false);
    delete(cluster, false) << work(cluster, fails);
}

#[task]
fn publish() {}

#[dag]
fn then_publish(#[default(false)] fails: bool) {
    on_a_cluster(fails) >> publish();
}

#[test]
fn what_comes_after_a_group_waits_for_its_work_and_not_for_its_teardown() {
    let dag = then_publish::dag();
    let upstream = &dag.task("publish").unwrap().upstream;
    assert_eq!(upstream.iter().map(|&u| &*dag.tasks[u as usize].task_id).collect::<Vec<_>>(), ["on_a_cluster.work"]);
    let run = then_publish::test().param("fails", true).run_blocking().failed();
    assert_eq!([run.state("publish"), run.state("on_a_cluster.delete")], [UpstreamFailed, Success]);
}
