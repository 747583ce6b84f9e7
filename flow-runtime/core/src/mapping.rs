//! Mapped tasks: which lists a task is mapped over, and which element of each an instance gets.

use crate::dag::{Dag, Input, Source, TaskIx};

/// More instances than this of one task are refused: its placeholder takes the state upstream_failed.
pub const MAX_INSTANCES: u32 = 1_000_000;

/// The lists that `task` is mapped over, in order: the arguments that are [`Source::Each`], the first one slowest. All
/// tasks of a mapped group are mapped over the same lists: those of the group, or else those that its tasks name, each
/// once, in order of appearance.
///
/// The instance `map_index` of a task gets of each list the element [`element_indices`] says, with the lengths from
/// [`RunState::lengths`](crate::RunState::lengths).
pub fn axes(dag: &Dag, task: TaskIx) -> Vec<&Source> {
    let Some(def) = dag.tasks.get(task as usize) else {
        return Vec::new();
    };
    let Some(group) = home(dag, task) else {
        return def.inputs.iter().filter_map(|i| each(&i.source)).collect();
    };
    let named = &dag.groups[group as usize].lists;
    if !named.is_empty() {
        return named.iter().map(|list| &list.source).collect();
    }
    let mut axes: Vec<&Source> = Vec::new();
    for (t, member) in dag.tasks.iter().enumerate() {
        if home(dag, t as TaskIx) != Some(group) {
            continue;
        }
        for source in member.inputs.iter().filter_map(|i| each(&i.source)) {
            let inside = source.tasks().into_iter().any(|u| home(dag, u) == Some(group));
            if !inside && !axes.contains(&source) {
                axes.push(source);
            }
        }
    }
    axes
}

/// The name of each of these lists' elements: that of the argument that gets them.
pub fn axis_names(dag: &Dag, task: TaskIx) -> Vec<&str> {
    let Some(def) = dag.tasks.get(task as usize) else {
        return Vec::new();
    };
    let each = |input: &'_ &Input| matches!(input.source, Source::Each(_));
    let inputs = match home(dag, task).map(|group| &dag.groups[group as usize].lists) {
        Some(lists) if !lists.is_empty() => return lists.iter().map(|list| list.name.as_str()).collect(),
        _ => def.inputs.iter(),
    };
    inputs.filter(each).map(|input| input.name.as_str()).collect()
}

/// What stands inside an [`Source::Each`].
fn each(source: &Source) -> Option<&Source> {
    match source {
        Source::Each(inner) => Some(each(inner).unwrap_or(inner)),
        _ => None,
    }
}

/// The innermost mapped group that a task lies in.
pub fn home(dag: &Dag, task: TaskIx) -> Option<u32> {
    let mut at = dag.tasks.get(task as usize)?.group;
    // A parent that is its own ancestor would otherwise be walked forever.
    for _ in 0..=dag.groups.len() {
        let group = dag.groups.get(at? as usize)?;
        if group.mapped {
            return at;
        }
        at = group.parent;
    }
    None
}

/// Of each list the element that the instance `map_index` gets: the cross product in Airflow's order, where the last
/// list runs fastest.
///
/// ```
/// # use flow_core::mapping::element_indices;
/// // f::expand(each([a, b]), each([x, y, z])): a x, a y, a z, b x, ..
/// assert_eq!(element_indices(&[2, 3], 0), [0, 0]);
/// assert_eq!(element_indices(&[2, 3], 2), [0, 2]);
/// assert_eq!(element_indices(&[2, 3], 3), [1, 0]);
/// ```
pub fn element_indices(lengths: &[u32], map_index: i32) -> Vec<u32> {
    let mut rest = u32::try_from(map_index).unwrap_or(0);
    let mut indices = vec![0; lengths.len()];
    for (index, &length) in indices.iter_mut().zip(lengths).rev() {
        if length > 0 {
            *index = rest % length;
            rest /= length;
        }
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dag::{GroupDef, TaskDef};
    use serde_json::json;

    fn list(values: serde_json::Value) -> Source {
        Source::Each(Box::new(Source::Literal(values)))
    }

    fn task(id: &str, group: Option<u32>, sources: Vec<Source>) -> TaskDef {
        let inputs = sources.into_iter().enumerate();
        TaskDef {
            group,
            mapped: true,
            inputs: inputs
                .map(|(n, source)| Input { name: format!("a{n}"), type_name: "i32".into(), source })
                .collect(),
            ..TaskDef::new(id, id)
        }
    }

    #[test]
    fn every_combination_comes_once_and_in_order() {
        let all: Vec<Vec<u32>> = (0..12).map(|i| element_indices(&[2, 3, 2], i)).collect();
        let mut sorted = all.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(all, sorted);
        assert_eq!(element_indices(&[], 0), Vec::<u32>::new());
    }

    #[test]
    fn a_plain_mapped_task_counts_each_argument() {
        let mut dag = Dag::new("d");
        dag.tasks = vec![task("t", None, vec![list(json!([1])), list(json!([1])), Source::Literal(json!(2))])];
        assert_eq!(axes(&dag, 0).len(), 2);
        assert_eq!(axes(&dag, 9).len(), 0);
    }

    #[test]
    fn the_tasks_of_a_mapped_group_share_their_lists() {
        let group = |id: &str, parent, mapped| GroupDef { group_id: id.into(), parent, mapped, ..GroupDef::default() };
        let mut dag = Dag::new("d");
        dag.groups = vec![group("g", None, true), group("g.h", Some(0), false)];
        dag.tasks = vec![
            task("a", Some(0), vec![list(json!([1, 2]))]),
            task("b", Some(1), vec![Source::Output(0), list(json!(["x"])), list(json!([1, 2]))]),
        ];
        for t in 0..2 {
            let axes: Vec<_> = axes(&dag, t).into_iter().cloned().collect();
            assert_eq!(axes, [Source::Literal(json!([1, 2])), Source::Literal(json!(["x"]))]);
            assert_eq!(home(&dag, t), Some(0));
        }
        let list = |name: &str, source| Input { name: name.into(), type_name: "T".into(), source };
        dag.groups[0].lists = vec![list("x", Source::Literal(json!(["x"]))), list("y", Source::Literal(json!([1, 2])))];
        assert_eq!(axes(&dag, 0), [&Source::Literal(json!(["x"])), &Source::Literal(json!([1, 2]))]);
        assert_eq!(axis_names(&dag, 0), ["x", "y"]);
    }
}
