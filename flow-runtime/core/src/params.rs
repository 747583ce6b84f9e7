//! Params: what a person gave, checked against the schemas that the author's types made.

use crate::dag::ParamDef;
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
    Unknown,
    /// The value is not what it takes.
    Refused {
        /// Its type.
        type_name: String,
        /// What is wrong with the value.
        why: String,
    },
    /// Its schema cannot be read.
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
                write!(
                    f,
                    "the param `{param}` ({type_name}) is required and was not given"
                )
            }
            ProblemKind::Unknown => write!(f, "there is no param `{param}`"),
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
        let problem = |kind| ParamProblem {
            param: def.name.clone(),
            kind,
        };
        match given.get(&def.name).or(def.default.as_ref()) {
            None => problems.push(problem(ProblemKind::Missing {
                type_name: def.type_name.clone(),
            })),
            Some(value) => {
                values.insert(def.name.clone(), value.clone());
            }
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
            Extra::Refuse => problems.push(ParamProblem {
                param: name.clone(),
                kind: ProblemKind::Unknown,
            }),
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}
