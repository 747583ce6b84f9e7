//! Params: what a person gave, checked against the schemas that the author's types made.

mod format;
mod schema;
mod validate;

use crate::dag::ParamDef;
use crate::slip;
use serde_json::{Map, Value};
use std::fmt;

/// May a run be given params that its DAG does not name?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extra {
    /// They are kept, as in Airflow.
    Allow,
    /// They are a mistake.
    #[default]
    Refuse,
}

/// What is wrong with one param; prints as one sentence, which never holds the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamProblem {
    /// Its name.
    pub param: String,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

/// What may be wrong with a param.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// It has no default and was not given.
    Missing {
        /// Its type.
        type_name: String,
    },
    /// The DAG has no such param.
    Unknown {
        /// Those that it has.
        known: Vec<String>,
    },
    /// The value is not what it takes.
    Refused {
        /// Its type.
        type_name: String,
        /// What it takes and what was given, to follow the param's name: `takes an integer, not "x"`.
        why: String,
    },
    /// Its schema cannot be read, which is the author's mistake and not that of who gave the value.
    Schema {
        /// What is wrong with the schema.
        why: String,
    },
}

impl fmt::Display for ParamProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let param = &self.param;
        match &self.kind {
            ProblemKind::Missing { type_name } => {
                write!(f, "the param `{param}` ({type_name}) is required and was not given")
            }
            ProblemKind::Unknown { known } => {
                write!(f, "there is no param `{param}`")?;
                if let Some(meant) = slip::meant(param, known.iter().map(String::as_str)) {
                    write!(f, ": did you mean `{meant}`?")?;
                }
                if known.is_empty() {
                    write!(f, " (there is none)")
                } else {
                    write!(f, " (there are: {})", known.join(", "))
                }
            }
            ProblemKind::Refused { type_name, why } => {
                write!(f, "the param `{param}` ({type_name}) {why}")
            }
            ProblemKind::Schema { why } => {
                write!(f, "the schema of the param `{param}` is wrong: {why}")
            }
        }
    }
}

impl std::error::Error for ParamProblem {}

/// The params of a run: what was given, over the defaults. Every problem is told, not only the first.
pub fn check(
    defs: &[ParamDef],
    given: &Map<String, Value>,
    extra: Extra,
) -> Result<Map<String, Value>, Vec<ParamProblem>> {
    let mut values = Map::new();
    let mut problems = Vec::new();
    for def in defs {
        match given.get(&def.name).or(def.default.as_ref()) {
            None => {
                let kind = ProblemKind::Missing { type_name: def.type_name.clone() };
                problems.push(ParamProblem { param: def.name.clone(), kind });
            }
            Some(value) => match check_one(def, value) {
                Ok(()) => {
                    values.insert(def.name.clone(), value.clone());
                }
                Err(problem) => problems.push(problem),
            },
        }
    }
    for (name, value) in given {
        if defs.iter().any(|def| def.name == *name) {
            continue;
        }
        match extra {
            Extra::Allow => {
                values.insert(name.clone(), value.clone());
            }
            Extra::Refuse => {
                let known = defs.iter().map(|def| def.name.clone()).collect();
                problems.push(ParamProblem { param: name.clone(), kind: ProblemKind::Unknown { known } });
            }
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

/// Checks the schemas of the params and the defaults that there are; `required` also asks for a default each, as a
/// DAG with a schedule must have, since nobody is there to give values.
pub fn check_defaults(defs: &[ParamDef], required: bool) -> Result<(), Vec<ParamProblem>> {
    let problem = |def: &ParamDef| match &def.default {
        Some(value) => check_one(def, value).err(),
        None if required => Some(ParamProblem {
            param: def.name.clone(),
            kind: ProblemKind::Missing { type_name: def.type_name.clone() },
        }),
        None => schema_problem(def),
    };
    let problems: Vec<ParamProblem> = defs.iter().filter_map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Checks one value against the schema of its param.
pub fn check_one(def: &ParamDef, value: &Value) -> Result<(), ParamProblem> {
    if let Some(problem) = schema_problem(def) {
        return Err(problem);
    }
    validate::validate(&def.schema, value).map_err(|fault| {
        let kind = match fault {
            validate::Fault::Schema(why) => ProblemKind::Schema { why },
            validate::Fault::Value { .. } => {
                ProblemKind::Refused { type_name: def.type_name.clone(), why: fault.sentence(def.secret) }
            }
        };
        ParamProblem { param: def.name.clone(), kind }
    })
}

fn schema_problem(def: &ParamDef) -> Option<ParamProblem> {
    let why = schema::problem(&def.schema)?;
    Some(ParamProblem { param: def.name.clone(), kind: ProblemKind::Schema { why } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn def(name: &str, type_name: &str, schema: Value, default: Option<Value>) -> ParamDef {
        ParamDef { name: name.into(), doc: None, type_name: type_name.into(), schema, default, secret: false }
    }

    fn given(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn what_was_given_goes_over_the_defaults() {
        let defs = [
            def("year", "i32", json!({"type": "integer"}), Some(json!(2021))),
            def("name", "Option<String>", json!({"type": ["string", "null"]}), Some(Value::Null)),
        ];
        let values = check(&defs, &given(json!({"year": 2022})), Extra::Refuse).expect("it fits");
        assert_eq!(Value::Object(values), json!({"year": 2022, "name": null}));
    }

    #[test]
    fn every_problem_is_told_in_a_sentence() {
        let defs = [
            def("year", "i32", json!({"type": "integer", "minimum": 2009}), None),
            def("mode", "Mode", json!({"enum": ["full", "delta"]}), None),
            def("url", "String", json!({"type": "string"}), None),
            def("size", "Size", json!({"$ref": "#/$defs/none"}), None),
        ];
        let wrong = given(json!({"year": "x", "mode": "fast", "size": 1, "yaer": 3}));
        let problems = check(&defs, &wrong, Extra::Refuse).expect_err("all is wrong");
        let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            sentences,
            [
                "the param `year` (i32) takes an integer, not \"x\"",
                "the param `mode` (Mode) takes one of \"full\", \"delta\", not \"fast\"",
                "the param `url` (String) is required and was not given",
                "the schema of the param `size` is wrong: it refers to `#/$defs/none`, which it does not hold",
                "there is no param `yaer`: did you mean `year`? (there are: year, mode, url, size)",
            ]
        );
    }

    #[test]
    fn a_fault_inside_a_value_is_placed() {
        let schema = json!({"type": "array", "items": {"properties": {"n": {"maximum": 5}}, "required": ["n"]}});
        let def = def("rows", "Vec<Row>", schema, None);
        let sentence = |value| check_one(&def, &value).expect_err("it is wrong").to_string();
        assert_eq!(
            sentence(json!([{"n": 1}, {"n": 9}])),
            "the param `rows` (Vec<Row>) at [1].n takes a number of at most 5, not 9"
        );
        assert_eq!(
            sentence(json!([{}])),
            "the param `rows` (Vec<Row>) at [0] takes an object with the key `n`, not {}"
        );
    }

    #[test]
    fn a_secret_is_never_shown() {
        let mut def = def("key", "Secret<Key>", json!({"properties": {"hunter1": {"pattern": "^a"}}}), None);
        def.secret = true;
        for value in [json!({"hunter1": "hunter2"}), json!({"hunter1": ""})] {
            let problem = check_one(&def, &value).expect_err("it is wrong");
            assert!(!format!("{problem} {problem:?}").contains("hunter"), "{problem}");
            assert!(problem.to_string().ends_with("and what was given is not shown"), "{problem}");
        }
    }

    #[test]
    fn a_scheduled_dag_needs_every_default() {
        let defs = [def("year", "i32", json!({"type": "integer"}), None)];
        assert!(check_defaults(&defs, false).is_ok());
        assert!(check_defaults(&defs, true).is_err());
    }
}
