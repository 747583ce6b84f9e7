//! Why a run could not be made, or not be brought to its end.

use crate::store::StoreError;

/// Why a run could not be made, or not be brought to its end. Each prints as sentences.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Params are missing or wrong; a sentence each, without the value of any secret.
    #[error("{}", .0.join("\n"))]
    Params(Vec<String>),
    /// The metadata store failed, or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to go on with.
    #[error("{0}")]
    NotResumable(String),
    /// The DAG has other tasks or edges than the run was made from.
    #[error("{0}")]
    DagChanged(String),
    /// A process that is alive works on the run.
    #[error("{0}")]
    Held(String),
    /// The lease of the run could not be renewed in time, or somebody else has taken the run: its tries were stopped here.
    #[error("{0}")]
    LeaseLost(String),
    /// The DAG asks for something that is not there: a function, a pool, slots. A sentence each.
    #[error("{}", .0.join("\n"))]
    Unrunnable(Vec<String>),
    /// The home folder cannot be used.
    #[error("{0}")]
    Io(String),
    /// Nothing runs and nothing will; a fault in flow.
    #[error("{0}")]
    Stuck(String),
}
