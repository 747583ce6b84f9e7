//! `why`: every reason that something waits, and when it clears. It only reads, and works while a scheduler does.

mod backfills;
mod left;
mod schedule;
mod sight;

use super::app::App;
use super::args::{RunArg, Why};
use super::exit::{CliError, Exit, Result};
use super::reasons::{Known, Reason, Surroundings, reasons};
use super::{lookup, session};
use crate::run_event::label;
use crate::store::{MetadataStore, StoredRun};
use crate::suggest;
use backfills::of_backfills;
use flow_core::{InstanceKey, TaskIx, TaskState, Waiting};
use left::given_up;
use schedule::of_schedule;
use serde_json::{Value, json};
use sight::Sight;

/// Most runs that a reason names.
const NAMES: usize = 10;

/// Of what something is said.
#[derive(Debug, Clone)]
struct Subject {
    dag_id: String,
    run_id: Option<String>,
    /// The task, and its place in a mapped list.
    task: Option<(String, i32)>,
}

impl Subject {
    fn dag(dag_id: &str) -> Subject {
        Subject { dag_id: dag_id.to_owned(), run_id: None, task: None }
    }
}

/// What is said, and of what.
type Said = Vec<(Subject, Reason)>;

/// What was asked, and is there.
enum Asked {
    All,
    Dag(String),
    Run(Box<StoredRun>),
}

/// Says why things wait.
pub fn why(app: &App, args: &Why) -> Result {
    let (said, note) = session::block_on(async {
        let sight = Sight::open(app).await?;
        let answer = match (asked(app, sight.store(), args).await?, sight.store()) {
            (Asked::Run(stored), Some(store)) => of_run(&sight, store, *stored, args.task.as_deref()).await?,
            (Asked::Dag(dag_id), _) => (of_dags(&sight, Some(&dag_id)).await?, None),
            _ => (of_dags(&sight, None).await?, None),
        };
        if let Some(store) = sight.store() {
            store.close().await;
        }
        Ok(answer)
    })?;
    let out = &app.out;
    if out.json {
        out.json_pretty(&said.iter().map(described).collect::<Vec<_>>());
        return Ok(Exit::Success);
    }
    for line in lines(app, args, &said) {
        out.line(line);
    }
    if said.is_empty() {
        out.note(note.unwrap_or_else(|| "nothing waits".into()));
    }
    Ok(Exit::Success)
}

async fn asked(app: &App, store: Option<&dyn MetadataStore>, args: &Why) -> Result<Asked> {
    let Some(what) = &args.what else { return Ok(Asked::All) };
    if args.dag.is_none() && (app.registry.dag(what).is_some() || app.registry.broken().contains_key(what)) {
        if let Some(task) = &args.task {
            return Err(CliError::input(format!("`{what}` is a DAG: to ask for the task `{task}`, name a run"))
                .hint(format!("of the latest one: `{}`", app.command(&["why", "latest", task, "--dag", what]))));
        }
        return Ok(Asked::Dag(lookup::dag(app, Some(what))?.dag_id.clone()));
    }
    let arg = RunArg { run: what.clone(), dag: args.dag.clone() };
    // It may be the name of a DAG that is meant.
    let dags = app.registry.dags().map(|dag| dag.dag_id.as_str());
    let near = args.dag.is_none().then(|| suggest::nearest(what, dags)).flatten().map(str::to_owned);
    let stored = lookup::run(app, store, &arg).await.map_err(|error| match near {
        Some(near) if error.message.starts_with("there is no run") => {
            error.hint(format!("there is a DAG `{near}`: did you mean that?"))
        }
        _ => error,
    })?;
    Ok(Asked::Run(Box::new(stored)))
}

/// Everything about a run; and what to say where nothing of it waits.
async fn of_run(
    sight: &Sight<'_>,
    store: &dyn MetadataStore,
    stored: StoredRun,
    task: Option<&str>,
) -> Result<(Said, Option<String>)> {
    let run = Known::of(sight.app, store, stored).await?;
    let wanted = task.map(|task| lookup::tasks(&run.dag, &[task.to_string()])).transpose()?;
    let mut said = of_the_run(sight, &run).await?;
    let all = of_instances(store, &run, &mut Surroundings::new(sight.app)).await?;
    let is_wanted = |subject: &Subject, reason: &Reason| match (&wanted, &subject.task) {
        // Who asks for a task is also told why it was never tried.
        (Some(wanted), Some((task_id, _))) => run.dag.task_ix(task_id).is_some_and(|task| wanted.contains(&task)),
        _ => matches!(reason, Reason::Waiting(_)),
    };
    said.extend(all.into_iter().filter(|(subject, reason)| is_wanted(subject, reason)));
    let note = match task {
        Some(task) => {
            let rows = run.rows.iter().filter(|row| *row.task_id == *task);
            let states: Vec<&str> = rows.map(|row| row.state.name()).collect();
            format!("{task} does not wait: it is {}", if states.is_empty() { "none".into() } else { states.join(", ") })
        }
        None => {
            let why = run.stored.ending.as_ref().map_or(String::new(), |how| format!(" ({})", how.cause.message));
            format!("nothing of it waits: the run is {}{why}", run.stored.run.state)
        }
    };
    Ok((said, Some(note)))
}

/// The reasons of the instances of a run, each task after what it waits for.
async fn of_instances(store: &dyn MetadataStore, run: &Known, around: &mut Surroundings<'_>) -> Result<Said> {
    let found = reasons(store, run, around).await?;
    let order = run.dag.topological().unwrap_or_else(|_| (0..run.dag.tasks.len() as TaskIx).collect());
    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(n, task)| place[*task as usize] = n);
    let mut found: Vec<(InstanceKey, Reason)> = found.into_iter().collect();
    found.sort_by_key(|(key, _)| (place[key.task as usize], key.map_index));
    let subject = |key: InstanceKey| Subject {
        dag_id: run.dag.dag_id.clone(),
        run_id: Some(run.stored.run.run_id.clone()),
        task: Some((run.dag.tasks[key.task as usize].task_id.clone(), key.map_index)),
    };
    Ok(found.into_iter().map(|(key, reason)| (subject(key), reason)).collect())
}

/// Everything about all DAGs, or one, and their unfinished runs. What only waits for other tasks of its run is left out:
/// what those wait for is said.
async fn of_dags(sight: &Sight<'_>, only: Option<&str>) -> Result<Said> {
    let app = sight.app;
    let mut said = Said::new();
    let open = sight.open_runs(only).await?;
    let given_up = given_up(sight, &open).await?;
    for dag in app.registry.dags().filter(|dag| only.is_none_or(|id| dag.dag_id == id)) {
        let own = open.iter().filter(|run| run.run.dag_id == dag.dag_id && !given_up.contains_key(&run.pk));
        let reasons = of_schedule(sight, dag, &own.collect::<Vec<_>>()).await?;
        said.extend(reasons.into_iter().map(|reason| (Subject::dag(&dag.dag_id), Reason::Waiting(reason))));
    }
    for (dag_id, broken) in app.registry.broken().iter().filter(|_| only.is_none()) {
        let why = in_one_line(&broken.error);
        said.push((Subject::dag(dag_id), Reason::Waiting(Waiting::CannotRun { why })));
    }
    let Some(store) = sight.store() else { return Ok(said) };
    for (dag_id, reason) in of_backfills(sight, store, only, &given_up).await? {
        said.push((Subject::dag(&dag_id), Reason::Waiting(reason)));
    }
    let mut around = Surroundings::new(app);
    for stored in open {
        let run = Known::of(app, store, stored).await?;
        said.extend(of_the_run(sight, &run).await?);
        let follows = |reason: &Reason| {
            use Waiting::{List, Resume, Run, Setup, Upstream};
            let Reason::Waiting(waiting) = reason else { return true };
            matches!(waiting, Run | Resume | Upstream { .. } | Setup { .. } | List { .. })
        };
        said.extend(of_instances(store, &run, &mut around).await?.into_iter().filter(|(_, reason)| !follows(reason)));
    }
    Ok(said)
}

/// Why a run is being ended, if it is, and why nobody works on it, if nobody does.
async fn of_the_run(sight: &Sight<'_>, run: &Known) -> Result<Said> {
    let subject = Subject { run_id: Some(run.stored.run.run_id.clone()), ..Subject::dag(&run.dag.dag_id) };
    let reasons = left::of_run(sight, run).await?;
    Ok(reasons.into_iter().map(|reason| (subject.clone(), Reason::Waiting(reason))).collect())
}

/// The sentences of an error, or the like, as one.
fn in_one_line(text: &impl std::fmt::Display) -> String {
    text.to_string().lines().collect::<Vec<_>>().join("; ")
}

fn described((subject, reason): &(Subject, Reason)) -> Value {
    let task = subject.task.as_ref();
    json!({
        "dag_id": subject.dag_id,
        "dag_run_id": subject.run_id,
        "task_id": task.map(|(task_id, _)| task_id),
        "map_index": task.map(|(_, map_index)| map_index),
        "why": reason.to_string(),
        "reason": reason,
    })
}

/// One line each; instances of a task that wait for the same share one.
fn lines(app: &App, args: &Why, said: &Said) -> Vec<String> {
    let paint = app.out.paint;
    let mut lines: Vec<(String, String, usize)> = Vec::new();
    for (subject, reason) in said {
        let of = match &subject.run_id {
            // Who has named a run knows it.
            Some(_) if args.what.as_deref() != Some(&subject.dag_id) && args.what.is_some() => String::new(),
            Some(run_id) => format!("{} {run_id} ", paint.bold(&subject.dag_id)),
            None => format!("{} ", paint.bold(&subject.dag_id)),
        };
        let sentence = reason.to_string();
        match &subject.task {
            None if of.is_empty() => lines.push((String::new(), format!("the run {sentence}"), 0)),
            None => lines.push((String::new(), format!("{of}{sentence}"), 0)),
            Some((task_id, map_index)) => {
                let state = paint.task(TaskState::Scheduled, label(task_id, *map_index));
                match lines.last_mut() {
                    Some((task, same, more)) if *task == *task_id && same.ends_with(&format!(": {sentence}")) => {
                        *more += 1
                    }
                    _ => lines.push((task_id.clone(), format!("{of}{state}: {sentence}"), 0)),
                }
            }
        }
    }
    let more = |(_, line, more): (String, String, usize)| match more {
        0 => line,
        more => format!("{line} (and so do {more} more instances of it)"),
    };
    lines.into_iter().map(more).collect()
}
