//! Notices, progress and questions of a running migration. The embedding program answers; the library never reads a
//! terminal.

use std::fmt::{Display, Formatter};
use std::time::Duration;

use jiff::SignedDuration;

use super::Wait;
use crate::clock::to_text;
use crate::cutover::{AHEAD, Flag};
use crate::engine::Stopper;
use crate::outside::OutsideText;
use crate::passes::verify::VerifyReport;
use crate::playbook::Phase;
use crate::preflight::{Accept, Finding, write_finding};
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
    /// Called when something happens that an operator wants to know. [`Notice`] implements `Display`.
    fn notice(&self, _notice: &Notice<'_>) {}

    /// Called with live figures every few seconds while a pass runs.
    fn progress(&self, _figures: &Figures) {}

    /// Whether somebody can answer [`Observer::confirm`]. If not, a command that needs a confirmation refuses before it
    /// begins work.
    fn can_confirm(&self) -> bool {
        true
    }

    /// Whether [`Observer::confirm`] is asked before a step back ends dual writes. By default it is not, because nothing may
    /// hold up the way back.
    fn asks_before_dual_writes_end(&self) -> bool {
        false
    }

    /// Asked before the first step that writes to the table or changes the flag.
    fn confirm(&self, _question: &Question<'_>) -> Answer {
        Answer::No
    }

    /// Called when this process has taken the migration. From then on, the program can use the stopper to drain the
    /// migration, for example when it receives a signal.
    ///
    /// # Errors
    ///
    /// If this function returns an error, the command ends before it does anything.
    fn opened(&self, _stop: &Stopper) -> std::io::Result<()> {
        Ok(())
    }

    /// Whether the library draws its progress line on stderr: a bar on a terminal, a log line elsewhere.
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
pub struct Figures {
    /// Items read so far, over all sessions of the run.
    pub items: u64,
    /// Number of items in the table, by DynamoDB's count, which may be six hours old; 0 if unknown.
    pub item_estimate: u64,
    /// Segments done so far, over all sessions of the run.
    pub segments_done: u64,
    /// Segments of the run; 0 if the pass has none.
    pub total_segments: u64,
    /// Requests of this session that DynamoDB throttled.
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
        owner: &'a OutsideText,
        /// The longest time that this process waits.
        within: Duration,
    },
    /// The table, budgets and limits of the run, and whether it starts or resumes.
    RunHeader(&'a str),
    /// The preflight found something that an operator should decide about.
    Finding {
        /// The finding.
        finding: &'a Finding,
        /// The findings that the operator accepts.
        accepted: &'a [Accept],
    },
    /// A pass other than expand begins.
    PassBegins(Phase),
    /// These `[limits]` do not apply, because the command is part of the way back.
    LimitsLifted(&'a [&'static str]),
    /// The cutover flag was changed to this state.
    FlagChanged(&'a Flag),
    /// The command waits until applications have stopped using the flag's earlier value.
    Waiting(&'a Wait),
    /// The table is compared first, because no recent verification shows what a repair would do.
    ComparesFirst,
    /// A preview of what a repair would do.
    RepairPreview(&'a str),
    /// A verification that the command needs found mismatches.
    Mismatches(&'a VerifyReport),
    /// Items that a rollback does not restore exactly.
    NotAsBefore(&'a str),
    /// The flag was changed, but the state file could not record the change.
    FlagNotRecorded(&'a StoreError),
}

impl Display for Notice<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Notice::BudgetCut(text)
            | Notice::RunHeader(text)
            | Notice::RepairPreview(text)
            | Notice::NotAsBefore(text) => f.write_str(text),
            Notice::LeaseHeld { owner, within } => write!(
                f,
                "waiting  {owner} holds the lease of this migration, or died while it held it: if it does not renew the lease \
                 within {} s, this process takes it",
                within.as_secs_f64().ceil()
            ),
            Notice::Finding { finding, accepted } => {
                let mut text = Vec::new();
                // Writing to memory does not fail.
                let _ = write_finding(&mut text, finding, accepted);
                f.write_str(&String::from_utf8_lossy(&text))
            }
            Notice::PassBegins(phase) => write!(f, "over the table: {}", words(*phase)),
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
                // Writing to memory does not fail.
                let _ = report.write(&mut text);
                f.write_str(&String::from_utf8_lossy(&text))
            }
            Notice::FlagNotRecorded(error) => {
                write!(f, "note     this change of the flag could not be recorded in the state file: {error}")
            }
        }
    }
}

/// Writes how long the command waits after a change of the flag.
fn write_wait(f: &mut Formatter<'_>, wait: &Wait) -> std::fmt::Result {
    let until = SignedDuration::try_from(wait.left).ok().and_then(|left| wait.now.checked_add(left).ok());
    let seconds = wait.left.as_secs_f64().ceil();
    let until = to_text(until.unwrap_or(wait.now));
    write!(f, "waiting  {seconds} s, until {until}, for application caches of the flag to expire")?;
    let Some(ahead) = wait.ahead else { return Ok(()) };
    let why = if ahead > AHEAD { "" } else { ", or somebody is still making that change" };
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
