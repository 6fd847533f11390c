//! Operator input: the flags and confirmations given to a command.

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
    /// The reason that is recorded with a change of the flag, for example because of `--now`.
    pub reason: Option<String>,
    /// The preflight findings that the operator accepted by name for this run.
    pub accepted: Vec<String>,
    /// Whether the operator used `--accept empty-table` to confirm that the table is empty.
    pub accept_empty: bool,
    /// Number of clusters that a sampled verification draws.
    pub sample: Option<u32>,
    /// `--repair-remove`: the repair removes values that the plan does not imply.
    pub repair_remove: bool,
}

impl OperatorInput {
    /// Returns the input of an operator who accepts these findings. The returned input contains only findings that a
    /// pass itself may make later. The preflight records the other accepted findings.
    pub fn new(actor: &str, accept: &[Acceptance]) -> OperatorInput {
        let later = accept.iter().filter(|accept| **accept == Acceptance::ClientEncryption);
        OperatorInput {
            actor: actor.to_owned(),
            accepted: later.map(|accept| accept.name().to_owned()).collect(),
            accept_empty: accept.contains(&Acceptance::EmptyTable),
            ..OperatorInput::default()
        }
    }

    pub(super) fn from_step_options(actor: &str, step: &StepOptions) -> OperatorInput {
        let StepOptions { force, facts, accept } = step;
        let force = force.as_deref().and_then(reason);
        OperatorInput { facts: facts.clone(), force, ..OperatorInput::new(actor, accept) }
    }
}
