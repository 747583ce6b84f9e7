//! `assets`: what tasks make, when it was made last, and who waits for it.

use super::app::App;
use super::args::{AssetEmit, AssetShow, Assets, AssetsCommand};
use super::exit::{CliError, Exit, Result};
use super::format::{self, date, plural};
use super::session;
use super::table::Table;
use crate::clock::{Clock as _, SystemClock};
use crate::secret;
use crate::store::{AssetEventFilter, AssetEventRow, PendingAsset};
use crate::suggest;
use flow_core::{AssetExpr, Dag, Schedule};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the DAGs of the project say about an asset.
#[derive(Debug, Default)]
struct Lineage {
    uri: Option<String>,
    /// `dag.task` of each that makes it.
    made_by: Vec<String>,
    /// `dag.task` of each that reads it.
    read_by: Vec<String>,
    /// The DAGs that run when it has come.
    starts: Vec<String>,
}

/// Lists assets, shows one, or tells of an event.
pub fn assets(app: &App, args: &Assets) -> Result {
    match &args.command {
        None => list(app),
        Some(AssetsCommand::Show(args)) => show(app, args),
        Some(AssetsCommand::Emit(args)) => emit(app, args),
    }
}

fn lineages(app: &App) -> BTreeMap<String, Lineage> {
    let mut all: BTreeMap<String, Lineage> = BTreeMap::new();
    for dag in app.registry.dags() {
        for def in &dag.assets {
            let lineage = all.entry(def.name.clone()).or_default();
            lineage.uri = lineage.uri.take().or_else(|| def.uri.as_deref().map(|uri| secret::redact(uri).into_owned()));
        }
        for task in &dag.tasks {
            let name = format!("{}.{}", dag.dag_id, task.task_id);
            for asset in &task.outlets {
                all.entry(asset.clone()).or_default().made_by.push(name.clone());
            }
            for asset in &task.inlets {
                all.entry(asset.clone()).or_default().read_by.push(name.clone());
            }
        }
        for asset in waits_for(dag).map(AssetExpr::names).unwrap_or_default() {
            all.entry(asset.to_owned()).or_default().starts.push(dag.dag_id.clone());
        }
    }
    all
}

fn waits_for(dag: &Dag) -> Option<&AssetExpr> {
    dag.schedule.as_ref().and_then(Schedule::waits_for)
}

fn list(app: &App) -> Result {
    let latest = session::block_on(async {
        let Some(store) = app.store_to_read().await? else { return Ok(Vec::new()) };
        let latest = store.latest_asset_events().await?;
        store.close().await;
        Ok(latest)
    })?;
    let mut all: BTreeMap<String, (Lineage, Option<AssetEventRow>)> =
        lineages(app).into_iter().map(|(name, lineage)| (name, (lineage, None))).collect();
    // Also those that no DAG speaks of any more.
    for event in latest {
        let entry = all.entry(event.asset.clone()).or_default();
        entry.1 = Some(event);
    }
    let out = &app.out;
    if out.json {
        let assets = all.iter().map(|(name, (lineage, latest))| described(name, lineage, latest.as_ref()));
        out.json_pretty(&assets.collect::<Vec<_>>());
        return Ok(Exit::Success);
    }
    if all.is_empty() {
        out.note("no DAG speaks of an asset: `#[task(outlets = [TRIPS])]` makes one");
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["ASSET", "LATEST", "ROWS", "BY", "MADE BY", "READ BY", "STARTS"], &[5, 4, 3, 6]);
    for (name, (lineage, latest)) in &all {
        let event = latest.as_ref();
        table.row([
            name.clone(),
            event.map_or(String::new(), |event| date(event.timestamp)),
            event.map_or(String::new(), |event| number(event, "rows")),
            event.map_or(String::new(), by),
            lineage.made_by.join(", "),
            lineage.read_by.join(", "),
            lineage.starts.join(", "),
        ]);
    }
    table.lines(out.width, out.paint).iter().for_each(|line| out.line(line));
    Ok(Exit::Success)
}

fn show(app: &App, args: &AssetShow) -> Result {
    let name = &args.asset;
    let filter =
        AssetEventFilter { asset: Some(name.clone()), newest_first: true, limit: args.limit, ..Default::default() };
    let events = session::block_on(async {
        let Some(store) = app.store_to_read().await? else { return Ok(Vec::new()) };
        let events = store.asset_events(&filter).await?;
        store.close().await;
        Ok(events)
    })?;
    let mut known = lineages(app);
    let lineage = match known.remove(name) {
        Some(lineage) => lineage,
        None if events.is_empty() => return Err(unknown(name, &known)),
        None => Lineage::default(),
    };
    let out = &app.out;
    if out.json {
        let mut described = described(name, &lineage, events.first());
        described.insert("asset_events".into(), events.iter().map(event_json).collect());
        out.json_pretty(&described);
        return Ok(Exit::Success);
    }
    out.line(out.paint.bold(name));
    let fact = |name: &str, text: &str| {
        if !text.is_empty() {
            out.line(format!("  {} {text}", out.paint.dim(format!("{name:<8}"))));
        }
    };
    fact("lies at", lineage.uri.as_deref().unwrap_or_default());
    fact("made by", &lineage.made_by.join(", "));
    fact("read by", &lineage.read_by.join(", "));
    fact("starts", &lineage.starts.join(", "));
    if events.is_empty() {
        out.note("it has not been made yet");
        return Ok(Exit::Success);
    }
    out.line("");
    let mut table = Table::new(&["MADE", "BY", "RUN", "TRY", "ROWS", "BYTES", "ABOUT IT"], &[6, 2]);
    for event in &events {
        let made_by = event.made_by.as_ref();
        table.row([
            date(event.timestamp),
            by(event),
            made_by.map_or(String::new(), |by| by.run_id.clone()),
            made_by.map_or(String::new(), |by| by.try_number.to_string()),
            number(event, "rows"),
            number(event, "bytes"),
            about(event),
        ]);
    }
    table.lines(out.width, out.paint).iter().for_each(|line| out.line(line));
    if args.limit > 0 && events.len() >= args.limit as usize {
        out.note(out.paint_err.dim(format!("the newest {}; all of them: --limit 0", args.limit)));
    }
    Ok(Exit::Success)
}

fn emit(app: &App, args: &AssetEmit) -> Result {
    let known = lineages(app);
    let Some(lineage) = known.get(&args.asset) else { return Err(unknown(&args.asset, &known)) };
    let extra = match args.extra.as_deref().map(serde_json::from_str::<Map<String, Value>>) {
        None => Map::new(),
        Some(Ok(extra)) => extra,
        Some(Err(error)) => {
            let error = CliError::input(format!("--extra is not a JSON object: {error}"));
            return Err(error.hint("write one like '{\"rows\": 12}'"));
        }
    };
    let extra = Value::Object(extra);
    if secret::holds_password(&extra) {
        return Err(CliError::input("--extra holds a URL with a password, which is not stored: leave it out"));
    }
    let now = SystemClock.now();
    let id = session::block_on(async {
        let store = app.store().await?;
        let id = store.put_asset_event(&args.asset, &extra.to_string(), now).await?;
        store.close().await;
        Ok(id)
    })?;
    if app.out.json {
        let Value::Object(extra) = extra else { return Ok(Exit::Success) };
        let event = AssetEventRow { id, asset: args.asset.clone(), made_by: None, extra, timestamp: now };
        app.out.json_pretty(&event_json(&event));
        return Ok(Exit::Success);
    }
    app.out.line(format!("{} has come", args.asset));
    match &lineage.starts[..] {
        [] => app.out.note("no DAG waits for it"),
        dags => app.out.note(format!(
            "the scheduler looks at {} that wait for it: {}",
            plural(dags.len(), "DAG"),
            dags.join(", ")
        )),
    }
    Ok(Exit::Success)
}

fn unknown(name: &str, known: &BTreeMap<String, Lineage>) -> CliError {
    let error = CliError::input(format!("no DAG speaks of an asset `{name}`"));
    error.hints(suggest::hints(name, "asset", known.keys().map(String::as_str)))
}

/// `taxi.load[3]`, or who else told of it.
fn by(event: &AssetEventRow) -> String {
    let Some(by) = &event.made_by else { return "a person".into() };
    format!("{}.{}", by.dag_id, crate::run_event::label(&by.task_id, by.map_index))
}

fn number(event: &AssetEventRow, key: &str) -> String {
    event.extra.get(key).and_then(Value::as_u64).map_or(String::new(), format::count)
}

/// What is known besides the numbers.
fn about(event: &AssetEventRow) -> String {
    let mut rest = event.extra.clone();
    rest.retain(|key, value| !matches!(key.as_str(), "rows" | "bytes") || !value.is_u64());
    if rest.is_empty() { String::new() } else { secret::redact(&Value::Object(rest).to_string()).into_owned() }
}

/// An asset, under the field names of Airflow's API.
fn described(name: &str, lineage: &Lineage, latest: Option<&AssetEventRow>) -> Map<String, Value> {
    let task = |name: &String| {
        let (dag_id, task_id) = name.split_once('.').unwrap_or((name, ""));
        json!({"dag_id": dag_id, "task_id": task_id})
    };
    let described = json!({
        "name": name,
        "uri": lineage.uri,
        "producing_tasks": lineage.made_by.iter().map(task).collect::<Vec<_>>(),
        "consuming_tasks": lineage.read_by.iter().map(task).collect::<Vec<_>>(),
        "scheduled_dags": lineage.starts.iter().map(|dag_id| json!({"dag_id": dag_id})).collect::<Vec<_>>(),
        "last_asset_event": latest.map(event_json),
    });
    if let Value::Object(described) = described { described } else { Map::new() }
}

fn event_json(event: &AssetEventRow) -> Value {
    let by = event.made_by.as_ref();
    json!({
        "id": event.id,
        "name": event.asset,
        "timestamp": event.timestamp,
        "source_dag_id": by.map(|by| &by.dag_id),
        "source_run_id": by.map(|by| &by.run_id),
        "source_task_id": by.map(|by| &by.task_id),
        "source_map_index": by.map(|by| by.map_index),
        "source_try_number": by.map(|by| by.try_number),
        "extra": secret::redact_value(&Value::Object(event.extra.clone())),
    })
}

/// The assets that have come for each DAG.
pub fn come(pending: Vec<PendingAsset>) -> BTreeMap<String, BTreeSet<String>> {
    let mut come: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pending in pending {
        come.entry(pending.dag_id).or_default().insert(pending.asset);
    }
    come
}

/// The same as the store knows it now, as a whole sentence: `it waits for weather; trips has come`.
pub fn waiting_now(app: &App, dag: &Dag) -> Result<Option<String>> {
    if waits_for(dag).is_none() {
        return Ok(None);
    }
    let come = session::block_on(async {
        let Some(store) = app.store_to_read().await? else { return Ok(BTreeMap::new()) };
        let come = come(store.pending_assets().await?);
        store.close().await;
        Ok(come)
    })?;
    let sentence = waiting(dag, come.get(&dag.dag_id));
    Ok(sentence.map(|text| if text.starts_with("waits") { format!("it {text}") } else { text }))
}

/// `waits for weather; trips has come`; nothing for a DAG that waits for no asset.
pub fn waiting(dag: &Dag, come: Option<&BTreeSet<String>>) -> Option<String> {
    let when = waits_for(dag)?;
    let has_come = |name: &str| come.is_some_and(|come| come.contains(name));
    let Some(missing) = when.missing(&has_come) else { return Some("what it waits for has come".into()) };
    let there: Vec<&str> = when.names().into_iter().filter(|name| has_come(name)).collect();
    let there = match &there[..] {
        [] => String::new(),
        [one] => format!("; {one} has come"),
        [most @ .., last] => format!("; {} and {last} have come", most.join(", ")),
    };
    Some(format!("waits for {missing}{there}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dag_waits_for_is_a_sentence() {
        let mut dag = Dag::new("d");
        assert_eq!(waiting(&dag, None), None);
        dag.schedule = Some(Schedule::parse("assets(trips & (weather | news))").expect("assets"));
        let said = |names: &[&str]| waiting(&dag, Some(&names.iter().map(ToString::to_string).collect()));
        assert_eq!(said(&[]).as_deref(), Some("waits for trips & (weather | news)"));
        assert_eq!(said(&["trips"]).as_deref(), Some("waits for weather | news; trips has come"));
        assert_eq!(said(&["news", "weather"]).as_deref(), Some("waits for trips; news and weather have come"));
        assert_eq!(said(&["news", "trips"]).as_deref(), Some("what it waits for has come"));
    }
}
