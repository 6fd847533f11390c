//! The options with which the operator confirms a step of the playbook, states facts and overrides obstacles. Each
//! command accepts only the options that apply to it.

use clap::Args;

use super::{ContractArgs, CutoverArgs, RollbackArgs, accept_parser};
use backfill::internals::migration;
use backfill::internals::preflight::Acceptance;

/// The operator's confirmation of a step, and the findings that the operator accepts.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfirmArgs {
    /// Do not ask. Without a terminal, every command that asks needs this option, except `cutover --back`
    #[arg(short, long)]
    pub yes: bool,
    /// Accept a preflight finding
    #[arg(long, value_name = "FINDING", value_parser = accept_parser())]
    pub accept: Vec<Acceptance>,
}

/// A fact about dual writes. The operator states it if no flag proves it.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Facts to state if the plan names no flag")]
pub(crate) struct DualWriteFacts {
    /// State that every writer has written both attributes since this time, such as 2026-01-10T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub dual_writes_since: Option<jiff::Timestamp>,
}

/// Facts about a step forward. The operator states them if no flag proves them.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Facts to state if the plan names no flag")]
pub(crate) struct ForwardFacts {
    /// State that no reader needs the old attribute any more
    #[arg(long)]
    pub readers_moved: bool,
    /// State that no writer writes the old attribute any more
    #[arg(long)]
    pub old_writes_stopped: bool,
}

/// Facts about a step back. The operator states them if no flag proves them.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Facts to state if the plan names no flag")]
pub(crate) struct BackwardFacts {
    /// For a step back: state that every reader reads the old attribute again
    #[arg(long)]
    pub readers_back: bool,
    /// For a step back: state that no writer writes the new attribute any more
    #[arg(long)]
    pub new_writes_stopped: bool,
}

/// A fact about the writers of derived items, for a rollback.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct DerivedFacts {
    /// State that nobody writes the derived items until the rollback ends. Only for plans that put derived items
    #[arg(long)]
    pub writers_stopped: bool,
}

/// The operator's input for a step. The commands of all steps use this type.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepArgs {
    /// Whether to skip the confirmation question.
    pub yes: bool,
    /// The reason for an override.
    pub force: Option<String>,
    /// Accepted findings.
    pub accept: Vec<Acceptance>,
    /// The facts that the operator states about dual writes.
    pub dual_writes: DualWriteFacts,
    /// The facts that the operator states for a step forward.
    pub forward: ForwardFacts,
    /// The facts that the operator states for a step back.
    pub backward: BackwardFacts,
    /// The fact that the operator states about the writers of derived items.
    pub derived: DerivedFacts,
}

/// Parses the reason for a `--force`. People read the reason later, so it must contain visible characters.
pub(super) fn reason(text: &str) -> Result<String, String> {
    migration::reason(text)
        .ok_or_else(|| "the reason is blank: say why, for the people who read the record later".to_owned())
}

impl CutoverArgs {
    /// The operator's input.
    pub(crate) fn step_args(&self) -> StepArgs {
        StepArgs {
            dual_writes: self.dual_writes,
            forward: self.forward,
            backward: self.backward,
            ..StepArgs::new(&self.confirm, self.force.as_ref())
        }
    }
}

impl ContractArgs {
    /// The operator's input.
    pub(crate) fn step_args(&self) -> StepArgs {
        StepArgs { forward: self.forward, ..StepArgs::new(&self.confirm, self.force.as_ref()) }
    }
}

impl RollbackArgs {
    /// The operator's input.
    pub(crate) fn step_args(&self) -> StepArgs {
        StepArgs {
            dual_writes: self.dual_writes,
            backward: self.backward,
            derived: self.derived,
            ..StepArgs::new(&self.confirm, self.force.as_ref())
        }
    }
}

impl StepArgs {
    fn new(confirm: &ConfirmArgs, force: Option<&String>) -> StepArgs {
        StepArgs { yes: confirm.yes, accept: confirm.accept.clone(), force: force.cloned(), ..StepArgs::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn a_blank_reason_is_refused() {
        for blank in
            ["", " ", "\t\n", "\u{a0}\u{3000}", "\u{200b}\u{200d}\u{feff}", " \u{2060}\u{ad} ", "\u{1b}", "\u{2800}"]
        {
            assert!(reason(blank).is_err(), "{blank:?}");
        }
        assert_eq!(reason(" we look\u{200b} at it ").as_deref(), Ok("we look\u{200b} at it"));
        assert_eq!(reason("?").as_deref(), Ok("?"));
    }
}
