//! The command line of a project: every crate with DAGs gets all of it.
//!
//! ```no_run
//! # mod my_dags {}
//! use my_dags as _; // names the crate, or the linker leaves its DAGs out
//!
//! fn main() -> std::process::ExitCode {
//!     flow_runtime::cli::main()
//! }
//! ```
//!
//! Exit codes: 0 success; 1 a run ended in state failed; 2 bad input; 3 the run was interrupted and can be resumed; 4
//! something outside failed. Results go to stdout, everything else to stderr; with `--json` stdout holds nothing but JSON.
//! All dates are UTC.

mod app;
mod args;
mod assets;
mod backfill;
mod backfills;
mod bench;
mod callbacks;
mod check;
mod clean;
mod clear;
mod coming;
mod connections;
mod database;
mod describe;
mod edit;
mod emit;
mod exit;
mod format;
mod kept;
mod list;
mod live;
mod logs;
mod lookup;
mod new;
mod observe;
mod output;
#[cfg(test)]
mod pages;
mod params;
mod plain;
mod pretty;
mod prints;
mod reasons;
mod run;
mod runs;
mod scheduler;
mod session;
mod show;
mod signals;
mod style;
mod summary;
mod table;
mod tasks;
mod view;
mod why;
mod xcom;

use crate::executor;
use app::App;
use args::{Cli, Command};
use clap::{CommandFactory as _, FromArgMatches as _};
use exit::CliError;
use output::Output;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

pub use exit::{EXIT_CODES, Exit};

/// Reads the command line of this process, does what it says, and tells how that ended.
pub fn main() -> ExitCode {
    if let Some(exit) = executor::serve() {
        return exit;
    }
    let args: Vec<OsString> = std::env::args_os().collect();
    let program = args
        .first()
        .map(Path::new)
        .and_then(Path::file_stem)
        .map_or("dags".into(), |n| n.to_string_lossy().into_owned());
    let cli = match parse(&program, &args) {
        Ok(cli) => cli,
        Err(error) => return refused(&error, args.iter().any(|arg| arg == "--json")).into(),
    };
    let out = Arc::new(Output::standard(cli.global.json));
    let exit = dispatch(spoken(program, args.first()), cli, &out).unwrap_or_else(|error| {
        out.error(&error);
        error.exit
    });
    out.finish(exit).into()
}

/// A variable that is not text would be overlooked, and with it what a person has set.
fn check_variables() -> exit::Result<()> {
    let broken = |(name, value): &(OsString, OsString)| {
        name.to_string_lossy().starts_with("FLOW_") && (name.to_str().is_none() || value.to_str().is_none())
    };
    match std::env::vars_os().find(broken) {
        Some((name, _)) => Err(CliError::input(format!("the variable {} is not UTF-8", name.to_string_lossy()))),
        None => Ok(()),
    }
}

/// How a person calls this program, so that every hint can be copied: `cargo run --bin dags --` where that is what they
/// did, else by the path or the name they wrote.
fn spoken(program: String, called: Option<&OsString>) -> String {
    let built = std::env::current_exe().is_ok_and(|path| path.components().any(|part| part.as_os_str() == "target"));
    match called.and_then(|called| called.to_str()) {
        _ if std::env::var_os("CARGO").is_some() && built => format!("cargo run --bin {program} --"),
        Some(called) => crate::quote::quoted(called),
        None => program,
    }
}

fn parse(program: &str, args: &[OsString]) -> Result<Cli, clap::Error> {
    let command = Cli::command().name(program.to_string()).bin_name(program);
    Cli::from_arg_matches(&command.try_get_matches_from(args)?)
}

/// Help, the version, or a complaint of clap's.
fn refused(error: &clap::Error, json: bool) -> Exit {
    if !error.use_stderr() {
        drop(error.print());
        return Exit::Success;
    }
    if json {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ").split("\n\nUsage:").next().unwrap_or_default();
        Output::standard(true).error(&CliError::input(message.to_string()));
        return Exit::BadInput;
    }
    drop(error.print());
    if error.kind() == clap::error::ErrorKind::InvalidSubcommand {
        let command = Cli::command();
        let names: Vec<&str> = command.get_subcommands().map(|c| c.get_name()).collect();
        Output::standard(false).note(format!("\nCommands: {}", names.join(", ")));
    }
    Exit::BadInput
}

fn dispatch(program: String, cli: Cli, out: &Arc<Output>) -> exit::Result {
    check_variables()?;
    let app = |parallelism: Option<u32>| App::load(program.clone(), &cli.global, parallelism, out.clone());
    let history = || App::load_history(program.clone(), &cli.global, out.clone());
    match cli.command {
        None => run::default(&app(None)?),
        Some(Command::List) => list::list(&app(None)?),
        Some(Command::Show(args)) => show::show(&app(None)?, &args),
        Some(Command::Check) => check::check(program.clone(), &cli.global, out.clone()),
        Some(Command::Run(args)) => run::run(&app(args.parallelism)?, &args),
        Some(Command::Test(args)) => run::test(&app(args.parallelism)?, &args),
        Some(Command::Scheduler | Command::Standalone) => scheduler::scheduler(&app(None)?),
        Some(Command::Next(args)) => scheduler::next(&app(None)?, &args),
        Some(Command::Backfill(args)) => backfill::backfill(&app(None)?, &args),
        Some(Command::Pause(args)) => scheduler::pause(&app(None)?, &args, true),
        Some(Command::Unpause(args)) => scheduler::pause(&app(None)?, &args, false),
        Some(Command::Emit(args)) => emit::emit(&history()?, &args),
        Some(Command::Clear(args)) => clear::clear(&history()?, &args),
        Some(Command::Mark(args)) => edit::mark(&history()?, &args),
        Some(Command::Cancel(run)) => edit::cancel(&history()?, &run),
        Some(Command::Delete(args)) => clean::delete(&history()?, &args),
        Some(Command::Clean(args)) => clean::clean(&history()?, &args),
        Some(Command::Runs(args)) => runs::runs(&history()?, &args),
        Some(Command::Tasks(args)) => tasks::tasks(&history()?, &args),
        Some(Command::Why(args)) => why::why(&history()?, &args),
        Some(Command::Logs(args)) => logs::logs(&history()?, &args),
        Some(Command::Callbacks(args)) => callbacks::callbacks(&history()?, &args),
        Some(Command::Xcom(args)) => xcom::xcom(&history()?, &args),
        Some(Command::Connections) => connections::connections(&app(None)?),
        Some(Command::Assets(args)) => assets::assets(&app(None)?, &args),
        Some(Command::Bench(args)) => bench::bench(&args, out),
        Some(Command::Db(args)) => database::db(&history()?, &args),
        Some(Command::New(args)) => new::new(&args, &program, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_refused_with_code_2_and_help_is_none() {
        let exit = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            parse("flow", &args).map(|_| ()).map_err(|e| (e.use_stderr(), e.to_string()))
        };
        assert!(exit(&["flow", "list"]).is_ok());
        assert!(exit(&["flow"]).is_ok());
        let (stderr, text) = exit(&["flow", "lsit"]).unwrap_err();
        assert!(stderr && text.contains("a similar subcommand exists: 'list'"), "{text}");
        let (stderr, text) = exit(&["flow", "--help"]).unwrap_err();
        assert!(!stderr && text.contains("Usage: flow"), "{text}");
        let (_, text) = exit(&["flow", "runs", "--state", "sucess"]).unwrap_err();
        assert!(text.contains("did you mean `success`?"), "{text}");
    }
}
