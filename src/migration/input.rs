//! Operator input: the flags and confirmations given to a command.

use super::{StepOptions, reason};
use crate::playbook::Fact;
use crate::preflight::Accept;
/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct OperatorInput {
    /// Who says it: user and host.
    pub actor: String,
    /// Facts that are stated.
    pub facts: Vec<Fact>,
    /// `--force`, with its reason.
    pub force: Option<String>,
    /// `--now` with its reason, or whatever else stands beside a change of the flag.
    pub reason: Option<String>,
    /// What of the preflight's findings was accepted for this run, by name.
    pub accepted: Vec<String>,
    /// That the table is empty was accepted by name.
    pub accept_empty: bool,
    /// Clusters that a sampled verification draws.
    pub sample: Option<u32>,
    /// `--repair-remove`: a repair removes values that nothing implies.
    pub repair_remove: bool,
}

impl OperatorInput {
    /// The input of an operator who accepts these findings. Only findings that a run itself can still make are recorded
    /// now. The preflight records the others when it finds them.
    pub fn of(actor: &str, accept: &[Accept]) -> OperatorInput {
        let later = accept.iter().filter(|accept| **accept == Accept::ClientEncryption);
        OperatorInput {
            actor: actor.to_owned(),
            accepted: later.map(|accept| accept.name().to_owned()).collect(),
            accept_empty: accept.contains(&Accept::EmptyTable),
            ..OperatorInput::default()
        }
    }

    pub(super) fn of_step(actor: &str, step: &StepOptions) -> OperatorInput {
        let StepOptions { force, facts, accept } = step;
        let force = force.as_deref().and_then(reason);
        OperatorInput { facts: facts.clone(), force, ..OperatorInput::of(actor, accept) }
    }
}
