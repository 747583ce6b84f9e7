//! Tasks under one name, and mapped as one.

use flow_runtime::core::TaskState::{Failed, Success, UpstreamFailed};
use flow_runtime::prelude::*;

#[task]
fn fetch(month: &str) -> Result<String> {
    ensure!(month != "feb", "no data for {month}");
    Ok(format!("csv of {month}"))
}

#[task]
fn convert(csv: String, lake: &str) -> String {
    format!("{lake}/{csv}")
}

#[task]
fn count(files: &[String]) -> usize {
    files.len()
}

#[task]
fn months() -> Vec<String> {
    ["jan", "feb", "mar"].map(String::from).into()
}

#[task]
fn before() {}

#[task]
fn after() {}

/// One month.
#[task_group(defaults(retries = 2, retry_delay = "1s"))]
fn month(month: String, lake: String) -> Node<String> {
    let csv = fetch(month);
    let file = convert(csv, lake).retries(0);
    check(file);
    file
}

/// Looks at a file.
#[task_group(id = "checks")]
fn check(file: String) {
    let first = before();
    first >> convert(file, "checked").id("second");
}

#[dag]
fn grouped(#[default("lake")] lake: String) {
    let january = month("jan", lake);
    let march = month("mar", lake);
    count([january, march]);
    let whole = check(march);
    before() >> whole >> after();
}

#[test]
fn groups_prefix_ids_nest_and_stand_in_order_as_a_whole() {
    let dag = grouped::dag();
    let ids: Vec<&str> = dag.tasks.iter().map(|t| t.task_id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "month.fetch",
            "month.convert",
            "month.checks.before",
            "month.checks.second",
            "month__1.fetch",
            "month__1.convert",
            "month__1.checks.before",
            "month__1.checks.second",
            "count",
            "checks.before",
            "checks.second",
            "before",
            "after",
        ]
    );
    let groups: Vec<_> = dag.groups.iter().map(|g| (g.group_id.as_str(), g.parent, g.doc.as_deref())).collect();
    assert_eq!(groups[0], ("month", None, Some("One month.")));
    assert_eq!(groups[1], ("month.checks", Some(0), Some("Looks at a file.")));
    let task = |id: &str| dag.task(id).unwrap();
    assert_eq!(
        (task("month.fetch").retry.retries, task("month.convert").retry.retries, task("count").retry.retries),
        (2, 0, 0)
    );
    let up = |id: &str| task(id).upstream.iter().map(|&u| dag.tasks[u as usize].task_id.as_str()).collect::<Vec<_>>();
    assert_eq!(up("checks.before"), ["before"]);
    assert_eq!(up("checks.second"), ["month__1.convert", "checks.before"]);
    assert_eq!(up("after"), ["checks.second"]);
    let run = grouped::test().run_blocking().succeeded();
    assert_eq!(run.value::<usize>("count"), 2);
    assert_eq!(run.value::<String>("month__1.convert"), "lake/csv of mar");
}

#[dag]
fn mapped(#[default("lake")] lake: String) {
    let files = month::expand(each(months()), lake);
    count(files);
    collect(files);
}

#[task(trigger_rule = "all_done")]
fn collect(files: Option<Vec<String>>) -> Vec<String> {
    files.unwrap_or_default()
}

#[test]
fn a_mapped_group_goes_on_element_by_element() {
    let run = mapped::test().run_blocking().failed();
    assert_eq!(run.states("month.fetch"), [Success, Failed, Success]);
    assert_eq!(run.states("month.convert"), [Success, UpstreamFailed, Success]);
    assert_eq!(run.states("month.checks.second"), [Success, UpstreamFailed, Success]);
    assert_eq!(run.values::<String>("month.checks.second"), ["checked/lake/csv of jan", "checked/lake/csv of mar"]);
    assert_eq!(run.state("count"), UpstreamFailed);
    assert_eq!(run.value::<Vec<String>>("collect"), ["lake/csv of jan", "lake/csv of mar"]);
    // No barrier: a month goes on without waiting for the others, whose retries take their time.
    let order = run.order();
    let at = |label: &str| order.iter().position(|l| l == label).unwrap();
    assert!(at("month.checks.second[2]") < order.len());
    assert_eq!(run.labels("month.fetch"), ["month=jan", "month=feb", "month=mar"]);
    assert_eq!(run.labels("month.convert"), ["month=jan", "", "month=mar"]);
}

#[task]
fn pair(a: u32, b: &str, all: &[String]) -> String {
    format!("{a}{b}{}", all.join(""))
}

#[task]
fn word(b: &str) -> String {
    b.to_uppercase()
}

#[task_group]
fn both(b: String, a: u32) -> (Node<String>, Node<String>) {
    let loud = word(b);
    (pair(a, b, [loud]), loud)
}

#[dag]
fn crossed() {
    let (pairs, words) = both::expand(each(["x", "y"]), each(1..=2u32));
    count(pairs);
    count(words).id("words");
}

#[test]
fn the_first_list_of_a_group_is_the_slowest_whatever_reads_it_first() {
    let run = crossed::test().run_blocking().succeeded();
    assert_eq!(run.values::<String>("both.pair"), ["1xX", "2xX", "1yY", "2yY"]);
    assert_eq!(run.values::<String>("both.word"), ["X", "X", "Y", "Y"]);
    assert_eq!((run.value::<usize>("count"), run.value::<usize>("words")), (4, 4));
}

#[test]
fn mistakes_are_told_when_the_dag_is_built() {
    #[task_group]
    fn hollow(_x: String) {}
    #[task_group(prefix = false)]
    fn outer(list: Vec<String>) {
        month::expand(each(list), "lake");
    }
    let built = DagBuilder::new("mistakes").build(|_| {
        hollow::node("x");
        month::expand("jan", "lake");
        outer::expand(each(vec![vec!["a".to_string()]]));
        let list = months::node();
        twice::expand(each(list), each(list));
    });
    let error = built.unwrap_err().to_string();
    for said in [
        "group `hollow` has no task",
        "group `month` is expanded over nothing",
        "group `month` is expanded inside a group that is expanded itself",
        "group `twice` is expanded over one list twice, for `a` and for `b`",
    ] {
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[task_group]
fn twice(a: String, b: String) {
    convert(a, b);
}

#[task]
fn split(month: &str) -> (String, usize) {
    (month.to_uppercase(), month.len())
}

#[task]
fn sum(all: &[usize]) -> usize {
    all.iter().sum()
}

#[task_group]
fn loud(month: String) -> (Node<String>, Node<usize>) {
    let (word, length) = split(month);
    (word, length)
}

#[task]
fn again(word: &str) -> String {
    word.to_lowercase()
}

#[dag]
fn parts_of_many() {
    let (words, lengths) = loud::expand(each(months()));
    again::expand(each(words));
    count(words);
    sum(lengths);
}

#[test]
fn a_mapped_group_gives_a_part_of_each_tuple() {
    let run = parts_of_many::test().run_blocking().succeeded();
    assert_eq!(run.values::<String>("again"), ["jan", "feb", "mar"]);
    assert_eq!((run.value::<usize>("count"), run.value::<usize>("sum")), (3, 9));
}
