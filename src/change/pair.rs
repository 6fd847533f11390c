//! Conditions of writes that rely on a pair: an old attribute, and the new attribute whose value follows from it.

use super::draft::Draft;
use super::{Condition, Source};
use crate::item::Path;

impl Draft<'_> {
    /// Requires that the old value still implies the target's value.
    pub(super) fn require_pair(&mut self, source: &Source, to: &Path) {
        match &source.derivation {
            None => self.require(Condition::PathsEqual(source.path.clone(), to.clone())),
            Some(_) => self.require_pair_unchanged(source, to),
        }
    }

    /// Pins everything that determines whether the new value follows from the old value.
    pub(super) fn require_pair_unchanged(&mut self, source: &Source, to: &Path) {
        self.require_unchanged(&source.path);
        if let Some(derivation) = &source.derivation {
            derivation.formula.inputs().iter().for_each(|input| self.require_unchanged(input));
        }
        self.require_unchanged(to);
    }
}
