//! `backfill`, as clap reads it.

use super::ParamArgs;
use clap::{Args, Subcommand, ValueEnum};

/// `backfill`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Backfill {
    /// What to do with one that is there.
    #[command(subcommand)]
    pub command: Option<BackfillCommand>,
    /// The DAG
    #[arg(required = true)]
    pub dag: Option<String>,
    /// The first date
    #[arg(long, value_name = "DATE", required = true)]
    pub from: Option<String>,
    /// The last date, which is in
    #[arg(long, value_name = "DATE", required = true)]
    pub to: Option<String>,
    /// Values for params, the same for every run.
    #[command(flatten)]
    pub params: ParamArgs,
    /// What to do about dates that have a run already: nothing, run what failed, or run all of it again
    #[arg(long, value_enum, default_value_t = ReprocessArg::None)]
    pub reprocess: ReprocessArg,
    /// The latest date first
    #[arg(long)]
    pub backwards: bool,
    /// Most runs at one time [default: that of the DAG]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_active_runs: Option<u32>,
    /// Leave it to the scheduler, and do not wait
    #[arg(long, conflicts_with = "dry_run")]
    pub detach: bool,
    /// Tell what would be run, and run nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What to do with a backfill.
#[derive(Debug, Subcommand)]
pub enum BackfillCommand {
    /// List backfills, the newest first
    List,
    /// Show a backfill, and what becomes of each date
    Show(BackfillId),
    /// Begin no more of its runs for now; those under way go on
    Pause(BackfillId),
    /// Go on with it
    Unpause(BackfillId),
    /// Begin no more of its runs; those that wait to begin have failed, those under way go on, unless --now
    Cancel(BackfillCancel),
}

/// Which backfill.
#[derive(Debug, Args)]
pub struct BackfillId {
    /// Its number, as `backfill list` shows it
    pub id: i64,
}

/// `backfill cancel`
#[derive(Debug, Args)]
pub struct BackfillCancel {
    /// Which
    #[command(flatten)]
    pub of: BackfillId,
    /// End those under way as well, as `cancel` ends a run
    #[arg(long)]
    pub now: bool,
}

/// What to do about dates that have a run already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReprocessArg {
    /// Leave them
    None,
    /// Run what failed
    Failed,
    /// Run all of them again
    Completed,
}
