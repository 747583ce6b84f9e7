//! Params of a DAG: what a person may set when a run starts.

use super::draft::Draft;
use crate::value::TaskArgument;
use flow_core::dag::{ParamDef, Source};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::marker::PhantomData;
use std::panic::Location;

/// A param of the DAG being built, or an argument of a `#[task_group]`. Its value is known when a run starts, so `if` and
/// `format!` cannot look at it: give it to a task.
pub struct Param<T> {
    pub(super) stamp: u32,
    /// Number of the handle in the draft.
    pub(super) index: usize,
    pub(super) of: PhantomData<fn() -> T>,
}

impl<T> Clone for Param<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Param<T> {}

/// A param that is being declared; [`ParamBuilder::add`] adds it.
#[must_use = "a param is part of the DAG only after `.add()`"]
pub struct ParamBuilder<T> {
    def: ParamDef,
    problem: Option<String>,
    of: PhantomData<fn() -> T>,
}

/// A value that serves as the default of a param of type `T`.
#[diagnostic::on_unimplemented(
    message = "the default of a param of type `{T}` cannot be a `{Self}`",
    label = "this is `{Self}`, and the param is `{T}`",
    note = "write the value as its type wants it: `100.0` for an `f64`, `\"text\"` for a `String`; a secret param has no default, for its value would stand in the code"
)]
pub trait DefaultFor<T> {
    /// The default as JSON.
    #[doc(hidden)]
    fn default_value(self) -> Result<Value, serde_json::Error>;
}

impl<T: Serialize> DefaultFor<T> for T {
    fn default_value(self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self)
    }
}

impl DefaultFor<String> for &str {
    fn default_value(self) -> Result<Value, serde_json::Error> {
        Ok(Value::String(self.into()))
    }
}

impl<T: Serialize> DefaultFor<Option<T>> for T {
    fn default_value(self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self)
    }
}

impl<T: TaskArgument + JsonSchema> ParamBuilder<T> {
    pub(super) fn new(name: &str) -> ParamBuilder<T> {
        let type_name = crate::value::short_type_name::<T>();
        let schema = schemars::schema_for!(T).to_value();
        // `Secret<T>` and `Option<Secret<T>>` write this into their schema; an alias or a newtype keeps it.
        let secret = holds_secret(&schema);
        // What may be nothing is nothing unless it is given.
        let default = type_name.starts_with("Option<").then_some(Value::Null);
        let def = ParamDef { name: name.into(), doc: None, type_name, schema, default, secret };
        ParamBuilder { def, problem: None, of: PhantomData }
    }

    /// What it is, for people.
    pub fn doc(mut self, doc: &str) -> Self {
        self.def.doc = Some(doc.trim().into());
        self
    }

    /// Its type as it should be shown (the default is Rust's name without paths).
    pub fn type_name(mut self, name: &str) -> Self {
        self.def.type_name = name.into();
        self
    }

    /// Its value when nothing else is given.
    pub fn default(mut self, value: impl DefaultFor<T>) -> Self {
        match value.default_value() {
            Ok(value) => self.def.default = Some(value),
            Err(error) => {
                self.problem =
                    Some(format!("the default of param `{}` cannot be written as JSON: {error}", self.def.name))
            }
        }
        self
    }

    /// Adds it to the DAG.
    ///
    /// # Panics
    /// If no DAG is being built on this thread.
    #[track_caller]
    pub fn add(self) -> Param<T> {
        let at = Location::caller();
        Draft::current("a param was declared", |draft| {
            if let Some(problem) = self.problem {
                draft.problem(at, problem);
            }
            if draft.dag.params.iter().any(|p| p.name == self.def.name) {
                draft.problem(at, format!("two params are called `{}`", self.def.name));
            }
            let source = Source::Param(self.def.name.clone());
            draft.dag.params.push(self.def);
            draft.new_handle(Ok(source))
        })
    }
}

/// Is any part of the schema marked by [`Secret`](crate::Secret)?
fn holds_secret(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.get("writeOnly") == Some(&Value::Bool(true)) || map.values().any(holds_secret),
        Value::Array(list) => list.iter().any(holds_secret),
        _ => false,
    }
}
