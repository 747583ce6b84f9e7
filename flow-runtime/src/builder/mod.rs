//! Building DAGs: what the macros expand to, and what a person can write by hand.

/// Why a DAG cannot be built; each problem is a sentence that names its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("DAG `{dag_id}` cannot be built:\n{}", .problems.iter().map(|p| format!("  - {p}")).collect::<Vec<_>>().join("\n"))]
pub struct DagError {
    /// The DAG.
    pub dag_id: String,
    /// What is wrong with it.
    pub problems: Vec<String>,
}
