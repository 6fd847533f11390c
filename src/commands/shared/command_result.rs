//! The result of a command: the fields that every JSON document contains. Only this file maps an error to these fields.

use serde_json::{Value as Json, json};

use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::next_step::NextStep;
use backfill::internals::clock::to_text;
use backfill::internals::cutover::LeaseError;
use backfill::internals::dynamodb::FatalKind;
use backfill::internals::engine::StopReason;
#[cfg(feature = "local")]
use backfill::internals::local::LocalError;
use backfill::internals::migration::{DriverError, MigrationError};
use backfill::internals::plan::PlanErrors;
use backfill::internals::state::{OpenWork, StoreError};

/// Version of the JSON documents. The version increases when a field is removed or changes its meaning, but not when a
/// field is added.
const SCHEMA_VERSION: u32 = 1;

/// The result of a command: its exit code, its error if any, and the next command.
#[derive(Debug, Clone)]
pub(crate) struct CommandResult {
    /// The exit code.
    pub(crate) exit: Exit,
    /// The error, if the exit code is not 0.
    error: Option<Problem>,
    /// The command to run next.
    next: Option<String>,
    /// The time before which the next command is refused.
    not_before: Option<String>,
}

/// A command's error, in a form for programs.
#[derive(Debug, Clone)]
struct Problem {
    kind: ErrorKind,
    message: String,
    /// The advice to print instead of the error kind's advice.
    remedy: Option<&'static str>,
}

/// The kind of an error. Scripts compare the name of the kind, so the names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Usage,
    Plan,
    OutOfOrder,
    Findings,
    NotConfirmed,
    Vetoed,
    Table,
    Flag,
    Lease,
    #[cfg(feature = "local")]
    LocalEngine,
    MetricsAddress,
    StateLocked,
    StateForeign,
    StateDamaged,
    StateUnusable,
    Failures,
    Mismatches,
    Limit,
    Credentials,
    Permission,
    Request,
    Rejected,
    ClientEncryption,
    Program,
    Interrupted,
    Unexpected,
}

impl ErrorKind {
    /// Returns the name in JSON.
    fn name(self) -> &'static str {
        match self {
            ErrorKind::Usage => "usage",
            ErrorKind::Plan => "plan",
            ErrorKind::OutOfOrder => "out_of_order",
            ErrorKind::Findings => "findings",
            ErrorKind::NotConfirmed => "not_confirmed",
            ErrorKind::Vetoed => "vetoed",
            ErrorKind::Table => "table",
            ErrorKind::Flag => "flag",
            ErrorKind::Lease => "lease",
            #[cfg(feature = "local")]
            ErrorKind::LocalEngine => "local_engine",
            ErrorKind::MetricsAddress => "metrics_address",
            ErrorKind::StateLocked => "state_locked",
            ErrorKind::StateForeign => "state_foreign",
            ErrorKind::StateDamaged => "state_damaged",
            ErrorKind::StateUnusable => "state_unusable",
            ErrorKind::Failures => "failures",
            ErrorKind::Mismatches => "mismatches",
            ErrorKind::Limit => "limit",
            ErrorKind::Credentials => "credentials",
            ErrorKind::Permission => "permission",
            ErrorKind::Request => "request",
            ErrorKind::Rejected => "rejected",
            ErrorKind::ClientEncryption => "client_encryption",
            ErrorKind::Program => "program",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::Unexpected => "unexpected",
        }
    }

    /// Returns the advice to the operator. The error's message contains the details.
    fn remedy(self) -> &'static str {
        match self {
            ErrorKind::Usage => "Correct the command line; `backfill help COMMAND` lists the options.",
            ErrorKind::Plan => "Correct the plan file; `backfill check PLAN` checks it.",
            ErrorKind::OutOfOrder => "Run the command in `next` instead.",
            ErrorKind::Findings => "Fix each finding that prevents the run, or accept it with --accept.",
            ErrorKind::NotConfirmed => "Run the same command again and confirm it, or add --yes.",
            ErrorKind::Vetoed => "Fix what the hook `before_step` reports, then run the same command again.",
            ErrorKind::Table => "Check `name`, `region`, `account` and `endpoint_url` in [table].",
            ErrorKind::Flag => "Check [cutover] and the flag's table, then run the same command again.",
            ErrorKind::Lease => "Wait until the other process ends, or stop it; then run the same command again.",
            #[cfg(feature = "local")]
            ErrorKind::LocalEngine => {
                "Choose another port with --port, another address with --listen, or another file with --db."
            }
            ErrorKind::MetricsAddress => "Choose another address with --metrics, or run the command without it.",
            ErrorKind::StateLocked => "Wait until the other process ends; then run the same command again.",
            ErrorKind::StateForeign => "Name the state file of this plan with --state.",
            ErrorKind::StateDamaged => "Keep the state file, and restore a copy of it as the RUNBOOK says.",
            ErrorKind::StateUnusable => "Check the path, the permissions and the free space of the state file.",
            ErrorKind::Failures => {
                "List the items with `backfill failures list PLAN`, fix the cause, then run the command in `next`."
            }
            ErrorKind::Mismatches => {
                "List the items with `backfill failures list PLAN`. Run the command in `next`, or correct them by hand."
            }
            ErrorKind::Limit => "Raise the limit in [limits], then run the same command again.",
            ErrorKind::Credentials => "Renew the credentials, then run the same command again.",
            ErrorKind::Permission => "Grant the permission that the message names, then run the same command again.",
            ErrorKind::Request => "Follow the message, then run the same command again.",
            ErrorKind::Rejected => "Correct the plan, and give it another [migration] name.",
            ErrorKind::ClientEncryption => {
                "Change these items with an application that has the encryption keys, or use --accept client-encryption."
            }
            ErrorKind::Program => "Correct the cause, then run the same command again.",
            ErrorKind::Interrupted => "`backfill status PLAN` shows the state and the next command.",
            ErrorKind::Unexpected => "Run the same command again; if it fails again, report it.",
        }
    }

    fn from_migration_error(error: &MigrationError) -> ErrorKind {
        match error {
            MigrationError::PlanFile { .. } | MigrationError::Plan(_) => ErrorKind::Plan,
            MigrationError::Preflight(_) => ErrorKind::Table,
            MigrationError::Findings { .. } => ErrorKind::Findings,
            MigrationError::Refused { .. } | MigrationError::NoCompletePass => ErrorKind::OutOfOrder,
            MigrationError::NotConfirmed | MigrationError::CannotConfirm | MigrationError::RepairChanged => {
                ErrorKind::NotConfirmed
            }
            MigrationError::Vetoed(_) => ErrorKind::Vetoed,
            MigrationError::MetricsAddress { .. } => ErrorKind::MetricsAddress,
            MigrationError::StateChanged(_) => ErrorKind::StateLocked,
            MigrationError::Driver(error) => ErrorKind::from_driver(error),
            MigrationError::State(error) => ErrorKind::from_store_error(error),
            MigrationError::Lease(LeaseError::Held { .. } | LeaseError::Foreign { .. }) => ErrorKind::Lease,
            MigrationError::Lease(LeaseError::Control(_)) => ErrorKind::Flag,
            MigrationError::Io(_) => ErrorKind::Unexpected,
        }
    }

    fn from_driver(error: &DriverError) -> ErrorKind {
        match error {
            DriverError::Refused(_) => ErrorKind::OutOfOrder,
            DriverError::OtherFlag { .. } | DriverError::Flag(_) | DriverError::Change(_) => ErrorKind::Flag,
            DriverError::Store(error) => ErrorKind::from_store_error(error),
            DriverError::Preflight(_) => ErrorKind::Table,
        }
    }

    fn from_store_error(error: &StoreError) -> ErrorKind {
        match error {
            StoreError::Locked(_) | StoreError::Fenced(_) => ErrorKind::StateLocked,
            StoreError::Foreign(_) => ErrorKind::StateForeign,
            StoreError::Corrupt(_) => ErrorKind::StateDamaged,
            StoreError::Io(_) | StoreError::Broken(_) => ErrorKind::StateUnusable,
            StoreError::Refused(_) => ErrorKind::OutOfOrder,
            StoreError::Transition(_) => ErrorKind::Unexpected,
        }
    }

    fn from_stop(reason: &StopReason) -> ErrorKind {
        match reason {
            StopReason::Interrupted | StopReason::Drained { .. } => ErrorKind::Interrupted,
            StopReason::Fatal { kind, .. } => match kind {
                FatalKind::Credentials | FatalKind::Clock => ErrorKind::Credentials,
                FatalKind::Permission => ErrorKind::Permission,
                FatalKind::TableMissing | FatalKind::Endpoint | FatalKind::Unsupported => ErrorKind::Table,
                FatalKind::Request => ErrorKind::Request,
                FatalKind::KeysFile => ErrorKind::Plan,
            },
            StopReason::MaxFailures { .. }
            | StopReason::MaxWcu { .. }
            | StopReason::MaxCost { .. }
            | StopReason::MaxItems { .. }
            | StopReason::Deadline(_) => ErrorKind::Limit,
            StopReason::AllFailing { .. } => ErrorKind::Rejected,
            StopReason::ClientEncryption => ErrorKind::ClientEncryption,
            StopReason::Exec(_) | StopReason::Unrepeatable { .. } => ErrorKind::Program,
            StopReason::GaveUp { .. } => ErrorKind::Request,
            StopReason::TableChanged(_) => ErrorKind::Table,
            StopReason::FlagMoved(_) | StopReason::FlagUnread { .. } => ErrorKind::Flag,
            StopReason::LeaseLost(_) => ErrorKind::Lease,
            StopReason::Scheduler(_) | StopReason::Internal(_) => ErrorKind::Unexpected,
            StopReason::Store(_) => ErrorKind::StateUnusable,
        }
    }

    fn from_error(error: &anyhow::Error) -> ErrorKind {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return match refusal.exit {
                Exit::Usage => ErrorKind::Usage,
                Exit::State => ErrorKind::StateUnusable,
                Exit::Refused => ErrorKind::OutOfOrder,
                Exit::Done | Exit::Unexpected | Exit::Failures | Exit::Mismatch | Exit::Stopped | Exit::Interrupted => {
                    ErrorKind::Unexpected
                }
            };
        }
        if error.downcast_ref::<PlanErrors>().is_some() {
            return ErrorKind::Plan;
        }
        #[cfg(feature = "local")]
        if Exit::from_error(error) == Exit::Refused && error.downcast_ref::<LocalError>().is_some() {
            return ErrorKind::LocalEngine;
        }
        match (error.downcast_ref::<MigrationError>(), error.downcast_ref::<StoreError>()) {
            (Some(error), _) => ErrorKind::from_migration_error(error),
            (None, Some(error)) => ErrorKind::from_store_error(error),
            (None, None) => ErrorKind::Unexpected,
        }
    }
}

impl CommandResult {
    /// Returns the result of a command that succeeded.
    pub(crate) fn done() -> CommandResult {
        CommandResult { exit: Exit::Done, error: None, next: None, not_before: None }
    }

    /// Returns the result of a command that finished. The exit code shows whether the command found failures or
    /// mismatches.
    pub(crate) fn from_exit(exit: Exit) -> CommandResult {
        let found = match exit {
            Exit::Done => None,
            Exit::Failures => Some((ErrorKind::Failures, "some items could not be changed")),
            Exit::Mismatch => Some((ErrorKind::Mismatches, "some items do not have the values that the plan implies")),
            Exit::Refused => Some((ErrorKind::Findings, "a run would be refused")),
            Exit::Usage => Some((ErrorKind::Usage, "the command line or the plan is not valid")),
            Exit::State => Some((ErrorKind::StateUnusable, "the state cannot be used")),
            Exit::Stopped | Exit::Unexpected => Some((ErrorKind::Unexpected, "the command did not finish")),
            Exit::Interrupted => Some((ErrorKind::Interrupted, "it was interrupted")),
        };
        let error = found.map(|(kind, message)| Problem { kind, message: message.to_owned(), remedy: None });
        CommandResult { exit, error, next: None, not_before: None }
    }

    /// Returns the result of a command that stopped early for this reason.
    pub(crate) fn stopped(reason: &StopReason) -> CommandResult {
        let error = Problem { kind: ErrorKind::from_stop(reason), message: reason.to_string(), remedy: None };
        CommandResult { exit: Exit::from_stop(reason), error: Some(error), next: None, not_before: None }
    }

    /// Returns the result of a command that stopped for this reason or, if `stopped` is `None`, finished with this exit
    /// code.
    pub(crate) fn from_exit_or_stop(exit: Exit, stopped: Option<&StopReason>) -> CommandResult {
        stopped.map_or_else(|| CommandResult::from_exit(exit), CommandResult::stopped)
    }

    /// Returns the result of a dry run with these predicted numbers. The exit code says whether items would fail or
    /// count as diverged. `plan_may_change` is true if no migration has begun with the plan.
    pub(crate) fn predicted(open: OpenWork, stopped: Option<&StopReason>, plan_may_change: bool) -> CommandResult {
        let result = CommandResult::from_exit_or_stop(Exit::from_run(open, stopped), stopped);
        let (message, remedy) = match result.exit {
            Exit::Failures => ("some items would fail", "Fix the causes that the report lists, or the plan."),
            Exit::Mismatch => (
                "some items would count as diverged",
                "Check the items that the report lists. In changes of attributes, `on_existing` decides which values stay.",
            ),
            Exit::Done
            | Exit::Unexpected
            | Exit::Usage
            | Exit::Refused
            | Exit::Stopped
            | Exit::State
            | Exit::Interrupted => return result,
        };
        let remedy = if plan_may_change {
            remedy
        } else {
            "Check the items that the report lists. Do not change the plan, because the migration has begun with it."
        };
        let error =
            result.error.map(|problem| Problem { message: message.to_owned(), remedy: Some(remedy), ..problem });
        CommandResult { error, ..result }
    }

    /// Returns the result of a command that failed or was refused.
    pub(crate) fn failed(error: &anyhow::Error) -> CommandResult {
        let whole = || match plan_errors(error) {
            Some(plan) => plan.render(false),
            None => format!("{error:#}"),
        };
        // The document has its own fields for the next command, so the message does not repeat it.
        let (message, next, not_before) = match error.downcast_ref::<MigrationError>() {
            Some(MigrationError::Refused { why, next, not_before }) => (why.clone(), Some(next.clone()), *not_before),
            Some(MigrationError::Findings { why, next }) => (why.clone(), next.clone(), None),
            Some(_) | None => (whole(), None, None),
        };
        let remedy = not_before.map(|_| "Run the command in `next` after the time in `not_before`.");
        let problem = Problem { kind: ErrorKind::from_error(error), message, remedy };
        CommandResult { exit: Exit::from_error(error), error: Some(problem), next, not_before: not_before.map(to_text) }
    }

    /// Returns the result for a command line that cannot be parsed.
    pub(crate) fn usage(message: String) -> CommandResult {
        CommandResult {
            exit: Exit::Usage,
            error: Some(Problem { kind: ErrorKind::Usage, message, remedy: None }),
            next: None,
            not_before: None,
        }
    }

    /// Sets the command to run next.
    pub(crate) fn next(self, next: impl Into<Option<String>>) -> CommandResult {
        CommandResult { next: next.into(), ..self }
    }

    /// Sets the time before which the next command is refused.
    pub(crate) fn not_before(self, until: Option<String>) -> CommandResult {
        CommandResult { not_before: until, ..self }
    }

    /// Adds the next step.
    pub(crate) fn next_step(self, step: Option<&NextStep>) -> CommandResult {
        CommandResult {
            next: step.map(|step| step.command.clone()),
            not_before: step.and_then(|step| step.not_before.clone()),
            ..self
        }
    }

    /// Adds the fields that every JSON document contains.
    pub(crate) fn document(&self, mut document: Json) -> Json {
        let CommandResult { exit, error, next, not_before } = self;
        let error = error.as_ref().map(|Problem { kind, message, remedy }| {
            let is_unnamed = *kind == ErrorKind::OutOfOrder && next.is_none();
            let remedy = match (remedy, is_unnamed) {
                (Some(remedy), _) => remedy,
                (None, true) => "Do what the message says, then run the same command again.",
                (None, false) => kind.remedy(),
            };
            json!({ "kind": kind.name(), "message": message, "remedy": remedy })
        });
        if let Some(map) = document.as_object_mut() {
            map.insert("schema_version".into(), SCHEMA_VERSION.into());
            map.insert("exit_code".into(), (*exit as u8).into());
            map.insert("error".into(), error.into());
            map.insert("next".into(), next.clone().into());
            map.insert("not_before".into(), not_before.clone().into());
        }
        document
    }
}

/// Returns the plan errors in this error; `None` if it contains none. Plan errors are printed in a form of their own.
pub(crate) fn plan_errors(error: &anyhow::Error) -> Option<&PlanErrors> {
    match error.downcast_ref::<MigrationError>() {
        Some(MigrationError::Plan(plan)) => Some(plan),
        Some(_) | None => error.downcast_ref::<PlanErrors>(),
    }
}
