//! Tables of texts and layers.

use super::*;
use serde_json::json;
use std::path::Path;

fn param(name: &str, type_name: &str, schema: Value, default: Option<Value>) -> ParamDef {
    ParamDef { name: name.into(), doc: None, type_name: type_name.into(), schema, default, secret: false }
}

fn dag() -> Dag {
    let mut dag = Dag::new("taxi");
    let mut password = param("password", "Secret<u64>", json!({"type": "integer"}), None);
    password.secret = true;
    password.doc = Some("Of the warehouse.\n\nMore.".into());
    dag.params = vec![
        param("url", "String", json!({"type": "string"}), Some(json!("a"))),
        param("rows", "u32", json!({"type": "integer"}), None),
        password,
    ];
    dag
}

fn resolve_with(flags: &[&str], env: &[(&str, &str)], json: Value, toml: &str) -> Result<Vec<(String, String)>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("flow.toml"), toml).unwrap();
    let config = Config::load(folder.path(), &Default::default(), |_| None).unwrap();
    let flags: Vec<String> = flags.iter().map(|f| (*f).to_string()).collect();
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string());
    let json = json.as_object().cloned().unwrap_or_default();
    let dag = dag();
    let resolved = resolve(&dag, &Given { config: &config, env: &env, json, flags: &flags })?;
    Ok(resolved.iter().map(|p| (p.shown().map_or(String::new(), |v| v.to_string()), p.origin.to_string())).collect())
}

#[test]
fn texts_are_read_as_the_type_that_the_param_wants() {
    let string = json!({"type": "string"});
    let optional = json!({"type": ["string", "null"]});
    let mode = json!({"$ref": "#/$defs/Mode", "$defs": {"Mode": {"oneOf": [{"type": "string", "const": "full"}]}}});
    for (schema, text, value) in [
        (&string, "1", json!("1")),
        (&string, "\"q\"", json!("\"q\"")),
        (&string, "a=b", json!("a=b")),
        (&string, "", json!("")),
        (&optional, "null", json!(null)),
        (&optional, "x", json!("x")),
        (&mode, "full", json!("full")),
        (&json!({"type": "integer"}), "12", json!(12)),
        (&json!({"type": "number"}), "1.5", json!(1.5)),
        (&json!({"type": "number"}), "2", json!(2)),
        (&json!({"type": "boolean"}), "true", json!(true)),
        (&json!({"type": "array"}), "[1, 2]", json!([1, 2])),
        (&json!({"type": "object"}), "{\"a\": 1}", json!({"a": 1})),
        (&json!({"type": "string", "format": "date"}), "2021-01-01", json!("2021-01-01")),
        (&json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), "3", json!(3)),
        (&json!(true), "x", json!("x")),
        (&json!({}), "3", json!(3)),
    ] {
        assert_eq!(read(&param("p", "T", schema.clone(), None), json!(text), true), Ok(value), "{schema} {text}");
    }
}

#[test]
fn a_wrong_type_names_param_type_and_text() {
    for (schema, type_name, text, said) in [
        ("integer", "u32", "many", "param `p` takes a whole number (u32), not `many`"),
        ("integer", "u32", "1.5", "param `p` takes a whole number (u32), not `1.5`"),
        ("integer", "u32", "", "param `p` takes a whole number (u32), and nothing was given"),
        ("boolean", "bool", "yes", "param `p` takes true or false (bool), not `yes`"),
        ("array", "Vec<u8>", "1,2", "param `p` takes a JSON list (Vec<u8>), not `1,2`"),
        ("integer", "u32", "http://u:hunter2@h", "param `p` takes a whole number (u32), not `http://u:***@h`"),
    ] {
        assert_eq!(
            read(&param("p", type_name, json!({"type": schema}), None), json!(text), true),
            Err(said.to_string())
        );
    }
}

#[test]
fn the_layer_nearest_to_the_person_wins() {
    let toml = "[params]\nurl = 'global'\n";
    let with_dag = "[params]\nurl = 'global'\n[dags.taxi.params]\nurl = 'dag'\n";
    let env = [("FLOW_PARAM_URL", "env")];
    for (flags, env, json, toml, value, origin) in [
        (&[][..], &[][..], json!({}), "", "a", "default"),
        (&[], &[], json!({}), toml, "global", "flow.toml [params]"),
        (&[], &[], json!({}), with_dag, "dag", "flow.toml [dags.taxi.params]"),
        (&[], &env, json!({}), with_dag, "env", "env FLOW_PARAM_URL"),
        (&[], &env, json!({"url": "json"}), with_dag, "json", "--params-json"),
        (&["url=flag"], &env, json!({"url": "json"}), with_dag, "flag", "--param"),
        (&["url=one", "url=two"], &env, json!({}), with_dag, "two", "--param"),
    ] {
        let resolved = resolve_with(flags, env, json, toml).unwrap();
        assert_eq!(resolved[0], (json!(value).to_string(), origin.to_string()));
    }
}

#[test]
fn an_unknown_param_is_told_with_what_there_is_and_without_its_value() {
    let error = resolve_with(&["ulr=hunter2", "hunter2", "rows"], &[], json!({"row": "hunter2"}), "").unwrap_err();
    assert_eq!(
        error.message,
        "DAG `taxi` has no param `ulr`: did you mean `url`? (its params: url, rows, password)\n\
         a `--param` has no `=`: write `--param NAME=VALUE`\n\
         `--param rows` has no value: write `--param rows=VALUE`\n\
         DAG `taxi` has no param `row`: did you mean `rows`? (its params: url, rows, password) (--params-json)"
    );
}

#[test]
fn a_secret_is_never_shown() {
    let error = resolve_with(&["password=planted-secret"], &[], json!({}), "").unwrap_err();
    assert_eq!(
        error.message,
        "param `password` takes a whole number (Secret<u64>), and what was given is not shown (--param)"
    );
    let resolved = resolve_with(&[], &[("FLOW_PARAM_PASSWORD", "123456789")], json!({}), "").unwrap();
    assert_eq!(resolved[2], ("\"***\"".to_string(), "env FLOW_PARAM_PASSWORD".to_string()));
    assert_eq!(secret::redact("planted-secret 123456789"), "*** ***");
}

#[test]
fn what_is_missing_is_named_with_its_doc_and_how_to_give_it() {
    let config = Config::at(Path::new("/"));
    let dag = dag();
    let resolved = resolve(&dag, &Given { config: &config, env: &|_| None, json: Map::new(), flags: &[] }).unwrap();
    let error = complete(&dag, resolved).unwrap_err();
    assert_eq!(error.message, "DAG `taxi` needs its params `rows`, `password`, which have no default");
    assert_eq!(
        error.hints,
        [
            "rows: u32: --param rows=..  or FLOW_PARAM_ROWS  or [params] in flow.toml",
            "password: Secret<u64> - Of the warehouse: set FLOW_PARAM_PASSWORD (a flag would be seen by others on this machine)"
        ]
    );
}
