//! The arguments of the commands that read what a migration recorded: `failures` and `journal`.

use std::path::PathBuf;

use backfill::internals::preflight::Acceptance;
use clap::{Args, Subcommand};

use super::{ExportArgs, accept_parser};

/// `failures`
#[derive(Debug, Args)]
pub(crate) struct FailuresArgs {
    /// List or retry
    #[command(subcommand)]
    pub action: FailuresAction,
}

/// `journal`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct JournalArgs {
    /// Purge the journal instead of listing it
    #[command(subcommand)]
    pub action: Option<JournalAction>,
    /// The plan file
    #[arg(value_name = "PLAN", required = true)]
    pub plan: Option<PathBuf>,
    /// List only the values of this run
    #[arg(long)]
    pub run: Option<i64>,
    /// List only the values whose number is higher than this; each line starts with the value's number
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub after: i64,
    /// List at most this number of values
    #[arg(long, default_value_t = 1000)]
    pub limit: u32,
    /// Also print the values; they are data from your items
    #[arg(long)]
    pub show_values: bool,
}

/// `journal purge`
#[derive(Debug, Subcommand)]
pub(crate) enum JournalAction {
    /// Delete the overwritten, removed and deleted values that the state file stores; afterwards, a rollback is refused
    Purge {
        /// The plan file
        #[arg(value_name = "PLAN")]
        plan: PathBuf,
        /// Accept `no-way-back`: necessary if a rollback of the migration is still possible
        #[arg(long, value_name = "FINDING", value_parser = accept_parser())]
        accept: Vec<Acceptance>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// `failures list|retry`
#[derive(Debug, Subcommand)]
pub(crate) enum FailuresAction {
    /// List open failures and diverged items with their keys
    List {
        /// The plan file
        #[arg(value_name = "PLAN")]
        plan: PathBuf,
        /// Maximum number of failures to list; the same maximum applies to diverged items
        #[arg(long, default_value_t = 1000)]
        limit: u32,
    },
    /// Retry the open failures
    Retry {
        /// The plan file
        #[arg(value_name = "PLAN")]
        plan: PathBuf,
        /// Accept a finding that prevents changes to items. The finding is client-encryption (recorded with the run, so
        /// it applies to later commands too) or no-way-back (after a purge of the journal)
        #[arg(long, value_name = "FINDING", value_parser = accept_parser())]
        accept: Vec<Acceptance>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Skip the plan's health checks: the pass begins and continues even if the application is unhealthy
        #[arg(long)]
        ignore_health_checks: bool,
        /// Where the command sends its metrics
        #[command(flatten)]
        exports: ExportArgs,
    },
}
