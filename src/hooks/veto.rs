//! Asks the program `before_step` whether a step may begin.

use jiff::Timestamp;

use super::event::{BEFORE_STEP, HookOrigin, step_document};
use crate::plan::{HookOptions, VetoStep};
use crate::program::{Program, ProgramError};

/// Why a step was refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "the hook `before_step` refuses the step `{step}`: the program {program:?} {problem}. Nothing was done. Fix what the \
     program reports, or the program itself; then run the same command again. To run the step without the program, take \
     {step:?} out of `veto` in [hooks]",
    step = .step.name()
)]
pub struct Veto {
    /// The step.
    pub step: VetoStep,
    /// The program.
    pub program: String,
    /// What went wrong.
    pub problem: ProgramError,
}

/// Runs the program `before_step`, if the plan lets it refuse this step. Waits until it ends.
///
/// # Errors
///
/// Fails if the program fails, cannot be started, or takes longer than `timeout`. Then the step must not begin.
pub async fn ask_before_step(
    options: &HookOptions,
    origin: &HookOrigin,
    step: VetoStep,
    now: Timestamp,
) -> Result<(), Veto> {
    let Some(before_step) = options.before_step.as_ref().filter(|before| before.steps.contains(&step)) else {
        return Ok(());
    };
    let program = Program {
        argv: &before_step.argv,
        input: Some(step_document(step, origin, now)),
        environment: vec![("BACKFILL_EVENT", BEFORE_STEP.to_owned())],
        limit: options.timeout,
    };
    let name = Program::name(&before_step.argv);
    match program.run().await {
        Ok(_) => {
            tracing::info!("the hook `before_step` ({name:?}) approved the step {}", step.name());
            Ok(())
        }
        Err(problem) => Err(Veto { step, program: name.to_owned(), problem }),
    }
}
