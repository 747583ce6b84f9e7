//! `run`, `test`, and the program without a command: a DAG from its params to its summary.

use super::app::App;
use super::args::{ParamArgs, Run, RunArg, Test};
use super::exit::{CliError, Exit, Result};
use super::observe::Watch;
use super::params::{self, Origin};
use super::prints::Prints;
use super::session::Bodies;
use super::{callbacks, list, lookup, session, signals, summary};
use crate::clock::{Clock as _, SkippingClock, SystemClock};
use crate::executor::{Again, CacheUse, Engine, EngineError, EngineSettings, RunReport, RunRequest, Stop};
use crate::notify::Deliverer;
use crate::run_event::{self, Observer};
use crate::secret::is_redacted;
use crate::store::{InstanceRow, MemoryStore, MetadataStore, RunFilter, XComFilter};
use crate::telemetry;
use flow_core::{Dag, RunStatus, RunType, Selection};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// The program alone: the default DAG once, and what to try next; without one, what there is.
pub fn default(app: &App) -> Result {
    if app.registry.default_dag().is_none() {
        list::list(app)?;
        if !app.registry.broken().is_empty() {
            let why = "no DAG was run: the one that runs by default may be among those that cannot be built";
            let how = app.command(&["run", "DAG"]);
            return Err(CliError::input(why).hint(format!("mend it, or say which to run: `{how}`")));
        }
        app.out.note("\nNo DAG is marked as default by `#[dag(default)]`, so nothing runs without a word.");
        app.out.note(format!(
            "Run one by `{}`; everything else: `{}`.",
            app.command(&["run", "DAG"]),
            app.command(&["--help"])
        ));
        return Ok(Exit::Success);
    }
    let exit = run(app, &Run::default())?;
    if exit == Exit::Success {
        summary::next_steps(app).iter().for_each(|line| app.out.note(line));
    }
    Ok(exit)
}

/// Makes a run and brings it to its end, or goes on with one.
pub fn run(app: &App, args: &Run) -> Result {
    telemetry::init_with(&app.config.log_level);
    let bodies = Bodies::start(app)?;
    session::block_on(async {
        let (store, exit) = match &args.resume {
            Some(word) => {
                let Some(store) = app.store_to_read().await? else {
                    return Err(lookup::no_runs(app, args.dag.as_deref()));
                };
                (store.clone(), resume(app, store.clone(), &bodies, (args, word)).await?)
            }
            None => {
                let request = request(app, args)?;
                let store = app.store().await?;
                (store.clone(), start(app, store.clone(), &bodies, cache(args), request).await?)
            }
        };
        let _ = bodies.stop().at_once.run_until_cancelled(store.close()).await;
        Ok(exit)
    })
}

/// The DAG and what is asked of it, before anything is touched.
fn request(app: &App, args: &Run) -> Result<(Arc<Dag>, RunRequest)> {
    let dag = lookup::dag(app, args.dag.as_deref())?;
    let params = params::complete(dag, app.params(dag, &args.params)?)?;
    let dag = if args.only.is_empty() { dag.clone() } else { only(app, dag, &args.only)? };
    let request = RunRequest {
        run_id: args.run_id.as_deref().map(run_id).transpose()?,
        run_type: RunType::Manual,
        logical_date: logical_date(args.logical_date.as_deref())?,
        params,
        ..RunRequest::default()
    };
    Ok((dag, request))
}

/// The part of a DAG that somebody asks for.
fn only(app: &App, dag: &Dag, tasks: &[String]) -> Result<Arc<Dag>> {
    flow_core::part(dag, &lookup::tasks(dag, tasks)?).map(Arc::new).map_err(|needs| {
        let needs: Vec<String> = needs.iter().map(ToString::to_string).collect();
        let mut again = vec!["run", "--resume", "RUN", "--only"];
        again.extend(tasks.iter().map(String::as_str));
        CliError::input(format!("these tasks cannot run alone:\n{}", needs.join("\n")))
            .hint("name those tasks too, for a new run")
            .hint(format!("or run them again in a run that has the values: `{}`", app.command(&again)))
    })
}

fn cache(args: &Run) -> CacheUse {
    if args.no_cache { CacheUse::Renew } else { CacheUse::Reuse }
}

async fn start(
    app: &App,
    store: Arc<dyn MetadataStore>,
    bodies: &Bodies,
    cache: CacheUse,
    (dag, request): (Arc<Dag>, RunRequest),
) -> Result {
    mention_interrupted(app, &*store, &dag).await?;
    let looked_at = store.clone();
    let engine = session::engine(app, store, bodies, cache);
    let tells = Some(Deliverer::start(&engine));
    let run = |observer, stop| engine.run(dag.clone(), request, observer, stop);
    watched(app, (&dag, &[]), bodies, (&*looked_at, Kept::InHome), tells, run).await
}

/// A run that its process left behind is not forgotten: how to go on with it is said before a new one starts.
async fn mention_interrupted(app: &App, store: &dyn MetadataStore, dag: &Dag) -> Result<()> {
    let filter = RunFilter {
        dag_id: Some(dag.dag_id.clone()),
        states: vec![RunStatus::Queued, RunStatus::Running],
        ..RunFilter::default()
    };
    let runs = store.runs(&filter).await?;
    let holders = session::holders(app, store).await?;
    let left = runs.into_iter().find(|run| holders.left_alone(run));
    if let Some(left) = left {
        let id = &left.run.run_id;
        app.out.note(format!(
            "note: run {id} of {} was interrupted; go on with it by `{}`",
            dag.dag_id,
            app.command(&["run", "--resume", id])
        ));
    }
    Ok(())
}

async fn resume(app: &App, store: Arc<dyn MetadataStore>, bodies: &Bodies, (args, word): (&Run, &str)) -> Result {
    let arg = RunArg { run: word.into(), dag: args.dag.clone() };
    let stored = lookup::run(app, Some(&*store), &arg).await?;
    if stored.run.state == RunStatus::Success && args.only.is_empty() {
        let done =
            CliError::input(format!("run `{}` has succeeded: there is nothing to go on with", stored.run.run_id));
        return Err(done.hints(others_to_resume(app, &*store).await?));
    }
    let dag = lookup::dag(app, Some(&stored.run.dag_id)).map_err(|e| {
        e.hint(format!("run `{}` was made from a DAG that this program no longer has", stored.run.run_id))
    })?;
    let given = for_resume(app, dag, &args.params, &stored.run.conf)?;
    let missing = |name: &&String| is_redacted(&stored.run.conf[*name]) && !given.contains_key(*name);
    let missing: Vec<&String> = stored.run.conf.keys().filter(missing).collect();
    if !missing.is_empty() {
        let names = missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let hints = dag.params.iter().filter(|p| missing.contains(&&p.name)).map(params::how_to_give);
        return Err(CliError::input(format!(
            "run `{}` cannot go on without {names}: a secret is not stored with a run, so give it again",
            stored.run.run_id
        ))
        .hints(hints));
    }
    let engine = session::engine(app, store.clone(), bodies, cache(args));
    // What it was made from is what it shows.
    let made_from = store.dag_version(&stored.dag_version).await?;
    let again = if args.only.is_empty() {
        Again::Failed
    } else {
        let tasks = lookup::tasks(&made_from, &args.only)?.into_iter().map(|task| (task, None)).collect();
        Again::These(Selection { tasks, ..Selection::default() })
    };
    let known = store.instances(stored.pk).await?;
    let tells = Some(Deliverer::start(&engine));
    let run = |observer, stop| engine.resume(dag.clone(), stored, given, again, observer, stop);
    watched(app, (&made_from, &known), bodies, (&*store, Kept::InHome), tells, run).await
}

/// The runs that a person may have meant: the newest of those that were interrupted or have failed.
async fn others_to_resume(app: &App, store: &dyn MetadataStore) -> Result<Vec<String>> {
    const MOST: usize = 3;
    let states = vec![RunStatus::Queued, RunStatus::Running, RunStatus::Failed];
    let runs = store.runs(&RunFilter { states, limit: 50, ..RunFilter::default() }).await?;
    let holders = session::holders(app, store).await?;
    let runs = runs.iter().filter(|run| run.run.state.is_finished() || holders.left_alone(run)).take(MOST);
    Ok(runs
        .map(|stored| {
            let run = &stored.run;
            let how = if run.state.is_finished() { "has failed" } else { "was interrupted" };
            format!("a run of {} {how}: `{}`", run.dag_id, app.command(&["run", "--resume", &run.run_id]))
        })
        .collect())
}

/// The params that a run which goes on may be told: its secrets, which are not stored, from wherever they come; and what a
/// person writes down once more.
fn for_resume(app: &App, dag: &Dag, args: &ParamArgs, conf: &Map<String, Value>) -> Result<Map<String, Value>> {
    let resolved = app.params(dag, args)?;
    let wanted = resolved.into_iter().filter(|p| match p.origin {
        Origin::Flag | Origin::Json => true,
        Origin::Default | Origin::Missing => false,
        _ => conf.get(&p.def.name).is_some_and(is_redacted),
    });
    Ok(wanted.filter_map(|p| Some((p.def.name.clone(), p.value?))).collect())
}

/// Runs a DAG in memory; its home folder is thrown away.
pub fn test(app: &App, args: &Test) -> Result {
    telemetry::init_with(&app.config.log_level);
    let dag = lookup::dag(app, args.dag.as_deref())?;
    let params = params::complete(dag, app.params(dag, &args.params)?)?;
    let logical_date = logical_date(args.logical_date.as_deref())?;
    let home =
        tempfile::tempdir().map_err(|e| CliError::outside(format!("no folder for the test could be made: {e}")))?;
    let bodies = Bodies::start(app)?;
    let settings = EngineSettings {
        logs: false,
        spill: false,
        locks: false,
        lease: None,
        cache: CacheUse::Off,
        home: home.path().into(),
        bodies: bodies.handle(),
        ..session::settings(app)
    };
    let store = Arc::new(MemoryStore::new());
    let began = SystemClock.now();
    let clock = Arc::new(SkippingClock::starting_at(began));
    let engine = Engine::new(store.clone(), app.registry.bodies().clone(), settings).with_clock(clock.clone());
    let request = RunRequest { params, logical_date, ..RunRequest::default() };
    let exit = session::block_on(async {
        let run = |observer, stop| engine.run(dag.clone(), request, observer, stop);
        watched(app, (dag, &[]), &bodies, (&*store, Kept::Nowhere), None, run).await
    })?;
    let left_out = (clock.now() - SystemClock.now()).to_std().unwrap_or_default().as_secs();
    if left_out > 0 {
        let left_out = flow_core::parse::human(Duration::from_secs(left_out));
        app.out.note(format!("a test waits for nothing: {left_out} in which nothing ran were left out of its clock"));
    }
    Ok(exit)
}

/// Where a run's records are afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In the home folder: logs and values can be asked for, and the run can be resumed.
    InHome,
    /// It ran in memory.
    Nowhere,
}

/// Drives a run while somebody looks on and Ctrl-C is heard; then tells how it went.
async fn watched<F: Future<Output = std::result::Result<RunReport, EngineError>>>(
    app: &App,
    (dag, known): (&Dag, &[InstanceRow]),
    bodies: &Bodies,
    (store, kept): (&dyn MetadataStore, Kept),
    tells: Option<Deliverer>,
    run: impl FnOnce(Observer, Stop) -> F,
) -> Result {
    let watch = Watch::start(dag, &app.out, known);
    let prints = Prints::redirect(&watch);
    let signals = signals::listen(bodies, watch.clone());
    let report = run(watch.observer(), bodies.stop()).await;
    // It holds the view, which must be gone before the summary is written.
    signals.end().await;
    drop(prints);
    drop(watch);
    let report = report?;
    let unmapped = XComFilter { map_index: Some(flow_core::UNMAPPED), ..XComFilter::default() };
    let exit = match report.run.state {
        _ if report.interrupted => Exit::Interrupted,
        RunStatus::Success => Exit::Success,
        _ => Exit::RunFailed,
    };
    // What the store still says matters less than that it ends.
    let stop = bodies.stop();
    let xcoms = stop.at_once.run_until_cancelled(store.xcoms(report.pk, unmapped)).await;
    let is_waited_for = xcoms.is_some();
    let (lines, notes) = summary::of(app, dag, &report, &xcoms.transpose()?.unwrap_or_default(), kept);
    if !app.out.json {
        lines.iter().for_each(|line| app.out.line(line));
    }
    notes.iter().for_each(|note| app.out.note(note));
    if let Some(failures) = report.has_paused {
        app.out.note(run_event::paused(&dag.dag_id, failures));
    }
    match tells {
        Some(tells) => callbacks::settle(app, tells, &report, &stop).await?,
        None if is_waited_for => callbacks::mention(app, store, report.pk).await?,
        None => {}
    }
    Ok(exit)
}

fn logical_date(text: Option<&str>) -> Result<Option<chrono::DateTime<chrono::Utc>>> {
    text.map(|text| flow_core::parse::date(text).map_err(|e| CliError::input(format!("--logical-date: {e}"))))
        .transpose()
}

/// A run id that can be typed again, and that no listing breaks over.
fn run_id(text: &str) -> Result<String> {
    const LONGEST: usize = 250;
    let fits = !text.is_empty() && text.len() <= LONGEST && text != lookup::LATEST;
    if fits && !text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Ok(text.into());
    }
    Err(CliError::input(format!("--run-id: `{}` cannot name a run", super::format::short(text, 60))).hint(format!(
        "it has 1 to {LONGEST} bytes, no blanks, and is not `{}`, the word for the newest run",
        lookup::LATEST
    )))
}
