//! Contains the operator's input to a command: stated facts, reasons and accepted findings.

use super::{StepOptions, reason};
use crate::playbook::Fact;
use crate::preflight::Acceptance;
/// The operator's input to a command.
#[derive(Debug, Clone, Default)]
pub struct OperatorInput {
    /// The user and the host that run the command.
    pub actor: String,
    /// The facts that the operator states.
    pub facts: Vec<Fact>,
    /// The reason given with `--force`.
    pub force: Option<String>,
    /// The reason that is recorded with a flag change, for example that the operator used `--now`.
    pub reason: Option<String>,
    /// The preflight findings that the operator accepted by name for this run.
    pub accepted: Vec<String>,
    /// Whether the operator used `--accept empty-table` to confirm that the table is empty.
    pub accept_empty: bool,
    /// Whether the operator used `--accept no-way-back`. This option is necessary after a purge of the journal, because
    /// no rollback can then undo the command's writes.
    pub accept_no_way_back: bool,
    /// Number of clusters in the sample of a verification.
    pub sample: Option<u32>,
    /// Whether the repair also removes values that the plan does not imply (`--repair-remove`).
    pub repair_remove: bool,
}

impl OperatorInput {
    /// Returns the input of an operator who accepts these findings. `accepted` contains only the findings that a pass
    /// can report later, because the preflight records the others.
    pub fn new(actor: &str, accept: &[Acceptance]) -> OperatorInput {
        let later = accept.iter().filter(|accept| **accept == Acceptance::ClientEncryption);
        OperatorInput {
            actor: actor.to_owned(),
            accepted: later.map(|accept| accept.name().to_owned()).collect(),
            accept_empty: accept.contains(&Acceptance::EmptyTable),
            accept_no_way_back: accept.contains(&Acceptance::NoWayBack),
            ..OperatorInput::default()
        }
    }

    pub(super) fn from_step_options(actor: &str, step: &StepOptions) -> OperatorInput {
        let StepOptions { force, facts, accept } = step;
        let force = force.as_deref().and_then(reason);
        OperatorInput { facts: facts.clone(), force, ..OperatorInput::new(actor, accept) }
    }
}
