//! The arguments of the commands that move a migration from one step of the playbook to another: `cutover`, `contract`
//! and `rollback`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ExportArgs;
use super::step_args::{BackwardFacts, ConfirmArgs, DualWriteFacts, ForwardFacts, reason};

/// The target of `cutover --to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CutoverStepArg {
    /// Writers write both attributes.
    DualWrite,
    /// Readers read the new attribute.
    ReadNew,
    /// Writers write only the new attribute.
    WriteNew,
}

/// `cutover`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("way").required(true))]
pub(crate) struct CutoverArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// The step to take
    #[arg(long, value_enum, group = "way", value_name = "STEP")]
    pub to: Option<CutoverStepArg>,
    /// Take one step back. Asks only before it ends dual writes, and only on a terminal. While both attributes are
    /// written, this works even during another command
    #[arg(long, group = "way")]
    pub back: bool,
    /// With --to read-new: percentage of keys
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100), conflicts_with = "back")]
    pub percent: u8,
    /// Change nothing; report whether the step is possible, and which values readers would see for the first time
    #[arg(long, conflicts_with_all = ["yes", "back", "exports"])]
    pub dry_run: bool,
    /// With --back: do not wait, even if readers may then read stale old values
    #[arg(long, requires = "back")]
    pub now: bool,
    /// What the command exports
    #[command(flatten)]
    pub exports: ExportArgs,
    /// Override a closed gate (mismatches, diverged items, an old verification) or abandon a way back, and record this
    /// reason. It cannot override an incomplete expansion or, for write-new, failed items. With --back: continue only
    /// if at most as many items stay unequal as the earlier refusal reported
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub force: Option<String>,
    /// The confirmation and the accepted findings
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    /// Facts that the operator states if there is no flag
    #[command(flatten)]
    pub dual_writes: DualWriteFacts,
    /// Facts that the operator states on the way forward
    #[command(flatten)]
    pub forward: ForwardFacts,
    /// Facts that the operator states on the way back
    #[command(flatten)]
    pub backward: BackwardFacts,
}

/// Arguments that `contract` and `rollback` share.
#[derive(Debug, Args)]
pub(crate) struct PhaseArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Write nothing; count what the command would change in the table now
    #[arg(long, conflicts_with_all = ["yes", "exports"])]
    pub dry_run: bool,
    /// What the command exports
    #[command(flatten)]
    pub exports: ExportArgs,
}

/// `contract`
#[derive(Debug, Args)]
pub(crate) struct ContractArgs {
    /// The plan, and whether this is a dry run
    #[command(flatten)]
    pub phase: PhaseArgs,
    /// Skip the plan's health checks: the pass begins and continues even if the application is unhealthy
    #[arg(long, conflicts_with = "dry_run")]
    pub ignore_health_checks: bool,
    /// Finish a contract whose state file is lost or whose flag was removed; the reason is recorded
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub force: Option<String>,
    /// The confirmation and the accepted findings
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    /// Facts that the operator states if there is no flag
    #[command(flatten)]
    pub forward: ForwardFacts,
}

/// `rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The plan, and whether this is a dry run
    #[command(flatten)]
    pub phase: PhaseArgs,
    /// Continue although some values cannot be restored, and record this reason. Continues only if at most as many
    /// items cannot be restored as the earlier refusal reported
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub force: Option<String>,
    /// The confirmation and the accepted findings
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    /// Facts that the operator states if there is no flag
    #[command(flatten)]
    pub dual_writes: DualWriteFacts,
    /// Facts that the operator states on the way back
    #[command(flatten)]
    pub backward: BackwardFacts,
}
