//! Defines how a running migration reports notices and progress, and how it asks questions. The embedding program
//! answers the questions, because the library never reads from a terminal.

use std::fmt::{Display, Formatter};
use std::net::SocketAddr;
use std::time::Duration;

use jiff::SignedDuration;

use super::Wait;
use crate::clock::to_text;
use crate::cutover::{CHANGE_TIME_MARGIN, Flag};
use crate::engine::Stopper;
use crate::outside::UntrustedText;
use crate::passes::verify::VerifyReport;
use crate::playbook::Phase;
use crate::preflight::{Acceptance, Finding, write_finding};
use crate::state::StoreError;

/// Receives the notices and progress of a migration, and answers its questions.
///
/// Every method has a default, so an observer implements only the methods that it needs. By default, every question is
/// refused, so nothing is written by accident. Async code calls these methods, so they must not block for long.
///
/// # Example
///
/// ```
/// use backfill::{Answer, Notice, Observer, Question};
///
/// struct Agree;
///
/// impl Observer for Agree {
///     fn notice(&self, notice: &Notice<'_>) {
///         eprintln!("{notice}");
///     }
///     fn confirm(&self, question: &Question<'_>) -> Answer {
///         eprintln!("{question}: yes");
///         Answer::Yes
///     }
/// }
/// ```
pub trait Observer: Send + Sync {
    /// Receives a notice for the operator. [`Notice`] implements `Display`.
    fn notice(&self, _notice: &Notice<'_>) {}

    /// Receives live figures every few seconds while a pass runs.
    fn progress(&self, _figures: &ProgressUpdate) {}

    /// Returns whether somebody can answer [`Observer::confirm`]. If not, a command that needs a confirmation is
    /// refused before it begins its work.
    fn can_confirm(&self) -> bool {
        true
    }

    /// Returns whether the library calls [`Observer::confirm`] before a command ends dual writes again. The default is
    /// false, because nothing must delay a step back.
    fn asks_before_dual_writes_end(&self) -> bool {
        false
    }

    /// Asks whether to proceed with the command. The library calls this method before the first step that writes to the
    /// table or changes the flag.
    fn confirm(&self, _question: &Question<'_>) -> Answer {
        Answer::No
    }

    /// Reports that the command begins its work. Unless the command is a check or a dry run, this process then has the
    /// exclusive right to work on the migration. From now on, the embedding program can drain the command with the
    /// stopper, for example after a signal.
    ///
    /// # Errors
    ///
    /// If this function returns an error, the command ends before it does anything.
    fn opened(&self, _stop: &Stopper) -> std::io::Result<()> {
        Ok(())
    }

    /// Returns whether the library writes its progress line to stderr. On a terminal, the line is a progress bar.
    /// Elsewhere, it is a log line.
    fn shows_progress_line(&self) -> bool {
        false
    }
}

/// Ignores every notice and refuses every question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// The answer to a [`Question`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The command may proceed.
    Yes,
    /// The command ends with [`super::MigrationError::NotConfirmed`].
    No,
}

/// The question that the library asks before it writes anything. `Display` shows its text.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub(crate) text: &'a str,
}

impl Display for Question<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

/// Live figures of a running pass.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ProgressUpdate {
    /// Number of items read so far, over all sessions of the run.
    pub items: u64,
    /// The item count that DynamoDB reports for the table. The count can be six hours old. 0 if unknown.
    pub item_estimate: u64,
    /// Number of segments completed so far, over all sessions of the run.
    pub segments_done: u64,
    /// Total number of segments of the run. 0 if the pass has no segments.
    pub total_segments: u64,
    /// Number of requests that DynamoDB throttled in this session.
    pub throttled: u64,
}

/// A notice for the operator. `Display` shows the text that the command line prints.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Notice<'a> {
    /// A budget in the plan was lowered, because it exceeded the table's capacity.
    BudgetCut(&'a str),
    /// Another process holds the lease. This process waits until the lease expires, at most for the given time.
    LeaseHeld {
        /// The holder of the lease.
        owner: &'a UntrustedText,
        /// The maximum time for which this process waits.
        within: Duration,
    },
    /// The header of a run: the table, the budgets, the limits, and whether the run begins or resumes.
    RunHeader(&'a str),
    /// The preflight reports a finding that needs the operator's decision.
    Finding {
        /// The finding.
        finding: &'a Finding,
        /// The findings that the operator accepts.
        accepted: &'a [Acceptance],
    },
    /// The pause or the rate that an operator set with `ctl` before this session.
    Steering(&'a str),
    /// A pass other than expand begins.
    PassBegins(Phase),
    /// The tool has asked DynamoDB for a backup of the table, and waits until the backup is complete. The text is the
    /// backup's ARN.
    BackupBegun(&'a str),
    /// The backup with this ARN is complete and recorded.
    BackedUp(&'a str),
    /// The names of the `[limits]` that do not apply because the command is `rollback` or `cutover --back`.
    LimitsLifted(&'a [&'static str]),
    /// The cutover flag was changed to this state.
    FlagChanged(&'a Flag),
    /// The command waits until no application obeys an earlier state of the flag.
    Waiting(&'a Wait),
    /// Before a repair, the command compares the table, because no current verification shows which items the repair
    /// would change.
    ComparesFirst,
    /// A preview of the changes that a repair would make.
    RepairPreview(&'a str),
    /// A command other than `verify` has run a verification, which found mismatches.
    Mismatches(&'a VerifyReport),
    /// The size and the cost of the sample that the command is about to read.
    Sample(&'a str),
    /// Items that a rollback does not restore exactly.
    UnrestoredItems(&'a str),
    /// The flag was changed, but the state file could not record the change.
    FlagNotRecorded(&'a StoreError),
    /// The metrics endpoint serves at this address.
    MetricsServed(SocketAddr),
    /// The plan's file of keys or a program's file is missing or has changed. The current command, `rollback` or
    /// `cutover --back`, does not need this file.
    KeptFiles {
        /// Whether the command reads the plan's keys from the copy next to the state file.
        reads_copy: bool,
    },
}

impl Display for Notice<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Notice::BudgetCut(text)
            | Notice::RunHeader(text)
            | Notice::Steering(text)
            | Notice::RepairPreview(text)
            | Notice::Sample(text)
            | Notice::UnrestoredItems(text) => f.write_str(text),
            Notice::LeaseHeld { owner, within } => write!(
                f,
                "waiting  {owner} holds the lease of this migration, or died while holding it. If it does not \
                 renew the lease within {} s, this process takes it",
                within.as_secs_f64().ceil()
            ),
            Notice::Finding { finding, accepted } => {
                let mut text = Vec::new();
                // A write to memory cannot fail.
                let _ = write_finding(&mut text, finding, accepted);
                f.write_str(&String::from_utf8_lossy(&text))
            }
            Notice::PassBegins(phase) => write!(f, "pass     {}", words(*phase)),
            Notice::BackupBegun(arn) => {
                write!(
                    f,
                    "backup   waiting until DynamoDB has completed the backup {arn}; nothing is written before that"
                )
            }
            Notice::BackedUp(arn) => {
                write!(f, "backup   complete: {arn}. AWS bills it until you delete it")
            }
            Notice::LimitsLifted(limits) => {
                write!(f, "this command is exempt from [limits] {}; the rate budget still applies", limits.join(", "))
            }
            Notice::FlagChanged(flag) => write!(f, "flag     {flag}"),
            Notice::Waiting(wait) => write_wait(f, wait),
            Notice::ComparesFirst => f.write_str(
                "no full verification has run since the table or the flag last changed: comparing the table first",
            ),
            Notice::Mismatches(report) => {
                let mut text = Vec::new();
                // A write to memory cannot fail.
                let _ = report.write(&mut text);
                f.write_str(&String::from_utf8_lossy(&text))
            }
            Notice::MetricsServed(address) => {
                write!(f, "metrics  http://{address}/metrics")?;
                if address.ip().is_loopback() {
                    return Ok(());
                }
                f.write_str(
                    "\n         everyone who can reach this address can read the metrics. They contain the names of \
                     the migration, the table and its indexes, but no keys, no values and no credentials",
                )
            }
            Notice::KeptFiles { reads_copy: true } => f.write_str(
                "note     a file of this plan is missing or differs from the one with which the migration began. \
                 This command reads the keys from the copy next to the state file, and starts no program",
            ),
            Notice::KeptFiles { reads_copy: false } => f.write_str(
                "note     the file of a program is missing or differs from the one with which the migration began. \
                 This command starts no program",
            ),
            Notice::FlagNotRecorded(error) => {
                write!(f, "note     this change of the flag could not be recorded in the state file: {error}")
            }
        }
    }
}

/// Writes the message about the wait after a flag change.
fn write_wait(f: &mut Formatter<'_>, wait: &Wait) -> std::fmt::Result {
    let until = SignedDuration::try_from(wait.left).ok().and_then(|left| wait.now.checked_add(left).ok());
    let seconds = wait.left.as_secs_f64().ceil();
    let until = to_text(until.unwrap_or(wait.now));
    let why = if wait.is_before_change {
        "before the flag changes: until then, applications may still use an earlier state of the flag from their caches"
    } else {
        "for application caches of the flag to expire"
    };
    write!(f, "waiting  {seconds} s, until {until}, {why}")?;
    let Some(ahead) = wait.ahead else { return Ok(()) };
    let why = if ahead > CHANGE_TIME_MARGIN { "" } else { ", or somebody is still making that change" };
    let seconds = ahead.as_secs_f64().ceil();
    write!(
        f,
        "\n         the flag's last change is dated {seconds} s ahead of this host's clock: the clocks of the hosts differ{why}. \
         This wait does not depend on them"
    )
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Expand => "expand",
        Phase::Retry => "retry the failures",
        Phase::Verify { .. } => "shadow reads",
        Phase::OldFromNew => "make old values equal the new ones",
        Phase::Undo => "remove what the migration added, restore what it overwrote or removed",
        Phase::Contract => "remove the old attribute",
    }
}
