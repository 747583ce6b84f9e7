//! A struct of params: each field is a param of the DAG, and the whole can be given to a task.

use super::DagScope;

/// A struct whose fields are params of a DAG; `#[params]` implements it.
pub trait ParamStruct {
    /// The same struct with a [`Param`](super::Param) for each field; it can be given to a task that takes the struct.
    type Handles;

    /// Declares each field as a param of the DAG.
    #[doc(hidden)]
    fn declare(dag: &DagScope) -> Self::Handles;
}
