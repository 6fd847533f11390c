//! The errors of a migration's commands.

use jiff::Timestamp;

use crate::clock::to_text;
use crate::command_line::CommandLine;
use crate::cutover::{FlagError, FlagStoreError, LeaseError};
use crate::hooks::Veto;
use crate::plan::PlanErrors;
use crate::playbook::{Goal, StepRefusal};
use crate::preflight::{Acceptance, PreflightError};
use crate::state::StoreError;

/// The reason why a command ends without a result. Completed work is durable, and a rerun of the command continues
/// after it.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum MigrationError {
    /// The plan's file cannot be read.
    #[error("the plan {path} cannot be read: {error}. Nothing was done. `backfill init` writes a plan to start from")]
    PlanFile {
        /// The path of the plan file.
        path: String,
        /// The reason why the file cannot be read.
        error: std::io::Error,
    },
    /// The plan is not valid, or it does not fit the table. Contains every problem of the plan.
    #[error(transparent)]
    Plan(#[from] PlanErrors),
    /// The table cannot be reached, or it is not the table that the plan names.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The preflight found a problem that blocks a run, and the operator did not accept it.
    #[error("{why}{}", next.iter().map(|next| format!(".\nNext: {next}")).collect::<String>())]
    Findings {
        /// The findings, each with its remedy.
        why: String,
        /// The same command with options that accept the findings. `None` if a finding cannot be accepted.
        next: Option<String>,
    },
    /// The command is out of order, or a gate is closed.
    #[error("{why}.\nNext{}: {next}", not_before.iter().map(|until| format!(", not before {}", to_text(*until))).collect::<String>())]
    Refused {
        /// Every unmet precondition.
        why: String,
        /// The command to run instead.
        next: String,
        /// The time before which `next` is refused too. `None` if it may run now.
        not_before: Option<Timestamp>,
    },
    /// The operator requested another pass with `--again`, but no pass is complete yet.
    #[error(
        "--again requires a complete pass, and no pass is complete yet. Nothing was written. Run the \
         command without --again, to begin or to resume a pass"
    )]
    NoCompletePass,
    /// [`super::Observer::confirm`] answered no.
    #[error("not confirmed. Nothing was written")]
    NotConfirmed,
    /// The command needs a confirmation, but [`super::Observer::can_confirm`] returned false.
    #[error(
        "this command writes to the table or changes its cutover flag, and there is no terminal to ask for confirmation. The table \
         was not written, and the flag was not moved. Run it again with --yes. To check first without writing: \
         `run`, `contract`, `rollback` and `cutover --to` take --dry-run, and `verify` without --repair only \
         compares. A rollback of deleted or derived items has no --dry-run: `journal` lists these items"
    )]
    CannotConfirm,
    /// Somebody changed the flag while the operator answered the question.
    #[error(
        "the flag was moved in the meantime, so a repair would differ from the preview. Nothing was repaired. Run \
         the same command again to see what a repair does now"
    )]
    RepairChanged,
    /// The address of the metrics endpoint cannot be bound.
    #[error(
        "the metrics address {address} cannot be bound: {error}. Nothing was done. Free this address, or choose \
         another one with --metrics; with port 0, the system chooses a free port"
    )]
    MetricsAddress {
        /// The address.
        address: std::net::SocketAddr,
        /// The reason.
        error: std::io::Error,
    },
    /// The hook `before_step` refused the step.
    #[error(transparent)]
    Vetoed(#[from] Veto),
    /// The state file was replaced while it was read.
    #[error("the state file {0} was changed while it was read. Nothing was done; run the same command again")]
    StateChanged(String),
    /// The driver could not carry out the next step.
    #[error(transparent)]
    Driver(DriverError),
    /// The state file cannot be opened, read or written.
    #[error(transparent)]
    State(#[from] StoreError),
    /// Another process works on this migration, or this process cannot acquire the lease.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// [`super::Observer::opened`] returned an error.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl MigrationError {
    /// Converts a driver's error. Turns the next command of a refusal into a complete command line for this plan.
    pub(crate) fn from_driver(error: DriverError, commands: &CommandLine) -> MigrationError {
        if let DriverError::Refused(refused) = error {
            let next = refused.next.render(commands);
            MigrationError::Refused { why: refused.why, next, not_before: refused.not_before }
        } else {
            MigrationError::Driver(error)
        }
    }
}

impl DriverError {
    /// Adds the accepted findings to the next command of a refusal, if that command has this goal. Without them, the
    /// next command would be refused because of the same findings.
    pub(super) fn with_accepted(self, goal: Goal, accepted: &[Acceptance]) -> DriverError {
        let DriverError::Refused(refused) = self else { return self };
        let next = refused.next.with_accepted(goal, accepted.iter().map(|accept| accept.name()));
        DriverError::Refused(StepRefusal { next, ..refused })
    }
}

impl From<DriverError> for MigrationError {
    fn from(error: DriverError) -> MigrationError {
        MigrationError::Driver(error)
    }
}

impl From<FlagStoreError> for MigrationError {
    fn from(error: FlagStoreError) -> MigrationError {
        MigrationError::Driver(DriverError::Flag(error))
    }
}

/// The reason why a command stops. Completed work is durable, and a rerun of the command continues after it.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum DriverError {
    /// The command is out of order, or a gate is closed.
    #[error(transparent)]
    Refused(#[from] StepRefusal),
    /// The migration began with a different flag than the plan now names.
    #[error(
        "the migration has begun with the flag in {begun}, but the plan names {named}. Nothing was done. Restore the old \
         [cutover], because applications obey that flag"
    )]
    OtherFlag {
        /// The flag in the state file.
        begun: String,
        /// The flag in the plan.
        named: String,
    },
    /// The flag cannot be read or changed.
    #[error(transparent)]
    Flag(#[from] FlagStoreError),
    /// The flag does not allow this change.
    #[error(transparent)]
    Change(#[from] FlagError),
    /// The state file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The plan does not fit the table.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
}
