//! One task, many instances.

use flow_runtime::core::TaskState::{Failed, Skipped, Success, UpstreamFailed};
use flow_runtime::core::dag::Source;
use flow_runtime::prelude::*;
use serde_json::json;

#[task]
fn list(n: u32) -> Vec<u32> {
    (0..n).collect()
}

#[task]
fn double(n: u32) -> u32 {
    n * 2
}

#[task]
fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[task]
fn total(all: &[u32]) -> u32 {
    all.iter().sum()
}

#[task]
fn label(name: &str, n: u32) -> String {
    format!("{name}{n}")
}

#[dag]
fn maps(#[default(3)] n: u32, #[default(vec![10, 20])] given: Vec<u32>) {
    let doubled = double::expand(each(list(n))); // over what a task returns ..
    let more = add::expand(each(doubled), 100u32); // .. over what a mapped task returned, instance by instance ..
    total(more); // .. and collected
    total(double::expand(each(given))).id("of_param");
    label::expand(each(["x", "y"]), each(1..=2u32)).id("cross");
    let nodes: Vec<_> = (0..2).map(|_| double(7)).collect();
    total(double::expand(each(nodes))).id("of_nodes");
}

#[test]
fn lists_of_every_kind_are_mapped_over() {
    let run = maps::test().run_blocking().succeeded();
    assert_eq!(run.values::<u32>("double"), [0, 2, 4]);
    assert_eq!(run.values::<u32>("add"), [100, 102, 104]);
    assert_eq!(run.value::<u32>("total"), 306);
    assert_eq!(run.value::<u32>("of_param"), 60);
    assert_eq!(run.values::<String>("cross"), ["x1", "x2", "y1", "y2"]);
    assert_eq!(run.value::<u32>("of_nodes"), 56);
    let dag = maps::dag();
    assert!(matches!(&dag.task("add").unwrap().inputs[0].source, Source::Each(s) if matches!(**s, Source::Output(_))));
    assert!(dag.task("double").unwrap().mapped && !dag.task("total").unwrap().mapped);
}

#[test]
fn an_empty_list_is_skipped_and_so_is_what_needs_it() {
    let run = maps::test().param("n", 0).param("given", json!([])).run_blocking().succeeded();
    assert_eq!(run.states("double"), [Skipped]);
    assert_eq!(run.states("add"), [Skipped]);
    assert_eq!(run.state("total"), Skipped);
    assert_eq!(run.state("of_param"), Skipped);
}

#[task(retries = 1, retry_delay = "1h")]
fn odd_fails_once(ctx: &Context, n: u32) -> Result<u32> {
    ensure!(n.is_multiple_of(2) || ctx.try_number() > 1, "{n} is odd");
    Ok(n)
}

#[task]
fn three_fails(n: u32) -> Result<u32> {
    ensure!(n != 3, "three!");
    Ok(n)
}

#[task(trigger_rule = "all_done")]
fn those(left: Option<Vec<u32>>) -> usize {
    left.unwrap_or_default().len()
}

#[dag]
fn failing() {
    let some = odd_fails_once::expand(each(0..4u32));
    let worse = three_fails::expand(each(some));
    total(worse);
    those(worse);
}

#[test]
fn instances_fail_and_are_retried_alone() {
    let run = failing::test().run_blocking().failed();
    assert_eq!(run.tries("odd_fails_once"), 6, "two of four needed a second try");
    assert_eq!(run.states("three_fails"), [Success, Success, Success, Failed]);
    assert_eq!(run.state("total"), UpstreamFailed);
    assert_eq!(run.value::<usize>("those"), 3, "the successful ones, in order");
    assert_eq!(run.cause("three_fails"), "three!");
}

#[task]
fn split(n: u32) -> (Vec<u32>, String) {
    ((0..n).collect(), format!("up to {n}"))
}

#[task(trigger_rule = "all_done")]
fn perhaps(text: Option<String>) -> usize {
    text.map_or(0, |t| t.len())
}

#[task]
fn fails() -> Result<(u32, String)> {
    bail!("no")
}

#[dag]
fn tuples() {
    let (numbers, text) = split(3);
    total(double::expand(each(numbers)));
    perhaps(text);
    let both = split(2).retries(1);
    let (other, _) = both;
    total(other).id("other");
    let (a, b) = (list(2), list(4)); // a plain tuple stays one
    total(a).id("a");
    total(b).id("b");
    let (_, nothing) = fails();
    perhaps(nothing).id("nothing");
}

#[test]
fn tuples_are_taken_apart_into_typed_nodes() {
    let run = tuples::test().run_blocking().succeeded();
    assert_eq!(run.value::<u32>("total"), 6);
    assert_eq!(run.value::<usize>("perhaps"), "up to 3".len());
    assert_eq!((run.value::<u32>("other"), run.value::<u32>("a"), run.value::<u32>("b")), (1, 1, 6));
    assert_eq!(run.value::<usize>("nothing"), 0);
}

#[task]
fn which() -> (String, u32) {
    ("full".into(), 7)
}

#[dag]
fn on_a_part() {
    let (kind, number) = which();
    list(1).when(kind, "full".to_string());
    list(2).when(kind, "delta".to_string()).id("delta");
    list(3).when(number, 7).id("seven");
}

#[test]
fn a_branch_looks_at_a_part_of_a_tuple() {
    let run = on_a_part::test().run_blocking().succeeded();
    assert_eq!([run.state("list"), run.state("delta"), run.state("seven")], [Success, Skipped, Success]);
}

#[test]
fn mistakes_are_told_when_the_dag_is_built() {
    let built = DagBuilder::new("mistakes").build(|_| {
        let many = double::node(1u32);
        double::expand(each([1, 2])).id("many");
        list::node(1).when(double::expand(each([1, 2])).id("choices"), vec![1]);
        let _ = many;
    });
    let error = built.unwrap_err().to_string();
    assert!(error.contains("`.when(..)` looks at `choices`, which is mapped and gives many values"), "{error}");
    let built = DagBuilder::new("mistakes").build(|_| {
        double::expand(1u32);
    });
    let error = built.unwrap_err().to_string();
    assert!(error.contains("task `double` is expanded over nothing: give at least one `each(list)`"), "{error}");
}

#[task]
fn many(n: u32) -> Vec<u32> {
    (0..n).collect()
}

#[dag(max_active_tasks = 64)]
fn wide(n: u32) {
    total(double::expand(each(many(n))));
}

#[test]
fn ten_thousand_instances_are_collected() {
    let run = wide::test().param("n", 10_000).run_blocking().succeeded();
    assert_eq!(run.value::<u32>("total"), 99_990_000);
    assert_eq!(run.states("double").len(), 10_000);
}

#[test]
fn instances_are_called_by_their_items() {
    let run = maps::test().run_blocking().succeeded();
    assert_eq!(run.labels("double"), ["n=0", "n=1", "n=2"]);
    assert_eq!(run.labels("cross"), ["name=x, n=1", "name=x, n=2", "name=y, n=1", "name=y, n=2"]);
    assert_eq!(run.labels("total"), [""]);
}
