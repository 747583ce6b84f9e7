//! Values for params: where each comes from, and texts turned into the type that the param wants.
//!
//! The nearest to the person wins: `--param`, then `--params-json`, then the variable `FLOW_PARAM_<NAME>`, then
//! `[dags.<id>.params]` and `[params]` of flow.toml, then the default. A secret is never part of a message.

use super::exit::{CliError, Result};
use crate::config::Config;
use crate::{secret, suggest};
use flow_core::Dag;
use flow_core::dag::ParamDef;
use flow_core::params::Extra;
use serde_json::{Map, Value};
use std::fmt;

/// Everything that was given, by layer.
pub struct Given<'a> {
    /// flow.toml.
    pub config: &'a Config,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The object of `--params-json`.
    pub json: Map<String, Value>,
    /// The `NAME=VALUE` of each `--param`.
    pub flags: &'a [String],
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is required, and was not given.
    Missing,
    /// The author.
    Default,
    /// `[params]` of flow.toml.
    Global,
    /// `[dags.<id>.params]` of flow.toml.
    Dag(String),
    /// This variable.
    Env(String),
    /// `--params-json`
    Json,
    /// `--param`
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Missing => f.write_str("missing"),
            Origin::Default => f.write_str("default"),
            Origin::Global => f.write_str("flow.toml [params]"),
            Origin::Dag(dag) => write!(f, "flow.toml [dags.{dag}.params]"),
            Origin::Env(name) => write!(f, "env {name}"),
            Origin::Json => f.write_str("--params-json"),
            Origin::Flag => f.write_str("--param"),
        }
    }
}

/// A param with its value in force.
#[derive(Debug, Clone)]
pub struct Resolved<'d> {
    /// The param.
    pub def: &'d ParamDef,
    /// Its value.
    pub value: Option<Value>,
    /// Where that comes from.
    pub origin: Origin,
}

impl Resolved<'_> {
    /// The value for a person or a program to see.
    pub fn shown(&self) -> Option<Value> {
        let shown = |value: &Value| match value {
            // That no secret is set is none.
            Value::Null => Value::Null,
            _ if self.def.secret => Value::from(secret::MARK),
            value => secret::redact_value(value),
        };
        self.value.as_ref().map(shown)
    }
}

/// How the variables begin that set params.
pub const ENV_PREFIX: &str = "FLOW_PARAM_";

/// The variable that sets this param.
pub fn env_name(param: &str) -> String {
    format!("{ENV_PREFIX}{}", param.to_uppercase())
}

/// The value in force of every param of a DAG. All mistakes are told at once; that one is missing is none yet.
pub fn resolve<'d>(dag: &'d Dag, given: &Given<'_>) -> Result<Vec<Resolved<'d>>> {
    let of_dag = given.config.dag_params.get(&dag.dag_id);
    let mut problems = Vec::new();
    let mut flags = Map::new();
    for flag in given.flags {
        match split(dag, flag) {
            Ok((name, text)) => drop(flags.insert(name.into(), Value::from(text))),
            Err(problem) => problems.push(problem),
        }
    }
    let json_names = given.json.keys().map(|n| (n, "--params-json"));
    for (name, wher) in json_names.chain(of_dag.into_iter().flat_map(Map::keys).map(|n| (n, "flow.toml"))) {
        if !dag.params.iter().any(|p| &p.name == name) {
            problems.push(format!("{} ({wher})", unknown(dag, name)));
        }
    }
    let mut resolved = Vec::new();
    for def in &dag.params {
        let variable = env_name(&def.name);
        let env = (given.env)(&variable).map(Value::from);
        // From the weakest to the strongest; true for a text that is still to be read.
        let layers = [
            (Origin::Global, given.config.params.get(&def.name).cloned(), false),
            (Origin::Dag(dag.dag_id.clone()), of_dag.and_then(|p| p.get(&def.name)).cloned(), false),
            (Origin::Env(variable), env, true),
            (Origin::Json, given.json.get(&def.name).cloned(), false),
            (Origin::Flag, flags.remove(&def.name), true),
        ];
        let first = if def.default.is_some() { Origin::Default } else { Origin::Missing };
        let mut param = Resolved { def, value: def.default.clone(), origin: first };
        for (origin, value, text) in layers {
            let Some(value) = value else { continue };
            if def.secret {
                secret::conceal(&value);
            }
            match read(def, value, text) {
                Ok(value) => (param.value, param.origin) = (Some(value), origin),
                Err(problem) => problems.push(format!("{problem} ({origin})")),
            }
        }
        if let Some(value) = &param.value {
            if def.secret { secret::conceal(value) } else { secret::conceal_passwords(value) }
        }
        resolved.push(param);
    }
    if problems.is_empty() { Ok(resolved) } else { Err(CliError::input(problems.join("\n"))) }
}

/// What was given and is not the default, for a run; an error names every required param that is missing.
pub fn complete(dag: &Dag, resolved: Vec<Resolved<'_>>) -> Result<Map<String, Value>> {
    let missing: Vec<&Resolved<'_>> = resolved.iter().filter(|p| p.origin == Origin::Missing).collect();
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|p| format!("`{}`", p.def.name)).collect();
        let (s, has) = if names.len() == 1 { ("", "has") } else { ("s", "have") };
        let message = format!("DAG `{}` needs its param{s} {}, which {has} no default", dag.dag_id, names.join(", "));
        return Err(CliError::input(message).hints(missing.iter().map(|p| how_to_give(p.def))));
    }
    let given = resolved.into_iter().filter(|p| p.origin != Origin::Default);
    let given: Map<String, Value> = given.filter_map(|p| Some((p.def.name.clone(), p.value?))).collect();
    // The engine asks once more; asked here, nothing was made yet.
    match flow_core::params::check(&dag.params, &given, Extra::Refuse) {
        Ok(_) => Ok(given),
        Err(problems) => Err(CliError::input(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))),
    }
}

/// `url: String - The file: --param url=..`
pub fn how_to_give(def: &ParamDef) -> String {
    let doc = super::format::first_line(def.doc.as_deref());
    let doc = if doc.is_empty() { String::new() } else { format!(" - {}", doc.trim_end_matches('.')) };
    let name = &def.name;
    let how = if def.secret {
        format!("set {} (a flag would be seen by others on this machine)", env_name(name))
    } else {
        format!("--param {name}=..  or {}  or [params] in flow.toml", env_name(name))
    };
    format!("{name}: {}{doc}: {how}", def.type_name)
}

/// Takes `NAME=VALUE` apart. The value is never part of a message: nobody knows yet whether it is a secret.
fn split<'f>(dag: &Dag, flag: &'f str) -> std::result::Result<(&'f str, &'f str), String> {
    let known = |name: &str| dag.params.iter().any(|p| p.name == name);
    match flag.split_once('=') {
        Some((name, text)) if known(name.trim()) => Ok((name.trim(), text)),
        Some((name, _)) => Err(unknown(dag, name.trim())),
        None if known(flag) => Err(format!("`--param {flag}` has no value: write `--param {flag}=VALUE`")),
        None => Err("a `--param` has no `=`: write `--param NAME=VALUE`".to_string()),
    }
}

fn unknown(dag: &Dag, name: &str) -> String {
    let names: Vec<&str> = dag.params.iter().map(|p| p.name.as_str()).collect();
    let near =
        suggest::nearest(name, names.iter().copied()).map_or(String::new(), |n| format!(": did you mean `{n}`?"));
    let all = if names.is_empty() { "it has none".into() } else { format!("its params: {}", names.join(", ")) };
    format!("DAG `{}` has no param `{name}`{near} ({all})", dag.dag_id)
}

/// The value, as the param's type; a text is read as that type first.
fn read(def: &ParamDef, value: Value, text: bool) -> std::result::Result<Value, String> {
    let types = types(&def.schema, &def.schema);
    let fits = |value: &Value| types.is_empty() || types.iter().any(|t| is(value, t));
    let found = match (text, &value) {
        (true, Value::String(text)) => {
            let read = serde_json::from_str::<Value>(text).ok();
            let string = types.is_empty() || types.contains(&"string");
            match read {
                // `null` and whatever else the type takes besides texts; a text stays what it is.
                Some(read) if !read.is_string() && fits(&read) => Some(read),
                _ if string => Some(value.clone()),
                Some(read) if fits(&read) => Some(read),
                _ => None,
            }
        }
        _ => fits(&value).then(|| value.clone()),
    };
    found.ok_or_else(|| {
        let given = match &value {
            _ if def.secret => "and what was given is not shown".to_string(),
            Value::String(text) if text.is_empty() => "and nothing was given".to_string(),
            Value::String(text) => format!("not `{}`", super::format::short(&secret::redact(text), 80)),
            other => format!("not {}", super::format::short(&secret::redact(&other.to_string()), 80)),
        };
        format!("param `{}` takes {} ({}), {given}", def.name, words(&types), def.type_name)
    })
}

/// The JSON types that a schema takes; none where it does not say.
fn types<'s>(schema: &'s Value, root: &'s Value) -> Vec<&'s str> {
    let mut found = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if let Some(path) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#'))
        && let Some(target) = root.pointer(path)
        && !std::ptr::eq(target, schema)
    {
        found.extend(types(target, root));
    }
    for key in ["anyOf", "oneOf"] {
        found.extend(schema[key].as_array().into_iter().flatten().flat_map(|s| types(s, root)));
    }
    found.dedup();
    found
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn words(types: &[&str]) -> String {
    let word = |kind: &&str| match *kind {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a JSON list",
        "object" => "a JSON object",
        "null" => "null",
        _ => "a value",
    };
    types.iter().map(word).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
