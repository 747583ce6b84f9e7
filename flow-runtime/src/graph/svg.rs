//! A [`Layout`] as SVG: one file that stands by itself, light or dark as its reader's system is.

use super::layout::{Frame, Layout, Line, Stroke};
use flow_core::Dag;
use flow_core::dag::TaskKind;
use std::fmt::Write as _;

/// Colours and faces. Text has a contrast of at least 4.5 to 1 against what it stands on, in both.
const STYLE: &str = "\
.flow{--paper:#fff;--ink:#1c2733;--soft:#5b6b7c;--card:#f6f8fa;--edge:#8a99a8;--rim:#c9d3dd;--work:#3b6fd4;\
--setup:#0f8a7e;--teardown:#b26a00;font-family:ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace}\
@media(prefers-color-scheme:dark){.flow{--paper:#12181f;--ink:#e6edf3;--soft:#9fb0c0;--card:#1b242d;--edge:#6b7b8c;\
--rim:#35424f;--work:#6c9bf5;--setup:#3cc4b5;--teardown:#e3a13c}}\
.flow .paper{fill:var(--paper)}.flow .card{fill:var(--card);stroke:var(--rim)}.flow .bar{fill:var(--work)}\
.flow .setup .bar{fill:var(--setup)}.flow .teardown .bar{fill:var(--teardown)}\
.flow .name{font-size:13px;font-weight:600;fill:var(--ink)}.flow .words,.flow .label,.flow .title{font-size:11px;fill:var(--soft)}\
.flow .label{text-anchor:middle;paint-order:stroke;stroke:var(--paper);stroke-width:4px}\
.flow .line{fill:none;stroke:var(--edge);stroke-width:1.5}.flow .when{stroke-dasharray:5 4}.flow .order{stroke-dasharray:1.5 3.5;stroke-linecap:round}\
.flow .tip{fill:var(--edge)}.flow .group{fill:var(--soft);fill-opacity:.05;stroke:var(--rim)}.flow .mapped{stroke-dasharray:4 3}";

/// Half of the height of an arrow's tip, and its length.
const TIP: (f64, f64) = (4.0, 8.0);

/// The picture of a DAG.
pub fn svg(dag: &Dag, layout: &Layout) -> String {
    let mut out = String::new();
    let (width, height) = (layout.width.ceil(), layout.height.ceil());
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"flow\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n",
        escaped(&format!("the DAG {}", dag.dag_id))
    );
    for (group, frame) in dag.groups.iter().zip(&layout.groups).filter(|(_, frame)| frame.width > 0.0) {
        let mapped = if group.mapped { " mapped" } else { "" };
        let name = format!("{}{}", group.group_id, if group.mapped { " ×n" } else { "" });
        let _ = writeln!(
            out,
            "<g>{}<rect class=\"group{mapped}\" {} rx=\"10\"/><text class=\"title\" x=\"{}\" y=\"{}\">{}</text></g>",
            hover(group.doc.as_deref().unwrap_or_default()),
            place(frame),
            number(frame.x + 10.0),
            number(frame.y + 16.0),
            escaped(&name)
        );
    }
    layout.lines.iter().for_each(|line| out.push_str(&arrow(line)));
    for (task, node) in dag.tasks.iter().zip(&layout.nodes) {
        let kind = match task.kind {
            TaskKind::Normal => "work",
            TaskKind::Setup => "setup",
            TaskKind::Teardown { .. } => "teardown",
        };
        let f = node.frame;
        let behind = Frame { x: f.x + 4.0, y: f.y + 4.0, ..f };
        // A task of many instances is a pile of cards.
        let pile =
            if task.mapped { format!("<rect class=\"card\" {} rx=\"6\"/>", place(&behind)) } else { String::new() };
        let middle = f.y + f.height / 2.0;
        let (name, words) = if node.words.is_empty() { (middle + 5.0, middle) } else { (middle - 3.0, middle + 14.0) };
        let _ = writeln!(
            out,
            "<g class=\"task {kind}\" data-task=\"{id}\">{doc}{pile}<rect class=\"card\" {card} rx=\"6\"/>\
             <rect class=\"bar\" x=\"{x}\" y=\"{y}\" width=\"4\" height=\"{height}\" rx=\"2\"/>\
             <text class=\"name\" x=\"{text}\" y=\"{name}\">{title}</text><text class=\"words\" x=\"{text}\" y=\"{words}\">{about}</text></g>",
            id = escaped(&task.task_id),
            doc = hover(task.doc.as_deref().unwrap_or_default()),
            card = place(&f),
            x = number(f.x),
            y = number(f.y + 6.0),
            height = number(f.height - 12.0),
            text = number(f.x + 14.0),
            name = number(name),
            words = number(words),
            title = escaped(&node.title),
            about = escaped(&node.words),
        );
    }
    out.push_str("</svg>\n");
    out
}

/// A line through its points, rounded where it bends, with a tip at its end.
fn arrow(line: &Line) -> String {
    let class = match line.stroke {
        Stroke::Data => "line",
        Stroke::When => "line when",
        Stroke::Order => "line order",
    };
    let Some(&(x, y)) = line.points.last() else { return String::new() };
    let tip =
        format!("<path class=\"tip\" d=\"M{} {}l-{} -{}v{}z\"/>", number(x), number(y), TIP.1, TIP.0, 2.0 * TIP.0);
    let label = if line.label.is_empty() {
        String::new()
    } else {
        let (x, y) = (number(line.at.0), number(line.at.1 - 5.0));
        format!("<text class=\"label\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(&line.label))
    };
    let path = path(&line.points);
    format!("<g>{}<path class=\"{class}\" d=\"{path}\"/>{tip}{label}</g>\n", hover(&line.title))
}

/// Between two points the line leaves and arrives level, as what it connects lies left and right.
fn path(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    let Some((&(x, y), rest)) = points.split_first() else { return text };
    let _ = write!(text, "M{} {}", number(x), number(y));
    let (mut from, last) = ((x, y), rest.len().saturating_sub(1));
    for (n, &to) in rest.iter().enumerate() {
        let end = if n == last { (to.0 - TIP.1 + 1.0, to.1) } else { to };
        let half = (from.0 + end.0) / 2.0;
        let (half, x, y) = (number(half), number(end.0), number(end.1));
        let _ = write!(text, "C{half} {} {half} {y} {x} {y}", number(from.1));
        from = end;
    }
    text
}

fn place(frame: &Frame) -> String {
    let Frame { x, y, width, height } = *frame;
    format!("x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"", number(x), number(y), number(width), number(height))
}

/// What a browser shows under the pointer.
fn hover(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(text)) }
}

/// With one digit at most: what is finer nobody sees.
fn number(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    // No `-0`.
    (rounded + 0.0).to_string()
}

/// The text for SVG; what XML cannot hold is left out.
fn escaped(text: &str) -> String {
    let allowed = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    let text: String = text.chars().filter(allowed).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::layout;
    use flow_core::TaskDef;

    #[test]
    fn every_task_is_in_it_and_no_text_breaks_it() {
        let mut dag = Dag::new("a<b");
        dag.tasks = vec![TaskDef::new("first", "f"), TaskDef::new("second", "s")];
        dag.tasks[0].output = "Vec<\"&\">".into();
        dag.tasks[0].doc = Some("tells\u{1} </svg>".into());
        dag.tasks[1].upstream = vec![0];
        let svg = svg(&dag, &layout(&dag));
        assert!(svg.contains("data-task=\"first\"") && svg.contains("data-task=\"second\""), "{svg}");
        assert!(
            svg.contains("Vec&lt;&quot;&amp;&quot;&gt;") && svg.contains("<title>tells &lt;/svg&gt;</title>"),
            "{svg}"
        );
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.matches("</svg>").count() == 1);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([number(1.04), number(-0.01), number(2.0), number(3.16)], ["1", "0", "2", "3.2"]);
    }
}
