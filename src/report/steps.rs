//! The steps of a migration, as its history records them. This module is pure.

use jiff::Timestamp;

use crate::clock::to_text;
use crate::cutover::FlagChange;
use crate::figure::{count, number};
use crate::playbook::{Event, EventBody, Fact, Override, Phase, PlanKind, VerifyScope};
use crate::steering::Steered;

/// One step of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEntry {
    /// The time of the step.
    pub at: Timestamp,
    /// The user and the host that took the step.
    pub actor: String,
    /// What happened.
    pub what: String,
    /// The details.
    pub details: Vec<String>,
    /// Whether the conditions of the step were met.
    pub gate: GateResult,
    /// The version of the flag when the step was taken; `None` if it was not recorded.
    pub flag_version: Option<u64>,
}

/// Whether the conditions of a step were met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateResult {
    /// The step has no gate.
    NoGate,
    /// Every condition was met.
    Open,
    /// A condition was not met, and the operator overrode it for this reason.
    Overridden(String),
}

impl GateResult {
    /// Returns the result for people; empty without a gate.
    pub fn text(&self) -> String {
        match self {
            GateResult::NoGate => String::new(),
            GateResult::Open => "open".to_owned(),
            GateResult::Overridden(reason) => format!("overridden: {reason}"),
        }
    }

    fn from_force(forced: Option<&String>) -> GateResult {
        forced.map_or(GateResult::Open, |reason| GateResult::Overridden(reason.clone()))
    }
}

impl StepEntry {
    /// Returns the steps of a history and the `ctl` commands that steered its passes, oldest first. The state file
    /// keeps only the last of these commands.
    pub fn all(events: &[Event], steered: &[Steered]) -> Vec<StepEntry> {
        let commands = steered.iter().map(StepEntry::from_command);
        let mut steps: Vec<_> = events.iter().map(StepEntry::from_event).chain(commands).collect();
        // The sort is stable, so events with the same time keep their order.
        steps.sort_by_key(|step| step.at);
        steps
    }

    fn from_command(steered: &Steered) -> StepEntry {
        StepEntry {
            at: steered.at,
            actor: steered.by.clone(),
            what: format!("Steered: ctl {}", steered.command),
            details: Vec::new(),
            gate: GateResult::NoGate,
            flag_version: None,
        }
    }

    /// Returns the step that an event records.
    pub fn from_event(event: &Event) -> StepEntry {
        let (what, details, gate) = describe(&event.body);
        StepEntry {
            at: event.at,
            actor: event.actor.clone(),
            what,
            details,
            gate,
            flag_version: event.flag.map(|mark| mark.version),
        }
    }
}

fn describe(body: &EventBody) -> (String, Vec<String>, GateResult) {
    match body {
        EventBody::PreflightAccepted { kind, accepted } => {
            let mut details = vec![kind_text(*kind).to_owned()];
            if !accepted.is_empty() {
                details.push(format!("accepted findings: {}", accepted.join(", ")));
            }
            ("Preflight accepted".to_owned(), details, GateResult::NoGate)
        }
        EventBody::PhaseBegun { phase } => (format!("Began: {}", phase_text(*phase)), Vec::new(), GateResult::NoGate),
        EventBody::BackedUp { phase, arn } => {
            (format!("Backup made before: {}", phase_text(*phase)), vec![arn.clone()], GateResult::NoGate)
        }
        EventBody::PhaseComplete { phase, scanned } => {
            let read = scanned.map_or_else(
                || "number of items read with strong consistency: unknown".to_owned(),
                |items| format!("{} read with strong consistency", count(items, "item", "items")),
            );
            (format!("Complete: {}", phase_text(*phase)), vec![read], GateResult::NoGate)
        }
        EventBody::Verified { scope, repair, mismatches, plan: _, hash, compared } => {
            let phase = Phase::Verify { scope: *scope, repair: *repair };
            let compared = compared.map_or_else(|| "unknown".to_owned(), number);
            let details = vec![
                format!("{}; items: {compared}", count(*mismatches, "mismatch", "mismatches")),
                format!("report {hash}"),
            ];
            (format!("Complete: {}", phase_text(phase)), details, GateResult::NoGate)
        }
        EventBody::FlagIntended { change, version, forced } => {
            let details = vec![format!("the flag was at version {version}")];
            (format!("Flag change: {}", change_text(*change)), details, gate_of(*change, forced.as_ref()))
        }
        EventBody::FlagSeen { version, ours } => {
            let result = if *ours { "the change took effect" } else { "somebody else changed the flag" };
            (format!("Flag read: version {version}"), vec![result.to_owned()], GateResult::NoGate)
        }
        EventBody::FactStated { fact, forced } => {
            let gate = match forced {
                Some(reason) => GateResult::Overridden(reason.clone()),
                None => GateResult::NoGate,
            };
            (format!("Stated by the operator: {}", fact_text(*fact)), Vec::new(), gate)
        }
        EventBody::OldIsFresh => (
            "Old values are current again".to_owned(),
            vec!["a full verification has shown it".to_owned()],
            GateResult::NoGate,
        ),
        EventBody::Overridden(Override { obstacle, reason }) => {
            ("Obstacle overridden".to_owned(), vec![obstacle.to_string()], GateResult::Overridden(reason.clone()))
        }
        EventBody::RollbackBegun { forced } => {
            ("Rollback begun".to_owned(), Vec::new(), GateResult::from_force(forced.as_ref()))
        }
    }
}

/// Returns the gate of a flag change. A step back has no gate.
fn gate_of(change: FlagChange, forced: Option<&String>) -> GateResult {
    match change {
        FlagChange::ReadNew(_) | FlagChange::WriteNew | FlagChange::Contract => GateResult::from_force(forced),
        FlagChange::DualWrite
        | FlagChange::DualWriteAgain
        | FlagChange::OldIsFresh
        | FlagChange::ReadOld { .. }
        | FlagChange::WriteOld => match forced {
            Some(reason) => GateResult::Overridden(reason.clone()),
            None => GateResult::NoGate,
        },
    }
}

/// Returns the name of a phase for people.
pub(super) fn phase_text(phase: Phase) -> &'static str {
    match phase {
        Phase::Expand => "expand (write new values)",
        Phase::Retry => "retry of failures",
        Phase::Verify { scope: VerifyScope::Full, repair: false } => "full verification",
        Phase::Verify { scope: VerifyScope::Full, repair: true } => "full verification with repair",
        Phase::Verify { scope: VerifyScope::Sampled, repair: false } => "verification of a sample",
        Phase::Verify { scope: VerifyScope::Sampled, repair: true } => "verification of a sample with repair",
        Phase::OldFromNew => "make old values equal to new values",
        Phase::Undo => "undo",
        Phase::Contract => "contract (remove old attributes)",
    }
}

fn kind_text(kind: PlanKind) -> &'static str {
    match kind {
        PlanKind::Flagged => "cutover with a flag",
        PlanKind::Stated => "cutover without a flag: the operator states what a flag would prove",
        PlanKind::InPlace => "in place: no cutover",
        PlanKind::SetOnly => "replaces no attribute: no cutover",
        PlanKind::RemoveOnly => "removes attributes only",
    }
}

fn change_text(change: FlagChange) -> String {
    match change {
        FlagChange::DualWrite => "writers write both attributes".to_owned(),
        FlagChange::ReadNew(percent) => format!("readers read the new attribute for {percent} % of the keys"),
        FlagChange::WriteNew => "writers write only the new attribute".to_owned(),
        FlagChange::Contract => "the old attribute is about to be removed".to_owned(),
        FlagChange::DualWriteAgain => "writers write both attributes again".to_owned(),
        FlagChange::OldIsFresh => "old values are current again".to_owned(),
        FlagChange::ReadOld { accept_stale: false } => "readers read the old attribute".to_owned(),
        FlagChange::ReadOld { accept_stale: true } => {
            "readers read the old attribute, and the operator accepts stale values".to_owned()
        }
        FlagChange::WriteOld => "writers write only the old attribute".to_owned(),
    }
}

fn fact_text(fact: Fact) -> String {
    match fact {
        Fact::DualWritesSince { since } => format!("every writer has written both attributes since {}", to_text(since)),
        Fact::ReadersMoved => "every reader reads the new attribute".to_owned(),
        Fact::OldWritesStopped => "nobody writes the old attribute".to_owned(),
        Fact::ReadersBack => "every reader reads the old attribute again".to_owned(),
        Fact::NewWritesStopped => "nobody writes the new attribute".to_owned(),
        Fact::WritersStopped => "nobody writes the derived items until the rollback ends".to_owned(),
    }
}
