//! A struct of params beside single ones.

use flow_runtime::prelude::*;
use serde_json::json;

/// What a load needs to know.
#[params]
pub struct Load {
    /// Where the file is.
    #[default("file:///a.csv")]
    pub url: String,
    /// At most so many rows.
    pub limit: Option<u32>,
    /// The key of the store.
    pub key: Secret<String>,
}

#[task]
fn fetch(url: &str, limit: Option<u32>) -> String {
    format!("{url} {limit:?}")
}

#[task]
fn whole(load: &Load, day: &str) -> Result<String> {
    ensure!(load.key.expose() == "the-key-4711", "a wrong key");
    Ok(format!("{} {:?} {day}", load.url, load.limit))
}

#[dag]
fn loads(#[params] load: Load, #[default("monday")] day: String) {
    fetch(load.url, load.limit);
    whole(load, day);
}

#[test]
fn each_field_is_a_param_and_the_whole_an_argument() {
    let dag = loads::dag();
    let names: Vec<_> = dag.params.iter().map(|p| (p.name.as_str(), p.type_name.as_str(), p.secret)).collect();
    assert_eq!(
        names,
        [
            ("url", "String", false),
            ("limit", "Option<u32>", false),
            ("key", "Secret<String>", true),
            ("day", "String", false)
        ]
    );
    assert_eq!(dag.params[0].doc.as_deref(), Some("Where the file is."));
    assert_eq!(dag.param_readers()["url"], ["fetch", "whole"]);
    let run = loads::test().param("key", "the-key-4711").param("limit", 7).run_blocking().succeeded();
    assert_eq!(run.value::<String>("fetch"), "file:///a.csv Some(7)");
    assert_eq!(run.value::<String>("whole"), "file:///a.csv Some(7) monday");
    let dag_json = serde_json::to_value(&dag).unwrap();
    assert_eq!(dag_json["tasks"][1]["inputs"][0]["source"]["record"]["limit"], json!({"param": "limit"}));
}
