//! The DAGs that are measured, of tasks that do nothing.

use super::super::exit::{CliError, Result};
use crate::registry::{Bodies, Body};
use crate::value::Erased;
use clap::ValueEnum;
use flow_core::dag::{Input, Source};
use flow_core::{Dag, TaskDef, TaskIx};
use serde_json::Value;
use std::fmt;

/// A DAG of tasks that do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One after the other.
    Chain(u32),
    /// One, then so many at once, then one.
    Wide(u32),
    /// The same as one mapped task of so many instances.
    Fan(u32),
}

/// Where the run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// Nowhere: in memory.
    Memory,
    /// In a SQLite file that survives the death of the process.
    Process,
    /// In one that survives a power cut.
    Power,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Store::Memory => "memory",
            Store::Process => "process",
            Store::Power => "power",
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Chain(n) => write!(f, "chain:{n}"),
            Shape::Wide(n) => write!(f, "wide:{n}"),
            Shape::Fan(n) => write!(f, "fan:{n}"),
        }
    }
}

const BODY: &str = "flow::bench::nothing";

impl Shape {
    /// Those that performance is judged by.
    pub fn usual(large: bool) -> Vec<Shape> {
        let mut shapes = vec![Shape::Chain(100), Shape::Wide(1000), Shape::Fan(1000)];
        shapes.extend(large.then_some(Shape::Fan(100_000)));
        shapes
    }

    /// Is it measured so if nothing else is said?
    pub fn is_usual(self, store: Store) -> bool {
        !matches!((self, store), (Shape::Fan(100_000), Store::Power))
    }

    /// Reads `chain:100`.
    pub fn parse(text: &str) -> Result<Shape> {
        let number = |n: &str| n.parse().ok().filter(|n| (1..=10_000_000).contains(n));
        let shape = text.split_once(':').and_then(|(name, n)| match name {
            "chain" => number(n).map(Shape::Chain),
            "wide" => number(n).map(Shape::Wide),
            "fan" => number(n).map(Shape::Fan),
            _ => None,
        });
        shape.ok_or_else(|| CliError::input(format!("`{text}` is no shape: write chain:N, wide:N or fan:N")))
    }

    /// Number of its task instances.
    pub fn tasks(self) -> u64 {
        match self {
            Shape::Chain(n) => n.into(),
            Shape::Wide(n) | Shape::Fan(n) => u64::from(n) + 2,
        }
    }

    /// The DAG.
    pub fn dag(self) -> Dag {
        let task = |id: String, upstream: Vec<TaskIx>| TaskDef { upstream, ..TaskDef::new(id, BODY) };
        let mut dag = Dag::new("bench");
        dag.max_active_tasks = u32::MAX;
        match self {
            Shape::Chain(n) => {
                dag.tasks = (0..n).map(|t| task(format!("t{t}"), t.checked_sub(1).into_iter().collect())).collect();
            }
            Shape::Wide(n) => {
                dag.tasks.push(task("first".into(), vec![]));
                dag.tasks.extend((0..n).map(|t| task(format!("t{t}"), vec![0])));
                dag.tasks.push(task("last".into(), (1..=n).collect()));
            }
            Shape::Fan(n) => {
                let items = Source::Literal((0..n).map(Value::from).collect());
                let each = Input { name: "n".into(), type_name: "u32".into(), source: Source::Each(Box::new(items)) };
                let mapped = TaskDef { inputs: vec![each], mapped: true, ..task("t".into(), vec![0]) };
                dag.tasks = vec![task("first".into(), vec![]), mapped, task("last".into(), vec![1])];
            }
        }
        dag
    }

    /// What its tasks do.
    pub fn bodies() -> Bodies {
        let mut bodies = Bodies::default();
        bodies.insert(BODY, Body::Async(|_, _| Box::pin(async { Erased::new(()) })));
        bodies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_as_they_are_written() {
        for shape in [Shape::Chain(100), Shape::Wide(7), Shape::Fan(100_000)] {
            assert_eq!(Shape::parse(&shape.to_string()), Ok(shape));
            assert!(shape.dag().topological().is_ok());
        }
        for text in ["chain", "chain:", "chain:0", "ring:5", "fan:-1", ""] {
            assert!(Shape::parse(text).is_err(), "{text}");
        }
    }
}
