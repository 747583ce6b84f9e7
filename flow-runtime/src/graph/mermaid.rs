//! A DAG as a Mermaid flowchart: GitHub draws it in a README.

use super::edges::{self, Kind, short};
use flow_core::Dag;

/// The lines of the flowchart.
pub fn lines(dag: &Dag) -> Vec<String> {
    let mut lines = vec!["flowchart LR".to_string()];
    let node = |id: &str| format!("t{}", dag.task_ix(id).unwrap_or_default());
    nodes(dag, None, &mut lines);
    for (ix, param) in dag.params.iter().enumerate() {
        let readers = dag.param_readers().remove(param.name.as_str()).unwrap_or_default();
        if readers.is_empty() {
            continue;
        }
        lines.push(format!("    p{ix}([\"{}: {}\"])", escaped(&param.name), escaped(&param.type_name)));
        lines.extend(readers.iter().map(|reader| format!("    p{ix} -.-> {}", node(reader))));
    }
    for edge in edges::edges(dag) {
        let label = match edge.kind {
            Kind::Data { output, argument, each, .. } => {
                format!(" -->|\"{}{} → {}\"| ", if each { "each of " } else { "" }, escaped(output), escaped(argument))
            }
            Kind::When(value) => format!(" -->|\"when {}\"| ", escaped(&short(&value.to_string(), 40))),
            Kind::Order => " ==> ".into(),
        };
        lines.push(format!("    {}{label}{}", node(edge.from), node(edge.to)));
    }
    lines
}

/// The tasks that lie in a group, and the groups in it with theirs.
fn nodes(dag: &Dag, inside: Option<u32>, lines: &mut Vec<String>) {
    for (ix, task) in dag.tasks.iter().enumerate().filter(|(_, task)| task.group == inside) {
        let mapped = if task.mapped { " ×n" } else { "" };
        lines.push(format!("    t{ix}[\"{}{mapped}\"]", escaped(&task.task_id)));
    }
    for (g, group) in (0..).zip(&dag.groups).filter(|(_, group)| group.parent == inside) {
        let mapped = if group.mapped { " ×n" } else { "" };
        lines.push(format!("    subgraph g{g}[\"{}{mapped}\"]", escaped(&group.group_id)));
        nodes(dag, Some(g), lines);
        lines.push("    end".into());
    }
}

/// Mermaid's own marks as entities.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}
