//! Changes whose values are computed: `compute`, `convert`, `exec` and `bump`.
//!
//! A computed value is conditional on all its inputs: each still has the value from the image, or is still missing. The
//! journal records every computed value with its digest. Undo recognises the value by this digest, so it never changes
//! a value that somebody else wrote.

use std::sync::Arc;

use super::draft::{Draft, Placement};
use super::exec::ExecState;
use super::formula::at_path;
use super::{
    Condition, Exec, Formula, OnExisting, PreImage, PriorValue, ProgramAnswers, ProgramQuestion, input_digest,
};
use crate::convert::Conversion;
use crate::item::{NotComputable, Num, Path, Value};

impl Draft<'_> {
    /// Plans a `compute` or `convert … into`. With `skips_any`, any existing value counts as done, even if the formula
    /// has no result for the item.
    pub(super) fn compute(&mut self, to: &Path, formula: &Formula, on_existing: OnExisting, skips_any: bool) {
        formula.inputs().iter().for_each(|input| self.require_unchanged(input));
        match formula.value(self.item, &self.rules.facts) {
            Ok(Some(value)) => self.set_computed(to, &value, on_existing),
            Ok(None) => {}
            Err(_) if skips_any && self.target_value(to, None).is_some() => {
                self.require_unchanged(to);
                self.skipped.push(to.clone());
            }
            Err(why) => self.mark_not_computable(why),
        }
    }

    /// Plans a `convert` that replaces the value at the same path.
    pub(super) fn convert_in_place(&mut self, path: &Path, conversion: &Conversion) {
        self.require_unchanged(path);
        match path.get(self.item) {
            None => {}
            Some(value) if conversion.is_converted(value) => self.already_applied = true,
            Some(value) => match conversion.apply(value) {
                Ok(converted) => {
                    self.record_pre_image(PreImage::with_value(path, value).with_computed_value(&converted));
                    self.subtract_bytes(path, value);
                    self.set(path, &converted);
                }
                Err(why) => self.mark_not_computable(at_path(path, &why)),
            },
        }
    }

    /// Sets the target to a computed value.
    fn set_computed(&mut self, to: &Path, value: &Value, on_existing: OnExisting) {
        match to.get(self.item) {
            Some(existing) if existing == value => {
                self.already_applied = true;
                self.require_unchanged(to);
            }
            Some(existing) => {
                let on_existing = self.on_existing_value(to, existing, on_existing);
                let existing = PreImage::with_value(to, existing).with_computed_value(value);
                if self.prepare_overwrite(to, existing, on_existing) {
                    self.set(to, value);
                }
            }
            None => self.create(to, value, PreImage::without_value(to).with_computed_value(value)),
        }
    }

    /// Sets a target that has no value. `pre` is its pre-image.
    pub(super) fn create(&mut self, to: &Path, value: &Value, pre: PreImage) {
        match self.placement(to) {
            Placement::Ready => {
                self.require(Condition::Missing(to.clone()));
                self.require_parent(to);
                self.set(to, value);
            }
            Placement::ParentMissing(root) => self.put_in_new_map(root, to, value.clone()),
            Placement::Impossible(why) => return self.reject(why),
        }
        self.pre_images.push(pre);
    }

    /// Undoes the write of a value. Removes the value, or restores the value that it replaced. `prior` is the state to
    /// restore. `is_ours` returns whether the migration wrote a value. If somebody else has changed the value since,
    /// the value stays, and the item is reported as diverged.
    pub(super) fn revert_value(&mut self, to: &Path, prior: Option<&PriorValue>, is_ours: impl Fn(&Value) -> bool) {
        match (to.get(self.item), prior) {
            (
                _,
                None
                | Some(PriorValue::SameAsSource | PriorValue::Item(_) | PriorValue::Mark(_) | PriorValue::Leftover(_)),
            ) => {}
            (None, Some(PriorValue::Nothing)) => {
                self.already_applied = true;
                self.require(Condition::Missing(to.clone()));
            }
            (Some(now), Some(PriorValue::Value(before))) if now == before => self.mark_undone(to, now),
            (Some(now), Some(prior)) if is_ours(now) => {
                self.require(Condition::Equals(to.clone(), now.clone()));
                match prior {
                    PriorValue::Value(before) => self.overwrite(to, now, before),
                    PriorValue::Nothing
                    | PriorValue::SameAsSource
                    | PriorValue::Item(_)
                    | PriorValue::Mark(_)
                    | PriorValue::Leftover(_) => self.remove(to, now),
                }
            }
            (None, Some(PriorValue::Value(_))) | (Some(_), Some(PriorValue::Value(_) | PriorValue::Nothing)) => {
                self.diverged.push(to.clone());
            }
        }
    }

    /// Plans an `exec`. If the program has not answered yet, adds the question, and plans only the marker.
    pub(super) fn exec(
        &mut self,
        position: usize,
        exec: &Arc<Exec>,
        on_existing: OnExisting,
        answers: &ProgramAnswers,
    ) {
        exec.inputs.iter().for_each(|input| self.require_unchanged(input));
        let Some(marker) = &exec.marker else { return self.recompute(position, exec, on_existing, answers) };
        let inputs = exec.inputs_of(self.item);
        let digest = input_digest(&inputs);
        match (exec.state(marker, self.item, &digest), on_existing) {
            (ExecState::NoInputs, _) => return,
            (ExecState::Applied, _) => {
                self.already_applied = true;
                return exec.targets().for_each(|target| self.require_unchanged(target));
            }
            (ExecState::Occupied(paths), OnExisting::Keep) => return self.diverged.extend(paths),
            (ExecState::Occupied(paths), OnExisting::Skip) => {
                paths.iter().for_each(|path| self.require(Condition::Exists(path.clone())));
                return self.skipped.extend(paths);
            }
            (ExecState::Occupied(_), OnExisting::Overwrite) | (ExecState::Free, _) => {}
        }
        match answers.to(position, &digest) {
            None => {
                let digest = digest.clone();
                self.questions.push(ProgramQuestion { position, inputs, digest, compares: false });
            }
            Some(Err(why)) => {
                return self.reject(format!("the program that computes {} {why}", exec.names_of_outputs()));
            }
            Some(Ok(outputs)) => {
                for output in &exec.outputs {
                    match outputs.get(output.root()) {
                        Some(value) => self.write_answer(output, value),
                        None => return self.reject(format!("the program gave no value for `{output}`")),
                    }
                }
            }
        }
        self.write_answer(marker, &Value::S(digest));
    }

    /// Writes one value of an answer. The journal records the value even if the target already has an equal value,
    /// because the digest shows later that this migration wrote the value.
    pub(super) fn write_answer(&mut self, to: &Path, value: &Value) {
        match to.get(self.item) {
            Some(existing) => {
                self.record_pre_image(PreImage::with_value(to, existing).with_computed_value(value));
                self.subtract_bytes(to, existing);
            }
            None => {
                self.require(Condition::Missing(to.clone()));
                self.pre_images.push(PreImage::without_value(to).with_computed_value(value));
            }
        }
        self.set(to, value);
    }

    /// Raises the version attribute by one. Every write of the migration raises the version, including the writes of a
    /// rollback, so that applications with optimistic locking notice the write. The journal gets no pre-image of the
    /// version, because a rollback never restores it.
    ///
    /// The item is not computable if its version cannot be raised `later` more times after this write.
    pub(super) fn bump(&mut self, path: &Path, later: usize) {
        let next = match self.next_version(path, later) {
            Ok(next) => next,
            Err(why) => return self.mark_not_computable(why),
        };
        self.require_unchanged(path);
        if let Some(now) = path.get(self.item) {
            self.subtract_bytes(path, now);
        }
        self.set(path, &next);
    }

    /// Returns the version after this write.
    ///
    /// # Errors
    ///
    /// Fails if the item has no version, or if its version cannot be raised now and `later` more times.
    pub(super) fn next_version(&self, path: &Path, later: usize) -> Result<Value, NotComputable> {
        match path.get(self.item) {
            Some(Value::N(number)) => match number.plus_one() {
                Some(next) if can_be_raised(&next, later) => Ok(Value::N(next)),
                Some(_) | None => Err(bump_failed(path, "has too many digits to add 1")),
            },
            Some(other) => Err(bump_failed(path, &format!("is of type {}, not N", other.type_name()))),
            None => Err(bump_failed(path, "is missing")),
        }
    }
}

/// The number of times that a rollback raises an item's version. Old-from-new and undo each write the item once.
pub(super) const RAISES_OF_THE_WAY_BACK: usize = 2;

/// Returns whether the number can be raised by one this number of times without exceeding 38 digits.
pub(super) fn can_be_raised(number: &Num, times: usize) -> bool {
    (0..times).try_fold(number.clone(), |number, _| number.plus_one()).is_some()
}

fn bump_failed(path: &Path, why: &str) -> NotComputable {
    NotComputable::new(format!("`{path}` cannot be raised by one: it {why}"))
}
