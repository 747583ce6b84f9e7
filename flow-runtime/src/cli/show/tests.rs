use super::*;
use crate::builder::DagBuilder;
use crate::cli::params::Origin;
use crate::registry::{ArgSpec, Body, TaskOptions, TaskSpec};
use crate::value::Erased;

fn nothing(_: crate::value::Inputs, _: crate::Context) -> anyhow::Result<Erased> {
    Erased::new(())
}

static DOWNLOAD: TaskSpec = TaskSpec {
    name: "download",
    body: "tests::download",
    doc: None,
    file: "x.rs",
    line: 1,
    output: "CsvFile",
    args: &[ArgSpec { name: "url", type_name: "String" }],
    options: TaskOptions { retries: Some(3), ..TaskOptions::NONE },
    run: Body::Blocking(nothing),
    cache: None,
};

fn dag(id: &str) -> Dag {
    let dag = DagBuilder::new(id).doc("Loads trips.").schedule("@monthly").start_date("2021-01-01").catchup(true);
    dag.build(|dag| {
        let url = dag.param::<String>("url").doc("Where it lies.").default("file:///a.csv").add();
        dag.param::<crate::Secret<String>>("token").add();
        let csv = crate::builder::add_task::<()>(
            &DOWNLOAD,
            vec![crate::builder::Arg::<String, ()>::input(url, std::panic::Location::caller())],
        );
        let again = crate::builder::add_task::<()>(
            &DOWNLOAD,
            vec![crate::builder::Arg::<String, ()>::input("b", std::panic::Location::caller())],
        );
        let _ = csv >> again.id("again");
    })
    .unwrap()
}

#[test]
fn a_dag_is_shown_with_params_and_typed_edges() {
    let dag = dag("trips");
    let scope = Scope { global: true, shared_with: vec!["other".into()], read_by: vec!["download".into()] };
    let (url, token) = (&dag.params[0], &dag.params[1]);
    let params = [
        (
            Resolved { def: url, value: Some("file:///b.csv".into()), origin: Origin::Env("FLOW_PARAM_URL".into()) },
            scope,
        ),
        (Resolved { def: token, value: Some("hunter2".into()), origin: Origin::Flag }, Scope::default()),
    ];
    let shown = text(&dag, &params, &["lake = \"x\"".into()], 100, Paint(false)).join("\n");
    let expected = "\
trips
  Loads trips.
  schedule  @monthly from 2021-01-01, catches up

Params
  url: String = \"file:///b.csv\"  (env FLOW_PARAM_URL; default \"file:///a.csv\")
      Where it lies.
      global · shared with other · read by download
  token: Secret<String> = ***  (--param)
      read by no task as an argument

Global params  flow.toml [params], read by Context::param
  lake = \"x\"

Tasks
  download -> CsvFile  3 retries after 5m
      url: String <- param url
  again -> CsvFile  3 retries after 5m
      url: String <- \"b\"
      after download";
    assert_eq!(shown, expected);
}

/// However long what is written down is, a line of it is not; all of it is there as JSON.
#[test]
fn long_values_are_cut() {
    let long = serde_json::json!({ "columns": vec!["a rather long name of a column"; 50] });
    let dag = DagBuilder::new("long").build(|_| {
        let input = crate::builder::Input::record([
            ("how", crate::builder::Arg::<serde_json::Value, ()>::input(long.clone(), std::panic::Location::caller())),
            ("then", crate::builder::Arg::<serde_json::Value, ()>::input(long.clone(), std::panic::Location::caller())),
        ]);
        crate::builder::add_task::<()>(&DOWNLOAD, vec![input]);
    });
    let dag = dag.unwrap();
    let globals = [format!("how = {}", brief(&long))];
    for (width, most) in [(100, 100), (60, 61)] {
        let lines = text(&dag, &[], &globals, width, Paint(false));
        assert!(lines.iter().all(|line| line.chars().count() <= most), "{width}: {lines:#?}");
        assert!(lines.iter().any(|line| line.contains("url: String <- {how: {\"columns\"") && line.ends_with('…')));
    }
}
