//! Where everything lies: tasks in layers from left to right, few crossings, groups around their tasks.
//!
//! The layers, their order and the places in them are found by the Sugiyama method, as dagre implements it (network
//! simplex ranks, barycenter order, Brandes-Köpf coordinates): see <https://github.com/dagrejs/dagre/wiki>.

use super::edges::{self, Kind};
use dagre::graph::{Graph, GraphOptions};
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, RankDir, Ranker};
use flow_core::dag::TaskKind;
use flow_core::{Dag, TaskDef, TaskIx};
use std::collections::BTreeMap;

/// A DAG laid out. Lengths are CSS pixels, from the top left.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Width of the whole.
    pub width: f64,
    /// Height of the whole.
    pub height: f64,
    /// The tasks, by index.
    pub nodes: Vec<NodeBox>,
    /// The edges.
    pub lines: Vec<Line>,
    /// The groups, by index; outer ones may come after inner ones.
    pub groups: Vec<Frame>,
}

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Frame {
    /// Left.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// A task.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeBox {
    /// The task.
    pub task: TaskIx,
    /// Where it lies.
    pub frame: Frame,
    /// Its name, as far as the groups around it do not say it, and that it has instances.
    pub title: String,
    /// What stands under its name: its output's type, and what is special about it.
    pub words: String,
}

/// All that goes from one task to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The upstream task.
    pub from: TaskIx,
    /// The downstream task.
    pub to: TaskIx,
    /// What it is drawn as.
    pub stroke: Stroke,
    /// What stands beside it: the arguments that are fed, or the condition.
    pub label: String,
    /// The same in full, a line each: `ParquetFile → parquet: ParquetFile`.
    pub title: String,
    /// The points it passes, the first and the last on the borders of the tasks.
    pub points: Vec<(f64, f64)>,
    /// The middle of the label.
    pub at: (f64, f64),
}

/// What sort of line an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stroke {
    /// A value goes along it.
    Data,
    /// A value decides.
    When,
    /// Only the order.
    Order,
}

/// Height of a task.
const HEIGHT: f64 = 46.0;
/// Room on both sides of its texts.
const PADDING: f64 = 14.0;
/// Width of a letter of a name (13 px) and of a small one (11 px) in the monospace faces that systems have.
const LETTER: f64 = 7.9;
const SMALL: f64 = 6.7;
/// Room around the whole, which the title and border of an outer group needs.
const MARGIN: f64 = 24.0;
/// What a group's border lies outside of its tasks, and room for its title.
const RIM: f64 = 10.0;
const TITLE: f64 = 16.0;

/// Lays a DAG out.
pub fn layout(dag: &Dag) -> Layout {
    let mut graph = Graph::with_options(GraphOptions { directed: true, multigraph: false, compound: true });
    for (g, _) in dag.groups.iter().enumerate() {
        graph.set_node(group_name(g as u32), Some(NodeLabel::default()));
    }
    for (g, group) in dag.groups.iter().enumerate() {
        if let Some(parent) = group.parent {
            graph.set_parent(&group_name(g as u32), Some(&group_name(parent)));
        }
    }
    let words: Vec<String> = dag.tasks.iter().map(words).collect();
    for (t, task) in dag.tasks.iter().enumerate() {
        let name = task_name(t as TaskIx);
        let width = (columns(&title(dag, task)) * LETTER).max(columns(&words[t]) * SMALL).max(60.0) + 2.0 * PADDING;
        graph.set_node(name.as_str(), Some(NodeLabel { width, height: HEIGHT, ..NodeLabel::default() }));
        if let Some(group) = task.group {
            graph.set_parent(&name, Some(&group_name(group)));
        }
    }
    let mut lines = lines(dag);
    for line in &lines {
        let wide = columns(&line.label) * SMALL;
        let label = EdgeLabel { width: wide, height: if wide > 0.0 { 14.0 } else { 0.0 }, ..EdgeLabel::default() };
        graph.set_edge(task_name(line.from), task_name(line.to), Some(label), None);
    }
    let options = LayoutOptions {
        rankdir: RankDir::LR,
        nodesep: 30.0,
        edgesep: 16.0,
        ranksep: 40.0,
        ranker: Ranker::NetworkSimplex,
        ..LayoutOptions::default()
    };
    dagre::layout(&mut graph, Some(options));
    let frame = |name: &str| {
        let node = graph.node(name);
        let (width, height) = node.map_or((0.0, 0.0), |n| (n.width, n.height));
        let (x, y) = node.map_or((0.0, 0.0), |n| (n.x.unwrap_or_default(), n.y.unwrap_or_default()));
        Frame { x: x - width / 2.0, y: y - height / 2.0, width, height }
    };
    let node = |(task, words): (TaskIx, String)| {
        let title = title(dag, &dag.tasks[task as usize]);
        NodeBox { task, frame: frame(&task_name(task)), title, words }
    };
    let nodes: Vec<NodeBox> = (0..).zip(words).map(node).collect();
    for line in &mut lines {
        let Some(label) = graph.edge(&task_name(line.from), &task_name(line.to), None) else { continue };
        let inner = label.points.iter().map(|p| (p.x, p.y));
        line.points = level(inner.collect(), nodes[line.from as usize].frame, nodes[line.to as usize].frame);
        line.at = label.x.map_or_else(|| middle(&line.points), |x| (x, height_at(&line.points, x)));
    }
    let groups = frames(dag, &nodes);
    placed(nodes, lines, groups)
}

/// The line leaves a task on its right side and comes in on the left one of the other, as level as it can.
fn level(points: Vec<(f64, f64)>, from: Frame, to: Frame) -> Vec<(f64, f64)> {
    const CORNER: f64 = 8.0;
    let (left, right) = (from.x + from.width, to.x);
    let side = |frame: Frame, y: f64| y.clamp(frame.y + CORNER, frame.y + frame.height - CORNER);
    let inner: Vec<(f64, f64)> = points.into_iter().filter(|p| p.0 > left + 1.0 && p.0 < right - 1.0).collect();
    let (first, last) = match (inner.first(), inner.last()) {
        (Some(first), Some(last)) => (first.1, last.1),
        _ => (to.y + to.height / 2.0, from.y + from.height / 2.0),
    };
    let (first, last) = ((left, side(from, first)), (right, side(to, last)));
    std::iter::once(first).chain(inner).chain([last]).collect()
}

fn middle(points: &[(f64, f64)]) -> (f64, f64) {
    let (first, last) = (points.first().copied().unwrap_or_default(), points.last().copied().unwrap_or_default());
    let x = (first.0 + last.0) / 2.0;
    (x, height_at(points, x))
}

/// How high the line is at this place.
fn height_at(points: &[(f64, f64)], x: f64) -> f64 {
    let part = points.windows(2).find(|pair| pair[0].0 <= x && x <= pair[1].0);
    part.map_or_else(
        || points.first().map_or(0.0, |p| p.1),
        |pair| {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            if x1 > x0 { y0 + (y1 - y0) * (x - x0) / (x1 - x0) } else { y0 }
        },
    )
}

/// Moves everything so that it begins at the margin, and measures the whole.
fn placed(mut nodes: Vec<NodeBox>, mut lines: Vec<Line>, mut groups: Vec<Frame>) -> Layout {
    let all = || nodes.iter().map(|n| n.frame).chain(groups.iter().copied().filter(|g| g.width > 0.0));
    let points = || lines.iter().flat_map(|l| l.points.iter().copied());
    let left = all().map(|f| f.x).chain(points().map(|p| p.0)).fold(f64::INFINITY, f64::min);
    let top = all().map(|f| f.y).chain(points().map(|p| p.1)).fold(f64::INFINITY, f64::min);
    let right = all().map(|f| f.x + f.width).chain(points().map(|p| p.0)).fold(f64::NEG_INFINITY, f64::max);
    let bottom = all().map(|f| f.y + f.height).chain(points().map(|p| p.1)).fold(f64::NEG_INFINITY, f64::max);
    let (dx, dy) = (MARGIN - left, MARGIN - top);
    let moved = |frame: &mut Frame| (frame.x, frame.y) = (frame.x + dx, frame.y + dy);
    nodes.iter_mut().for_each(|n| moved(&mut n.frame));
    groups.iter_mut().for_each(moved);
    for line in &mut lines {
        line.points.iter_mut().for_each(|p| *p = (p.0 + dx, p.1 + dy));
        line.at = (line.at.0 + dx, line.at.1 + dy);
    }
    let (width, height) = (right - left + 2.0 * MARGIN, bottom - top + 2.0 * MARGIN);
    Layout { width, height, nodes, lines, groups }
}

/// The border of each group: around its tasks and the groups in it, with room for its title.
fn frames(dag: &Dag, nodes: &[NodeBox]) -> Vec<Frame> {
    let mut frames: Vec<Option<(f64, f64, f64, f64)>> = vec![None; dag.groups.len()];
    let join = |into: &mut Option<(f64, f64, f64, f64)>, (l, t, r, b): (f64, f64, f64, f64)| {
        *into = Some(into.map_or((l, t, r, b), |(l0, t0, r0, b0)| (l0.min(l), t0.min(t), r0.max(r), b0.max(b))));
    };
    for (node, task) in nodes.iter().zip(&dag.tasks) {
        let f = node.frame;
        if let Some(group) = task.group {
            join(&mut frames[group as usize], (f.x, f.y, f.x + f.width, f.y + f.height));
        }
    }
    let depth = |g: usize| std::iter::successors(Some(g as u32), |g| dag.groups[*g as usize].parent).count();
    let mut order: Vec<usize> = (0..dag.groups.len()).collect();
    order.sort_by_key(|g| std::cmp::Reverse(depth(*g)));
    for g in order {
        let Some((l, t, r, b)) = frames[g] else { continue };
        let title = columns(&dag.groups[g].group_id) * SMALL + 4.0 * RIM;
        let (l, t, b) = (l - RIM, t - RIM - TITLE, b + RIM);
        let r = (r + RIM).max(l + title);
        frames[g] = Some((l, t, r, b));
        if let Some(parent) = dag.groups[g].parent {
            join(&mut frames[parent as usize], (l, t, r, b));
        }
    }
    let frame = |edges: Option<(f64, f64, f64, f64)>| {
        edges.map_or(Frame::default(), |(l, t, r, b)| Frame { x: l, y: t, width: r - l, height: b - t })
    };
    frames.into_iter().map(frame).collect()
}

/// One line for each pair of tasks, whatever goes from one to the other.
fn lines(dag: &Dag) -> Vec<Line> {
    let index: BTreeMap<&str, TaskIx> = dag.tasks.iter().map(|t| t.task_id.as_str()).zip(0..).collect();
    let mut found: BTreeMap<(TaskIx, TaskIx), Line> = BTreeMap::new();
    for edge in edges::edges(dag) {
        let (from, to) = (index[edge.from], index[edge.to]);
        let (stroke, label, title) = match edge.kind {
            Kind::Data { output, argument, input, each } => {
                let each = if each { "each of " } else { "" };
                (Stroke::Data, argument.to_string(), format!("{each}{output} → {argument}: {input}"))
            }
            Kind::When(value) => {
                let value = edges::short(&value.to_string(), 30);
                (Stroke::When, format!("when {value}"), format!("runs when it gives {value}"))
            }
            Kind::Order => (Stroke::Order, String::new(), "only the order".into()),
        };
        let empty =
            Line { from, to, stroke, label: String::new(), title: String::new(), points: vec![], at: (0.0, 0.0) };
        let line = found.entry((from, to)).or_insert(empty);
        line.stroke = line.stroke.min(stroke);
        for (into, text, between) in [(&mut line.label, label, ", "), (&mut line.title, title, "\n")] {
            if !into.is_empty() && !text.is_empty() {
                into.push_str(between);
            }
            into.push_str(&text);
        }
    }
    found.into_values().collect()
}

/// Its name without that of its group, and that it has instances if its group does not say so.
fn title(dag: &Dag, task: &TaskDef) -> String {
    let group = task.group.map(|g| &dag.groups[g as usize]).filter(|g| g.prefix);
    let short = group.and_then(|g| task.task_id.strip_prefix(g.group_id.as_str())?.strip_prefix('.'));
    let told =
        std::iter::successors(task.group, |g| dag.groups[*g as usize].parent).any(|g| dag.groups[g as usize].mapped);
    let name = short.unwrap_or(&task.task_id);
    if task.mapped && !told { format!("{name} ×n") } else { name.to_string() }
}

fn words(task: &TaskDef) -> String {
    let mut words = Vec::new();
    match task.kind {
        TaskKind::Normal => {}
        TaskKind::Setup => words.push("setup".to_string()),
        TaskKind::Teardown { .. } => words.push("teardown".to_string()),
    }
    if task.output != "()" {
        words.push(task.output.clone());
    }
    if task.trigger_rule != Default::default() {
        words.push(task.trigger_rule.to_string());
    }
    if task.retry.retries > 0 {
        words.push(format!("↻{}", task.retry.retries));
    }
    if !task.isolation.is_none() {
        words.push("own process".into());
    }
    words.join(" · ")
}

fn columns(text: &str) -> f64 {
    text.chars().count() as f64
}

fn task_name(task: TaskIx) -> String {
    format!("t{task}")
}

fn group_name(group: u32) -> String {
    format!("g{group}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_core::dag::{Condition, GroupDef, Input, Source};

    fn dag() -> Dag {
        let mut dag = Dag::new("d");
        dag.tasks = ["a", "b", "c", "d"].map(|id| TaskDef::new(id, id)).to_vec();
        let input = |name: &str, source| Input { name: name.into(), type_name: "u32".into(), source };
        dag.tasks[0].output = "u32".into();
        dag.tasks[1].inputs = vec![input("x", Source::Output(0)), input("y", Source::Output(0))];
        dag.tasks[2].conditions = vec![Condition { upstream: 0, field: None, equals: 7.into() }];
        (dag.tasks[1].upstream, dag.tasks[2].upstream, dag.tasks[3].upstream) = (vec![0], vec![0], vec![1, 2]);
        dag
    }

    fn disjoint(a: &Frame, b: &Frame) -> bool {
        a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y
    }

    #[test]
    fn tasks_lie_in_layers_apart_from_each_other_inside_the_whole() {
        let layout = layout(&dag());
        for (n, a) in layout.nodes.iter().enumerate() {
            assert!(a.frame.x >= MARGIN && a.frame.x + a.frame.width <= layout.width);
            assert!(a.frame.y >= MARGIN && a.frame.y + a.frame.height <= layout.height);
            assert!(layout.nodes[..n].iter().all(|b| disjoint(&a.frame, &b.frame)));
        }
        for line in &layout.lines {
            let (from, to) = (layout.nodes[line.from as usize].frame, layout.nodes[line.to as usize].frame);
            assert!(from.x + from.width < to.x, "downstream is to the right");
            assert!(line.points.len() >= 2 && line.points[0].0 <= line.points[1].0);
        }
    }

    #[test]
    fn a_pair_has_one_line_that_says_all() {
        let layout = layout(&dag());
        let line = |from, to| layout.lines.iter().find(|l| (l.from, l.to) == (from, to)).unwrap();
        assert_eq!((line(0, 1).stroke, line(0, 1).label.as_str()), (Stroke::Data, "x, y"));
        assert_eq!(line(0, 1).title, "u32 → x: u32\nu32 → y: u32");
        assert_eq!((line(0, 2).stroke, line(0, 2).label.as_str()), (Stroke::When, "when 7"));
        assert_eq!((line(2, 3).stroke, line(2, 3).label.as_str()), (Stroke::Order, ""));
    }

    #[test]
    fn a_group_is_around_its_tasks_and_the_groups_in_it_and_no_other() {
        let mut dag = dag();
        let group = |id: &str, parent| GroupDef { group_id: id.into(), parent, ..GroupDef::default() };
        dag.groups = vec![group("outer", None), group("outer.inner", Some(0)), group("empty", None)];
        (dag.tasks[1].group, dag.tasks[2].group) = (Some(1), Some(0));
        let layout = layout(&dag);
        let inside = |a: &Frame, b: &Frame| {
            a.x > b.x && a.y > b.y && a.x + a.width < b.x + b.width && a.y + a.height < b.y + b.height
        };
        let [outer, inner, empty] = layout.groups[..] else { panic!("three groups") };
        assert!(inside(&layout.nodes[1].frame, &inner) && inside(&inner, &outer));
        assert!(inside(&layout.nodes[2].frame, &outer));
        assert!(disjoint(&layout.nodes[0].frame, &outer) && disjoint(&layout.nodes[3].frame, &outer));
        assert_eq!(empty.width, 0.0);
    }
}
