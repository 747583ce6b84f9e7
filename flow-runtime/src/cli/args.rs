//! The command line, as clap reads it.

mod backfill;

pub use backfill::{Backfill, BackfillCancel, BackfillCommand, ReprocessArg};

use super::bench::Store;
use super::clean::{Clean, Delete};
use super::exit::EXIT_CODES;
use crate::store::CallbackState;
use clap::{Args, Parser, Subcommand, ValueEnum};
use flow_core::{RunStatus, TaskState};
use std::path::PathBuf;

/// Runs, records and shows the DAGs of this project. Without a command it runs the default DAG once.
#[derive(Debug, Parser)]
#[command(name = "dags", bin_name = "dags", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What holds for every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// The home folder: database, logs, values, lake [env: FLOW_HOME] [default: .flow]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub home: Option<PathBuf>,
    /// Print JSON, under Airflow's field names
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the DAGs
    List,
    /// Show a DAG: its params, its tasks, and which output goes into which argument
    Show(Show),
    /// Check everything that can be checked without running: DAGs, settings, params, pools
    Check,
    /// Run a DAG once, here and now
    Run(Run),
    /// Run a DAG in memory: nothing is recorded, and its home folder is thrown away
    Test(Test),
    /// Run everything in this one process: at present the scheduler
    Standalone,
    /// Run DAGs by themselves, as their schedules say, until it is stopped; go on with what was left behind
    Scheduler,
    /// Show the runs that a DAG will have by itself
    Next(Next),
    /// Make the runs that a schedule would have made between two dates, up to now; list, pause and cancel such backfills
    Backfill(Backfill),
    /// Let the scheduler make no more runs of these DAGs
    Pause(Dags),
    /// Let the scheduler run these DAGs again
    Unpause(Dags),
    /// Tell that an event has happened, for which tasks wait
    Emit(Emit),
    /// Let tasks of a run run again
    Clear(Clear),
    /// Set the state of tasks of a run, or of the run itself
    Mark(Mark),
    /// End a run that is under way: what runs is stopped, and the run has failed
    Cancel(RunArg),
    /// Delete all runs of a DAG, or one of them, with their logs and values
    Delete(Delete),
    /// Delete runs that have ended long ago, with their logs and values; but none without which a tick would be run again
    Clean(Clean),
    /// List runs, the one that was made last first
    Runs(Runs),
    /// Show the tasks of a run
    Tasks(Tasks),
    /// Say why something waits, and when that clears: everything, a DAG, a run, or a task of it
    Why(Why),
    /// Show what a task logged, and why its try ended
    Logs(Logs),
    /// Show the value a task returned
    Xcom(Xcom),
    /// List the places that have a name: `[connections]` of flow.toml
    Connections,
    /// List assets: when each was made last, who makes it, and which DAGs it starts
    Assets(Assets),
    /// List what somebody outside is to be told, or was
    Callbacks(Callbacks),
    /// Look after the metadata database: its schema, a copy of it
    #[command(subcommand)]
    Db(Db),
    /// Write a first DAG file, or a whole project
    New(New),
    /// Measure what the engine costs, in tasks that do nothing
    Bench(Bench),
}

/// Values for params.
#[derive(Debug, Clone, Default, Args)]
pub struct ParamArgs {
    /// Set a param; may be repeated. Numbers, booleans, lists and objects are written as JSON
    #[arg(long = "param", short = 'p', value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Set params from a JSON object in a file, or from stdin by `-`
    #[arg(long, value_name = "FILE")]
    pub params_json: Option<PathBuf>,
}

/// `show`
#[derive(Debug, Args)]
pub struct Show {
    /// The DAG [default: the one marked as default]
    pub dag: Option<String>,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Values to be shown as if they were given to `run`
    #[command(flatten)]
    pub params: ParamArgs,
}

/// How to show a DAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// A Mermaid flowchart, for a README
    Mermaid,
    /// A picture: `show DAG --format svg > dag.svg`
    Svg,
    /// For programs
    Json,
}

/// `run`
#[derive(Debug, Default, Args)]
pub struct Run {
    /// The DAG [default: the one marked as default]
    pub dag: Option<String>,
    /// Values for its params.
    #[command(flatten)]
    pub params: ParamArgs,
    /// The instant the run is about: 2021-01-01, 2021-01-01T10:00, or with an offset
    #[arg(long, value_name = "DATE")]
    pub logical_date: Option<String>,
    /// Name the run yourself
    #[arg(long, value_name = "ID")]
    pub run_id: Option<String>,
    /// Go on with an interrupted or failed run: its id, a part of it, or `latest`
    #[arg(long, value_name = "RUN", conflicts_with_all = ["run_id", "logical_date"])]
    pub resume: Option<String>,
    /// Run these tasks alone (or groups), with their setups and teardowns; with --resume: let them run again
    #[arg(long, value_name = "TASK", num_args = 1..)]
    pub only: Vec<String>,
    /// Reuse no output of an earlier run; what tasks with a cache give is kept for later ones
    #[arg(long)]
    pub no_cache: bool,
    /// Most tries at one time [env: FLOW_PARALLELISM] [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub parallelism: Option<u32>,
}

/// `test`
#[derive(Debug, Args)]
pub struct Test {
    /// The DAG [default: the one marked as default]
    pub dag: Option<String>,
    /// Values for its params.
    #[command(flatten)]
    pub params: ParamArgs,
    /// The instant the run is about
    #[arg(long, value_name = "DATE")]
    pub logical_date: Option<String>,
    /// Most tries at one time [env: FLOW_PARALLELISM] [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub parallelism: Option<u32>,
}

/// `next`
#[derive(Debug, Args)]
pub struct Next {
    /// The DAG [default: the one marked as default]
    pub dag: Option<String>,
    /// How many, at most 1000
    #[arg(long, short, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub number: u32,
}

/// Which DAGs.
#[derive(Debug, Args)]
pub struct Dags {
    /// The DAGs
    #[arg(required = true, value_name = "DAG")]
    pub dags: Vec<String>,
}

/// `emit`
#[derive(Debug, Args)]
pub struct Emit {
    /// Its name, by which tasks wait for it
    pub event: String,
    /// What is told of it to them: JSON, like 7, '"yes"' or '{"by": "Ada"}' [default: null]
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub payload: Option<String>,
}

/// `runs`
#[derive(Debug, Args)]
pub struct Runs {
    /// Of this DAG alone
    pub dag: Option<String>,
    /// In this state alone: queued, running, success, failed or interrupted; may be repeated
    #[arg(long, value_parser = wanted, value_name = "STATE")]
    pub state: Vec<Wanted>,
    /// At most this many; 0 for all
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub limit: u32,
}

/// Which run is meant.
#[derive(Debug, Clone, Args)]
pub struct RunArg {
    /// The run: its id, a part of it that no other has, or `latest`
    pub run: String,
    /// The DAG, where several have a run of this name
    #[arg(long, value_name = "DAG")]
    pub dag: Option<String>,
}

/// Which tasks of a run are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct TaskArgs {
    /// The tasks, or groups of them
    pub tasks: Vec<String>,
    /// Of a mapped task this instance alone, from 0
    #[arg(long, value_name = "I", value_parser = clap::value_parser!(i32).range(0..))]
    pub map_index: Option<i32>,
    /// Also everything they wait for
    #[arg(long, short)]
    pub upstream: bool,
    /// Also everything that waits for them
    #[arg(long, short)]
    pub downstream: bool,
}

/// `clear`
#[derive(Debug, Args)]
pub struct Clear {
    /// Which run is meant.
    #[command(flatten)]
    pub run: RunArg,
    /// Which of its tasks; none for all.
    #[command(flatten)]
    pub tasks: TaskArgs,
    /// Of all these only what failed, or could not run since something failed
    #[arg(long)]
    pub only_failed: bool,
    /// The same of the DAG's runs before it, by logical date
    #[arg(long)]
    pub past: bool,
    /// The same of the DAG's runs after it
    #[arg(long)]
    pub future: bool,
    /// Do it; without this, tell what would be cleared
    #[arg(long)]
    pub yes: bool,
    /// Tell what would be cleared, as without --yes
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}

/// `mark`
#[derive(Debug, Args)]
pub struct Mark {
    /// Which run is meant.
    #[command(flatten)]
    pub run: RunArg,
    /// The state: success, failed or skipped
    #[arg(value_parser = marks)]
    pub state: TaskState,
    /// Which of its tasks; none for the run itself.
    #[command(flatten)]
    pub tasks: TaskArgs,
}

fn marks(text: &str) -> Result<TaskState, String> {
    match TaskState::from_name(text) {
        Some(state @ (TaskState::Success | TaskState::Failed | TaskState::Skipped)) => Ok(state),
        _ => Err("a task is marked as success, failed or skipped".into()),
    }
}

/// `tasks`
#[derive(Debug, Args)]
pub struct Tasks {
    /// Which run is meant.
    #[command(flatten)]
    pub run: RunArg,
}

/// `why`
#[derive(Debug, Args)]
pub struct Why {
    /// A DAG, or a run: its id, a part of it, or `latest` [default: everything]
    #[arg(value_name = "DAG|RUN")]
    pub what: Option<String>,
    /// A task of the run
    pub task: Option<String>,
    /// The DAG of the run, where several have a run of this name
    #[arg(long, value_name = "DAG", requires = "what")]
    pub dag: Option<String>,
}

/// `callbacks`
#[derive(Debug, Args)]
pub struct Callbacks {
    /// Of this run alone: its id, a part of it that no other has, or `latest`
    pub run: Option<String>,
    /// The DAG, where several have a run of this name
    #[arg(long, value_name = "DAG", requires = "run")]
    pub dag: Option<String>,
    /// In this state alone: pending, success or failed
    #[arg(long, value_parser = callback_state, value_name = "STATE")]
    pub state: Option<CallbackState>,
    /// At most this many, the latest; 0 for all
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub limit: u32,
}

fn callback_state(text: &str) -> Result<CallbackState, String> {
    CallbackState::from_name(text).ok_or_else(|| "it is pending, success or failed".into())
}

/// `logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// Which run is meant.
    #[command(flatten)]
    pub run: RunArg,
    /// The task
    pub task: String,
    /// The try [default: the latest]
    #[arg(long = "try", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub try_number: Option<u32>,
    /// The instance of a mapped task, from 0
    #[arg(long, value_name = "I", value_parser = clap::value_parser!(i32).range(0..))]
    pub map_index: Option<i32>,
    /// Go on as the task writes, until its try ends
    #[arg(long, short)]
    pub follow: bool,
}

/// `xcom`
#[derive(Debug, Args)]
pub struct Xcom {
    /// Which run is meant.
    #[command(flatten)]
    pub run: RunArg,
    /// The task
    pub task: String,
    /// The instance of a mapped task, from 0
    #[arg(long, value_name = "I", value_parser = clap::value_parser!(i32).range(0..))]
    pub map_index: Option<i32>,
}

/// `assets`
#[derive(Debug, Args)]
pub struct Assets {
    /// What to do with one.
    #[command(subcommand)]
    pub command: Option<AssetsCommand>,
}

/// What to do with an asset.
#[derive(Debug, Subcommand)]
pub enum AssetsCommand {
    /// Show when an asset was made, by whom, and who reads it
    Show(AssetShow),
    /// Tell that an asset has come: DAGs that wait for it run
    Emit(AssetEmit),
}

/// `assets show`
#[derive(Debug, Args)]
pub struct AssetShow {
    /// The asset
    pub asset: String,
    /// At most so many events; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
}

/// `assets emit`
#[derive(Debug, Args)]
pub struct AssetEmit {
    /// The asset
    pub asset: String,
    /// What is known about it, as a JSON object: '{"rows": 12}'
    #[arg(long, value_name = "JSON")]
    pub extra: Option<String>,
}

/// `db`
#[derive(Debug, Subcommand)]
pub enum Db {
    /// Bring the schema up to date (whatever else is done does that as well)
    Migrate,
    /// Tell which database it is, whether it answers, and whether its schema is current
    Check,
    /// Write a copy of the database into a new file, while others use it
    Backup {
        /// The file
        file: PathBuf,
    },
    /// Delete what is old: `clean`, by another name
    Clean(Clean),
}

/// `new`
#[derive(Debug, Args)]
pub struct New {
    /// Name of the DAG: its file becomes src/NAME.rs in the DAG folder
    #[arg(required_unless_present = "project", conflicts_with = "project")]
    pub name: Option<String>,
    /// Write a whole project into this new folder
    #[arg(long, value_name = "FOLDER")]
    pub project: Option<PathBuf>,
    /// Where a checkout of flow lies, for the project to depend on by path [default: the one this program was built in, else this version]
    #[arg(long, value_name = "FOLDER", requires = "project")]
    pub flow: Option<PathBuf>,
}

/// `bench`
#[derive(Debug, Default, Args)]
pub struct Bench {
    /// What to run: chain:N one after the other, wide:N at once, fan:N instances of one mapped task; or due:N, N DAGs that are
    /// due in the same second
    #[arg(value_name = "SHAPE")]
    pub rows: Vec<String>,
    /// Where runs are kept [default: each of them]
    #[arg(long, value_enum)]
    pub store: Vec<Store>,
    /// Also 100,000 instances
    #[arg(long)]
    pub large: bool,
    /// How often to run each [default: 30 for small ones, 3 for large ones]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: Option<u32>,
    /// On which disk: a folder there [default: the current folder]
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// With due:N: measure on the Postgres server of this address, in a database that is made for it, and dropped at the end
    #[arg(long, value_name = "URL", conflicts_with = "store")]
    pub database: Option<String>,
    /// One row, in this process.
    #[arg(long, hide = true)]
    pub row: Option<String>,
}

/// A state of a run as a person sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It is in this state, and if that is none it ends in, somebody works on it.
    State(RunStatus),
    /// It has not ended, and nobody works on it.
    Interrupted,
}

fn wanted(text: &str) -> Result<Wanted, String> {
    const INTERRUPTED: &str = "interrupted";
    if text == INTERRUPTED {
        return Ok(Wanted::Interrupted);
    }
    RunStatus::from_name(text).map(Wanted::State).ok_or_else(|| {
        let names = ["queued", "running", "success", "failed", INTERRUPTED];
        let near =
            crate::suggest::nearest(text, names).map_or(String::new(), |name| format!("did you mean `{name}`? "));
        format!("{near}the states of a run are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_anywhere() {
        let cli = Cli::parse_from(["dags", "run", "taxi", "-p", "a=1", "--param", "b=2", "--json", "--home", "h"]);
        let Some(Command::Run(run)) = cli.command else { panic!("{cli:?}") };
        assert_eq!((run.dag.as_deref(), run.params.params.len()), (Some("taxi"), 2));
        assert!(cli.global.json && cli.global.home.is_some());
    }

    #[test]
    fn help_tells_the_exit_codes() {
        let help = Cli::command().render_help().to_string();
        assert!(help.contains("3  the run was interrupted (Ctrl-C) and can be resumed"), "{help}");
    }
}
