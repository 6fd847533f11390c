//! Notes of a rollback about values that repairs replaced and that the rollback does not restore.
//!
//! A note goes to the journal, so the report of the rollback survives a crash. If the rollback writes the item, the note
//! is stored together with the write's pre-images. Otherwise, the rollback stores the note alone
//! ([`Changes::notes_without_write`](super::Changes::notes_without_write)).

use super::draft::Draft;
use super::undo::UndoOp;
use super::{ItemHistory, Leftover, PreImage, PriorValue};
use crate::item::{Item, Path, Value};

impl Draft<'_> {
    /// Adds the notes to the write that the operations have planned.
    pub(super) fn note_repaired_values(&mut self, ops: &[UndoOp]) {
        if self.history.has_repairs() {
            let after = self.image_after();
            let is_lost = |path: &Path, value: &Value| path.get(&after) != Some(value);
            let notes = notes_of(ops, self.history, is_lost);
            self.pre_images.extend(notes);
        }
    }
}

/// Returns the notes about an item that the rollback does not write. There is no note about a value that the rollback
/// would restore if it wrote the item: a later attempt can still restore it, and the report lists the item until then.
pub(super) fn lost_to_repairs(ops: &[UndoOp], history: &ItemHistory, item: &Item) -> Vec<PreImage> {
    notes_of(ops, history, |path, value| {
        let is_restorable = matches!(history.prior(path), Some(PriorValue::Value(prior)) if prior == value);
        path.get(item) != Some(value) && !is_restorable
    })
}

/// Returns a note for each path at which a repair replaced a value that is lost.
fn notes_of(ops: &[UndoOp], history: &ItemHistory, is_lost: impl Fn(&Path, &Value) -> bool) -> Vec<PreImage> {
    if !history.has_repairs() {
        return Vec::new();
    }
    let lost = ops.iter().flat_map(replaceable_paths);
    let lost = lost.filter(|path| history.repaired_over(path).any(|value| is_lost(path, value)));
    lost.map(|path| PreImage::with_leftover(path, Leftover::RepairedOver)).collect()
}

/// Returns the paths at which a repair may have replaced one value with another. A repair of an added element, a
/// conversion or a list or map derives the new value from the old one, so it replaces none.
fn replaceable_paths(op: &UndoOp) -> impl Iterator<Item = &Path> {
    let (one, another) = match op {
        UndoOp::Move { from, to } => (Some(to), Some(from)),
        UndoOp::Copy { source, to, .. } => (Some(to), Some(&source.path)),
        UndoOp::Set { to: path, .. } | UndoOp::Computed { to: path } | UndoOp::Remove { path } => (Some(path), None),
        UndoOp::Converted { .. }
        | UndoOp::Elements { .. }
        | UndoOp::Appended { .. }
        | UndoOp::Restore
        | UndoOp::RemoveDerived => (None, None),
    };
    one.into_iter().chain(another)
}
