//! Notices, progress and questions of a running migration. The embedding program answers the questions; the library
//! never reads from a terminal.

use std::fmt::{Display, Formatter};
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
/// Every method has a default, so an observer implements only the methods it needs. The default refuses every question,
/// so nothing is written by accident. Async code calls these methods, so they must not block for long.
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
    /// Called for each event that an operator wants to know about. [`Notice`] implements `Display`.
    fn notice(&self, _notice: &Notice<'_>) {}

    /// Called with live figures every few seconds while a pass runs.
    fn progress(&self, _figures: &ProgressUpdate) {}

    /// Whether somebody can answer [`Observer::confirm`]. If nobody can, a command that needs a confirmation refuses
    /// before it begins work.
    fn can_confirm(&self) -> bool {
        true
    }

    /// Whether [`Observer::confirm`] is asked before a step back ends dual writes. By default no question is asked,
    /// because nothing may delay the way back.
    fn asks_before_dual_writes_end(&self) -> bool {
        false
    }

    /// Asks whether the command may proceed. Called before the first step that writes to the table or changes the flag.
    fn confirm(&self, _question: &Question<'_>) -> Answer {
        Answer::No
    }

    /// Called when this process has the exclusive right to work on the migration. From then on, the program can use the
    /// stopper to drain the migration, for example when the program receives a signal.
    ///
    /// # Errors
    ///
    /// If this function returns an error, the command ends before it does anything.
    fn opened(&self, _stop: &Stopper) -> std::io::Result<()> {
        Ok(())
    }

    /// Whether the library writes its progress line to stderr. The line is a bar on a terminal, and a log line
    /// elsewhere.
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
    /// The answer is yes: proceed.
    Yes,
    /// The answer is no: the command ends with [`super::MigrationError::NotConfirmed`].
    No,
}

/// The question that is asked before something is written. `Display` gives the text.
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
    /// Number of items in the table, by DynamoDB's count, which may be six hours old; 0 if unknown.
    pub item_estimate: u64,
    /// Number of segments completed so far, over all sessions of the run.
    pub segments_done: u64,
    /// Number of segments of the run; 0 if the pass has no segments.
    pub total_segments: u64,
    /// Number of requests in this session that DynamoDB throttled.
    pub throttled: u64,
}

/// An event that an operator wants to know about. `Display` gives the text that the command line prints.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Notice<'a> {
    /// A budget of the plan was reduced because the table allows less capacity.
    BudgetCut(&'a str),
    /// Another process holds the lease. This process waits until the lease expires, at most for the given time.
    LeaseHeld {
        /// The holder of the lease.
        owner: &'a UntrustedText,
        /// The longest time that this process waits.
        within: Duration,
    },
    /// The table, budgets and limits of the run, and whether it starts or resumes.
    RunHeader(&'a str),
    /// The preflight has a finding that needs the operator's decision.
    Finding {
        /// The finding.
        finding: &'a Finding,
        /// The findings that the operator accepts.
        accepted: &'a [Acceptance],
    },
    /// A pass other than expand begins.
    PassBegins(Phase),
    /// These `[limits]` do not apply, because the command is part of the way back.
    LimitsLifted(&'a [&'static str]),
    /// The cutover flag was changed to this state.
    FlagChanged(&'a Flag),
    /// The command waits until applications have stopped using the flag's earlier value.
    Waiting(&'a Wait),
    /// The command first compares the table, because no recent verification shows which items a repair would change.
    ComparesFirst,
    /// A preview of the changes that a repair would make.
    RepairPreview(&'a str),
    /// The command needed a verification, and the verification found mismatches.
    Mismatches(&'a VerifyReport),
    /// Items that a rollback does not restore exactly.
    UnrestoredItems(&'a str),
    /// The flag was changed, but the state file could not record the change.
    FlagNotRecorded(&'a StoreError),
}

impl Display for Notice<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Notice::BudgetCut(text)
            | Notice::RunHeader(text)
            | Notice::RepairPreview(text)
            | Notice::UnrestoredItems(text) => f.write_str(text),
            Notice::LeaseHeld { owner, within } => write!(
                f,
                "waiting  {owner} holds the lease of this migration, or died while it held it: if it does not renew the lease \
                 within {} s, this process takes it",
                within.as_secs_f64().ceil()
            ),
            Notice::Finding { finding, accepted } => {
                let mut text = Vec::new();
                // A write to memory cannot fail.
                let _ = write_finding(&mut text, finding, accepted);
                f.write_str(&String::from_utf8_lossy(&text))
            }
            Notice::PassBegins(phase) => write!(f, "pass     {}", words(*phase)),
            Notice::LimitsLifted(limits) => {
                write!(f, "the way back is exempt from [limits] {}; the rate budget still holds", limits.join(", "))
            }
            Notice::FlagChanged(flag) => write!(f, "flag     {flag}"),
            Notice::Waiting(wait) => write_wait(f, wait),
            Notice::ComparesFirst => f.write_str(
                "no verification of all items since the table or the flag was last changed: comparing the table first",
            ),
            Notice::Mismatches(report) => {
                let mut text = Vec::new();
                // A write to memory cannot fail.
                let _ = report.write(&mut text);
                f.write_str(&String::from_utf8_lossy(&text))
            }
            Notice::FlagNotRecorded(error) => {
                write!(f, "note     this change of the flag could not be recorded in the state file: {error}")
            }
        }
    }
}

/// Writes the message that says how long the command waits after a change of the flag.
fn write_wait(f: &mut Formatter<'_>, wait: &Wait) -> std::fmt::Result {
    let until = SignedDuration::try_from(wait.left).ok().and_then(|left| wait.now.checked_add(left).ok());
    let seconds = wait.left.as_secs_f64().ceil();
    let until = to_text(until.unwrap_or(wait.now));
    write!(f, "waiting  {seconds} s, until {until}, for application caches of the flag to expire")?;
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
