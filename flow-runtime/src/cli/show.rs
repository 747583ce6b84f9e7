//! `show`: one DAG, with its params and its typed edges.

use super::app::App;
use super::args::{Format, Show};
use super::exit::{CliError, Exit, Result};
use super::format::{self, first_line};
use super::params::{Origin, Resolved};
use super::style::Paint;
use super::{assets, describe, lookup, session, tasks};
use crate::config::Config;
use crate::graph::{self, edges, mermaid};
use crate::registry::Registry;
use crate::store::BuildRow;
use flow_core::dag::{GroupDef, TaskKind};
use flow_core::parse::human;
use flow_core::trigger_rule::TriggerRule;
use flow_core::{Dag, DeadlineFrom, Notifiers, TaskDef};

/// Columns of a doc comment.
const DOC: usize = 100;

/// Who is reached by a param.
#[derive(Debug, Default, PartialEq)]
pub struct Scope {
    /// It stands in `[params]` of flow.toml.
    pub global: bool,
    /// Other DAGs with a param of this name.
    pub shared_with: Vec<String>,
    /// Tasks of this DAG that take it.
    pub read_by: Vec<String>,
}

/// Prints a DAG.
pub fn show(app: &App, args: &Show) -> Result {
    let dag = lookup::dag(app, args.dag.as_deref())?;
    let out = &app.out;
    if out.json && matches!(args.format, Format::Mermaid | Format::Svg) {
        return Err(CliError::input("--format mermaid and --format svg are not JSON: leave out --json"));
    }
    if args.format == Format::Svg {
        out.line(graph::svg(dag, &graph::layout(dag)).trim_end());
        return Ok(Exit::Success);
    }
    if args.format == Format::Mermaid {
        mermaid::lines(dag).iter().for_each(|line| out.line(line));
        return Ok(Exit::Success);
    }
    let params = app.params(dag, &args.params)?;
    let params: Vec<_> = params
        .into_iter()
        .map(|p| (scope(dag, &p.def.name, &app.registry, &app.config), p))
        .map(|(s, p)| (p, s))
        .collect();
    if args.format == Format::Json || out.json {
        out.json_pretty(&describe::dag_details(dag, &params, &version(app, dag)?));
        return Ok(Exit::Success);
    }
    let unnamed = app.global_params().into_iter().filter(|(name, _)| !dag.params.iter().any(|p| &p.name == name));
    let globals: Vec<String> =
        unnamed.map(|(name, value)| format!("{name} = {}", brief(&crate::secret::redact_value(&value)))).collect();
    for line in text(dag, &params, &globals, out.width.unwrap_or(DOC), out.paint) {
        out.line(match out.width {
            Some(width) => console::truncate_str(&line, width, "…").into_owned(),
            None => line,
        });
    }
    let (hash, builds) = version(app, dag)?;
    out.line(format!("\n{}", out.paint.dim(tasks::version(&hash, &builds))));
    if let Some(waiting) = assets::waiting_now(app, dag)? {
        out.note(format!("\n{waiting}"));
    }
    Ok(Exit::Success)
}

/// Its version, with the builds that have made runs of it.
fn version(app: &App, dag: &Dag) -> Result<(String, Vec<BuildRow>)> {
    let hash = crate::store::version(dag)?;
    let builds = session::block_on(async {
        let Some(store) = app.store_to_read().await? else { return Ok(Vec::new()) };
        let builds = store.builds(&hash).await?;
        store.close().await;
        Ok(builds)
    })?;
    Ok((hash, builds))
}

/// Who is reached by this param of this DAG.
fn scope(dag: &Dag, name: &str, registry: &Registry, config: &Config) -> Scope {
    let others = registry.dags().filter(|d| d.dag_id != dag.dag_id && d.params.iter().any(|p| p.name == name));
    let readers = dag.param_readers().remove(name).unwrap_or_default();
    Scope {
        global: config.params.contains_key(name),
        shared_with: others.map(|d| d.dag_id.clone()).collect(),
        read_by: readers.into_iter().map(String::from).collect(),
    }
}

fn text(dag: &Dag, params: &[(Resolved<'_>, Scope)], globals: &[String], width: usize, paint: Paint) -> Vec<String> {
    let mark = if dag.is_default { " (default)" } else { "" };
    let mut lines = vec![format!("{}{mark}", paint.bold(&dag.dag_id))];
    let doc = dag.doc.iter().flat_map(|doc| format::wrapped(doc.trim(), width.min(DOC).saturating_sub(2)));
    lines.extend(doc.map(|line| format!("  {line}").trim_end().to_string()));
    let mut fact = |name: &str, text: String| lines.push(format!("  {} {text}", paint.dim(format!("{name:<9}"))));
    if let Some(place) = &dag.place {
        fact("written", place.to_string());
    }
    fact("schedule", schedule(dag));
    if !dag.tags.is_empty() {
        fact("tags", dag.tags.join(", "));
    }
    if let Some(limit) = dag.dagrun_timeout {
        fact("timeout", human(limit));
    }
    if let Some(deadline) = dag.deadline {
        let from = match deadline.from {
            DeadlineFrom::Start => "its start",
            DeadlineFrom::LogicalDate => "its logical date",
        };
        fact("deadline", format!("{} after {from}", human(deadline.after)));
    }
    told(&dag.notify).for_each(|told| fact("tells", told));
    if !params.is_empty() {
        lines.push(String::new());
        lines.push(paint.bold("Params"));
        params.iter().for_each(|(param, scope)| lines.extend(param_lines(param, scope, paint)));
    }
    if !globals.is_empty() {
        lines.push(String::new());
        lines.push(format!(
            "{}  {}",
            paint.bold("Global params"),
            paint.dim("flow.toml [params], read by Context::param")
        ));
        lines.extend(globals.iter().map(|global| format!("  {global}")));
    }
    if !dag.groups.is_empty() {
        lines.push(String::new());
        lines.push(paint.bold("Groups"));
        lines.extend(dag.groups.iter().map(|group| group_line(group, paint)));
    }
    lines.push(String::new());
    lines.push(paint.bold("Tasks"));
    let order = dag.topological().unwrap_or_else(|_| (0..dag.tasks.len() as u32).collect());
    order.into_iter().for_each(|ix| lines.extend(task_lines(dag, &dag.tasks[ix as usize], width, paint)));
    lines
}

fn schedule(dag: &Dag) -> String {
    let Some(schedule) = &dag.schedule else { return "none: it runs when somebody asks".into() };
    let from =
        dag.start_date.map_or(String::new(), |at| format!(" from {}", format::date(at).trim_end_matches(" 00:00:00")));
    let to =
        dag.end_date.map_or(String::new(), |at| format!(" until {}", format::date(at).trim_end_matches(" 00:00:00")));
    let zone = dag.timezone.as_ref().map_or(String::new(), |zone| format!(" in {zone}"));
    let intervals = if dag.data_intervals { ", at the end of each interval" } else { "" };
    format!("{schedule}{zone}{from}{to}{intervals}{}", if dag.catchup { ", catches up" } else { "" })
}

fn param_lines(param: &Resolved<'_>, scope: &Scope, paint: Paint) -> Vec<String> {
    let def = param.def;
    let value = match param.shown() {
        None => paint.warn(" required"),
        // That there is none is no secret.
        Some(value) if def.secret && !value.is_null() => " = ***".into(),
        Some(value) => format!(" = {}", brief(&value)),
    };
    let origin = match (&param.origin, &def.default) {
        (Origin::Missing, _) => String::new(),
        (Origin::Default, _) | (_, None) => format!("  ({})", param.origin),
        (origin, Some(_)) if def.secret => format!("  ({origin})"),
        (origin, Some(default)) => {
            format!("  ({origin}; default {})", format::short(&crate::secret::redact_value(default).to_string(), 30))
        }
    };
    let mut lines = vec![format!("  {}: {}{value}{}", def.name, paint.dim(&def.type_name), paint.dim(origin))];
    let doc = first_line(def.doc.as_deref());
    if !doc.is_empty() {
        lines.push(format!("      {doc}"));
    }
    lines.push(paint.dim(format!("      {}", reach(scope))));
    lines
}

/// A value on one line, as far as it has room.
fn brief(value: &serde_json::Value) -> String {
    format::short(&value.to_string(), 48)
}

/// `global · shared with taxi_postgres · read by download, load`
fn reach(scope: &Scope) -> String {
    let mut words = Vec::new();
    if scope.global {
        words.push("global".to_string());
    }
    if !scope.shared_with.is_empty() {
        words.push(format!("shared with {}", scope.shared_with.join(", ")));
    }
    words.push(match &scope.read_by[..] {
        [] => "read by no task as an argument".into(),
        [one] if words.is_empty() => format!("of task {one} alone"),
        tasks => format!("read by {}", tasks.join(", ")),
    });
    words.join(" · ")
}

fn group_line(group: &GroupDef, paint: Paint) -> String {
    let lists: Vec<&str> = group.lists.iter().map(|list| list.name.as_str()).collect();
    let each = match (group.mapped, &lists[..]) {
        (false, _) => String::new(),
        (true, []) => "  mapped".into(),
        (true, lists) => format!("  for each {}", lists.join(" and ")),
    };
    let doc = first_line(group.doc.as_deref());
    let doc = if doc.is_empty() { String::new() } else { format!("  {doc}") };
    format!("  {}{}{doc}", paint.busy(&group.group_id), paint.dim(each))
}

fn task_lines(dag: &Dag, task: &TaskDef, width: usize, paint: Paint) -> Vec<String> {
    let output = if task.output == "()" { String::new() } else { format!(" {} {}", paint.dim("->"), task.output) };
    let each = if task.mapped { paint.dim("  ×n") } else { String::new() };
    let settings = settings(task);
    let settings = if settings.is_empty() { String::new() } else { paint.dim(format!("  {}", settings.join(", "))) };
    let mut lines = vec![format!("  {}{output}{each}{settings}", paint.busy(&task.task_id))];
    let named: Vec<String> = task.inputs.iter().map(|i| format!("{}: {}", i.name, i.type_name)).collect();
    let widest = named.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    for (input, name) in task.inputs.iter().zip(&named) {
        // A value that is written down may be long, and a program asks for --json.
        let source = format::short(&edges::source(dag, &input.source), width.saturating_sub(widest + 10).max(40));
        lines.push(format!("      {name:<widest$} {} {source}", paint.dim("<-")));
    }
    for (verb, assets) in [("reads", &task.inlets), ("makes", &task.outlets)] {
        if !assets.is_empty() {
            lines.push(format!("      {} {}", paint.dim(verb), assets.join(", ")));
        }
    }
    let id = |ix: u32| dag.tasks[ix as usize].task_id.as_str();
    for condition in &task.conditions {
        lines.push(format!(
            "      {} {} gives {}",
            paint.dim("when"),
            id(condition.upstream),
            brief(&condition.equals)
        ));
    }
    let after: Vec<&str> = edges::only_order(task).map(id).collect();
    if !after.is_empty() {
        lines.push(format!("      {} {}", paint.dim("after"), after.join(", ")));
    }
    lines
}

/// What its author set: everything that is not the default.
fn settings(task: &TaskDef) -> Vec<String> {
    let mut words = Vec::new();
    match task.kind {
        TaskKind::Normal => {}
        TaskKind::Setup => words.push("setup".into()),
        TaskKind::Teardown { .. } => words.push("teardown".into()),
    }
    if task.retry.retries > 0 {
        let growing = if task.retry.backoff > 0.0 { ", growing" } else { "" };
        words.push(format!("{} after {}{growing}", retries(task.retry.retries), human(task.retry.delay)));
    }
    if let Some(limit) = task.timeout {
        words.push(format!("timeout {}", human(limit)));
    }
    if task.trigger_rule != TriggerRule::default() {
        words.push(format!("trigger rule {}", task.trigger_rule));
    }
    if task.pool != "default_pool" || task.pool_slots != 1 {
        words.push(format!("pool {} ({})", task.pool, format::plural(task.pool_slots as usize, "slot")));
    }
    words.extend(task.max_active.map(|most| format!("{most} at once in all runs")));
    words.extend(task.max_active_per_run.map(|most| format!("{most} at once in a run")));
    words.extend(task.at_once.as_ref().map(|of| format!("{} at once of `{}`", of.most, of.key)));
    words.extend(task.rate.as_ref().map(|of| format!("{} in {} of `{}`", of.starts, human(of.span), of.key)));
    if !task.past.is_none() {
        words.push(if task.past.wait_for_downstream { "waits for downstream" } else { "depends on past" }.into());
    }
    if task.priority != 1 {
        words.push(format!("priority {}", task.priority));
    }
    if !task.isolation.is_none() {
        words.push("own process".into());
    }
    words.extend(told(&task.notify));
    if task.queue != "default" {
        words.push(format!("queue {}", task.queue));
    }
    words
}

fn retries(n: u32) -> String {
    if n == 1 { "1 retry".into() } else { format!("{n} retries") }
}

#[cfg(test)]
mod tests;

/// `on_failure: log, ops`
fn told(notify: &Notifiers) -> impl Iterator<Item = String> + '_ {
    notify.iter().map(|(occasion, to)| {
        let to: Vec<String> = to.iter().map(|one| crate::secret::redact(&one.to_string()).into_owned()).collect();
        format!("{}: {}", occasion.option(), to.join(", "))
    })
}
