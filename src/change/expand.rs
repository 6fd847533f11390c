//! The operations of `run` for one item.

use std::sync::Arc;

use super::draft::{Draft, Placement};
use super::target::CopyTarget;
use super::{
    Addition, Change, Condition, DerivedItem, Each, Exec, Formula, GapRule, OnExisting, PreImage, PriorValue,
    ProgramAnswers, Replaced, Source, Strategy,
};
use crate::convert::Conversion;
use crate::item::{Path, Value};

/// What `run` does for one change of the plan.
#[derive(Debug, Clone)]
pub(super) enum ExpandOp {
    /// Copies the source's value to the target.
    Copy {
        from: Path,
        to: Path,
        is_move: bool,
        /// Whether the plan is in place. The same write of a move then removes the source, and the journal records each
        /// copy to a path without a value.
        in_place: bool,
        on_existing: OnExisting,
    },
    /// Writes a constant to the target.
    Set { to: Path, value: Value, on_existing: OnExisting },
    /// Removes the path, unless one of these targets kept a different value because of `skip`.
    Remove { path: Path, skip_targets: Vec<Path> },
    /// Writes a computed value to the target. If the value replaces an old attribute, an item without the old attribute
    /// needs no write.
    Compute { to: Path, formula: Formula, on_existing: OnExisting, replaces: Option<Replaced> },
    /// Converts the value to another type, under the same name.
    Convert { path: Path, conversion: Conversion },
    /// Adds members to a set, or an element to a list.
    Append { to: Path, addition: Addition },
    /// Deletes the item.
    Delete { gap: GapRule, keeps_image: bool },
    /// Writes values that a program computes. `position` is the position of the change in the plan.
    Exec { position: usize, exec: Arc<Exec>, on_existing: OnExisting },
    /// Changes the elements of a container.
    Each { each: Arc<Each> },
    /// Puts a derived item.
    Put { derived: Arc<DerivedItem> },
}

impl ExpandOp {
    /// Returns the operations for a plan's changes, in the same order.
    pub(super) fn from_changes(changes: &[Change], strategy: Strategy) -> Vec<ExpandOp> {
        let numbered = changes.iter().enumerate();
        numbered.filter_map(|(position, change)| ExpandOp::from_change(position, change, strategy, changes)).collect()
    }

    /// Returns the operations for the changes at these positions.
    pub(super) fn from_positions(changes: &[Change], positions: &[usize], strategy: Strategy) -> Vec<ExpandOp> {
        let ops = positions.iter().map(|at| ExpandOp::from_change(*at, &changes[*at], strategy, changes));
        ops.flatten().collect()
    }

    /// Returns the operation for one change of a plan, or `None` if the change waits for `contract`.
    fn from_change(position: usize, change: &Change, strategy: Strategy, all: &[Change]) -> Option<ExpandOp> {
        let in_place = strategy == Strategy::InPlace;
        match change.clone() {
            Change::Move { from, to, on_existing } => {
                Some(ExpandOp::Copy { from, to, is_move: true, in_place, on_existing })
            }
            Change::Copy { from, to, on_existing } => {
                Some(ExpandOp::Copy { from, to, is_move: false, in_place, on_existing })
            }
            Change::Set { to, value, on_existing } => Some(ExpandOp::Set { to, value, on_existing }),
            Change::Remove { path } => {
                let skip_targets = CopyTarget::copies_of(all, &path).into_iter().filter(|copy| copy.skips_existing);
                in_place.then(|| ExpandOp::Remove { skip_targets: skip_targets.map(|copy| copy.to).collect(), path })
            }
            Change::Compute { to, formula, on_existing, replaces } => {
                Some(ExpandOp::Compute { to, formula, on_existing, replaces })
            }
            Change::Convert { path, conversion } => Some(ExpandOp::Convert { path, conversion }),
            Change::Append { to, addition } => Some(ExpandOp::Append { to, addition }),
            // `Draft::finish` raises the version in every write, so no operation is needed.
            Change::Bump { .. } => None,
            Change::Delete { gap, keeps_image } => Some(ExpandOp::Delete { gap, keeps_image }),
            Change::Exec { exec, on_existing } => Some(ExpandOp::Exec { position, exec, on_existing }),
            Change::Each { each } => Some(ExpandOp::Each { each }),
            Change::Put { derived } => Some(ExpandOp::Put { derived }),
        }
    }

    /// Returns the path that identifies the operation's change in the plan. A change that deletes the item, or puts a
    /// derived item, has no such path.
    pub(super) fn own_path(&self) -> Option<&Path> {
        match self {
            ExpandOp::Copy { to: path, .. }
            | ExpandOp::Set { to: path, .. }
            | ExpandOp::Remove { path, .. }
            | ExpandOp::Compute { to: path, .. }
            | ExpandOp::Convert { path, .. }
            | ExpandOp::Append { to: path, .. } => Some(path),
            ExpandOp::Exec { exec, .. } => exec.targets().next(),
            ExpandOp::Each { each } => Some(each.container()),
            ExpandOp::Delete { .. } | ExpandOp::Put { .. } => None,
        }
    }

    /// Returns how the operation computes a value, if it computes one.
    pub(super) fn formula(&self) -> Option<&Formula> {
        match self {
            ExpandOp::Compute { formula, .. } => Some(formula),
            ExpandOp::Copy { .. }
            | ExpandOp::Set { .. }
            | ExpandOp::Remove { .. }
            | ExpandOp::Convert { .. }
            | ExpandOp::Append { .. }
            | ExpandOp::Exec { .. }
            | ExpandOp::Each { .. }
            | ExpandOp::Put { .. }
            | ExpandOp::Delete { .. } => None,
        }
    }

    /// Returns the derived item that the operation puts.
    pub(super) fn derived(&self) -> Option<&DerivedItem> {
        match self {
            ExpandOp::Put { derived } => Some(derived),
            ExpandOp::Copy { .. }
            | ExpandOp::Set { .. }
            | ExpandOp::Remove { .. }
            | ExpandOp::Compute { .. }
            | ExpandOp::Convert { .. }
            | ExpandOp::Append { .. }
            | ExpandOp::Exec { .. }
            | ExpandOp::Each { .. }
            | ExpandOp::Delete { .. } => None,
        }
    }

    /// Returns the paths that the operation may change. Returns no path if it deletes the item, or puts a derived
    /// item.
    pub(super) fn changed_paths(&self) -> Vec<&Path> {
        match self {
            ExpandOp::Copy { from, to, is_move: true, in_place: true, .. } => vec![to, from],
            ExpandOp::Copy { to, .. } | ExpandOp::Set { to, .. } | ExpandOp::Compute { to, .. } => vec![to],
            ExpandOp::Remove { path, .. } | ExpandOp::Convert { path, .. } | ExpandOp::Append { to: path, .. } => {
                vec![path]
            }
            ExpandOp::Exec { exec, .. } => exec.targets().collect(),
            ExpandOp::Each { each } => vec![each.container()],
            ExpandOp::Delete { .. } | ExpandOp::Put { .. } => Vec::new(),
        }
    }

    /// Returns the source of a move if the source stays until `contract`. An in-place plan would remove it.
    pub(super) fn remaining_source(&self) -> Option<&Path> {
        match self {
            ExpandOp::Copy { from, is_move: true, in_place: false, .. } => Some(from),
            ExpandOp::Copy { .. }
            | ExpandOp::Set { .. }
            | ExpandOp::Remove { .. }
            | ExpandOp::Compute { .. }
            | ExpandOp::Convert { .. }
            | ExpandOp::Append { .. }
            | ExpandOp::Exec { .. }
            | ExpandOp::Each { .. }
            | ExpandOp::Put { .. }
            | ExpandOp::Delete { .. } => None,
        }
    }

    /// Returns the source, the target and the `on_existing` of an operation that keeps its source. A rollback of such
    /// an operation needs to know whether the target existed before.
    pub(super) fn kept_pair(&self) -> Option<(Source, &Path, OnExisting)> {
        match self {
            ExpandOp::Copy { from, to, is_move, in_place, on_existing } if !(*is_move && *in_place) => {
                Some((Source::same(from), to, *on_existing))
            }
            ExpandOp::Compute { to, formula, on_existing, replaces: Some(replaced) } => {
                Some((Source::replaced(replaced, formula), to, *on_existing))
            }
            ExpandOp::Copy { .. }
            | ExpandOp::Compute { .. }
            | ExpandOp::Set { .. }
            | ExpandOp::Remove { .. }
            | ExpandOp::Convert { .. }
            | ExpandOp::Append { .. }
            | ExpandOp::Exec { .. }
            | ExpandOp::Each { .. }
            | ExpandOp::Put { .. }
            | ExpandOp::Delete { .. } => None,
        }
    }

    /// Returns whether this is a copy in an in-place plan. No application writes both attributes of such a copy, so undo
    /// needs a record of each write: a value at the target that equals the source's value may be an application's.
    fn is_in_place_copy(&self) -> bool {
        match self {
            ExpandOp::Copy { is_move, in_place, .. } => !is_move && *in_place,
            ExpandOp::Set { .. }
            | ExpandOp::Remove { .. }
            | ExpandOp::Compute { .. }
            | ExpandOp::Convert { .. }
            | ExpandOp::Append { .. }
            | ExpandOp::Exec { .. }
            | ExpandOp::Each { .. }
            | ExpandOp::Put { .. }
            | ExpandOp::Delete { .. } => false,
        }
    }

    /// Returns whether a value of this operation depends on the value that the operation itself writes. Applying such
    /// an operation twice is not the same as applying it once.
    pub(super) fn depends_on_itself(&self) -> bool {
        match self {
            ExpandOp::Compute { to, formula, .. } => formula.inputs().iter().any(|input| input.overlaps(to)),
            // A change whose targets overlap its inputs is refused when the plan is read.
            ExpandOp::Copy { .. }
            | ExpandOp::Set { .. }
            | ExpandOp::Remove { .. }
            | ExpandOp::Convert { .. }
            | ExpandOp::Exec { .. }
            | ExpandOp::Append { .. }
            | ExpandOp::Each { .. }
            | ExpandOp::Put { .. }
            | ExpandOp::Delete { .. } => false,
        }
    }
}

impl Draft<'_> {
    /// Plans one operation.
    ///
    /// An operation adds a condition even if the item already matches the operation. Other operations may need a write
    /// to the item, and a live writer may change the item before this write arrives. If the item then no longer matches
    /// the operation, the condition makes the write fail. Without the condition, the item would be only partly changed,
    /// or the write would change an item that has diverged.
    pub(super) fn expand(&mut self, op: &ExpandOp, answers: &ProgramAnswers) {
        let path = op.own_path();
        if path.is_some_and(|path| !self.applies(path)) {
            return;
        }
        // If the change is conditional, undo needs a record of the write, because the item may no longer match the
        // condition.
        let has_where = path.is_some_and(|path| self.rules.options.of(path).applies_to.is_some());
        self.needs_record = self.records_all || self.rules.selects_items() || has_where || op.is_in_place_copy();
        match op {
            ExpandOp::Copy { from, to, is_move, in_place, on_existing } => match from.get(self.item) {
                Some(value) => self.move_or_copy((from, to), value, *is_move && *in_place, *on_existing),
                None => {
                    self.already_applied |= *is_move && self.target_value(to, None).is_some();
                    self.require(Condition::Missing(from.clone()));
                }
            },
            ExpandOp::Set { to, value, on_existing } => self.set_constant(to, value, *on_existing),
            ExpandOp::Remove { path, skip_targets } => match path.get(self.item) {
                Some(value) if skip_targets.iter().any(|to| is_other(self.target_value(to, Some(value)), value)) => {
                    // The copy was skipped, so the value exists only at this path.
                    self.require(Condition::Equals(path.clone(), value.clone()));
                    skip_targets.iter().for_each(|to| self.require_unchanged(to));
                }
                Some(value) => {
                    self.record_pre_image(PreImage::with_value(path, value));
                    self.remove(path, value);
                }
                None => self.require(Condition::Missing(path.clone())),
            },
            ExpandOp::Compute { to, replaces: Some(replaced), .. } if replaced.path.get(self.item).is_none() => {
                self.already_applied |= self.target_value(to, None).is_some();
                self.require(Condition::Missing(replaced.path.clone()));
            }
            ExpandOp::Compute { to, formula, on_existing, replaces } => {
                replaces.iter().for_each(|replaced| self.require_unchanged(&replaced.path));
                // With `replaces`, an item with an old value needs the new value that the old value implies.
                let skips_any = *on_existing == OnExisting::Skip && replaces.is_none();
                self.compute(to, formula, *on_existing, skips_any);
            }
            ExpandOp::Convert { path, conversion } => self.convert_in_place(path, conversion),
            ExpandOp::Append { to, addition } => self.append(to, addition),
            ExpandOp::Delete { gap, keeps_image } => self.delete(gap, *keeps_image, self.key),
            ExpandOp::Put { derived } => self.put(derived, self.key),
            ExpandOp::Exec { position, exec, on_existing } => self.exec(*position, exec, *on_existing, answers),
            ExpandOp::Each { each } => self.edit_elements(each),
        }
    }

    /// Moves or copies this value. `in_place` is true for a move whose write also removes the source. The journal then
    /// gets an entry for the target. It also gets one with `skip`, so that a later pass can find out whether the tool
    /// wrote the value, and if undo needs a record of the write. In both of these cases, the condition requires an
    /// unchanged source, so that the recorded digest is correct.
    fn move_or_copy(&mut self, (from, to): (&Path, &Path), value: &Value, in_place: bool, on_existing: OnExisting) {
        let is_recorded = in_place || on_existing == OnExisting::Skip || self.needs_record;
        match to.get(self.item) {
            Some(existing) if existing == value => {
                self.already_applied = true;
                self.require(Condition::PathsEqual(from.clone(), to.clone()));
                if in_place {
                    self.pre_images.push(PreImage::same_as_source(to).with_written_value(value));
                }
            }
            Some(existing) => {
                let on_existing = self.on_existing_value(to, existing, on_existing);
                if in_place && on_existing == OnExisting::Skip {
                    // If the values became equal before the write arrives, this in-place move would have to remove the
                    // source, which this write does not do. The condition therefore requires that neither value has
                    // changed.
                    self.require(Condition::Equals(from.clone(), value.clone()));
                    self.require_unchanged(to);
                }
                if !self.prepare_overwrite(
                    to,
                    PreImage::with_value(to, existing).with_written_value(value),
                    on_existing,
                ) {
                    return;
                }
                // The write must store exactly the recorded value. A later pass that finds the value must recognise
                // that the tool wrote it.
                self.require(Condition::Equals(from.clone(), value.clone()));
                self.copy(from, to, value);
            }
            None => match self.placement(to) {
                Placement::Ready => {
                    self.require(Condition::Missing(to.clone()));
                    self.require_parent(to);
                    // The recorded digest must be the digest of the written value.
                    self.require(match on_existing == OnExisting::Skip || self.needs_record {
                        true => Condition::Equals(from.clone(), value.clone()),
                        false => Condition::Exists(from.clone()),
                    });
                    self.copy(from, to, value);
                    self.pre_images.extend(is_recorded.then(|| PreImage::without_value(to).with_written_value(value)));
                }
                Placement::ParentMissing(root) => {
                    // `SET` cannot copy a value into a missing map. The value therefore passes through the client, so
                    // the condition pins the source.
                    self.require(Condition::Equals(from.clone(), value.clone()));
                    self.put_in_new_map(root, to, value.clone());
                    self.pre_images.extend(is_recorded.then(|| PreImage::without_value(to).with_written_value(value)));
                }
                Placement::Impossible(why) => return self.reject(why),
            },
        }
        if in_place {
            self.remove(from, value);
        }
    }

    fn set_constant(&mut self, to: &Path, value: &Value, on_existing: OnExisting) {
        match to.get(self.item) {
            Some(existing) if existing == value => {
                self.already_applied = true;
                // With `skip`, any value counts as done, unless it is a NULL that counts as missing.
                self.require(match on_existing == OnExisting::Skip && !self.is_null_missing(to) {
                    true => Condition::Exists(to.clone()),
                    false => Condition::Equals(to.clone(), value.clone()),
                });
            }
            Some(existing) => {
                let on_existing = self.on_existing_value(to, existing, on_existing);
                if self.prepare_overwrite(to, PreImage::with_value(to, existing), on_existing) {
                    self.set(to, value);
                }
            }
            None => self.create(to, value, PreImage::without_value(to)),
        }
    }

    /// Returns whether the plan allows the tool to overwrite a different value at a target. If so, also records the
    /// value in a pre-image, and requires that the target still has this value.
    pub(super) fn prepare_overwrite(&mut self, to: &Path, existing: PreImage, on_existing: OnExisting) -> bool {
        match on_existing {
            OnExisting::Keep => {
                self.diverged.push(to.clone());
                false
            }
            OnExisting::Skip => {
                // If a writer removes the value before the write, or replaces it with a NULL that counts as missing,
                // the write must fail. The tool then decides again and fills the target.
                match self.is_null_missing(to) {
                    true => self.require_unchanged(to),
                    false => self.require(Condition::Exists(to.clone())),
                }
                self.skipped.push(to.clone());
                false
            }
            OnExisting::Overwrite => {
                if let PriorValue::Value(value) = &existing.prior {
                    self.subtract_bytes(to, value);
                }
                self.record_pre_image(existing);
                true
            }
        }
    }
}

/// Returns whether `existing` is a value that differs from `value`.
fn is_other(existing: Option<&Value>, value: &Value) -> bool {
    existing.is_some_and(|existing| existing != value)
}
