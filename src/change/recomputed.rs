//! `exec` with `deterministic = true`: the program computes the same outputs from the same inputs, so there is no
//! marker. Instead, the tool asks the program about every item that has inputs, and compares the answer with the
//! outputs.
//!
//! The tool does not trust this promise. It overwrites a value that differs from the answer only if the plan says
//! `on_existing = "overwrite"`. Before it overwrites a value, the tool asks twice. If the two answers differ, the item
//! is a failure and stays unchanged.

use std::sync::Arc;

use super::draft::Draft;
use super::exec::input_digest;
use super::{Condition, Exec, ExecFault, ItemHistory, OnExisting, ProgramAnswers, ProgramQuestion};
use crate::item::{Item, Path};

/// Number of answers that must agree before a value is overwritten.
const ANSWERS_TO_OVERWRITE: usize = 2;

impl ProgramAnswers {
    /// Returns `None` if fewer than `least` answers about inputs with this SHA-256 are known. Otherwise, returns the
    /// answer if all answers agree, or the reason why there is no valid answer.
    fn agreed(&self, position: usize, digest: &str, least: usize) -> Option<Result<&Item, String>> {
        let answers: Vec<_> = self.all_to(position, digest).collect();
        if answers.is_empty() || answers.len() < least {
            return None;
        }
        let outputs: Result<Vec<&Item>, String> =
            answers.into_iter().map(|answer| answer.as_ref().map_err(String::clone)).collect();
        Some(outputs.and_then(|outputs| {
            match outputs.windows(2).all(|pair| pair[0] == pair[1]) {
                true => Ok(outputs[0]),
                false => {
                    Err("gave two different answers to the same inputs, although the plan says `deterministic = true`"
                        .to_owned())
                }
            }
        }))
    }
}

impl Exec {
    /// Returns whether the program computes the same outputs from the same inputs. Such a change has no marker.
    pub fn is_deterministic(&self) -> bool {
        self.marker.is_none()
    }

    /// Returns the question whose answer shows whether the item has the outputs that its inputs imply. `position` is
    /// the position of the change in the plan. Returns `None` if the change has a marker, or if the item itself already
    /// shows this.
    pub fn comparison(&self, position: usize, item: &Item) -> Option<ProgramQuestion> {
        let inputs = self.inputs_of(item);
        let has_outputs = self.outputs.iter().all(|output| output.get(item).is_some());
        (self.is_deterministic() && !inputs.is_empty() && has_outputs).then(|| {
            let digest = input_digest(&inputs);
            ProgramQuestion { position, inputs, digest, compares: true }
        })
    }

    /// Compares an item with the program's answer. Returns the path and the kind of the fault. Returns `None` if the
    /// item matches, or if there is no answer. `record` shows which values the migration wrote.
    pub(super) fn fault_by_answer(
        &self,
        position: usize,
        item: &Item,
        record: &ItemHistory,
        skips_existing: bool,
        answers: &ProgramAnswers,
    ) -> Option<(&Path, ExecFault)> {
        let is_own = |path: &&Path| path.get(item).is_some_and(|now| record.has_written(path, now));
        let inputs = self.inputs_of(item);
        if inputs.is_empty() {
            return self.outputs.iter().find(is_own).map(|output| (output, ExecFault::Unexpected));
        }
        let is_skipped = skips_existing && !self.outputs.iter().any(|output| is_own(&output));
        if let Some(missing) = self.outputs.iter().find(|output| output.get(item).is_none()) {
            let existing = self.outputs.iter().find(|output| output.get(item).is_some()).filter(|_| is_skipped);
            return Some(existing.map_or((missing, ExecFault::Missing), |output| (output, ExecFault::Skipped)));
        }
        let implied = answers.agreed(position, &input_digest(&inputs), 1)?;
        // If the program gave no valid answer, it is unknown whether the outputs are correct, so report the first
        // output.
        let differs =
            |output: &&Path| implied.as_ref().map_or(true, |implied| implied.get(output.root()) != output.get(item));
        let fault = if is_skipped { ExecFault::Skipped } else { ExecFault::Stale };
        self.outputs.iter().find(differs).map(|output| (output, fault))
    }
}

impl Draft<'_> {
    /// Plans an `exec` without a marker. If an answer is missing, adds the questions and plans nothing.
    pub(super) fn recompute(
        &mut self,
        position: usize,
        exec: &Arc<Exec>,
        on_existing: OnExisting,
        answers: &ProgramAnswers,
    ) {
        let inputs = exec.inputs_of(self.item);
        if inputs.is_empty() {
            return;
        }
        let item = self.item;
        let existing: Vec<&Path> = exec.outputs.iter().filter(|output| output.get(item).is_some()).collect();
        let may_overwrite = on_existing == OnExisting::Overwrite && !existing.is_empty();
        let least = if may_overwrite { ANSWERS_TO_OVERWRITE } else { 1 };
        let digest = input_digest(&inputs);
        let outputs = match answers.agreed(position, &digest, least) {
            None => {
                let compares = existing.len() == exec.outputs.len();
                let question = ProgramQuestion { position, inputs, digest, compares };
                return self.questions.extend(std::iter::repeat_n(question, least));
            }
            Some(Err(why)) => {
                return self.reject(format!("the program that computes {} {why}", exec.names_of_outputs()));
            }
            Some(Ok(outputs)) => outputs,
        };
        if let Some(output) = exec.outputs.iter().find(|output| !outputs.contains_key(output.root())) {
            return self.reject(format!("the program gave no value for `{output}`"));
        }
        let differing = existing.iter().filter(|output| output.get(item) != outputs.get(output.root()));
        let differing: Vec<Path> = differing.map(|output| (*output).clone()).collect();
        match on_existing {
            OnExisting::Keep if !differing.is_empty() => return self.diverged.extend(differing),
            // With `skip`, if an existing output differs from the answer or only some outputs exist, the existing
            // outputs count as done, and the others are not written.
            OnExisting::Skip if !differing.is_empty() || (1..exec.outputs.len()).contains(&existing.len()) => {
                existing.iter().for_each(|output| self.require(Condition::Exists((*output).clone())));
                return self.skipped.extend(existing.into_iter().cloned());
            }
            OnExisting::Keep | OnExisting::Skip | OnExisting::Overwrite => {}
        }
        for output in &exec.outputs {
            match (output.get(item), outputs.get(output.root())) {
                (Some(now), Some(value)) if now == value => {
                    self.already_applied = true;
                    self.require_unchanged(output);
                }
                (_, Some(value)) => self.write_answer(output, value),
                (_, None) => {}
            }
        }
    }
}
