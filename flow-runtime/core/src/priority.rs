//! Total weights: the heavier goes first.

use crate::dag::{Dag, WeightRule};
use crate::run::Relatives;

/// The total weight of each task by its [`WeightRule`]: its own, and for `downstream` that of all its descendants, for
/// `upstream` that of all its ancestors, each counted once. A
/// task's own weight counts as 32 bits at most, as in Airflow.
pub fn weights(dag: &Dag) -> Vec<i64> {
    let relatives = Relatives::new(dag);
    let own = |t: u32| dag.tasks[t as usize].priority.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
    let total = |t: u32| {
        let around = match dag.tasks[t as usize].weight_rule {
            WeightRule::Downstream => relatives.descendants(t),
            WeightRule::Upstream => relatives.ancestors(t),
            WeightRule::Absolute => Default::default(),
        };
        around.into_iter().filter(|&u| u != t).fold(own(t), |sum, u| sum.saturating_add(own(u)))
    };
    (0..dag.tasks.len() as u32).map(total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dag::TaskDef;

    #[test]
    fn each_rule_counts_its_side_of_a_diamond_once() {
        let mut dag = Dag::new("d");
        for (n, upstream) in [vec![], vec![0], vec![0], vec![1, 2]].into_iter().enumerate() {
            let id = format!("t{n}");
            dag.tasks.push(TaskDef { upstream, priority: 10i64.pow(n as u32), ..TaskDef::new(&id, &id) });
        }
        assert_eq!(weights(&dag), [1111, 1010, 1100, 1000]);
        dag.tasks.iter_mut().for_each(|t| t.weight_rule = WeightRule::Upstream);
        assert_eq!(weights(&dag), [1, 11, 101, 1111]);
        dag.tasks.iter_mut().for_each(|t| t.weight_rule = WeightRule::Absolute);
        assert_eq!(weights(&dag), [1, 10, 100, 1000]);
        dag.tasks[0].priority = i64::MAX;
        assert_eq!(weights(&dag)[0], i64::from(i32::MAX), "a weight is capped");
    }
}
