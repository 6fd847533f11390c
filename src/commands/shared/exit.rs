//! The exit codes of the tool. Only this file maps errors to exit codes.

use std::process::ExitCode;

use backfill::internals::cutover::LeaseError;
use backfill::internals::engine::StopReason;
#[cfg(feature = "local")]
use backfill::internals::local::LocalError;
use backfill::internals::migration::{DriverError, MigrationError};
use backfill::internals::state::{OpenWork, StoreError};

/// The exit code with which a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command succeeded.
    Done = 0,
    /// The command ended with an unexpected error.
    Unexpected = 1,
    /// The command line or the plan is not valid.
    Usage = 2,
    /// The command was refused before it began.
    Refused = 3,
    /// The command finished, but some items failed.
    Failures = 4,
    /// The command finished, but the values of some items differ from the values that the plan implies.
    Mismatch = 5,
    /// A limit or an error that affects the whole run stopped the command. The command can be resumed.
    Stopped = 6,
    /// The state file is locked, damaged, or belongs to another plan or table.
    State = 7,
    /// A signal interrupted the command. The command can be resumed.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// Returns the exit code of a run that stopped for this reason.
    pub(crate) fn from_stop(reason: &StopReason) -> Exit {
        match reason {
            StopReason::Interrupted => Exit::Interrupted,
            StopReason::Internal(_) => Exit::Unexpected,
            StopReason::Drained { .. }
            | StopReason::Fatal { .. }
            | StopReason::MaxFailures { .. }
            | StopReason::MaxWcu { .. }
            | StopReason::MaxCost { .. }
            | StopReason::MaxItems { .. }
            | StopReason::Deadline(_)
            | StopReason::AllFailing { .. }
            | StopReason::ClientEncryption
            | StopReason::Exec(_)
            | StopReason::Unrepeatable { .. }
            | StopReason::GaveUp { .. }
            | StopReason::TableChanged(_)
            | StopReason::FlagMoved(_)
            | StopReason::FlagUnread { .. }
            | StopReason::LeaseLost(_)
            | StopReason::Scheduler(_)
            | StopReason::Store(_) => Exit::Stopped,
        }
    }

    /// Returns the exit code of a run that ended with these numbers of open failures and diverged items. If the run was
    /// stopped, the stop alone determines the exit code.
    pub(crate) fn from_run(open: OpenWork, stopped: Option<&StopReason>) -> Exit {
        match stopped {
            Some(reason) => Exit::from_stop(reason),
            None if open.failures > 0 => Exit::Failures,
            None if open.diverged > 0 => Exit::Mismatch,
            None => Exit::Done,
        }
    }

    pub(crate) fn from_error(error: &anyhow::Error) -> Exit {
        if let Some(Refusal { exit, .. }) = error.downcast_ref() {
            return *exit;
        }
        #[cfg(feature = "local")]
        if let Some(error) = error.downcast_ref::<LocalError>() {
            return Exit::from_local_error(error);
        }
        match error.downcast_ref::<MigrationError>() {
            Some(error) => Exit::from_migration_error(error),
            None => error.downcast_ref::<StoreError>().map_or(Exit::Unexpected, Exit::from_store_error),
        }
    }

    /// Returns the exit code for an engine that did not start or that failed. If an address or a file cannot be used,
    /// nothing was started.
    #[cfg(feature = "local")]
    fn from_local_error(error: &LocalError) -> Exit {
        match error {
            LocalError::PortTaken { .. }
            | LocalError::Listen { .. }
            | LocalError::Upstream { .. }
            | LocalError::File { .. }
            | LocalError::Foreign { .. }
            | LocalError::InUse { .. } => Exit::Refused,
            LocalError::Engine(_) | LocalError::Sqlite(_) | LocalError::Thread(_) => Exit::Unexpected,
        }
    }

    fn from_migration_error(error: &MigrationError) -> Exit {
        match error {
            MigrationError::PlanFile { .. } | MigrationError::Plan(_) => Exit::Usage,
            MigrationError::State(store) | MigrationError::Driver(DriverError::Store(store)) => {
                Exit::from_store_error(store)
            }
            MigrationError::StateChanged(_)
            | MigrationError::Lease(LeaseError::Held { .. } | LeaseError::Foreign { .. }) => Exit::State,
            MigrationError::Preflight(_)
            | MigrationError::MetricsAddress { .. }
            | MigrationError::Findings { .. }
            | MigrationError::Refused { .. }
            | MigrationError::NoCompletePass
            | MigrationError::NotConfirmed
            | MigrationError::CannotConfirm
            | MigrationError::RepairChanged
            | MigrationError::Vetoed(_)
            | MigrationError::Lease(LeaseError::Control(_))
            | MigrationError::Driver(
                DriverError::Refused(_)
                | DriverError::OtherFlag { .. }
                | DriverError::Flag(_)
                | DriverError::Change(_)
                | DriverError::Preflight(_),
            ) => Exit::Refused,
            MigrationError::Io(_) => Exit::Unexpected,
        }
    }

    fn from_store_error(error: &StoreError) -> Exit {
        match error {
            StoreError::Locked(_) | StoreError::Foreign(_) | StoreError::Corrupt(_) => Exit::State,
            StoreError::Refused(_) | StoreError::Io(_) => Exit::Refused,
            StoreError::Broken(_) | StoreError::Fenced(_) => Exit::Stopped,
            StoreError::Transition(_) => Exit::Unexpected,
        }
    }
}

/// A command's refusal, with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    /// The exit code.
    pub exit: Exit,
    /// The message. It says what happened, which work was not done, and what the operator can do.
    pub message: String,
}

impl Refusal {
    pub(crate) fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        Refusal { exit, message: message.into() }.into()
    }
}
